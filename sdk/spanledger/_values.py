"""Reading values that belong to the host, whatever they are.

Host objects may lack fields, hold NaN or lone surrogates, refer to themselves, or raise from `__str__`. Nothing here
raises for any of that; what cannot be represented becomes a placeholder or None.
"""

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeGuard

TEXT_CHARS_MAX: Final = 4_096
"""Longest plain attribute (names, ids, tags)."""
CONTENT_CHARS_MAX: Final = 262_144
"""Longest content attribute: a long prompt fits, a runaway one cannot fill the queue."""
TOKENS_MAX: Final = 1 << 40
_DEPTH_MAX: Final = 12
_CUT: Final = "…[cut]"


def clip(text: str, limit: int = TEXT_CHARS_MAX) -> str:
    """Shorten to `limit` characters, and replace lone surrogates: protobuf refuses them and the batch with them."""
    if len(text) > limit:
        text = text[: max(0, limit - len(_CUT))] + _CUT
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def to_text(value: object, limit: int = TEXT_CHARS_MAX) -> str:
    """Any object as text; an object that cannot be printed becomes `<unprintable Type>`."""
    if type(value) is str:
        return value if len(value) <= limit and value.isascii() else clip(value, limit)
    try:
        return clip(str.__str__(str(value)), limit)
    except Exception:  # noqa: BLE001 - a host object's __str__ may raise anything; it is not our error
        return f"<unprintable {type(value).__name__}>"


def read_field(owner: object, name: str) -> Any:
    """`owner[name]` of a mapping or `owner.name` of an object; None if there is none or reading it fails."""
    try:
        return owner.get(name) if isinstance(owner, Mapping) else getattr(owner, name, None)
    except Exception:  # noqa: BLE001 - a host property may raise anything
        return None


def read_path(owner: object, *names: str) -> Any:
    """Follow `names` from `owner` with `read_field`."""
    for name in names:
        if owner is None:
            return None
        owner = read_field(owner, name)
    return owner


def as_count(value: object) -> int | None:
    """A number of tokens or the like: an integer in [0, 2^40], or None."""
    if type(value) is int:
        number = value
    elif isinstance(value, bool):
        return None
    else:
        try:
            given: Any = value
            number = int(given) if isinstance(given, float) and given.is_integer() else operator.index(given)
        except Exception:  # noqa: BLE001 - __index__ belongs to the host
            return None
    return number if 0 <= number <= TOKENS_MAX else None


def as_probability(value: object) -> float | None:
    """A number in [0, 1], or None; text and booleans are not numbers here."""
    if isinstance(value, (bool, str, bytes)):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - __float__ belongs to the host
        return None
    return number if 0.0 <= number <= 1.0 else None


def as_usd(value: object) -> str | None:
    """An amount in USD in plain notation, exact for Decimal and str; None if it is negative or not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        amount = Decimal(str(value).strip())
    except (InvalidOperation, ValueError):
        return None
    return format(amount, "f") if amount.is_finite() and 0 <= amount < 1_000_000_000 and amount.adjusted() > -30 else None


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Whether the value is a sequence of things rather than one text."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview))


def _describe(value: object) -> str:
    return f"<{type(value).__qualname__}>"


def simplify(value: object, limit: int, unknown: Callable[[object], str] = to_text, depth: int = 0) -> Any:
    """A copy of the value made of what JSON can hold, strings clipped, depth bounded, NaN as text."""
    if value is None or isinstance(value, (bool, int)):
        return value if value is None or isinstance(value, bool) or abs(value) < 1 << 63 else to_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return to_text(value, limit)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if depth >= _DEPTH_MAX:
        return "…"
    try:
        if isinstance(value, Mapping):
            return {to_text(key): simplify(item, limit, unknown, depth + 1) for key, item in list(value.items())[:1_000]}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [simplify(item, limit, unknown, depth + 1) for item in list(value)[:1_000]]
        if is_dataclass(value) and not isinstance(value, type):
            return simplify(dict(vars(value)), limit, unknown, depth + 1)
        if callable(dump := getattr(type(value), "model_dump", None)):
            return simplify(dump(value), limit, unknown, depth + 1)
    except Exception:  # noqa: BLE001 - containers and models of the host may raise anything
        return _describe(value)
    return unknown(value)


_COMPACT: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def to_json(value: object, limit: int = CONTENT_CHARS_MAX, *, print_objects: bool = True) -> str:
    """The value as compact JSON text of about `limit` characters at most.

    Args:
        value: Anything.
        limit: Characters; when the whole would be longer, strings inside are clipped further until it fits.
        print_objects: Whether unknown objects are printed with `str` (the caller handed them over on purpose) or only
            named by type (they were merely seen, and printing one may load a database).
    """
    unknown = to_text if print_objects else _describe
    text = ""
    for share in (limit, limit // 8, limit // 64, limit // 512):
        text = _COMPACT.encode(simplify(value, share, unknown))
        if len(text) <= limit:
            return text
    return _COMPACT.encode(clip(text, limit // 2))


def quote(text: str) -> str:
    """A JSON string literal."""
    return json.encoder.encode_basestring(text)

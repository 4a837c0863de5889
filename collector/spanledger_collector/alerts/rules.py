"""A rule: any measure, filters, group-by, window and threshold. Pure data.

A window is `<n>m`, `<n>h` or `<n>d` and slides: it ends now. A rule breaches when the value of each of its last `for_windows`
back-to-back windows is past the threshold and the newest holds at least `min_interactions` interactions.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import urlsplit

from spanledger_collector.errors import InvalidQuestion
from spanledger_schema.catalogue import MEASURES
from spanledger_schema.query import Filter, Query, QueryError

COMPARISONS: Final = (">", ">=", "<", "<=")
SEVERITIES: Final = ("info", "warning", "critical")
NO_DATA: Final = ("ok", "keep")
_WINDOW: Final = re.compile(r"([1-9]\d{0,4})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_MAIL: Final = re.compile(r"[^@\s<>,;:\"\\]{1,64}@[A-Za-z0-9.-]{1,253}")
_READ_ONLY: Final = frozenset({"id", "state", "groups", "last_evaluated_at", "signing_secret"})
_TARGETS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert rule; `threshold` in the measure's unit."""

    id: str
    name: str
    measure: str
    filters: tuple[Filter, ...]
    group_by: tuple[str, ...]
    window: str
    comparison: str
    threshold: Decimal
    min_interactions: int
    for_windows: int
    no_data: str
    severity: str
    enabled: bool
    webhooks: tuple[str, ...]
    emails: tuple[str, ...]

    @property
    def length(self) -> timedelta:
        """The window's length."""
        return parse_window(self.window)

    def breaches(self, value: Decimal | float) -> bool:
        """Whether a value is past the threshold."""
        number = value if isinstance(value, Decimal) else Decimal(repr(value))
        match self.comparison:
            case ">":
                return number > self.threshold
            case ">=":
                return number >= self.threshold
            case "<":
                return number < self.threshold
            case _:
                return number <= self.threshold

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        raw = asdict(self)
        raw["filters"] = [item.to_dict() for item in self.filters]
        raw["threshold"] = format(self.threshold, "f")
        for name in ("group_by", "webhooks", "emails"):
            raw[name] = list(raw[name])
        return raw


def parse_window(text: Any) -> timedelta:
    """A window's length.

    Raises:
        InvalidQuestion: it is not `<n>m`, `<n>h` or `<n>d` of 1 minute to 90 days.
    """
    match = _WINDOW.fullmatch(text) if isinstance(text, str) else None
    length = timedelta(**{_UNITS[match.group(2)]: int(match.group(1))}) if match else timedelta()
    if not timedelta(minutes=1) <= length <= timedelta(days=90):
        raise InvalidQuestion("window is <n>m, <n>h or <n>d, from 1m to 90d, such as 1h.")
    return length


def parse_rule(raw: Any, rule_id: str) -> Rule:
    """Read a rule of the API.

    Raises:
        InvalidQuestion: a field is missing, unknown or unusable; says which and what exists.
    """
    if not isinstance(raw, Mapping):
        raise InvalidQuestion("A rule is a JSON object.")
    known = set(Rule.__slots__) | _READ_ONLY
    if unknown := sorted(str(key) for key in raw if key not in known):
        raise InvalidQuestion(f"A rule has no field {unknown[0][:60]!r}; it has {', '.join(Rule.__slots__[1:])}.")
    measure = raw.get("measure")
    if measure not in MEASURES:
        raise InvalidQuestion(f"unknown measure {str(measure)[:60]!r}; there are: {', '.join(MEASURES)}")
    parse_window(raw.get("window"))
    query = _query(measure, raw)
    rule = Rule(
        id=rule_id,
        name=_text(raw, "name", 120) or measure,
        measure=str(measure),
        filters=query.filters,
        group_by=query.dimensions,
        window=str(raw["window"]),
        comparison=_one_of(raw, "comparison", COMPARISONS, ">"),
        threshold=_decimal(raw.get("threshold")),
        min_interactions=_whole(raw, "min_interactions", 0, 0, 1_000_000),
        for_windows=_whole(raw, "for_windows", 1, 1, 20),
        no_data=_one_of(raw, "no_data", NO_DATA, "ok"),
        severity=_one_of(raw, "severity", SEVERITIES, "warning"),
        enabled=_flag(raw, "enabled", True),
        webhooks=_targets(raw, "webhooks", _is_url, "an http:// or https:// address"),
        emails=_targets(raw, "emails", _is_mail, "an e-mail address"),
    )
    return rule


def _query(measure: Any, raw: Mapping[str, Any]) -> Query:
    group_by = raw.get("group_by") or []
    if isinstance(group_by, list) and len(group_by) > 3:
        raise InvalidQuestion("group_by takes at most three dimensions.")
    try:
        return Query.from_dict({"measures": [measure], "dimensions": group_by, "filters": raw.get("filters") or []})
    except QueryError as error:
        raise InvalidQuestion(str(error)) from None


def _text(raw: Mapping[str, Any], key: str, limit: int) -> str:
    value = raw.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > limit or not value.isprintable():
        raise InvalidQuestion(f"{key} is a text of at most {limit} printable characters.")
    return value.strip()


def _one_of(raw: Mapping[str, Any], key: str, allowed: tuple[str, ...], default: str) -> str:
    value = raw.get(key, default)
    if value not in allowed:
        raise InvalidQuestion(f"{key} is one of {', '.join(allowed)}.")
    return str(value)


def _whole(raw: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    value = raw.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidQuestion(f"{key} is a whole number from {low} to {high:,}.")
    return value


def _flag(raw: Mapping[str, Any], key: str, default: bool) -> bool:
    value = raw.get(key, default)
    if not isinstance(value, bool):
        raise InvalidQuestion(f"{key} is true or false.")
    return value


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidQuestion('threshold is a number, best as text such as "25.00".')
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise InvalidQuestion('threshold is a number, best as text such as "25.00".') from None
    if not number.is_finite() or abs(number) > Decimal(10) ** 15:
        raise InvalidQuestion("threshold is out of range.")
    return number


def _targets(raw: Mapping[str, Any], key: str, check: Any, what: str) -> tuple[str, ...]:
    values = raw.get(key) or []
    if not isinstance(values, list) or len(values) > _TARGETS_MAX:
        raise InvalidQuestion(f"{key} is a list of at most {_TARGETS_MAX}.")
    for value in values:
        if not isinstance(value, str) or not check(value):
            raise InvalidQuestion(f"{key}: {str(value)[:80]!r} is not {what}.")
    return tuple(values)


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and value.isprintable() and len(value) <= 2_000
    except ValueError:
        return False


def _is_mail(value: str) -> bool:
    return _MAIL.fullmatch(value) is not None

"""The user's own prices: checked as they are set, matched by globs and dates. Pure.

{"provider": "azure*", "model": "prod-chat-*", "price_as": {"provider": "openai", "model": "gpt-4o"}, "multiplier": "0.82"}
{"model": "llama-3.3-70b", "provider": "vllm", "gpu_hour_usd": "2.90", "gpus": "1"}
{"kind": "tool", "model": "web_search", "per_call": "0.01"}
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from spanledger_collector.errors import InvalidQuestion
from spanledger_collector.pricing.rates import PER, Price, Steps

SOURCE: Final = "user"
KINDS: Final = ("model", "tool", "retrieval")
FIELDS: Final = (
    "kind", "provider", "model", "valid_from", "valid_until", "multiplier", "price_as", "prices", "per_call", "gpu_hour_usd",
    "gpus", "note",
)  # fmt: skip
_TEXT_MAX: Final = 300
_AMOUNT_MAX: Final = Decimal(10) ** 9
_PLACES_MAX: Final = 12


class UserPrice(NamedTuple):
    """One price as the user set it. Amounts are USD; `prices` are per the unit of `rates.PER`."""

    price_id: str
    kind: str
    provider: str
    model: str
    valid_from: datetime | None
    valid_until: datetime | None
    multiplier: Decimal | None
    price_as: tuple[str, str] | None
    prices: Mapping[str, Price]
    per_call: Decimal | None
    gpu_hour_usd: Decimal | None
    gpus: Decimal
    note: str
    changed_at: int = 0
    """When this version was set, in nanoseconds since 1970."""

    @property
    def version(self) -> str:
        """What stays on the rows that it priced."""
        at = datetime.fromtimestamp(self.changed_at // 1_000_000_000, UTC)
        return f"user/{self.price_id}@{at:%Y-%m-%dT%H:%M:%SZ}"

    def holds(self, at: datetime) -> bool:
        """Whether it is valid at a time."""
        return (self.valid_from is None or self.valid_from <= at) and (self.valid_until is None or at < self.valid_until)

    def matches(self, kind: str, names: frozenset[tuple[str, str]]) -> bool:
        """Whether it is about a call of a kind that goes by any of these (provider, model)."""
        return self.kind == kind and any(
            fnmatchcase(provider, self.provider) and fnmatchcase(model, self.model) for provider, model in names
        )

    @property
    def rank(self) -> tuple[int, int, datetime, int]:
        """The greater of two that match wins: the more literal model, then provider, then the later start, then the newer."""
        since = self.valid_from or datetime(1970, 1, 1, tzinfo=UTC)
        return _literal(self.model), _literal(self.provider), since, self.changed_at

    def to_dict(self) -> dict[str, Any]:
        """The form in which it is set, shown and exported; amounts as texts in plain notation, without what is not set."""
        shown: dict[str, Any] = {"kind": self.kind, "provider": self.provider, "model": self.model}
        shown |= {"valid_from": _iso(self.valid_from), "valid_until": _iso(self.valid_until)}
        shown |= {
            "multiplier": plain(self.multiplier),
            "per_call": plain(self.per_call),
            "gpu_hour_usd": plain(self.gpu_hour_usd),
        }
        if self.gpu_hour_usd is not None:
            shown["gpus"] = plain(self.gpus)
        if self.price_as:
            shown["price_as"] = {"provider": self.price_as[0], "model": self.price_as[1]}
        if self.prices:
            shown["prices"] = {kind: show_price(price) for kind, price in self.prices.items()}
        return {key: value for key, value in shown.items() if value is not None} | ({"note": self.note} if self.note else {})


def parse_price(raw: Any, changed_at: int = 0) -> UserPrice:
    """Check a price as somebody wrote it.

    Args:
        raw: See the module.
        changed_at: When it was set, in nanoseconds since 1970.

    Raises:
        InvalidQuestion: what is wrong and what to write instead.
    """
    if not isinstance(raw, dict):
        raise InvalidQuestion('A price is an object such as {"model": "gpt-4o*", "multiplier": "0.82"}.')
    if raw.get("currency", "USD") != "USD":
        raise InvalidQuestion("Prices are in USD; convert the price and say the rate in its note.")
    unknown = sorted(set(raw) - {*FIELDS, "currency", "id", "changed_at", "version"})
    if unknown:
        raise InvalidQuestion(f"A price has no field {unknown[0]!r}; it has {', '.join(FIELDS)}.")
    kind = raw.get("kind", "model")
    if kind not in KINDS:
        raise InvalidQuestion(f"kind is one of {', '.join(KINDS)}.")
    provider, model = _glob(raw.get("provider", "*"), "provider"), _glob(raw.get("model"), "model")
    since, until = _time(raw.get("valid_from"), "valid_from"), _time(raw.get("valid_until"), "valid_until")
    if since and until and since >= until:
        raise InvalidQuestion("valid_from must lie before valid_until (which is exclusive).")
    price = UserPrice(
        price_id(kind, provider, model, since),
        kind,
        provider,
        model,
        since,
        until,
        _amount(raw.get("multiplier"), "multiplier"),
        _price_as(raw.get("price_as")),
        parse_prices(raw.get("prices")),
        _amount(raw.get("per_call"), "per_call"),
        _amount(raw.get("gpu_hour_usd"), "gpu_hour_usd"),
        _amount(raw.get("gpus"), "gpus") or Decimal(1),
        _text(raw.get("note") or "", "note"),
        changed_at,
    )
    _check_whole(price)
    return price


def price_id(kind: str, provider: str, model: str, since: datetime | None) -> str:
    """The id of a price: setting the same match from the same date again replaces it."""
    text = "\x00".join((kind, provider, model, _iso(since) or ""))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def show_price(price: Price) -> Any:
    """A price as text, or as its base and what holds above which input."""
    if isinstance(price, Steps):
        above = [{"above_input_tokens": start, "price": plain(value)} for start, value in price.above]
        return {"price": plain(price.base), "above": above}
    return plain(price)


def plain(value: Decimal | None) -> str | None:
    """A Decimal in plain notation, without needless zeros."""
    if value is None:
        return None
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def _check_whole(price: UserPrice) -> None:
    relative = price.multiplier is not None or price.price_as is not None
    absolute = bool(price.prices) or price.per_call is not None or price.gpu_hour_usd is not None
    if price.kind != "model":
        if price.per_call is None or relative or price.prices:
            raise InvalidQuestion(f"A {price.kind} has one price: per_call, in USD.")
        return
    if relative and absolute:
        raise InvalidQuestion(
            "Give either prices of its own (prices, per_call, gpu_hour_usd) or multiplier and price_as, not both."
        )
    if not relative and not absolute:
        raise InvalidQuestion(
            'A price needs one of prices, per_call, gpu_hour_usd, multiplier, price_as. A price of "0" is free.'
        )
    if price.gpu_hour_usd is not None and price.prices:
        raise InvalidQuestion("A self-hosted model costs by the token (prices) or by the GPU hour (gpu_hour_usd), not both.")


def parse_prices(raw: Any) -> dict[str, Price]:
    """Prices by kind from texts, or from a base and what holds above which input.

    Raises:
        InvalidQuestion: what is wrong and what to write instead.
    """
    if raw is None:
        return {}
    if not isinstance(raw, dict) or not raw:
        raise InvalidQuestion('prices is an object such as {"input": "2.05", "output": "8.20"}.')
    found: dict[str, Price] = {}
    for kind, value in raw.items():
        if kind not in PER:
            raise InvalidQuestion(f"There is no kind of usage {str(kind)[:60]!r}; there are {', '.join(PER)}.")
        if isinstance(value, dict):
            steps = value.get("above")
            if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
                raise InvalidQuestion(
                    f'{kind}: steps are {{"price": "3", "above": [{{"above_input_tokens": 200000, "price": "6"}}]}}.'
                )
            above = sorted((_threshold(step, kind), _needed(step.get("price"), kind)) for step in steps)
            found[kind] = Steps(_needed(value.get("price"), kind), tuple(above))
        else:
            found[kind] = _needed(value, kind)
    return found


def _threshold(step: dict[str, Any], kind: str) -> int:
    try:
        number = int(str(step.get("above_input_tokens")))
    except ValueError:
        number = 0
    if number <= 0:
        raise InvalidQuestion(f"{kind}: above_input_tokens is a number of tokens.")
    return number


def _needed(value: Any, name: str) -> Decimal:
    amount = _amount(value, name)
    if amount is None:
        raise InvalidQuestion(f"{name} is missing.")
    return amount


def _amount(value: Any, name: str) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, bool | float) or not isinstance(value, str | int):
        raise InvalidQuestion(f'{name} is an amount as text, such as "0.82": a number with a point would lose digits.')
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        raise InvalidQuestion(f"{name}: {str(value)[:40]!r} is no amount.") from None
    if not amount.is_finite() or not 0 <= amount <= _AMOUNT_MAX or -int(amount.as_tuple().exponent) > _PLACES_MAX:
        raise InvalidQuestion(f"{name} lies between 0 and {_AMOUNT_MAX} with at most {_PLACES_MAX} places.")
    return amount


def _price_as(raw: Any) -> tuple[str, str] | None:
    if raw is None:
        return None
    if not isinstance(raw, dict) or not raw.get("model"):
        raise InvalidQuestion('price_as is {"provider": "openai", "model": "gpt-4o"}.')
    return _text(raw.get("provider") or "", "price_as.provider"), _text(raw["model"], "price_as.model")


def _glob(value: Any, name: str) -> str:
    text = _text(value, name).strip().lower()
    if not text:
        raise InvalidQuestion(f"{name} is missing; write a name, or a pattern such as gpt-4o*.")
    return text


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise InvalidQuestion(f"{name} is a text of at most {_TEXT_MAX} characters.")
    return value


def _time(value: Any, name: str) -> datetime | None:
    if value is None or value == "":
        return None
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise InvalidQuestion(f"{name} is a time such as 2026-07-01 or 2026-07-01T12:00:00Z.") from None
    # Whole seconds, as in what is shown.
    at = (at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)).replace(microsecond=0)
    if not 1990 <= at.year <= 2200:
        raise InvalidQuestion(f"{name} lies between 1990 and 2200.")
    return at


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def _literal(glob: str) -> int:
    return sum(character not in "*?[]" for character in glob)

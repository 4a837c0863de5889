"""A quote: what some usage would cost, with its breakdown. Pure; the same book, counts and arithmetic as settling.

{"provider": "openai", "model": "gpt-4o", "timestamp": "2026-08-10T12:00:00Z",
 "usage": {"input_tokens": 1200, "cache_read_tokens": 1000, "output_tokens": 300, "web_searches": 1},
 "context": {"processing": "batch", "service_tier": "flex"}}
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from spanledger_collector.errors import InvalidQuestion
from spanledger_collector.pricing.arithmetic import Priced, TokenCounts, charge, disjoint, unpriced
from spanledger_collector.pricing.book import Book
from spanledger_collector.pricing.compile import mode_of
from spanledger_collector.pricing.rates import PER, PICO, TOKENS, Card, Price, Rate, Rates, Steps
from spanledger_collector.pricing.user import plain

REASONS: Final[Mapping[str, str]] = {
    "no_model": "The call names no model.",
    "unknown_model": "No price list that we ship and no price of yours knows this model at this provider.",
    "opaque_name": "An inference profile or endpoint of your own: its name does not say which model it is. Set a price for it.",
    "no_price": "The price list knows the model and has no price for it.",
    "no_token_price": "This model is not billed by the token.",
    "no_usage": "The call says nothing of what it used.",
    "impossible_usage": "The counts contradict each other: parts are larger than their whole.",
    "implausible_usage": "The counts are too large to be one call's.",
    "no_batch_price": "No price is known for batch processing of this model.",
    "no_flex_price": "No price is known for flex processing of this model.",
    "no_priority_price": "No price is known for priority processing of this model.",
    "no_fast_price": "No price is known for fast processing of this model.",
    "unknown_service_tier": "This service tier is not known; its price may be a contract's.",
}
"""What the reasons of unpriced calls mean; `no_price_for_<kind>` speaks for itself."""
_COUNTS: Final = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_tokens": "cache_read",
    "cache_write_tokens": "cache_write_5m",
    "cache_write_1h_tokens": "cache_write_1h",
    "reasoning_tokens": "reasoning",
}
_OTHERS: Final = {
    (f"{kind}_tokens" if per == TOKENS else kind): kind for kind, per in PER.items() if kind not in set(_COUNTS.values())
}
_IGNORED: Final = frozenset({"total_tokens"})
_COUNT_MAX: Final = 2**53
_TEXT_MAX: Final = 1_000


class Asked(NamedTuple):
    """A quote's question, checked. `counts` is None where no usage was given or it contradicts itself (`reason` says which)."""

    provider: str
    model: str
    start_ns: int
    counts: TokenCounts | None
    reason: str
    mode: str
    duration_ns: int


def parse_quote(raw: Any, now: datetime) -> Asked:
    """Check a question.

    Args:
        raw: See the module. Input is taken to include its parts unless it cannot; `cache_write_tokens` are five-minute writes.
        now: The time of a question that names none.

    Raises:
        InvalidQuestion: a field has the wrong form.
    """
    if not isinstance(raw, dict):
        raise InvalidQuestion('A quote asks with an object such as {"provider": "openai", "model": "gpt-4o", "usage": {…}}.')
    context = raw.get("context") or {}
    if not isinstance(context, dict):
        raise InvalidQuestion('context is an object such as {"processing": "batch"}.')
    usage = _usage(raw.get("usage"))
    counts, reason = _counts(usage)
    mode = mode_of(_text(context, "processing"), _text(context, "service_tier") or _text(context, "speed"))
    duration = raw.get("duration_s")
    if duration is not None and (isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 <= duration < 1e8):
        raise InvalidQuestion("duration_s is a number of seconds.")
    provider, model = _text(raw, "provider"), _text(raw, "model")
    return Asked(provider, model, _start_ns(raw.get("timestamp"), now), counts, reason, mode, round((duration or 0) * 10**9))


def quote(book: Book, asked: Asked) -> dict[str, Any]:
    """Answer a question: `status`, `cost_usd`, `breakdown`, `source`, `version`, `reason`."""
    card = book.card(asked.provider, asked.model, asked.start_ns, asked.mode)
    priced: Priced
    lines: dict[str, Any] = {}
    if isinstance(card, str):
        priced = unpriced(card)
    elif asked.counts is None and not (card.per_second or card.per_call):
        priced = unpriced(asked.reason)
    else:
        counts = asked.counts or TokenCounts(0)
        priced = charge(card, counts, False, asked.duration_ns)
        if priced.total is not None:
            lines = breakdown(card, counts, asked.duration_ns)
    return {
        "status": str(priced.status),
        "cost_usd": usd_text(priced.total),
        "breakdown": lines,
        "source": priced.source or None,
        "version": priced.version or None,
        "reason": priced.reason or None,
    }


def breakdown(card: Card, counts: TokenCounts, duration_ns: int = 0) -> dict[str, Any]:
    """The lines that a card charges, by kind: quantity, price and money; their `usd` add up to the cost."""
    threshold, rates = next((step for step in card.steps if counts.total_input > step[0]), card.steps[-1])
    named = {
        "input": (counts.input, rates.input),
        "cache_read": (counts.cache_read, rates.cache_read),
        "cache_write_5m": (counts.cache_write_5m, rates.cache_write_5m),
        "cache_write_1h": (counts.cache_write_1h, rates.cache_write_1h),
        "output": (counts.output, rates.output),
        "reasoning": (counts.reasoning, rates.reasoning),
        **{kind: (number, rates.other.get(kind)) for kind, number in counts.other.items()},
    }
    lines: dict[str, Any] = {}
    for kind, (quantity, rate) in named.items():
        if quantity and rate is not None:
            lines[kind] = _line(kind, quantity, rate)
            if threshold >= 0:
                lines[kind]["above_input_tokens"] = threshold
    lines |= _flat_lines(card, rates, duration_ns)
    return lines


def _flat_lines(card: Card, rates: Rates, duration_ns: int) -> dict[str, Any]:
    lines: dict[str, Any] = {}
    if rates.per_call:
        lines["call"] = {"quantity": 1, "usd_per_1": plain(card.per_call), "usd": usd_text(round(rates.per_call))}
    if card.per_second:
        cost = round(card.per_second * duration_ns * 1_000)
        seconds = plain(Decimal(duration_ns) / 10**9)
        lines["machine_seconds"] = {"quantity": seconds, "usd_per_1": plain(card.per_second), "usd": usd_text(cost)}
    return lines


def _line(kind: str, quantity: int, rate: Rate) -> dict[str, Any]:
    per = PER[kind]
    word = {1: "1", 1_000: "1k", 1_000_000: "1m", 3_600: "hour"}[per]
    return {"quantity": quantity, f"usd_per_{word}": plain(Decimal(rate) * per / PICO), "usd": usd_text(round(rate * quantity))}


def show_card(card: Card) -> dict[str, Any]:
    """A card's prices by kind as texts, in the units of `rates.PER`."""
    shown: dict[str, Any] = {kind: _show(price) for kind, price in card.prices.items()}
    if card.per_call:
        shown["per_call"] = plain(card.per_call)
    if card.per_second:
        shown["per_second"] = plain(card.per_second)
    return shown


def _show(price: Price) -> Any:
    if isinstance(price, Steps):
        above = [{"above_input_tokens": start, "price": plain(value)} for start, value in price.above]
        return {"price": plain(price.base), "above": above}
    return plain(price)


def usd_text(pico: int | None) -> str | None:
    """Money as text in plain notation, without needless zeros; None is unknown."""
    return None if pico is None else plain(Decimal(pico).scaleb(-12))


def _usage(raw: Any) -> dict[str, int]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise InvalidQuestion('usage is an object such as {"input_tokens": 1200, "output_tokens": 300}.')
    found = {}
    for name, value in raw.items():
        if value is None:
            continue
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _COUNT_MAX:
            raise InvalidQuestion(f"usage.{str(name)[:60]} is a count: a whole number that is not negative.")
        found[str(name)] = value
    return found


def _counts(usage: Mapping[str, int]) -> tuple[TokenCounts | None, str]:
    if not usage:
        return None, "no_usage"
    whole = {kind: usage.get(name, 0) for name, kind in _COUNTS.items()}
    others = {_OTHERS.get(name, name): number for name, number in usage.items() if number and name not in {*_COUNTS, *_IGNORED}}
    rest = disjoint(whole["input"], whole["cache_read"], whole["cache_write_5m"], whole["cache_write_1h"], others)
    visible = disjoint(whole["output"], whole["reasoning"], 0, 0, others, "output_")
    if rest is None or visible is None:
        return None, "impossible_usage"
    cached = (whole["cache_read"], whole["cache_write_5m"], whole["cache_write_1h"])
    return TokenCounts(rest, *cached, visible, whole["reasoning"], others), ""


def _start_ns(raw: Any, now: datetime) -> int:
    if raw is None or raw == "":
        at = now
    else:
        try:
            at = datetime.fromisoformat(raw)
        except (TypeError, ValueError):
            raise InvalidQuestion("timestamp is a time such as 2026-08-10T12:00:00Z.") from None
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    whole = int((at.replace(microsecond=0) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return whole * 1_000_000_000 + at.microsecond * 1_000


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise InvalidQuestion(f"{name} is a text of at most {_TEXT_MAX} characters.")
    return value

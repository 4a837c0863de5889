"""From counts and rates to money. Pure, integers of 1e-12 USD.

Each line is rounded to 1e-12 USD half to even, and the total is the sum of its lines, so that a breakdown always adds up.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from spanledger_collector.pricing.rates import Card, Rates
from spanledger_schema.tokens import CostStatus

COST_PICO_MAX: Final = 10**18 - 1
"""The largest cost of a call that the ledger holds: a million USD."""
_ESTIMATED: Final = str(CostStatus.ESTIMATED)
_PRICED: Final = str(CostStatus.PRICED)
NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


class TokenCounts(NamedTuple):
    """Disjoint counts of one call. `other` holds every other kind of `rates.PER`: audio and image tokens, searches, requests."""

    input: int
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    other: Mapping[str, int] = NOTHING

    @property
    def total_input(self) -> int:
        """All input, by which a long-context step is chosen."""
        others = sum(number for kind, number in self.other.items() if kind.startswith("input_"))
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h + others


class Priced(NamedTuple):
    """The verdict on one call. Money is integers of 1e-12 USD; None is unknown.

    `total` is `input` + `cache_read` + `cache_write` + `output` + `other`; `reasoning` and `media` (audio, image and film) are
    parts of `input` and `output`.
    """

    status: str
    source: str = ""
    version: str = ""
    reason: str = ""
    total: int | None = None
    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output: int | None = None
    other: int | None = None
    reasoning: int | None = None
    media: int | None = None
    savings: int | None = None


def unpriced(reason: str) -> Priced:
    """A call whose cost is unknown."""
    return Priced(CostStatus.UNPRICED, reason=reason)


def disjoint(
    whole: int, cache_read: int, cache_write_5m: int, cache_write_1h: int, others: Mapping[str, int], prefix: str = "input_"
) -> int | None:
    """What of a whole is none of its parts; inclusive counting is assumed unless it cannot be.

    Args:
        whole: All input, or all output.
        cache_read: Of it read from a cache; for output, of it reasoning.
        cache_write_5m: Of it written to a cache for five minutes; 0 for output.
        cache_write_1h: Of it written for an hour; 0 for output.
        others: Counts by kind; those with the prefix are parts of the whole.
        prefix: `input_` or `output_`.

    Returns:
        The rest; the whole itself where the parts exceed it, because then it was counted without them; None where only some of
        them exceed it together, which no way of counting explains.
    """
    cached = cache_read + cache_write_5m + cache_write_1h
    media = sum(number for kind, number in others.items() if kind.startswith(prefix)) if others else 0
    rest = whole - cached - media
    if rest >= 0:
        return rest
    if cached > whole:
        return whole - media if whole >= media else None
    if media > whole:
        return whole - cached
    return None


def charge(card: Card, counts: TokenCounts, is_estimated: bool = False, duration_ns: int = 0) -> Priced:
    """What a card charges for counts.

    Args:
        card: The card that holds for the call.
        counts: Its disjoint counts.
        is_estimated: The counts are somebody's estimate.
        duration_ns: How long it ran; for models that cost by the hour.
    """
    given, read, write_5m, write_1h, produced, reasoning, others = counts
    steps = card.steps
    rates = steps[0][1]
    if len(steps) > 1:
        total_input = counts.total_input if others else given + read + write_5m + write_1h
        for threshold, step in steps:
            if total_input > threshold:
                rates = step
                break
    if rates.plain is not None and not others:
        # All rates are whole: nothing to round, nothing to look up. Nearly every call.
        of_input, of_read, of_5m, of_1h, of_output, of_reasoning = rates.plain
        cost_input, cost_output = of_input * given, of_output * produced
        cost_read = cost_write = savings = 0
        cost_reasoning = None
        if reasoning:
            cost_reasoning = of_reasoning * reasoning
            cost_output += cost_reasoning
        if read or write_5m or write_1h:
            cost_read, cost_write = of_read * read, of_5m * write_5m + of_1h * write_1h
            savings = of_input * (read + write_5m + write_1h) - cost_read - cost_write
        total = cost_input + cost_read + cost_write + cost_output
        status = _ESTIMATED if is_estimated else rates.status
        fields = (
            status, card.source, card.version, "",
            total, cost_input, cost_read, cost_write, cost_output, 0, cost_reasoning, None, savings,
        )  # fmt: skip
        # What the named tuple itself would do, without its call.
        return tuple.__new__(Priced, fields)
    return _charge_line_by_line(card, rates, counts, is_estimated, duration_ns)


def _charge_line_by_line(card: Card, rates: Rates, counts: TokenCounts, is_estimated: bool, duration_ns: int) -> Priced:
    given, read, write_5m, write_1h, produced, reasoning, others = counts
    if (rates.input is None or rates.output is None) and (reason := _missing(rates, counts, card)):
        return unpriced(reason)
    more = _charge_others(rates, others) if others else (0, 0, 0)
    if isinstance(more, str):
        return unpriced(more)
    media_in, media_out, cost_other = more
    cost_input = round((rates.input or 0) * given) + media_in
    cost_read = round(rates.cache_read * read)
    cost_write = round(rates.cache_write_5m * write_5m) + round(rates.cache_write_1h * write_1h)
    cost_reasoning = round(rates.reasoning * reasoning)
    cost_output = round((rates.output or 0) * produced) + cost_reasoning + media_out
    cost_other += round(rates.per_call)
    if card.per_second:
        cost_other += round(card.per_second * duration_ns * 1_000)
    total = cost_input + cost_read + cost_write + cost_output + cost_other
    cached = read + write_5m + write_1h
    savings = round((rates.input or 0) * cached) - cost_read - cost_write if cached else 0
    return Priced(
        _ESTIMATED if is_estimated or card.is_estimate else _PRICED if card.per_second else rates.status,
        card.source,
        card.version,
        "",
        total,
        cost_input,
        cost_read,
        cost_write,
        cost_output,
        cost_other,
        cost_reasoning if reasoning else None,
        media_in + media_out if others else None,
        savings,
    )


def _missing(rates: Rates, counts: TokenCounts, card: Card) -> str:
    """The reason why counts cannot be charged, for a card that lacks a price for input or for output."""
    if card.per_second or rates.per_call:
        return ""
    if rates.input is None and counts.input + counts.cache_read + counts.cache_write_5m + counts.cache_write_1h:
        # A model that is billed by the search, by the page or by the second has no price for tokens, and needs none.
        return (
            "" if any(rates.other.get(kind) is not None and number for kind, number in counts.other.items()) else "no_token_price"
        )
    if rates.output is None and rates.input is None and counts.output + counts.reasoning:
        return "no_token_price"
    return ""


def _charge_others(rates: Rates, others: Mapping[str, int]) -> tuple[int, int, int] | str:
    media_in = media_out = rest = 0
    for kind, number in others.items():
        if not number:
            continue
        rate = rates.other.get(kind)
        if rate is None:
            return f"no_price_for_{kind}"
        cost = round(rate * number)
        if kind.startswith("input_"):
            media_in += cost
        elif kind.startswith("output_"):
            media_out += cost
        else:
            rest += cost
    return media_in, media_out, rest

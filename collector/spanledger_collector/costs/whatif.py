"""What another model would have cost on the same traffic: the same tokens at its prices. Pure.

Tokens are those that were counted, so what is said is a first answer and not a promise: see `CAVEATS`.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from spanledger_collector.pricing.book import Book
from spanledger_collector.pricing.rates import Card, Rates

CAVEATS: Final = (
    "Token counts are those of the model that answered; another tokenizer splits the same text into more or fewer.",
    "Cached tokens are taken as cached, whether or not the other provider would have found them in its cache.",
    "Answers are taken to be as long; a model that reasons, or is wordier, produces more.",
    "Nothing is said of the quality of the answers.",
)
_NS_PER_HOUR: Final = 3_600_000_000_000


class Bucket(NamedTuple):
    """Calls of one model in one hour with the same step of input: their number, cost (1e-12 USD) and tokens by kind."""

    provider: str
    model: str
    hour: int
    step: int
    calls: int
    cost_pico: int
    tokens: Mapping[str, int]


class Recosted(NamedTuple):
    """One model's traffic at its own cost and at the other's prices, in 1e-12 USD.

    `left_out` calls the other has no price for, for the `reason` given.
    """

    provider: str
    model: str
    calls: int
    cost_pico: int
    other_pico: int
    left_out: int
    left_out_pico: int
    reason: str


def thresholds(book: Book, provider: str, model: str, hours: Iterable[int]) -> tuple[int, ...]:
    """Inputs above which the other model's price changes, in order; calls must be bucketed by them."""
    found: set[int] = set()
    for hour in hours:
        card = book.card(provider, model, hour * _NS_PER_HOUR)
        if isinstance(card, Card):
            found.update(threshold for threshold, _ in card.steps if threshold > 0)
    return tuple(sorted(found))


def recost(book: Book, provider: str, model: str, steps: tuple[int, ...], buckets: Iterable[Bucket]) -> list[Recosted]:
    """Price traffic as if another model had answered it, by the model that did.

    Args:
        book: The project's prices.
        provider: The other model's provider.
        model: The other model.
        steps: The thresholds by which buckets were made; a bucket's `step` is how many of them its calls exceed.
        buckets: The traffic.

    """
    found: dict[tuple[str, str], list[int]] = {}
    reasons: dict[tuple[str, str], str] = {}
    for bucket in buckets:
        sums = found.setdefault((bucket.provider, bucket.model), [0, 0, 0, 0, 0])
        card = book.card(provider, model, bucket.hour * _NS_PER_HOUR)
        cost = card if isinstance(card, str) else _charge(_rates(card, steps, bucket.step), bucket)
        if isinstance(cost, str):
            reasons[bucket.provider, bucket.model] = cost
            sums[3] += bucket.calls
            sums[4] += bucket.cost_pico
        else:
            sums[0] += bucket.calls
            sums[1] += bucket.cost_pico
            sums[2] += cost
    ordered = sorted(found.items(), key=lambda item: -item[1][1])
    return [Recosted(*key, sums[0], sums[1], sums[2], sums[3], sums[4], reasons.get(key, "")) for key, sums in ordered]


def _rates(card: Card, steps: tuple[int, ...], step: int) -> Rates:
    reached = steps[step - 1] if step else -1
    return next((rates for threshold, rates in card.steps if reached >= threshold), card.steps[-1][1])


def _charge(rates: Rates, bucket: Bucket) -> int | str:
    if rates.input is None or rates.output is None:
        return "no_token_price"
    by_kind = {
        "input": rates.input,
        "cache_read": rates.cache_read,
        "cache_write_5m": rates.cache_write_5m,
        "cache_write_1h": rates.cache_write_1h,
        "output": rates.output,
        "reasoning": rates.reasoning,
    }
    total = rates.per_call * bucket.calls
    for kind, number in bucket.tokens.items():
        if not number:
            continue
        rate = by_kind.get(kind, rates.other.get(kind))
        if rate is None:
            return f"no_price_for_{kind}"
        total += rate * number
    return round(total)

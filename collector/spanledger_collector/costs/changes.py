"""Why cost changed between two periods: volume, model mix, tokens per call, price. An exact decomposition that adds up.

Cost is the sum over models of calls x share of the model x sum over kinds of (tokens per call x price per token). Each factor
is moved from the earlier period's value to the later's, one after the other, in that order; the sums telescope, so the four
effects add up to the whole change to the last digit. Arithmetic is in fractions. What has no counts of its own (fees, costs
that a provider reports whole) is one piece per call. A model that is new has no earlier tokens per call or price: all of it
is mix; so is one that is gone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Final

DIGITS: Final = Decimal("1e-12")
EFFECTS: Final = ("volume", "mix", "tokens_per_call", "price")


@dataclass(frozen=True, slots=True)
class Traffic:
    """One model's calls with a known cost in one period: their number, and tokens and cost in 1e-12 USD by kind."""

    calls: int
    tokens: Mapping[str, int]
    cost_pico: Mapping[str, int]

    @property
    def total(self) -> int:
        """All cost, in 1e-12 USD."""
        return sum(self.cost_pico.values())


@dataclass(slots=True)
class Change:
    """The effects of one model, or of all, in USD; they add up to `total`."""

    volume: Decimal = Decimal(0)
    mix: Decimal = Decimal(0)
    tokens_per_call: Decimal = Decimal(0)
    price: Decimal = Decimal(0)
    before_usd: Decimal = Decimal(0)
    after_usd: Decimal = Decimal(0)
    calls_before: int = 0
    calls_after: int = 0

    @property
    def total(self) -> Decimal:
        """The whole change."""
        return self.after_usd - self.before_usd


@dataclass(slots=True)
class Changes:
    """The decomposition by model, and over all of them."""

    by_model: dict[str, Change] = field(default_factory=dict)
    overall: Change = field(default_factory=Change)


def decompose(before: Mapping[str, Traffic], after: Mapping[str, Traffic]) -> Changes:
    """Explain the change of cost from one period to the next.

    Args:
        before: Traffic of the earlier period by model.
        after: Traffic of the later period by model.

    """
    calls_before, calls_after = sum(item.calls for item in before.values()), sum(item.calls for item in after.values())
    changes = Changes()
    for model in sorted({*before, *after}):
        exact = _effects(before.get(model), after.get(model), calls_before, calls_after)
        change = _rounded(exact, before.get(model), after.get(model))
        changes.by_model[model] = change
        overall = changes.overall
        for name in (*EFFECTS, "before_usd", "after_usd", "calls_before", "calls_after"):
            setattr(overall, name, getattr(overall, name) + getattr(change, name))
    return changes


def _effects(before: Traffic | None, after: Traffic | None, all_before: int, all_after: int) -> dict[str, Fraction]:
    old, new = before or Traffic(0, {}, {}), after or Traffic(0, {}, {})
    if not all_before or not all_after:
        # With nothing on one side there is nothing to compare but the volume.
        return {"volume": Fraction(new.total - old.total)}
    share_old, share_new = Fraction(old.calls, all_before), Fraction(new.calls, all_after)
    cost_new = _per_call(new.total, new.calls)
    # A new model's past is taken to be as its present, so that its coming is mix and nothing else.
    cost_old = _per_call(old.total, old.calls) if old.calls else cost_new
    effects = {
        "volume": (all_after - all_before) * share_old * cost_old,
        "mix": all_after * (share_new - share_old) * cost_old,
        "tokens_per_call": Fraction(0),
        "price": Fraction(0),
    }
    if not old.calls or not new.calls:
        return effects
    for kind in {*old.cost_pico, *new.cost_pico}:
        tokens_old, price_old = _rate(old, kind)
        tokens_new, price_new = _rate(new, kind)
        # A kind that one side does not use has a price on the other only.
        price_old = price_new if price_old is None else price_old
        price_new = price_old if price_new is None else price_new
        if price_old is None or price_new is None:
            continue
        effects["tokens_per_call"] += new.calls * (tokens_new - tokens_old) * price_old
        effects["price"] += new.calls * tokens_new * (price_new - price_old)
    return effects


def _per_call(total: int, calls: int) -> Fraction:
    return Fraction(total, calls) if calls else Fraction(0)


def _rate(traffic: Traffic, kind: str) -> tuple[Fraction, Fraction | None]:
    """Pieces per call and price per piece; a cost without pieces is one piece per call."""
    pieces = traffic.tokens.get(kind, 0)
    cost = traffic.cost_pico.get(kind, 0)
    if not pieces:
        if not cost:
            return Fraction(0), None
        pieces = traffic.calls
    return Fraction(pieces, traffic.calls), Fraction(cost, pieces)


def _rounded(exact: Mapping[str, Fraction], before: Traffic | None, after: Traffic | None) -> Change:
    """Effects in USD to twelve digits; what rounding leaves goes to the largest, so that they still add up."""
    old, new = (before.total if before else 0), (after.total if after else 0)
    whole = {name: round(exact.get(name, Fraction(0))) for name in EFFECTS}
    largest = max(EFFECTS, key=lambda name: abs(whole[name]))
    whole[largest] += (new - old) - sum(whole.values())
    money = {name: Decimal(value) * DIGITS for name, value in whole.items()}
    return Change(
        **money,
        before_usd=Decimal(old) * DIGITS,
        after_usd=Decimal(new) * DIGITS,
        calls_before=before.calls if before else 0,
        calls_after=after.calls if after else 0,
    )

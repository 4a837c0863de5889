"""Why one day's bill of a model differs from what the ledger holds: pieces that add up to the difference exactly. Pure.

With tokens on both sides the way from ours to the bill is: what our unpriced calls would have cost, then the tokens that only
one side has, both at the price that is paid here; what money then remains on equal tokens is the price. Without tokens, money
alone says little: what is not explained by it stays unexplained.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple

from spanledger_collector.costs.sides import Cell, Group


class Reason(StrEnum):
    """Why bill and ledger differ."""

    UNPRICED = "unpriced"
    MISSING = "missing_spans"
    DOUBLED = "counted_more"
    ESTIMATED = "estimated_usage"
    PRICE = "different_price"
    DISCOUNT = "discount"
    CREDIT = "credits"
    FEE = "fees"
    DAY_EDGE = "day_edge"
    ROUNDING = "rounding"
    UNEXPLAINED = "unexplained"


MEANINGS: Final[Mapping[Reason, str]] = {
    Reason.UNPRICED: "Calls that are recorded here without a cost.",
    Reason.MISSING: "Billed and not recorded here: traffic that is not instrumented, sampled out or lost.",
    Reason.DOUBLED: "Recorded here and not on the bill: counted twice, billed to another key or account, or never charged.",
    Reason.ESTIMATED: "Usage that is estimated here, because the answer did not say it.",
    Reason.PRICE: "The same tokens at another price.",
    Reason.DISCOUNT: "The same tokens below the price that is assumed here: a discount or a free allowance.",
    Reason.CREDIT: "Credits, refunds and corrections on the bill.",
    Reason.FEE: "Fees that are not for tokens: searches, storage, sessions; on the bill or here, but not on both.",
    Reason.DAY_EDGE: "Differences that cancel between neighbouring days: calls around midnight, or days of another time zone.",
    Reason.ROUNDING: "Within the digits to which the bill is rounded.",
    Reason.UNEXPLAINED: "Money alone does not say why.",
}
ADVICE: Final[Mapping[Reason, str]] = {
    Reason.UNPRICED: "Set a price for these models, then re-price.",
    Reason.MISSING: "Look for applications and keys that do not send spans.",
    Reason.DOUBLED: "Compare keys and projects; look for calls that two instrumentations report.",
    Reason.ESTIMATED: "Ask for usage in streams (stream_options.include_usage).",
    Reason.PRICE: "Set the price that you pay, then re-price.",
    Reason.DISCOUNT: "Set the price that you pay, then re-price.",
    Reason.CREDIT: "Nothing: the ledger holds what calls cost, not what is given back.",
    Reason.FEE: "Record web_searches and the like with the calls, or set a price for the tool.",
    Reason.DAY_EDGE: "If there is much of it, give the time zone of the bill's days.",
    Reason.ROUNDING: "Nothing.",
    Reason.UNEXPLAINED: "Give the provider's usage export of the same days as a second file: it tells tokens from prices.",
}


class Piece(NamedTuple):
    """A part of one group's difference: money in 1e-12 USD, tokens (bill less ours; None where money alone is known)."""

    reason: Reason
    cell: Cell
    money: Fraction
    tokens: int | None = None


class Rates(NamedTuple):
    """Where the price of a token is from when a group's own calls do not tell: 1e-12 USD."""

    in_range: Mapping[tuple[str, Cell], Fraction]
    """What the calls of all days paid, by provider and cell."""
    listed: Callable[[Group, Cell], Fraction | None]
    """What the price book says."""


def explain(group: Group, rates: Rates) -> list[Piece]:
    """The pieces of a group's difference, which add up to bill less ours. Without money on the bill, tokens are valued."""
    pieces = []
    if fees := group.fees - group.other:
        pieces.append(Piece(Reason.FEE, (group.model, ""), Fraction(fees)))
    if group.credits:
        pieces.append(Piece(Reason.CREDIT, (group.model, ""), Fraction(group.credits)))
    target = group.billed
    if target is not None and group.listed is not None and target != group.listed:
        pieces.append(Piece(Reason.DISCOUNT, (group.model, ""), Fraction(target - group.listed)))
        target = group.listed
    if group.bill_tokens is None:
        return pieces + (_by_money(group, target, rates) if target is not None else [])
    if target == group.ours and _no_zeros(group.bill_tokens) == _no_zeros(group.tokens):
        return pieces
    return pieces + _by_tokens(group, group.bill_tokens, target, rates)


def _no_zeros(tokens: Mapping[Cell, int]) -> dict[Cell, int]:
    return {cell: number for cell, number in tokens.items() if number}


def _by_tokens(group: Group, billed: Mapping[Cell, int], target: int | None, rates: Rates) -> list[Piece]:
    cells = sorted({*_no_zeros(billed), *_no_zeros(group.tokens), *group.costs, *(group.money if target is not None else ())})
    if not group.calls and target is not None:
        weights = _rates(group, billed, cells, target, rates)
        money = _spread(group, billed, target, weights)
        return [Piece(Reason.MISSING, cell, money[cell], billed.get(cell, 0)) for cell in money]
    if not any(billed.values()) and not target:
        return _all_ours(group, cells)
    price = _rates(group, billed, cells, target, rates)
    pieces = []
    for cell in cells:
        rate = price.get(cell) or Fraction(0)
        if target is not None and (unpriced := group.unpriced_tokens.get(cell, 0)):
            pieces.append(Piece(Reason.UNPRICED, cell, unpriced * rate, 0))
        difference = billed.get(cell, 0) - group.tokens.get(cell, 0)
        shares = _share_out(group, cell, billed.get(cell, 0), difference)
        pieces += [Piece(reason, cell, tokens * rate, tokens) for reason, tokens in shares if tokens]
    if target is not None:
        pieces += _prices(group, billed, cells, price, target - group.ours - sum((piece.money for piece in pieces), Fraction(0)))
    return pieces


def _all_ours(group: Group, cells: Iterable[Cell]) -> list[Piece]:
    """Nothing of it is on the bill."""
    pieces = [Piece(Reason.DOUBLED, cell, Fraction(-group.costs.get(cell, 0)), -group.tokens.get(cell, 0)) for cell in cells]
    if group.whole:
        pieces.append(Piece(Reason.DOUBLED, (group.model, ""), Fraction(-group.whole)))
    return pieces


def _rates(
    group: Group, billed: Mapping[Cell, int], cells: Iterable[Cell], target: int | None, rates: Rates
) -> dict[Cell, Fraction]:
    """What a token of each cell costs here; where no call tells, by the bill's own money; where that does not, by the list."""
    found: dict[Cell, Fraction] = {}
    unknown = []
    for cell in cells:
        tokens, in_range = group.priced_tokens.get(cell, 0), rates.in_range.get((group.provider, cell))
        if tokens:
            found[cell] = Fraction(group.costs.get(cell, 0), tokens)
        elif in_range is not None:
            found[cell] = in_range
        elif target is not None and group.is_by_kind and billed.get(cell):
            found[cell] = Fraction(group.money.get(cell, 0), billed[cell])
        elif target is None and (listed := rates.listed(group, cell)) is not None:
            found[cell] = listed
        else:
            unknown.append(cell)
    if target is not None and unknown:
        tokens = sum(billed.get(cell, 0) for cell in unknown)
        rest = target - sum((rate * billed.get(cell, 0) for cell, rate in found.items()), Fraction(0))
        found |= {cell: max(Fraction(0), rest) / tokens if tokens else Fraction(0) for cell in unknown}
    return found


def _spread(group: Group, billed: Mapping[Cell, int], target: int, weights: Mapping[Cell, Fraction]) -> dict[Cell, Fraction]:
    """The bill's money by cell: as it says, else in proportion to what the tokens should have cost."""
    if group.is_by_kind and sum(group.money.values()) == target:
        return {cell: Fraction(group.money.get(cell, 0)) for cell in {*group.money, *_no_zeros(billed)}}
    values = {cell: weights.get(cell, Fraction(0)) * number for cell, number in billed.items() if number}
    whole = sum(values.values(), Fraction(0))
    if not whole:
        return {**dict.fromkeys(values, Fraction(0)), (group.model, ""): Fraction(target)}
    return {cell: target * value / whole for cell, value in values.items()}


def _share_out(group: Group, cell: Cell, billed: int, difference: int) -> list[tuple[Reason, int]]:
    """Whose the tokens are that only one side has."""
    estimated = group.estimated_tokens.get(cell, 0)
    if difference < 0:
        has_all_calls = group.requests is not None and group.requests >= group.calls
        by_estimate = -min(-difference, estimated)
        if has_all_calls and estimated:
            by_estimate = difference
        return [(Reason.ESTIMATED, by_estimate), (Reason.DOUBLED, difference - by_estimate)]
    unsure = bool(estimated or group.silent)
    if group.requests is not None and unsure:
        missing_calls = max(0, group.requests - group.calls)
        missing = min(difference, billed * missing_calls // group.requests) if group.requests else difference
    elif unsure:
        mean = group.tokens.get(cell, 0) // max(1, group.calls - group.silent)
        missing = max(0, difference - estimated - group.silent * mean)
    else:
        missing = difference
    rest = difference - missing
    silent = rest if not estimated else min(rest, group.silent * (billed // max(1, group.calls)))
    return [(Reason.MISSING, missing), (Reason.UNPRICED, silent), (Reason.ESTIMATED, rest - silent)]


def _prices(
    group: Group, billed: Mapping[Cell, int], cells: Iterable[Cell], price: Mapping[Cell, Fraction], rest: Fraction
) -> list[Piece]:
    """What money remains on equal tokens, by cell where the bill tells money by kind."""
    pieces = []
    if group.is_by_kind and group.listed == group.billed:
        for cell in cells:
            over = group.money.get(cell, 0) - billed.get(cell, 0) * price.get(cell, Fraction(0))
            if over:
                reason = Reason.ROUNDING if abs(over) <= group.tolerance([cell]) else Reason.PRICE
                pieces.append(Piece(reason, cell, over))
                rest -= over
    if rest:
        reason = Reason.ROUNDING if abs(rest) <= group.tolerance(group.lines) else Reason.PRICE
        pieces.append(Piece(reason, (group.model, ""), rest))
    return pieces


def _by_money(group: Group, target: int, rates: Rates) -> list[Piece]:
    """Pieces where the bill counts no tokens."""
    whole: Cell = (group.model, "")
    if not group.calls:
        money = {cell: Fraction(amount) for cell, amount in group.money.items()} if target == sum(group.money.values()) else {}
        return [Piece(Reason.MISSING, cell, amount) for cell, amount in (money or {whole: Fraction(target)}).items() if amount]
    rest = Fraction(target - group.ours)
    if not rest:
        return []
    if not target and not group.money:
        return [Piece(Reason.DOUBLED, whole, rest)]
    if abs(rest) <= group.tolerance(group.lines):
        return [Piece(Reason.ROUNDING, whole, rest)]
    pieces = []
    if group.unpriced_calls == group.calls:
        return [Piece(Reason.UNPRICED, whole, rest)]
    if rest > 0 and group.unpriced_tokens:
        values = [number * _known_rate(group, cell, rates) for cell, number in group.unpriced_tokens.items()]
        if value := min(rest, sum(values, Fraction(0))):
            pieces.append(Piece(Reason.UNPRICED, whole, value))
            rest -= value
    if group.estimated_cost and rest:
        limit = Fraction(group.estimated_cost)
        value = max(-limit, min(limit, rest))
        pieces.append(Piece(Reason.ESTIMATED, whole, value))
        rest -= value
    if rest:
        pieces.append(Piece(Reason.UNEXPLAINED, whole, rest))
    return pieces


def _known_rate(group: Group, cell: Cell, rates: Rates) -> Fraction:
    if tokens := group.priced_tokens.get(cell, 0):
        return Fraction(group.costs.get(cell, 0), tokens)
    return rates.in_range.get((group.provider, cell)) or rates.listed(group, cell) or Fraction(0)

"""A provider's bill against the ledger, by day and model: tokens first, then money, the difference in parts that add up. Pure.

All money is in 1e-12 USD and whole: parts are computed as fractions, and what rounding leaves goes to a group's largest part.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from itertools import groupby, pairwise
from typing import Final

from spanledger_collector.costs.bills.lines import KINDS, Bill
from spanledger_collector.costs.overrides import Override, is_one_factor, overrides_of
from spanledger_collector.costs.reasons import Piece, Rates, Reason, explain
from spanledger_collector.costs.sides import Cell, Group, Sides, Traffic, lay_out

_DAY: Final = timedelta(days=1)
_MOVABLE: Final = (Reason.MISSING, Reason.DOUBLED, Reason.UNEXPLAINED)
_DAYS_OF_ONE_FACTOR: Final = 3


@dataclass(slots=True)
class Difference:
    """One day and model: both sides and the parts of their difference, which add up to `billed - ours`."""

    group: Group
    billed: int
    """With fees and credits; where the bills hold no money, what their tokens would cost here."""
    ours: int
    parts: dict[Reason, int] = field(default_factory=dict)
    tokens: dict[Reason, int] = field(default_factory=dict)


@dataclass(slots=True)
class Reconciliation:
    """All of it. `found_share` of the billed tokens are recorded here too; None where the bills count none."""

    sides: Sides
    differences: list[Difference]
    overrides: list[Override]
    found_share: float | None


def reconcile(
    bills: Sequence[Bill], traffic: Iterable[Traffic], listed: Callable[[Group, Cell], Fraction | None]
) -> Reconciliation:
    """Compare bills in USD with what the ledger holds, and say why they differ.

    Args:
        bills: Read files; they add up, as a usage and a costs export of the same days do.
        traffic: The ledger's calls on those days.
        listed: What a token of a cell costs by the price book, in 1e-12 USD.
    """
    sides = lay_out(bills, traffic)
    rates = Rates(_in_range(sides.groups), listed)
    pieces = [explain(group, rates) for group in sides.groups]
    pieces = _day_edges(sides.groups, pieces)
    pieces = _discounts(sides.groups, pieces)
    differences = [_difference(group, found) for group, found in zip(sides.groups, pieces, strict=True)]
    return Reconciliation(sides, differences, overrides_of(sides.groups, pieces), _found_share(sides.groups))


def _in_range(groups: Iterable[Group]) -> dict[tuple[str, Cell], Fraction]:
    """What a token cost here over all days, by provider and cell."""
    tokens: dict[tuple[str, Cell], int] = defaultdict(int)
    costs: dict[tuple[str, Cell], int] = defaultdict(int)
    for group in groups:
        for cell, number in group.priced_tokens.items():
            tokens[group.provider, cell] += number
            costs[group.provider, cell] += group.costs.get(cell, 0)
    return {key: Fraction(costs[key], number) for key, number in tokens.items() if number}


def _day_edges(groups: Sequence[Group], pieces: list[list[Piece]]) -> list[list[Piece]]:
    """Move what cancels between one day and the next, of one model and kind, to `day_edge`."""
    found = [list(of_group) for of_group in pieces]
    by_model = sorted(range(len(groups)), key=lambda at: (groups[at].provider, groups[at].model, groups[at].day))
    for _, run in groupby(by_model, key=lambda at: (groups[at].provider, groups[at].model)):
        numbers = list(run)
        for first, second in pairwise(numbers):
            if groups[second].day - groups[first].day == _DAY:
                _cancel(found[first], found[second])
    return found


def _cancel(first: list[Piece], second: list[Piece]) -> None:
    for at, piece in enumerate(first):
        for other_at, other in enumerate(second):
            mine, theirs = _size(piece), _size(other)
            is_pair = piece.cell == other.cell and (piece.tokens is None) == (other.tokens is None)
            if not is_pair or {piece.reason, other.reason} - set(_MOVABLE) or mine * theirs >= 0:
                continue
            moved = min(abs(mine), abs(theirs))
            first[at], edge = _moved(piece, moved)
            second[other_at], other_edge = _moved(other, moved)
            first.append(edge)
            second.append(other_edge)
            piece = first[at]


def _size(piece: Piece) -> Fraction:
    return piece.money if piece.tokens is None else Fraction(piece.tokens)


def _moved(piece: Piece, size: Fraction) -> tuple[Piece, Piece]:
    """A piece without so much of it, and that much as a day's edge."""
    whole = abs(_size(piece))
    share = size / whole
    money = piece.money * share
    if piece.tokens is None:
        return piece._replace(money=piece.money - money), Piece(Reason.DAY_EDGE, piece.cell, money)
    tokens = int(size) if piece.tokens > 0 else -int(size)
    rest = piece._replace(money=piece.money - money, tokens=piece.tokens - tokens)
    return rest, Piece(Reason.DAY_EDGE, piece.cell, money, tokens)


def _discounts(groups: Sequence[Group], pieces: list[list[Piece]]) -> list[list[Piece]]:
    """Call a price that is lower by one factor throughout a discount; so also, over some days, money without tokens."""
    found = [list(of_group) for of_group in pieces]
    keys = {(group.provider, group.model) for group in groups}
    for key in keys:
        mine = [at for at, group in enumerate(groups) if (group.provider, group.model) == key]
        priced = [at for at in mine if any(piece.reason is Reason.PRICE for piece in found[at])]
        factor = is_one_factor([groups[at] for at in priced], [found[at] for at in priced], (Reason.PRICE,))
        if factor is not None and factor < 1:
            _rename(found, priced, Reason.PRICE, Reason.DISCOUNT)
        alone = [at for at in mine if any(piece.reason is Reason.UNEXPLAINED for piece in found[at])]
        if len(alone) >= _DAYS_OF_ONE_FACTOR:
            factor = is_one_factor([groups[at] for at in alone], [found[at] for at in alone], (Reason.UNEXPLAINED,))
            if factor is not None:
                _rename(found, alone, Reason.UNEXPLAINED, Reason.DISCOUNT if factor < 1 else Reason.PRICE)
    return found


def _rename(pieces: list[list[Piece]], numbers: Iterable[int], old: Reason, new: Reason) -> None:
    for at in numbers:
        pieces[at] = [piece._replace(reason=new) if piece.reason is old else piece for piece in pieces[at]]


def _difference(group: Group, pieces: Iterable[Piece]) -> Difference:
    """The parts in whole 1e-12 USD."""
    exact: dict[Reason, Fraction] = defaultdict(Fraction)
    tokens: dict[Reason, int] = defaultdict(int)
    for piece in pieces:
        exact[piece.reason] += piece.money
        tokens[piece.reason] += piece.tokens or 0
    ours = group.ours + group.other
    parts = {reason: round(money) for reason, money in exact.items()}
    if group.billed is None:
        billed = ours + sum(parts.values())
    else:
        billed = group.billed + group.fees + group.credits
        if parts:
            largest = max(parts, key=lambda reason: abs(parts[reason]))
            parts[largest] += billed - ours - sum(parts.values())
    shown = {reason: parts[reason] for reason in Reason if parts.get(reason) or tokens.get(reason)}
    return Difference(group, billed, ours, shown, {reason: number for reason, number in tokens.items() if number})


def _found_share(groups: Iterable[Group]) -> float | None:
    billed = shared = 0
    for group in groups:
        for cell, number in (group.bill_tokens or {}).items():
            billed += number
            shared += min(number, group.tokens.get(cell, 0))
    return shared / billed if billed else None


def mismatch(groups: Iterable[Group]) -> int:
    """How far the two sides are apart in tokens, else in money; the smaller, the better their days fit."""
    apart = 0
    for group in groups:
        if group.bill_tokens is None:
            apart += abs((group.billed or 0) - group.ours)
        else:
            apart += sum(
                abs(group.bill_tokens.get(cell, 0) - group.tokens.get(cell, 0)) for cell in {*group.bill_tokens, *group.tokens}
            )
    return apart


def tokens_by_kind(tokens: Mapping[Cell, int]) -> dict[str, int]:
    """Tokens of several models by kind."""
    found = dict.fromkeys(KINDS, 0)
    for (_, kind), number in tokens.items():
        found[kind] += number
    return found


def days_of(bills: Iterable[Bill]) -> tuple[date, date]:
    """The first and the last day that any bill speaks of."""
    days = {day for bill in bills for day in bill.days}
    return min(days), max(days)

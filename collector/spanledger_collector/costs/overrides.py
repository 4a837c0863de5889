"""The price that a bill implies, as the user's own price that would make the ledger agree with it. Pure."""

import shlex
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from spanledger_collector.costs.reasons import Piece, Reason
from spanledger_collector.costs.sides import PICO, Cell, Group

_PER: Final = 1_000_000
_DIGITS: Final = 12
_NEAR: Final = Fraction(1, 10**6)
_ABOUT_PRICE: Final = (Reason.PRICE, Reason.DISCOUNT)
_PRICE_KINDS: Final = {"input": "input", "cache_read": "cache_read", "cache_write": "cache_write_5m", "output": "output"}
_NAMES_MAX: Final = 5


class Override(NamedTuple):
    """A price to set, and what it would change."""

    provider: str
    model: str
    """As the ledger's calls name it."""
    since: date
    multiplier: Decimal | None
    prices: dict[str, Decimal]
    """USD per million tokens by kind of the price book."""
    effect: int
    """By how much it moves ours towards the bill, in 1e-12 USD."""

    @property
    def command(self) -> str:
        """The command that sets it."""
        words = ["spanledger", "prices", "set", self.model, *(["-p", self.provider] if self.provider else [])]
        if self.multiplier is not None:
            words += ["--multiplier", _plain(self.multiplier)]
        for kind, price in self.prices.items():
            words += ["-P", f"{kind}={_plain(price)}"]
        return shlex.join([*words, "--from", self.since.isoformat(), "--note", "from the bill"])


def overrides_of(groups: Sequence[Group], pieces: Sequence[Sequence[Piece]]) -> list[Override]:
    """Prices to set for models whose price differs or is unknown, those that move most first."""
    found = []
    by_model: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, (group, of_group) in enumerate(zip(groups, pieces, strict=True)):
        if any(piece.reason in (*_ABOUT_PRICE, Reason.UNPRICED) and piece.money for piece in of_group):
            by_model[group.provider, group.model].append(at)
    for numbers in by_model.values():
        mine, parts = [groups[at] for at in numbers], [pieces[at] for at in numbers]
        effect = sum((p.money for part in parts for p in part if p.reason in (*_ABOUT_PRICE, Reason.UNPRICED)), Fraction(0))
        multiplier, prices = _price(mine, parts)
        if multiplier is None and not prices:
            continue
        names = sorted({name for group in mine for name in group.our_names})[:_NAMES_MAX]
        since = min(group.day for group in mine)
        found += [Override(provider, model, since, multiplier, prices, round(effect)) for provider, model in names if model]
    return sorted(found, key=lambda item: (-abs(item.effect), item.provider, item.model))


def _price(groups: Sequence[Group], pieces: Sequence[Sequence[Piece]]) -> tuple[Decimal | None, dict[str, Decimal]]:
    if len({cell[0] for group in groups for cell in group.tokens}) > 1 or any(group.unmarked_modes for group in groups):
        # Several models' money together; or a batch's price, which would be wrong for all other calls.
        return None, {}
    is_list_price = not any(group.unpriced_calls or group.is_own_price for group in groups)
    if is_list_price and (factor := is_one_factor(groups, pieces, _ABOUT_PRICE)):
        return _shortest(factor, _tolerance(groups) / sum(group.billed or 1 for group in groups)), {}
    if not all(group.is_by_kind and group.bill_tokens for group in groups):
        return None, {}
    money: dict[str, int] = defaultdict(int)
    tokens: dict[str, int] = defaultdict(int)
    for group in groups:
        for (_, kind), amount in group.money.items():
            money[kind] += amount
        for (_, kind), number in (group.bill_tokens or {}).items():
            tokens[kind] += number
    prices = {}
    for kind, name in _PRICE_KINDS.items():
        if number := tokens[kind]:
            per_million = Fraction(_PER, number * PICO)
            prices[name] = _shortest(money[kind] * per_million, _tolerance(groups, kind) * per_million)
    return None, prices


def _tolerance(groups: Iterable[Group], kind: str = "") -> Fraction:
    """How far the bill's money, of a kind, may be rounded."""
    parts = (group.half_digit * n for group in groups for (_, of), n in group.lines.items() if not kind or of == kind)
    return sum(parts, Fraction(0))


def is_one_factor(groups: Sequence[Group], pieces: Sequence[Sequence[Piece]], reasons: Collection[Reason]) -> Fraction | None:
    """The one factor by which the bill's prices differ from ours on all days and kinds; None if there is no such."""
    pairs: list[tuple[Fraction, Fraction, Fraction]] = []
    for group, of_group in zip(groups, pieces, strict=True):
        over: dict[Cell, Fraction] = defaultdict(Fraction)
        for piece in of_group:
            if piece.reason in reasons:
                over[piece.cell] += piece.money
        pairs += _pairs(group, over)
    assumed = sum((pair[0] for pair in pairs), Fraction(0))
    if not assumed or not any(pair[1] for pair in pairs):
        return None
    factor = 1 + sum((pair[1] for pair in pairs), Fraction(0)) / assumed
    is_uniform = all(abs(base * (factor - 1) - over) <= tolerance + abs(base) * _NEAR for base, over, tolerance in pairs)
    return factor if is_uniform and factor >= 0 else None


def _pairs(group: Group, over: dict[Cell, Fraction]) -> Iterable[tuple[Fraction, Fraction, Fraction]]:
    """What was assumed, by how much the bill is above it, and how far that may be rounded: by cell where it is known so."""
    if not over:
        return
    if any(not kind for _, kind in over) or not group.is_by_kind:
        whole = sum(over.values(), Fraction(0))
        yield Fraction(group.billed or 0) - whole, whole, group.tolerance(group.lines)
        return
    for cell, amount in group.money.items():
        yield amount - over.get(cell, Fraction(0)), over.get(cell, Fraction(0)), group.tolerance([cell])


def _shortest(value: Fraction, tolerance: Fraction) -> Decimal:
    """The number with the fewest decimals that a bill rounded so could mean."""
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    for digits in range(_DIGITS):
        rounded = round(exact, digits)
        if abs(Fraction(rounded) - value) <= tolerance:
            return rounded
    return round(exact, _DIGITS).normalize()


def _plain(value: Decimal) -> str:
    return format(value, "f")

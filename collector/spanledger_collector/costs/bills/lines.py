"""One form for every bill: a line is what a provider says of one day, one model and one kind of usage."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple

KINDS: Final = ("input", "cache_read", "cache_write", "output")
"""Kinds of tokens that bills and the ledger both tell apart. Reasoning is output, audio and images are input and output."""


class What(StrEnum):
    """What a line charges for."""

    USAGE = "usage"
    FEE = "fee"
    CREDIT = "credit"


class BillLine(NamedTuple):
    """A line. Money is in the bill's currency and None where the line has none; so are tokens and requests."""

    day: date
    provider: str
    model: str = ""
    """As the bill writes it; empty where it names none."""
    kind: str = ""
    """Of `KINDS`, where the line's money is for one kind."""
    what: What = What.USAGE
    tokens: Mapping[str, int] | None = None
    requests: int | None = None
    amount: Decimal | None = None
    list_amount: Decimal | None = None
    """What it would have been without a negotiated discount."""
    currency: str = "USD"
    mode: str = ""
    """batch, flex, priority; empty for the listed price."""
    label: str = ""


@dataclass(slots=True)
class Bill:
    """One file, read: the days that it speaks of, idle ones too, and by how much its amounts may be rounded (`half_digit`)."""

    format: str
    lines: list[BillLine] = field(default_factory=list)
    days: set[date] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    half_digit: Fraction = Fraction(0)
    provider: str = ""
    """Whose bill it is, where that is known even of a bill without lines."""
    holds_money: bool = False
    holds_tokens: bool = False

    @property
    def has_tokens(self) -> bool:
        """Whether it is of a kind that counts tokens, even where there were none to count."""
        return self.holds_tokens or any(line.tokens is not None for line in self.lines)

    @property
    def has_money(self) -> bool:
        """Whether it is of a kind that has amounts, even where nothing was charged."""
        return self.holds_money or any(line.amount is not None for line in self.lines)


def half_digit(lines: Iterable[BillLine]) -> Fraction:
    """Half of the last digit of the finest amount, at most half a cent: how far a file's amounts may be rounded."""
    places = (line.amount.as_tuple().exponent for line in lines if line.amount is not None)
    return Fraction(1, 2 * 10 ** max(2, max((-place for place in places if isinstance(place, int)), default=2)))

"""Numbers and days as exports write them."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from spanledger_collector.errors import InvalidQuestion

_GROUPED: Final = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_AMOUNT_MAX: Final = Decimal(10) ** 12
_PLACES: Final = Decimal("1e-12")
_YEARS: Final = (2015, 2200)
_SECONDS: Final = re.compile(r"\d{9,10}(?:\.0+)?")
_DIGITS_PLAIN: Final = 12
_NOTHING: Final = frozenset({"", "null", "none", "nan", "n/a", "-"})


class Row(dict[str, Any]):
    """One row by column, and where it stands in its file, for messages."""

    def __init__(self, place: str, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.place = place

    def text(self, name: str) -> str:
        """A text without the space around it; empty where the column is missing or empty."""
        value = self.get(name)
        return "" if value is None else str(value).strip()[:1_000]

    def number(self, name: str, per: int = 1) -> Decimal | None:
        """A number, divided by `per`, to twelve decimals, which is as fine as the ledger is; None where there is none.

        Raises:
            InvalidQuestion: it is no number.
        """
        raw = self.text(name)
        if raw.isdecimal() and raw.isascii() and per == 1 and len(raw) < _DIGITS_PLAIN:
            return Decimal(raw)
        text = raw.lower()
        if text in _NOTHING:
            return None
        is_negative = text.startswith("(") and text.endswith(")")
        text = (text[1:-1] if is_negative else text).replace("$", "", 1).strip()
        if _GROUPED.fullmatch(text.lstrip("-")):
            text = text.replace(",", "")
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite() or abs(value) > _AMOUNT_MAX:
            raise InvalidQuestion(f"{self.place}: {name} is {raw[:40]!r}, which is no amount.")
        value = _trimmed((value / per).quantize(_PLACES))
        return -value if is_negative else value

    def count(self, name: str) -> int | None:
        """A count, which some exports write as `10.0`; None where there is none.

        Raises:
            InvalidQuestion: it is no whole number.
        """
        value = self.number(name)
        if value is None:
            return None
        if value != int(value) or value < 0:
            raise InvalidQuestion(f"{self.place}: {name} is {self.text(name)[:40]!r}, which is no count.")
        return int(value)

    def moment(self, *names: str) -> datetime | date | None:
        """The first of some columns that holds a time (with its zone) or a day; None where none does.

        Raises:
            InvalidQuestion: what it holds is neither.
        """
        for name in names:
            text = self.text(name)
            if not text:
                continue
            found = _moment(text)
            if found is None:
                raise InvalidQuestion(f"{self.place}: {name} is {text[:40]!r}, which is no day; days are written 2026-11-25.")
            return found
        return None

    def day(self, zone: ZoneInfo, *names: str) -> date:
        """The day of a row, in the bill's time zone; a time without a zone is already in it.

        Raises:
            InvalidQuestion: there is none.
        """
        found = self.moment(*names)
        if found is None:
            raise InvalidQuestion(f"{self.place} has no day in {' or '.join(names)}.")
        return found.astimezone(zone).date() if isinstance(found, datetime) else found


@lru_cache(maxsize=4_096)
def _moment(text: str) -> datetime | date | None:
    """A time with its zone, or a day; None where the text is neither, or no bill's."""
    try:
        found = datetime.fromtimestamp(int(float(text)), UTC) if _SECONDS.fullmatch(text) else datetime.fromisoformat(text)
    except ValueError:
        return None
    if not _YEARS[0] <= found.year <= _YEARS[1]:
        return None
    return found if found.tzinfo else found.date()


def _trimmed(value: Decimal) -> Decimal:
    """Without zeros at the end of its decimals, so that its exponent says how fine it is."""
    if not value:
        return Decimal(0)
    plain = value.normalize()
    exponent = plain.as_tuple().exponent
    return plain.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else plain

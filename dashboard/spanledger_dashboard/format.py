"""How a value of each unit is written, decided once.

Unknown is written `–`, never 0; a value that is not zero is never written as zero.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final
from zoneinfo import ZoneInfo

from spanledger_schema.catalogue import MEASURES
from spanledger_schema.units import Unit

UNKNOWN: Final = "–"
Number = Decimal | float | int
_SUFFIXES: Final = ((Decimal(10**9), "B"), (Decimal(10**6), "M"), (Decimal(10**3), "k"))
_COMPACT_FROM: Final = Decimal(10_000)
_COMPACT_LEAST: Final = Decimal("0.0001")
_FIGURE_SPACE: Final = "\u2007"
"""As wide as a digit, and sorted before all of them."""
TINY_USD: Final = Decimal("0.001")
"""Below it the cost of one interaction is written for a thousand of them."""


def _decimal(value: Number) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _significant(value: Decimal, digits: int = 2) -> Decimal:
    if value == 0:
        return Decimal(0)
    return value.quantize(Decimal(1).scaleb(value.adjusted() - digits + 1), ROUND_HALF_EVEN)


def _compact(value: Decimal) -> str | None:
    for size, suffix in _SUFFIXES:
        if value >= size and value >= _COMPACT_FROM:
            scaled = value / size
            return f"{scaled:.0f}{suffix}" if scaled >= 100 else f"{scaled:.1f}{suffix}"
    return None


def money(value: Number | None, *, compact: bool = False) -> str:
    """Dollars: none after the point from 100, two from 1, else two significant digits; `compact` writes $19.9k and < $0.0001."""
    if value is None:
        return UNKNOWN
    exact = _decimal(value)
    sign, size = ("-" if exact < 0 else ""), abs(exact)
    if size == 0:
        return "$0"
    if compact and (short := _compact(size)):
        return f"{sign}${short}"
    if compact and size < _COMPACT_LEAST:
        return f"> -${_COMPACT_LEAST}" if sign else f"< ${_COMPACT_LEAST}"
    if size >= Decimal("99.995"):
        return f"{sign}${size:,.0f}"
    if size >= Decimal("0.995"):
        return f"{sign}${size:.2f}"
    return f"{sign}${_significant(size):f}"


def money_column(values: Sequence[Number | None]) -> list[str | None]:
    """Dollars of one column, each with the digits that its own size needs, the points below each other.

    Figure spaces fill up what is before the point, so that the texts sort as amounts do, negative ones apart.
    """
    written = [None if value is None else money(value) for value in values]
    most = max((len(text.partition(".")[0]) for text in written if text), default=0)
    return [None if text is None else _FIGURE_SPACE * (most - len(text.partition(".")[0])) + text for text in written]


def money_each(value: Number | None) -> str:
    """Dollars per interaction; amounts under $0.001 are given for a thousand of them."""
    if value is None:
        return UNKNOWN
    exact = _decimal(value)
    if exact != 0 and abs(exact) < TINY_USD:
        return f"{money(exact * 1000)} / 1k"
    return money(exact)


def count(value: Number | None, *, compact: bool = False) -> str:
    """A whole number with thousands separators; `compact` writes 12.3k from ten thousand on."""
    if value is None:
        return UNKNOWN
    exact = _decimal(value)
    if compact and (short := _compact(abs(exact))):
        return f"{'-' if exact < 0 else ''}{short}"
    return f"{exact:,.0f}"


def percent(value: Number | None) -> str:
    """A ratio in percent, one decimal under 10 % and near 100 %; neither 0 % nor 100 % unless it is exactly that."""
    if value is None:
        return UNKNOWN
    share = _decimal(value) * 100
    if share == 0 or share == 100:
        return f"{share:.0f}%"
    if 0 < share < Decimal("0.05"):
        return "<0.1%"
    if Decimal("99.95") <= share < 100:
        return ">99.9%"
    return f"{share:.1f}%" if abs(share) < Decimal("9.95") or Decimal("99.5") <= share < 100 else f"{share:.0f}%"


def duration(seconds: Number | None) -> str:
    """A time span in the largest fitting unit: 420 ms, 6.4 s, 2 min 5 s, 1 h 2 min, 3 d 4 h."""
    if seconds is None:
        return UNKNOWN
    exact = float(seconds)
    if exact == 0:
        return "0 s"
    if abs(exact) < 0.9995:
        milliseconds = exact * 1000
        return f"{milliseconds:.0f} ms" if abs(milliseconds) >= 9.95 else f"{milliseconds:.2g} ms"
    if abs(exact) < 59.95:
        return f"{exact:.1f} s" if abs(exact) < 9.95 else f"{exact:.0f} s"
    return _clockwork(round(exact))


def duration_roughly(seconds: Number | None) -> str:
    """A time span in one unit, for where there is little room: 4.5 h."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds is not None and float(seconds) >= size:
            return f"{float(seconds) / size:.1f}".removesuffix(".0") + f" {unit}"
    return duration(seconds)


def _clockwork(seconds: int) -> str:
    for size, unit, smaller, smaller_unit in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            return f"{whole} {unit} {rest // smaller} {smaller_unit}" if rest // smaller else f"{whole} {unit}"
    return f"{seconds} s"


def probability(value: Number | None) -> str:
    """A confidence in [0, 1] with two decimals."""
    return UNKNOWN if value is None else f"{float(value):.2f}"


def speed(value: Number | None) -> str:
    """Tokens per second."""
    return UNKNOWN if value is None else f"{float(value):,.0f} tok/s"


def write(unit: Unit, value: Number | None, *, compact: bool = False) -> str:
    """`value` in the way of its unit."""
    match unit:
        case Unit.USD:
            return money(value, compact=compact)
        case Unit.RATIO:
            return percent(value)
        case Unit.SECONDS:
            return duration(value)
        case Unit.PROBABILITY:
            return probability(value)
        case Unit.TOKENS_PER_SECOND:
            return speed(value)
        case _:
            return count(value, compact=compact)


def measure(name: str, value: Number | None, *, compact: bool = False) -> str:
    """`value` of the catalogue's measure `name`; costs of one interaction may be given per thousand."""
    unit = MEASURES[name].unit
    if unit is Unit.USD and not MEASURES[name].additive:
        return money_each(value)
    return write(unit, value, compact=compact)


def change(unit: Unit, now: Number | None, before: Number | None) -> str | None:
    """The change between two periods: points for ratios, difference for probabilities, else percent.

    None when one side is unknown, or when a relative change has no basis.
    """
    if now is None or before is None:
        return None
    difference = float(now) - float(before)
    if unit is Unit.RATIO:
        return _signed(f"{difference * 100:+.1f}") + " pp"
    if unit is Unit.PROBABILITY:
        return _signed(f"{difference:+.2f}")
    if float(before) == 0:
        return "0%" if difference == 0 else None
    relative = difference / abs(float(before)) * 100
    return _signed(f"{relative:+.1f}" if abs(relative) < 9.95 else f"{relative:+,.0f}") + "%"


def _signed(text: str) -> str:
    """A change that rounds to nothing has no direction."""
    return text if text.strip("+-0.,") else text.lstrip("+-")


def plural(n: int, one: str, many: str | None = None) -> str:
    """A count with its noun."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def signed_money(value: Number) -> str:
    """A difference of money with its sign."""
    return money(value) if value < 0 else f"+{money(value)}"


def interval(low: float, high: float) -> str:
    """A confidence interval of a rate."""
    return f"{low * 100:.1f}–{high * 100:.1f}%"


def moment(at: datetime | None, zone: str) -> str:
    """A moment to the second in the reader's zone, with the zone's abbreviation."""
    return UNKNOWN if at is None else at.astimezone(ZoneInfo(zone)).strftime("%b %-d, %H:%M:%S %Z")


def day(at: datetime, zone: str) -> str:
    """The day of a moment in the reader's zone."""
    return at.astimezone(ZoneInfo(zone)).strftime("%b %-d, %Y")


def ago(past: timedelta) -> str:
    """How long ago something was."""
    return "just now" if past < timedelta(seconds=2) else f"{duration(round(past.total_seconds()))} ago"


def listing(items: Sequence[str], limit: int = 3) -> str:
    """A short enumeration that says how many more there are."""
    head = ", ".join(items[:limit])
    return head if len(items) <= limit else f"{head} and {len(items) - limit} more"


def bucket(granularity: str) -> str:
    """The size of a chart's buckets in words."""
    return {"minute": "By minute", "hour": "Hourly", "day": "Daily", "week": "Weekly", "month": "Monthly"}[granularity]

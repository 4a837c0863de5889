"""Rates as data: what each kind of usage costs, by how much input there is, when, and at which time of the week. Pure.

Prices are Decimal USD per the unit in which providers quote them (`PER`); compiled rates are integers of 1e-12 USD per piece
where that is exact, else Decimal. A price that is absent is unknown; a price of 0 is free.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple, cast

from spanledger_schema.tokens import CostStatus

PICO: Final = Decimal(10) ** 12
_NS_PER_DAY: Final = 86_400_000_000_000
_NS_PER_MINUTE: Final = 60_000_000_000

TOKENS: Final = 1_000_000
PER: Final[dict[str, int]] = {
    "input": TOKENS,
    "cache_read": TOKENS,
    "cache_write_5m": TOKENS,
    "cache_write_1h": TOKENS,
    "output": TOKENS,
    "reasoning": TOKENS,
    "input_audio": TOKENS,
    "output_audio": TOKENS,
    "input_image": TOKENS,
    "output_image": TOKENS,
    "input_video": TOKENS,
    "output_video": TOKENS,
    "web_searches": 1_000,
    "file_searches": 1_000,
    "requests": 1_000,
    "pages": 1_000,
    "characters": 1_000_000,
    "audio_seconds": 3_600,
    "images": 1,
    "search_units": 1_000,
}
"""How many pieces one quoted price is for: tokens by the million, searches and requests by the thousand, audio by the hour."""

Rate = int | Decimal
Plain = tuple[int, int, int, int, int, int]


class Steps(NamedTuple):
    """A price that depends on the call's whole input: above a threshold all of the call pays the higher step."""

    base: Decimal
    above: tuple[tuple[int, Decimal], ...]

    def at(self, threshold: int | None) -> Decimal:
        """The price of a call whose input exceeds `threshold` and no higher one; None: no threshold at all."""
        reached = [price for start, price in self.above if threshold is not None and start <= threshold]
        return reached[-1] if reached else self.base


Price = Decimal | Steps
Prices = Mapping[str, Price]
"""Prices by kind (a key of `PER`)."""


class Rates:
    """1e-12 USD per piece by kind, within one step of input. `other` holds every kind without an attribute.

    `plain` holds the rates of input, cache_read, cache_write_5m, cache_write_1h, output and reasoning where all are whole and
    nothing is added by the call, else None; `status` is free or priced.
    """

    __slots__ = (
        "cache_read",
        "cache_write_1h",
        "cache_write_5m",
        "input",
        "other",
        "output",
        "per_call",
        "plain",
        "reasoning",
        "status",
    )  # fmt: skip

    def __init__(self, rates: Mapping[str, Rate], per_call: Rate = 0) -> None:
        """Compile; kinds without a price of their own pay that of the kind that they are a part of."""
        self.input: Rate | None = rates.get("input")
        self.output: Rate | None = rates.get("output")
        self.cache_read: Rate = rates.get("cache_read", self.input or 0)
        self.cache_write_5m: Rate = rates.get("cache_write_5m", self.input or 0)
        self.cache_write_1h: Rate = rates.get("cache_write_1h", self.cache_write_5m)
        self.reasoning: Rate = rates.get("reasoning", self.output or 0)
        named = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")
        self.other = {kind: rate for kind, rate in rates.items() if kind not in named}
        self.per_call = per_call
        is_free = per_call == 0 and all(rate == 0 for rate in rates.values())
        self.status = str(CostStatus.FREE if is_free else CostStatus.PRICED)
        tokens = (self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h, self.output, self.reasoning)
        whole = tuple(rate for rate in tokens if isinstance(rate, int))
        self.plain = cast("Plain", whole) if per_call == 0 and len(whole) == len(tokens) else None


class Card(NamedTuple):
    """What a call pays: rates by step (the highest threshold first), where they come from, and what they were compiled from."""

    steps: tuple[tuple[int, Rates], ...]
    source: str
    version: str
    prices: Prices
    per_call: Decimal = Decimal(0)
    per_second: Decimal = Decimal(0)
    is_estimate: bool = False


class Window(NamedTuple):
    """A card for some hours of the week, in UTC."""

    days: frozenset[int]
    """Monday is 0."""
    start: int
    end: int
    """Minutes of the day; the end is outside. A window over midnight has its end before its start."""
    card: "Card | str"

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether a time of the week lies inside; a window over midnight belongs to the day on which it starts."""
        if self.start < self.end:
            return weekday in self.days and self.start <= minute < self.end
        return (weekday in self.days and minute >= self.start) or ((weekday - 1) % 7 in self.days and minute < self.end)


class Period(NamedTuple):
    """What holds from a time on (nanoseconds since 1970): a card, or the reason why there is none; windows go first."""

    start: int
    card: Card | str
    windows: tuple[Window, ...] = ()


class Timeline:
    """The periods of one model, in order; the first also holds for all time before it. `only`: what holds at all times, if so."""

    __slots__ = ("_starts", "only", "periods")

    def __init__(self, periods: Iterable[Period]) -> None:
        """Compile."""
        self.periods = tuple(periods)
        self._starts = [period.start for period in self.periods[1:]]
        single = self.periods[0] if len(self.periods) == 1 else None
        self.only = single.card if single is not None and not single.windows else None

    def at(self, start_ns: int) -> Card | str:
        """The card at a time, or the reason why there is none."""
        period = self.periods[bisect_right(self._starts, start_ns)]
        if period.windows:
            day, within = divmod(start_ns, _NS_PER_DAY)
            # 1970-01-01 was a Thursday.
            weekday, minute = (day + 3) % 7, within // _NS_PER_MINUTE
            for window in period.windows:
                if window.holds(weekday, minute):
                    return window.card
        return period.card


def compile_card(
    prices: Prices,
    source: str,
    version: str,
    *,
    per_call: Decimal = Decimal(0),
    per_second: Decimal = Decimal(0),
    is_estimate: bool = False,
) -> Card:
    """Turn prices into rates by step."""
    thresholds = sorted(
        {start for price in prices.values() if isinstance(price, Steps) for start, _ in price.above}, reverse=True
    )
    steps = []
    for threshold in (*thresholds, None):
        rates = {}
        for kind, price in prices.items():
            value = price.at(threshold) if isinstance(price, Steps) else price
            rates[kind] = _rate(value * PICO / PER[kind])
        steps.append((-1 if threshold is None else threshold, Rates(rates, _rate(per_call * PICO))))
    return Card(tuple(steps), source, version, prices, per_call, per_second, is_estimate)


def scale(price: Price, factor: Decimal) -> Price:
    """A price times a factor."""
    if isinstance(price, Steps):
        return Steps(price.base * factor, tuple((start, value * factor) for start, value in price.above))
    return price * factor


def _rate(amount: Decimal) -> Rate:
    return int(amount) if amount == amount.to_integral_value() else amount

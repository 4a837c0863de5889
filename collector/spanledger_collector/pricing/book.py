"""The price book of a project: its own prices before the shipped ones. Pure; a book never changes, a new price makes a new book.

Timelines are compiled when a model is first seen and kept, so that pricing a call is two look-ups and an addition.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final

from spanledger_collector.pricing.arithmetic import COST_PICO_MAX, Priced, TokenCounts, charge, unpriced
from spanledger_collector.pricing.compile import compile_shipped
from spanledger_collector.pricing.names import candidates, provider_id
from spanledger_collector.pricing.rates import Card, Period, Timeline, Window, compile_card, scale
from spanledger_collector.pricing.user import SOURCE, UserPrice
from spanledger_schema.tokens import CostStatus

REPORTED: Final = "reported"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIMELINES_MAX: Final = 20_000
_SECONDS_PER_HOUR: Final = Decimal(3_600)
_REPORTING_DIALECTS: Final = frozenset({"genai", "langfuse"})
_REPORTING_PROVIDERS: Final = frozenset({"openrouter", "perplexity"})
_COMPUTING_DIALECTS: Final = frozenset({"openlit", "openinference", "logfire", "pydantic_ai", "mlflow", "litellm", "lmnr"})
"""Instrumentations whose costs are from their own price lists, whoever the provider is."""

compiled: Final = lru_cache(maxsize=16_384)(compile_shipped)
"""`compile_shipped`, remembered: the shipped prices are the same for every project."""


def believes_reported(provider: str, dialect: str) -> bool:
    """Whether a cost that came with a call counts: the application's own statement, or a provider that bills what it says.

    What instrumentations compute from their own price lists is not believed.
    """
    if dialect in _REPORTING_DIALECTS:
        return True
    return provider in _REPORTING_PROVIDERS and dialect not in _COMPUTING_DIALECTS


class Book:
    """Prices calls of one project."""

    __slots__ = ("_timelines", "user_prices")

    def __init__(self, user_prices: Iterable[UserPrice] = ()) -> None:
        """Make a book of the user's prices in front of the shipped ones."""
        self.user_prices = tuple(user_prices)
        self._timelines: dict[tuple[str, str, str], Timeline | str] = {}

    def price(
        self,
        provider: str,
        model: str,
        start_ns: int,
        counts: TokenCounts,
        mode: str = "",
        *,
        reported: int | None = None,
        dialect: str = "",
        is_estimated: bool = False,
        duration_ns: int = 0,
    ) -> Priced:
        """Price one call to a model.

        Args:
            provider: Its provider in any spelling, may be empty.
            model: The model that answered, else the one asked for.
            start_ns: When the call started, in nanoseconds since 1970.
            counts: Disjoint counts.
            mode: The way of processing, see `compile.mode_of`.
            reported: A cost that came with the call in 1e-12 USD, or None.
            dialect: Who wrote the span; decides whether a reported cost is believed.
            is_estimated: The counts are somebody's estimate.
            duration_ns: How long the call took; self-hosted models cost by it.
        """
        if reported is not None and believes_reported(provider, dialect):
            return Priced(CostStatus.REPORTED, REPORTED, total=reported)
        timeline = self._timelines.get((provider, model, mode))
        # Most models have had one price: this and the first half of `charge` are what most calls pass through.
        card = timeline.only if isinstance(timeline, Timeline) else None
        if card is None:
            card = self.card(provider, model, start_ns, mode)
        if isinstance(card, str):
            return unpriced(card)
        return _bounded(charge(card, counts, is_estimated, duration_ns))

    def price_step(self, kind: str, name: str, start_ns: int) -> Priced | None:
        """Price a tool's or a retrieval's call; None where the user has set no price for it."""
        if not self.user_prices:
            return None
        timeline = self._timelines.get((kind, name, ""))
        if timeline is None:
            timeline = self._remember((kind, name, ""), self._own(kind, frozenset({("", name.lower())}), None, "") or "unknown")
        card = timeline if isinstance(timeline, str) else timeline.at(start_ns)
        return None if isinstance(card, str) else _bounded(charge(card, TokenCounts(0)))

    def card(self, provider: str, model: str, start_ns: int, mode: str = "") -> Card | str:
        """The card of a model at a time, or the reason why there is none."""
        timeline = self._timelines.get((provider, model, mode))
        if timeline is None:
            timeline = self._remember((provider, model, mode), self.timeline(provider, model, mode))
        return timeline if isinstance(timeline, str) else timeline.at(start_ns)

    def timeline(self, provider: str, model: str, mode: str = "") -> Timeline | str:
        """All prices of a model in order of time, or the reason why there is none."""
        shipped = compiled(provider, model, mode)
        if not self.user_prices or not model.strip():
            return shipped
        return self._own("model", names_of(provider, model), shipped, mode) or shipped

    def _remember(self, key: tuple[str, str, str], timeline: Timeline | str) -> Timeline | str:
        if len(self._timelines) >= _TIMELINES_MAX:
            self._timelines.clear()
        self._timelines[key] = timeline
        return timeline

    def _own(self, kind: str, names: frozenset[tuple[str, str]], shipped: Timeline | str | None, mode: str) -> Timeline | None:
        """The timeline of what the user set for a model or step, with the shipped one in between; None where nothing matches."""
        matching = [price for price in self.user_prices if price.matches(kind, names)]
        if not matching:
            return None
        times = {_EPOCH}
        for price in matching:
            times.update(time for time in (price.valid_from, price.valid_until) if time is not None)
        bases = {price.price_id: self._base(price, shipped, mode) for price in matching}
        starts = {_ns(time) for time in times}
        for base in (shipped, *bases.values()):
            if isinstance(base, Timeline):
                starts.update(period.start for period in base.periods)
        periods = []
        for start in sorted(starts):
            at = datetime.fromtimestamp(start // 1_000_000_000, UTC)
            holding = [price for price in matching if price.holds(at)]
            if not holding:
                periods.append(_period(shipped if shipped is not None else "unknown", start))
                continue
            price = max(holding, key=lambda price: price.rank)
            periods.append(_priced(price, _period(bases[price.price_id], start)))
        return Timeline(periods)

    def _base(self, price: UserPrice, shipped: Timeline | str | None, mode: str) -> Timeline | str:
        """What a multiplier multiplies."""
        if price.price_as is not None:
            return compiled(*price.price_as, mode)
        return shipped if shipped is not None else "unknown"


SHIPPED: Final = Book()
"""The book of a project that has set no price."""


def names_of(provider: str, model: str) -> frozenset[tuple[str, str]]:
    """Every (provider, model) that a user's pattern may name this call by."""
    raw, name = provider.strip().lower(), model.strip().lower()
    return frozenset({(raw, name), (provider_id(provider), name), *candidates(provider, model)})


def _bounded(priced: Priced) -> Priced:
    """A cost as the ledger can hold it; what is larger is no call's."""
    return unpriced("implausible_usage") if priced.total is not None and priced.total > COST_PICO_MAX else priced


def _ns(at: datetime) -> int:
    return int((at - _EPOCH).total_seconds()) * 1_000_000_000


def _period(timeline: Timeline | str, start: int) -> Period:
    """What holds at a time, from that time on."""
    if isinstance(timeline, str):
        return Period(start, timeline)
    found = timeline.periods[0]
    for period in timeline.periods[1:]:
        if period.start <= start:
            found = period
    return found._replace(start=start)


def _priced(price: UserPrice, base: Period) -> Period:
    if price.multiplier is None and price.price_as is None:
        per_second = (price.gpu_hour_usd or Decimal(0)) * price.gpus / _SECONDS_PER_HOUR
        card = compile_card(
            price.prices,
            SOURCE,
            price.version,
            per_call=price.per_call or Decimal(0),
            per_second=per_second,
            # The hour is known, the share of it that this call used is not.
            is_estimate=price.gpu_hour_usd is not None,
        )
        return Period(base.start, card)
    factor = Decimal(1) if price.multiplier is None else price.multiplier
    windows = tuple(Window(window.days, window.start, window.end, _scaled(window.card, factor, price)) for window in base.windows)
    return Period(base.start, _scaled(base.card, factor, price), windows)


def _scaled(card: Card | str, factor: Decimal, price: UserPrice) -> Card | str:
    if isinstance(card, str):
        return card
    prices = {kind: scale(value, factor) for kind, value in card.prices.items()}
    return compile_card(prices, SOURCE, price.version, per_call=card.per_call * factor)

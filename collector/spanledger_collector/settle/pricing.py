"""What a call cost, at the price valid when it started. Pure: prices in, money out.

The table is genai-prices (dated, Decimal, offline); the arithmetic is ours: disjoint token kinds, each with its own rate,
compiled once per (provider, model, hour) into integer units of 1e-12 USD per token. A model that is not known is unpriced with a
reason, never free and never matched by a longer name's beginning.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices, TimeOfDateConstraint

from spanledger_schema.tokens import CostStatus

SOURCE: Final = "genai-prices"
VERSION: Final = f"genai-prices/{genai_prices.__version__}"
COST_PICO_MAX: Final = 10**18 - 1
_NS_PER_HOUR: Final = 3_600_000_000_000
_NS_PER_MINUTE: Final = 60_000_000_000
_PICO_PER_TOKEN: Final = Decimal(10) ** 6
"""USD per million tokens times this is 1e-12 USD per token."""
_PROVIDERS: Final = {
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "aws.bedrock": "aws",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
    "moonshot_ai": "moonshotai",
}
_SNAPSHOT: Final = re.compile(r"(?:[-@:._](?:latest|preview|exp|v?\d[\d.]*|\d{2}|\d{4}|00\d|v\d+:\d+))*")
_REPORTING_DIALECTS: Final = frozenset({"genai", "langfuse"})
_REPORTING_PROVIDERS: Final = frozenset({"openrouter", "perplexity"})

Rate = int | Decimal


class Priced(NamedTuple):
    """The verdict on one call. Money is integer units of 1e-12 USD; None is unknown."""

    status: str
    source: str = ""
    version: str = ""
    reason: str = ""
    total: int | None = None
    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output: int | None = None
    savings: int | None = None


class TokenCounts(NamedTuple):
    """Disjoint token counts of one call; `other` holds input_audio, output_audio, input_image and output_image."""

    input: int
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    other: Mapping[str, int] = MappingProxyType({})

    @property
    def total_input(self) -> int:
        """All input, by which a long-context tier is chosen."""
        others = sum(number for kind, number in self.other.items() if kind.startswith("input_"))
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h + others


@dataclass(frozen=True, slots=True)
class Rates:
    """1e-12 USD per token by kind, below the first long-context tier."""

    input: Rate
    cache_read: Rate
    cache_write_5m: Rate
    cache_write_1h: Rate
    output: Rate
    reasoning: Rate
    other: Mapping[str, Rate]
    is_free: bool = False


@dataclass(frozen=True, slots=True)
class RateCard:
    """Rates by tier, the highest threshold first (total input tokens above it choose the tier for the whole call)."""

    tiers: tuple[tuple[int, Rates], ...]

    def rates(self, total_input: int) -> Rates:
        """The tier that a call with this much input pays."""
        for threshold, rates in self.tiers:
            if total_input > threshold:
                return rates
        return self.tiers[-1][1]


def price(
    provider: str, model: str, start_ns: int, counts: TokenCounts, *, reported: int | None, dialect: str, is_estimated: bool
) -> Priced:
    """Price one call.

    Args:
        provider: OpenTelemetry's name of the provider, may be empty.
        model: The model that answered, else the one asked for.
        start_ns: When the call started, in nanoseconds since 1970.
        counts: Disjoint token counts.
        reported: A cost that came with the call, or None.
        dialect: Who wrote the span; decides whether a reported cost is believed.
        is_estimated: The counts are somebody's estimate.
    """
    if reported is not None and believes_reported(provider, dialect):
        return Priced(CostStatus.REPORTED, "reported", "", "", reported, None, None, None, None, None)
    if not model:
        return Priced(CostStatus.UNPRICED, reason="no_model")
    card = _card(provider, model, start_ns)
    if isinstance(card, str):
        return Priced(CostStatus.UNPRICED, reason=card)
    rates = card.tiers[0][1] if len(card.tiers) == 1 else card.rates(counts.total_input)
    if counts.other and (missing := [kind for kind in counts.other if "_" in kind and kind not in rates.other]):
        return Priced(CostStatus.UNPRICED, reason=f"no_price_for_{missing[0]}")
    return _charge(rates, counts, is_estimated)


def believes_reported(provider: str, dialect: str) -> bool:
    """Whether a cost that came with a call counts: the application's own statement, or a provider that bills what it says.

    What instrumentations compute from their own price lists is not believed.
    """
    return dialect in _REPORTING_DIALECTS or provider in _REPORTING_PROVIDERS


def _charge(rates: Rates, counts: TokenCounts, is_estimated: bool) -> Priced:
    cost_input = round(rates.input * counts.input)
    cost_read = round(rates.cache_read * counts.cache_read) if counts.cache_read else 0
    cost_write = 0
    if counts.cache_write_5m or counts.cache_write_1h:
        cost_write = round(rates.cache_write_5m * counts.cache_write_5m) + round(rates.cache_write_1h * counts.cache_write_1h)
    cost_output = round(rates.output * counts.output)
    if counts.reasoning:
        cost_output += round(rates.reasoning * counts.reasoning)
    for kind, number in counts.other.items():
        if kind.startswith("input_"):
            cost_input += round(rates.other[kind] * number)
        elif kind.startswith("output_"):
            cost_output += round(rates.other[kind] * number)
    total = cost_input + cost_read + cost_write + cost_output
    if total > COST_PICO_MAX:
        return Priced(CostStatus.UNPRICED, reason="implausible_usage")
    cached = counts.cache_read + counts.cache_write_5m + counts.cache_write_1h
    savings = round(rates.input * cached) - cost_read - cost_write if cached else 0
    status = CostStatus.FREE if rates.is_free else CostStatus.ESTIMATED if is_estimated else CostStatus.PRICED
    return Priced(status, SOURCE, VERSION, "", total, cost_input, cost_read, cost_write, cost_output, savings)


def _card(provider: str, model: str, start_ns: int) -> RateCard | str:
    card = _card_of_hour(provider, model, start_ns // _NS_PER_HOUR)
    if card is None:
        return _card_of_minute(provider, model, start_ns // _NS_PER_MINUTE)
    return card


@lru_cache(maxsize=65_536)
def _card_of_hour(provider: str, model: str, hour: int) -> RateCard | str | None:
    """The card, the reason why there is none, or None when the price depends on the minute."""
    info = _find(provider, model)
    if info is None:
        return "unknown_model"
    if isinstance(info.prices, list) and any(isinstance(entry.constraint, TimeOfDateConstraint) for entry in info.prices):
        return None
    return _compile(info, model, hour * _NS_PER_HOUR)


@lru_cache(maxsize=65_536)
def _card_of_minute(provider: str, model: str, minute: int) -> RateCard | str:
    info = _find(provider, model)
    return "unknown_model" if info is None else _compile(info, model, minute * _NS_PER_MINUTE)


@lru_cache(maxsize=16_384)
def _find(provider: str, model: str) -> ModelInfo | None:
    snapshot = get_snapshot()
    for provider_id in dict.fromkeys((_PROVIDERS.get(provider, provider) or None, None)):
        for name in _names(model):
            try:
                _, info = snapshot.find_provider_model(name, None, provider_id, None)
            except LookupError:
                continue
            if _is_same_model(name.lower(), info):
                return info
    return None


def _names(model: str) -> list[str]:
    name = model.strip().lower().removeprefix("models/")
    head, slash, rest = name.partition("/")
    if not slash:
        return [name]
    try:
        get_snapshot().find_provider(None, head, None)
    except LookupError:
        return [name]
    # A router's prefix, such as openai/gpt-4o; the name with it comes first, because some hosts' own names have a slash.
    return [name, rest]


def _is_same_model(name: str, info: ModelInfo) -> bool:
    """Whether the name is the model's own, or its own followed by a date, a version or `latest`."""
    if name == info.id or not name.startswith(info.id):
        # An alias that the table lists itself; it does not say how far it matched, but aliases do not extend the id.
        return True
    return _SNAPSHOT.fullmatch(name[len(info.id) :]) is not None


def _compile(info: ModelInfo, model: str, at_ns: int) -> RateCard | str:
    prices = info.get_prices(datetime.fromtimestamp(at_ns / 1e9, UTC))
    values: dict[str, Any] = {key: value for key, value in vars(prices).items() if value is not None}
    if not values:
        return _free() if model.endswith(":free") else "no_price"
    if "input_mtok" not in values and "output_mtok" not in values:
        return "no_token_price"
    thresholds = {tier.start for value in values.values() if isinstance(value, TieredPrices) for tier in value.tiers}
    steps = sorted(thresholds, reverse=True)
    tiers = [(threshold, _rates(prices, threshold)) for threshold in steps]
    return RateCard((*tiers, (-1, _rates(prices, None))))


def _rates(prices: ModelPrice, threshold: int | None) -> Rates:
    def rate(key: str) -> Rate | None:
        value = getattr(prices, key, None)
        if isinstance(value, TieredPrices):
            reached = [tier.price for tier in value.tiers if threshold is not None and tier.start <= threshold]
            value = reached[-1] if reached else value.base
        return None if value is None else _pico(value)

    def either(first: Rate | None, second: Rate) -> Rate:
        return second if first is None else first

    given, produced = rate("input_mtok") or 0, rate("output_mtok") or 0
    write = rate("cache_write_mtok")
    write_5m = either(rate("cache_write_5m_mtok"), either(write, given))
    other = {kind: rate(f"{kind}_mtok") for kind in ("input_audio", "output_audio", "input_image", "output_image")}
    return Rates(
        input=given,
        cache_read=either(rate("cache_read_mtok"), given),
        cache_write_5m=write_5m,
        cache_write_1h=either(rate("cache_write_1h_mtok"), write_5m),
        output=produced,
        reasoning=either(rate("output_reasoning_mtok"), produced),
        other={kind: value for kind, value in other.items() if value is not None},
    )


def _free() -> RateCard:
    none = dict.fromkeys(("input_audio", "output_audio", "input_image", "output_image"), 0)
    return RateCard(((-1, Rates(0, 0, 0, 0, 0, 0, none, is_free=True)),))


def _pico(usd_per_million: Decimal) -> Rate:
    amount = usd_per_million * _PICO_PER_TOKEN
    return int(amount) if amount == amount.to_integral_value() else amount

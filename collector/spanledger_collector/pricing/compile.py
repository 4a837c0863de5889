"""A model of the price table, with our corrections, becomes a timeline of rate cards for one way of processing. Pure."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from spanledger_collector.pricing import corrections, table
from spanledger_collector.pricing.corrections import Correction, Corrections
from spanledger_collector.pricing.names import Candidate, candidates, is_opaque
from spanledger_collector.pricing.rates import PER, TOKENS, Card, Period, Price, Steps, Timeline, Window, compile_card, scale
from spanledger_collector.pricing.table import Listed

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FREE: Final = re.compile(r"[\w.-]+/[\w.-]+:free")
_EVERY_DAY: Final = frozenset(range(7))
_MODE_WORDS: Final = {
    "": "", "standard": "", "default": "", "auto": "", "on_demand": "", "on-demand": "", "standard_only": "", "sync": "",
    "online": "", "realtime": "", "interactive": "", "none": "", "batches": "batch",
}  # fmt: skip
"""Ways of processing that cost the listed price, and other words for those that do not."""

Prices = dict[str, Price]


def mode_of(processing: str, service_tier: str) -> str:
    """The way of processing that decides the price, as one word; empty for the listed price.

    Args:
        processing: `batch` or empty.
        service_tier: As the response reported it; `batch` is one too.
    """
    if not processing and not service_tier:
        return ""
    words = [text.strip().lower() for text in (processing, service_tier)]
    found = [_MODE_WORDS.get(word, word) for word in words]
    return found[0] or found[1]


def compile_shipped(provider: str, model: str, mode: str, *, is_corrected: bool = True) -> Timeline | str:
    """The timeline of a model by what we ship, or the reason why there is none.

    Args:
        provider: In any spelling, may be empty.
        model: In any spelling.
        mode: See `mode_of`.
        is_corrected: With our corrections; without, as genai-prices has it.
    """
    if not model.strip():
        return "no_model"
    if is_opaque(model):
        return "opaque_name"
    fixes = corrections.shipped() if is_corrected else corrections.NONE
    tried = candidates(provider, model)
    for candidate in tried:
        listed = table.find(candidate)
        owner = _owner(listed, candidate) if listed else candidate.provider
        patches = fixes.of(owner, candidate.model, *((listed.info.id.lower(),) if listed else ()))
        if listed is None and not patches:
            continue
        if listed is not None and len(patches) > 1:
            # Exact names go before the family that the table puts them into.
            patches = fixes.of(owner, candidate.model) or patches
        return _compile(candidate, listed, owner, patches, fixes, mode)
    if free := _free_variant(tried):
        return free
    return "unknown_model"


def _owner(listed: Listed, candidate: Candidate) -> str:
    """Whose prices those are: Azure's own rows apart, its models are the makers'."""
    if candidate.provider != "azure":
        return candidate.provider
    for provider in ("openai", "anthropic", "deepseek", "x-ai", "moonshotai"):
        if (own := table.find(Candidate(provider, candidate.model))) and own.info is listed.info:
            return provider
    return candidate.provider


def _free_variant(tried: list[Candidate]) -> Timeline | None:
    """OpenRouter's `vendor/model:free`: the name itself says that it costs nothing, whether or not the list has heard of it."""
    if any(candidate.provider == "openrouter" and _FREE.fullmatch(candidate.model) for candidate in tried):
        return Timeline([Period(0, _free_card())])
    return None


def _free_card() -> Card:
    return compile_card(dict.fromkeys(PER, Decimal(0)), table.SOURCE, table.VERSION)


def _compile(
    candidate: Candidate, listed: Listed | None, owner: str, patches: tuple[Correction, ...], fixes: Corrections, mode: str
) -> Timeline:
    times = {_EPOCH}
    if listed:
        times.update(table.starts(listed.info))
    for patch in patches:
        times.update(time for time in (patch.since, patch.until) if time is not None)
    periods: list[Period] = []
    for at in sorted(times):
        holding = tuple(patch for patch in patches if patch.holds(at))
        card, windows = _at(candidate, listed, owner, holding, fixes, mode, at)
        if periods and not windows and not periods[-1].windows and _is_same(periods[-1].card, card):
            continue
        periods.append(Period(int((at - _EPOCH).total_seconds()) * 1_000_000_000, card, windows))
    return Timeline(periods)


def _is_same(one: Card | str, other: Card | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return (one.prices, one.source, one.version) == (other.prices, other.source, other.version)


def _at(
    candidate: Candidate,
    listed: Listed | None,
    owner: str,
    patches: tuple[Correction, ...],
    fixes: Corrections,
    mode: str,
    at: datetime,
) -> tuple[Card | str, tuple[Window, ...]]:
    prices = table.standard(listed.info, at) if listed else {}
    if not prices and listed and candidate.model.endswith(":free"):
        return _free_card(), ()
    source, version = table.SOURCE, table.VERSION
    if patches:
        source, version = corrections.SOURCE, f"{corrections.SOURCE}/{fixes.version}"
    replaced = [patch.windows for patch in patches if patch.windows is not None]
    spans: list[tuple[frozenset[int], int, int, Prices]]
    if replaced:
        spans = [(hours.days, hours.start, hours.end, dict(hours.prices)) for hours in replaced[-1]]
    else:
        spans = [(_EVERY_DAY, start, end, found) for start, end, found in (table.hours(listed.info) if listed else [])]
    for patch in patches:
        prices = {**prices, **patch.prices}
    cards: list[Card | str] = []
    for found in (prices, *(span[3] for span in spans)):
        changed = _in_mode(found, candidate, listed, owner, fixes, mode, at)
        if isinstance(changed, str):
            cards.append(changed)
            continue
        whole, by_rule = changed
        label = (corrections.SOURCE, f"{corrections.SOURCE}/{fixes.version}") if by_rule else (source, version)
        cards.append(compile_card(_complete(whole, candidate), *label) if whole else "no_price")
    windows = tuple(Window(span[0], span[1], span[2], card) for span, card in zip(spans, cards[1:], strict=True))
    return cards[0], windows


def _in_mode(
    prices: Prices, candidate: Candidate, listed: Listed | None, owner: str, fixes: Corrections, mode: str, at: datetime
) -> tuple[Prices, bool] | str:
    """Prices as a way of processing changes them, and whether a rule of ours said so; or the reason why that is unknown."""
    if mode == "" or not prices:
        return prices, False
    if listed and (known := table.variant(listed.info, mode, at)):
        changed, since = known
        listed_then = table.standard(listed.info, since or at)
        return {kind: _changed(kind, price, changed, listed_then) for kind, price in prices.items()}, False
    if rule := fixes.mode(owner, candidate.model, mode):
        tokens = {kind: price for kind, price in prices.items() if PER[kind] == TOKENS and kind not in rule.keep}
        return {**prices, **{kind: scale(price, rule.factor) for kind, price in tokens.items()}, **rule.prices}, True
    return f"no_{mode}_price" if mode in corrections.MODES else "unknown_service_tier"


def _changed(kind: str, price: Price, changed: Prices, listed_then: Prices) -> Price:
    """The price of a kind in a mode: as listed, or in the same proportion where the listed price was another at the time."""
    new = changed.get(kind)
    if new is None:
        return price
    before = listed_then.get(kind)
    if before is None or before == price:
        return new
    old, now = (value.base if isinstance(value, Steps) else value for value in (before, new))
    return scale(price, now / old) if old else new


def _complete(prices: Prices, candidate: Candidate) -> Prices:
    """Kinds that a provider bills by rule rather than by a price of their own."""
    whole = dict(prices)
    given = prices.get("input")
    if given is None:
        return whole
    if "claude" in candidate.model:
        # Anthropic's rule, on every cloud: writes cost 1.25 times the input for five minutes, twice for an hour.
        whole.setdefault("cache_write_5m", scale(given, Decimal("1.25")))
        whole.setdefault("cache_write_1h", scale(given, Decimal(2)))
    # Images that a chat model reads are tokens like others; Gemini says the same of sound and film where it lists no other price.
    whole.setdefault("input_image", given)
    if candidate.model.startswith("gpt-image") and "output" in prices:
        # All that they produce are images, and the list has that price as the output's.
        whole.setdefault("output_image", prices["output"])
    if candidate.provider == "google":
        whole.setdefault("input_audio", given)
        whole.setdefault("input_video", given)
    return whole

"""The shipped price table (genai-prices: dated, Decimal, offline) as an index by exact name and as prices of ours. Pure.

genai-prices finds models by rules such as "starts with"; taken alone they would price `claude-sonnet-4-5-internal-test`. Here a
rule holds only if what lies beyond its words is a date, a version or a region, so that an invented model is never priced.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, StartDateConstraint, TieredPrices, TimeOfDateConstraint

from spanledger_collector.pricing.names import Candidate
from spanledger_collector.pricing.rates import Price, Steps

SOURCE: Final = "genai-prices"
VERSION: Final = f"{SOURCE}/{genai_prices.__version__}"
_KINDS: Final = {
    "input_mtok": "input",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
    "input_video_mtok": "input_video",
    "output_video_mtok": "output_video",
    "web_searches_kcount": "web_searches",
    "storage_searches_kcount": "file_searches",
    "requests_kcount": "requests",
    "audio_hours": "audio_seconds",
    "input_audio_hours": "audio_seconds",
    "input_document_kpages": "pages",
    "input_mchars": "characters",
}
_DIGITS: Final = 12
"""Prices imported from floats carry noise behind this many digits."""
_SNAPSHOT: Final = re.compile(
    r"(?:[-@._](?:latest|preview|exp|default|instruct|customtools"
    r"|20\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"  # a day
    r"|(?:0[1-9]|1[0-2])-20\d\d|(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])|2[3-9](?:0[1-9]|1[0-2])"  # 09-2025, 05-20, 0709, 2505
    r"|00\d|v[0-3](?:\.\d)?)|:\d+k?)*"  # Google's -001, Amazon's -v1:0 and :48k
)
_LEADING: Final = re.compile(
    r"(?:(?:us|eu|apac|global|us-gov|jp|au|in|ca|sa|me|af)\.)?"
    r"(?:(?:amazon|anthropic|ai21|cohere|deepseek|google|meta|minimax|mistral|moonshotai|nvidia|openai|qwen|writer|zai)\.)?"
)


class Listed(NamedTuple):
    """A model of the table, and the provider under which it was found."""

    provider: str
    info: ModelInfo


class _Index(NamedTuple):
    exact: dict[str, ModelInfo]
    ruled: list[ModelInfo]
    fallbacks: tuple[str, ...]


def find(candidate: Candidate) -> Listed | None:
    """The table's model for a candidate, or None."""
    index = _indexes().get(candidate.provider)
    if index is None:
        return None
    if found := _in(index, candidate.model):
        return Listed(candidate.provider, found)
    for other in index.fallbacks:
        if found := _in(_indexes()[other], candidate.model):
            return Listed(candidate.provider, found)
    return None


def providers() -> list[str]:
    """Ids of all providers of the table."""
    return list(_indexes())


def models() -> Iterator[Listed]:
    """Every model of the table."""
    for provider in get_snapshot().providers:
        for info in provider.models:
            yield Listed(provider.id, info)


def prices_of(prices: ModelPrice) -> dict[str, Price]:
    """Prices of ours from a row of the table; kinds that we cannot count are left out."""
    found: dict[str, Price] = {}
    for key, value in vars(prices).items():
        kind = _KINDS.get(key)
        if kind is None or value is None:
            continue
        if isinstance(value, TieredPrices):
            found[kind] = Steps(_clean(value.base), tuple((tier.start, _clean(tier.price)) for tier in value.tiers))
        elif isinstance(value, Decimal):
            found[kind] = _clean(value)
    return found


def starts(info: ModelInfo) -> list[datetime]:
    """When the table's prices of a model changed, in order; the first price also holds before."""
    constraints: list[Any] = []
    if isinstance(info.prices, list):
        constraints += [entry.constraint for entry in info.prices]
    constraints += [variant.constraint for variant in info.price_variants or ()]
    days = {entry.start_date for entry in constraints if isinstance(entry, StartDateConstraint)}
    return [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in sorted(days)]


def standard(info: ModelInfo, at: datetime) -> dict[str, Price]:
    """The prices at a time, outside all hours of the day that have their own."""
    if isinstance(info.prices, ModelPrice):
        return prices_of(info.prices)
    lasting = [entry for entry in info.prices if not isinstance(entry.constraint, TimeOfDateConstraint)]
    for entry in reversed(lasting):
        if entry.constraint is None or entry.constraint.active(at):
            return prices_of(entry.prices)
    return prices_of((lasting or info.prices)[0].prices)


def hours(info: ModelInfo) -> list[tuple[int, int, dict[str, Price]]]:
    """Minutes of the day (UTC) from and until which other prices hold, the strongest first."""
    if isinstance(info.prices, ModelPrice):
        return []
    found = []
    for entry in reversed(info.prices):
        if isinstance(entry.constraint, TimeOfDateConstraint):
            start, end = entry.constraint.start_time, entry.constraint.end_time
            found.append((start.hour * 60 + start.minute, end.hour * 60 + end.minute, prices_of(entry.prices)))
    return found


def variant(info: ModelInfo, mode: str, at: datetime) -> tuple[dict[str, Price], datetime | None] | None:
    """What a mode (`batch`, `flex`, `priority`, `fast`) changes at a time.

    Returns:
        The prices that differ, and the date since which the table knows them when `at` lies before it; None where the table has
        no such mode for the model. The table's dates of modes are those of its own checking, not of a change of price.
    """
    asked = ("processing", mode) if mode == "batch" else ("service_tier", mode)
    rows = [
        row
        for row in info.price_variants or ()
        if asked in row.when.items() or (mode == "fast" and row.when == {"speed": "fast"})
    ]
    dated = [(_since(row.constraint), prices_of(row.prices)) for row in rows]
    if not dated:
        return None
    reached = [row for row in dated if row[0] is None or row[0] <= at]
    if reached:
        return max(reached, key=lambda row: row[0] or datetime.min.replace(tzinfo=UTC))[1], None
    since, prices = min(dated, key=lambda row: row[0] or datetime.min.replace(tzinfo=UTC))
    return prices, since


def _since(constraint: Any) -> datetime | None:
    if not isinstance(constraint, StartDateConstraint):
        return None
    day = constraint.start_date
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _clean(value: Decimal) -> Decimal:
    rounded = Decimal(f"{value:.{_DIGITS}g}") if value else Decimal(0)
    return Decimal(format(rounded.normalize(), "f"))


@lru_cache(maxsize=1)
def _indexes() -> dict[str, _Index]:
    found = {}
    for provider in get_snapshot().providers:
        exact: dict[str, ModelInfo] = {}
        ruled = []
        for info in provider.models:
            for word in _equals(info.match):
                exact.setdefault(word, info)
            exact.setdefault(info.id.lower(), info)
            if _has_rules(info.match):
                ruled.append(info)
        fallbacks = tuple(str(name) for name in provider.fallback_model_providers or ())
        found[provider.id] = _Index(exact, ruled, fallbacks)
    return found


def _in(index: _Index, name: str) -> ModelInfo | None:
    if found := index.exact.get(name):
        return found
    return next((info for info in index.ruled if _fits(info.match, name, info.id.lower())), None)


def _equals(clause: Any) -> Iterator[str]:
    if (word := getattr(clause, "equals", None)) is not None:
        yield word.lower()
    for part in getattr(clause, "or_", None) or ():
        yield from _equals(part)


def _has_rules(clause: Any) -> bool:
    parts = getattr(clause, "or_", None)
    return any(map(_has_rules, parts)) if parts is not None else getattr(clause, "equals", None) is None


def _fits(clause: Any, name: str, own: str) -> bool:
    """Whether a rule of the table holds and nothing but a date, a version or a region lies beyond its words."""
    if (parts := getattr(clause, "or_", None)) is not None:
        return any(_fits(part, name, own) for part in parts)
    if (parts := getattr(clause, "and_", None)) is not None:
        conditions = [part for part in parts if getattr(part, "regex", "").startswith("^(?!")]
        others = [part for part in parts if part not in conditions]
        return all(part.is_match(name) for part in conditions) and bool(others) and all(_fits(part, name, own) for part in others)
    if not clause.is_match(name):
        return False
    if (word := getattr(clause, "starts_with", None)) is not None:
        return _is_snapshot(name, 0, word.lower())
    if (word := getattr(clause, "ends_with", None)) is not None:
        return _is_leading(name[: len(name) - len(word)], own, word.lower())
    if (word := getattr(clause, "contains", None)) is not None:
        at = name.index(word.lower())
        return _is_leading(name[:at], own, word.lower()) and _is_snapshot(name, at, word.lower())
    pattern = getattr(clause, "regex", None)
    if pattern is None:
        return True
    return (pattern.startswith("^") and pattern.endswith("$")) or (name.startswith(own) and _is_snapshot(name, 0, own))


def _is_snapshot(name: str, at: int, word: str) -> bool:
    """Whether what follows a word, from its last whole part on, is a date or a version."""
    end = at + len(word)
    rest = name[end:]
    if rest and name[end - 1] in "-@:._":
        rest = name[end - 1 :]
    elif rest and rest[0].isalnum():
        # The table's word ends within a number, such as `ft:gpt-4-0`: go back to where the number begins.
        cut = max(word.rfind(mark) for mark in "-@:._")
        if cut <= 0 or not word[cut + 1 :].isdecimal():
            return False
        rest = name[at + cut :]
    return _SNAPSHOT.fullmatch(rest) is not None


def _is_leading(text: str, own: str, word: str) -> bool:
    """Whether what comes before a word is a region or a vendor, or how the model's own id begins."""
    return _LEADING.fullmatch(text) is not None or (word in own and own.startswith(text) and text != "")

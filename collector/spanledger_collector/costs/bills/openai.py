"""OpenAI: the usage and costs exports (CSV, TSV) and the API's pages of both, which have the same names nested.

Amounts are dollars. A costs line says in words what it is for: `gpt-4o-2024-08-06, cached input`, `batch | gpt-4o, output`,
`gpt-audio-mini-2025-12-15 audio, input`, `web search tool calls`.
"""

import re
from typing import Final
from zoneinfo import ZoneInfo

from spanledger_collector.costs.bills.lines import BillLine, What
from spanledger_collector.costs.bills.values import Row
from spanledger_collector.pricing.compile import mode_of

PROVIDER: Final = "openai"
_DAYS: Final = ("start_time", "start_time_iso")
_MODES: Final = ("batch", "flex", "priority")
_MODALITY: Final = re.compile(r"\s+(?:text|audio|image|video|realtime|batch|flex|priority)$")
_CREDIT: Final = re.compile(r"\b(?:credits?|refunds?|discounts?|promo(?:tion)?s?|grants?|adjustments?|free)\b")


def read_usage(row: Row, zone: ZoneInfo) -> BillLine | None:
    """A line of usage; None for a day on which nothing was used."""
    given, produced = row.count("input_tokens"), row.count("output_tokens")
    requests = row.count("num_model_requests")
    if given is None and produced is None and requests is None:
        return None
    cached = row.count("input_cached_tokens") or 0
    uncached = row.count("input_uncached_tokens")
    fresh = max(0, (given or 0) - cached) if uncached is None else uncached
    tier = row.text("service_tier").lower()
    mode = "batch" if row.text("batch").lower() in ("true", "1") else tier if tier in _MODES else ""
    tokens = {"input": fresh, "cache_read": cached, "output": produced or 0}
    return BillLine(row.day(zone, *_DAYS), PROVIDER, row.text("model"), tokens=tokens, requests=requests, mode=mode)


def read_costs(row: Row, zone: ZoneInfo) -> BillLine | None:
    """A line of costs; None for a day that cost nothing."""
    amount = row.number("amount_value")
    if amount is None:
        return None
    label = row.text("line_item")
    model, kind, mode = parse_line_item(label)
    what = what_is(label, amount < 0, is_usage=bool(model) or not label)
    quantity = row.count("quantity") if kind else None
    return BillLine(
        row.day(zone, *_DAYS),
        PROVIDER,
        model,
        kind,
        what,
        None if quantity is None else {kind: quantity},
        amount=amount,
        currency=(row.text("amount_currency") or "usd").upper(),
        mode=mode,
        label=label,
    )


def parse_line_item(label: str) -> tuple[str, str, str]:
    """The model, the kind of tokens and the mode that a line item speaks of; an empty text for what it does not say."""
    mode, bar, rest = (part.strip() for part in label.lower().partition("|"))
    found = mode_of(mode if mode == "batch" else "", mode) if bar and mode in _MODES else ""
    text = rest if bar else label.lower().strip()
    name, comma, words = text.partition(",")
    if not comma:
        return "", "", ""
    name = name.strip()
    while (shorter := _MODALITY.sub("", name)) != name:
        found = found or next((mode for mode in _MODES if name.endswith(mode)), "")
        name = shorter
    if " " in name:
        # Words, not a model: "assistants api | file search, storage".
        return "", "", ""
    if name.startswith("ft-"):
        name = f"ft:{name[3:]}"
    return name, _kind(words), found


def _kind(words: str) -> str:
    if "cached" in words:
        return "cache_read"
    if "cache write" in words:
        return "cache_write"
    return "output" if "output" in words else "input" if "input" in words else ""


def what_is(label: str, is_negative: bool, *, is_usage: bool) -> What:
    """Usage, a fee, or money that comes back."""
    if is_negative or _CREDIT.search(label.lower()):
        return What.CREDIT
    return What.USAGE if is_usage else What.FEE

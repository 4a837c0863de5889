"""Anthropic: the console's usage and cost exports (CSV), and the pages of the API's usage_report and cost_report.

The console writes dollars and models' display names, the API cents (as decimal texts) and ids.
"""

from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from spanledger_collector.costs.bills.lines import BillLine, What
from spanledger_collector.costs.bills.openai import what_is
from spanledger_collector.costs.bills.values import Row

PROVIDER: Final = "anthropic"
_DAYS: Final = ("usage_date_utc", "starting_at")
_CENTS: Final = 100
_CONSOLE: Final = {
    "input": ("usage_input_tokens_no_cache",),
    "cache_read": ("usage_input_tokens_cache_read",),
    "cache_write": ("usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h", "usage_input_tokens_cache_write"),
    "output": ("usage_output_tokens",),
}
_API: Final = {
    "input": ("uncached_input_tokens",),
    "cache_read": ("cache_read_input_tokens",),
    "cache_write": ("cache_creation.ephemeral_5m_input_tokens", "cache_creation.ephemeral_1h_input_tokens"),
    "output": ("output_tokens",),
}


def read_console_usage(row: Row, zone: ZoneInfo) -> BillLine | None:
    """A line of the console's usage export."""
    return _usage(row, zone, _CONSOLE, row.text("model_version") or row.text("model"), row.text("usage_type"))


def read_api_usage(row: Row, zone: ZoneInfo) -> BillLine | None:
    """A result of usage_report/messages."""
    return _usage(row, zone, _API, row.text("model"), row.text("service_tier"))


def _usage(row: Row, zone: ZoneInfo, columns: dict[str, tuple[str, ...]], model: str, tier: str) -> BillLine | None:
    counts = {kind: [row.count(name) for name in names] for kind, names in columns.items()}
    if all(count is None for found in counts.values() for count in found):
        return None
    tokens = {kind: sum(count or 0 for count in found) for kind, found in counts.items()}
    return BillLine(row.day(zone, *_DAYS), PROVIDER, model, tokens=tokens, mode=_mode(tier, row.text("speed")))


def read_console_cost(row: Row, zone: ZoneInfo) -> BillLine | None:
    """A line of the console's cost export."""
    amount, listed = row.number("cost_usd"), row.number("list_price_usd")
    return _cost(row, zone, amount, listed, row.text("usage_type"))


def read_api_cost(row: Row, zone: ZoneInfo) -> BillLine | None:
    """A result of cost_report; its amount is in cents."""
    return _cost(row, zone, row.number("amount", per=_CENTS), None, row.text("service_tier"))


def _cost(row: Row, zone: ZoneInfo, amount: Decimal | None, listed: Decimal | None, tier: str) -> BillLine | None:
    if amount is None:
        return None
    kind = _kind(row.text("token_type").lower())
    label = row.text("description") or " ".join(filter(None, (row.text("model"), row.text("cost_type"), row.text("token_type"))))
    is_fee = row.text("cost_type").lower() not in ("", "token", "tokens")
    what = what_is("" if row.text("model") else label, amount < 0, is_usage=not is_fee)
    return BillLine(
        row.day(zone, *_DAYS),
        PROVIDER,
        row.text("model"),
        kind,
        what,
        amount=amount,
        list_amount=listed if what is What.USAGE else None,
        currency=(row.text("currency") or "USD").upper(),
        mode=_mode(tier, row.text("speed")),
        label=label,
    )


def _kind(token_type: str) -> str:
    if "cache_read" in token_type:
        return "cache_read"
    if "cache_creation" in token_type or "cache_write" in token_type:
        return "cache_write"
    return "output" if "output" in token_type else "input" if "input" in token_type else ""


def _mode(tier: str, speed: str) -> str:
    word = tier.strip().lower()
    if word in ("batch", "priority"):
        return word
    return "fast" if speed.strip().lower() == "fast" else ""

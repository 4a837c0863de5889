"""Any table with a day and money or tokens: its columns by a map of the user's, or by names that are usual."""

from collections.abc import Iterable, Mapping
from typing import Final
from zoneinfo import ZoneInfo

from spanledger_collector.costs.bills.lines import BillLine, What
from spanledger_collector.costs.bills.openai import what_is
from spanledger_collector.costs.bills.values import Row
from spanledger_collector.errors import InvalidQuestion

USUAL: Final[Mapping[str, tuple[str, ...]]] = {
    "day": ("day", "date", "time", "usage_date", "usage_date_utc", "start_time", "start_time_iso", "start", "chargeperiodstart"),
    "model": ("model", "model_name", "model_id", "slug", "model_version", "sku", "resourcename"),
    "provider": ("provider", "provider_name", "vendor"),
    "cost": ("cost_usd", "cost", "amount_usd", "amount", "usd", "total_cost", "billedcost", "billed_cost", "charge"),
    "list_cost": ("list_cost_usd", "list_cost", "list_price_usd", "listcost"),
    "currency": ("currency", "billingcurrency", "amount_currency"),
    "input_tokens": ("input_tokens", "prompt_tokens", "prompt tokens", "tokens_prompt"),
    "uncached_input_tokens": ("uncached_input_tokens",),
    "cache_read_tokens": ("cache_read_tokens", "cached_tokens", "cached_input_tokens", "cache_read_input_tokens"),
    "cache_write_tokens": ("cache_write_tokens", "cache_creation_input_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens", "completion tokens", "tokens_completion"),
    "requests": ("requests", "request_count", "num_requests", "num_model_requests", "calls", "generations"),
    "kind": ("kind", "token_type"),
    "description": ("description", "line_item", "label", "chargedescription"),
}
"""What a generic table may say, and what its columns are usually called."""
_COUNTS: Final = ("input_tokens", "uncached_input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
_KINDS: Final = {
    "input": "input", "uncached_input": "input", "uncached input": "input", "prompt": "input",
    "cache_read": "cache_read", "cached input": "cache_read", "cached_input": "cache_read", "cached": "cache_read",
    "cache_write": "cache_write", "cache_creation": "cache_write",
    "output": "output", "completion": "output",
}  # fmt: skip


def columns_of(names: Iterable[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Which column says what: the user's choice first, else a usual name.

    Raises:
        InvalidQuestion: the user's map names something that does not exist.
    """
    present = list(names)
    folded = {name.strip().lower(): name for name in reversed(present)}
    if unknown := sorted(set(chosen) - set(USUAL)):
        raise InvalidQuestion(f"A column cannot be mapped to {unknown[0][:40]!r}; there are: {', '.join(USUAL)}.")
    if missing := sorted(name for name in chosen.values() if name not in present):
        raise InvalidQuestion(f"The file has no column {missing[0][:60]!r}; it has: {listed(present)}.")
    usual = {what: next((folded[name] for name in aliases if name in folded), "") for what, aliases in USUAL.items()}
    found = {what: name for what, name in {**usual, **chosen}.items() if name}
    if "uncached_input_tokens" in found and "input_tokens" not in chosen:
        found.pop("input_tokens", None)
    return found


def is_enough(columns: Mapping[str, str]) -> bool:
    """Whether there is a day, and something to compare."""
    return "day" in columns and ("cost" in columns or "output_tokens" in columns or "input_tokens" in columns)


def read_row(row: Row, zone: ZoneInfo, columns: Mapping[str, str], provider: str) -> BillLine | None:
    """A line of a generic table; None where the row says nothing.

    `input_tokens` includes what came from and went into the cache, as the ledger's own measure does;
    `uncached_input_tokens` does not.
    """
    named = Row(row.place, {what: row.get(name) for what, name in columns.items()})
    amount, requests = named.number("cost"), named.count("requests")
    counts = {name: named.count(name) for name in _COUNTS}
    has_tokens = any(count is not None for count in counts.values())
    if amount is None and requests is None and not has_tokens:
        return None
    day = named.day(zone, "day")
    label, model = named.text("description"), named.text("model")
    return BillLine(
        day,
        named.text("provider") or provider,
        model,
        _KINDS.get(named.text("kind").lower(), ""),
        what_is(label, (amount or 0) < 0, is_usage=bool(model) or not label) if amount is not None else What.USAGE,
        _tokens(counts, row) if has_tokens else None,
        requests,
        amount,
        named.number("list_cost"),
        (named.text("currency") or "USD").upper(),
        label=label or model,
    )


def _tokens(counts: Mapping[str, int | None], row: Row) -> dict[str, int]:
    read, write = counts["cache_read_tokens"] or 0, counts["cache_write_tokens"] or 0
    fresh = counts["uncached_input_tokens"]
    if fresh is None:
        whole = counts["input_tokens"] or 0
        fresh = whole - read - write
        if fresh < 0:
            raise InvalidQuestion(
                f"{row.place}: the cached tokens are more than the input. If the column counts the input without them, "
                "map it as uncached_input_tokens."
            )
    return {"input": fresh, "cache_read": read, "cache_write": write, "output": counts["output_tokens"] or 0}


def listed(names: Iterable[str], most: int = 30) -> str:
    """Column names for a message."""
    shown = [name[:40] for name in names if name]
    return ", ".join(shown[:most]) + (", …" if len(shown) > most else "")

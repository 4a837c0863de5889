"""A provider's bill against what the ledger holds: the totals that it takes, and the answer's form. Reads only."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final
from zoneinfo import ZoneInfo

from spanledger_collector.costs.bills.lines import KINDS, Bill
from spanledger_collector.costs.overrides import Override
from spanledger_collector.costs.reasons import ADVICE, MEANINGS, Reason
from spanledger_collector.costs.reconcile import Difference, Reconciliation, days_of, mismatch, reconcile, tokens_by_kind
from spanledger_collector.costs.sides import ESTIMATED, KNOWN, UNPRICED, Cell, Group, Traffic, lay_out, pico
from spanledger_collector.pricing.book import Book
from spanledger_collector.pricing.rates import Card
from spanledger_collector.query.compile import calls_about
from spanledger_collector.query.costs import usd
from spanledger_collector.store.protocol import Store, rows_of
from spanledger_schema.query import Query, QueryError

DAYS_MAX: Final = 400
_ROWS_MAX: Final = 5_000
_DAY: Final = timedelta(days=1)
_EDGE: Final = timedelta(days=1)
_HOURS: Final = 24
_OFFSETS: Final = range(-12, 15)
_BETTER: Final = 4
"""Days of another time zone are named where they fit the bill at least so many times as well."""
_MEDIA: Final = "arraySum(mapValues(mapFilter((k, v) -> startsWith(k, '{}'), other_tokens)))"
_TOKENS: Final = {
    "input": f"ifNull(uncached_input_tokens, 0) + {_MEDIA.format('input_')}",
    "cache_read": "ifNull(cache_read_tokens, 0)",
    "cache_write": "ifNull(cache_write_5m_tokens, 0) + ifNull(cache_write_1h_tokens, 0)",
    "output": f"ifNull(visible_output_tokens, 0) + ifNull(reasoning_tokens, 0) + {_MEDIA.format('output_')}",
}
_SPLIT: Final = "(isNotNull(cost_input_usd) OR isNotNull(cost_output_usd) OR isNotNull(cost_other_usd))"
_SILENT: Final = "isNull(uncached_input_tokens) AND isNull(visible_output_tokens) AND empty(other_tokens)"
_CERTAINTY: Final = (
    f"multiIf(isNull(cost_usd), '{UNPRICED}', "
    f"cost_status = 'estimated' OR usage_quality IN ('estimated', 'partial'), '{ESTIMATED}', '{KNOWN}')"
)
_BUCKETS: Final = {
    "day": "toString(toDate(start_time, {zone:String}))",
    "hour": "intDiv(toUnixTimestamp(start_time), 3600)",
}


def compare(store: Store, project: str, query: Query, bills: Sequence[Bill], book: Book) -> dict[str, Any]:
    """Compare bills with the ledger.

    Args:
        store: The ledger.
        project: Whose.
        query: Its filters choose calls, its time zone is that of the bills' days, its range (if any) narrows the bills'.
        bills: The files, read, in USD.
        book: The project's prices.

    Raises:
        QueryError: nothing is left to compare, or a filter is on something that only interactions have.
    """
    bills = [_within(bill, query) for bill in bills]
    if not any(bill.days for bill in bills):
        raise QueryError("the files speak of no day in this range")
    first, last = days_of(bill for bill in bills if bill.days)
    if (last - first).days >= DAYS_MAX:
        raise QueryError(f"the files speak of more than {DAYS_MAX} days; reconcile them a few months at a time")
    zone = ZoneInfo(query.timezone)
    span = replace(query, start=_midnight(first, zone), end=_midnight(last + _DAY, zone))
    traffic = [_traffic(row, date.fromisoformat(row["bucket"])) for row in _totals(store, project, span, "day")]
    found = reconcile(bills, traffic, lambda group, cell: _listed(book, group, cell))
    answer = _answer(found, bills, query)
    if any(item.parts.get(Reason.DAY_EDGE) or item.tokens.get(Reason.DAY_EDGE) for item in found.differences):
        wider = replace(span, start=_midnight(first, UTC) - _EDGE, end=_midnight(last + _DAY, UTC) + _EDGE)
        hours = _totals(store, project, wider, "hour")
        if zone_name := _better_zone(found, bills, hours):
            answer["better_timezone"] = zone_name
            answer["warnings"].append(f"The bill's days fit those of {zone_name} best; give it as the time zone.")
    return answer


def _within(bill: Bill, query: Query) -> Bill:
    zone = ZoneInfo(query.timezone)
    since = query.start.astimezone(zone).date() if query.start else date.min
    until = (query.end - timedelta(microseconds=1)).astimezone(zone).date() if query.end else date.max
    lines = [line for line in bill.lines if since <= line.day <= until]
    return dataclasses.replace(bill, lines=lines, days={day for day in bill.days if since <= day <= until})


def _midnight(day: date, zone: Any) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _totals(store: Store, project: str, query: Query, bucket: str) -> list[dict[str, Any]]:
    """Tokens and money by bucket, provider, model, way of processing and certainty."""
    sql = calls_about(query, project)
    parameters = {**sql.parameters, "zone": query.timezone} if bucket == "day" else sql.parameters
    keys = "bucket, provider, model, processing, certainty, is_split, is_own"
    sums = [f"sum({tokens}) AS t_{kind}" for kind, tokens in _TOKENS.items()]
    sums += [f"sum(cost_{kind}_usd) AS c_{kind}" for kind in (*KINDS, "other")]
    text = (
        f"SELECT {_BUCKETS[bucket]} AS bucket, provider, model, processing, {_CERTAINTY} AS certainty, {_SPLIT} AS is_split, "
        f"cost_source = 'user' AS is_own, count() AS calls, countIf({_SILENT}) AS silent, "
        f"sumIf(cost_usd, NOT {_SPLIT}) AS c_whole, {', '.join(sums)} "
        f"FROM {sql.text} AND kind IN ('model', 'embedding', 'rerank') AND cost_status != 'not_billable' "
        f"GROUP BY {keys} ORDER BY {keys}"
    )
    return rows_of(store.read(text, parameters))


def _traffic(row: Mapping[str, Any], day: date) -> Traffic:
    costs = {kind: pico(row[f"c_{kind}"]) for kind in (*KINDS, "other", "whole") if row[f"c_{kind}"]}
    tokens = {kind: int(row[f"t_{kind}"] or 0) for kind in KINDS}
    return Traffic(
        day,
        row["provider"],
        row["model"],
        row["certainty"],
        int(row["calls"]),
        int(row["silent"]),
        tokens,
        costs,
        bool(row["is_own"]),
        row["processing"],
    )


def _listed(book: Book, group: Group, cell: Cell) -> Fraction | None:
    """What the price book says that a token of a cell costs at the day's noon, in 1e-12 USD."""
    model, kind = cell
    noon = int(datetime.combine(group.day, time(12), UTC).timestamp()) * 1_000_000_000
    card = book.card(group.provider, model, noon)
    if not isinstance(card, Card):
        return None
    rate = getattr(card.steps[-1][1], "cache_write_5m" if kind == "cache_write" else kind, None)
    return None if rate is None else Fraction(rate)


def _better_zone(found: Reconciliation, bills: Sequence[Bill], hours: Sequence[Mapping[str, Any]]) -> str | None:
    """The whole-hour time zone whose days fit the bill far better than those that were compared."""
    now = mismatch(found.sides.groups)
    best, name = now, None
    for offset in _OFFSETS:
        moved = [_traffic(row, _day_of_hour(int(row["bucket"]) + offset)) for row in hours]
        apart = mismatch(lay_out(bills, moved).groups)
        if apart < best:
            best, name = apart, "UTC" if not offset else f"Etc/GMT{-offset:+d}"
    return name if best * _BETTER <= now else None


def _day_of_hour(hour: int) -> date:
    return date(1970, 1, 1) + timedelta(days=hour // _HOURS)


def _answer(found: Reconciliation, bills: Sequence[Bill], query: Query) -> dict[str, Any]:
    sides, differences = found.sides, found.differences
    parts = {reason: sum(item.parts.get(reason, 0) for item in differences) for reason in Reason}
    tokens = {reason: sum(item.tokens.get(reason, 0) for item in differences) for reason in Reason}
    seen = {reason for item in differences for reason in item.parts}
    by_model: dict[tuple[str, str], list[Difference]] = {}
    by_day: dict[date, list[Difference]] = {day: [] for day in sides.days}
    for item in differences:
        by_model.setdefault((item.group.provider, item.group.model), []).append(item)
        by_day.setdefault(item.group.day, []).append(item)
    rows = [{"day": item.group.day.isoformat(), **_names([item]), **_sums([item])} for item in differences]
    models = [{**_names(items), **_sums(items)} for items in by_model.values()]
    models.sort(key=lambda row: (-abs(Decimal(row["difference_usd"])), row["provider"], row["model"] or ""))
    return {
        "files": [{"format": bill.format, "lines": len(bill.lines), "days": len(bill.days)} for bill in bills],
        "start": sides.days[0].isoformat(),
        "end": (sides.days[-1] + _DAY).isoformat(),
        "timezone": query.timezone,
        "money": "billed" if sides.has_money else "valued",
        **_sums(differences),
        "unexplained_usd": _usd(parts[Reason.UNEXPLAINED]),
        "found_share": found.found_share,
        "reasons": [
            _reason(reason, parts[reason], tokens[reason] if sides.has_tokens else None) for reason in Reason if reason in seen
        ],
        "models": models,
        "days": [{"day": day.isoformat(), **_sums(items)} for day, items in sorted(by_day.items())],
        "rows": rows[:_ROWS_MAX],
        "overrides": [_override(item) for item in found.overrides],
        "left_out": _left_out(sides.left_out),
        "better_timezone": None,
        "warnings": _warnings(found, len(rows)),
    }


def _sums(items: Sequence[Difference]) -> dict[str, Any]:
    """Both sides of some groups, and the parts of their difference."""
    billed, ours = sum(item.billed for item in items), sum(item.ours for item in items)
    groups = [item.group for item in items]
    counted = [group.bill_tokens for group in groups if group.bill_tokens is not None]
    requests = [group.requests for group in groups if group.requests is not None]
    parts: dict[str, int] = {}
    for item in items:
        for reason, money in item.parts.items():
            parts[reason] = parts.get(reason, 0) + money
    return {
        "bill_usd": _usd(billed),
        "ours_usd": _usd(ours),
        "difference_usd": _usd(billed - ours),
        "bill_tokens": _by_kind(counted) if counted else None,
        "our_tokens": _by_kind([group.tokens for group in groups]),
        "bill_requests": sum(requests) if requests else None,
        "our_calls": sum(group.calls for group in groups),
        "parts": {str(reason): _usd(parts[reason]) for reason in Reason if parts.get(reason)},
    }


def _by_kind(several: Sequence[Mapping[Cell, int]]) -> dict[str, int]:
    found = dict.fromkeys(KINDS, 0)
    for tokens in several:
        for kind, number in tokens_by_kind(tokens).items():
            found[kind] += number
    return found


def _names(items: Sequence[Difference]) -> dict[str, Any]:
    group = items[0].group
    billed = sorted({name for item in items for name in item.group.bill_names})
    ours = sorted({name for item in items for _, name in item.group.our_names})
    return {"provider": group.provider or None, "model": group.model or None, "bill_names": billed, "our_names": ours}


def _reason(reason: Reason, money: int, tokens: int | None) -> dict[str, Any]:
    return {"reason": str(reason), "usd": _usd(money), "tokens": tokens, "meaning": MEANINGS[reason], "advice": ADVICE[reason]}


def _override(item: Override) -> dict[str, Any]:
    price: dict[str, Any] = {"provider": item.provider or "*", "model": item.model, "valid_from": item.since.isoformat()}
    if item.multiplier is not None:
        price["multiplier"] = format(item.multiplier, "f")
    else:
        price["prices"] = {kind: format(amount, "f") for kind, amount in item.prices.items()}
    return {"price": {**price, "note": "from the bill"}, "effect_usd": _usd(item.effect), "command": item.command}


def _left_out(rows: Sequence[Traffic]) -> dict[str, Any]:
    """What the ledger holds on the bill's days of providers that the bill does not speak of."""
    return {
        "calls": sum(row.calls for row in rows),
        "cost_usd": _usd(sum(sum(row.cost_pico.values()) for row in rows)),
        "providers": sorted({row.provider for row in rows if row.provider}),
    }


def _warnings(found: Reconciliation, rows: int) -> list[str]:
    warnings = list(found.sides.warnings)
    if not found.sides.has_money:
        warnings.append("The files hold no money: tokens that only one side has are valued at what they cost here.")
        unvalued = {item.group.model for item in found.differences for reason in item.tokens if not item.parts.get(reason)}
        if unvalued:
            warnings.append(f"{len(unvalued)} models have no price here: their tokens are counted and not valued.")
    groups = [item.group for item in found.differences]
    for name, mode in sorted({(group.model, mode) for group in groups for mode in group.unmarked_modes}):
        warnings.append(f"The bill has {mode} tokens of {name or 'some models'}; here no call of that day is marked {mode}.")
    if rows > _ROWS_MAX:
        warnings.append(f"Only the first {_ROWS_MAX:,} rows by day and model are shown; all are in the sums.")
    return warnings


def _usd(money: int) -> str:
    return usd(Decimal(money).scaleb(-12))

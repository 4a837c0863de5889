"""Questions about spending that are more than one number: what changed, the distribution and its tail, waste."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from spanledger_collector.costs.changes import EFFECTS, Change, Traffic, decompose
from spanledger_collector.query.compile import calls_about, interactions_about
from spanledger_collector.query.run import plain_value
from spanledger_collector.store.protocol import Store, rows_of
from spanledger_schema.query import Query, QueryError

PICO: Final = 10**12
_GENERATION: Final = "kind IN ('model', 'embedding', 'rerank')"
_MEDIA: Final = "arraySum(mapValues(mapFilter((k, v) -> startsWith(k, '{}'), other_tokens)))"
_TOKENS: Final = {
    "input": f"ifNull(uncached_input_tokens, 0) + {_MEDIA.format('input_')}",
    "cache_read": "ifNull(cache_read_tokens, 0)",
    "cache_write": "ifNull(cache_write_5m_tokens, 0) + ifNull(cache_write_1h_tokens, 0)",
    "output": f"ifNull(visible_output_tokens, 0) + ifNull(reasoning_tokens, 0) + {_MEDIA.format('output_')}",
}
_SPLIT: Final = "(isNotNull(cost_input_usd) OR isNotNull(cost_output_usd) OR isNotNull(cost_other_usd))"
INPUT: Final = (
    f"ifNull(uncached_input_tokens, 0) + ifNull(cache_read_tokens, 0) + ifNull(cache_write_5m_tokens, 0) + "
    f"ifNull(cache_write_1h_tokens, 0) + {_MEDIA.format('input_')}"
)
_TAIL_DIMENSIONS: Final = ("feature", "release", "app", "environment", "failure_mode", "user", "model")
_TAIL_MIN: Final = 20
_BINS_PER_DECADE: Final = 8
_CAUSES: Final = {
    "failed": "The interaction failed.",
    "truncated": "The answer hit the token limit.",
    "rejected": "The user rejected the answer.",
    "abandoned": "The call was cancelled or its stream cut off.",
    "retried": "A call failed and was repeated; the interaction came through.",
}


def changes(store: Store, project: str, query: Query, before: tuple[datetime, datetime]) -> dict[str, Any]:
    """Why cost changed against an earlier period: an exact decomposition into volume, mix, tokens per call and price.

    Raises:
        QueryError: the period has no start or end, or a filter is on something that only interactions have.
    """
    start, end = range_of(query)
    then, left_then = _traffic(store, project, replace(query, start=before[0], end=before[1]))
    now, left_now = _traffic(store, project, query)
    found = decompose(then, now)
    models = [{"model": model or None, **_show_change(change)} for model, change in found.by_model.items()]
    models.sort(key=lambda row: -abs(Decimal(row["change_usd"])))
    return {
        "before": {"start": iso(before[0]), "end": iso(before[1]), "calls_without_cost": left_then},
        "after": {"start": iso(start), "end": iso(end), "calls_without_cost": left_now},
        "overall": _show_change(found.overall),
        "models": models,
    }


def _show_change(change: Change) -> dict[str, Any]:
    money = {f"{name}_usd": usd(getattr(change, name)) for name in EFFECTS}
    return {
        "before_usd": usd(change.before_usd),
        "after_usd": usd(change.after_usd),
        "change_usd": usd(change.total),
        "calls_before": change.calls_before,
        "calls_after": change.calls_after,
        **money,
    }


def _traffic(store: Store, project: str, query: Query) -> tuple[dict[str, Traffic], int]:
    sql = calls_about(query, project)
    sums = [f"sumIf({tokens}, isNotNull(cost_usd) AND {_SPLIT}) AS t_{kind}" for kind, tokens in _TOKENS.items()]
    kinds = [*_TOKENS, "other"]
    money = [f"sum(cost_{kind}_usd) AS c_{kind}" for kind in kinds]
    money.append(f"sumIf(cost_usd, NOT {_SPLIT}) AS c_unsplit")
    counts = ["countIf(isNotNull(cost_usd)) AS n", f"countIf({_GENERATION} AND isNull(cost_usd)) AS unknown"]
    text = f"SELECT model, {', '.join([*counts, *sums, *money])} FROM {sql.text} GROUP BY model ORDER BY model"
    rows = rows_of(store.read(text, sql.parameters))
    traffic = {
        row["model"]: Traffic(
            int(row["n"]),
            {kind: int(row[f"t_{kind}"] or 0) for kind in _TOKENS},
            {kind: pico(row[f"c_{kind}"]) for kind in (*kinds, "unsplit")},
        )
        for row in rows
        if row["n"]
    }
    return traffic, sum(int(row["unknown"]) for row in rows)


def distribution(store: Store, project: str, query: Query) -> dict[str, Any]:
    """Cost per interaction: how it is distributed, and what the dearest twentieth has more often than the rest."""
    asked = replace(query, measures=("cost_p95_usd",), dimensions=(), granularity=None)
    columns = ("cost_usd", "models", *(name for name in _TAIL_DIMENSIONS if name != "model"))
    sql = interactions_about(asked, project, columns)
    relation = f"(SELECT * FROM {sql.text})"
    head = rows_of(
        store.read(
            "SELECT count() AS n, countIf(isNull(cost_usd)) AS unknown, countIf(cost_usd = 0) AS free, "
            "quantileExactOrNull(0.5)(cost_usd) AS p50, quantileExactOrNull(0.95)(cost_usd) AS p95, "
            f"quantileExactOrNull(0.99)(cost_usd) AS p99, max(cost_usd) AS highest FROM {relation}",
            sql.parameters,
        )
    )[0]
    bins = rows_of(
        store.read(
            f"SELECT floor(log10(toFloat64(cost_usd)) * {_BINS_PER_DECADE}) AS bin, count() AS n, sum(cost_usd) AS cost "
            f"FROM {relation} WHERE cost_usd > 0 GROUP BY bin ORDER BY bin",
            sql.parameters,
        )
    )
    return {
        "interactions": head["n"],
        "without_cost": head["unknown"],
        "free": head["free"],
        **{f"cost_{name}_usd": plain_value(head[name]) for name in ("p50", "p95", "p99")},
        "highest_usd": plain_value(head["highest"]),
        "bins": [
            {
                "from_usd": 10 ** (row["bin"] / _BINS_PER_DECADE),
                "to_usd": 10 ** ((row["bin"] + 1) / _BINS_PER_DECADE),
                "interactions": row["n"],
                "cost_usd": plain_value(row["cost"]),
            }
            for row in bins
        ],
        "tail": _tail(store, relation, sql.parameters, head) if head["p95"] is not None else [],
    }


def _tail(store: Store, relation: str, parameters: Mapping[str, Any], head: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Values that interactions above p95 have more often than the others, those with most interactions in the tail first."""
    known = head["n"] - head["unknown"]
    names = ", ".join(f"('{name}', {name})" for name in _TAIL_DIMENSIONS if name != "model")
    bound = {**parameters, "p95": str(head["p95"])}
    is_tail = "cost_usd > toDecimal64({p95:String}, 12)"
    text = (
        "SELECT pair.1 AS dimension, pair.2 AS value, count() AS in_tail, sum(cost_usd) AS tail_cost FROM (SELECT cost_usd, "
        f"arrayConcat([{names}], arrayMap(m -> ('model', m), models)) AS pairs FROM {relation} WHERE {is_tail}) "
        "ARRAY JOIN pairs AS pair WHERE value != '' GROUP BY dimension, value ORDER BY in_tail DESC, dimension, value LIMIT 200"
    )
    rows = rows_of(store.read(text, bound))
    tail = int(rows_of(store.read(f"SELECT count() AS n FROM {relation} WHERE {is_tail}", bound))[0]["n"])
    everywhere = _counts(store, relation, parameters, rows)
    found = []
    for row in rows:
        # Counted a moment later, when what was erased meanwhile is gone.
        rest = max(0, everywhere.get((row["dimension"], row["value"]), 0) - row["in_tail"])
        share_tail = row["in_tail"] / tail if tail else 0.0
        share_rest = rest / (known - tail) if known > tail else 0.0
        if row["in_tail"] < min(_TAIL_MIN, max(1, tail // 4)) or share_tail <= share_rest:
            continue
        found.append(
            {
                "dimension": row["dimension"],
                "value": row["value"],
                "interactions_in_tail": row["in_tail"],
                "share_of_tail": share_tail,
                "share_of_rest": share_rest,
                "lift": share_tail / share_rest if share_rest else None,
                "tail_cost_usd": plain_value(row["tail_cost"]),
            }
        )
    return sorted(found, key=lambda row: -(row["share_of_tail"] - row["share_of_rest"]))[:12]


def _counts(
    store: Store, relation: str, parameters: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str], int]:
    """How many interactions of known cost have each value, in a pass for each dimension.

    To unfold all interactions into a pair for each dimension, as the few of the tail are, takes several times as long.
    """
    bound, passes = dict(parameters), []
    for name in dict.fromkeys(row["dimension"] for row in rows):
        bound[f"of_{name}"] = [row["value"] for row in rows if row["dimension"] == name]
        column = "arrayJoin(models)" if name == "model" else name
        passes.append(
            f"SELECT '{name}' AS dimension, toString(v) AS value, n FROM (SELECT {column} AS v, count() AS n FROM {relation} "
            f"WHERE isNotNull(cost_usd) GROUP BY v HAVING v IN {{of_{name}:Array(String)}})"
        )
    found = rows_of(store.read(" UNION ALL ".join(passes), bound)) if passes else []
    return {(row["dimension"], row["value"]): int(row["n"]) for row in found}


def waste(store: Store, project: str, query: Query) -> dict[str, Any]:
    """Spending that bought nothing, by cause; the causes add up to `wasted_cost_usd`."""
    sql = calls_about(query, project)
    cause = (
        "multiIf(failure_mode = 'truncated', 'truncated', failure_mode = 'rejected', 'rejected', failure_mode = 'cancelled', "
        "'abandoned', failure_mode != '', 'failed', 'retried')"
    )
    text = (
        f"SELECT {cause} AS cause, sum(wasted_cost_usd) AS cost, count() AS calls, uniqExact(interaction_id) AS interactions "
        f"FROM {sql.text} AND wasted_cost_usd > 0 GROUP BY cause ORDER BY cost DESC"
    )
    rows = rows_of(store.read(text, sql.parameters))
    total = sum((row["cost"] for row in rows), Decimal(0))
    return {
        "wasted_cost_usd": usd(total),
        "causes": [
            {
                "cause": row["cause"],
                "meaning": _CAUSES[row["cause"]],
                "cost_usd": plain_value(row["cost"]),
                "calls": row["calls"],
                "interactions": row["interactions"],
            }
            for row in rows
        ],
    }


def range_of(query: Query) -> tuple[datetime, datetime]:
    """The query's start and end.

    Raises:
        QueryError: one is missing, or nothing lies between them.
    """
    if query.start is None or query.end is None or query.start >= query.end:
        raise QueryError("this needs a start and a later end")
    return query.start, query.end


def iso(value: datetime) -> str:
    """A time in UTC, to the second."""
    return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def usd(value: Decimal) -> str:
    """Money in plain notation."""
    return format(value.normalize(), "f") if value else "0"


def pico(value: Decimal | None) -> int:
    """Money in USD as 1e-12 USD; unknown is nothing."""
    return 0 if value is None else int(value.scaleb(12))

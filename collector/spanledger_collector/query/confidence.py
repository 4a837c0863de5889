"""Confidence over time: what the drift mathematics needs, counted in the store, and the answer of `/api/v1/drift`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from spanledger_collector.drift import calibration, scan
from spanledger_collector.query.compile import bind_time
from spanledger_collector.store.protocol import Store, rows_of
from spanledger_schema.query import QueryError

REFERENCE_DAYS: Final = 14
_EDGES: Final = 60
_EDGE_SAMPLE: Final = 200_000
_SERIES_MAX: Final = 500
_SOURCE: Final = "arrayFirst((v, s) -> s = {source:String}, confidence_values, confidence_sources)"


@dataclass(frozen=True, slots=True)
class Series:
    """Which confidence: one source, of one app and feature where they are given (empty means not set)."""

    source: str
    app: str | None = None
    feature: str | None = None


def read_drift(
    store: Store,
    project: str,
    *,
    source: str | None,
    app: str | None,
    feature: str | None,
    start: datetime | None,
    end: datetime | None,
    reference_start: datetime | None,
    reference_end: datetime | None,
    now: datetime,
) -> dict[str, Any]:
    """The answer of `/api/v1/drift`.

    Args:
        store: Where the interactions are.
        project: Whose they are.
        source: The confidence source; the most frequent one when None.
        app: Restricts to one app when given.
        feature: Restricts to one feature when given.
        start: Begin of what is shown; 30 days before `end` when None.
        end: End of what is judged; now when None.
        reference_start: Begin of the pinned reference; the first whole day with data when None.
        reference_end: End of the reference; 14 days after its begin when None.
        now: The time of the question.

    Raises:
        QueryError: a range is reversed.
    """
    end = min(end or now, now)
    start = start or end - timedelta(days=30)
    if start >= end or (reference_start and reference_end and reference_start >= reference_end):
        raise QueryError("a range ends before it begins")
    known = _series(store, project)
    matching = [row for row in known if app in (None, row["app"]) and feature in (None, row["feature"])]
    if source is None:
        source = matching[0]["source"] if matching else ""
    matching = [row for row in matching if row["source"] == source]
    series = Series(source, app, feature)
    parameters = _parameters(project, series)
    reference = _reference(min((row["first"] for row in matching), default=None), reference_start, reference_end, end)
    # Cuts need no more than a sample of the reference; the counts between them are of every value.
    one_in = max(1, sum(row["n"] for row in matching) // _EDGE_SAMPLE)
    blocks = _blocks(store, series, {**parameters, "one_in": one_in}, reference, end)
    bounds = (int(reference[0].timestamp()) // scan.BLOCK_S, int(reference[1].timestamp()) // scan.BLOCK_S)
    verdict = scan.judge(blocks, bounds, int(end.timestamp()) // scan.BLOCK_S)
    return {
        "series": [{key: row[key] or None for key in ("app", "feature", "source")} for row in known[:_SERIES_MAX]],
        "source": source or None,
        "state": verdict.state,
        "moved_since": _iso(verdict.moved_since) if verdict.moved_since else None,
        "message": verdict.message,
        "reference": {"start": _iso(reference[0]), "end": _iso(reference[1]), "n": verdict.reference_n},
        "channels": [asdict(finding) for finding in verdict.findings],
        "bands": _bands(store, series, parameters, start, end),
        "psi": verdict.psi,
        "psi_n": verdict.psi_n,
        "calibration": _calibration(store, series, parameters, start, end),
    }


def _series(store: Store, project: str) -> list[dict[str, Any]]:
    """Every app, feature and source with values: how many and when the first; the most frequent first."""
    sql = (
        "SELECT any(i.app) AS app, any(i.feature) AS feature, any(s) AS source, count() AS n, min(start_time) AS first "
        "FROM interactions AS i FINAL ARRAY JOIN confidence_sources AS s WHERE project = {project:String} "
        # By hashes, which the engine takes from the columns' dictionaries, in place of texts: see `query.compile`.
        "GROUP BY sipHash64(i.app), sipHash64(i.feature), sipHash64(s) ORDER BY n DESC, source, app, feature LIMIT 10000"
    )
    return rows_of(store.read(sql, {"project": project}))


def _parameters(project: str, series: Series) -> dict[str, Any]:
    parameters = {"project": project, "source": series.source}
    if series.app is not None:
        parameters["app"] = series.app
    if series.feature is not None:
        parameters["feature"] = series.feature
    return parameters


def _where(series: Series) -> str:
    parts = ["project = {project:String}", "has(confidence_sources, {source:String})"]
    if series.app is not None:
        parts.append("app = {app:String}")
    if series.feature is not None:
        parts.append("feature = {feature:String}")
    return " AND ".join(parts)


def _reference(
    first: datetime | None, start: datetime | None, end: datetime | None, until: datetime
) -> tuple[datetime, datetime]:
    """The pinned period, cut to whole 6 h blocks; `first` is when the first value was stated."""
    if start is None:
        first = first or until - timedelta(days=REFERENCE_DAYS)
        start = _block_start(first + timedelta(seconds=scan.BLOCK_S - 1))
    end = end or start + timedelta(days=REFERENCE_DAYS)
    return _block_start(start), max(_block_start(end), _block_start(start))


def _block_start(at: datetime) -> datetime:
    return datetime.fromtimestamp(int(at.timestamp()) // scan.BLOCK_S * scan.BLOCK_S, UTC)


def _blocks(
    store: Store, series: Series, parameters: Mapping[str, Any], reference: tuple[datetime, datetime], end: datetime
) -> scan.Blocks:
    """Counts by block and bin. Bins are cut at quantiles of the reference; a value equal to a cut has a bin of its own."""
    bound = {**parameters, "start": bind_time(reference[0]), "end": bind_time(end), "cut": bind_time(reference[1])}
    inside = "start_time >= {start:DateTime64(9, 'UTC')}"
    levels = ", ".join(str(round((index + 0.5) / _EDGES, 6)) for index in range(_EDGES))
    sql = (
        f"SELECT quantilesExact({levels})({_SOURCE}) AS edges FROM interactions FINAL "
        f"WHERE {_where(series)} AND {inside} AND start_time < {{cut:DateTime64(9, 'UTC')}} "
        "AND intHash64(toUnixTimestamp64Nano(start_time)) % {one_in:UInt32} = 0"
    )
    edges = sorted({float(edge) for edge in rows_of(store.read(sql, bound))[0]["edges"] if edge == edge})
    first = int(reference[0].timestamp()) // scan.BLOCK_S
    last = max(int(end.timestamp()) // scan.BLOCK_S, first)
    counts = np.zeros((last - first + 1, 2 * len(edges) + 1))
    if not edges:
        return scan.Blocks(np.arange(first, last + 1, dtype=np.int64), counts)
    # The largest cut at or below the value, by binary search, and whether the value is below it (the first), on it or above.
    sql = (
        "SELECT intDiv(toUnixTimestamp(start_time), 21600) AS block, roundDown(value, {edges:Array(Float64)}) AS edge, "
        "toInt8(sign(value - edge)) AS side, count() AS n "
        f"FROM (SELECT start_time, {_SOURCE} AS value FROM interactions FINAL "
        f"WHERE {_where(series)} AND {inside} AND start_time < {{end:DateTime64(9, 'UTC')}}) GROUP BY block, edge, side"
    )
    answer = store.read(sql, {**bound, "edges": edges})
    if answer.num_rows:
        block, edge, side, number = (np.asarray(column.to_pylist(), dtype=np.float64) for column in answer.columns)
        np.add.at(counts, (block.astype(np.int64) - first, 2 * np.searchsorted(edges, edge) + 1 + side.astype(np.int64)), number)
    return scan.Blocks(np.arange(first, last + 1, dtype=np.int64), counts)


def _bands(store: Store, series: Series, parameters: Mapping[str, Any], start: datetime, end: datetime) -> list[dict[str, Any]]:
    days = (end - start).total_seconds() / 86_400
    bucket = "toStartOfHour(start_time)" if days <= 2 else "toStartOfInterval(start_time, INTERVAL 6 HOUR)"
    bucket = "toStartOfDay(start_time)" if days > 14 else bucket
    sql = (
        f"SELECT toDateTime64({bucket}, 3, 'UTC') AS time, count() AS n, "
        f"quantilesExactInclusive(0.05, 0.25, 0.5, 0.75, 0.95)({_SOURCE}) AS q FROM interactions FINAL WHERE {_where(series)} "
        "AND start_time >= {start:DateTime64(9, 'UTC')} AND start_time < {end:DateTime64(9, 'UTC')} GROUP BY time ORDER BY time"
    )
    rows = rows_of(store.read(sql, {**parameters, "start": bind_time(start), "end": bind_time(end)}))
    names = ("p5", "p25", "p50", "p75", "p95")
    return [{"time": _iso(row["time"]), "n": row["n"], **dict(zip(names, row["q"], strict=True))} for row in rows]


def _calibration(
    store: Store, series: Series, parameters: Mapping[str, Any], start: datetime, end: datetime
) -> dict[str, Any] | None:
    """Values with a judgement: a reviewer's where there is one, else a user's, else an evaluator's."""
    label = "arrayFirst((p, s) -> s = '{}' AND p >= 0, feedback_positive, feedback_sources)"
    has = "arrayExists((p, s) -> s = '{}' AND p >= 0, feedback_positive, feedback_sources)"
    # Counted by value in the store: a hundred thousand judgements are a few hundred rows. Four digits tell confidences apart.
    sql = (
        f"SELECT round({_SOURCE}, 4) AS p, multiIf({has.format('reviewer')}, {label.format('reviewer')}, "
        f"{has.format('user')}, {label.format('user')}, {label.format('evaluator')}) AS y, count() AS n FROM interactions FINAL "
        f"WHERE {_where(series)} AND arrayExists(v -> v >= 0, feedback_positive) "
        "AND start_time >= {start:DateTime64(9, 'UTC')} AND start_time < {end:DateTime64(9, 'UTC')} GROUP BY p, y ORDER BY p, y"
    )
    answer = store.read(sql, {**parameters, "start": bind_time(start), "end": bind_time(end)})
    number = answer.column("n").to_numpy().astype(np.int64)
    p = np.repeat(answer.column("p").to_numpy().astype(np.float64), number)
    y = np.repeat(answer.column("y").to_numpy().astype(np.float64), number)
    found = calibration.calibrate(p, y)
    return None if found is None else asdict(found)


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

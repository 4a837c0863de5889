"""From the frames of answers to what a chart or a table shows: pure functions over polars frames.

Only additive measures are ever summed here, and only where the catalogue says that they may be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import polars as pl

from spanledger_dashboard.intervals import Z_MATERIAL, Rate, difference_z, wilson
from spanledger_dashboard.state import Window, bucket_end, bucket_start
from spanledger_dashboard.theme import SERIES_MAX
from spanledger_dashboard.untrusted import shorten
from spanledger_schema.catalogue import MEASURES

OTHER: Final = "Other"


@dataclass(frozen=True, slots=True)
class Change:
    """How much an additive measure of one group differs between two periods, exactly."""

    label: str
    key: tuple[str | None, ...]
    now: Decimal
    before: Decimal

    @property
    def difference(self) -> Decimal:
        """Now less before."""
        return self.now - self.before


def only(frame: pl.DataFrame) -> dict[str, Any]:
    """The one row of an ungrouped answer; empty when there is none."""
    return frame.row(0, named=True) if frame.height else {}


def exact(value: Any) -> Decimal:
    """A measure's value as Decimal; unknown counts as nothing when parts are added up."""
    return value if isinstance(value, Decimal) else Decimal(0) if value is None else Decimal(str(value))


def buckets(window: Window) -> list[datetime]:
    """The starts of all buckets of a window, oldest first."""
    starts, at = [], bucket_start(window.start, window.granularity, window.zone)
    while at < window.end:
        starts.append(at)
        at = bucket_end(at, window.granularity, window.zone)
    return starts


def whole_buckets(window: Window) -> list[datetime]:
    """The starts of the buckets that are over."""
    return [at for at in buckets(window) if bucket_end(at, window.granularity, window.zone) <= window.end]


def whole(points: Sequence[tuple[datetime, Any]], window: Window) -> list[tuple[datetime, Any]]:
    """The points of buckets that are over: a rate or quantile of a bucket that just began says nothing.

    Where nothing is known before it, the running bucket is all there is and stays.
    """
    over = set(whole_buckets(window))
    kept = [(at, value) for at, value in points if at in over]
    return kept if any(value is not None for _, value in kept) else list(points)


def running(window: Window, *, bars: bool = False) -> tuple[datetime, datetime] | None:
    """The stretch of a chart that is not over yet, or None: the last bucket, for lines from the point before it.

    Bars are drawn around the start of their bucket, lines and areas between the starts.
    """
    if not window.current:
        return None
    last = bucket_start(window.end, window.granularity, window.zone)
    if last >= window.end or last <= window.start:
        return None
    if not bars:
        return max(bucket_start(last - timedelta(seconds=1), window.granularity, window.zone), window.start), last
    half = (bucket_end(last, window.granularity, window.zone) - last) / 2
    return last - half, last + half


def _assert_additive(measure: str) -> None:
    if not MEASURES[measure].additive:
        raise ValueError(f"{measure} of several groups has no sum")


def _times(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("time").dt.cast_time_unit("us").dt.convert_time_zone("UTC"))


def over_time(frame: pl.DataFrame, measure: str, window: Window) -> list[tuple[datetime, Any]]:
    """One value per bucket of an answer over time; a bucket without rows is 0 or unknown as the catalogue says."""
    return per_bucket(frame, measure, window, missing=0 if MEASURES[measure].additive else None)


def per_bucket(frame: pl.DataFrame, column: str, window: Window, *, missing: int | None) -> list[tuple[datetime, Any]]:
    """One value of a column per bucket; `missing` where the answer has no row."""
    found = dict(_times(frame).select("time", column).iter_rows()) if frame.height else {}
    return [(at, found.get(at, missing)) for at in buckets(window)]


def stacked(frame: pl.DataFrame, dimension: str, measure: str, window: Window) -> dict[str, list[tuple[datetime, Decimal]]]:
    """Series of an additive measure by the values of a dimension: the six largest by name, then `Other`.

    Largest first; every series has a value for every bucket.

    Raises:
        ValueError: for a measure whose groups cannot be added up.
    """
    _assert_additive(measure)
    cells: dict[str | None, dict[datetime, Decimal]] = {}
    if frame.height:
        for at, name, value in _times(frame).select("time", dimension, measure).iter_rows():
            cells.setdefault(name, {})[at] = exact(value)
    totals = {name: sum(values.values(), Decimal(0)) for name, values in cells.items()}
    ranked = [name for name in sorted(totals, key=lambda n: (-totals[n], n or "")) if totals[name] > 0]
    starts = buckets(window)
    series = {shorten(name): [(at, cells[name].get(at, Decimal(0))) for at in starts] for name in ranked[:SERIES_MAX]}
    if rest := ranked[SERIES_MAX:]:
        series[OTHER] = [(at, sum((cells[name].get(at, Decimal(0)) for name in rest), Decimal(0))) for at in starts]
    return series


def share_of(
    series: Mapping[str, Sequence[tuple[datetime, Decimal]]], whole: Sequence[tuple[datetime, Any]]
) -> dict[str, list[tuple[datetime, float | None]]]:
    """Each series as a share of `whole`, bucket by bucket; unknown where there is no whole."""
    totals = dict(whole)
    return {
        name: [(at, float(value) / float(totals[at]) if totals.get(at) else None) for at, value in points]
        for name, points in series.items()
    }


def changes(now: pl.DataFrame, before: pl.DataFrame, dimensions: Sequence[str], measure: str) -> list[Change]:
    """The differences of an additive measure between two periods by group, largest movement first.

    Raises:
        ValueError: for a measure whose groups cannot be added up.
    """
    _assert_additive(measure)
    sides: list[dict[tuple[str | None, ...], Decimal]] = []
    for frame in (now, before):
        rows = frame.select(*dimensions, measure).iter_rows() if frame.height else iter(())
        sides.append({row[:-1]: exact(row[-1]) for row in rows})
    found = [
        Change(" · ".join(shorten(part, 24) for part in key), key, sides[0].get(key, Decimal(0)), sides[1].get(key, Decimal(0)))
        for key in sides[0].keys() | sides[1].keys()
    ]
    moved = [change for change in found if change.difference != 0]
    return sorted(moved, key=lambda change: (-abs(change.difference), change.label))


def rates(frame: pl.DataFrame, dimension: str, hits: str, n: str, limit: int = 12) -> list[tuple[str | None, Rate]]:
    """A rate with its interval for each group that has samples, the groups with most samples first."""
    found = []
    for name, k, total in frame.select(dimension, hits, n).iter_rows() if frame.height else ():
        if total and (rate := wilson(int(k or 0), int(total))):
            found.append((name, rate))
    return sorted(found, key=lambda pair: (-pair[1].n, pair[0] or ""))[:limit]


def positives(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with `positive`: how many of `feedback_judged` were positive, a whole number again."""
    rate, judged = pl.col("feedback_positive_rate").cast(pl.Float64), pl.col("feedback_judged").cast(pl.Float64)
    return frame.with_columns((rate * judged).round().cast(pl.Int64).fill_null(0).alias("positive"))


def trends(frame: pl.DataFrame, dimension: str, measure: str, window: Window) -> dict[str | None, list[float]]:
    """For each value of a dimension its additive measure per whole bucket, for a small chart in a table cell."""
    _assert_additive(measure)
    cells: dict[str | None, dict[datetime, float]] = {}
    if frame.height:
        for at, name, value in _times(frame).select("time", dimension, measure).iter_rows():
            cells.setdefault(name, {})[at] = float(value or 0)
    starts = whole_buckets(window)
    return {name: [values.get(at, 0.0) for at in starts] for name, values in cells.items()}


def sparkline(points: Sequence[tuple[datetime, Any]], window: Window) -> list[float]:
    """The known values of whole buckets; fewer than three make no line."""
    whole = set(whole_buckets(window))
    values = [float(value) for at, value in points if value is not None and at in whole]
    return values if len(values) >= 3 else []


def by_key(frame: pl.DataFrame, dimension: str) -> dict[str | None, dict[str, Any]]:
    """The rows of a grouped answer by the value of its dimension."""
    return {row[dimension]: row for row in frame.iter_rows(named=True)}


def shares(values: Sequence[Any]) -> list[float | None]:
    """Each amount as a part of the sum of all that are known."""
    total = sum((exact(value) for value in values), Decimal(0))
    return [float(exact(value) / total) if value is not None and total else None for value in values]


TREND_STATES: Final = ("New", "Rising", "Ongoing", "Falling")


def trend_state(hits: int, n: int, hits_before: int, n_before: int) -> str:
    """What became of a failure mode: new when the period before had none, rising or falling beyond chance (1 %), else ongoing."""
    if n_before and not hits_before:
        return "New"
    z = difference_z(hits, n, hits_before, n_before)
    return "Rising" if z >= Z_MATERIAL else "Falling" if z <= -Z_MATERIAL else "Ongoing"


@dataclass(frozen=True, slots=True)
class Fires:
    """How often and how long a rule would have fired."""

    count: int
    per_week: float
    median: timedelta | None
    longest: timedelta | None


def fires(found: Sequence[Mapping[str, Any]], start: datetime, end: datetime) -> Fires:
    """Summarise the fires of a preview; one that has not ended lasts until the end of the preview."""
    lengths = sorted((datetime.fromisoformat(f["to"]) if f["to"] else end) - datetime.fromisoformat(f["from"]) for f in found)
    weeks = (end - start) / timedelta(days=7)
    middle = lengths[(len(lengths) - 1) // 2] if lengths else None
    return Fires(len(lengths), len(lengths) / weeks if weeks else 0.0, middle, lengths[-1] if lengths else None)

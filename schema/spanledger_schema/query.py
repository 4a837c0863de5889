"""The Query: a question as a value. API, dashboard, alerts, CLI and permalinks all ask with it.

Parsing raises `QueryError` with a message that says what was wrong and what exists; nothing is guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from spanledger_schema.catalogue import MEASURES
from spanledger_schema.dimensions import DIMENSIONS, TAG_DIMENSION_PREFIX

GRANULARITIES = ("minute", "hour", "day", "week", "month")
OPERATORS = ("in", "not_in", "contains", "starts_with")
LIMIT_DEFAULT = 1_000
LIMIT_MAX = 1_000_000
VALUES_MAX = 10_000
FIELDS = ("measures", "dimensions", "granularity", "filters", "start", "end", "timezone", "order_by", "limit")


class QueryError(ValueError):
    """A Query that cannot be asked; the message is for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Keep rows whose `dimension` is (not) one of `values`; `None` among the values means "not set"."""

    dimension: str
    op: str
    values: tuple[str | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"dimension": self.dimension, "op": self.op, "values": list(self.values)}


@dataclass(frozen=True, slots=True)
class Query:
    """Which measures, broken down by what, over which time. Ranges are half-open: [start, end), UTC.

    Without `start` and `end` all of history is asked. `timezone` decides where buckets begin, nothing else.
    """

    measures: tuple[str, ...]
    dimensions: tuple[str, ...] = ()
    granularity: str | None = None
    filters: tuple[Filter, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    timezone: str = "UTC"
    order_by: tuple[str, ...] = ()
    limit: int = LIMIT_DEFAULT

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; `Query.from_dict(q.to_dict()) == q`."""
        return {
            "measures": list(self.measures),
            "dimensions": list(self.dimensions),
            "granularity": self.granularity,
            "filters": [f.to_dict() for f in self.filters],
            "start": _iso(self.start),
            "end": _iso(self.end),
            "timezone": self.timezone,
            "order_by": list(self.order_by),
            "limit": self.limit,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Query":
        """Parse the JSON form.

        Raises:
            QueryError: for an unknown field, measure, dimension, operator, granularity or time zone, or a bad range.
        """
        return _parse(raw)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an answer: its name, unit and JSON type."""

    name: str
    unit: str | None
    type: str


@dataclass(slots=True)
class Result:
    """An answer: columns, rows in the columns' order, and warnings that a reader should see."""

    columns: list[Column]
    rows: list[list[Any]]
    warnings: list[str] = field(default_factory=list)


def is_dimension(name: str) -> bool:
    """Whether `name` is a dimension of the catalogue or `tag:<key>`."""
    return name in DIMENSIONS or (name.startswith(TAG_DIMENSION_PREFIX) and len(name) > len(TAG_DIMENSION_PREFIX))


def parse_time(value: Any, what: str) -> datetime | None:
    """An ISO 8601 time with an offset (or Z), as UTC.

    Raises:
        QueryError: when it is no such time.
    """
    if value is None:
        return None
    try:
        parsed = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        if parsed.tzinfo is None:
            raise QueryError(f"{what} needs an offset, for example 2026-11-01T00:00:00Z; got {str(value)[:40]!r}")
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, QueryError):
            raise
        raise QueryError(f"{what} is no ISO 8601 time: {str(value)[:40]!r}") from None


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _names(raw: Any, what: str) -> tuple[str, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list | tuple) or not all(isinstance(item, str) for item in raw):
        raise QueryError(f"{what} is a list of names")
    if len(set(raw)) != len(raw):
        raise QueryError(f"{what} names something twice")
    return tuple(raw)


def _filter(raw: Any) -> Filter:
    if not isinstance(raw, Mapping):
        raise QueryError('a filter is {"dimension": …, "op": …, "values": […]}')
    if unknown := set(raw) - {"dimension", "op", "values"}:
        raise QueryError(f"a filter has no field {sorted(map(str, unknown))[0]!r}; it has dimension, op, values")
    dimension, op, values = raw.get("dimension"), raw.get("op", "in"), raw.get("values")
    if not isinstance(dimension, str) or not is_dimension(dimension):
        raise QueryError(f"unknown dimension {str(dimension)[:60]!r}; there are: {', '.join(DIMENSIONS)}, tag:<key>")
    if op not in OPERATORS:
        raise QueryError(f"unknown operator {str(op)[:40]!r}; there are: {', '.join(OPERATORS)}")
    if not isinstance(values, list | tuple) or not values or len(values) > VALUES_MAX:
        raise QueryError(f"values of the filter on {dimension} is a list of 1 to {VALUES_MAX:,} strings or nulls")
    if not all(value is None or isinstance(value, str) for value in values):
        raise QueryError(f"values of the filter on {dimension} are strings or null")
    if op in ("contains", "starts_with") and None in values:
        raise QueryError(f"{op} takes strings, not null")
    return Filter(dimension, op, tuple(values))


def _range(raw: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    start, end = parse_time(raw.get("start"), "start"), parse_time(raw.get("end"), "end")
    if start is not None and end is not None and end < start:
        raise QueryError("end lies before start")
    return start, end


def _order(raw: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    order = _names(raw, "order_by")
    for item in order:
        if item.removeprefix("-") not in names:
            raise QueryError(f"order_by {item[:60]!r} is no column of this query; there are: {', '.join(names)}")
    return order


def _parse(raw: Mapping[str, Any]) -> Query:
    if not isinstance(raw, Mapping):
        raise QueryError("a query is a JSON object")
    if unknown := set(raw) - set(FIELDS):
        raise QueryError(f"unknown field {sorted(map(str, unknown))[0][:60]!r}; there are: {', '.join(FIELDS)}")
    measures = _names(raw.get("measures"), "measures")
    if not measures:
        raise QueryError(f"measures is empty; there are: {', '.join(MEASURES)}")
    for name in measures:
        if name not in MEASURES:
            raise QueryError(f"unknown measure {name[:60]!r}; there are: {', '.join(MEASURES)}")
    dimensions = _names(raw.get("dimensions"), "dimensions")
    for name in dimensions:
        if not is_dimension(name):
            raise QueryError(f"unknown dimension {name[:60]!r}; there are: {', '.join(DIMENSIONS)}, tag:<key>")
    granularity = raw.get("granularity")
    if granularity is not None and granularity not in GRANULARITIES:
        raise QueryError(f"unknown granularity {str(granularity)[:40]!r}; there are: {', '.join(GRANULARITIES)}, null")
    filters = raw.get("filters")
    if filters is not None and not isinstance(filters, list | tuple):
        raise QueryError("filters is a list")
    start, end = _range(raw)
    zone = raw.get("timezone") or "UTC"
    try:
        ZoneInfo(str(zone))
    except (KeyError, ValueError, OSError):
        raise QueryError(f"unknown time zone {str(zone)[:60]!r}; use a name such as Europe/Berlin") from None
    limit = raw.get("limit")
    limit = LIMIT_DEFAULT if limit is None else limit
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= LIMIT_MAX:
        raise QueryError(f"limit is a number from 1 to {LIMIT_MAX:,}")
    columns = (("time",) if granularity else ()) + dimensions + measures
    order = _order(raw.get("order_by"), columns)
    return Query(measures, dimensions, granularity, tuple(_filter(f) for f in filters or ()), start, end, str(zone), order, limit)

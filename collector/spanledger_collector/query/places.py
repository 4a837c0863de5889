"""What there is to choose from: projects, and the values of a dimension."""

from datetime import datetime
from typing import Any, Final

from spanledger_collector.query.compile import bind_time
from spanledger_collector.store.protocol import Store, rows_of
from spanledger_schema.dimensions import DIMENSIONS, TAG_DIMENSION_PREFIX
from spanledger_schema.query import QueryError, is_dimension

_UNFOLDED: Final = {
    "confidence_source": "confidence_sources",
    "feedback_source": "feedback_sources",
    "feedback_name": "feedback_names",
    "span_kind": "mapKeys(span_kinds)",
}


def list_projects(store: Store) -> list[dict[str, Any]]:
    """Projects with their span counts and the times of their first and last interaction, by name."""
    sql = (
        "SELECT project AS name, sum(span_count) AS spans, min(start_time) AS first_at, max(start_time) AS last_at "
        "FROM interactions FINAL GROUP BY project ORDER BY project"
    )
    return [
        {"name": row["name"], "spans": row["spans"], "first_at": _iso(row["first_at"]), "last_at": _iso(row["last_at"])}
        for row in rows_of(store.read(sql))
    ]


def dimension_values(
    store: Store, project: str, dimension: str, start: datetime | None, end: datetime | None, limit: int
) -> list[str]:
    """Values of a dimension that are set, those of most rows first.

    Raises:
        QueryError: there is no such dimension.
    """
    if not is_dimension(dimension):
        raise QueryError(f"unknown dimension {dimension[:60]!r}; there are: {', '.join(DIMENSIONS)}, tag:<key>")
    parameters: dict[str, Any] = {"project": project, "limit": limit}
    table, unfold = "interactions", ""
    if dimension.startswith(TAG_DIMENSION_PREFIX):
        column = "tags[{tag:String}]"
        parameters["tag"] = dimension[len(TAG_DIMENSION_PREFIX) :]
    elif dimension in _UNFOLDED:
        column, unfold = "unfolded", f" ARRAY JOIN {_UNFOLDED[dimension]} AS unfolded"
    else:
        known = DIMENSIONS[dimension]
        table = "interactions" if known.interactions is not None else "calls" if known.calls is not None else "sdk_losses"
        column = known.interactions or known.calls or known.losses or ""
    conditions, time = ["project = {project:String}"], "seen_at" if table == "sdk_losses" else "start_time"
    for name, compares, value in (("start", ">=", start), ("end", "<", end)):
        if value is not None:
            conditions.append(f"{time} {compares} {{{name}:DateTime64(9, 'UTC')}}")
            parameters[name] = bind_time(value)
    if table == "interactions":
        conditions.append("is_interaction = 1")
    sql = (
        f"SELECT value FROM (SELECT {column} AS value, count() AS n FROM {table} FINAL{unfold} "
        f"WHERE {' AND '.join(conditions)} GROUP BY value) WHERE value != '' ORDER BY n DESC, value LIMIT {{limit:UInt32}}"
    )
    return [str(row["value"]) for row in rows_of(store.read(sql, parameters))]


def list_tags(store: Store, project: str, each: int) -> list[dict[str, Any]]:
    """The keys of tags with their most frequent values, at most `each` of a key and 10,000 in all; most frequent first."""
    sql = (
        "SELECT tag.1 AS key, tag.2 AS value, count() AS n FROM interactions FINAL "
        "ARRAY JOIN arrayZip(mapKeys(tags), mapValues(tags)) AS tag "
        "WHERE project = {project:String} AND is_interaction = 1 AND value != '' "
        "GROUP BY key, value ORDER BY n DESC, key, value LIMIT {each:UInt32} BY key LIMIT 10000"
    )
    found: dict[str, list[str]] = {}
    for row in rows_of(store.read(sql, {"project": project, "each": each})):
        found.setdefault(str(row["key"]), []).append(str(row["value"]))
    return [{"key": key, "values": values} for key, values in found.items()]


def newest_span(store: Store, project: str | None = None) -> datetime | None:
    """When the newest settled interaction of a project (None: of any) began; None when there is none."""
    sql = "SELECT max(start_time) AS t, count() AS n FROM interactions"
    if project is None:
        row = rows_of(store.read(sql))[0]
    else:
        row = rows_of(store.read(f"{sql} WHERE project = {{project:String}}", {"project": project}))[0]
    found: datetime | None = row["t"] if row["n"] else None
    return found


def _iso(value: datetime) -> str:
    return value.isoformat(timespec="seconds").replace("+00:00", "Z")

"""Answer a Query: compile, run with the store's limits, and give the columns their names and units."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import orjson
import pyarrow as pa

from spanledger_collector.query.compile import CONFIDENCE_SOURCES, compile_query
from spanledger_collector.store.protocol import Store
from spanledger_schema.catalogue import MEASURES
from spanledger_schema.query import Column, Query, Result

MIXED_CONFIDENCE: Final = (
    "Confidence is null where several sources are mixed: they are not on one scale. Filter or break down by confidence_source."
)


def answer(store: Store, query: Query, project: str) -> tuple[pa.Table, list[str]]:
    """Answer as Arrow.

    Returns:
        Columns `time` (when there is a granularity), dimensions and measures in the query's order, with the unit in each field's
        metadata; and warnings for the reader.

    Raises:
        QueryError: the question cannot be answered as asked.
        StoreUnavailable, QueryTooExpensive: see `Store.read`.
    """
    sql = compile_query(query, project)
    # One row more than asked for tells whether there are more.
    raw = store.read(sql.text, {**sql.parameters, "limit": query.limit + 1})
    warnings: list[str] = []
    if CONFIDENCE_SOURCES in raw.column_names:
        mixed = raw.column(CONFIDENCE_SOURCES).to_pylist()
        raw = raw.drop_columns([CONFIDENCE_SOURCES])
        if any(count is not None and count > 1 for count in mixed):
            warnings.append(MIXED_CONFIDENCE)
    if raw.num_rows > query.limit:
        raw = raw.slice(0, query.limit)
        warnings.append(f"Cut at {query.limit:,} rows; ask for fewer groups or a higher limit.")
    names = (["time"] if query.granularity else []) + list(query.dimensions) + list(query.measures)
    columns, fields = [], []
    for name, column in zip(names, raw.columns, strict=True):
        plain = _plain(column, is_time=name == "time" and query.granularity is not None)
        unit = MEASURES[name].unit.value if name in query.measures else None
        columns.append(plain)
        fields.append(pa.field(name, plain.type, metadata={b"unit": unit.encode()} if unit else None))
    metadata = {b"warnings": orjson.dumps(warnings)}
    return pa.table(columns, schema=pa.schema(fields, metadata=metadata)), warnings


def to_result(table: pa.Table, warnings: list[str]) -> Result:
    """An Arrow answer as plain values: times as ISO 8601 with Z, decimals as text in plain notation."""
    columns = [
        Column(field.name, (field.metadata or {}).get(b"unit", b"").decode() or None, _type_name(field.type))
        for field in table.schema
    ]
    values = [[plain_value(value) for value in column.to_pylist()] for column in table.columns]
    return Result(columns, [list(row) for row in zip(*values, strict=True)], warnings)


def plain_value(value: Any) -> Any:
    """One value as JSON holds it."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f") if value else "0"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds" if value.microsecond else "seconds").replace("+00:00", "Z")
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def _plain(column: pa.ChunkedArray, *, is_time: bool) -> pa.ChunkedArray:
    if is_time:
        return column.cast(pa.timestamp("ms", "UTC"))
    if pa.types.is_null(column.type):
        return column.cast(pa.float64())
    if pa.types.is_unsigned_integer(column.type) or (pa.types.is_integer(column.type) and column.type != pa.int64()):
        return column.cast(pa.int64())
    return column


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return "decimal"
    if pa.types.is_timestamp(kind):
        return "time"
    if pa.types.is_integer(kind):
        return "integer"
    return "number" if pa.types.is_floating(kind) else "string"

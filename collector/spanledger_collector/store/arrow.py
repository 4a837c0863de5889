"""Rows become Arrow tables with the ledger's column types, and back. Pure.

One typed array per column from transposed rows; money as integers viewed as decimals (exact, and ten times as fast as through
`Decimal`); maps from offsets.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain
from typing import Any, Final, TypeVar

import pyarrow as pa

from spanledger_schema.spans import CALL_FIELDS, CONTENT_FIELDS, INTERACTION_FIELDS, SPAN_FIELDS, Fields

Row = TypeVar("Row")
MONEY: Final = pa.decimal128(18, 12)
MONEY_PICO_MAX: Final = 10**18 - 1
_PLAIN: Final = {
    "text": pa.string(),
    "u8": pa.uint8(),
    "u16": pa.uint16(),
    "u32": pa.uint32(),
    "u64": pa.uint64(),
    "i8": pa.int8(),
    "f64": pa.float64(),
}
_LISTS: Final = {"texts": pa.list_(pa.string()), "f64s": pa.list_(pa.float64()), "i8s": pa.list_(pa.int8())}


def column(values: Sequence[Any], kind: str) -> pa.Array:
    """One column of the type that `kind` (a word of `spanledger_schema.spans`) names."""
    base = kind.removesuffix("?")
    if base in _PLAIN:
        return pa.array(values, _PLAIN[base])
    if base == "time":
        return pa.array(values, pa.int64()).view(pa.timestamp("ns", "UTC"))
    if base == "money":
        return pa.array(values, pa.int64()).cast(pa.decimal128(19, 0)).view(MONEY)
    if base in _LISTS:
        return pa.array(values, _LISTS[base])
    if base == "moneys":
        starts = pa.array([0, *accumulate(map(len, values))], pa.int32())
        return pa.ListArray.from_arrays(starts, column(list(chain.from_iterable(values)), "money?"))
    offsets = pa.array([0, *accumulate(map(len, values))], pa.int32())
    keys = pa.array(list(chain.from_iterable(values)), pa.string())
    items = pa.array(
        list(chain.from_iterable(value.values() for value in values)), pa.string() if base == "map_text" else pa.uint32()
    )
    return pa.MapArray.from_arrays(offsets, keys, items)


def table(rows: Sequence[tuple[Any, ...]], fields: Fields) -> pa.Table:
    """Rows in the order of `fields` as an Arrow table."""
    columns = zip(*rows, strict=True) if rows else [()] * len(fields)
    return pa.table({name: column(values, kind) for (name, kind), values in zip(fields, columns, strict=True)})


def span_table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows of `spans`."""
    return table(rows, SPAN_FIELDS)


def content_table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows of `span_content`."""
    return table(rows, CONTENT_FIELDS)


def settled_table(rows: Sequence[tuple[Any, ...]], fields: Fields, version: int, is_deleted: Sequence[int]) -> pa.Table:
    """Rows of `interactions` or `calls` with the version and the tombstone marks."""
    settled = table(rows, fields)
    return settled.append_column("version", pa.array([version] * len(rows), pa.uint64())).append_column(
        "is_deleted", pa.array(is_deleted, pa.uint8())
    )


def interaction_table(rows: Sequence[tuple[Any, ...]], version: int, is_deleted: Sequence[int]) -> pa.Table:
    """Rows of `interactions`."""
    return settled_table(rows, INTERACTION_FIELDS, version, is_deleted)


def call_table(rows: Sequence[tuple[Any, ...]], version: int, is_deleted: Sequence[int]) -> pa.Table:
    """Rows of `calls`."""
    return settled_table(rows, CALL_FIELDS, version, is_deleted)


def rows_from(answer: pa.Table, fields: Fields, make: Callable[[Iterable[Any]], Row]) -> list[Row]:
    """The inverse of `table`: an answer's columns as rows, with times and money as integers again.

    Args:
        answer: Has a column for each of `fields`.
        fields: Names and types in the row's order.
        make: Builds a row from its values, such as `SpanRow._make`.
    """
    columns = [_values(answer.column(name), kind) for name, kind in fields]
    return [make(values) for values in zip(*columns, strict=True)]


def _values(values: pa.ChunkedArray, kind: str) -> list[Any]:
    base = kind.removesuffix("?")
    if base == "time":
        return list(values.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_pylist())
    if base == "money":
        whole = [chunk.cast(MONEY).view(pa.decimal128(18, 0)).cast(pa.int64()) for chunk in values.chunks]
        return [item for chunk in whole for item in chunk.to_pylist()]
    if base.startswith("map_"):
        return [dict(item) for item in values.to_pylist()]
    if base in _LISTS:
        return [tuple(item) for item in values.to_pylist()]
    if base == "moneys":
        return [tuple([None if amount is None else int(amount.scaleb(12)) for amount in item]) for item in values.to_pylist()]
    return list(values.to_pylist())

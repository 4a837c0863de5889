"""What the rest of the collector may ask of a store.

Everything blocks; callers are on threads. Implementations are safe to use from several threads: writes are serialised per
lane, reads run on a pool of handles of their own so that they cannot hold up a write.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import pyarrow as pa


class Store(Protocol):
    """One ClickHouse: embedded or a server."""

    @property
    def name(self) -> str:
        """What distinguishes this store from others that share a data folder."""
        ...

    def insert(self, table: str, rows: pa.Table, lane: str) -> None:
        """Insert rows; durable (fsynced) when it returns.

        Args:
            table: Name of a table.
            rows: Columns by name; columns of the table that are missing get their default.
            lane: Writes of one lane run one after the other, those of different lanes side by side.

        Raises:
            StoreUnavailable: the store does not answer; the same insert may be sent again.
            StoreRefused: the store refuses these rows.
        """
        ...

    def read(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Answer a SELECT whose values are all bound as `{name:Type}`.

        Raises:
            StoreUnavailable: the store does not answer.
            QueryTooExpensive: it took too long or needed too much memory.
            StoreRefused: the statement is wrong.
        """
        ...

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run DDL or another statement without an answer; values are bound as `{name:Type}`."""
        ...

    def close(self) -> None:
        """Let go of the store; idempotent."""
        ...


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """A small answer as dictionaries; times to the microsecond, which is all that Python's hold."""
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            plain = pa.timestamp("us", field.type.tz)
            table = table.set_column(index, field.with_type(plain), table.column(index).cast(plain, safe=False))
    return table.to_pylist()  # type: ignore[no-any-return]

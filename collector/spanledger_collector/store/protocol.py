"""What the rest of the collector may ask of a store.

Everything blocks; callers are on threads. Implementations are safe to use from several threads: writes are serialised per
lane, reads run on a pool of handles of their own so that they cannot hold up a write.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import pyarrow as pa

_BOUND_BYTES_MAX: Final = 64 * 1024
_QUOTES_BYTES: Final = 4


class Store(Protocol):
    """One ClickHouse: embedded, a server or a cluster."""

    @property
    def name(self) -> str:
        """What distinguishes this store from others that share a data folder."""
        ...

    @property
    def keeps_parts(self) -> bool:
        """Whether a part that is gone without a merge is a loss. Replicas fetch and drop parts as they please."""
        ...

    def prepare(self) -> str:
        """Make sure that it can be worked with, and say which version of ClickHouse it is (of several, the oldest).

        Raises:
            StoreUnavailable: the store, or one of its shards, does not answer.
            CannotStart: it refuses.
        """
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
        """Run DDL and other statements without an answer, one after the other; values are bound as `{name:Type}`.

        Markers (see `ddl`) are filled in, and what is about the parts of shards is run on every shard.

        Raises:
            StoreUnavailable: the store, or one of its shards, does not answer; running it again is harmless.
            StoreRefused: a statement failed.
        """
        ...

    def system(self, table: str) -> str:
        """A system table of every shard as a relation for SELECT, with the number of the shard as `shard`."""
        ...

    def places(self) -> Sequence["Store"]:
        """The stores that each keep a schema of their own, the one that others start from last: this one, or each shard's."""
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


def pieces(values: Sequence[str]) -> Iterator[list[str]]:
    """Texts in lists that can be bound: a server reads no parameter above 128 KiB (`http_max_field_value_size`)."""
    piece: list[str] = []
    size = 0
    for value in values:
        cost = len(value.encode()) + _QUOTES_BYTES
        if piece and size + cost > _BOUND_BYTES_MAX:
            yield piece
            piece, size = [], 0
        piece.append(value)
        size += cost
    if piece:
        yield piece

"""A ClickHouse server, or a sharded cluster of them, over HTTP.

The same statements as embedded. On a cluster the ledger's tables lie above the shards (`ddl`): what is inserted is in its shards
before the answer (`distributed_foreground_insert`), and a shard that is away is an error and never a smaller total
(`skip_unavailable_shards`). Where shards have no replicas they share nothing: each host is migrated by itself, and the small
tables (keys, prices, rules, the audit log) are on the one that the collector speaks to.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self

import pyarrow as pa

from spanledger_collector.errors import CannotStart
from spanledger_collector.store.ddl import ONE_NODE, Layout, is_by_shard, render
from spanledger_collector.store.host import Host

_WRITE_SETTINGS: Final[dict[str, Any]] = {
    "async_insert": 0,
    "optimize_on_insert": 0,
    # The spool takes over where Keeper is away: a server would go on trying for minutes.
    "insert_keeper_max_retries": 2,
    "distributed_foreground_insert": 1,
    "skip_unavailable_shards": 0,
}
_REPLICATED_WRITES: Final = {"insert_quorum": "auto"}
_REPLICATED_READS: Final = {"load_balancing": "in_order"}
"""An insert is on most replicas before its answer; reads and writes prefer the same replica: the settler reads what it wrote."""


def _read_settings(query_seconds_max: float, query_memory_bytes_max: int) -> dict[str, Any]:
    return {
        "readonly": 2,
        "max_execution_time": query_seconds_max,
        "max_memory_usage": query_memory_bytes_max,
        "max_bytes_before_external_group_by": query_memory_bytes_max // 2,
        "do_not_merge_across_partitions_select_final": 1,
        "skip_unavailable_shards": 0,
    }


class ServerStore:
    """One server, or the shards of a cluster. Nothing is opened before it is needed."""

    def __init__(self, first: Host, layout: Layout = ONE_NODE, others: Sequence[Host] = ()) -> None:
        """Put it together; `connect` does it from settings.

        Args:
            first: The host that questions and inserts go to.
            layout: Where tables lie.
            others: The hosts of the other shards where each is told by itself.
        """
        self._first = first
        self._layout = layout
        self._others = tuple(others)

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        cluster: str | None = None,
        shards: Sequence[str] = (),
        read_handles: int = 3,
        query_seconds_max: float = 20.0,
        query_memory_bytes_max: int = 512 * 1024 * 1024,
    ) -> Self:
        """The store at an address; nothing is opened yet.

        Args:
            url: `http(s)://user:password@host:8123/database`.
            cluster: The cluster's name in the server's configuration; None for a single server.
            shards: An address in each shard, that of `url` among them, where shards have no replicas and there is no Keeper.
            read_handles: Questions at the same time.
            query_seconds_max: Longest run of one question.
            query_memory_bytes_max: Most memory of one question.

        Raises:
            CannotStart: the settings do not fit together.
        """
        layout = _layout(cluster, shards)
        read = _read_settings(query_seconds_max, query_memory_bytes_max)
        write = dict(_WRITE_SETTINGS)
        if layout.is_replicated:
            read |= _REPLICATED_READS
            write |= _REPLICATED_READS | _REPLICATED_WRITES

        def host(at: str) -> Host:
            return Host(at, write=write, read=read, read_handles=read_handles, read_s=query_seconds_max + 10)

        first = host(url)
        hosts = [host(at) for at in shards]
        others = [one for one in hosts if one.name != first.name]
        if hosts and len(others) != len(hosts) - 1:
            raise CannotStart(
                "SPANLEDGER_CLICKHOUSE_SHARDS names each shard once, the host of SPANLEDGER_CLICKHOUSE_URL among them."
            )
        if any(one.database != first.database for one in others):
            raise CannotStart(
                "SPANLEDGER_CLICKHOUSE_SHARDS names the same database at each address as SPANLEDGER_CLICKHOUSE_URL."
            )
        return cls(first, layout, others)

    @property
    def name(self) -> str:
        """See `Store.name`."""
        return "server"

    @property
    def keeps_parts(self) -> bool:
        """See `Store.keeps_parts`."""
        return not self._layout.is_replicated

    def prepare(self) -> str:
        """See `Store.prepare`."""
        versions = {host.name: host.prepare() for host in (*self._others, self._first)}
        return min(versions.values(), key=lambda version: [int(part) for part in version.split(".")[:2]])

    def insert(self, table: str, rows: pa.Table, lane: str) -> None:
        """See `Store.insert`."""
        self._first.insert(table, rows, lane)

    def read(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """See `Store.read`."""
        return self._first.read(sql, parameters)

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """See `Store.command`."""
        statements = render(sql, self._layout)

        def run(host: Host) -> None:
            for statement in statements:
                host.command(statement, parameters)

        if not is_by_shard(sql) or not self._others:
            # Where Keeper tells the hosts, one is told.
            run(self._first)
            return
        with ThreadPoolExecutor(1 + len(self._others)) as pool:
            for done in [pool.submit(run, host) for host in (self._first, *self._others)]:
                done.result()

    def system(self, table: str) -> str:
        """See `Store.system`."""
        if self._layout.cluster is None:
            return f"(SELECT 1 AS shard, * FROM system.{table})"
        return f"(SELECT _shard_num AS shard, * FROM cluster('{self._layout.cluster}', system.{table}))"

    def places(self) -> Sequence["ServerStore"]:
        """See `Store.places`."""
        return [ServerStore(host, self._layout) for host in (*self._others, self._first)]

    def close(self) -> None:
        """See `Store.close`."""
        for host in (*self._others, self._first):
            host.close()


def _layout(cluster: str | None, shards: Sequence[str]) -> Layout:
    if cluster is None:
        if shards:
            raise CannotStart("SPANLEDGER_CLICKHOUSE_SHARDS needs SPANLEDGER_CLICKHOUSE_CLUSTER, the cluster's name.")
        return ONE_NODE
    try:
        return Layout(cluster, is_replicated=not shards)
    except ValueError as error:
        raise CannotStart(f"SPANLEDGER_CLICKHOUSE_CLUSTER: {error}") from error

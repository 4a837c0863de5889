"""A ClickHouse server over HTTP.

The same statements as embedded, on one node. `async_insert=0` always: an answer means that the rows are in parts. Inserts go as
Arrow (`insert_arrow` raises when the connection drops, where other ways of the driver silently send twice).
"""

import queue
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from clickhouse_connect import get_client
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from spanledger_collector.errors import CannotStart, StoreRefused
from spanledger_collector.store.embedded import WRITE_SETTINGS
from spanledger_collector.store.faults import translate


class ServerStore:
    """Clients of one ClickHouse server."""

    def __init__(self, url: str, *, read_handles: int, query_seconds_max: float, query_memory_bytes_max: int) -> None:
        """Connect.

        Raises:
            CannotStart: the server does not answer or refuses the login.
        """
        self._url = url
        self._read_settings = {
            "readonly": 2,
            "max_execution_time": query_seconds_max,
            "max_memory_usage": query_memory_bytes_max,
            "do_not_merge_across_partitions_select_final": 1,
        }
        self._lanes: dict[str, Client] = {}
        self._lock = threading.Lock()
        self._readers: queue.LifoQueue[Client] = queue.LifoQueue()
        try:
            self._lanes["admin"] = self._open(WRITE_SETTINGS)
            for _ in range(read_handles):
                self._readers.put(self._open(self._read_settings))
        except (ClickHouseError, OSError) as error:
            host = urlsplit(url).hostname
            raise CannotStart(f"The ClickHouse server at {host} cannot be used ({type(error).__name__}).") from error

    @property
    def name(self) -> str:
        """See `Store.name`."""
        return "server"

    def _open(self, settings: Mapping[str, Any]) -> Client:
        return get_client(dsn=self._url, settings=dict(settings), tz_mode="aware", autogenerate_session_id=False)

    def _lane(self, name: str) -> Client:
        with self._lock:
            if name not in self._lanes:
                self._lanes[name] = self._open(WRITE_SETTINGS)
            return self._lanes[name]

    def insert(self, table: str, rows: pa.Table, lane: str) -> None:
        """See `Store.insert`."""
        try:
            self._lane(lane).insert_arrow(table, rows)
        except (ClickHouseError, OSError) as error:
            raise translate(error, reading=False) from error

    def read(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """See `Store.read`."""
        client = self._readers.get()
        try:
            return client.query_arrow(sql, parameters=dict(parameters or {}), use_strings=True)
        except (ClickHouseError, OSError) as error:
            raise translate(error, reading=True) from error
        finally:
            self._readers.put(client)

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """See `Store.command`."""
        try:
            self._lane("admin").command(sql, parameters=dict(parameters or {}))
        except (ClickHouseError, OSError) as error:
            failure = translate(error, reading=False)
            raise StoreRefused(f"{failure.detail} {str(error)[:300]}") from error

    def close(self) -> None:
        """See `Store.close`."""
        with self._lock:
            clients, self._lanes = list(self._lanes.values()), {}
        while not self._readers.empty():
            clients.append(self._readers.get())
        for client in clients:
            client.close()

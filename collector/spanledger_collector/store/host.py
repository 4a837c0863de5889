"""One ClickHouse server over HTTP: clients by lane, opened when they are first needed.

Opening a client asks the server questions, so it is never done before there is something to say: a collector starts while its
store is away. Inserts go as Arrow (`insert_arrow` raises when the connection drops, where other ways of the driver may send
twice); whatever is sent twice all the same counts once, by its identity.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from clickhouse_connect import get_client
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from spanledger_collector.errors import CannotStart, StoreUnavailable
from spanledger_collector.store.faults import code_of, refused_command, translate

Answer = TypeVar("Answer")
_CONNECT_S: Final = 5
_WRITE_S: Final = 30
_COMMAND_S: Final = 600
_BROKEN: Final = (ClickHouseError, HTTPError, OSError)
"""What a driver call may end with when the server or the way to it fails."""
_CUT: Final = (*_BROKEN, pa.ArrowInvalid)
"""And a question: an answer that is cut off is no readable Arrow."""
_LOGIN: Final = {192, 193, 194, 516}
_FORBIDDEN: Final = {291, 497}
_NO_DATABASE: Final = 81


class Host:
    """Clients of one server."""

    def __init__(self, url: str, *, write: Mapping[str, Any], read: Mapping[str, Any], read_handles: int, read_s: float) -> None:
        """Remember where it is; nothing is opened yet.

        Args:
            url: `http(s)://user:password@host:port/database`.
            write: Settings of every insert and command.
            read: Settings of every question.
            read_handles: Questions at the same time.
            read_s: How long a question may take.

        Raises:
            CannotStart: the address cannot be read.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CannotStart("A ClickHouse server is given as http(s)://user:password@host:8123/database.")
        self.database = unquote(parts.path.strip("/")) or "default"
        self.name = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
        self._url, self._interface = parts._replace(path="").geturl(), parts.scheme
        self._port = parts.port or (8443 if parts.scheme == "https" else 8123)
        self._write, self._read, self._read_s = dict(write), dict(read), read_s
        self._lanes: dict[str, Client] = {}
        self._lane_locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._readers: queue.LifoQueue[Client | None] = queue.LifoQueue()
        for _ in range(read_handles):
            self._readers.put(None)
        self._closed = False

    def prepare(self) -> str:
        """Make the database where it does not exist yet, and say which version of ClickHouse it is.

        Raises:
            CannotStart: the server refuses the login.
            StoreUnavailable: it does not answer.
        """
        try:
            return self._version()
        except _BROKEN as error:
            code = code_of(error)
            if code in _LOGIN or code in _FORBIDDEN:
                raise CannotStart(
                    f"The ClickHouse server at {self.name} refuses the login (code {code}). Check the user and the password "
                    "of SPANLEDGER_CLICKHOUSE_URL, and what the user may do."
                ) from error
            raise translate(error, reading=False) from error

    def _version(self) -> str:
        try:
            return str(self._lane("admin").server_version)
        except ClickHouseError as error:
            if code_of(error) != _NO_DATABASE:
                raise
        client = self._open(self._write, _WRITE_S, database="")
        try:
            client.command(f"CREATE DATABASE IF NOT EXISTS {_quoted(self.database)}")
        finally:
            client.close()
        return str(self._lane("admin").server_version)

    def insert(self, table: str, rows: pa.Table, lane: str) -> None:
        """See `Store.insert`."""
        self._write_with(lane, lambda client: client.insert_arrow(table, rows))

    def command(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run one statement.

        Raises:
            StoreUnavailable: the server does not answer; it may have run all the same.
            StoreRefused: it failed.
        """
        try:
            with self._lane_lock("admin"):
                self._lane("admin").command(statement, parameters=dict(parameters or {}))
        except _BROKEN as error:
            raise refused_command(error) from error

    def read(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """See `Store.read`."""
        client = self._readers.get()
        try:
            if self._closed:
                raise StoreUnavailable("The collector is stopping.")
            if client is None:
                client = self._open(self._read, self._read_s)
            return client.query_arrow(sql, parameters=dict(parameters or {}), use_strings=True)
        except _CUT as error:
            raise translate(error, reading=True) from error
        finally:
            self._readers.put(client)

    def close(self) -> None:
        """Let go of the server; idempotent."""
        with self._lock:
            self._closed = True
            clients: list[Client | None] = list(self._lanes.values())
            self._lanes = {}
        while not self._readers.empty():
            clients.append(self._readers.get())
            if clients[-1] is None:
                break
        for client in clients:
            if client is not None:
                client.close()
        # Whoever reads from now on finds that it is closed, and waits for nobody.
        self._readers.put(None)

    def _write_with(self, lane: str, write: Callable[[Client], Answer]) -> Answer:
        try:
            with self._lane_lock(lane):
                return write(self._lane(lane))
        except _BROKEN as error:
            raise translate(error, reading=False) from error

    def _lane_lock(self, name: str) -> threading.Lock:
        with self._lock:
            return self._lane_locks.setdefault(name, threading.Lock())

    def _lane(self, name: str) -> Client:
        with self._lock:
            if self._closed:
                raise StoreUnavailable("The collector is stopping.")
            found = self._lanes.get(name)
        if found is None:
            found = self._open(self._write, _COMMAND_S if name == "admin" else _WRITE_S)
            with self._lock:
                found = self._lanes.setdefault(name, found)
        return found

    def _open(self, settings: Mapping[str, Any], seconds: float, database: str | None = None) -> Client:
        return get_client(
            dsn=self._url,
            interface=self._interface,
            port=self._port,
            database=(self.database if database is None else database) or None,
            settings=dict(settings),
            connect_timeout=_CONNECT_S,
            send_receive_timeout=int(seconds) + 1,
            client_name="spanledger",
            tz_mode="aware",
            autogenerate_session_id=False,
            dedicated_pool=True,
        )


def _quoted(name: str) -> str:
    if not name.replace("_", "").isalnum():
        raise CannotStart("The database in SPANLEDGER_CLICKHOUSE_URL has letters, digits and underscores.")
    return f"`{name}`"

"""ClickHouse inside this process (chDB).

Limits that shape it: one process may open a data folder and one folder per process; it is not fork-safe; one handle serves
one call at a time. So there are write handles by lane and a small pool of read handles. `readonly=2` on the read handles
refuses writes while per-query limits still work.

Inserts read Arrow from a file that exists in memory only. The driver's own insert writes the payload, prompts included, to a
temporary file on disk; chDB's streaming insert hides what goes wrong in the table and reports rows that it did not write
(`docs/adr/0002`).
"""

import fcntl
import logging
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import chdb
import pyarrow as pa
from clickhouse_connect import get_client
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from spanledger_collector.errors import CannotStart, StoreRefused, StoreUnavailable
from spanledger_collector.store import repair
from spanledger_collector.store.ddl import render
from spanledger_collector.store.engine import ENGINE_FILE, check_engine, remember_engine
from spanledger_collector.store.faults import refused_command, translate

_LOGGER = logging.getLogger(__name__)
_MIB = 1024 * 1024
_OPEN_MIB_MIN = 16
WRITE_SETTINGS = {"async_insert": 0, "optimize_on_insert": 0, "max_threads": 1, "max_insert_threads": 1}
"""An answer means rows in parts. Rows are not replaced within an insert (reading FINAL does that, merges do it for good), and one
thread each: together this more than halves the CPU of an insert."""


class EmbeddedStore:
    """A chDB data folder, opened by this process alone."""

    def __init__(
        self,
        folder: Path,
        *,
        database: str = "spanledger",
        read_handles: int = 3,
        query_seconds_max: float = 20.0,
        query_memory_bytes_max: int = 512 * _MIB,
        engine_memory_bytes_max: int = 1_536 * _MIB,
        backup_folder: Path | None = None,
    ) -> None:
        """Open the folder, creating it if need be.

        Raises:
            CannotStart: another process has it open, or it cannot be written.
        """
        self._lock_file = _lock(folder, database)
        try:
            check_engine(folder / ENGINE_FILE, chdb.engine_version, f"the data folder {folder}")
        except CannotStart:
            self._lock_file.close()
            raise
        self._database = database
        self._folder = folder
        self.backup_folder = (backup_folder or folder / "backups").absolute()
        self._engine_options = {
            "max_server_memory_usage": str(engine_memory_bytes_max),
            "mark_cache_size": str(64 * _MIB),
            "uncompressed_cache_size": "0",
            "background_pool_size": "2",
            "backups.allowed_path": str(self.backup_folder),
        }
        self._read_settings = {
            "readonly": 2,
            "max_execution_time": query_seconds_max,
            "max_memory_usage": query_memory_bytes_max,
            "do_not_merge_across_partitions_select_final": 1,
            # The default, a GiB free for each thread, makes every question single-threaded under our memory limit.
            "max_threads_min_free_memory_per_thread": 0,
            "max_bytes_before_external_group_by": query_memory_bytes_max // 2,
        }
        self._lanes: dict[str, Client] = {}
        self._lanes_lock = threading.Lock()
        self._closed = False
        try:
            self._lanes["admin"] = self._open_first()
        except (ClickHouseError, RuntimeError, OSError) as error:
            self._lock_file.close()
            raise CannotStart(f"The data folder {folder} cannot be opened: {_why_not(folder, error)}") from error
        remember_engine(folder / ENGINE_FILE, chdb.engine_version)
        self._readers: queue.LifoQueue[Client] = queue.LifoQueue()
        for _ in range(read_handles):
            self._readers.put(self._open(self._read_settings, use=True))
        self._reader_count = read_handles

    @property
    def name(self) -> str:
        """See `Store.name`."""
        return self._database

    @property
    def keeps_parts(self) -> bool:
        """See `Store.keeps_parts`."""
        return True

    def prepare(self) -> str:
        """See `Store.prepare`."""
        return str(chdb.engine_version)

    def system(self, table: str) -> str:
        """See `Store.system`."""
        return f"(SELECT 1 AS shard, * FROM system.{table})"

    def places(self) -> "Sequence[EmbeddedStore]":
        """See `Store.places`."""
        return [self]

    def _open_first(self) -> Client:
        name = _identifier(self._database)
        with repair.engine_words() as words:
            try:
                admin: Client | None = self._open(WRITE_SETTINGS)
            except (ClickHouseError, RuntimeError):
                if not repair.is_damage(words()):
                    _LOGGER.error("the engine says: %s", words()[:500])
                    raise
                admin = None
        if admin is None:
            _LOGGER.error("the store has damaged parts; they are set aside, and /readyz says what is lost")
            repair.allow_damage(self._folder / "clickhouse")
            admin = self._open(WRITE_SETTINGS)
        admin.command(f"CREATE DATABASE IF NOT EXISTS {name}")
        admin.command(f"USE {name}")
        for (table,) in admin.query(repair.LENIENT_TABLES).result_rows:
            admin.command(repair.forbid_damage(_identifier(table)))
        return admin

    def _open(self, settings: Mapping[str, Any], *, use: bool = False) -> Client:
        client = get_client(
            interface="chdb", path=str(self._folder / "clickhouse"), tz_mode="aware", chdb_options=self._engine_options
        )
        if use:
            client.command(f"USE {_identifier(self._database)}")
        # Set once on the handle: as client settings the driver would set and restore them around every call.
        for name, value in sorted(settings.items(), key=lambda item: item[0] == "readonly"):
            client.command(f"SET {name} = {value}")
        return client

    def _lane(self, name: str) -> Client:
        with self._lanes_lock:
            if self._closed:
                raise StoreUnavailable("The collector is stopping.")
            if name not in self._lanes:
                self._lanes[name] = self._open(WRITE_SETTINGS, use=True)
            return self._lanes[name]

    def insert(self, table: str, rows: pa.Table, lane: str) -> None:
        """See `Store.insert`."""
        client = self._lane(lane)
        columns = ", ".join(_identifier(name) for name in rows.column_names)
        handle = client._backend._handle  # type: ignore[attr-defined]
        with _in_memory(rows) as path, handle.lock:
            try:
                handle.conn.query(f"INSERT INTO {_identifier(table)} ({columns}) FROM INFILE '{path}' FORMAT ArrowStream")
            except (ClickHouseError, RuntimeError) as error:
                raise translate(error, reading=False) from error

    def read(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """See `Store.read`."""
        if self._closed:
            raise StoreUnavailable("The collector is stopping.")
        client = self._readers.get()
        try:
            return client.query_arrow(sql, parameters=dict(parameters or {}), use_strings=True)
        except (ClickHouseError, RuntimeError) as error:
            client = self._renewed(client)
            raise translate(error, reading=True) from error
        finally:
            self._readers.put(client)

    def _renewed(self, reader: Client) -> Client:
        """Another reader for one whose question failed: what was left of the answer would be the next one's (chDB 26)."""
        try:
            fresh = self._open(self._read_settings, use=True)
        except (ClickHouseError, RuntimeError):
            _LOGGER.warning("a failed reader could not be opened anew; it is used again")
            return reader
        reader.close()
        return fresh

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """See `Store.command`."""
        for statement in render(sql):
            self._run(statement, parameters)

    def _run(self, statement: str, parameters: Mapping[str, Any] | None) -> None:
        try:
            self._lane("admin").command(statement, parameters=dict(parameters or {}))
        except (ClickHouseError, RuntimeError) as error:
            raise refused_command(error) from error

    def close(self) -> None:
        """See `Store.close`."""
        with self._lanes_lock:
            if self._closed:
                return
            self._closed = True
        clients = list(self._lanes.values())
        for _ in range(self._reader_count):
            clients.append(self._readers.get())
        for client in clients:
            client.close()
        self._lock_file.close()


@contextmanager
def _in_memory(rows: pa.Table) -> Iterator[str]:
    """The path of a file with the rows as Arrow. Where the system has no files in memory it lies in the private folder."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    if hasattr(os, "memfd_create"):
        descriptor, path = os.memfd_create("rows"), None
    else:
        descriptor, path = tempfile.mkstemp(suffix=".arrow")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(sink.getvalue())
            file.flush()
            yield path or f"/proc/self/fd/{descriptor}"
    finally:
        if path is not None:
            Path(path).unlink(missing_ok=True)


def _why_not(folder: Path, error: Exception) -> str:
    free_mib = shutil.disk_usage(folder).free // _MIB
    if free_mib < _OPEN_MIB_MIN:
        return f"its disk is full ({free_mib} MiB free). Make room and start again; nothing that was accepted is lost."
    return (
        f"the embedded ClickHouse says {type(error).__name__}. If it was written by a newer Spanledger, use that version; else "
        "see docs/guides/operations.md."
    )


def _identifier(name: str) -> str:
    if not name.replace("_", "").isalnum():
        raise StoreRefused("A table or column name of ours is malformed.")
    return f"`{name}`"


def _lock(folder: Path, database: str) -> IO[str]:
    """Take the folder's lock file, which also names its owner for the next one who tries."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        private = folder / f"tmp-{database}"
        shutil.rmtree(private, ignore_errors=True)
        file = (folder / f"{database}.lock").open("a+")
    except OSError as error:
        raise CannotStart(f"The data folder {folder} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read(20).strip() or "unknown"
        file.close()
        raise CannotStart(
            f"The data folder {folder} is in use by process {owner}. Stop it, or choose another folder with --data-dir."
        ) from None
    private.mkdir(mode=0o700, exist_ok=True)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    # chDB keeps its temporary files under TMPDIR; they may hold prompts, so they lie in a private folder wiped at start.
    os.environ["TMPDIR"] = str(private)
    return file

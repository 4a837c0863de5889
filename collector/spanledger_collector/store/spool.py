"""What waits while the store is away, and what it refused: a bounded SQLite file beside the data.

A request that cannot be stored now is kept as it came and answered when SQLite has synced it; the drain takes requests out in
the order of their arrival. A span that the store refuses for its content is kept apart with the reason, to be looked at and
sent again; it holds up nobody. All methods block and may be called from any thread.
"""

import io
import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa

from spanledger_collector.errors import CannotStart, Overloaded, StoreUnavailable

TRACES: Final = "traces"
LOGS: Final = "logs"
FEEDBACK: Final = "feedback"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS waiting (
    id INTEGER PRIMARY KEY AUTOINCREMENT, route TEXT NOT NULL, project TEXT NOT NULL, media_type TEXT NOT NULL,
    encoding TEXT NOT NULL, received_at INTEGER NOT NULL, items INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, trace_id TEXT NOT NULL, span_id TEXT NOT NULL,
    name TEXT NOT NULL, reason TEXT NOT NULL, received_at INTEGER NOT NULL, spans BLOB NOT NULL, content BLOB
);
CREATE INDEX IF NOT EXISTS waiting_received ON waiting (received_at);
"""
_PUT: Final = "INSERT INTO waiting (route, project, media_type, encoding, received_at, items, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
_AWAY: Final = "The store is away and what waits for it cannot be kept on disk either; try again in a few seconds."


class Waiting(NamedTuple):
    """One request that waits: what it was sent to, whose it is, and its body as it came."""

    route: str
    project: str
    media_type: str
    encoding: str
    received_at: int
    items: int
    body: bytes
    id: int = 0


class Refused(NamedTuple):
    """One span that the store refused: its rows as Arrow, and why."""

    project: str
    trace_id: str
    span_id: str
    name: str
    reason: str
    received_at: int
    spans: pa.Table
    content: pa.Table | None
    id: int = 0


class Spool:
    """The file. `put` and `quarantine` return when SQLite has synced."""

    def __init__(self, folder: Path, name: str, bytes_max: int) -> None:
        """Open it, creating it if need be.

        Args:
            folder: Its folder, which only this user may enter.
            name: Of the store that it waits for.
            bytes_max: Most bytes of waiting bodies.

        Raises:
            CannotStart: the file cannot be written.

        """
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = folder / f"{name}.db"
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            # What is deleted is overwritten: an erasure must leave nothing behind.
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.executescript(_SCHEMA)
            (self._bytes,) = self._db.execute("SELECT coalesce(sum(length(body)), 0) FROM waiting").fetchone()
            (self._count,) = self._db.execute("SELECT count(*) FROM waiting").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise CannotStart(f"The spool in {folder} cannot be opened ({type(error).__name__}: {error}).") from error

    @property
    def waiting_bytes(self) -> int:
        """Bytes of all that waits."""
        return int(self._bytes)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._count

    def put(self, request: Waiting) -> None:
        """Keep a request.

        Raises:
            Overloaded: there is no room left.
            StoreUnavailable: the disk does not take it.

        """
        with self._lock:
            if self._bytes + len(request.body) > self._bytes_max:
                raise Overloaded("The store is away and no more may wait for it; send it again in a second.")
            try:
                self._db.execute(_PUT, request[:7])
            except sqlite3.Error as error:
                raise StoreUnavailable(_AWAY) from error
            self._bytes += len(request.body)
            self._count += 1

    def oldest(self, limit: int, bytes_max: int) -> list[Waiting]:
        """The requests that have waited longest, in order of arrival: `limit` at most, and after the first `bytes_max` in all.

        Raises:
            StoreUnavailable: the disk does not give them.

        """
        sql = "SELECT route, project, media_type, encoding, received_at, items, body, id FROM waiting ORDER BY id LIMIT ?"
        found: list[Waiting] = []
        with self._lock:
            try:
                for row in map(Waiting._make, self._db.execute(sql, (limit,))):
                    bytes_max -= len(row.body)
                    if found and bytes_max < 0:
                        break
                    found.append(row)
                return found
            except sqlite3.Error as error:
                raise StoreUnavailable(_AWAY) from error

    def done(self, requests: Sequence[Waiting]) -> None:
        """Requests have reached the store.

        Raises:
            StoreUnavailable: the disk does not take it; they will be sent again, which is harmless.

        """
        with self._lock:
            try:
                self._db.executemany("DELETE FROM waiting WHERE id = ?", [(request.id,) for request in requests])
            except sqlite3.Error as error:
                raise StoreUnavailable(_AWAY) from error
            self._bytes -= sum(len(request.body) for request in requests)
            self._count -= len(requests)

    def oldest_received_at(self) -> int | None:
        """The earliest receive time of what waits; None when nothing does.

        Raises:
            StoreUnavailable: the disk does not give it.
        """
        with self._lock:
            if not self._count:
                return None
            try:
                (oldest,) = self._db.execute("SELECT min(received_at) FROM waiting").fetchone()
            except sqlite3.Error as error:
                raise StoreUnavailable(_AWAY) from error
            return None if oldest is None else int(oldest)

    def waiting_spans(self) -> dict[str, int]:
        """Spans that wait, by project."""
        return self._counts("SELECT project, sum(items) FROM waiting WHERE route = 'traces' GROUP BY project")

    # --- what the store refused ---------------------------------------------------------------------------------------------

    def quarantine(self, refused: Refused) -> None:
        """Keep a span that the store refused.

        Raises:
            StoreUnavailable: the disk does not take it.

        """
        row = (*refused[:6], _pack(refused.spans), None if refused.content is None else _pack(refused.content))
        with self._lock:
            try:
                self._db.execute(
                    "INSERT INTO quarantine (project, trace_id, span_id, name, reason, received_at, spans, content) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
            except sqlite3.Error as error:
                raise StoreUnavailable(_AWAY) from error

    def refused(self, project: str, limit: int = 1_000) -> list[Refused]:
        """A project's refused spans, the latest first.

        Raises:
            StoreUnavailable: the disk does not give them.

        """
        sql = (
            "SELECT project, trace_id, span_id, name, reason, received_at, spans, content, id FROM quarantine "
            "WHERE project = ? ORDER BY id DESC LIMIT ?"
        )
        with self._lock:
            try:
                rows = self._db.execute(sql, (project, limit)).fetchall()
            except sqlite3.Error as error:
                raise StoreUnavailable(_AWAY) from error
        return [
            Refused(name, trace, span, label, reason, at, _unpack(spans), None if content is None else _unpack(content), one)
            for name, trace, span, label, reason, at, spans, content, one in rows
        ]

    def release(self, project: str, ids: Sequence[int]) -> int:
        """Forget refused spans; how many there were.

        Raises:
            StoreUnavailable: the disk does not take it.

        """
        with self._lock:
            try:
                done = [self._db.execute("DELETE FROM quarantine WHERE project = ? AND id = ?", (project, one)) for one in ids]
            except sqlite3.Error as error:
                raise StoreUnavailable(_AWAY) from error
            return sum(cursor.rowcount for cursor in done)

    def erase(self, project: str, trace_ids: Sequence[str]) -> int:
        """Forget refused spans of some traces without a trace of them in the file; how many there were.

        Raises:
            StoreUnavailable: the disk does not take it.
        """
        with self._lock:
            try:
                done = [
                    self._db.execute("DELETE FROM quarantine WHERE project = ? AND trace_id = ?", (project, one))
                    for one in trace_ids
                ]
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                raise StoreUnavailable(_AWAY) from error
            return sum(cursor.rowcount for cursor in done)

    def refused_spans(self) -> dict[str, int]:
        """Spans in quarantine, by project."""
        return self._counts("SELECT project, count(*) FROM quarantine GROUP BY project")

    def _counts(self, sql: str) -> dict[str, int]:
        with self._lock:
            try:
                return {str(project): int(number) for project, number in self._db.execute(sql).fetchall()}
            except sqlite3.Error:
                return {}

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()


def _pack(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _unpack(raw: bytes) -> pa.Table:
    with pa.ipc.open_stream(raw) as stream:
        return stream.read_all()

"""What could not be delivered, on disk until the collector is back: for this process or the next one.

One SQLite file per destination, readable by its owner only, bounded in bytes and in age. Bodies are those that would have been
sent: cut to the capture mode and redacted. Several processes may share the folder: a body that two of them send is counted once
by the collector, because spans and judgements carry their identity. A connection is opened for each operation, and a fork waits
for the one that is going on: a child that was forked in the middle of it would find SQLite's own locks taken for ever.
"""

import hashlib
import os
import shutil
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanledger._guard import log_rarely
from spanledger_schema.semconv import PROJECT_HEADER

BYTES_MAX: Final = 256 * 1024 * 1024
AGE_S_MAX: Final = 24 * 3_600.0
"""A person who was erased at the collector must not come back from an old spool."""
_FREE_BYTES_MIN: Final = 64 * 1024 * 1024
_BUSY_S: Final = 0.5
_FORK_WAIT_S: Final = 0.1
_COMPRESSION: Final = 3
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS bodies (id INTEGER PRIMARY KEY AUTOINCREMENT, kept_at REAL NOT NULL, path TEXT NOT NULL, "
    "items INTEGER NOT NULL, body BLOB NOT NULL)"
)


@dataclass(frozen=True, slots=True)
class Body:
    """A request that waits on disk."""

    id: int
    kept_at: float
    path: str
    items: int
    body: bytes

    @property
    def is_expired(self) -> bool:
        """Whether it is too old to be sent."""
        return time.time() - self.kept_at > AGE_S_MAX


@dataclass(frozen=True, slots=True)
class Lost:
    """A request that had to go: `spool_full` or `expired`."""

    id: int
    path: str
    items: int
    reason: str


class _Disk:
    """Serialises what this process does with SQLite, so that a fork can wait for it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_usable = True
        self._is_held = False

    def before_fork(self) -> None:
        self._is_held = self.lock.acquire(timeout=_FORK_WAIT_S)

    def after_fork_in_parent(self) -> None:
        if self._is_held:
            self.lock.release()

    def after_fork_in_child(self) -> None:
        self.is_usable = self._is_held and self.is_usable
        self.lock = threading.RLock()


_DISK: Final = _Disk()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_DISK.before_fork, after_in_parent=_DISK.after_fork_in_parent, after_in_child=_DISK.after_fork_in_child
    )


class Spool:
    """A bounded first-in first-out store of request bodies for one destination."""

    def __init__(self, folder: str, endpoint: str, headers: Mapping[str, str]) -> None:
        destination = "\n".join(("2", endpoint, headers.get("authorization", ""), headers.get(PROJECT_HEADER, "")))
        self._file = Path(folder) / f"{hashlib.sha256(destination.encode()).hexdigest()[:24]}.sqlite"
        self._is_damaged = False

    def take_damage(self) -> bool:
        """Whether the file was damaged and had to be given up since this was last asked."""
        was, self._is_damaged = self._is_damaged, False
        return was

    def put(self, path: str, items: int, body: bytes) -> tuple[int, list[Lost]] | None:
        """Keep a body, at the cost of the oldest ones if there is no room, and of those that are too old.

        Returns:
            Its id and those that had to go, or None if it could not be kept.
        """
        packed = zlib.compress(body, _COMPRESSION)
        if len(packed) > BYTES_MAX:
            return None
        try:
            with self._open() as connection:
                if shutil.disk_usage(self._file.parent).free < _FREE_BYTES_MIN:
                    raise OSError("the disk is nearly full")
                lost = self._make_room(connection, len(packed))
                row = (time.time(), path, items, packed)
                cursor = connection.execute("INSERT INTO bodies (kept_at, path, items, body) VALUES (?, ?, ?, ?)", row)
                id = int(cursor.lastrowid or 0)
        except (sqlite3.Error, OSError) as error:
            log_rarely("spool", "spanledger cannot write its spool (%s)", type(error).__name__)
            self._set_aside(error)
            return None
        return id, lost

    def oldest(self) -> Body | None:
        """The body that waits longest; None if there is none or the file cannot be read."""
        if not self._file.exists():
            return None
        try:
            with self._open() as connection:
                row = connection.execute("SELECT id, kept_at, path, items, body FROM bodies ORDER BY id LIMIT 1").fetchone()
            if row is None:
                return None
            id, kept_at, path, items, packed = row
            return Body(id, kept_at, path, items, zlib.decompress(packed))
        except (sqlite3.Error, OSError, zlib.error) as error:
            log_rarely("spool", "spanledger cannot read its spool (%s)", type(error).__name__)
            self._set_aside(error)
            return None

    def remove(self, id: int) -> bool:
        """Forget a body that was answered. False if the file refused, so that the caller does not send it again at once."""
        try:
            with self._open() as connection:
                connection.execute("DELETE FROM bodies WHERE id = ?", (id,))
        except (sqlite3.Error, OSError):
            return False
        return True

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with _DISK.lock:
            if not _DISK.is_usable:
                raise OSError("forked in the middle of an operation")
            if not self._file.exists():
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(self._file, timeout=_BUSY_S)
            try:
                # Before the first table: the file shrinks again when the outage is over.
                connection.execute("PRAGMA auto_vacuum=FULL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA secure_delete=ON")
                with connection:
                    connection.execute(_TABLE)
                    yield connection
            finally:
                connection.close()

    def _set_aside(self, error: Exception) -> None:
        """Begin a new file where this one is damaged; a disk that is full or read-only is an `OperationalError`."""
        if isinstance(error, (sqlite3.DatabaseError, zlib.error)) and not isinstance(error, sqlite3.OperationalError):
            self._is_damaged = True
            with suppress(OSError):
                self._file.replace(self._file.with_suffix(".damaged"))
                Path(f"{self._file}-journal").unlink(missing_ok=True)

    @staticmethod
    def _make_room(connection: sqlite3.Connection, size: int) -> list[Lost]:
        total = size + connection.execute("SELECT coalesce(sum(length(body)), 0) FROM bodies").fetchone()[0]
        oldest_kept = time.time() - AGE_S_MAX
        lost: list[Lost] = []
        for id, kept_at, path, items, length in connection.execute(
            "SELECT id, kept_at, path, items, length(body) FROM bodies ORDER BY id"
        ):
            if total <= BYTES_MAX and kept_at >= oldest_kept:
                break
            lost.append(Lost(id, path, items, "expired" if kept_at < oldest_kept else "spool_full"))
            total -= length
        connection.executemany("DELETE FROM bodies WHERE id = ?", [(gone.id,) for gone in lost])
        return lost

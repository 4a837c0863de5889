"""What could not be delivered, on disk until the collector is back: for this process or the next one.

One SQLite file per destination in a folder that somebody named (`spool` of `init`); without one nothing is written, since
prompts on a disk must be somebody's decision. Bodies are those that would have been sent, so what the capture mode forbids is
not in them. Several processes may share the folder: a body that two of them send is counted once by the collector, because
spans and judgements carry their identity. A connection is opened for each operation, which makes forks and threads harmless.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanledger._guard import log_rarely
from spanledger_schema.semconv import PROJECT_HEADER

BYTES_MAX: Final = 128 * 1024 * 1024
_BUSY_S: Final = 0.5
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS bodies (id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, items INTEGER NOT NULL, "
    "body BLOB NOT NULL)"
)


@dataclass(frozen=True, slots=True)
class Body:
    """A request that waits on disk."""

    id: int
    path: str
    items: int
    body: bytes


class Spool:
    """A bounded first-in first-out store of request bodies for one destination."""

    def __init__(self, folder: str, endpoint: str, headers: Mapping[str, str]) -> None:
        destination = "\n".join((endpoint, headers.get("authorization", ""), headers.get(PROJECT_HEADER, "")))
        self._file = Path(folder) / f"{hashlib.sha256(destination.encode()).hexdigest()[:24]}.sqlite"

    def put(self, path: str, items: int, body: bytes) -> tuple[int, list[int]] | None:
        """Keep a body, at the cost of the oldest ones if there is no room.

        Returns:
            Its id and the ids of those that had to go, or None if it could not be kept.
        """
        if len(body) > BYTES_MAX:
            return None
        try:
            with self._open() as connection:
                gone = self._make_room(connection, len(body))
                cursor = connection.execute("INSERT INTO bodies (path, items, body) VALUES (?, ?, ?)", (path, items, body))
                return int(cursor.lastrowid or 0), gone
        except (sqlite3.Error, OSError) as error:
            log_rarely("spool", "spanledger cannot write its spool (%s)", type(error).__name__)
            return None

    def oldest(self) -> Body | None:
        """The body that waits longest; None if there is none or the file cannot be read."""
        if not self._file.exists():
            return None
        try:
            with self._open() as connection:
                row = connection.execute("SELECT id, path, items, body FROM bodies ORDER BY id LIMIT 1").fetchone()
        except (sqlite3.Error, OSError) as error:
            log_rarely("spool", "spanledger cannot read its spool (%s)", type(error).__name__)
            return None
        return None if row is None else Body(*row)

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
        if not self._file.exists():
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._file, timeout=_BUSY_S)
        try:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")
            with connection:
                connection.execute(_TABLE)
                yield connection
        finally:
            connection.close()

    @staticmethod
    def _make_room(connection: sqlite3.Connection, size: int) -> list[int]:
        sizes = connection.execute("SELECT id, length(body) FROM bodies ORDER BY id").fetchall()
        total = size + sum(length for _, length in sizes)
        gone: list[int] = []
        for id, length in sizes:
            if total <= BYTES_MAX:
                break
            gone.append(id)
            total -= length
        connection.executemany("DELETE FROM bodies WHERE id = ?", [(id,) for id in gone])
        return gone

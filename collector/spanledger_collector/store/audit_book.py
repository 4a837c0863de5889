"""The audit log in the store: appended under one lock, its head also in a file outside of the store."""

import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from spanledger_collector.errors import CannotStart
from spanledger_collector.governance.audit import Entry, canonical, chain, first_bad
from spanledger_collector.store.arrow import rows_from, table
from spanledger_collector.store.private_json import replace_json
from spanledger_collector.store.protocol import Store
from spanledger_schema.spans import Fields

_FIELDS: Final[Fields] = (
    ("number", "u64"),
    ("at", "time"),
    ("actor", "text"),
    ("action", "text"),
    ("project", "text"),
    ("subject", "text"),
    ("detail", "text"),
    ("previous", "text"),
    ("hash", "text"),
)
_COLUMNS: Final = ", ".join(name for name, _ in _FIELDS)
_TEXT_CHARS_MAX: Final = 2_000


class AuditLog:
    """One collector's chain."""

    def __init__(self, store: Store, folder: Path, collector: str = "default") -> None:
        """Open it.

        Args:
            store: Where the entries are.
            folder: Where the chain's key and head are kept, outside of the store.
            collector: Whose chain it is.

        Raises:
            CannotStart: the key cannot be read or made.
        """
        self._store = store
        self._collector = collector
        self._lock = threading.Lock()
        self._head_file = folder / f"audit-{store.name}.head"
        self._key = _read_key(folder / f"audit-{store.name}.key")
        self._last: Entry | None = None
        self._is_read = False

    def write(self, actor: str, action: str, project: str, subject: str, detail: Mapping[str, Any] | None = None) -> None:
        """Append an entry; when it returns, it is durable.

        Raises:
            StoreUnavailable: the store does not take it; what was to be done must not be done then.
        """
        text = canonical(dict(detail or {}))[:_TEXT_CHARS_MAX]
        with self._lock:
            if not self._is_read:
                self._last = self._newest()
                self._is_read = True
            entry = chain(self._key, self._last, time.time_ns(), actor, action, project, subject[:_TEXT_CHARS_MAX], text)
            rows = table([(self._collector, *entry)], (("collector", "text"), *_FIELDS))
            self._store.insert("audit_log", rows, "audit")
            self._last = entry
            self._write_head(entry)

    def entries(self, project: str | None, limit: int) -> list[Entry]:
        """Entries, the latest first; of one project, or of all.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        where = "" if project is None else "WHERE project = {project:String} "
        sql = f"SELECT {_COLUMNS} FROM audit_log {where}ORDER BY at DESC, number DESC LIMIT {{limit:UInt32}}"
        parameters: dict[str, Any] = {"limit": limit} | ({} if project is None else {"project": project})
        return list(rows_from(self._store.read(sql, parameters), _FIELDS, Entry._make))

    def verify(self) -> tuple[int, tuple[int, str] | None]:
        """How many entries there are, and the first that does not fit with the reason (None when all do).

        Raises:
            StoreUnavailable: the store does not answer.
        """
        with self._lock:
            sql = f"SELECT {_COLUMNS} FROM audit_log WHERE collector = {{collector:String}} ORDER BY number"
            entries = list(rows_from(self._store.read(sql, {"collector": self._collector}), _FIELDS, Entry._make))
            return len(entries), first_bad(self._key, entries, self._read_head())

    def _newest(self) -> Entry | None:
        sql = f"SELECT {_COLUMNS} FROM audit_log WHERE collector = {{collector:String}} ORDER BY number DESC LIMIT 1"
        found = list(rows_from(self._store.read(sql, {"collector": self._collector}), _FIELDS, Entry._make))
        head = self._read_head()
        if head is not None and (not found or found[0].number < head[0]):
            # The end was cut off: go on from the head that was written, so that the gap shows for ever.
            return Entry(head[0], 0, "", "", "", "", "", "", head[1])
        return found[0] if found else None

    def _write_head(self, entry: Entry) -> None:
        replace_json(self._head_file, [entry.number, entry.hash])

    def _read_head(self) -> tuple[int, str] | None:
        try:
            number, digest = json.loads(self._head_file.read_text())
            return int(number), str(digest)
        except (OSError, ValueError, TypeError):
            return None


def _read_key(path: Path) -> bytes:
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
        return path.read_bytes()
    except OSError as error:
        raise CannotStart(f"The audit log's key {path} cannot be used ({error.strerror}).") from error

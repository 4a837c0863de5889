"""Whether the store still has what it had: ClickHouse hides damaged parts at its start, and a part that is gone leaves no trace.

The names of all active parts are written to a file beside the store, again and again. A part's name holds the range of inserts
that it covers, and a merge makes one whose range covers those of its sources; so every part that was there before must be
covered by one that is there now. What is not is named, and the collector is not ready until somebody has looked.
"""

import contextlib
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from spanledger_collector.errors import SpanledgerError
from spanledger_collector.store.private_json import replace_json
from spanledger_collector.store.protocol import Store, rows_of

_LOGGER: Final = logging.getLogger(__name__)
_EVERY_S: Final = 20.0
_PART: Final = re.compile(r"(.+)_(\d+)_(\d+)_(\d+)(?:_\d+)?")
_BROKEN: Final = ("broken", "unexpected", "noquorum", "merge-not-byte-identical")


class Part(NamedTuple):
    """A part: its table, its partition, the range of inserts that it covers, and its rows."""

    table: str
    partition: str
    first: int
    last: int
    rows: int


class Problem(NamedTuple):
    """Something that the store has lost: of which table, of which partition, and in words."""

    table: str
    partition: str
    words: str


class Manifest:
    """Compares the store with the file, and writes the file anew. `problems` is empty while all is well."""

    def __init__(self, store: Store, file: Path) -> None:
        """Know nothing yet; `check` once before the store is written to, then `start`."""
        self._store = store
        self._file = file
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="manifest", daemon=True)
        self._problems: list[Problem] = []
        self._lock = threading.Lock()

    @property
    def problems(self) -> list[str]:
        """What is missing or damaged, in words; stays until `accept`."""
        return [problem.words for problem in self._problems]

    def check(self) -> None:
        """Compare the store with the file, and write the file where nothing is missing.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        with self._lock:
            self._check()

    @contextlib.contextmanager
    def deleting(self) -> Iterator[None]:
        """Around a deletion on purpose: what is gone after it is gone rightly, and nobody looks meanwhile.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        with self._lock:
            self._check()
            try:
                yield
            finally:
                if not self._problems:
                    self._write(self._active())

    def _check(self) -> None:
        active = self._active()
        before = self._read()
        found = self._damaged(before, active) + _missing(before, active)
        for problem in found:
            if problem not in self._problems:
                self._problems.append(problem)
                _LOGGER.error("the store has lost data: %s", problem.words)
        if not self._problems:
            self._write(active)

    def accept(self) -> list[Problem]:
        """Somebody has looked, and the store as it is now is the truth from now on. What the problems were.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        with self._lock:
            known = list(self._problems)
            active = self._active()
            self._write(active, [problem.words for problem in self._damaged(self._read(), active)])
            self._problems = []
            return known

    def start(self) -> None:
        """Look again and again."""
        self._thread.start()

    def stop(self) -> None:
        """Look a last time."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            is_last = self._stopping.wait(_EVERY_S)
            # Where the store is away, readiness says so already.
            with contextlib.suppress(SpanledgerError):
                self.check()
            if is_last:
                return

    def _active(self) -> list[Part]:
        if not self._store.keeps_parts:
            return []
        sql = f"SELECT shard, table, name, rows FROM {self._store.system('parts')} WHERE database = currentDatabase() AND active"
        return [part for row in rows_of(self._store.read(sql)) if (part := _part(_place(row), row["name"], int(row["rows"])))]

    def _damaged(self, before: list[Part], active: list[Part]) -> list[Problem]:
        sql = (
            f"SELECT shard, table, name, reason FROM {self._store.system('detached_parts')} "
            "WHERE database = currentDatabase() ORDER BY shard, table, name"
        )
        rows = [row for row in rows_of(self._store.read(sql)) if str(row["reason"] or "").startswith(_BROKEN)]
        rows = [row for row in rows if not _is_whole_without(_place(row), str(row["name"]), before, active)]
        known = set(self._read_raw().get("accepted", []))
        found = [_set_aside(row) for row in rows]
        return [problem for problem in found if problem.words not in known]

    def _write(self, active: list[Part], accepted: list[str] | None = None) -> None:
        before = self._read_raw().get("accepted", [])
        body = {"written_at": int(time.time()), "parts": active, "accepted": [*before, *(accepted or ())]}
        try:
            replace_json(self._file, body)
        except OSError as error:
            _LOGGER.warning("the manifest cannot be written: %s", error.strerror)

    def _read(self) -> list[Part]:
        try:
            return [Part(*row) for row in self._read_raw().get("parts", [])]
        except TypeError:
            return []

    def _read_raw(self) -> dict[str, Any]:
        try:
            raw = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return raw if isinstance(raw, dict) else {}


def _set_aside(row: dict[str, Any]) -> Problem:
    place, name = _place(row), str(row["name"])
    part = _part(place, name.removeprefix("broken-on-start_"), 0)
    return Problem(place, part.partition if part else "", f"{place}: part {name} is damaged and was set aside ({row['reason']})")


def _place(row: dict[str, Any]) -> str:
    """The table, and the shard where it is not the first."""
    return str(row["table"]) if row["shard"] == 1 else f"{row['table']} of shard {row['shard']}"


def _part(table: str, name: str, rows: int) -> Part | None:
    found = _PART.fullmatch(name)
    return Part(table, found.group(1), int(found.group(2)), int(found.group(3)), rows) if found else None


def _is_whole_without(table: str, name: str, before: list[Part], active: list[Part]) -> bool:
    """Whether a damaged part's rows are all in parts of today: in one that covers it, or in those that it was merged from."""
    damaged = _part(table, name.removeprefix("broken-on-start_"), 0)
    if damaged is None:
        return False
    place = (damaged.table, damaged.partition)
    beside = [part for part in active if (part.table, part.partition) == place]
    if any(part.first <= damaged.first and damaged.last <= part.last for part in beside):
        return True
    sources = [
        part
        for part in before
        if (part.table, part.partition) == place and damaged.first <= part.first and part.last <= damaged.last
    ]
    spans_all = {damaged.first, damaged.last} <= {end for part in sources for end in (part.first, part.last)}
    is_merge = damaged.first != damaged.last
    return is_merge and spans_all and not _missing(sources, beside)


def _missing(before: list[Part], active: list[Part]) -> list[Problem]:
    """Parts that had rows and that no part of today covers."""
    by_place: dict[tuple[str, str], list[Part]] = {}
    for part in active:
        by_place.setdefault((part.table, part.partition), []).append(part)
    gone = [
        part
        for part in before
        if part.rows
        and not any(now.first <= part.first and part.last <= now.last for now in by_place.get((part.table, part.partition), ()))
    ]
    return [
        Problem(
            part.table,
            part.partition,
            f"{part.table}: {part.rows:,} rows of {part.partition} are gone (inserts {part.first} to {part.last})",
        )
        for part in gone
    ]

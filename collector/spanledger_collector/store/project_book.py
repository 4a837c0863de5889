"""Projects' settings in the store (how long what is kept, rules for classes of data), and the deletion of what is too old."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson

from spanledger_collector.clock import CLOCK
from spanledger_collector.errors import SpanledgerError
from spanledger_collector.governance.data_rules import DataRule
from spanledger_collector.governance.retention import Retention
from spanledger_collector.store.arrow import table
from spanledger_collector.store.ddl import parts_of
from spanledger_collector.store.manifest import Manifest
from spanledger_collector.store.protocol import Store, rows_of

_LOGGER: Final = logging.getLogger(__name__)
_FIELDS: Final = (("project", "text"), ("body", "text"), ("changed_at", "time"), ("version", "u64"))
_NS_PER_DAY: Final = 86_400_000_000_000
_NUMBERS: Final = (
    ("spans", "start_time"),
    ("calls", "start_time"),
    ("interactions", "start_time"),
    ("span_notes", "time"),
    ("feedback", "created_at"),
    ("sdk_losses", "seen_at"),
)
_CONTENT: Final = (("span_content", "start_time"),)
_EVERY_S: Final = 3_600.0
_FIRST_AFTER_S: Final = 60.0


_CHANGING: Final = threading.Lock()


class ProjectSettings(NamedTuple):
    """What a project says of its data."""

    retention: Retention = Retention()
    rules: tuple[DataRule, ...] = ()


def read_settings(store: Store) -> dict[str, ProjectSettings]:
    """The projects that have settings of their own.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    rows = rows_of(store.read("SELECT project, argMax(body, version) AS body FROM projects GROUP BY project"))
    return {row["project"]: _settings(orjson.loads(row["body"])) for row in rows}


def change_settings(store: Store, project: str, change: Callable[[ProjectSettings], ProjectSettings]) -> ProjectSettings:
    """Append a version of a project's settings, made from the one before, and return it.

    Raises:
        StoreUnavailable: the store does not take it.
    """
    with _CHANGING:
        settings = change(read_settings(store).get(project, ProjectSettings()))
        body = {**settings.retention._asdict(), "data_rules": [list(rule) for rule in settings.rules]}
        now = CLOCK.now_ns()
        store.insert("projects", table([(project, orjson.dumps(body).decode(), now, now)], _FIELDS), "projects")
    return settings


def _settings(body: dict[str, Any]) -> ProjectSettings:
    rules = tuple(DataRule(*rule) for rule in body.pop("data_rules", ()))
    return ProjectSettings(Retention(**body), rules)


def sweep(store: Store, now_ns: int) -> dict[str, int]:
    """Delete what is older than its project keeps it; rows deleted by table.

    Raises:
        StoreUnavailable: the store does not answer; the rest is deleted the next time.
    """
    settings = read_settings(store)
    deleted: dict[str, int] = {}
    for tables, days in ((_NUMBERS, "numbers_days"), (_CONTENT, "content_days")):
        for name, column in tables:
            for project, oldest in _projects(store, name, column):
                kept = getattr(settings.get(project, ProjectSettings()).retention, days)
                # Whole days, so that a day goes at once and its parts are not rewritten every hour.
                cut = (now_ns // _NS_PER_DAY - kept) * _NS_PER_DAY
                if oldest < cut:
                    deleted[name] = deleted.get(name, 0) + _delete(store, name, column, project, cut)
    return deleted


def _projects(store: Store, name: str, column: str) -> list[tuple[str, int]]:
    sql = f"SELECT project, toUnixTimestamp64Nano(toDateTime64(min({column}), 9, 'UTC')) AS oldest FROM {name} GROUP BY project"
    return [(row["project"], int(row["oldest"])) for row in rows_of(store.read(sql))]


def _delete(store: Store, name: str, column: str, project: str, cut_ns: int) -> int:
    which = f"project = {{project:String}} AND {column} < toDateTime64({{cut:Int64}}, 0, 'UTC')"
    parameters: dict[str, Any] = {"project": project, "cut": cut_ns // 1_000_000_000}
    number = int(rows_of(store.read(f"SELECT count() AS n FROM {name} WHERE {which}", parameters))[0]["n"])
    if number:
        store.command(f"ALTER TABLE {parts_of(name)} DELETE WHERE {which} SETTINGS mutations_sync = 2", parameters)
    return number


class Sweeper:
    """A thread that deletes what is too old, once an hour."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        """Prepare; `start` begins. The manifest is told what was deleted on purpose."""
        self._store = store
        self._manifest = manifest
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End it after the deletion that is under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        wait_s = _FIRST_AFTER_S
        while not self._stopping.wait(wait_s):
            wait_s = _EVERY_S
            try:
                with self._manifest.deleting():
                    deleted = sweep(self._store, time.time_ns())
                if deleted:
                    _LOGGER.info("too old and deleted: %s rows", sum(deleted.values()))
            except SpanledgerError as error:
                _LOGGER.warning("what is too old could not be deleted: %s", error.code)

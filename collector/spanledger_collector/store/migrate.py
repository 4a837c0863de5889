"""Numbered SQL files become tables: each once, in order, with its checksum remembered.

One copy of every migration serves one node and a cluster (`ddl`, `docs/adr/0003`). Statements are repeatable (`IF NOT EXISTS`),
so a run that was cut off in the middle is simply run again. Where shards share nothing, each host has its own record of what was
applied, the collector's own host comes last, and a walk that was cut off goes on where it stopped.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources

import pyarrow as pa

from spanledger_collector.errors import CannotStart
from spanledger_collector.store.ddl import ONE_NODE, render
from spanledger_collector.store.protocol import Store, rows_of

_BOOK = """
CREATE TABLE IF NOT EXISTS schema_migrations /*@on_cluster*/
(
    name       String,
    checksum   String,
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = /*@replicated_all*/ReplacingMergeTree(applied_at)
ORDER BY name
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, max_suspicious_broken_parts = 0
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file of `spanledger_schema.migrations`."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements as one node runs them."""
        return render(self.text, ONE_NODE)


def shipped() -> list[Migration]:
    """All migrations of this version, in order."""
    folder = resources.files("spanledger_schema") / "migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [Migration(entry.name, entry.read_text("utf-8")) for entry in files]


def pending(store: Store) -> list[Migration]:
    """What `migrate` would apply, on whichever host lacks it. Changes nothing.

    Raises:
        CannotStart: the store was migrated by a newer version, or an applied file was edited since.
        StoreUnavailable: the store does not answer.
    """
    lacking = {migration.name for place in store.places() for migration in _pending_at(place)}
    return [migration for migration in shipped() if migration.name in lacking]


def _pending_at(place: Store) -> list[Migration]:
    has_book = rows_of(place.read("EXISTS TABLE schema_migrations"))[0]["result"]
    found = rows_of(place.read("SELECT name, checksum FROM schema_migrations FINAL")) if has_book else []
    applied = {row["name"]: row["checksum"] for row in found}
    known = {migration.name: migration for migration in shipped()}
    if newer := sorted(set(applied) - set(known)):
        raise CannotStart(f"The store was written by a newer Spanledger (it has {newer[0]}). Use that version.")
    for name, checksum in applied.items():
        if known[name].checksum != checksum:
            raise CannotStart(f"Migration {name} was edited after it was applied here. Restore the file; add a new one.")
    return [migration for migration in shipped() if migration.name not in applied]


def migrate(store: Store) -> list[str]:
    """Apply what is pending and return the names.

    Raises:
        CannotStart: see `pending`.
        StoreUnavailable: the store, or one of its hosts, does not answer; running again is safe.
        StoreRefused: a statement failed; the earlier ones stay applied and running again is safe.
    """
    # Looked at on all hosts before the first is changed.
    todo = pending(store)
    if todo:
        for place in store.places():
            _migrate_at(place)
    return [migration.name for migration in todo]


def _migrate_at(place: Store) -> None:
    place.command(_BOOK)
    for migration in _pending_at(place):
        place.command(migration.text)
        row = pa.table({"name": [migration.name], "checksum": [migration.checksum]})
        place.insert("schema_migrations", row, "control")

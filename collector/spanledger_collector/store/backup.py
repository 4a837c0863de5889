"""Backups of the embedded store: made while it runs, whole or of what is new since another, and tried out before they count.

A backup is restored into a database of its own right after it was made, and its totals by project are written beside it.
Restoring compares with them, so a backup that is damaged, or not whole, says so in numbers.
"""

import json
import re
import shutil
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from spanledger_collector.errors import CannotStart, InvalidQuestion, NotFound, SpanledgerError, StoreRefused
from spanledger_collector.store.embedded import EmbeddedStore
from spanledger_collector.store.protocol import rows_of

TOTALS: Final = "totals.json"
BESIDE: Final = "beside"
"""What lies beside the store and belongs to it: the audit log's key and head, and what waits."""
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}")


class Totals(NamedTuple):
    """What a project holds, as it is counted."""

    spans: int
    interactions: int
    calls: int
    cost_usd: str


def make_backup(store: EmbeddedStore, beside: Path, name: str, base: str | None) -> dict[str, Totals]:
    """Back up everything.

    Args:
        store: The running store.
        beside: The folder beside the store whose files belong to it.
        name: What the backup is called; it must be new.
        base: An earlier backup; only what is new since it is kept, and restoring needs both.

    Returns:
        The totals of the backup by project, as a trial restoration has them.

    Raises:
        InvalidQuestion: the name cannot be used, or there is such a backup already.
        NotFound: there is no such base.
        StoreRefused, StoreUnavailable: it cannot be made now; nothing is left of it.

    """
    folder = store.backup_folder
    target = _folder(folder, name)
    if target.exists():
        raise InvalidQuestion(f"There is a backup {name!r} already; choose another name.")
    if base is not None and not (_folder(folder, base) / TOTALS).exists():
        raise NotFound(f"There is no backup {base!r} to build on.")
    target.mkdir(parents=True, mode=0o700)
    try:
        settings = f" SETTINGS base_backup = File('{folder / base / 'data'}')" if base is not None else ""
        store.command(f"BACKUP DATABASE `{store.name}` TO File('{target / 'data'}'){settings}")
        shutil.copytree(beside, target / BESIDE, ignore=shutil.ignore_patterns("*.new", "*-wal", "*-shm"))
        totals = _try_out(store, target / "data")
        body = {"made_at": int(time.time()), "database": store.name, "base": base, "totals": totals}
        (target / TOTALS).write_text(json.dumps(body))
    except (SpanledgerError, OSError):
        shutil.rmtree(target, ignore_errors=True)
        raise
    return totals


def _try_out(store: EmbeddedStore, data: Path) -> dict[str, Totals]:
    trial = f"{store.name}_trial"
    store.command(f"DROP DATABASE IF EXISTS `{trial}` SYNC")
    try:
        store.command(f"RESTORE DATABASE `{store.name}` AS `{trial}` FROM File('{data}')")
        return read_totals(store, trial)
    finally:
        store.command(f"DROP DATABASE IF EXISTS `{trial}` SYNC")


def read_totals(store: EmbeddedStore, database: str) -> dict[str, Totals]:
    """What a database holds by project.

    Raises:
        StoreUnavailable: the store does not answer.

    """
    found: dict[str, dict[str, Any]] = {}
    for name, columns in (
        ("spans", "uniqExact(trace_id, span_id) AS spans"),
        ("interactions", "countIf(is_interaction = 1) AS interactions"),
        ("calls", "count() AS calls, sum(cost_usd) AS cost"),
    ):
        sql = f"SELECT project, {columns} FROM `{database}`.{name} FINAL GROUP BY project"
        for row in rows_of(store.read(sql)):
            found.setdefault(row.pop("project"), {}).update(row)
    return {
        project: Totals(
            int(row.get("spans", 0)),
            int(row.get("interactions", 0)),
            int(row.get("calls", 0)),
            format((row.get("cost") or Decimal(0)).normalize(), "f"),
        )
        for project, row in sorted(found.items())
    }


def list_backups(folder: Path) -> list[dict[str, Any]]:
    """The backups of a folder, the newest first."""
    found = []
    for file in folder.glob(f"*/{TOTALS}"):
        body = json.loads(file.read_text())
        size = sum(path.stat().st_size for path in file.parent.rglob("*") if path.is_file())
        found.append(
            {"name": file.parent.name, "made_at": body["made_at"], "base": body["base"], "bytes": size, "totals": body["totals"]}
        )
    return sorted(found, key=lambda item: (-item["made_at"], item["name"]))


def restore_backup(backup: Path, data_dir: Path, say: Callable[[str], None]) -> dict[str, Totals]:
    """Restore into a new data folder, which no collector may have open.

    Args:
        backup: The backup's folder; its bases lie beside it.
        data_dir: A folder that does not exist yet, or is empty.
        say: Told each step.

    Returns:
        The restored totals by project, equal to those that the backup was made with.

    Raises:
        CannotStart: the folder is not empty, the backup cannot be read, or its totals are not what they were.

    """
    if data_dir.exists() and any(data_dir.iterdir()):
        raise CannotStart(f"{data_dir} is not empty; a backup is restored into a new folder.")
    try:
        body = json.loads((backup / TOTALS).read_text())
        expected = {project: Totals(*row) for project, row in body["totals"].items()}
        database = str(body["database"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CannotStart(f"{backup} is no backup of Spanledger, or it was not finished.") from error
    say(f"Restoring {backup.name}" + (f", which builds on {body['base']}" if body["base"] else ""))
    store = EmbeddedStore(data_dir, database=database, backup_folder=backup.parent)
    try:
        store.command(f"RESTORE DATABASE `{database}` FROM File('{backup / 'data'}') SETTINGS allow_non_empty_tables = 1")
        shutil.copytree(backup / BESIDE, data_dir / "spool", dirs_exist_ok=True)
        say("Comparing the totals")
        totals = read_totals(store, database)
    except StoreRefused as error:
        raise CannotStart(f"The backup cannot be restored: {error.detail}") from error
    finally:
        store.close()
    if totals != expected:
        different = sorted(name for name in {*totals, *expected} if totals.get(name) != expected.get(name))
        raise CannotStart(f"The restored totals are not those of the backup, in: {', '.join(different)}. The backup is damaged.")
    return totals


def _folder(folder: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise InvalidQuestion("A backup's name has letters, digits, dots, dashes and underscores, at most 100.")
    return folder / name

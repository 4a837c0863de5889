"""Closed days become one part.

Reading FINAL merges the parts of a day while it reads; a day of one part costs nothing extra. Late rows open new parts of an old
day, which are folded in once the day has been quiet for a while.
"""

import logging
import threading
from datetime import UTC, datetime
from typing import Final

from spanledger_collector.errors import SpanledgerError
from spanledger_collector.store.ddl import parts_of
from spanledger_collector.store.protocol import Store, rows_of

_LOGGER: Final = logging.getLogger(__name__)
_TABLES: Final = ("interactions", "calls", "spans", "span_content")
_QUIET_S: Final = 120
_EVERY_S: Final = 20.0


def compact_one(store: Store, today: str, quiet_s: int = _QUIET_S) -> str | None:
    """Fold the closed, quiet day with most parts into one part.

    Args:
        store: Where the ledger is.
        today: The current day as `YYYYMMDD`; only days before it are closed.
        quiet_s: For how long a day must not have changed.

    Returns:
        `table/day` of what was folded, or None when there is nothing to do.

    Raises:
        StoreUnavailable, StoreRefused: the store does not do it now.
    """
    sql = (
        f"SELECT shard, table, partition_id, count() AS n FROM {store.system('parts')} "
        "WHERE database = currentDatabase() AND active AND table IN {tables:Array(String)} AND partition_id < {today:String} "
        "GROUP BY shard, table, partition_id HAVING n > 1 AND max(modification_time) <= now() - {quiet:UInt32} "
        "ORDER BY n DESC, table, partition_id LIMIT 1"
    )
    tables = [name for table in _TABLES for name in (table, f"{table}_local")]
    found = rows_of(store.read(sql, {"tables": tables, "today": today, "quiet": quiet_s}))
    if not found:
        return None
    table, day = found[0]["table"].removesuffix("_local"), found[0]["partition_id"]
    store.command(f"OPTIMIZE TABLE {parts_of(table)} PARTITION ID '{day}' FINAL")
    return f"{table}/{day}"


class Compactor:
    """A thread that folds closed days, one at a time."""

    def __init__(self, store: Store) -> None:
        """Prepare; `start` begins."""
        self._store = store
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="compact", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the fold that is under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            try:
                while not self._stopping.is_set() and compact_one(self._store, f"{datetime.now(UTC):%Y%m%d}"):
                    pass
            except SpanledgerError as error:
                _LOGGER.warning("closed days could not be compacted: %s", error.code)
            except Exception:
                _LOGGER.exception("compacting closed days hit a defect")

"""What is counted is made from spans, so settled rows that the store has lost are counted again from those that it has."""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

from spanledger_collector.errors import SpanledgerError
from spanledger_collector.settle.run import Settler
from spanledger_collector.store.ledger import Key, traces_of_day
from spanledger_collector.store.protocol import Store

SETTLED: Final = tuple(f"{table}{place}" for table in ("interactions", "calls") for place in ("", "_local"))
"""The tables that are made from spans, as they are called on one node and on shards."""
_LOGGER: Final = logging.getLogger(__name__)
_TRACES_AT_ONCE: Final = 2_000
_LOOK_EVERY_S: Final = 0.05


class Recounter:
    """Settles whole days again on a thread of its own. Methods are thread-safe."""

    def __init__(self, store: Store, settler: Settler) -> None:
        """Nothing runs yet."""
        self._store = store
        self._settler = settler
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, days: Sequence[str]) -> None:
        """Count days (`YYYYMMDD`) again, one after the other, after those that are being counted."""
        before = self._thread
        self._thread = threading.Thread(target=self._run, args=(list(days), before), name="recount", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the traces in hand."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def _run(self, days: Sequence[str], before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        for day in days:
            try:
                count = self._count(day)
            except SpanledgerError as error:
                _LOGGER.error("the day %s could not be counted again: %s", day, error.code)
                return
            _LOGGER.warning("the day %s was counted again from its spans: %d traces", day, count)

    def _count(self, day: str) -> int:
        keys = traces_of_day(self._store, day)
        for start in range(0, len(keys), _TRACES_AT_ONCE):
            chunk = keys[start : start + _TRACES_AT_ONCE]
            # What is in memory was written once, and would not be written again.
            self._settler.forget(chunk)
            self._settler.settle_again(chunk)
            self._await(chunk)
            if self._stopping.is_set():
                return start
        return len(keys)

    def _await(self, keys: Sequence[Key]) -> None:
        quiet = 0
        while quiet < 2 and not self._stopping.is_set():
            quiet = 0 if self._settler.is_waiting(keys) else quiet + 1
            time.sleep(_LOOK_EVERY_S)

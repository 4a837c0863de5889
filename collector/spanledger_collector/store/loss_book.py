"""What SDKs lost: reports are taken from requests, kept in the store every two seconds where they say more, and added up.

A report is a process's total so far, and each of its requests repeats it; a collector that ends within the two seconds loses a
report only if the process that made it has ended too.
"""

import logging
import threading
from collections.abc import Iterable
from typing import Final, NamedTuple

from spanledger_collector.errors import SpanledgerError
from spanledger_collector.store.arrow import table
from spanledger_collector.store.protocol import Store, rows_of
from spanledger_schema.spans import Fields

_LOGGER: Final = logging.getLogger(__name__)
WRITE_EVERY_S: Final = 2.0
_KNOWN_MAX: Final = 50_000
_VERSION_MAX: Final = 2**64 - 1
_FIELDS: Final[Fields] = (
    ("project", "text"),
    ("instance", "text"),
    ("signal", "text"),
    ("reason", "text"),
    ("count", "u64"),
    ("app", "text"),
    ("environment", "text"),
    ("release", "text"),
    ("seen_at", "time"),
    ("version", "u64"),
)
Counted = tuple[str, str, str, str]
"""What a count is of: project, instance, signal and reason."""


class Loss(NamedTuple):
    """What one process has lost so far for one reason; `signal` is spans or feedback, `seen_at` nanoseconds since 1970."""

    project: str
    instance: str
    signal: str
    reason: str
    lost: int
    app: str
    environment: str
    release: str
    seen_at: int


class LossBook:
    """Reports that are new, on their way to the store. `take` is without I/O; methods are thread-safe."""

    def __init__(self, store: Store) -> None:
        """Know nothing yet; `start` begins to write."""
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[Counted, int] = {}
        self._waiting: dict[Counted, Loss] = {}
        self._totals: list[tuple[str, str, str, int]] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, losses: Iterable[Loss]) -> None:
        """Note reports that say more than is known."""
        with self._lock:
            for loss in losses:
                counted = loss[:4]
                if loss.lost <= self._known.get(counted, 0) or len(self._waiting) >= _KNOWN_MAX:
                    continue
                self._known[counted] = loss.lost
                self._waiting[counted] = loss
                if len(self._known) > _KNOWN_MAX:
                    # Forgotten is not lost: it is written once more when it is heard of again, which adds nothing.
                    del self._known[next(iter(self._known))]

    def write(self) -> None:
        """Write what was noted.

        Raises:
            StoreUnavailable: the store does not take it; it is written the next time.
        """
        with self._lock:
            losses = list(self._waiting.values())
        if not losses:
            return
        # The earliest that says so wins, whichever is written last.
        rows = [(*loss, _VERSION_MAX - loss.seen_at) for loss in losses]
        self._store.insert("sdk_losses", table(rows, _FIELDS), "losses")
        with self._lock:
            for loss in losses:
                if self._waiting.get(loss[:4]) is loss:
                    del self._waiting[loss[:4]]

    def totals(self) -> list[tuple[str, str, str, int]]:
        """Project, signal, reason and how many, over all processes; as last known while the store is away."""
        sql = (
            "SELECT project, signal, reason, sum(most) AS lost FROM (SELECT project, signal, reason, max(count) AS most "
            "FROM sdk_losses GROUP BY project, instance, signal, reason) GROUP BY project, signal, reason ORDER BY 1, 2, 3"
        )
        try:
            found = rows_of(self._store.read(sql))
        except SpanledgerError:
            return self._totals
        self._totals = [(row["project"], row["signal"], row["reason"], int(row["lost"])) for row in found]
        return self._totals

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._run, name="losses", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and end."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopping.wait(WRITE_EVERY_S)
            try:
                self.write()
            except SpanledgerError as error:
                _LOGGER.warning("what SDKs lost cannot be written now: %s", error.code)

"""Group commit: requests wait for the insert that holds their rows, and are answered when it is on disk.

While one group is being inserted the next one gathers, so a lone client waits for nobody and many clients share an insert. A
group waits only while other requests are being read, and `wait_s` at most. Arrow is built where requests are
decoded; the committer only joins tables, because it would otherwise spend its time waiting for the interpreter lock.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from spanledger_collector.errors import SpanledgerError, StoreRefused, StoreUnavailable
from spanledger_collector.ingest.afterwards import with_class
from spanledger_collector.ingest.classes import Stated
from spanledger_collector.ingest.judgements import Judgement
from spanledger_collector.settle.run import Settler
from spanledger_collector.store.arrow import span_table
from spanledger_collector.store.partitions import insert_by_days
from spanledger_collector.store.protocol import Store
from spanledger_collector.store.spool import Refused, Spool
from spanledger_collector.telemetry import Counters
from spanledger_schema.spans import SpanRow

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class Parcel:
    """The rows of one request, ready to insert.

    `body` is OTLP/JSON of what data rules left, None where they changed nothing. `stated` has the class and purpose of resources
    that state one, by span.
    """

    rows: Sequence[SpanRow]
    spans: pa.Table
    content: pa.Table | None
    received_at: int
    judgements: Sequence[Judgement] = ()
    body: bytes | None = None
    stated: Mapping[tuple[str, str], Stated] = field(default_factory=dict)
    refused: int = 0
    token: int = 0
    future: "asyncio.Future[None] | None" = None


class Writer:
    """The committing thread and its queue."""

    def __init__(self, store: Store, settler: Settler, counters: Counters, spool: Spool, *, rows_max: int, wait_s: float) -> None:
        """Prepare; see `Settings` for the limits."""
        self._store = store
        self._settler = settler
        self._counters = counters
        self._spool = spool
        self._rows_max = rows_max
        self._wait_s = wait_s
        self._queue: deque[Parcel] = deque()
        self._changed = threading.Condition()
        self._open = 0
        self._stopping = False
        self._content_pool = ThreadPoolExecutor(1, "commit-content")
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Commit what is queued and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        self._content_pool.shutdown(wait=True)

    def opened(self) -> None:
        """A request began to arrive: a group may wait a little for it."""
        with self._changed:
            self._open += 1

    def closed(self) -> None:
        """A request is queued, or failed before it was."""
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    async def commit(self, parcel: Parcel) -> None:
        """Wait until the parcel is durable: its rows in the store, or in quarantine where the store refuses them.

        Raises:
            StoreUnavailable: the store does not take it now; send it again.
        """
        parcel.future = asyncio.get_running_loop().create_future()
        parcel.token = self._settler.flights.depart(parcel.received_at)
        with self._changed:
            if self._stopping:
                self._settler.flights.land(parcel.token)
                raise StoreUnavailable("The collector is stopping.")
            self._queue.append(parcel)
            self._changed.notify_all()
        await parcel.future

    def _run(self) -> None:
        while True:
            group = self._gather()
            if not group:
                return
            self._commit_group(group)

    def _gather(self) -> list[Parcel]:
        with self._changed:
            while not self._queue:
                if self._stopping:
                    return []
                self._changed.wait()
            self._await_company()
            group = [self._queue.popleft()]
            rows = len(group[0].rows)
            while self._queue and rows + len(self._queue[0].rows) <= self._rows_max:
                parcel = self._queue.popleft()
                rows += len(parcel.rows)
                group.append(parcel)
            return group

    def _await_company(self) -> None:
        """Wait a moment for requests that are being read: many rows cost little more to insert than few. Holds the lock.

        A short while only: what waits here is not being inserted, and the next ones gather during the insert anyway.
        """
        deadline = time.monotonic() + self._wait_s
        while self._open > 0 and not self._stopping and sum(len(parcel.rows) for parcel in self._queue) < self._rows_max:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            self._changed.wait(remaining)

    def _commit_group(self, group: list[Parcel]) -> None:
        self._counters.add("spanledger_commit_groups_total")
        try:
            self._insert(group)
        except StoreRefused as refusal:
            if len(group) == 1:
                self._salvage(group[0], refusal)
            else:
                # One request that the store refuses must not cost the others.
                for parcel in group:
                    self._commit_group([parcel])
            return
        except SpanledgerError as error:
            self._answer(group, error)
            return
        except Exception:
            # A defect; but a thread that ends would leave every later request without an answer.
            _LOGGER.exception("a commit hit a defect")
            self._answer(group, StoreUnavailable("The collector could not store this; try again in a few seconds."))
            return
        self._counters.stored(sum(len(parcel.rows) for parcel in group))
        self._answer(group, None)

    def _salvage(self, parcel: Parcel, refusal: StoreRefused) -> None:
        """Store what can be stored of a parcel that the store refuses; the spans that it refuses go to quarantine."""
        try:
            lost = self._bisect(parcel, list(range(len(parcel.rows))), refusal)
        except SpanledgerError as error:
            self._answer([parcel], error)
            return
        parcel.refused = len(lost)
        parcel.rows = [row for place, row in enumerate(parcel.rows) if place not in lost]
        self._counters.stored(len(parcel.rows))
        self._counters.add("spanledger_spans_quarantined_total", len(lost))
        _LOGGER.error("the store refused %d spans; they are in quarantine", len(lost))
        self._answer([parcel], None)

    def _bisect(self, parcel: Parcel, places: list[int], refusal: StoreRefused) -> set[int]:
        """Insert the rows at some places in halves; the places of rows that the store refuses by themselves."""
        if len(places) == 1:
            self._quarantine(parcel, places[0], refusal)
            return set(places)
        lost: set[int] = set()
        middle = len(places) // 2
        for half in (places[:middle], places[middle:]):
            try:
                self._insert([self._part(parcel, half)])
            except StoreRefused as again:
                lost |= self._bisect(parcel, half, again)
        return lost

    def _part(self, parcel: Parcel, places: list[int]) -> Parcel:
        rows = [parcel.rows[place] for place in places]
        content = parcel.content
        if content is not None:
            wanted = {(row.trace_id, row.span_id) for row in rows}
            pairs = zip(content.column("trace_id").to_pylist(), content.column("span_id").to_pylist(), strict=True)
            content = content.filter(pa.array([pair in wanted for pair in pairs], pa.bool_()))
        return Parcel(
            rows, parcel.spans.take(places), content if content is None or content.num_rows else None, parcel.received_at
        )

    def _quarantine(self, parcel: Parcel, place: int, refusal: StoreRefused) -> None:
        part = self._part(parcel, [place])
        # It may be sent again under other rules, and then nobody knows any more what it came with.
        row = with_class(parcel.rows[place], parcel.rows, parcel.stated)
        spans = span_table([row])
        self._spool.quarantine(
            Refused(row.project, row.trace_id, row.span_id, row.name, refusal.detail, parcel.received_at, spans, part.content)
        )

    def _insert(self, group: list[Parcel]) -> None:
        contents = [parcel.content for parcel in group if parcel.content is not None]
        waiting = None
        if contents:
            content = contents[0] if len(contents) == 1 else pa.concat_tables(contents)
            waiting = self._content_pool.submit(insert_by_days, self._store, "span_content", content, "commit-content")
        try:
            tables = [parcel.spans for parcel in group]
            insert_by_days(self._store, "spans", tables[0] if len(tables) == 1 else pa.concat_tables(tables), "commit-spans")
        finally:
            if waiting is not None:
                waiting.result()

    def _answer(self, group: list[Parcel], error: SpanledgerError | None) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for parcel in group:
            if error is None and parcel.rows:
                self._settler.take(parcel.received_at, parcel.rows)
            self._settler.flights.land(parcel.token)
            if parcel.future is not None:
                by_loop.setdefault(parcel.future.get_loop(), []).append(parcel.future)
        for loop, futures in by_loop.items():
            try:
                loop.call_soon_threadsafe(_resolve, futures, error)
            except RuntimeError:
                # The server has stopped; nobody waits any more.
                continue


def _resolve(futures: list["asyncio.Future[None]"], error: SpanledgerError | None) -> None:
    for future in futures:
        if not future.done():
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

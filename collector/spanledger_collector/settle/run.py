"""The settler: one thread that turns stored spans into counted rows, about a second behind.

What it promises: a trace is settled from durable spans only; the rows written are the difference to the rows before, tombstones
in their old place included; running it again over the same spans writes nothing. What it has in memory is a cache: after a
restart it goes on from the last mark in the store.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from spanledger_collector.clock import CLOCK
from spanledger_collector.errors import SpanledgerError
from spanledger_collector.pricing.book import SHIPPED, Book
from spanledger_collector.settle.books import Books
from spanledger_collector.settle.flights import Flights
from spanledger_collector.settle.links import TwinLinks
from spanledger_collector.settle.recent import RecentTraces, Trace
from spanledger_collector.settle.rules import settle
from spanledger_collector.settle.seen import Seen, trace_words
from spanledger_collector.settle.tree import GENERATIONS
from spanledger_collector.store import arrow, ledger
from spanledger_collector.store.ledger import Key, Note, keep_best, read_history
from spanledger_collector.store.partitions import insert_by_days
from spanledger_collector.store.protocol import Store
from spanledger_collector.telemetry import Counters
from spanledger_schema.spans import CallRow, Feedback, InteractionRow, SpanRow

_LOGGER: Final = logging.getLogger(__name__)
_HISTORY_TRACES_MAX: Final = 500
_RUN_TRACES_MAX: Final = 6_000
_MARK_EVERY_S: Final = 1.0
_RETRY_S: Final = 2.0
_COLLECTOR: Final = "default"
_AHEAD_S_MAX: Final = 60.0

SpansItem = tuple[int, Sequence[SpanRow]]


class Written:
    """Rows to write: the difference of a run."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.interactions: list[InteractionRow] = []
        self.interactions_deleted: list[int] = []
        self.calls: list[CallRow] = []
        self.calls_deleted: list[int] = []

    def interaction(self, row: InteractionRow, deleted: int = 0) -> None:
        """Write an interaction, or its tombstone."""
        self.interactions.append(row)
        self.interactions_deleted.append(deleted)

    def call(self, row: CallRow, deleted: int = 0) -> None:
        """Write a call, or its tombstone."""
        self.calls.append(row)
        self.calls_deleted.append(deleted)


def differ(trace: Trace, written: Written, book: Book = SHIPPED) -> tuple[dict[str, InteractionRow], dict[str, CallRow]]:
    """Settle a trace, add what changed to `written`, and return its rows as they now stand."""
    settled = settle(trace.noted_rows(), list(trace.feedback.values()), book, trace.elsewhere)
    # A call's own cost is bounded where it is priced.
    if any((row.cost_usd or 0) > arrow.MONEY_PICO_MAX for row in settled.interactions):
        raise OverflowError("a cost is larger than a column of money holds")
    interactions = {row.interaction_id: row for row in settled.interactions}
    calls = {row.span_id: row for row in settled.calls}
    for key, row in interactions.items():
        before = trace.interactions.get(key)
        # The last field only says how far it was settled: a copy that arrives again changes nothing that is counted.
        if before is not None and before[:-1] == row[:-1]:
            interactions[key] = before
            continue
        if before is not None and before.start_time != row.start_time:
            written.interaction(before, deleted=1)
        written.interaction(row)
    for key, call in calls.items():
        earlier = trace.calls.get(key)
        if earlier == call:
            continue
        if earlier is not None and earlier.start_time != call.start_time:
            written.call(earlier, deleted=1)
        written.call(call)
    for key, before in trace.interactions.items():
        if key not in interactions:
            written.interaction(before, deleted=1)
    for key, earlier in trace.calls.items():
        if key not in calls:
            written.call(earlier, deleted=1)
    return interactions, calls


class Settler:
    """Takes durable spans and feedback, settles, writes. `start` and `stop` its thread; other methods are thread-safe."""

    def __init__(
        self, store: Store, counters: Counters, books: Books, flights: Flights, *, every_s: float, quiet_s: float, spans_max: int
    ) -> None:
        """Prepare; see `Settings` for the times and the bound."""
        self.flights = flights
        self.begun_at = 0
        """The mark from which it went on: everything that came before was settled by an earlier process."""
        self._store = store
        self._books = books
        self._counters = counters
        self._every_s = every_s
        self._quiet_s = quiet_s
        self._traces = RecentTraces(spans_max)
        self._seen = Seen()
        self._links = TwinLinks(store)
        self._inbox: deque[SpansItem] = deque()
        self._judged: deque[tuple[str, str, Feedback, int]] = deque()
        self._noted: deque[tuple[str, Note, int]] = deque()
        self._again: deque[Key] = deque()
        self._erased: deque[Key] = deque()
        self._dirty: set[Key] = set()
        self._mark = 0
        self._mark_written_s = 0.0
        self._retry_at_s = 0.0
        # Held while what came is taken from the queues and not yet among the dirty traces.
        self._taking_in = threading.Lock()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._pool = ThreadPoolExecutor(1, "settle-calls")

    # --- called by others --------------------------------------------------------------------------------------------

    def take(self, received_at: int, rows: Sequence[SpanRow]) -> None:
        """Spans are durable."""
        self._inbox.append((received_at, rows))

    def judge(self, project: str, trace_id: str, feedback: Feedback, received_at: int) -> None:
        """A judgement is durable."""
        self._judged.append((project, trace_id, feedback, received_at))

    def settle_again(self, keys: Iterable[Key]) -> None:
        """Settle traces once more, with what is known now; what is the same is not written again."""
        self._again.extend(keys)

    def forget(self, keys: Iterable[Key]) -> None:
        """Traces were erased from the store; what is in memory of them goes too."""
        self._erased.extend(keys)

    def is_waiting(self, keys: Iterable[Key]) -> bool:
        """Whether any of these traces is not settled yet; ask twice, since one may be in hand just now."""
        return bool(self._again) or any(key in self._dirty for key in keys)

    def note(self, project: str, note: Note, received_at: int) -> None:
        """What log records say of a span is durable."""
        self._noted.append((project, note, received_at))

    @property
    def pending(self) -> int:
        """Traces that are durable and not settled yet, about."""
        return len(self._dirty) + len(self._inbox)

    def start(self) -> None:
        """Go on from the last mark, then settle until stopped.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        self._recover()
        threading.Thread(target=self._load_seen, name="settle-load", daemon=True).start()
        self._thread = threading.Thread(target=self._run, name="settle", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Settle what is there and end the thread."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=20)
        self._pool.shutdown(wait=True)

    def drain(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything durable is settled; for tests and orderly stops."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with self._taking_in:
                if not (self._inbox or self._judged or self._noted or self._erased or self._again or self._dirty):
                    return True
            time.sleep(0.01)
        return False

    # --- start -------------------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        self._mark = self.begun_at = ledger.settled_mark(self._store, _COLLECTOR)
        CLOCK.not_before(max(self._mark, ledger.newest_version(self._store)))
        if CLOCK.ahead_s > _AHEAD_S_MAX:
            _LOGGER.warning("the store was written %.0f s in the future of this host's clock; check the clock", CLOCK.ahead_s)
        # A second of overlap costs little, since settling the same again writes nothing.
        self._again.extend(ledger.changed_since(self._store, max(0, self._mark - 1_000_000_000)))

    def _load_seen(self) -> None:
        try:
            for words in ledger.trace_words(self._store):
                if self._stopping.is_set():
                    return
                self._seen.add(words)
            self._seen.finish_loading()
            self._links.load(self._stopping.is_set)
        except SpanledgerError:
            # Every trace then counts as possibly known: slower, and still right.
            _LOGGER.warning("the traces of the store could not be listed; settling reads every new trace back")

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            is_last = self._stopping.is_set()
            started = time.monotonic()
            try:
                self._take_in_all()
                if started >= self._retry_at_s:
                    while self._settle_due(time.monotonic() + (1e9 if is_last else 0.0)):
                        self._take_in_all()
                    self._write_mark(is_last)
            except SpanledgerError as error:
                self._counters.add("spanledger_settle_errors_total")
                _LOGGER.warning("settling failed and is tried again: %s", error.code)
                self._retry_at_s = time.monotonic() + _RETRY_S
            except Exception:
                # A defect; but a thread that ends would leave everything after it stored and never counted.
                self._counters.add("spanledger_settle_errors_total")
                _LOGGER.exception("settling hit a defect and is tried again")
                self._retry_at_s = time.monotonic() + _RETRY_S
            if is_last:
                return
            self._counters.put("spanledger_pending_traces", len(self._dirty))
            self._wake.wait(max(0.0, self._every_s - (time.monotonic() - started)))

    def _take_in_all(self) -> None:
        with self._taking_in:
            self._take_in()

    def _take_in(self) -> None:
        now = time.monotonic()
        fresh: list[tuple[Key, Trace]] = []
        while self._inbox:
            received_at, rows = self._inbox.popleft()
            for row in rows:
                key = (row.project, row.trace_id)
                trace = self._traces.get(key)
                if trace is None:
                    trace = self._traces.add(key)
                    fresh.append((key, trace))
                before = len(trace.rows)
                if keep_best(trace.rows, row):
                    trace.mark_dirty(now, received_at)
                    self._dirty.add(key)
                    self._traces.grew(len(trace.rows) - before)
                    if row.kind in GENERATIONS:
                        self._links.note(key, trace, row)
        self._links.look_up()
        if fresh:
            words = trace_words([key[1] for key, _ in fresh])
            for (_, trace), maybe in zip(fresh, self._seen.maybe(words).tolist(), strict=True):
                trace.needs_history = maybe
            self._seen.add(words)
        while self._judged:
            project, trace_id, feedback, received_at = self._judged.popleft()
            trace = self._recall((project, trace_id))
            trace.feedback[feedback.feedback_id] = feedback
            self._touch((project, trace_id), trace, now, received_at)
        while self._noted:
            project, note, received_at = self._noted.popleft()
            trace = self._recall((project, note.trace_id))
            trace.notes[note.span_id] = note.join(trace.notes.get(note.span_id))
            self._touch((project, note.trace_id), trace, now, received_at)
        while self._erased:
            key = self._erased.popleft()
            self._traces.forget_all([key])
            self._dirty.discard(key)
        while self._again:
            key = self._again.popleft()
            trace = self._recall(key)
            trace.needs_history = True
            self._touch(key, trace, now, self._mark)

    def _recall(self, key: Key) -> Trace:
        trace = self._traces.get(key)
        if trace is None:
            trace = self._traces.add(key)
            trace.needs_history = True
            if len(key[1]) == 32:
                self._seen.add(trace_words([key[1]]))
        return trace

    def _touch(self, key: Key, trace: Trace, now: float, received_at: int) -> None:
        trace.mark_dirty(now, received_at)
        # A judgement or a second run is not the middle of a trace: no reason to wait for more.
        trace.touched_s = now - self._quiet_s
        self._dirty.add(key)

    def _settle_due(self, now: float) -> bool:
        """Settle what is due and write the difference. Returns whether more is due."""
        due: list[tuple[Key, Trace]] = []
        for key in self._dirty:
            trace = self._traces.get(key)
            if trace is not None and trace.is_due(now, self._quiet_s):
                due.append((key, trace))
                if len(due) >= _RUN_TRACES_MAX:
                    break
        if not due:
            return False
        unread = [(key, trace) for key, trace in due if trace.needs_history]
        for start in range(0, len(unread), _HISTORY_TRACES_MAX):
            chunk = unread[start : start + _HISTORY_TRACES_MAX]
            history = read_history(self._store, [key for key, _ in chunk])
            for key, trace in chunk:
                before = len(trace.rows)
                trace.absorb(history[key])
                self._traces.grew(len(trace.rows) - before)
                self._links.consider(key, trace)
        for key in self._links.resolve([(key, trace) for key, trace in due if trace.may_have_twins], self._load):
            # Settled before its twin came: what it counts has changed.
            self._touch(key, self._recall(key), now, self._mark)
        written = Written()
        results = [(key, trace, *self._differ(key, trace, written)) for key, trace in due]
        self._write(written)
        for key, trace, interactions, calls in results:
            trace.interactions, trace.calls = interactions, calls
            trace.dirty_since_s = None
            self._dirty.discard(key)
        self._traces.forget_all([key for key, trace in due if not trace.rows])
        self._counters.add("spanledger_traces_settled_total", len(due))
        self._traces.forget()
        return len(due) >= _RUN_TRACES_MAX

    def _load(self, keys: Sequence[Key]) -> dict[Key, Trace]:
        """Whole traces, from memory or the store."""
        found = {key: self._recall(key) for key in keys}
        unread = [key for key, trace in found.items() if trace.needs_history]
        if unread:
            history = read_history(self._store, unread)
            for key in unread:
                before = len(found[key].rows)
                found[key].absorb(history[key])
                self._traces.grew(len(found[key].rows) - before)
                self._links.consider(key, found[key])
                # What was read may hold spans that are still on their way here, and no news when they come: settle it now.
                self._touch(key, found[key], time.monotonic(), self._mark)
        return found

    def _differ(self, key: Key, trace: Trace, written: Written) -> tuple[dict[str, InteractionRow], dict[str, CallRow]]:
        if not trace.rows:
            # Feedback without its trace waits in the store; the trace finds it when it comes.
            return {}, {}
        try:
            return differ(trace, written, self._books.of(key[0]))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # One trace that the rules cannot digest must not hold up all others; it keeps the rows that it has.
            self._counters.add("spanledger_settle_errors_total")
            _LOGGER.exception("a trace cannot be settled; project=%s trace=%s", key[0][:40], key[1])
            return trace.interactions, trace.calls

    def _write(self, written: Written) -> None:
        version = CLOCK.now_ns()
        waiting = None
        if written.calls:
            rows = arrow.call_table(written.calls, version, written.calls_deleted)
            waiting = self._pool.submit(insert_by_days, self._store, "calls", rows, "settle-calls")
        if written.interactions:
            table = arrow.interaction_table(written.interactions, version, written.interactions_deleted)
            insert_by_days(self._store, "interactions", table, "settle")
        if waiting is not None:
            waiting.result()

    def _write_mark(self, is_last: bool) -> None:
        now_s = time.monotonic()
        if now_s - self._mark_written_s < _MARK_EVERY_S and not is_last:
            return
        self._mark_written_s = now_s
        bound = self.flights.bound_ns()
        if self._inbox or self._judged or self._noted or self._again:
            return
        dirty = [trace.received_at for key in self._dirty if (trace := self._traces.get(key)) is not None]
        if not dirty and self._counters.get("spanledger_traces_settled_total") == 0:
            return
        mark = min([bound, *dirty])
        if mark - self._mark < 1_000_000_000 and not is_last:
            return
        self._mark = mark
        ledger.write_mark(self._store, _COLLECTOR, mark, "settle")

"""The traces that settling has in mind: a bounded cache, never the only copy of anything."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from spanledger_collector.settle.twins import NOWHERE
from spanledger_collector.store.ledger import History, Key, Note, keep_best
from spanledger_schema.spans import CallRow, Feedback, InteractionRow, SpanRow


class Trace:
    """One trace in memory.

    Attributes:
        rows: Its spans by id, the best version of each.
        feedback: Judgements by id.
        interactions: What was written last, by interaction id.
        calls: What was written last, by span id.
        touched_s: When something last came, on the monotonic clock.
        dirty_since_s: When the first thing that is not settled yet came; None when all is settled.
        received_at: Receive time of the first thing that is not settled yet, in nanoseconds since 1970.
        needs_history: The store may hold more of it.
        notes: What log records say of its spans, by span id.
        linked: Ids of traces that may hold twins of its calls.
        ask: Response ids (after the project's name) by which the store may know more such traces.
        asks_counts: The store may know more such traces by its calls' counts.
        elsewhere: What twins in other traces mean for it.
    """

    __slots__ = (
        "ask",
        "asks_counts",
        "calls",
        "dirty_since_s",
        "elsewhere",
        "feedback",
        "interactions",
        "linked",
        "needs_history",
        "notes",
        "received_at",
        "rows",
        "touched_s",
    )

    def __init__(self) -> None:
        """An empty, settled trace."""
        self.rows: dict[str, SpanRow] = {}
        self.feedback: dict[str, Feedback] = {}
        self.notes: dict[str, Note] = {}
        self.interactions: dict[str, InteractionRow] = {}
        self.calls: dict[str, CallRow] = {}
        self.touched_s = 0.0
        self.dirty_since_s: float | None = None
        self.received_at = 0
        self.needs_history = False
        self.linked: set[str] = set()
        self.ask: set[str] = set()
        self.asks_counts = False
        self.elsewhere = NOWHERE

    @property
    def may_have_twins(self) -> bool:
        """Whether other traces may hold twins of its calls."""
        return bool(self.linked or self.ask or self.asks_counts)

    def noted_rows(self) -> list[SpanRow]:
        """Its spans, with what log records say of them."""
        if not self.notes:
            return list(self.rows.values())
        notes = self.notes
        return [note.add_to(row) if (note := notes.get(row.span_id)) else row for row in self.rows.values()]

    def mark_dirty(self, now_s: float, received_at: int) -> None:
        """Something came that is not settled."""
        self.touched_s = now_s
        if self.dirty_since_s is None:
            self.dirty_since_s = now_s
            self.received_at = received_at
        elif received_at < self.received_at:
            self.received_at = received_at

    def is_due(self, now_s: float, quiet_s: float) -> bool:
        """Whether to settle now: the tree is whole, or nothing came for a while, or it has waited long enough."""
        if self.dirty_since_s is None:
            return False
        if now_s - self.touched_s >= quiet_s or now_s - self.dirty_since_s >= 2 * quiet_s:
            return True
        rows = self.rows
        has_root = False
        for row in rows.values():
            parent = row.parent_span_id
            if not parent:
                has_root = True
            elif parent not in rows:
                return False
        return has_root

    def absorb(self, history: History) -> None:
        """Join what the store holds with what is in memory."""
        for row in history.rows.values():
            keep_best(self.rows, row)
        self.feedback = history.feedback | self.feedback
        self.notes = {**history.notes, **{key: note.join(history.notes.get(key)) for key, note in self.notes.items()}}
        self.interactions, self.calls = history.interactions, history.calls
        self.needs_history = False


class RecentTraces:
    """Traces by key, least recently touched first, bounded in spans."""

    def __init__(self, spans_max: int) -> None:
        """Hold at most about `spans_max` spans besides those not settled yet."""
        self._spans_max = spans_max
        self._traces: OrderedDict[Key, Trace] = OrderedDict()
        self._spans = 0

    def get(self, key: Key) -> Trace | None:
        """A trace, marked as touched."""
        trace = self._traces.get(key)
        if trace is not None:
            self._traces.move_to_end(key)
        return trace

    def add(self, key: Key) -> Trace:
        """A new trace."""
        trace = self._traces[key] = Trace()
        return trace

    def grew(self, spans: int) -> None:
        """Account for spans that traces took in."""
        self._spans += spans

    def forget(self) -> None:
        """Drop the least recently touched settled traces until the bound holds."""
        traces = self._traces
        waiting: list[tuple[Key, Trace]] = []
        while self._spans > self._spans_max and traces:
            key, trace = traces.popitem(last=False)
            if trace.dirty_since_s is None:
                self._spans -= len(trace.rows)
            else:
                waiting.append((key, trace))
        for key, trace in reversed(waiting):
            traces[key] = trace
            traces.move_to_end(key, last=False)

    def forget_all(self, keys: Iterable[Key]) -> None:
        """Drop particular traces, settled or not."""
        for key in keys:
            if (trace := self._traces.pop(key, None)) is not None:
                self._spans -= len(trace.rows)

    def __iter__(self) -> Iterator[tuple[Key, Trace]]:
        """All traces, least recently touched first."""
        return iter(list(self._traces.items()))

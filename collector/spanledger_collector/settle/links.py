"""Which traces may hold twins of a trace's calls, and what follows for each of them.

Two traces are linked when they share a provider's response id, or, where an instrumentation does not know the id, when one
holds a provider client's own span, or one of a framework's callbacks, with the same counts. Links are found in memory while
both are young, else through a Bloom filter of all response ids that the store holds; only what may repeat is asked of the
store. Whether linked calls are twins is decided by `twins`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np

from spanledger_collector.settle.recent import Trace
from spanledger_collector.settle.seen import Seen, text_words
from spanledger_collector.settle.tree import GENERATIONS, Node, grow, judge
from spanledger_collector.settle.twins import (
    GAP_NS,
    GUESS,
    NOWHERE,
    Counts,
    Elsewhere,
    cluster_twins,
    counts_of,
    is_guess,
    merge_in_trace,
    vantage,
    winner_of,
)
from spanledger_collector.store import ledger
from spanledger_collector.store.ledger import Key
from spanledger_collector.store.protocol import Store
from spanledger_schema.spans import SpanRow

_REMEMBERED_MAX: Final = 50_000
_LINKED_MAX: Final = 100
_BUCKET_MAX: Final = 100
_TWICE_BITS: Final = 24
_FIRST_OWN_CALLS: Final = 50
_LATE_MAX: Final = 500_000

_K = TypeVar("_K")

Load = Callable[[Sequence[Key]], Mapping[Key, Trace]]
CountsKey = tuple[str, str, Counts]
"""Project, application, counts."""


class Sighting(NamedTuple):
    """A call that an instrumentation saw: times in nanoseconds since 1970."""

    trace_id: str
    scope: str
    start: int
    end: int

    def may_be(self, other: "Sighting") -> bool:
        """Whether both may be one call: seen by two scopes in two traces at the same time."""
        return (
            self.scope != other.scope
            and self.trace_id != other.trace_id
            and max(self.start, other.start) - min(self.end, other.end) <= GAP_NS
        )

    def distance(self, other: "Sighting") -> int:
        """How far apart both began and ended: of calls that run in parallel, twins lie in each other most closely."""
        return abs(self.start - other.start) + abs(self.end - other.end)


class TwinLinks:
    """Finds linked traces and what their twins mean. All but `load` belongs to the settler's thread."""

    def __init__(self, store: Store) -> None:
        """Know nothing yet; `load` reads what the store holds."""
        self._store = store
        self._by_id: _Remembered[tuple[str, str]] = _Remembered()
        self._by_counts: _Remembered[CountsKey] = _Remembered()
        self._ids = Seen()
        self._ids.finish_loading()
        self._twice = Seen(log_bits=_TWICE_BITS)
        self._fresh: list[tuple[str, Trace, str, Sighting]] = []
        self._late: list[tuple[Trace, str]] = []
        self._vantages: dict[str, int] = {}
        self._own_calls: dict[str, int] = {}
        self._with_callbacks: set[str] = set()

    # --- before settling ---------------------------------------------------------------------------------------------

    def load(self, is_stopping: Callable[[], bool]) -> None:
        """Read the response ids that the store holds. Runs on a thread of its own, beside the settler.

        Raises:
            StoreUnavailable: the store does not answer; every id then counts as possibly repeated.

        """
        for project in ledger.projects_with_scope(self._store, "com.anthropic.sdk."):
            self._own_calls[project] = _FIRST_OWN_CALLS
        stored = Seen()
        stored.finish_loading()
        for words in ledger.response_words(self._store):
            if is_stopping():
                return
            once, numbers = np.unique(words, return_counts=True)
            self._twice.add(np.concatenate([once[numbers > 1], once[stored.maybe(once)]]))
            stored.add(once)
        # What came in meanwhile was only compared with what came in meanwhile.
        late, self._late = self._late, []
        if late:
            known = stored.maybe(text_words([response_id for _, response_id in late]))
            for (trace, response_id), maybe in zip(late, known.tolist(), strict=True):
                if maybe:
                    trace.ask.add(response_id)
        self._ids.join(stored)
        self._twice.finish_loading()

    def note(self, key: Key, trace: Trace, row: SpanRow) -> None:
        """A call came in."""
        project = key[0]
        sighting = Sighting(key[1], row.scope, row.start_time, row.start_time + row.duration_ns)
        response_id = row.response_id
        if response_id:
            self._fresh.append((project, trace, response_id, sighting))
        seen_from = self._vantages.get(row.scope)
        if seen_from is None:
            seen_from = self._vantages[row.scope] = vantage(row)
        if seen_from == 1 or (seen_from == 2 and not response_id):
            if seen_from == 2:
                self._with_callbacks.add(project)
            number = self._own_calls.get(project, 0)
            self._own_calls[project] = number + 1
            # What came before a project's first own spans was not noted by its counts, but the store has it.
            trace.asks_counts = trace.asks_counts or number < _FIRST_OWN_CALLS
        is_sought = project in self._own_calls and (seen_from or not response_id or project in self._with_callbacks)
        if is_sought or (not response_id and is_guess(row)):
            self._note_counts(trace, row, sighting, seen_from)

    def _note_counts(self, trace: Trace, row: SpanRow, sighting: Sighting, seen_from: int) -> None:
        counts = GUESS if is_guess(row) else counts_of(row)
        # What an instrumentation does not know, the client itself may: it is looked for under both.
        for key in (counts, GUESS) if seen_from == 1 and counts != GUESS else (counts,):
            if key is not None:
                others = self._by_counts.meet((row.project, row.app, key), sighting) or []
                if (nearest := self._nearest(sighting, others)) and self._nearest(nearest, [*others, sighting]) is sighting:
                    trace.linked.add(nearest.trace_id)

    def _nearest(self, sighting: Sighting, others: Sequence[Sighting]) -> Sighting | None:
        seen_from = self._vantages.get(sighting.scope)
        near = [other for other in others if self._vantages.get(other.scope) != seen_from and sighting.may_be(other)]
        return min(near, key=lambda other: (sighting.distance(other), other), default=None)

    def look_up(self) -> None:
        """Compare the ids of what came in with those that came before."""
        fresh, self._fresh = self._fresh, []
        if not fresh:
            return
        unknown: list[tuple[Trace, str]] = []
        repeated: list[str] = []
        for project, trace, response_id, sighting in fresh:
            others = self._by_id.meet((project, response_id), sighting)
            if others is None:
                unknown.append((trace, project + response_id))
                continue
            trace.linked.update([other.trace_id for other in others if sighting.may_be(other)])
            if any(other.trace_id != sighting.trace_id for other in others):
                repeated.append(project + response_id)
        words = text_words([name for _, name in unknown])
        maybe = self._ids.maybe(words)
        self._ids.add(words)
        for (trace, name), is_known in zip(unknown, maybe.tolist(), strict=True):
            if is_known:
                trace.ask.add(name)
                repeated.append(name)
        if repeated:
            self._twice.add(text_words(repeated))
        if not self._twice.is_loaded and len(self._late) < _LATE_MAX:
            self._late += unknown

    def consider(self, key: Key, trace: Trace) -> None:
        """A trace was read back from the store: whether it has twins is known to the filters, or asked of the store."""
        rows = [row for row in trace.rows.values() if row.kind in GENERATIONS]
        ids = [key[0] + row.response_id for row in rows if row.response_id]
        if ids:
            trace.ask.update(name for name, maybe in zip(ids, self._twice.maybe(text_words(ids)).tolist(), strict=True) if maybe)
        if key[0] in self._own_calls:
            trace.asks_counts = any(not row.response_id or vantage(row) for row in rows)

    # --- while settling ----------------------------------------------------------------------------------------------

    def resolve(self, due: Sequence[tuple[Key, Trace]], load: Load) -> set[Key]:
        """Find out which calls of some traces are counted in another trace, and note it on them.

        Args:
            due: Traces about to be settled.
            load: Reads traces by key, whole, from memory or the store.

        Returns:
            Other traces for which something has changed by it, and which are to be settled again.

        Raises:
            StoreUnavailable: the store does not answer.

        """
        self._ask(due)
        changed: set[Key] = set()
        is_due = {key for key, _ in due}
        for key, trace in due:
            if not trace.linked:
                continue
            traces = self._closure(key, trace, load)
            for other, elsewhere in _verdicts(traces).items():
                # Too many to see whole: each trace then only decides for itself, so that none calls the others up for ever.
                if traces[other].elsewhere != elsewhere and (other == key or len(traces) < _LINKED_MAX):
                    traces[other].elsewhere = elsewhere
                    if other not in is_due:
                        changed.add(other)
        return changed

    def _closure(self, key: Key, trace: Trace, load: Load) -> dict[Key, Trace]:
        """All traces that links reach, up to a bound, so that each of them comes to the same verdicts."""
        found = {key: trace}
        frontier = [key]
        while frontier and len(found) < _LINKED_MAX:
            wanted = sorted({(key[0], other) for near in frontier for other in found[near].linked} - found.keys())
            loaded = load(wanted[: _LINKED_MAX - len(found)])
            self._ask(list(loaded.items()))
            for near in frontier:
                for other in found[near].linked:
                    if (at := loaded.get((key[0], other))) is not None:
                        at.linked.add(near[1])
            frontier = [at for at, other in loaded.items() if other.rows]
            found.update({at: loaded[at] for at in frontier})
        return found

    def _ask(self, due: Sequence[tuple[Key, Trace]]) -> None:
        by_project: dict[str, list[Trace]] = {}
        for key, trace in due:
            if trace.ask or trace.asks_counts:
                by_project.setdefault(key[0], []).append(trace)
        for project, asking in by_project.items():
            rows = [row for trace in asking for row in trace.rows.values() if row.kind in GENERATIONS]
            names = sorted({name[len(project) :] for trace in asking for name in trace.ask})
            if not rows:
                continue
            span = min(row.start_time for row in rows), max(row.start_time + row.duration_ns for row in rows)
            by_id = ledger.calls_by_response(self._store, project, names, span) if names else {}
            counting = [row for trace in asking if trace.asks_counts for row in trace.rows.values() if row.kind in GENERATIONS]
            by_counts = ledger.calls_by_counts(self._store, project, counting, span) if counting else {}
            for trace in asking:
                for row in trace.rows.values():
                    seen = Sighting(row.trace_id, row.scope, row.start_time, row.start_time + row.duration_ns)
                    others = by_id.get(row.response_id, []) if row.response_id else []
                    trace.linked.update([other[0] for other in others if seen.may_be(Sighting._make(other))])
                    if trace.asks_counts:
                        others = by_counts.get((row.app, row.input_tokens, row.output_tokens, row.error_class), [])
                        if nearest := self._nearest(seen, [Sighting._make(other) for other in others]):
                            trace.linked.add(nearest.trace_id)
                trace.ask.clear()
                trace.asks_counts = False


def _verdicts(traces: Mapping[Key, Trace]) -> dict[Key, Elsewhere]:
    nodes: list[Node] = []
    owner: dict[int, Key] = {}
    for key, trace in traces.items():
        for node in merge_in_trace(judge(grow(trace.rows.values()))):
            owner[id(node)] = key
            nodes.append(node)
    lost: dict[Key, set[str]] = {key: set() for key in traces}
    gains: dict[Key, dict[str, tuple[SpanRow, ...]]] = {key: {} for key in traces}
    for cluster in cluster_twins([node for node in nodes if node.is_model or node.has_usage]):
        winner = winner_of(cluster)
        twins = sorted((node.row for node in cluster if node is not winner), key=lambda row: (row.trace_id, row.span_id))
        gains[owner[id(winner)]][winner.row.span_id] = tuple(twins)
        for node in cluster:
            if node is not winner:
                lost[owner[id(node)]].add(node.row.span_id)
    return {key: Elsewhere(frozenset(lost[key]), gains[key]) if lost[key] or gains[key] else NOWHERE for key in traces}


class _Remembered(Generic[_K]):
    """Sightings by key, young ones only: two generations, of which the older is dropped when the younger is full."""

    def __init__(self) -> None:
        self._young: dict[_K, list[Sighting]] = {}
        self._old: dict[_K, list[Sighting]] = {}

    def meet(self, key: _K, sighting: Sighting) -> list[Sighting] | None:
        """Note a sighting under a key; the earlier ones under it, or None where the key is new."""
        known = self._young.get(key)
        if known is None:
            known = self._old.get(key, [])
            if len(self._young) >= _REMEMBERED_MAX:
                self._young, self._old = {}, self._young
        self._young[key] = [*known[-_BUCKET_MAX:], sighting]
        return known or None

"""Which traces may hold twins of a trace's calls, and what follows for each of them.

Two traces are linked when they share a provider's response id, or, where an instrumentation does not know the id, when one
holds a provider client's own span, or one of a framework's callbacks, with the same counts, or the client's own span lies at
the time of a call that does not know its counts. Links are found in memory while both are young. What is older is found
through a Bloom filter of all response ids that the store holds, so that only what may repeat is asked of the store; where an
id is missing, the store is asked about calls that began before everything that is in memory. Whether linked calls are twins
is decided by `twins`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import numpy as np

from spanledger_collector.clock import CLOCK
from spanledger_collector.settle.recent import Trace
from spanledger_collector.settle.seen import Seen, text_words
from spanledger_collector.settle.sightings import Remembered, Sighting, nearest_of
from spanledger_collector.settle.tree import GENERATIONS, Node, grow, judge
from spanledger_collector.settle.twins import (
    CLIENTS_OWN,
    NOWHERE,
    Counts,
    Elsewhere,
    bare_counts_of,
    cluster_twins,
    counts_of,
    is_guess,
    merge_in_trace,
    vantage,
    winner_of,
)
from spanledger_collector.store import ledger
from spanledger_collector.store.ledger import Call, Key
from spanledger_collector.store.protocol import Store
from spanledger_schema.spans import SpanRow

_LINKED_MAX: Final = 100
_TWICE_BITS: Final = 24
_LATE_MAX: Final = 500_000
_AHEAD_NS: Final = 60_000_000_000
"""How far the clock of an application may be ahead of ours where its calls are believed to have come later than something."""

Load = Callable[[Sequence[Key]], Mapping[Key, Trace]]
_K = TypeVar("_K")

CountsKey = tuple[str, str, Counts]
"""Project, application, counts."""


class TwinLinks:
    """Finds linked traces and what their twins mean. All but `load` belongs to the settler's thread."""

    def __init__(self, store: Store) -> None:
        """Know nothing yet; `load` reads what the store holds."""
        self._store = store
        self._by_id: Remembered[tuple[str, str]] = Remembered()
        self._by_counts: Remembered[CountsKey] = Remembered()
        self._ids = Seen()
        self._ids.finish_loading()
        self._twice = Seen(log_bits=_TWICE_BITS)
        self._fresh: list[tuple[str, Trace, str, Sighting]] = []
        self._late: list[tuple[Trace, str]] = []
        self._vantages: dict[str, int] = {}
        self._noted_since: dict[str, int] = {}
        self._without_ids: set[str] = set()
        self._began = CLOCK.now_ns() + _AHEAD_NS
        self._knows_projects = False

    # --- before settling ---------------------------------------------------------------------------------------------

    def load(self, is_stopping: Callable[[], bool]) -> None:
        """Read the response ids that the store holds. Runs on a thread of its own, beside the settler.

        Raises:
            StoreUnavailable: the store does not answer; every id then counts as possibly repeated.

        """
        for project, scope, has_id in ledger.scopes_of_calls(self._store):
            self._meet_scope(project, vantage(scope), has_id, self._began)
        self._knows_projects = True
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
        sighting = _sighting(row)
        response_id = row.response_id
        if response_id:
            self._fresh.append((project, trace, response_id, sighting))
        seen_from = self._seen_from(row.scope)
        if seen_from and (project not in self._noted_since or project not in self._without_ids):
            self._meet_scope(project, seen_from, bool(response_id or row.error_class), CLOCK.now_ns() + _AHEAD_NS)
        if self._is_sought(row) or (not response_id and is_guess(row)):
            self._note_counts(trace, row, sighting)

    def _meet_scope(self, project: str, seen_from: int, has_id: bool, since: int) -> None:
        """A project has calls of a scope: from now on, what may be twins of those is noted by its counts."""
        is_without = seen_from > 0 and not has_id
        if is_without and project not in self._without_ids:
            self._without_ids.add(project)
            self._noted_since[project] = max(since, self._noted_since.get(project, 0))
        elif seen_from == 1 or is_without:
            self._noted_since.setdefault(project, since)

    def _is_sought(self, row: SpanRow) -> bool:
        """Whether a call may have a twin that only its counts and its time tell of."""
        if row.project not in self._noted_since:
            return not self._knows_projects and (not row.response_id or self._seen_from(row.scope) > 0)
        return not row.response_id or self._seen_from(row.scope) > 0 or row.project in self._without_ids

    def _seen_from(self, scope: str) -> int:
        seen_from = self._vantages.get(scope)
        if seen_from is None:
            seen_from = self._vantages[scope] = vantage(scope)
        return seen_from

    def _note_counts(self, trace: Trace, row: SpanRow, sighting: Sighting) -> None:
        is_own, guesses = self._seen_from(row.scope) == 1, is_guess(row)
        # Where it is noted, and where looked for: what one does not know, the client itself may, or the client does not.
        places = [] if row.error_class else [(_knowledge(is_own, guesses), _knowledge(not is_own, not guesses))]
        if not guesses:
            places += [(counts, counts) for counts in (counts_of(row), bare_counts_of(row)) if counts]
        noted_since = self._noted_since.get(row.project, self._began if not self._knows_projects else 0)
        for at, sought in places:
            key, others_key = (row.project, row.app, at), (row.project, row.app, sought)
            before = self._by_counts.meet(key, sighting) or []
            others = before if at == sought else self._by_counts.under(others_key)
            rivals = [*before, sighting] if at != sought else [*others, sighting]
            if (nearest := self._nearest(sighting, others)) and self._nearest(nearest, rivals) is sighting:
                trace.linked.add(nearest.trace_id)
            if sighting.start <= max(noted_since, self._by_counts.forgotten_until(others_key)) and self._is_sought(row):
                # Its twin may have come before everything that is in memory.
                trace.asks_counts = True

    def _nearest(self, sighting: Sighting, others: Sequence[Sighting]) -> Sighting | None:
        seen_from = self._seen_from(sighting.scope)
        near = [other for other in others if self._seen_from(other.scope) != seen_from and sighting.may_be(other)]
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
        trace.asks_counts = any(self._is_sought(row) for row in rows)

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
            sought = [
                (trace, row) for trace in asking if trace.asks_counts for row in trace.rows.values() if row.kind in GENERATIONS
            ]
            self._ask_counts(project, [(trace, row) for trace, row in sought if self._is_sought(row)])
            for trace in asking:
                for row in trace.rows.values():
                    seen = _sighting(row)
                    others = by_id.get(row.response_id, []) if row.response_id else []
                    trace.linked.update([other[0] for other in others if seen.may_be(Sighting._make(other))])
                trace.ask.clear()
                trace.asks_counts = False

    def _ask_counts(self, project: str, sought: Sequence[tuple[Trace, SpanRow]]) -> None:
        """Link calls with those of the store that are as large, or that know what they do not, at the same time."""
        counting = [row for _, row in sought if not is_guess(row)]
        counting += [row._replace(input_tokens=bare[0]) for row in counting if (bare := bare_counts_of(row))]
        guessing = [row for _, row in sought if not row.error_class]
        # What others know is of interest where the client itself knows nothing.
        knowing = ("",) if any(is_guess(row) and self._seen_from(row.scope) == 1 for row in guessing) else CLIENTS_OWN
        by_counts = self._by_vantage(ledger.calls_by_counts(self._store, project, counting) if counting else {})
        by_knowledge = self._by_vantage(ledger.calls_by_knowledge(self._store, project, guessing, knowing) if guessing else {})
        for trace, row in sought:
            seen, seen_from = _sighting(row), self._seen_from(row.scope)
            # A guess has its twin among what the client itself knows, and the client's own guess among what others do.
            known = by_knowledge.get((row.app, not is_guess(row)), {}) if not row.error_class else {}
            lists = [{at: calls for at, calls in known.items() if (at == 1) != (seen_from == 1)}]
            if not is_guess(row):
                lists += [by_counts.get((row.app, row.input_tokens, row.output_tokens, row.error_class), {})]
                lists += [by_counts.get((row.app, *bare), {}) for bare in [bare_counts_of(row)] if bare]
            for found in lists:
                others = [nearest for at, calls in found.items() if at != seen_from and (nearest := nearest_of(seen, calls))]
                if others:
                    trace.linked.add(min(others, key=lambda other: (seen.distance(other), other)).trace_id)

    def _by_vantage(self, found: Mapping[_K, Sequence[Call]]) -> dict[_K, dict[int, list[Sighting]]]:
        """Calls by whence they were seen, each list by their start."""
        sorted_: dict[_K, dict[int, list[Sighting]]] = {}
        for key, calls in found.items():
            lists = sorted_.setdefault(key, {})
            for call in sorted(calls, key=lambda call: call[2]):
                lists.setdefault(self._seen_from(call[1]), []).append(Sighting._make(call))
        return sorted_


def _knowledge(is_own: bool, is_guessed: bool) -> Counts:
    """Stands for the counts, whatever they are, that a provider's client or others know of a call, or do not know."""
    return None, None, f"{'own' if is_own else 'other'} {'guess' if is_guessed else 'known'}"


def _sighting(row: SpanRow) -> Sighting:
    return Sighting(row.trace_id, row.scope, row.start_time, row.start_time + row.duration_ns)


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

"""Re-pricing: history settled once more with the prices known now, by the settler itself, and told in full.

A trace is re-priced whole. What is reported is what the ledger holds before and after, so that totals move by exactly that
difference; a dry run reports what settling would write and writes nothing.
"""

import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from spanledger_collector.errors import SpanledgerError
from spanledger_collector.pricing.user import SOURCE as USER
from spanledger_collector.settle.books import Books
from spanledger_collector.settle.links import TwinLinks
from spanledger_collector.settle.recent import Trace
from spanledger_collector.settle.rules import settle
from spanledger_collector.settle.run import Settler
from spanledger_collector.store import reprice_book
from spanledger_collector.store.ledger import History, Key, read_history, read_settled
from spanledger_collector.store.protocol import Store
from spanledger_collector.store.reprice_book import Change, Reprice
from spanledger_schema.spans import CallRow
from spanledger_schema.tokens import CostStatus

_LOGGER: Final = logging.getLogger(__name__)
_TRACES_AT_ONCE: Final = 2_000
_WAIT_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.05
_KEPT_MAX: Final = 200


_Alike = tuple[str, str, str, str, str, str, str, str]


class Scope(NamedTuple):
    """Which calls to look at: those that started in a time and whose model fits a pattern; None is all."""

    since: datetime | None
    until: datetime | None
    model: str | None


@dataclass(slots=True)
class _Tally:
    """What has changed so far, by model and by what changed."""

    before: int = 0
    after: int = 0
    calls: int = 0
    groups: dict[_Alike, list[int]] = field(default_factory=dict)

    def add(self, before: CallRow, after: CallRow) -> None:
        """Take in one call that changed."""
        old, new = before.cost_usd or 0, after.cost_usd or 0
        self.before += old
        self.after += new
        self.calls += 1
        key = (
            after.provider,
            after.model,
            after.processing,
            before.cost_status,
            before.price_version or before.unpriced_reason,
            after.cost_status,
            after.price_version or after.unpriced_reason,
            why(before, after),
        )
        group = self.groups.setdefault(key, [0, 0, 0])
        group[0] += 1
        group[1] += old
        group[2] += new

    def changes(self) -> list[Change]:
        """The groups, the largest difference first."""
        found = [Change(*key, calls, before, after) for key, (calls, before, after) in self.groups.items()]
        return sorted(found, key=lambda change: (-abs(change.after_pico - change.before_pico), -change.calls, change.model))


class Repricer:
    """Runs re-pricings one after the other on a thread of its own. Methods are thread-safe."""

    def __init__(self, store: Store, settler: Settler, books: Books) -> None:
        """Nothing runs yet."""
        self._store = store
        self._settler = settler
        self._books = books
        self._pool = ThreadPoolExecutor(1, "reprice")
        self._stopping = threading.Event()
        self._live: dict[str, Reprice] = {}

    def begin(self, project: str, scope: Scope, *, is_dry_run: bool) -> Reprice:
        """Ask for a re-pricing; it is kept in the store from now on.

        Raises:
            StoreUnavailable: the store does not answer; nothing was begun.
        """
        filters = {"since": _iso(scope.since), "until": _iso(scope.until), "model": scope.model}
        asked = Reprice(project, uuid.uuid4().hex, "queued", is_dry_run, filters, time.time_ns())
        reprice_book.write(self._store, asked)
        while len(self._live) >= _KEPT_MAX:
            self._live.pop(next(iter(self._live)))
        self._live[asked.reprice_id] = asked
        self._pool.submit(self._run, asked, scope)
        return asked

    def known(self, project: str, limit: int) -> list[Reprice]:
        """The project's re-pricings, the newest first."""
        return [self._fresh(found) for found in reprice_book.read(self._store, project, limit)]

    def find(self, project: str, reprice_id: str) -> Reprice | None:
        """One re-pricing as it stands, or None."""
        live = self._live.get(reprice_id)
        if live is not None and live.project == project:
            return live
        found = reprice_book.read(self._store, project, 1, reprice_id)
        return self._fresh(found[0]) if found else None

    def stop(self) -> None:
        """Stop after the traces in hand; what was re-priced until then stays, and is told."""
        self._stopping.set()
        self._pool.shutdown(wait=True)

    def _fresh(self, found: Reprice) -> Reprice:
        live = self._live.get(found.reprice_id)
        if live is not None:
            return live
        # Nobody works on it any more: the collector ended in the middle.
        return replace(found, state="interrupted") if found.state in ("queued", "running") else found

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self, asked: Reprice, scope: Scope) -> None:
        tally = _Tally()
        state = "failed"
        try:
            self._note(asked, "running", tally)
            state = self._work(asked, scope, tally)
        except SpanledgerError as error:
            _LOGGER.warning("a re-pricing ended early: %s", error.code)
        except Exception:
            _LOGGER.exception("a re-pricing hit a defect")
        self._note(self._live[asked.reprice_id], state, tally)
        try:
            reprice_book.write(self._store, self._live[asked.reprice_id])
        except SpanledgerError as error:
            _LOGGER.warning("the record of a re-pricing could not be written: %s", error.code)

    def _work(self, asked: Reprice, scope: Scope, tally: _Tally) -> str:
        project = asked.project
        models = None
        if scope.model is not None:
            glob = scope.model.lower()
            models = [name for name in reprice_book.models(self._store, project) if fnmatchcase(name.lower(), glob)]
        days = reprice_book.days(self._store, project, scope.since, scope.until, models)
        asked = replace(asked, traces_total=sum(count for _, count in days))
        for day, _ in days:
            traces = reprice_book.traces(self._store, project, day, (scope.since, scope.until), models)
            for start in range(0, len(traces), _TRACES_AT_ONCE):
                if self._stopping.is_set():
                    return "stopped"
                chunk = traces[start : start + _TRACES_AT_ONCE]
                history = read_history(self._store, [(project, trace_id) for trace_id in chunk])
                after = self._expected(project, history) if asked.is_dry_run else self._settle_again(project, chunk)
                for held in history.values():
                    for span_id, before in held.calls.items():
                        now = after.get((before.trace_id, span_id))
                        if now is not None and _differs(before, now):
                            tally.add(before, now)
                asked = replace(asked, traces_done=asked.traces_done + len(chunk))
                self._note(asked, "running", tally)
        return "done"

    def _expected(self, project: str, history: Mapping[Key, History]) -> dict[tuple[str, str], CallRow]:
        """The calls that count now, as today's prices price them and twins in other traces complete them."""
        book = self._books.of(project)
        # That knows nothing, so it asks the store about all that may have twins.
        links = TwinLinks(self._store)
        traces: dict[Key, Trace] = {}

        def take(found: Mapping[Key, History]) -> None:
            for key, held in found.items():
                traces[key] = Trace()
                traces[key].absorb(held)
                links.consider(key, traces[key])

        def load(keys: Sequence[Key]) -> dict[Key, Trace]:
            take(read_history(self._store, [key for key in keys if key not in traces]))
            return {key: traces[key] for key in keys}

        take(history)
        links.resolve(list(traces.items()), load)
        found = {}
        for key, held in history.items():
            trace = traces[key]
            for call in settle(trace.noted_rows(), list(trace.feedback.values()), book, trace.elsewhere).calls:
                if call.span_id in held.calls:
                    found[call.trace_id, call.span_id] = call
        return found

    def _settle_again(self, project: str, traces: Sequence[str]) -> dict[tuple[str, str], CallRow]:
        """Let the settler do it and return what the ledger then holds."""
        keys = [(project, trace_id) for trace_id in traces]
        self._settler.settle_again(keys)
        deadline = time.monotonic() + _WAIT_S
        quiet = 0
        while quiet < 2 and time.monotonic() < deadline:
            quiet = 0 if self._settler.is_waiting(keys) else quiet + 1
            time.sleep(_LOOK_EVERY_S)
        return {(call.trace_id, call.span_id): call for call in read_settled(self._store, project, traces)[1]}

    def _note(self, asked: Reprice, state: str, tally: _Tally) -> None:
        self._live[asked.reprice_id] = replace(
            asked,
            state=state,
            calls_changed=tally.calls,
            before_pico=tally.before,
            after_pico=tally.after,
            changes=tally.changes(),
        )


def why(before: CallRow, after: CallRow) -> str:
    """Why a call's cost changed, in words."""
    if before.cost_status == CostStatus.UNPRICED:
        return "a price is known now"
    if after.cost_status == CostStatus.UNPRICED:
        return "its price is not known any more"
    if before.cost_source != after.cost_source:
        if after.cost_source == USER:
            return "a price of yours applies now"
        if before.cost_source == USER:
            return "the price of yours applies no more"
        return "another price list has it now"
    if before.price_version != after.price_version:
        return "your price was changed" if after.cost_source == USER else "the price list is another version"
    return "it is understood differently now"


def _differs(before: CallRow, after: CallRow) -> bool:
    return (before.cost_usd, before.cost_status) != (after.cost_usd, after.cost_status)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")

"""What was kept before its class was known: data rules reach it when an ancestor that came later says which class it has.

Children come before their parents and in other requests, so a span may be stored as it came, and be denied, stripped, masked or
redacted a few seconds later. What takes its place is a row of the same span with a higher version.
"""

import asyncio
import logging
from typing import Final

from spanledger_collector.api.services import Services
from spanledger_collector.errors import SpanledgerError
from spanledger_collector.governance.data_rules import DataRules
from spanledger_collector.ingest.afterwards import came_late, replaced_content, replaced_row
from spanledger_collector.ingest.classes import Place
from spanledger_collector.ingest.judgements import FEEDBACK_FIELDS, Judgement
from spanledger_collector.ingest.privacy import change_feedback
from spanledger_collector.ingest.writer import Parcel
from spanledger_collector.query.erasure import delete_spans
from spanledger_collector.query.whole import content_of_spans, evaluations_of, logged_spans, whole_spans
from spanledger_collector.store import arrow, ledger
from spanledger_collector.store.ledger import Key
from spanledger_collector.store.partitions import insert_by_days
from spanledger_schema.spans import SpanRow

_LOGGER: Final = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 1.0
_BACK_OFF_S: Final = 10.0
_TRACES_AT_ONCE: Final = 50
_BEFORE_MARK_NS: Final = 60_000_000_000


async def look_after(parts: Services) -> None:
    """Run until cancelled."""
    late: dict[Key, int] = {}
    is_begun = False
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        try:
            # The memory of classes belongs to the thread that decodes.
            late |= await asyncio.get_running_loop().run_in_executor(parts.decode_pool, parts.intake.classes.take_late)
            if parts.is_store_away or parts.opening.reason is not None:
                continue
            if not is_begun:
                late |= await asyncio.to_thread(_left_over, parts)
                is_begun = True
            await _look(parts, late)
        except SpanledgerError as error:
            _LOGGER.warning("what came before its class could not be looked after, and is tried again: %s", error.code)
            await asyncio.sleep(_BACK_OFF_S)
        except Exception:
            _LOGGER.exception("looking after what came before its class hit a defect and is tried again")
            await asyncio.sleep(_BACK_OFF_S)


def _left_over(parts: Services) -> dict[Key, int]:
    """What came shortly before an earlier process ended, perhaps before it could look after it."""
    projects = parts.rules.projects
    mark = parts.settler.begun_at if projects else 0
    keys = ledger.changed_since(parts.store, max(0, mark - _BEFORE_MARK_NS)) if mark else []
    return dict.fromkeys((key for key in keys if key[0] in projects), 0)


async def _look(parts: Services, late: dict[Key, int]) -> None:
    if not late:
        return
    # Whatever came before the one that told is in the store by then.
    bound = await asyncio.to_thread(parts.settler.flights.bound_ns)
    by_project: dict[str, list[str]] = {}
    for (project, trace_id), received_at in late.items():
        if received_at < bound:
            by_project.setdefault(project, []).append(trace_id)
    for project, trace_ids in by_project.items():
        for start in range(0, len(trace_ids), _TRACES_AT_ONCE):
            some = trace_ids[start : start + _TRACES_AT_ONCE]
            if (rules := parts.rules.of(project)) is not None:
                await _look_at(parts, project, some, rules)
            for trace_id in some:
                late.pop((project, trace_id), None)


async def _look_at(parts: Services, project: str, trace_ids: list[str], rules: DataRules) -> None:
    store, classes = parts.store, parts.intake.classes
    rows = await asyncio.to_thread(whole_spans, store, project, trace_ids)
    logged = await asyncio.to_thread(logged_spans, store, project, trace_ids)
    late = came_late(rows, logged, rules, classes, project)
    if late.denied:
        await asyncio.to_thread(_delete, parts, project, rows, set(late.denied))
    if not late.actions:
        return
    # Content of a span that said its class itself was seen to; that of log records may have come before it.
    places = {(row.trace_id, row.span_id) for row, _ in late.rows} | (set(logged) & set(late.actions))
    contents = await asyncio.to_thread(content_of_spans, store, project, sorted(places))
    left = [found for content in contents if (found := replaced_content(content, late.actions[content[1], content[2]]))]
    judgements = await asyncio.to_thread(evaluations_of, store, project, trace_ids, FEEDBACK_FIELDS, Judgement._make)
    judged = [
        Judgement(**changed)
        for one in judgements
        if (action := late.actions.get((one.trace_id, one.span_id)))
        and (changed := change_feedback(one._asdict(), action)) != one._asdict()
    ]
    if judged:
        table = arrow.table([one._replace(version=one.version + 1) for one in judged], FEEDBACK_FIELDS)
        await asyncio.to_thread(store.insert, "feedback", table, "feedback")
    with parts.settler.flights.receiving() as received_at:
        spans = [replaced_row(row, action, received_at) for row, action in late.rows]
        content = arrow.content_table(left) if left else None
        if spans:
            await parts.writer.commit(Parcel(spans, arrow.span_table(spans), content, received_at))
            parts.counters.add("spanledger_spans_changed_late_total", len(spans), project=project)
        elif content is not None:
            await asyncio.to_thread(insert_by_days, store, "span_content", content, "logs")


def _delete(parts: Services, project: str, rows: list[SpanRow], denied: set[Place]) -> None:
    touched = {trace_id for trace_id, _ in denied}
    shared = {row.trace_id for row in rows if row.trace_id in touched and (row.trace_id, row.span_id) not in denied}
    keys = [(project, trace_id) for trace_id in touched]
    parts.settler.forget(keys)
    with parts.manifest.deleting():
        delete_spans(parts.store, project, sorted(denied), sorted(touched - shared))
    # Again, as something may have called it back meanwhile.
    parts.settler.forget(keys)
    parts.settler.settle_again([(project, trace_id) for trace_id in shared])
    gone = sum((row.trace_id, row.span_id) in denied for row in rows)
    parts.counters.add("spanledger_spans_denied_total", gone, project=project)

"""Spans that the store refused: look at them, send them again, or give them up."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body

from spanledger_collector.api.services import ProjectDep, Services, ServicesDep
from spanledger_collector.errors import InvalidQuestion
from spanledger_collector.governance.data_rules import DataRules
from spanledger_collector.ingest.afterwards import enforce_rows
from spanledger_collector.ingest.writer import Parcel
from spanledger_collector.query.erasure import delete_content
from spanledger_collector.store import arrow
from spanledger_collector.store.arrow import rows_from
from spanledger_collector.store.spool import Refused
from spanledger_schema.spans import CONTENT_FIELDS, SPAN_FIELDS, ContentRow, SpanRow

router = APIRouter(prefix="/api/v1/quarantine", tags=["Quarantine"])

Ids = Annotated[dict[str, Any], Body(examples=[{"ids": [1, 2]}])]


@router.get("", summary="What did the store refuse?")
def get_quarantine(parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """The project's spans in quarantine, the latest first, with the reason of each."""
    return {"items": [_show(item) for item in parts.spool.refused(project)]}


@router.post("/replay", summary="Send refused spans again")
async def post_replay(raw: Ids, parts: ServicesDep, project: ProjectDep) -> dict[str, int]:
    """Try to store spans once more (all when no `ids` are given). What is refused again stays in quarantine.

    The data rules of now hold for them: what they deny is kept nowhere any more.
    """
    wanted = _ids(raw)
    rules = parts.rules.of(project)
    found = [_Again(item, rules) for item in parts.spool.refused(project) if wanted is None or item.id in wanted]
    await asyncio.to_thread(_forget_content, parts, project, [again.item for again in found if again.is_touched])
    stored = denied = 0
    for again in found:
        stored += await _replay(parts, again)
        denied += again.denied
    return {"tried": len(found), "stored": stored, "denied": denied}


@router.post("/drop", summary="Give refused spans up")
def post_drop(raw: Ids, parts: ServicesDep, project: ProjectDep) -> dict[str, int]:
    """Forget spans in quarantine for good; `ids` says which."""
    wanted = _ids(raw)
    if not wanted:
        raise InvalidQuestion('ids is a list of numbers, as GET gives them: {"ids": [1, 2]}.')
    _forget_content(parts, project, [item for item in parts.spool.refused(project) if item.id in wanted])
    dropped = parts.spool.release(project, sorted(wanted))
    parts.account.drop(project, dropped)
    return {"dropped": dropped}


class _Again:
    """A span that comes again, as the data rules of now leave it."""

    def __init__(self, item: Refused, rules: DataRules | None) -> None:
        self.item = item
        before = rows_from(item.spans, SPAN_FIELDS, SpanRow._make)
        content: list[ContentRow] = [] if item.content is None else rows_from(item.content, CONTENT_FIELDS, tuple)
        self.rows, self.content = (before, content) if rules is None else enforce_rows(before, content, rules)
        self.is_touched = (self.rows, self.content) != (before, content)
        self.denied = len(before) - len(self.rows)


def _forget_content(parts: Services, project: str, items: list[Refused]) -> None:
    """What the store refuses to keep of a span does not keep it from its content, which goes in beside."""
    if items:
        with parts.manifest.deleting():
            delete_content(parts.store, project, [(item.trace_id, item.span_id) for item in items])


async def _replay(parts: Services, again: _Again) -> int:
    item, stored = again.item, 0
    if again.rows:
        with parts.settler.flights.receiving() as received_at:
            # They come a second time, as far as settling is concerned: after a restart it looks for what came after its mark.
            rows = [row._replace(received_at=received_at) for row in again.rows]
            content = arrow.content_table(again.content) if again.content else None
            parcel = Parcel(rows, arrow.span_table(rows), content, received_at)
            await parts.writer.commit(parcel)
        stored = len(parcel.rows)
    # Stored, denied, or put into quarantine once more with today's reason; this copy has had its turn.
    parts.spool.release(item.project, [item.id])
    if again.denied:
        parts.counters.add("spanledger_spans_denied_total", again.denied, project=item.project)
        parts.account.drop(item.project, again.denied)
    parts.account.move(item.project, stored, "quarantined", "stored")
    return stored


def _ids(raw: dict[str, Any]) -> set[int] | None:
    ids = raw.get("ids")
    if ids is None:
        return None
    if not isinstance(ids, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in ids):
        raise InvalidQuestion('ids is a list of numbers, as GET gives them: {"ids": [1, 2]}.')
    return set(ids)


def _show(item: Refused) -> dict[str, Any]:
    at = datetime.fromtimestamp(item.received_at / 1e9, UTC)
    return {
        "id": item.id,
        "trace_id": item.trace_id,
        "span_id": item.span_id,
        "name": item.name,
        "reason": item.reason,
        "received_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }

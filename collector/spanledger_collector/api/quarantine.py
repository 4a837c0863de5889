"""Spans that the store refused: look at them, send them again, or give them up."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body

from spanledger_collector.api.services import ProjectDep, Services, ServicesDep
from spanledger_collector.errors import InvalidQuestion
from spanledger_collector.ingest.writer import Parcel
from spanledger_collector.store import arrow
from spanledger_collector.store.arrow import rows_from
from spanledger_collector.store.spool import Refused
from spanledger_schema.spans import SPAN_FIELDS, SpanRow

router = APIRouter(prefix="/api/v1/quarantine", tags=["Quarantine"])

Ids = Annotated[dict[str, Any], Body(examples=[{"ids": [1, 2]}])]


@router.get("", summary="What did the store refuse?")
def get_quarantine(parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """The project's spans in quarantine, the latest first, with the reason of each."""
    return {"items": [_show(item) for item in parts.spool.refused(project)]}


@router.post("/replay", summary="Send refused spans again")
async def post_replay(raw: Ids, parts: ServicesDep, project: ProjectDep) -> dict[str, int]:
    """Try to store spans once more (all when no `ids` are given). What is refused again stays in quarantine."""
    wanted = _ids(raw)
    found = [item for item in parts.spool.refused(project) if wanted is None or item.id in wanted]
    stored = 0
    for item in found:
        stored += await _replay(parts, item)
    return {"tried": len(found), "stored": stored}


@router.post("/drop", summary="Give refused spans up")
def post_drop(raw: Ids, parts: ServicesDep, project: ProjectDep) -> dict[str, int]:
    """Forget spans in quarantine for good; `ids` says which."""
    wanted = _ids(raw)
    if not wanted:
        raise InvalidQuestion('ids is a list of numbers, as GET gives them: {"ids": [1, 2]}.')
    dropped = parts.spool.release(project, sorted(wanted))
    parts.account.drop(project, dropped)
    return {"dropped": dropped}


async def _replay(parts: Services, item: Refused) -> int:
    with parts.settler.flights.receiving() as received_at:
        # They come a second time, as far as settling is concerned: after a restart it looks for what came after its mark.
        rows = [row._replace(received_at=received_at) for row in rows_from(item.spans, SPAN_FIELDS, SpanRow._make)]
        parcel = Parcel(rows, arrow.span_table(rows), item.content, received_at)
        await parts.writer.commit(parcel)
    # Stored, or put into quarantine once more with today's reason; this copy has had its turn.
    parts.spool.release(item.project, [item.id])
    parts.account.move(item.project, len(parcel.rows), "quarantined", "stored")
    return len(parcel.rows)


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

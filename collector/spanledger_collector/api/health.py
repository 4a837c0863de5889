"""Is it alive, is it ready, and what has it done."""

import asyncio
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from spanledger_collector.api.services import AccessDep, ServicesDep
from spanledger_collector.clock import CLOCK
from spanledger_collector.errors import SpanledgerError
from spanledger_collector.query.places import newest_span
from spanledger_collector.settle.recount import SETTLED
from spanledger_collector.telemetry import losses_text

router = APIRouter(tags=["Health"])


@router.get("/healthz", summary="Alive")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz", summary="Ready", responses={503: {"description": "The store does not answer."}})
async def readyz(parts: ServicesDep) -> JSONResponse:
    """The store answers and its schema is current (it is migrated before the first request is taken)."""
    if (closed := parts.opening.reason) is not None:
        return JSONResponse({"status": "not ready", "reason": closed}, 503)
    try:
        await asyncio.to_thread(parts.store.read, "SELECT count() FROM schema_migrations")
    except SpanledgerError as error:
        return JSONResponse({"status": "not ready", "reason": error.detail}, 503)
    if problems := parts.manifest.problems:
        reason = f"The store has lost data: {problems[0]}" + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
        advice = (
            "Restore a backup, or accept the loss with `spanledger doctor --accept-loss`; until then nothing is called whole."
        )
        return JSONResponse({"status": "not ready", "reason": reason, "advice": advice, "problems": problems}, 503)
    if parts.room.is_short:
        return JSONResponse({"status": "not ready", "reason": parts.room.words}, 503)
    return JSONResponse({"status": "ready"})


@router.post("/api/v1/store/accept-loss", summary="Go on without what was lost", tags=["Governance"])
async def accept_loss(parts: ServicesDep) -> dict[str, Any]:
    """Take the store as it is now for the truth: `/readyz` is green again. Lost settled rows are counted again from spans."""
    accepted = await asyncio.to_thread(parts.manifest.accept)
    days = sorted({problem.partition for problem in accepted if problem.table.partition(" ")[0] in SETTLED and problem.partition})
    if days:
        parts.recounter.begin(days)
    return {"accepted": len(accepted), "counted_again": days}


@router.get("/metrics", summary="Own counters", response_class=Response)
async def metrics(parts: ServicesDep) -> Response:
    """Prometheus text of the collector's own counters."""
    parts.counters.put("spanledger_open_request_bytes", parts.open_bytes)
    parts.counters.put("spanledger_spool_bytes", parts.spool.waiting_bytes)
    parts.counters.put("spanledger_disk_free_bytes", parts.room.free_bytes)
    parts.counters.put("spanledger_clock_ahead_seconds", CLOCK.ahead_s)
    lost = await asyncio.to_thread(parts.losses.totals)
    text = parts.counters.prometheus() + parts.account.prometheus() + losses_text(lost)
    return Response(text, media_type="text/plain; version=0.0.4")


@router.get("/api/v1/status", summary="Status", tags=["Questions"])
async def status(parts: ServicesDep, access: AccessDep) -> dict[str, Any]:
    """What the dashboard's foot shows: version, rate, how far the data goes, what waits.

    A key of one project is told of its spans and data only; what is counted over all projects is null for it.
    """
    mine = access.project
    is_ready, through = True, None
    try:
        newest = await asyncio.to_thread(newest_span, parts.store, mine)
        through = newest.isoformat(timespec="seconds").replace("+00:00", "Z") if newest else None
    except SpanledgerError:
        is_ready = False
    counters = parts.counters
    return {
        "version": version("spanledger"),
        "ready": is_ready,
        "spans_per_minute": counters.spans_per_minute() if mine is None else None,
        "data_through": through,
        "pending_traces": parts.settler.pending if mine is None else None,
        "accepted_spans": parts.account.total("accepted", mine),
        "waiting_spans": parts.account.total("pending", mine),
        "quarantined_spans": parts.account.total("quarantined", mine),
        "spool_bytes": parts.spool.waiting_bytes if mine is None else None,
        "rejected_spans": int(counters.get("spanledger_spans_rejected_total")) if mine is None else None,
        "store": "embedded" if parts.settings.clickhouse_url is None else "server",
    }

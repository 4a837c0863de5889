"""What happens to an OTLP export, over HTTP and gRPC alike: read it, store it, and say what was refused."""

import asyncio
import time
from collections.abc import Awaitable, Sequence

from spanledger_collector.api.services import Services
from spanledger_collector.ingest.judgements import FEEDBACK_FIELDS, Judgement
from spanledger_collector.ingest.logs import LogParcel
from spanledger_collector.store import arrow
from spanledger_collector.store.ledger import NOTE_FIELDS

_WORDS = {
    "invalid_id": "a trace id has 16 bytes, a span id 8, and neither is zero",
    "malformed_span": "not a readable span",
}


async def accept_traces(parts: Services, body: Awaitable[bytes], kind: str, encoding: str, project: str) -> tuple[int, str]:
    """Store the spans of an export request; when it returns they are on disk.

    Args:
        parts: The collector.
        body: The request's body, which may still be on its way.
        kind: Its media type.
        encoding: Its content encoding.
        project: Whose it is.

    Returns:
        How many spans were refused, and why.

    Raises:
        SpanledgerError: the whole request is refused, or cannot be stored now.
    """
    received_at = time.time_ns()
    parts.writer.opened()
    size, is_open = 0, True
    try:
        read = await body
        size = len(read)
        parts.open_bytes += size
        loop = asyncio.get_running_loop()
        parcel, rejected = await loop.run_in_executor(
            parts.decode_pool, parts.intake.traces, read, kind, encoding, project, received_at
        )
        parts.counters.add("spanledger_spans_received_total", (len(parcel.rows) if parcel else 0) + sum(rejected.values()))
        for reason, count in rejected.items():
            parts.counters.add("spanledger_spans_rejected_total", count, reason=reason)
        commit = None
        if parcel is not None:
            commit = asyncio.ensure_future(parts.writer.commit(parcel))
            await asyncio.sleep(0)
        parts.writer.closed()
        is_open = False
        if commit is not None:
            await commit
        if parcel is not None and parcel.judgements:
            await store_judgements(parts, parcel.judgements, received_at)
    finally:
        parts.open_bytes -= size
        if is_open:
            parts.writer.closed()
    message = "; ".join(f"{count} spans refused: {_WORDS.get(reason, reason)}" for reason, count in rejected.items())
    return sum(rejected.values()), message


async def accept_logs(parts: Services, body: Awaitable[bytes], kind: str, encoding: str, project: str) -> tuple[int, str]:
    """Store what log records say of spans; when it returns it is on disk. Returns how many were refused, and why.

    Raises:
        SpanledgerError: the whole request is refused, or cannot be stored now.
    """
    received_at = time.time_ns()
    size = 0
    try:
        read = await body
        size = len(read)
        parts.open_bytes += size
        loop = asyncio.get_running_loop()
        parcel: LogParcel = await loop.run_in_executor(
            parts.decode_pool, parts.intake.logs, read, kind, encoding, project, received_at
        )
        parts.counters.add("spanledger_logs_received_total", parcel.count)
        if parcel.content is not None:
            await asyncio.to_thread(parts.store.insert, "span_content", parcel.content, "logs")
        if parcel.judgements:
            await store_judgements(parts, parcel.judgements, received_at)
        if parcel.notes:
            rows = [(project, *note, received_at, received_at) for note in parcel.notes]
            await asyncio.to_thread(parts.store.insert, "span_notes", arrow.table(rows, NOTE_FIELDS), "logs")
            for note in parcel.notes:
                parts.settler.note(project, note, received_at)
    finally:
        parts.open_bytes -= size
    return 0, ""


async def store_judgements(parts: Services, judgements: Sequence[Judgement], received_at: int) -> None:
    """Store feedback, and have it counted.

    Raises:
        SpanledgerError: it cannot be stored now.
    """
    table = arrow.table([tuple(judgement) for judgement in judgements], FEEDBACK_FIELDS)
    await asyncio.to_thread(parts.store.insert, "feedback", table, "feedback")
    for judgement in judgements:
        parts.settler.judge(judgement.project, judgement.trace_id, judgement.fact(), received_at)
    parts.counters.add("spanledger_feedback_stored_total", len(judgements))

"""What happens to an OTLP export, over HTTP and gRPC alike: read it, store it or let it wait on disk, and say what was refused.

An answer means that it is durable: in the store, or in the spool while the store is away. What can be stored goes past what
waits only when nothing waits, so that requests reach the store in the order of their arrival.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager

import orjson

from spanledger_collector.api.services import Services
from spanledger_collector.errors import Overloaded, StoreUnavailable
from spanledger_collector.governance.keys import Access
from spanledger_collector.ingest.intake import JSON
from spanledger_collector.ingest.judgements import FEEDBACK_FIELDS, Judgement, read_judgement
from spanledger_collector.ingest.logs import LogParcel
from spanledger_collector.ingest.privacy import DENIED, enforce_feedback
from spanledger_collector.ingest.writer import Parcel
from spanledger_collector.store import arrow
from spanledger_collector.store.ledger import NOTE_FIELDS
from spanledger_collector.store.spool import FEEDBACK, LOGS, TRACES, Waiting

# When it was judged may be long before it came, and it is by when it came that settling finds it after a restart.
_FEEDBACK_FIELDS = (*FEEDBACK_FIELDS, ("received_at", "time"))
_WORDS = {
    "invalid_id": "a trace id has 16 bytes, a span id 8, and neither is zero",
    "malformed_span": "not a readable span",
    DENIED: "a data rule of this project denies their class or purpose; do not send them again",
}


def admit(parts: Services, size: int) -> None:
    """Ask whether a request of so many bytes that are to be stored may be worked on now, before it is read.

    Raises:
        Overloaded: too much is being worked on, or the disk is nearly full.
    """
    check_load(parts, size)
    if parts.room.is_short:
        parts.counters.add("spanledger_requests_refused_total", reason="disk")
        raise Overloaded(parts.room.words)


def check_load(parts: Services, size: int) -> None:
    """Ask whether so many bytes more may be held.

    Raises:
        Overloaded: too many are.
    """
    if parts.open_bytes + size > parts.settings.open_bytes_max:
        parts.counters.add("spanledger_requests_refused_total", reason="overloaded")
        raise Overloaded("Too much is waiting to be stored; send it again in a second.")


def admit_export(parts: Services, access: Access, size: int) -> None:
    """The same for an export or feedback, which count against the quota of their key.

    Raises:
        QuotaExceeded: the key has sent as much as it may for now.
        Overloaded: too much is being worked on, or the disk is nearly full.
    """
    parts.quotas.check(access, time.monotonic())
    admit(parts, size)


@contextmanager
def charged(parts: Services, access: Access, count: int) -> Iterator[None]:
    """Take what a request holds from its key's quota; give it back if it cannot be kept, since it will come again.

    Of a request that its sender gives up nobody knows: what it holds may be stored all the same, so it counts.
    """
    parts.quotas.take(access, count, time.monotonic())
    try:
        yield
    except Exception:
        parts.quotas.give_back(access, count)
        raise


async def accept_traces(
    parts: Services, access: Access, body: Awaitable[bytes], kind: str, encoding: str, project: str
) -> tuple[int, str]:
    """Keep the spans of an export request; when it returns they are durable.

    Args:
        parts: The collector.
        access: Of the key that sends them.
        body: The request's body, which may still be on its way.
        kind: Its media type.
        encoding: Its content encoding.
        project: Whose it is.

    Returns:
        How many spans were refused, and why.

    Raises:
        SpanledgerError: the whole request is refused, or cannot be kept now.

    """
    parts.writer.opened()
    size, is_open = 0, True
    try:
        read = await body
        size = len(read)
        parts.open_bytes += size
        with parts.settler.flights.receiving() as received_at:
            parcel, rejected = await _decode(parts, read, kind, encoding, project, received_at)
            received = (len(parcel.rows) if parcel else 0) + sum(rejected.values())
            with charged(parts, access, received):
                parts.counters.add("spanledger_spans_received_total", received)
                _count_refused(parts, rejected, project)
                commit = None
                if parcel is not None and not parts.is_store_away:
                    commit = asyncio.ensure_future(parts.writer.commit(parcel))
                    await asyncio.sleep(0)
                parts.writer.closed()
                is_open = False
                if parcel is not None:
                    # What waits on disk is what the data rules left.
                    sent = (kind, encoding, read) if parcel.body is None else (JSON, "", parcel.body)
                    request = Waiting(TRACES, project, sent[0], sent[1], received_at, len(parcel.rows), sent[2])
                    await _commit_or_wait(parts, commit, parcel, request)
    finally:
        parts.open_bytes -= size
        if is_open:
            parts.writer.closed()
    message = "; ".join(f"{count} spans refused: {_WORDS.get(reason, reason)}" for reason, count in rejected.items())
    return sum(rejected.values()), message


def _count_refused(parts: Services, rejected: dict[str, int], project: str) -> None:
    for reason, count in rejected.items():
        if reason == DENIED:
            parts.counters.add("spanledger_spans_denied_total", count, project=project)
        else:
            parts.counters.add("spanledger_spans_rejected_total", count, reason=reason)


async def _decode(
    parts: Services, body: bytes, kind: str, encoding: str, project: str, received_at: int
) -> tuple[Parcel | None, dict[str, int]]:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(parts.decode_pool, parts.intake.traces, body, kind, encoding, project, received_at)


async def _commit_or_wait(parts: Services, commit: "asyncio.Future[None] | None", parcel: Parcel, request: Waiting) -> None:
    if commit is not None:
        try:
            # A commit that takes too long goes on; what it stores then is stored a second time by the drain, which counts once.
            await asyncio.wait_for(asyncio.shield(commit), parts.settings.spool_after_s)
            parts.account.accept(request.project, stored=len(parcel.rows), quarantined=parcel.refused)
            if parcel.judgements:
                await store_judgements(parts, parcel.judgements, request.received_at)
            return
        except (StoreUnavailable, TimeoutError):
            commit.add_done_callback(_forget)
            parts.is_store_away = True
    await _wait_on_disk(parts, request)
    parts.account.accept(request.project, pending=request.items)


def _forget(commit: "asyncio.Future[None]") -> None:
    if not commit.cancelled():
        commit.exception()


async def _wait_on_disk(parts: Services, request: Waiting) -> None:
    await asyncio.to_thread(parts.spool.put, request)
    parts.counters.add("spanledger_requests_spooled_total", route=request.route)


async def store_traces(parts: Services, request: Waiting) -> tuple[int, int]:
    """Store the spans of a request that waited. Returns how many were stored, and how many are in quarantine.

    Raises:
        StoreUnavailable: the store does not take them now.

    """
    parcel, rejected = await _decode(
        parts, request.body, request.media_type, request.encoding, request.project, request.received_at
    )
    if parcel is not None:
        await parts.writer.commit(parcel)
    # A rule may have been made since. Counted once, however often it was tried.
    _count_refused(parts, {reason: count for reason, count in rejected.items() if reason == DENIED}, request.project)
    if parcel is None:
        return 0, 0
    if parcel.judgements:
        await store_judgements(parts, parcel.judgements, request.received_at)
    return len(parcel.rows), parcel.refused


async def accept_logs(
    parts: Services, access: Access, body: Awaitable[bytes], kind: str, encoding: str, project: str
) -> tuple[int, str]:
    """Keep what log records say of spans; when it returns it is durable. Returns how many were refused, and why.

    Raises:
        SpanledgerError: the whole request is refused, or cannot be kept now.

    """
    size = 0
    try:
        read = await body
        size = len(read)
        parts.open_bytes += size
        with parts.settler.flights.receiving() as received_at:
            request = Waiting(LOGS, project, kind, encoding, received_at, 0, read)
            parcel = await _read_logs(parts, request)
            with charged(parts, access, parcel.count + parcel.denied):
                parts.counters.add("spanledger_logs_received_total", parcel.count + parcel.denied)
                if parcel.denied:
                    parts.counters.add("spanledger_logs_denied_total", parcel.denied, project=project)
                if parcel.body is not None:
                    request = request._replace(media_type=JSON, encoding="", body=parcel.body)
                if parcel.count:
                    await _store_or_wait(parts, request, parcel)
    finally:
        parts.open_bytes -= size
    return parcel.denied, f"{parcel.denied} log records refused: {_WORDS[DENIED]}" if parcel.denied else ""


async def _store_or_wait(parts: Services, request: Waiting, parcel: LogParcel) -> None:
    if not parts.is_store_away:
        try:
            await _keep_logs(parts, request, parcel)
            return
        except StoreUnavailable:
            parts.is_store_away = True
    await _wait_on_disk(parts, request)


async def store_logs(parts: Services, request: Waiting) -> tuple[int, int]:
    """Store what the log records of a request that waited say.

    Raises:
        StoreUnavailable: the store does not take them now.

    """
    await _keep_logs(parts, request, await _read_logs(parts, request))
    return 0, 0


async def _read_logs(parts: Services, request: Waiting) -> LogParcel:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(
        parts.decode_pool,
        parts.intake.logs,
        request.body,
        request.media_type,
        request.encoding,
        request.project,
        request.received_at,
    )


async def _keep_logs(parts: Services, request: Waiting, parcel: LogParcel) -> None:
    if parcel.content is not None:
        await asyncio.to_thread(parts.store.insert, "span_content", parcel.content, "logs")
    if parcel.judgements:
        await store_judgements(parts, parcel.judgements, request.received_at)
    if parcel.notes:
        rows = [(request.project, *note, request.received_at, request.received_at) for note in parcel.notes]
        await asyncio.to_thread(parts.store.insert, "span_notes", arrow.table(rows, NOTE_FIELDS), "logs")
        for note in parcel.notes:
            parts.settler.note(request.project, note, request.received_at)


async def accept_feedback(parts: Services, items: Sequence[object], project: str) -> list[Judgement]:
    """Keep judgements; when it returns they are durable.

    Raises:
        InvalidQuestion: one of them cannot be read.
        SpanledgerError: they cannot be kept now.

    """
    rules = parts.rules.of(project)
    if rules is not None:
        items = [enforce_feedback(item, rules) for item in items]
    with parts.settler.flights.receiving() as received_at:
        judgements = [read_judgement(item, project, received_at) for item in items]
        if not parts.is_store_away:
            try:
                await store_judgements(parts, judgements, received_at)
                return judgements
            except StoreUnavailable:
                parts.is_store_away = True
        await _wait_on_disk(parts, Waiting(FEEDBACK, project, JSON, "", received_at, 0, orjson.dumps(items)))
        return judgements


async def store_feedback(parts: Services, request: Waiting) -> tuple[int, int]:
    """Store judgements that waited.

    Raises:
        StoreUnavailable: the store does not take them now.

    """
    items = orjson.loads(request.body)
    judgements = [read_judgement(item, request.project, request.received_at) for item in items]
    await store_judgements(parts, judgements, request.received_at)
    return 0, 0


async def store_judgements(parts: Services, judgements: Sequence[Judgement], received_at: int) -> None:
    """Store feedback, and have it counted.

    Raises:
        StoreUnavailable: it cannot be stored now.

    """
    table = arrow.table([(*judgement, received_at) for judgement in judgements], _FEEDBACK_FIELDS)
    await asyncio.to_thread(parts.store.insert, "feedback", table, "feedback")
    for judgement in judgements:
        parts.settler.judge(judgement.project, judgement.trace_id, judgement.fact(), received_at)
    parts.counters.add("spanledger_feedback_stored_total", len(judgements))

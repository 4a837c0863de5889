"""OTLP over HTTP: traces, logs and metrics."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from spanledger_collector.api.exports import accept_logs, accept_traces, admit_export, check_load
from spanledger_collector.api.problems import rpc_code
from spanledger_collector.api.services import AccessDep, ProjectDep, Services, ServicesDep
from spanledger_collector.errors import BadRequest, Overloaded, PayloadTooLarge, SpanledgerError, UnsupportedMedia
from spanledger_collector.governance.keys import Access
from spanledger_collector.ingest import otlp
from spanledger_collector.ingest.intake import JSON, PROTOBUF

router = APIRouter(tags=["OTLP"])

Accept = Callable[[Services, Access, Awaitable[bytes], str, str, str], Awaitable[tuple[int, str]]]

_BODY_S_MAX = 60


def content_type(request: Request) -> str:
    """The encoding of an OTLP request.

    Raises:
        UnsupportedMedia: neither protobuf nor JSON.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in (PROTOBUF, JSON):
        raise UnsupportedMedia(f"Content-Type {kind[:60]!r} is not read; send {PROTOBUF} or {JSON}.")
    return kind


KindDep = Annotated[str, Depends(content_type)]


async def read_body(request: Request, parts: Services) -> bytes:
    """The body, within the limits of one request and of all open ones together.

    Raises:
        PayloadTooLarge: it is larger than one may be.
        BadRequest: it was cut off, or came too slowly.
        Overloaded: too much is being worked on.
    """
    limit = parts.settings.body_bytes_max
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise PayloadTooLarge(f"The body is larger than {limit:,} bytes. Send smaller batches.")
    check_load(parts, int(stated) if stated.isdecimal() else 0)
    chunks: list[bytes] = []
    size, held = 0, 0
    try:
        async with asyncio.timeout(_BODY_S_MAX):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise PayloadTooLarge(f"The body is larger than {limit:,} bytes. Send smaller batches.")
                # Counted as they come: what many clients begin to send takes memory before any of it is whole.
                check_load(parts, len(chunk))
                parts.open_bytes += len(chunk)
                held += len(chunk)
                chunks.append(chunk)
    except ClientDisconnect:
        raise BadRequest("The connection ended before the body did.") from None
    except TimeoutError:
        raise BadRequest(f"The body did not arrive within {_BODY_S_MAX} s.") from None
    finally:
        parts.open_bytes -= held
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _answer(kind: str, rejected: int, message: str, field: str) -> Response:
    if kind == JSON:
        partial = {"partialSuccess": {field: str(rejected), "errorMessage": message}} if rejected or message else {}
        return Response(orjson.dumps(partial), media_type=JSON)
    return Response(otlp.export_response(field, rejected, message), media_type=PROTOBUF)


def _status(error: SpanledgerError, kind: str) -> Response:
    headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
    code = rpc_code(error.status)
    if kind == JSON:
        return Response(orjson.dumps({"code": code, "message": error.detail}), error.status, headers, JSON)
    return Response(otlp.status_message(code, error.detail), error.status, headers, PROTOBUF)


async def _export(
    request: Request, parts: Services, access: Access, project: str, kind: str, accept: Accept, field: str
) -> Response:
    encoding = request.headers.get("content-encoding", "")
    try:
        admit_export(parts, access, 0)
        rejected, message = await accept(parts, access, read_body(request, parts), kind, encoding, project)
    except SpanledgerError as error:
        if not isinstance(error, Overloaded):
            parts.counters.add("spanledger_requests_refused_total", reason=error.code)
        return _status(error, kind)
    return _answer(kind, rejected, message, field)


@router.post("/v1/traces", summary="Store spans", response_class=Response)
async def traces(request: Request, parts: ServicesDep, access: AccessDep, project: ProjectDep, kind: KindDep) -> Response:
    """OTLP `ExportTraceServiceRequest`, protobuf or JSON, gzip or not. 200 means that the accepted spans are on disk."""
    return await _export(request, parts, access, project, kind, accept_traces, "rejectedSpans")


@router.post("/v1/logs", summary="Store what log records say of spans", response_class=Response)
async def logs(request: Request, parts: ServicesDep, access: AccessDep, project: ProjectDep, kind: KindDep) -> Response:
    """OTLP `ExportLogsServiceRequest`. Content, evaluations and users are joined to their spans; usage is never counted."""
    return await _export(request, parts, access, project, kind, accept_logs, "rejectedLogRecords")


@router.post("/v1/metrics", summary="Refuse metrics politely", response_class=Response)
async def metrics(request: Request, parts: ServicesDep, kind: KindDep) -> Response:
    """Spanledger counts from spans; metrics are answered with everything refused, so that exporters do not retry."""
    try:
        body = await read_body(request, parts)
        plain = await asyncio.to_thread(parts.intake.plain, body, request.headers.get("content-encoding", ""))
        count = otlp.count_data_points(plain) if kind == PROTOBUF else 0
    except BadRequest as error:
        return _status(error, kind)
    return _answer(kind, count, "Spanledger keeps no metrics; it counts from spans.", "rejectedDataPoints")

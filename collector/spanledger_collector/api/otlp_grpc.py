"""OTLP over gRPC: the export services of traces and logs, beside the HTTP API in the same process and on the same parts.

Messages stay bytes here and go the way that HTTP's take; who may not send, or not now, is told so before the message is read
(`turns`). The package grpcio is optional (`spanledger[grpc]`).
"""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from spanledger_collector.api.exports import accept_logs, accept_traces, admit_export
from spanledger_collector.api.guard import project_of
from spanledger_collector.api.services import Services, project_named
from spanledger_collector.api.turns import Turns
from spanledger_collector.errors import BadRequest, CannotStart, NotAllowed, Overloaded, SpanledgerError
from spanledger_collector.governance.keys import Access
from spanledger_collector.ingest import otlp
from spanledger_collector.ingest.intake import PROTOBUF
from spanledger_schema.semconv import PROJECT_HEADER

if TYPE_CHECKING:
    import grpc

_TAKEN: Final = (
    "Port {port} on {host} cannot be used for gRPC. Is another collector running? "
    "Stop it, or choose another port with --grpc-port."
)
_CODES: Final = {400: 3, 401: 16, 403: 7, 413: 3, 415: 3, 422: 3, 429: 8, 503: 14}
"""`grpc.StatusCode` by HTTP status; what may be sent again is UNAVAILABLE, and RESOURCE_EXHAUSTED with a delay."""

_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    # What comes before it is asked for: 64 KiB a call, never more, and so many calls of a connection.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_concurrent_streams", 100),
)

Accept = Callable[[Services, Access, Awaitable[bytes], str, str, str], Awaitable[tuple[int, str]]]


def check_grpc(host: str, port: int) -> None:
    """Say at once, before anything is opened, why OTLP/gRPC could not be served.

    Raises:
        CannotStart: grpcio is not installed, or the port is taken.
    """
    if find_spec("grpc") is None:
        raise CannotStart("OTLP/gRPC needs the package grpcio: pip install 'spanledger[server,grpc]'.")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise CannotStart(_TAKEN.format(port=port, host=host)) from None


class GrpcServer:
    """The gRPC listener; `start` it on the event loop that serves HTTP, and `stop` it there."""

    def __init__(self, parts: Services, host: str, port: int) -> None:
        """Prepare.

        Args:
            parts: The collector.
            host: Address to listen on.
            port: Port to listen on.

        Raises:
            CannotStart: the port cannot be used.
        """
        import grpc

        self._parts = parts
        self._codes = {code.value[0]: code for code in grpc.StatusCode}
        limits = parts.settings
        self._turns = Turns(limits.body_bytes_max, limits.open_bytes_max, lambda: parts.open_bytes)
        self._server = grpc.aio.server(options=[*_OPTIONS, ("grpc.max_receive_message_length", limits.body_bytes_max)])
        for signal, field, accept in (("trace", "rejectedSpans", accept_traces), ("logs", "rejectedLogRecords", accept_logs)):
            service = f"{otlp.PACKAGE}.{signal}.v1.{signal.capitalize()}Service"
            # The same on the wire as one message for one answer; but the handler is asked before the message is read.
            method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_unary_rpc_method_handler(self._method(accept, field))
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
        name = f"[{host}]" if ":" in host else host
        try:
            self._server.add_insecure_port(f"{name}:{port}")
        except RuntimeError:
            raise CannotStart(_TAKEN.format(port=port, host=host)) from None

    async def start(self) -> None:
        """Begin to answer."""
        await self._server.start()

    async def stop(self) -> None:
        """Finish what is being answered, for two seconds at most."""
        await self._server.stop(grace=2.0)

    def _method(self, accept: Accept, field: str) -> Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]:
        async def export(_: AsyncIterator[bytes], context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
            try:
                rejected, message = await self._accept(accept, context)
                return otlp.export_response(field, rejected, message)
            except SpanledgerError as error:
                # Without where it came from: the frames of that hold the message.
                refusal = error.with_traceback(None)
                refusal.__context__ = None
            finally:
                self._turns.go_on()
            if not isinstance(refusal, Overloaded):
                self._parts.counters.add("spanledger_requests_refused_total", reason=refusal.code)
            await context.abort(self._codes[_CODES.get(refusal.status, 13)], refusal.detail, _details(refusal))

        return export

    async def _accept(self, accept: Accept, context: "grpc.aio.ServicerContext[bytes, bytes]") -> tuple[int, str]:
        metadata = {str(name).lower(): value for name, value in context.invocation_metadata() or ()}
        access = self._parts.doorkeeper.access(str(metadata.get("authorization", "")))
        if not access.may("ingest"):
            raise NotAllowed("This key may not do that; it needs the scope ingest.")
        wanted = metadata.get(PROJECT_HEADER)
        project = project_named(project_of(access, None if wanted is None else str(wanted)))
        admit_export(self._parts, access, 0)
        body = await self._read(context)
        return await accept(self._parts, access, _ready(self._parts, access, body), PROTOBUF, "", project)

    async def _read(self, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        try:
            # Not from the iterator: it would hold the message, in a ring of references, until the interpreter looks for such.
            body = await self._turns.read(context.read)
        except Overloaded:
            self._parts.counters.add("spanledger_requests_refused_total", reason="overloaded")
            raise
        if not isinstance(body, bytes):
            raise BadRequest("The call holds no message.")
        return body


async def _ready(parts: Services, access: Access, body: bytes) -> bytes:
    admit_export(parts, access, len(body))
    return body


def _details(error: SpanledgerError) -> tuple[tuple[str, bytes], ...]:
    """The trailer that tells an exporter when to send again; without it RESOURCE_EXHAUSTED means never."""
    if error.retry_after_s is None:
        return ()
    code = _CODES.get(error.status, 13)
    return (("grpc-status-details-bin", otlp.status_message(code, error.detail, error.retry_after_s)),)

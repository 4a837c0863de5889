"""OTLP over gRPC: the export services of traces and logs, beside the HTTP API in the same process and on the same parts.

Messages stay bytes here and go the way that HTTP's take. The package grpcio is optional (`spanledger[grpc]`).
"""

import socket
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from spanledger_collector.api.exports import accept_logs, accept_traces, admit_export
from spanledger_collector.api.guard import project_of
from spanledger_collector.api.services import Services, project_named
from spanledger_collector.errors import CannotStart, NotAllowed, SpanledgerError
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
        limit = parts.settings.body_bytes_max
        self._server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", limit), ("grpc.so_reuseport", 0)], maximum_concurrent_rpcs=256
        )
        for signal, field, accept in (("trace", "rejectedSpans", accept_traces), ("logs", "rejectedLogRecords", accept_logs)):
            service = f"{otlp.PACKAGE}.{signal}.v1.{signal.capitalize()}Service"
            method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._method(accept, field))
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

    def _method(self, accept: Accept, field: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def export(body: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
            metadata = {str(name).lower(): value for name, value in context.invocation_metadata() or ()}
            try:
                access = self._parts.doorkeeper.access(str(metadata.get("authorization", "")))
                if not access.may("ingest"):
                    raise NotAllowed("This key may not do that; it needs the scope ingest.")
                wanted = metadata.get(PROJECT_HEADER)
                project = project_named(project_of(access, None if wanted is None else str(wanted)))
                rejected, message = await accept(self._parts, access, _ready(self._parts, access, body), PROTOBUF, "", project)
            except SpanledgerError as error:
                self._parts.counters.add("spanledger_requests_refused_total", reason=error.code)
                await context.abort(self._codes[_CODES.get(error.status, 13)], error.detail, _details(error))
            return otlp.export_response(field, rejected, message)

        return export


async def _ready(parts: Services, access: Access, body: bytes) -> bytes:
    admit_export(parts, access, len(body))
    return body


def _details(error: SpanledgerError) -> tuple[tuple[str, bytes], ...]:
    """The trailer that tells an exporter when to send again; without it RESOURCE_EXHAUSTED means never."""
    if error.retry_after_s is None:
        return ()
    code = _CODES.get(error.status, 13)
    return (("grpc-status-details-bin", otlp.status_message(code, error.detail, error.retry_after_s)),)

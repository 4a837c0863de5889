"""A collector that is played by a real HTTP server, and an SDK that starts from nothing in each test."""

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider

import spanledger
from spanledger import _guard
from spanledger._counters import COUNTERS
from spanledger.testing import captured_spans as captured_spans

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Collector:
    """What arrived, and what is answered: `replies` one by one, then 200."""

    url: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    arrived_at: list[float] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    decide: Callable[[str, bytes], Reply | None] = lambda path, body: None
    delay_s: float = 0.0

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        self.arrived_at.append(time.monotonic())
        self.requests.append((path, headers, body))
        if self.delay_s:
            time.sleep(self.delay_s)
        if self.replies:
            return self.replies.pop(0)
        return self.decide(path, body) or (200, {}, b"")

    def refuse(self, count: int) -> None:
        """Let the next request succeed but for `count` spans."""
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = count
        self.replies.append((200, {}, response.SerializeToString()))

    def exports(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(b) for path, _, b in self.requests if path.endswith("/v1/traces")]

    def spans(self) -> list[Any]:
        return [s for e in self.exports() for r in e.resource_spans for scope in r.scope_spans for s in scope.spans]

    def names(self) -> list[str]:
        return [span.name for span in self.spans()]

    def feedback(self) -> list[dict[str, Any]]:
        return [item for path, _, b in self.requests if path.endswith("/feedback") for item in json.loads(b)]


@pytest.fixture
def collector() -> Iterator[Collector]:
    state = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            status, headers, answer = state.answer(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_DELETE = do_POST

        def log_message(self, *args: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def fresh_sdk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SPANLEDGER_STRICT", "1")
    monkeypatch.setenv("SPANLEDGER_SPOOL", "off")
    for name in ("SPANLEDGER_ENDPOINT", "SPANLEDGER_API_KEY", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    spanledger.shutdown(0.1)
    COUNTERS.reset()
    _guard._next_log_at.clear()
    yield
    spanledger.shutdown(0.1)


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    made = TracerProvider(shutdown_on_exit=False)
    yield made
    made.shutdown()


@pytest.fixture
def sdk(collector: Collector, provider: TracerProvider) -> Collector:
    """The SDK, sending to the collector that is returned."""
    spanledger.init(app="shop", endpoint=collector.url, tracer_provider=provider)
    return collector

"""What an outage of the collector costs a host: time of its calls while nobody listens, and spans after twenty seconds of 503.

The bare side of the outage is OpenTelemetry's own SDK with its own exporter, as people run it.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile

from figures import Figure

OUTAGE_S = 20.0
_CALLS = """
import json, sys, time
import spanledger
url, spool, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
spanledger.init(app="bench", endpoint=url, spool=spool)
stamp, taken = time.perf_counter_ns, []
for n in range(count + 500):
    began = stamp()
    with spanledger.generation("gpt-4o", "openai", input=f"Where is parcel {n:07d}?") as g:
        g.record(output=f"Parcel {n:07d} is on its way.", input_tokens=812 + n % 97, output_tokens=64, finish_reason="stop")
    if n >= 500:
        taken.append(stamp() - began)
    time.sleep(0.0002)
taken.sort()
print(json.dumps([taken[len(taken) // 2], taken[len(taken) * 99 // 100]]))
"""
_LOAD = """
import sys, time
side, url, spool, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
if side == "ours":
    import spanledger
    provider = None
    spanledger.init(app="bench", endpoint=url, spool=spool)
    def once(n):
        with spanledger.generation("gpt-4o", "openai", input=f"call {n}"):
            pass
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url + "/v1/traces")))
    tracer = provider.get_tracer("bench")
    def once(n):
        with tracer.start_as_current_span(f"call {n}"):
            pass
began, n = time.monotonic(), 0
while time.monotonic() - began < seconds:
    once(n)
    n += 1
    time.sleep(0.003)
spanledger.flush(30) if provider is None else provider.force_flush(30_000)
print(n)
"""
_SINK = """
import http.server, sys, time
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
away_s, seen = float(sys.argv[1]), set()
began = time.monotonic()
class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.answer(200, str(len(seen)).encode())
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if time.monotonic() - began < away_s:
            self.answer(503, b"")
            return
        if self.headers.get("content-encoding") == "gzip":
            import gzip
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                seen.update(span.span_id for span in scope.spans)
        self.answer(200, b"")
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if status == 503:
            self.send_header("retry-after", "1")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def run(quick: bool) -> list[Figure]:
    """Measure; `quick` makes fewer calls."""
    return [_dead(quick), _outage()]


class _Sink:
    """A receiver in a process of its own, away for its first seconds."""

    def __init__(self, away_s: float) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", _SINK, str(away_s)], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def spans(self) -> int:
        import httpx

        return int(httpx.get(self.url).text)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def _run(program: str, *arguments: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANLEDGER_", "PYTEST_"))}
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, env=clean)
    return done.stdout


def _dead(quick: bool) -> Figure:
    rounds, count = (4, "3000") if quick else (10, "5000")
    with socket.socket() as closed, tempfile.TemporaryDirectory() as folder:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        sink = _Sink(0)
        pairs = []
        for number in range(rounds):
            urls = [sink.url, nobody]
            times = {url: json.loads(_run(_CALLS, url, f"{folder}/{number}{url[-5:]}", count)) for url in urls[:: (-1) ** number]}
            pairs.append((times[sink.url], times[nobody]))
        sink.stop()
    ratio = statistics.median(dead[1] / alive[1] for alive, dead in pairs)
    alive, dead = (statistics.median(pair[side][1] for pair in pairs) / 1_000 for side in (0, 1))
    return Figure(
        "a traced call while no collector listens, p99",
        "<= 1.5 x as with one",
        f"{ratio:.2f} x ({dead:.0f} µs against {alive:.0f} µs)",
        ratio <= 1.5,
        f"median of {rounds} rounds; what is not taken goes to the spool on disk",
    )


def _outage() -> Figure:
    lost = {}
    for side in ("ours", "theirs"):
        with tempfile.TemporaryDirectory() as folder:
            sink = _Sink(OUTAGE_S)
            made = int(_run(_LOAD, side, sink.url, folder, str(OUTAGE_S + 5)))
            lost[side] = (made - sink.spans(), made)
            sink.stop()
    ours, theirs = lost["ours"], lost["theirs"]
    return Figure(
        f"spans lost in {OUTAGE_S:.0f} s of 503",
        "0",
        f"{ours[0]:,} of {ours[1]:,}",
        ours[0] == 0,
        f"OpenTelemetry's own SDK and exporter: {theirs[0]:,} of {theirs[1]:,}",
    )

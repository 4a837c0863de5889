"""What the SDK costs its host, against the bare OpenTelemetry SDK that sets the same attributes.

Each round runs both sides one after the other, each in a fresh process, over distinct inputs; the rounds alternate which side
goes first. The bare side exports to nothing; ours has a queue that a thread empties, and that thread's work is not hidden: it
encodes and posts to a sink on loopback in another process.
"""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass

from tests.bench.figures import Figure

_IMPORT_OURS = "import spanledger"
_IMPORT_THEIRS = "import opentelemetry.sdk.trace, opentelemetry.exporter.otlp.proto.http.trace_exporter"

_PROGRAM = """
import gc, json, sys, time
side, count, warm, pace_s = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
words = [f"Where is parcel {n:07d} that I ordered on day {n % 365}, please?" for n in range(count + warm)]
replies = [f"Parcel {n:07d} is on its way and will arrive in {n % 9} days." for n in range(count + warm)]
stamp = time.perf_counter_ns
taken = []

if side == "ours":
    import spanledger
    spanledger.init(app="bench", endpoint=sys.argv[5])
    generation = spanledger.generation
    def once(n):
        with generation("gpt-4o", "openai", input=words[n]) as g:
            g.record(output=replies[n], input_tokens=812 + n % 97, output_tokens=64 + n % 31, finish_reason="stop")
else:
    import json as j
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    class Nothing(SpanExporter):
        def export(self, spans):
            return SpanExportResult.SUCCESS
    provider = TracerProvider(resource=Resource.create({"service.name": "bench"}))
    provider.add_span_processor(BatchSpanProcessor(Nothing(), max_queue_size=8192, schedule_delay_millis=1000))
    tracer = provider.get_tracer("bench")
    start, client = tracer.start_as_current_span, trace.SpanKind.CLIENT
    def once(n):
        with start("chat gpt-4o", kind=client, attributes={
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai",
            "gen_ai.input.messages": j.dumps([{"role": "user", "parts": [{"type": "text", "content": words[n]}]}]),
        }) as span:
            span.set_attributes({
                "gen_ai.usage.input_tokens": 812 + n % 97, "gen_ai.usage.output_tokens": 64 + n % 31,
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.output.messages":
                    j.dumps([{"role": "assistant", "parts": [{"type": "text", "content": replies[n]}]}]),
            })
for n in range(warm):
    once(n)
gc.collect()
for n in range(warm, warm + count):
    began = stamp()
    once(n)
    taken.append(stamp() - began)
    if pace_s:
        time.sleep(pace_s)
json.dump(taken, sys.stdout)
sys.stdout.flush()
if side == "ours":
    spanledger.flush(20)
    stats = spanledger.stats()
    sys.stderr.write(json.dumps({"sent": stats.spans_sent, "dropped": stats.spans_dropped}))
"""

_SINK = """
import http.server, sys
class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@dataclass(frozen=True, slots=True)
class _Cost:
    """Nanoseconds of one call."""

    p50: float
    p99: float


def run(quick: bool) -> list[Figure]:
    """Measure.

    Args:
        quick: Fewer calls and rounds.
    """
    return [*_call_figures(quick), _import_figure(quick)]


def _call_figures(quick: bool) -> list[Figure]:
    rounds, count = (5, 3_000) if quick else (15, 5_000)
    sink = subprocess.Popen([sys.executable, "-c", _SINK], stdout=subprocess.PIPE, text=True)
    try:
        assert sink.stdout is not None
        url = f"http://127.0.0.1:{int(sink.stdout.readline())}"
        ours: list[_Cost] = []
        theirs: list[_Cost] = []
        for index in range(rounds):
            sides = ["ours", "theirs"] if index % 2 else ["theirs", "ours"]
            for side in sides:
                (ours if side == "ours" else theirs).append(_measure(side, count, url))
    finally:
        sink.terminate()
        sink.wait()
    return [
        _ratio("p50", [c.p50 for c in ours], [c.p50 for c in theirs], 1.3, rounds, count),
        _ratio("p99", [c.p99 for c in ours], [c.p99 for c in theirs], 1.5, rounds, count),
    ]


def _measure(side: str, count: int, url: str) -> _Cost:
    # A call every 0.2 ms, so that the sending thread is awake during the measurement, as it is in a busy host.
    command = [sys.executable, "-c", _PROGRAM, side, str(count), "500", "0.0002", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=_clean_environment())
    if side == "ours":
        told = json.loads(done.stderr)
        if told["dropped"] or told["sent"] != count + 500:
            raise RuntimeError(f"the SDK did not deliver what it measured: {told}")
    taken = sorted(json.loads(done.stdout))
    return _Cost(taken[len(taken) // 2], taken[len(taken) * 99 // 100])


def _ratio(what: str, ours: list[float], theirs: list[float], limit: float, rounds: int, count: int) -> Figure:
    # Each round's two sides ran one after the other, so whatever else the machine did weighs on both.
    ratio = statistics.median(mine / bare for mine, bare in zip(ours, theirs, strict=True))
    mine, bare = statistics.median(ours), statistics.median(theirs)
    return Figure(
        f"SDK cost of one traced generation, {what}",
        f"<= {limit} x the bare OTel SDK",
        f"{ratio:.2f} x ({mine / 1_000:.1f} µs against {bare / 1_000:.1f} µs)",
        ratio <= limit,
        f"median ratio of {rounds} rounds of {count:,} distinct calls, a fresh process each; both write the messages as JSON",
    )


def _import_figure(quick: bool) -> Figure:
    rounds = 7 if quick else 21
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        for code, times in ((_IMPORT_OURS, ours), (_IMPORT_THEIRS, theirs)):
            times.append(_import_s(code))
    mine, bare = statistics.median(ours), statistics.median(theirs)
    return Figure(
        "import spanledger",
        "<= 1.2 x importing the OTel SDK and its exporter",
        f"{mine / bare:.2f} x ({mine * 1_000:.0f} ms against {bare * 1_000:.0f} ms)",
        mine / bare <= 1.2,
        f"medians of {rounds} fresh interpreters",
    )


def _import_s(code: str) -> float:
    program = f"import time; b = time.perf_counter(); {code}; print(time.perf_counter() - b)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=_clean_environment())
    return float(done.stdout)


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANLEDGER_", "PYTEST_"))}

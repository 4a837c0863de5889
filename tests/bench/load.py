"""Load for the ingest bench: believable OTLP requests, distinct in ids, texts and counts, and a client that costs little CPU.

Run as a program it is the client process: `python -m load PORT CONNECTIONS SECONDS SHAPE SEED`; it prints one JSON line.
"""

import asyncio
import json
import os
import random
import sys
import time
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

SPANS = 512
_TEXT = (
    "the ledger of every interaction shows what a model was asked and what it answered how sure it was how long it took what it "
    "cost and what its users thought of it so that a team can see and control its product in production every day"
)
_WORDS = _TEXT.split()
_MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1-mini", "gpt-5-mini")


def _attribute(key: str, value: str | int | float | bool) -> KeyValue:
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=key, value=AnyValue(double_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _messages(random_: random.Random, role: str, words: int) -> str:
    text = " ".join(random_.choice(_WORDS) for _ in range(words))
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def _model_call(span: object, random_: random.Random) -> None:
    model = random_.choice(_MODELS)
    given = random_.randint(200, 3_000)
    for key, value in (
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", model),
        ("gen_ai.response.model", model),
        ("gen_ai.response.id", f"chatcmpl-{random_.getrandbits(96):024x}"),
        ("gen_ai.request.temperature", 0.2),
        ("gen_ai.request.max_tokens", 1024),
        ("gen_ai.usage.input_tokens", given),
        ("gen_ai.usage.output_tokens", random_.randint(20, 400)),
        ("gen_ai.usage.cache_read.input_tokens", given // 2),
        ("gen_ai.response.time_to_first_chunk", round(random_.uniform(0.1, 0.9), 4)),
        ("user.id", f"u{random_.randint(1, 5_000)}"),
        ("session.id", f"s{random_.randint(1, 20_000)}"),
        ("spanledger.feature", random_.choice(("search", "answer", "summary", "triage"))),
        ("spanledger.prompt_version", random_.choice(("v1", "v2", "v3"))),
        ("server.address", "api.openai.com"),
        ("server.port", 443),
        ("gen_ai.input.messages", _messages(random_, "user", 90)),
        ("gen_ai.output.messages", _messages(random_, "assistant", 70)),
    ):
        span.attributes.append(_attribute(key, value))  # type: ignore[attr-defined]


@dataclass(slots=True)
class Body:
    """An encoded request and where its ids stand, so that each send has new ones."""

    data: bytearray
    trace_places: list[list[int]]
    span_places: list[int]

    def renew(self, random_: random.Random) -> bytes:
        """The body with new trace and span ids (parents keep pointing at their spans: they share a prefix with the trace)."""
        for places in self.trace_places:
            fresh = random_.randbytes(16)
            for place in places:
                self.data[place : place + 16] = fresh
        return bytes(self.data)


def make_body(seed: int, shape: str) -> Body:
    """One request of 512 spans.

    Args:
        seed: What makes it differ from others.
        shape: `single` (each span its own trace) or `five` (root, agent, retrieval and two model calls per trace).
    """
    random_ = random.Random(seed)
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    for key, value in (
        ("service.name", "bench-app"),
        ("service.version", "1.4.2"),
        ("deployment.environment.name", "prod"),
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.language", "python"),
    ):
        resource.resource.attributes.append(_attribute(key, value))
    scope = resource.scope_spans.add()
    scope.scope.name = "spanledger"
    now = time.time_ns() - 2_000_000_000
    trace_ids: list[bytes] = []
    for index in range(SPANS):
        span = scope.spans.add()
        step = index % 5 if shape == "five" else 0
        if step == 0:
            trace_ids.append(random_.randbytes(16))
            base = random_.randbytes(8)
        span.trace_id = trace_ids[-1]
        span.span_id = bytes([base[0] ^ (step + 1), *base[1:]])
        if step:
            span.parent_span_id = bytes([base[0] ^ (1 if step == 1 else 2), *base[1:]])
        span.start_time_unix_nano = now + index * 1_000 + step * 100_000
        span.end_time_unix_nano = span.start_time_unix_nano + 1_500_000_000 - step * 200_000
        span.status.code = 1
        if shape == "single" or step >= 3:
            span.name, span.kind = "chat gpt-4o", 3
            _model_call(span, random_)
        elif step == 0:
            span.name = "answer"
            span.attributes.extend(
                [_attribute("spanledger.interaction", "answer"), _attribute("spanledger.confidence.verbalized", 0.8)]
            )
        elif step == 1:
            span.name = "invoke_agent helper"
            span.attributes.append(_attribute("gen_ai.operation.name", "invoke_agent"))
        else:
            span.name = "retrieval kb"
            span.attributes.extend(
                [
                    _attribute("gen_ai.operation.name", "retrieval"),
                    _attribute("gen_ai.retrieval.documents", json.dumps([{"id": "d1", "content": "word " * 60, "score": 0.9}])),
                ]
            )
    data = bytearray(request.SerializeToString())
    places = []
    for trace_id in trace_ids:
        found, at = [], data.find(trace_id)
        while at >= 0:
            found.append(at)
            at = data.find(trace_id, at + 16)
        places.append(found)
    return Body(data, places, [])


async def _client(port: int, bodies: list[Body], deadline: float, random_: random.Random, waits: list[float]) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = 0
    while time.perf_counter() < deadline:
        body = random_.choice(bodies).renew(random_)
        head = (
            "POST /v1/traces HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-protobuf\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        started = time.perf_counter()
        writer.write(head.encode() + body)
        await writer.drain()
        status = await reader.readline()
        length = 0
        while (line := await reader.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if length:
            await reader.readexactly(length)
        if b" 200 " in status:
            sent += SPANS
            waits.append(time.perf_counter() - started)
        elif b" 503 " in status:
            await asyncio.sleep(0.05)
        else:
            raise RuntimeError(status.decode())
    writer.close()
    return sent


async def drive(port: int, connections: int, seconds: float, shape: str, seed: int) -> dict[str, float]:
    """Send from several connections for a while; spans acknowledged, spans per second, and waits in seconds."""
    bodies = [make_body(seed * 1_000 + index, shape) for index in range(24)]
    waits: list[float] = []
    random_ = random.Random(os.urandom(8))
    started = time.perf_counter()
    sent = await asyncio.gather(*(_client(port, bodies, started + seconds, random_, waits) for _ in range(connections)))
    took = time.perf_counter() - started
    waits.sort()
    return {
        "spans": sum(sent),
        "spans_per_s": sum(sent) / took,
        "p50_s": waits[len(waits) // 2],
        "p99_s": waits[int(len(waits) * 0.99)],
    }


if __name__ == "__main__":
    port, connections, seconds, shape, seed = sys.argv[1:6]
    print(json.dumps(asyncio.run(drive(int(port), int(connections), float(seconds), shape, int(seed)))))

"""OTLP requests for tests, built with the official protobuf classes, and the recorded payloads with their truth."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

DATA = Path(__file__).parent.parent / "data" / "otlp"
SECOND = 1_000_000_000


def any_value(value: Any) -> AnyValue:
    """A Python value as an `AnyValue`."""
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=attributes(value)))
        case None:
            return AnyValue()
        case _:
            return AnyValue(string_value=str(value))


def attributes(values: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in values.items()]


@dataclass
class S:
    """One span of a test: ids are small numbers, times are seconds after `at`."""

    span: int
    parent: int = 0
    name: str = "span"
    attrs: dict[str, Any] = field(default_factory=dict)
    start: float = 0.0
    end: float = 1.0
    status: int = 0
    message: str = ""
    trace: int = 1
    scope: str = "test.scope"
    events: Sequence[tuple[str, float, dict[str, Any]]] = ()


def trace_hex(number: int) -> str:
    return f"{number:032x}"


def span_hex(number: int) -> str:
    return f"{number:016x}"


def request(*spans: S, at: float | None = None, resource: dict[str, Any] | None = None) -> bytes:
    """An export request of spans; `at` is their time zero in seconds since 1970 (a minute ago by default)."""
    zero = int((time.time() - 60 if at is None else at) * SECOND)
    message = ExportTraceServiceRequest()
    outer = message.resource_spans.add()
    outer.resource.attributes.extend(attributes({"service.name": "test-app", **(resource or {})}))
    scopes: dict[str, Any] = {}
    for item in spans:
        if item.scope not in scopes:
            scopes[item.scope] = outer.scope_spans.add()
            scopes[item.scope].scope.name = item.scope
        span = scopes[item.scope].spans.add()
        span.trace_id = bytes.fromhex(trace_hex(item.trace))
        span.span_id = bytes.fromhex(span_hex(item.span))
        if item.parent:
            span.parent_span_id = bytes.fromhex(span_hex(item.parent))
        span.name = item.name
        span.start_time_unix_nano = zero + int(item.start * SECOND)
        span.end_time_unix_nano = zero + int(item.end * SECOND)
        span.attributes.extend(attributes(item.attrs))
        span.status.code = item.status
        span.status.message = item.message
        for name, offset, details in item.events:
            event = span.events.add(name=name, time_unix_nano=zero + int(offset * SECOND))
            event.attributes.extend(attributes(details))
    return message.SerializeToString()


def chat(model: str = "gpt-4o", given: int | None = 100, produced: int | None = 10, **more: Any) -> dict[str, Any]:
    """Attributes of a model call."""
    found: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
    }
    if given is not None:
        found["gen_ai.usage.input_tokens"] = given
    if produced is not None:
        found["gen_ai.usage.output_tokens"] = produced
    return found | {key.replace("__", "."): value for key, value in more.items()}


@dataclass(frozen=True)
class Recorded:
    """One recorded payload and what the provider really sent."""

    instrumentor: str
    scenario: str
    body: bytes
    logs: bytes | None
    truth: dict[str, Any]

    @property
    def calls(self) -> list[dict[str, Any]]:
        return list(self.truth["calls"])

    def __str__(self) -> str:
        return f"{self.instrumentor}-{self.scenario}"


def recorded(*instrumentors: str) -> Iterator[Recorded]:
    """Recorded payloads of some instrumentors (all when none is named)."""
    for path in sorted(DATA.glob("*/*.json")):
        if instrumentors and path.parent.name not in instrumentors:
            continue
        logs = path.with_suffix(".logs.pb")
        yield Recorded(
            path.parent.name,
            path.stem,
            path.with_suffix(".pb").read_bytes(),
            logs.read_bytes() if logs.exists() else None,
            json.loads(path.read_text()),
        )

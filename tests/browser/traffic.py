"""OTLP traffic of a small product, built from protobufs: what a real exporter would send, at times that a test chooses."""

import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spanledger_schema import semconv

BEACON = "beacon.invalid"
HOSTILE = f"![x](http://{BEACON}/a.png) <img src='http://{BEACON}/b.png'> [click](http://{BEACON}) # big"
FORMULA = "=HYPERLINK(1)"
MODELS = {"search": ("gpt-4o-mini", "openai"), "support": ("claude-sonnet-4-5", "anthropic"), "drafts": ("gpt-4o", "openai")}


def _value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))
    return AnyValue(string_value=str(value))


def attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    """Attributes of a span; None is left out."""
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items() if value is not None]


def _ns(at: datetime) -> int:
    return int(at.timestamp()) * 10**9 + at.microsecond * 1000


def span(
    trace: bytes, id: bytes, parent: bytes, name: str, start: datetime, seconds: float, values: Mapping[str, Any], error: str = ""
) -> Span:
    """A finished span."""
    status = Status(code=Status.STATUS_CODE_ERROR, message=error) if error else Status()
    return Span(
        trace_id=trace,
        span_id=id,
        parent_span_id=parent,
        name=name,
        kind=Span.SPAN_KIND_CLIENT,
        status=status,
        start_time_unix_nano=_ns(start),
        end_time_unix_nano=_ns(start + timedelta(seconds=seconds)),
        attributes=attributes(values),
    )


def interaction(
    rng: random.Random, at: datetime, feature: str, *, answer: str = "It arrives on Monday.", failed: bool = False, **over: Any
) -> list[Span]:
    """The spans of one interaction: itself, a retrieval, sometimes a failing tool, and one model call."""
    model, provider = MODELS.get(feature, ("gpt-4o-mini", "openai"))
    trace, ids = rng.randbytes(16), [rng.randbytes(8) for _ in range(4)]
    seconds = rng.lognormvariate(0.3, 0.5)
    sent = rng.randint(300, 4000)
    shared = {
        semconv.FEATURE: feature,
        semconv.ENVIRONMENT: "prod",
        semconv.USER_ID: f"u{rng.randint(1, 60)}",
        semconv.SESSION_ID: f"s{rng.randint(1, 90)}",
    }
    root = {
        f"{semconv.TAG_PREFIX}tier": "pro" if sent % 2 else "free",
        semconv.INTERACTION: f"{feature} answer",
        f"{semconv.CONFIDENCE_PREFIX}verbalized": min(1.0, max(0.0, rng.gauss(0.8, 0.1))),
        **shared,
    }
    question = f'[{{"role":"user","parts":[{{"type":"text","content":"Where is order {rng.randint(1000, 9999)}?"}}]}}]'
    call = {
        semconv.OPERATION: semconv.OP_CHAT,
        semconv.PROVIDER: provider,
        semconv.REQUEST_MODEL: model,
        semconv.RESPONSE_MODEL: model,
        semconv.INPUT_TOKENS: sent,
        semconv.OUTPUT_TOKENS: rng.randint(20, 600),
        semconv.CACHE_READ_TOKENS: sent // 3,
        semconv.FINISH_REASONS: ["stop"],
        semconv.INPUT_MESSAGES: question,
        semconv.OUTPUT_MESSAGES: f'[{{"role":"assistant","parts":[{{"type":"text","content":{_json(answer)}}}]}}]',
        **over,
    }
    spans = [
        span(trace, ids[0], b"", f"{feature} answer", at, seconds, root | {semconv.FEATURE: feature}),
        span(
            trace,
            ids[1],
            ids[0],
            "kb.search",
            at,
            seconds * 0.2,
            {semconv.OPERATION: semconv.OP_RETRIEVAL, semconv.DATA_SOURCE_ID: "kb"},
        ),
        span(
            trace,
            ids[3],
            ids[0],
            f"chat {model}",
            at + timedelta(seconds=seconds * 0.4),
            seconds * 0.55,
            call | ({semconv.ERROR_TYPE: "timeout"} if failed else {}),
            "timed out" if failed else "",
        ),
    ]
    if rng.random() < 0.3:
        spans.append(
            span(
                trace,
                ids[2],
                ids[0],
                "crm.lookup",
                at + timedelta(seconds=seconds * 0.2),
                seconds * 0.15,
                {semconv.OPERATION: semconv.OP_EXECUTE_TOOL, semconv.TOOL_NAME: "crm.lookup"},
            )
        )
    return spans


def _json(text: str) -> str:
    import json

    return json.dumps(text)


def requests(spans: list[Span], release: str, size: int = 400) -> Iterator[bytes]:
    """Bodies for `POST /v1/traces`."""
    for begin in range(0, len(spans), size):
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add()
        group.resource.attributes.extend(
            attributes({semconv.SERVICE_NAME: "helpdesk", semconv.SERVICE_VERSION: release, semconv.ENVIRONMENT: "prod"})
        )
        scope = group.scope_spans.add()
        scope.scope.name = "helpdesk.instrumentation"
        scope.spans.extend(spans[begin : begin + size])
        yield request.SerializeToString()

"""From queued things to request bodies, on the sending thread.

The OTLP encoder is imported here and lazily: it pulls in protobuf, and a program that imports Spanledger should not
pay for that before it has something to send.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from spanledger._counters import COUNTERS
from spanledger._privacy import Privacy

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

SCOPE: Final = "spanledger"
_SPAN_CHARS: Final = 512
"""What a span weighs in the queue besides its strings."""

FeedbackItem = Mapping[str, object]


def span_chars(span: "ReadableSpan") -> int:
    """About how many characters a span holds in memory. Runs in the host's call, so it looks at strings only."""
    total = _SPAN_CHARS + _attribute_chars(span.attributes)
    for event in span.events:
        total += _attribute_chars(event.attributes)
    return total


def _attribute_chars(attributes: Any) -> int:
    if attributes is None:
        return 0
    total = 0
    # `.copy()` is one C call; iterating the proxy would be a Python call per attribute.
    for value in attributes.copy().values():
        if type(value) is str:
            total += len(value)
    return total


def feedback_chars(item: FeedbackItem) -> int:
    """About how many characters a judgement holds in memory."""
    return 256 + sum(len(value) for value in item.values() if isinstance(value, str))


def encode_traces(
    spans: "Sequence[ReadableSpan]", resource: Mapping[str, str | None], privacy: Privacy, deadline: float
) -> "tuple[bytes, Sequence[ReadableSpan]]":
    """Encode spans as an OTLP export request.

    Args:
        spans: What to send.
        resource: Resource attributes to set over the provider's own; None removes one.
        privacy: What may leave the process.
        deadline: When to stop waiting for redaction hooks, by `time.monotonic`.

    Returns:
        Protobuf bytes, and the spans they hold: one that cannot be encoded is left out rather than costing its
        neighbours.
    """
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    try:
        request, kept = encode_spans(spans), spans
    except Exception:  # noqa: BLE001 - an attribute of any instrumentation may be unencodable in any way
        kept = [span for span in spans if _is_encodable(encode_spans, span)]
        request = encode_spans(kept)
    _set_resource(request, {**resource, **COUNTERS.report()})
    privacy.clean(request, SCOPE, deadline)
    return request.SerializeToString(), kept


def _is_encodable(encode_spans: Any, span: "ReadableSpan") -> bool:
    try:
        encode_spans([span])
    except Exception:  # noqa: BLE001 - see encode_traces
        return False
    return True


def _set_resource(request: Any, resource: Mapping[str, str | int | None]) -> None:
    for resource_spans in request.resource_spans:
        attributes = resource_spans.resource.attributes
        by_key = {item.key: item for item in attributes}
        for key, value in resource.items():
            item = by_key.get(key)
            if value is None:
                if item is not None:
                    attributes.remove(item)
            else:
                target = item if item is not None else attributes.add(key=key)
                if isinstance(value, int):
                    target.value.int_value = value
                else:
                    target.value.string_value = value


def split_traces(body: bytes) -> list[tuple[int, bytes]]:
    """An export request as two with half of the spans each, and their numbers."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    halves: list[tuple[int, bytes]] = []
    for half in (0, 1):
        request = ExportTraceServiceRequest.FromString(body)
        index = kept = 0
        for resource_spans in request.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                spans = [span for place, span in enumerate(scope_spans.spans, index) if place % 2 == half]
                index += len(scope_spans.spans)
                kept += len(spans)
                copies = [type(span).FromString(span.SerializeToString()) for span in spans]
                del scope_spans.spans[:]
                scope_spans.spans.extend(copies)
        halves.append((kept, request.SerializeToString()))
    return halves


def split_feedback(body: bytes) -> list[tuple[int, bytes]]:
    """A list of judgements as two halves, and their numbers."""
    items = json.loads(body)
    middle = len(items) // 2
    return [(len(half), json.dumps(half, ensure_ascii=False).encode()) for half in (items[:middle], items[middle:])]


def count_rejected_spans(body: bytes) -> int:
    """How many spans a 200 says were refused (`partial_success`)."""
    if not body:
        return 0
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    try:
        return int(ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans)
    except Exception:  # noqa: BLE001 - an unreadable body of a 200 does not make the delivery a failure
        return 0


def encode_feedback(items: Sequence[FeedbackItem], privacy: Privacy, deadline: float) -> bytes:
    """A JSON list for `POST /api/v1/feedback`; what people wrote is redacted."""
    return json.dumps([_cleaned(item, privacy, deadline) for item in items], ensure_ascii=False).encode("utf-8", "replace")


def _cleaned(item: FeedbackItem, privacy: Privacy, deadline: float) -> FeedbackItem:
    cleaned = dict(item)
    for key in ("comment", "value"):
        text = cleaned.get(key)
        if isinstance(text, str):
            kept = privacy.clean_text(text, deadline)
            if kept is not None:
                cleaned[key] = kept
            elif key == "comment":
                del cleaned[key]
            else:
                cleaned[key] = "[redacted]"
    return cleaned

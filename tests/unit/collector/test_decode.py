"""Decoding: the fast way reads exactly what the official classes read, and damage costs only what it touches."""

import contextlib

import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from otlp_kit import S, any_value, attributes, recorded, request

from spanledger_collector.errors import BadRequest, PayloadTooLarge, UnsupportedMedia
from spanledger_collector.ingest import otlp, otlp_json
from spanledger_collector.ingest.intake import decompress

VALUES = st.recursive(
    st.text(max_size=300) | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def plain(body: bytes) -> list[tuple[object, ...]]:
    """What the official classes say."""
    message = ExportTraceServiceRequest.FromString(body)
    return [
        (
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.name,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            {item.key: otlp.any_value(item.value) for item in span.attributes},
            [(event.name, event.time_unix_nano) for event in span.events],
            span.status.code,
        )
        for outer in message.resource_spans
        for scope in outer.scope_spans
        for span in scope.spans
    ]


def decoded(found: otlp.Decoded) -> list[tuple[object, ...]]:
    return [
        (
            span.trace_id,
            span.span_id,
            span.parent_span_id,
            span.name,
            span.start_ns,
            span.end_ns,
            span.attributes,
            [(name, at) for name, at, _ in span.events],
            span.status_code,
        )
        for group in found.groups
        for span in group.spans
    ]


def _text(span: tuple[object, ...]) -> str:
    return repr([sorted(part.items()) if isinstance(part, dict) else part for part in span])


def test_recorded_payloads_read_as_the_official_classes_read_them() -> None:
    decoder = otlp.Decoder()
    count = 0
    for payload in recorded():
        # By their text: one instrumentation states NaN tokens, and NaN is equal to nothing.
        assert list(map(_text, decoded(decoder.spans(payload.body)))) == list(map(_text, plain(payload.body))), str(payload)
        count += 1
    assert count > 80


@given(st.text(max_size=200), VALUES)
def test_any_attribute_reads_as_protobuf_reads_it(key: str, value: object) -> None:
    raw = KeyValue(key=key, value=any_value(value)).SerializeToString()
    official = KeyValue.FromString(raw)
    assert otlp.parse_key_value(raw) == (official.key, otlp.any_value(official.value))


@given(st.binary(max_size=60))
def test_no_bytes_trip_the_attribute_reader_up(raw: bytes) -> None:
    key, _ = otlp.parse_key_value(raw)
    assert isinstance(key, str)


@given(st.binary(max_size=300))
def test_any_body_is_read_or_refused_in_words(body: bytes) -> None:
    with contextlib.suppress(BadRequest):
        otlp.Decoder().spans(body)


def test_json_says_the_same_as_protobuf() -> None:
    for payload in recorded("otel-genai-openai-default", "langfuse-openai"):
        message = ExportTraceServiceRequest.FromString(payload.body)
        document = MessageToDict(message)
        for outer in document["resourceSpans"]:
            for scope in outer["scopeSpans"]:
                for span, original in zip(scope["spans"], message.resource_spans[0].scope_spans[0].spans, strict=False):
                    span["traceId"], span["spanId"] = original.trace_id.hex(), original.span_id.hex()
                    span["parentSpanId"] = original.parent_span_id.hex()
                    span["kind"], span["status"] = original.kind, {"code": original.status.code}
        assert decoded(otlp_json.decode_spans(orjson.dumps(document), 1_000)) == plain(payload.body), str(payload)


def test_a_damaged_span_costs_only_itself() -> None:
    good, bad = request(S(1, name="good")), request(S(2, name="marker-of-the-bad-one"))
    # Field 5 (name) claims to be longer than the span: the span cannot be parsed, its neighbours can.
    broken = bad.replace(b"\x2a\x15marker-of-the-bad-one", b"\x2a\x7fmarker-of-the-bad-one")
    found = otlp.Decoder().spans(good + broken)
    assert [span.name for group in found.groups for span in group.spans] == ["good"]
    assert found.rejected == {"malformed_span": 1}


def test_spans_without_usable_ids_are_refused_and_named() -> None:
    message = ExportTraceServiceRequest.FromString(request(S(1), S(2), S(3)))
    spans = message.resource_spans[0].scope_spans[0].spans
    spans[0].trace_id = b"\0" * 16
    spans[1].span_id = b"short"
    found = otlp.Decoder().spans(message.SerializeToString())
    assert found.count == 1
    assert found.rejected == {"invalid_id": 2}


def test_an_unreadable_attribute_costs_itself() -> None:
    item = KeyValue(key="k", value=any_value("x" * 10)).SerializeToString()
    invalid_utf8 = item.replace(b"x" * 10, b"\xff" * 10)
    assert otlp.parse_key_value(invalid_utf8) == ("spanledger.unreadable_attribute", True)


def test_limits_hold_before_anything_is_built() -> None:
    with pytest.raises(PayloadTooLarge, match="smaller batches"):
        otlp.Decoder(spans_max=2).spans(request(S(1), S(2), S(3)))


def test_compressed_bodies_cannot_grow_past_the_limit() -> None:
    import gzip

    bomb = gzip.compress(b"\0" * 5_000_000)
    with pytest.raises(PayloadTooLarge):
        decompress(bomb, "gzip", 1_000_000)
    assert decompress(gzip.compress(b"abc"), "gzip", 10) == b"abc"
    with pytest.raises(BadRequest, match="cut off"):
        decompress(gzip.compress(b"abc" * 100)[:-9], "gzip", 1_000)
    with pytest.raises(BadRequest, match="not valid gzip"):
        decompress(b"plain", "gzip", 1_000)
    with pytest.raises(UnsupportedMedia):
        decompress(b"x", "br", 10)


def test_the_memory_of_attributes_is_bounded() -> None:
    memo = otlp.Memo()
    for number in range(60_000):
        raw = attributes({f"k{number % 50}": f"v{number}"})[0].SerializeToString()
        assert memo[raw] == (f"k{number % 50}", f"v{number}")
    assert len(memo) <= 50_000

"""Whatever stands under the names that instrumentations use: nothing raises, and nothing absurd is counted."""

import base64
import json
import math
import time
from typing import Any

from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otlp_kit import S, recorded, request, span_hex, trace_hex

from spanledger_collector.ingest.decoded import Decoded, DecodedSpan, LogRecord, ScopeSpans
from spanledger_collector.ingest.dialects import DIALECTS
from spanledger_collector.ingest.evaluations import from_span
from spanledger_collector.ingest.logs import log_parcel
from spanledger_collector.ingest.normalize import normalise
from spanledger_collector.ingest.otlp import Decoder
from spanledger_collector.ingest.otlp_json import decode_spans
from spanledger_collector.query.messages import to_documents, to_messages
from spanledger_collector.settle.rules import settle
from spanledger_collector.store import arrow

NOW = time.time_ns()
MOST = 4_294_967_295
MARKS = sorted({mark for dialect in DIALECTS for mark in dialect.MARKS})
SCOPES = [*sorted({scope for dialect in DIALECTS for scope in dialect.SCOPES}), "spanledger", "", "openinference.anthropic"]


def _seen() -> tuple[list[str], list[str], list[Any], list[tuple[str, DecodedSpan]]]:
    """Every attribute, every event, many values and many spans that recorded instrumentations send."""
    keys: dict[str, None] = dict.fromkeys(MARKS)
    events: dict[str, None] = {}
    values: list[Any] = []
    spans: dict[object, tuple[str, DecodedSpan]] = {}
    for payload in recorded():
        for group in Decoder().spans(payload.body).groups:
            for span in group.spans:
                keys.update(dict.fromkeys(span.attributes))
                spans.setdefault((group.scope, tuple(span.attributes)[:8]), (group.scope, span))
                events.update({name: None for name, _, _ in span.events})
                values += [value for value in span.attributes.values() if not isinstance(value, str) or len(value) < 600]
    return list(keys), list(events), values[:: max(1, len(values) // 400)], list(spans.values())


KEYS, EVENTS, VALUES, SPANS = _seen()
_NAMES_IN_ANSWERS = ["role", "content", "parts", "type", "message", "usage", "input_tokens", "prompt_tokens", "choices", "output"]
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([0, 1, -1, MOST, MOST + 1, 2**53, "12", "-3", "1e9", "٣", "True", "NaN", "", "\x00", "{", "[[", '"'])
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=8)
    | st.binary(max_size=4)
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_NAMES_IN_ANSWERS),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
_ANY = _TREES | _TREES.map(lambda value: json.dumps(value, default=str)) | _TREES.map(repr) | st.sampled_from(VALUES)
_BAGS = st.dictionaries(st.sampled_from(KEYS) | st.sampled_from(MARKS), _ANY, max_size=12)
_HOSTILE = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def _span(attributes: dict[str, Any], events: list[tuple[str, int, dict[str, Any]]], name: str, status: int) -> DecodedSpan:
    span = DecodedSpan()
    span.trace_id, span.span_id, span.parent_span_id = "1" * 32, "2" * 16, ""
    span.name, span.otel_kind, span.status_code, span.status_message = name, 3, status, ""
    span.start_ns, span.end_ns, span.digest = NOW - 10**9, NOW, 7
    span.attributes, span.events = attributes, events
    return span


@_HOSTILE
@given(
    bag=_BAGS,
    events=st.lists(st.tuples(st.sampled_from(EVENTS), st.sampled_from([0, NOW, 2**64 - 1]), _BAGS), max_size=2),
    scope=st.sampled_from(SCOPES),
    name=st.sampled_from(["chat gpt-4o", "span", "litellm_request", "call_llm", "streaming response from x", "running tool"]),
    status=st.sampled_from([0, 1, 2]),
)
def test_no_attribute_raises_or_is_billed_as_nonsense(
    bag: dict[str, Any], events: list[Any], scope: str, name: str, status: int
) -> None:
    _check(_span(bag, events, name, status), scope)


@_HOSTILE
@given(seen=st.sampled_from(SPANS), data=st.data())
def test_no_damaged_span_of_an_instrumentation_raises_or_is_billed_as_nonsense(
    seen: tuple[str, DecodedSpan], data: st.DataObject
) -> None:
    scope, whole = seen
    damage = data.draw(st.dictionaries(st.sampled_from(list(whole.attributes) or KEYS), _ANY, min_size=1, max_size=4))
    _check(_span({**whole.attributes, **damage}, whole.events, whole.name, whole.status_code), scope)


def _check(span: DecodedSpan, scope: str) -> None:
    row, content = normalise(ScopeSpans({}, scope, "", [span]), span, "p", NOW)
    assert row.dialect != "unreadable", "one damaged attribute must not cost the whole span"
    counts = (
        row.input_tokens,
        row.output_tokens,
        row.cache_read_tokens,
        row.cache_write_tokens,
        row.cache_write_1h_tokens,
        row.reasoning_tokens,
        *row.other_usage.values(),
    )
    assert all(number is None or (type(number) is int and 0 <= number <= MOST) for number in counts)
    assert row.ttft_ns is None or 0 <= row.ttft_ns < 10**18
    assert row.reported_cost_usd is None or 0 <= row.reported_cost_usd < 10**18
    assert row.duration_ns >= 0
    arrow.span_table([row])
    settled = settle([row])
    for call in settled.calls:
        assert call.cost_usd is None or 0 <= call.cost_usd < 10**20
    if content is not None:
        arrow.content_table([content])
        for words, role in ((content[5], "user"), (content[6], "assistant"), (content[8], "user")):
            json.dumps(to_messages(words, role), allow_nan=False)
        json.dumps(to_documents(content[9]), allow_nan=False)
    list(from_span(span, "p"))


@_HOSTILE
@given(
    bodies=st.lists(
        st.tuples(
            st.sampled_from(["gen_ai.choice", "gen_ai.user.message", "gen_ai.client.inference.operation.details", "other"]),
            _ANY,
            _BAGS,
        ),
        max_size=3,
    )
)
def test_no_log_record_raises(bodies: list[tuple[str, Any, dict[str, Any]]]) -> None:
    records = [LogRecord("1" * 32, "2" * 16, NOW, event, body, attributes) for event, body, attributes in bodies]
    assert log_parcel(records, "p", NOW).count == len(records)


def test_counts_at_the_limit_stay_within_it() -> None:
    """What excludes its parts is not added up beyond what can be stored."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": MOST,
        "gen_ai.usage.output_tokens": MOST,
        "gen_ai.provider.name": "anthropic",
        "gen_ai.usage.cache_read.input_tokens": MOST,
        "gen_ai.usage.cache_creation.input_tokens": MOST,
        "gen_ai.usage.reasoning_tokens": MOST,
    }
    for scope in ("openlit", ""):
        span = _span(attributes, [], "chat", 0)
        row, _ = normalise(ScopeSpans({}, scope, "", [span]), span, "p", NOW)
        arrow.span_table([row])
        assert row.input_tokens == MOST
        assert not any(math.isnan(number) for number in (row.input_tokens, row.output_tokens or 0))


def test_a_failed_call_that_says_only_its_name_is_a_call() -> None:
    scope = "openlit.instrumentation.anthropic"
    body = request(S(1, name="chat claude-sonnet-4-5", scope=scope, status=2, message="RateLimitError: 429"))
    (group,) = Decoder().spans(body).groups
    group.spans[0].otel_kind = 3
    row, _ = normalise(group, group.spans[0], "p", NOW)
    assert (row.kind, row.request_model, row.provider, row.error_class) == (
        "model",
        "claude-sonnet-4-5",
        "anthropic",
        "rate_limited",
    )
    assert (row.trace_id, row.span_id) == (trace_hex(1), span_hex(1))


def _read(scope: str, attributes: dict[str, Any], name: str = "chat", events: list[Any] | None = None, kind: int = 3) -> Any:
    span = _span(attributes, events or [], name, 0)
    span.otel_kind = kind
    return normalise(ScopeSpans({}, scope, "", [span]), span, "p", NOW)


def test_numbers_as_text_and_reasons_as_json_are_read() -> None:
    """Micrometer, as Spring AI uses it, makes text of everything."""
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.finish_reasons": '["STOP"]',
        "gen_ai.usage.input_tokens": "145",
        "gen_ai.usage.output_tokens": "53",
    }
    row, _ = _read("org.springframework.boot", said)
    assert (row.kind, row.input_tokens, row.output_tokens, row.finish_reason) == ("model", 145, 53, "stop")
    framework, _ = _read("org.springframework.boot", {"gen_ai.operation.name": "framework", "gen_ai.system": "spring_ai"})
    assert framework.kind == "chain"


def test_a_model_server_s_own_span_is_a_call() -> None:
    said = {
        "gen_ai.response.model": "Qwen/Qwen3-8B",
        "gen_ai.usage.prompt_tokens": 145,
        "gen_ai.usage.completion_tokens": 53,
        "gen_ai.latency.time_to_first_token": 0.25,
    }
    row, _ = _read("vllm.llm_engine", said, "llm_request", kind=2)
    assert (row.kind, row.input_tokens, row.output_tokens, row.ttft_ns) == ("model", 145, 53, 250_000_000)


def test_messages_in_one_attribute_of_an_event_are_read() -> None:
    """As Azure's clients write them."""
    said = {"gen_ai.operation.name": "chat", "gen_ai.system": "az.ai.inference", "gen_ai.request.model": "gpt-4o"}
    answer = {"message": {"content": "It lies there."}, "finish_reason": "stop", "index": 0}
    events = [
        ("gen_ai.user.message", NOW, {"gen_ai.event.content": '{"role": "user", "content": "Where?"}'}),
        ("gen_ai.choice", NOW, {"gen_ai.event.content": json.dumps(answer)}),
    ]
    row, content = _read("azure.ai.inference", said, events=events)
    assert content is not None
    assert [message["parts"][0]["text"] for message in to_messages(content[5], "user")] == ["Where?"]
    assert [message["parts"][0]["text"] for message in to_messages(content[6], "assistant")] == ["It lies there."]
    assert (row.finish_reason, row.provider) == ("stop", "azure.ai.inference")


def test_content_under_the_names_of_error_trackers_is_read() -> None:
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.messages": '[{"role": "user", "content": "Where?"}]',
        "gen_ai.response.text": "It lies there.",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.input_tokens.cached": 60,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.output_tokens.reasoning": 10,
    }
    row, content = _read("sentry", said)
    assert (row.input_tokens, row.cache_read_tokens, row.output_tokens, row.reasoning_tokens) == (100, 60, 30, 10)
    assert content is not None
    assert content[6] == "It lies there."
    assert not {"gen_ai.request.messages", "gen_ai.response.text"} & row.attributes.keys()


def test_both_encodings_of_a_payload_are_read_alike() -> None:
    def with_hex_ids(node: Any) -> Any:
        if isinstance(node, dict):
            ids = ("traceId", "spanId", "parentSpanId")
            return {key: base64.b64decode(value).hex() if key in ids else with_hex_ids(value) for key, value in node.items()}
        return [with_hex_ids(item) for item in node] if isinstance(node, list) else node

    def read(decoded: Decoded) -> dict[str, Any]:
        found = {}
        for group in decoded.groups:
            for span in group.spans:
                row, content = normalise(group, span, "p", NOW)
                found[span.span_id] = row._replace(version=0), content and content[:-1]
        return found

    for payload in recorded():
        message = json_format.MessageToDict(ExportTraceServiceRequest.FromString(payload.body), use_integers_for_enums=True)
        body = json.dumps(with_hex_ids(message)).encode()
        assert read(decode_spans(body, 100_000)) == read(Decoder().spans(payload.body)), str(payload)


def test_what_a_processor_writes_on_every_span_does_not_claim_it() -> None:
    said = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o",
        "llm.token_count.prompt": 145,
        "llm.token_count.completion": 53,
        "langfuse.internal.is_app_root": True,
        "langfuse.trace.name": "answer",
        "traceloop.workflow.name": "answer",
    }
    row, _ = _read("openinference.instrumentation.openai", said)
    assert (row.dialect, row.kind, row.input_tokens) == ("openinference", "model", 145)


def test_a_slip_of_the_instrumentation_after_the_answer_is_no_error_of_the_call() -> None:
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "groq",
        "gen_ai.request.model": "llama-3.3-70b-versatile",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["tool_calls"],
        "error.type": "AttributeError",
    }
    for attributes, is_failed in ((said, False), ({**said, "error.type": "RateLimitError"}, True)):
        span = _span(attributes, [], "chat", 2)
        row, _ = normalise(ScopeSpans({}, "openlit.instrumentation.groq", "", [span]), span, "p", NOW)
        assert (row.status_code == 2, bool(row.error_class)) == (is_failed, is_failed)


def test_a_current_and_an_older_name_of_counts_may_stand_side_by_side() -> None:
    row, _ = _read(
        "mistralai_sdk_tracer", {"gen_ai.usage.prompt_tokens": 145, "gen_ai.usage.output_tokens": 53}, "chat_completion"
    )
    assert (row.kind, row.input_tokens, row.output_tokens) == ("model", 145, 53)


def test_what_excludes_cached_tokens_and_names_none_is_partial() -> None:
    usage = {"gen_ai.usage.input_tokens": 107, "gen_ai.usage.output_tokens": 61, "gen_ai.operation.name": "chat"}
    claude = {**usage, "gen_ai.request.model": "anthropic.claude-sonnet-4-5-v1:0", "rpc.method": "InvokeModel"}
    botocore = "opentelemetry.instrumentation.botocore.bedrock-runtime"
    llama = {**claude, "gen_ai.request.model": "meta.llama3-70b-instruct-v1:0"}
    named = {**claude, "gen_ai.usage.cache_read.input_tokens": 0}
    converse = {**claude, "rpc.method": "Converse"}
    qualities = [_read(botocore, attributes)[0].usage_quality for attributes in (claude, llama, named, converse)]
    assert qualities == ["partial", "exact", "exact", "exact"]
    langtrace = {**usage, "gen_ai.system": "anthropic", "langtrace.service.name": "Anthropic"}
    assert _read("langtrace_python_sdk.instrumentation.anthropic", langtrace)[0].usage_quality == "partial"


def test_genkit_s_thoughts_are_part_of_the_output() -> None:
    """Its Gemini plugin leaves them out of the output, and says so by the total only."""
    usage = {"inputTokens": 211, "outputTokens": 85, "thoughtsTokens": 448, "totalTokens": 744, "cachedContentTokens": 100}
    message = {"role": "model", "content": [{"reasoning": "Hm."}, {"toolRequest": {"name": "f", "ref": "1", "input": {"a": 1}}}]}
    said = {
        "genkit:type": "action",
        "genkit:metadata:subtype": "model",
        "genkit:name": "googleai/gemini-2.5-flash",
        "genkit:input": json.dumps(
            {"messages": [{"role": "user", "content": [{"text": "Why?"}, {"media": {"url": "https://a/b"}}]}]}
        ),
        "genkit:output": json.dumps({"message": message, "finishReason": "stop", "usage": usage}),
    }
    row, content = _read("genkit-tracer", said)
    assert (row.input_tokens, row.output_tokens, row.reasoning_tokens, row.cache_read_tokens) == (211, 533, 448, 100)
    assert (row.request_model, row.provider, row.finish_reason) == ("gemini-2.5-flash", "gcp.gemini", "stop")
    assert [part["type"] for part in to_messages(content[6], "assistant")[0]["parts"]] == ["reasoning", "tool_call"]
    assert to_messages(content[5], "user")[0]["parts"][0]["text"] == "Why?"

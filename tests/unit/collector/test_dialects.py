"""What instrumentations really sent, read against what the provider really sent (never against our own reading)."""

from typing import Any

import pytest
from otlp_kit import Recorded, recorded

from spanledger_collector.ingest.classify import finish_reason
from spanledger_collector.ingest.normalize import normalise
from spanledger_collector.ingest.otlp import Decoder
from spanledger_collector.query.messages import to_messages
from spanledger_collector.settle.rules import settle
from spanledger_schema.spans import SpanRow

PAYLOADS = list(recorded())
KNOWABLE = [payload for payload in PAYLOADS if not payload.truth["is_error"] and payload.truth["usage_sent_by_provider"]]
SILENT_ABOUT_PARTS = {"otel-openai-v2-legacy-events", "openlit-anthropic-messages_thinking"}
"""No attribute holds their cached or reasoning counts."""
SILENT_ABOUT_FINISH = {"otel-openai-v2-legacy-events-chat_stream", "logfire-openai-chat_stream"}
"""No attribute holds the finish reason of these streams."""


def rows_of(payload: Recorded) -> tuple[list[SpanRow], dict[str, Any]]:
    rows, contents = [], {}
    for group in Decoder().spans(payload.body).groups:
        for span in group.spans:
            row, content = normalise(group, span, "p", span.start_ns + 1_000_000_000)
            rows.append(row)
            if content is not None:
                contents[row.span_id] = content
    return rows, contents


def calls_of(payload: Recorded) -> list[Any]:
    rows, _ = rows_of(payload)
    by_trace: dict[str, list[SpanRow]] = {}
    for row in rows:
        by_trace.setdefault(row.trace_id, []).append(row)
    return [call for trace in by_trace.values() for call in settle(trace).calls if call.kind in ("model", "embedding")]


@pytest.mark.parametrize("payload", KNOWABLE, ids=str)
def test_every_token_is_counted_once(payload: Recorded) -> None:
    calls = calls_of(payload)
    counted_in = sum(
        (call.uncached_input_tokens or 0)
        + (call.cache_read_tokens or 0)
        + (call.cache_write_5m_tokens or 0)
        + (call.cache_write_1h_tokens or 0)
        for call in calls
    )
    counted_out = sum((call.visible_output_tokens or 0) + (call.reasoning_tokens or 0) for call in calls)
    assert counted_in == sum(call["input_tokens_total"] for call in payload.calls)
    assert counted_out == sum(call["output_tokens_total"] for call in payload.calls)


@pytest.mark.parametrize("payload", KNOWABLE, ids=str)
def test_every_call_is_counted_once(payload: Recorded) -> None:
    assert len(calls_of(payload)) == len(payload.calls)


@pytest.mark.parametrize("payload", [p for p in KNOWABLE if not {p.instrumentor, str(p)} & SILENT_ABOUT_PARTS], ids=str)
def test_cached_and_reasoning_tokens_are_known_where_they_were_sent(payload: Recorded) -> None:
    calls = calls_of(payload)
    assert sum(call.cache_read_tokens or 0 for call in calls) == sum(call["cache_read_tokens"] or 0 for call in payload.calls)
    assert sum(call.reasoning_tokens or 0 for call in calls) == sum(call["reasoning_tokens"] or 0 for call in payload.calls)


@pytest.mark.parametrize("payload", [p for p in PAYLOADS if not p.truth["is_error"]], ids=str)
def test_the_model_that_answered_is_known(payload: Recorded) -> None:
    models = {call.model for call in calls_of(payload)}
    assert models & {payload.truth["response_model"], payload.truth["request_model"]}


@pytest.mark.parametrize("payload", [p for p in PAYLOADS if p.truth["is_error"]], ids=str)
def test_errors_are_errors_of_the_right_class(payload: Recorded) -> None:
    rows, _ = rows_of(payload)
    classes = {row.error_class for row in rows if row.error_class}
    error = payload.truth["error"]
    wanted = {"timeout": {"timeout"}, "stream_error": {"provider_error", "error", "cancelled"}}.get(error["kind"])
    if wanted is None:
        wanted = {429: {"rate_limited"}, 500: {"provider_error"}}[error["http_status"]]
    assert classes & wanted, (classes, error)


FINISHED = [
    p
    for p in PAYLOADS
    if p.truth["finish_reason"]
    and not p.truth["is_error"]
    and p.truth["api"] in ("chat.completions", "messages")
    and p.instrumentor != "langfuse-openai"
    and str(p) not in SILENT_ABOUT_FINISH
]


@pytest.mark.parametrize("payload", FINISHED, ids=str)
def test_finish_reasons_are_canonical(payload: Recorded) -> None:
    reasons = {call.finish_reason for call in calls_of(payload)}
    assert finish_reason(payload.truth["finish_reason"]) in reasons


@pytest.mark.parametrize(
    "payload",
    [
        p
        for p in PAYLOADS
        if p.instrumentor in ("openinference-openai", "traceloop-openai", "langfuse-openai", "logfire-openai")
        and p.truth["api"] == "chat.completions"
    ],
    ids=str,
)
def test_what_was_asked_and_answered_can_be_read(payload: Recorded) -> None:
    _, contents = rows_of(payload)
    said = [
        part.get("text") or ""
        for row in contents.values()
        for message in to_messages(row[5], "user")
        for part in message["parts"]
    ]
    assert any(payload.truth["user_prompt"].strip() in text for text in said)
    answer = payload.truth["assistant_text"]
    if answer and not payload.truth["is_error"]:
        answered = [
            part.get("text") or ""
            for row in contents.values()
            for message in to_messages(row[6], "assistant")
            for part in message["parts"]
        ]
        assert any(answer in text for text in answered)

"""What log records say joins their spans whichever comes first: content, evaluations, users, finish reasons. Usage never."""

import time
from typing import Any

import pytest
from live import LiveCollector
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otlp_kit import S, any_value, attributes, request, span_hex, trace_hex

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 10,
}


def logs(*records: tuple[str, dict[str, Any], Any], span: int = 1, trace: int = 1, at: float = 0.0) -> bytes:
    """An export request of log records (event name, attributes, body) of one span."""
    message = ExportLogsServiceRequest()
    scope = message.resource_logs.add().scope_logs.add()
    for name, given, body in records:
        record = scope.log_records.add()
        record.event_name = name
        record.trace_id = bytes.fromhex(trace_hex(trace))
        record.span_id = bytes.fromhex(span_hex(span))
        record.time_unix_nano = int((at or time.time() - 59) * 1e9)
        record.attributes.extend(attributes(given))
        if body is not None:
            record.body.CopyFrom(any_value(body))
    return message.SerializeToString()


def post_logs(collector: LiveCollector, project: str, body: bytes) -> None:
    headers = {"content-type": "application/x-protobuf", "x-spanledger-project": project}
    assert collector.http.post("/v1/logs", content=body, headers=headers).status_code == 200


EVERYTHING = logs(
    ("gen_ai.user.message", {"user.id": "ada", "gen_ai.conversation.id": "c1"}, {"content": "How far is the moon?"}),
    ("gen_ai.choice", {}, {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "384,400 km"}}),
    (
        "gen_ai.client.inference.operation.details",
        {**CHAT, "gen_ai.usage.input_tokens": 99_999},
        None,
    ),
    (
        "gen_ai.evaluation.result",
        {
            "gen_ai.evaluation.name": "relevance",
            "gen_ai.evaluation.score.value": 0.2,
            "gen_ai.evaluation.score.label": "fail",
            "gen_ai.evaluation.explanation": "not what was asked",
        },
        None,
    ),
)


@pytest.mark.parametrize("first", ["logs", "spans"])
def test_logs_and_spans_join_whichever_comes_first(collector: LiveCollector, project: str, first: str) -> None:
    spans = request(S(1, attrs=CHAT))
    for step in ("logs", "spans") if first == "logs" else ("spans", "logs"):
        if step == "logs":
            post_logs(collector, project, EVERYTHING)
        else:
            collector.send(spans, project)
        collector.settled()
    (row,) = collector.ask(["input_tokens", "generations", "failures"], project, dimensions=["user", "session"])
    assert row == {"user": "ada", "session": "c1", "input_tokens": 100, "generations": 1, "failures": 1}
    detail = collector.get(f"/api/v1/interactions/{trace_hex(1)}", project)
    assert detail["spans"][0]["finish_reason"] == "length"
    assert detail["interaction"]["failure_mode"] == "truncated"
    (content,) = detail["content"].values()
    assert "How far is the moon?" in str(content["input"])
    assert "384,400 km" in str(content["output"])
    (judged,) = detail["feedback"]
    assert (judged["name"], judged["source"], judged["score"], judged["positive"]) == ("relevance", "evaluator", 0.2, False)
    assert judged["comment"] == "not what was asked"
    assert collector.value("feedback_count", project) == 0, "feedback is from users unless a question says otherwise"
    evaluated = [{"dimension": "feedback_source", "op": "in", "values": ["evaluator"]}]
    assert collector.value("feedback_count", project, filters=evaluated) == 1


def test_what_a_log_record_said_survives_a_restart() -> None:
    live = LiveCollector()
    try:
        post_logs(live, "p", logs(("gen_ai.choice", {"user.id": "ada"}, {"finish_reason": "length"})))
        live.restart()
        live.send(request(S(1, attrs=CHAT)), "p")
        assert live.ask(["interactions", "failures"], "p", dimensions=["user"]) == [
            {"user": "ada", "interactions": 1, "failures": 1}
        ]
    finally:
        live.stop()


def test_sending_the_same_logs_twice_counts_once(collector: LiveCollector, project: str) -> None:
    collector.send(request(S(1, attrs=CHAT)), project)
    for _ in range(2):
        post_logs(collector, project, EVERYTHING)
    evaluated = [{"dimension": "feedback_source", "op": "in", "values": ["evaluator"]}]
    assert collector.value("feedback_count", project, filters=evaluated) == 1


def test_the_span_itself_has_the_last_word(collector: LiveCollector, project: str) -> None:
    post_logs(collector, project, logs(("gen_ai.choice", {"user.id": "eve"}, {"finish_reason": "length"})))
    collector.send(request(S(1, attrs={**CHAT, "user.id": "ada", "gen_ai.response.finish_reasons": ["stop"]})), project)
    assert collector.ask(["failures"], project, dimensions=["user"]) == [{"user": "ada", "failures": 0}]


def test_evaluations_on_spans_are_feedback_too(collector: LiveCollector, project: str) -> None:
    event = {"gen_ai.evaluation.name": "toxicity", "gen_ai.evaluation.score.label": "pass"}
    noted = {
        "openinference.span.kind": "CHAIN",
        "annotations.0.annotation.name": "correctness",
        "annotations.0.annotation.label": "correct",
        "annotations.0.annotation.annotator_kind": "HUMAN",
    }
    collector.send(request(S(1, attrs=noted), S(2, 1, attrs=CHAT, events=[("gen_ai.evaluation.result", 0.5, event)])), project)
    feedback = collector.get(f"/api/v1/interactions/{trace_hex(1)}", project)["feedback"]
    assert sorted((item["name"], item["source"], item["positive"]) for item in feedback) == [
        ("correctness", "reviewer", True),
        ("toxicity", "evaluator", True),
    ]

"""Ways past the data rules that were tried: each is closed at the door, and nothing of it is found in any table or file."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from kept import everything_kept, log_request, rule
from live import LiveCollector
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otlp_kit import S, any_value, attributes, chat, request, span_hex, trace_hex

PROTOBUF = {"content-type": "application/x-protobuf"}
MAIL = "slip.judge@example.org"


@pytest.fixture(scope="module")
def live() -> Iterator[LiveCollector]:
    collector = LiveCollector()
    yield collector
    collector.stop()


def said(live: LiveCollector, project: str, *spans: S, **resource: Any) -> str:
    """What is kept anywhere of spans that were sent and settled."""
    answer = live.send(request(*spans, resource=resource), project)
    assert answer.status_code == 200, answer.text
    live.settled()
    return everything_kept(live)


@pytest.mark.parametrize("stated", [["secret"], ["open", "Secret "], {"name": "secret"}])
def test_a_class_that_is_no_text_is_a_class_all_the_same(live: LiveCollector, project: str, stated: Any) -> None:
    rule(live, project, {"data_class": "secret", "action": "deny"})
    kept = said(live, project, S(1, attrs=chat(gen_ai__prompt="SLIP-of-type") | {"spanledger.data_class": stated}))
    assert "SLIP-of-type" not in kept


def test_a_class_is_inherited_however_deep(live: LiveCollector, project: str) -> None:
    rule(live, project, {"data_class": "secret", "action": "deny"})
    deep = [S(n, n - 1, trace=1) for n in range(2, 400)]
    first = S(1, trace=1, attrs={"spanledger.data_class": "secret"})
    last = S(400, 399, trace=1, attrs=chat(my_app__prompt="SLIP-deep"))
    loop = [S(1, 2, trace=2), S(2, 1, trace=2, attrs=chat(my_app__prompt="in a ring"))]
    kept = said(live, project, *loop, last, *reversed(deep), first)
    assert "SLIP-deep" not in kept
    assert "in a ring" in kept


def test_of_two_copies_of_a_span_each_is_what_it_states_itself(live: LiveCollector, project: str) -> None:
    rule(live, project, {"data_class": "secret", "action": "deny"})
    copies = [S(1, attrs=chat(my_app__prompt=f"{name}-copy") | {"spanledger.data_class": name}) for name in ("open", "secret")]
    kept = said(live, project, copies[0], copies[1], copies[0])
    assert "secret-copy" not in kept
    assert "open-copy" in kept


def test_what_is_never_stored_does_not_wait_on_disk_either(live: LiveCollector, project: str) -> None:
    """Records without a span and spans without an id are left out; the body that they came in is not kept as it came."""
    rule(live, project, {"data_class": "secret", "action": "deny"})
    live.parts.store.command("DETACH TABLE spans")
    live.parts.store.command("DETACH TABLE span_content")
    try:
        body = ExportLogsServiceRequest.FromString(log_request("plain words", None))
        stray = body.resource_logs[0].scope_logs[0].log_records.add(event_name="gen_ai.user.message")
        stray.body.CopyFrom(any_value({"content": "SLIP-stray"}))
        stray.attributes.extend(attributes({"spanledger.data_class": "secret"}))
        headers = {**PROTOBUF, "x-spanledger-project": project}
        assert live.http.post("/v1/logs", content=body.SerializeToString(), headers=headers).status_code == 200
        spans = [
            {"traceId": trace_hex(1), "spanId": span_hex(1), "name": "open words"},
            {"traceId": "0", "spanId": "0", "name": "SLIP-no-id", "attributes": secret("SLIP-no-id")},
        ]
        sent = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
        headers["content-type"] = "application/json"
        answer = live.http.post("/v1/traces", content=sent, headers=headers)
        assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
        assert not live.parts.spool.is_empty
        kept = everything_kept_on_disk(live)
        assert "open words" in kept
        assert "plain words" in kept
        assert "SLIP" not in kept
    finally:
        live.parts.store.command("ATTACH TABLE spans")
        live.parts.store.command("ATTACH TABLE span_content")
    live.drained()
    assert live.value("spans", project) == 1


def secret(words: str) -> list[dict[str, Any]]:
    given = {"spanledger.data_class": "secret", "my_app.prompt": words}
    return [{"key": key, "value": {"stringValue": value}} for key, value in given.items()]


def everything_kept_on_disk(live: LiveCollector) -> str:
    return b"".join(item.body for item in live.parts.spool.oldest(100, 1 << 20)).decode("latin-1")


CARRIERS = [
    {"attrs": {"langfuse.observation.type": "generation", "langfuse.observation.level": "ERROR",
               "langfuse.observation.status_message": "SLIP-word"}},
    {"attrs": {"gen_ai.event.content": "SLIP-word"}},
    {"attrs": {"db.query.text": "SELECT * FROM people WHERE name = 'SLIP-word'", "db.statement": "SLIP-word"}},
    {"attrs": {"db.query.parameter.name": "SLIP-word", "url.query": "q=SLIP-word"}},
    {"attrs": {"gen_ai.usage.raw": '{"note": "SLIP-word"}', "ai.response.providerMetadata": '{"a": "SLIP-word"}'}},
    {"attrs": {"mlflow.chat.messages": '[{"role":"user","content":"SLIP-word"}]'}},
    {"attrs": {"lmnr.span.input": "SLIP-word", "ai.toolCall.args": '{"args":{"q":"SLIP-word"}}'}},
    {"attrs": {"gen_ai.prompt.0.content": ["SLIP-word", {"a": "SLIP-word"}], "gen_ai.tool.call.arguments": {"SLIP-word": 1}}},
    {"attrs": {"embedding.embeddings.0.embedding.text": "SLIP-word", "tool.parameters": b"SLIP-word"}},
    {"events": [("gen_ai.assistant.message", 0.1, {"tool_calls": '[{"function":{"name":"f","arguments":"SLIP-word"}}]'})]},
    {"events": [("gen_ai.tool.message", 0.1, {"id": "SLIP-word", "whatever": "SLIP-word", "gen_ai.event.content": "SLIP-word"})]},
    {"events": [("gen_ai.user.message", 0.1, {"gen_ai.event.content": '{"content":"SLIP-word"}'})]},
    {"events": [("mlflow.chunk.item.0", 0.1, {"mlflow.chunk.value": '{"choices":[{"delta":{"content":"SLIP-word"}}]}'})]},
    {"attrs": {"spanledger.fallback.reason": "it said SLIP-word", "annotations.0.annotation.name": "n",
               "annotations.0.annotation.score": 1.0, "annotations.0.annotation.label": "as SLIP-word said"}},
    {"events": [("gen_ai.evaluation.result", 0.1, {"gen_ai.evaluation.name": "q",
                 "gen_ai.evaluation.score.label": "of SLIP-word and others", "gen_ai.evaluation.score.value": 0.5})]},
    {"events": [("exception", 0.1, {"exception.message": "SLIP-word", "exception.stacktrace": "at SLIP-word"})], "status": 2,
     "message": "SLIP-word"},
]  # fmt: skip


@pytest.mark.parametrize("action", ["strip", "mask"])
@pytest.mark.parametrize("number", range(len(CARRIERS)))
def test_words_are_found_wherever_instrumentations_put_them(live: LiveCollector, project: str, action: str, number: int) -> None:
    rule(live, project, {"action": action})
    carrier: dict[str, Any] = CARRIERS[number]
    word = f"slip-{action}-{number}"
    filled = json.loads(json.dumps(carrier, default=lambda raw: raw.decode()).replace("SLIP-word", word))
    if number == 8:
        filled["attrs"]["tool.parameters"] = word.encode()
    filled["attrs"] = chat() | filled.get("attrs", {})
    kept = said(live, project, S(1, **filled))
    found = kept.find(word)
    assert found < 0, kept[max(0, found - 200) : found + 50]


def test_secrets_in_keys_and_in_numbers_are_redacted_too(live: LiveCollector, project: str) -> None:
    rule(live, project, {"action": "redact"})
    arguments = {"ada.key@example.org": 1, "deep": [{"ada.deep@example.org": 2}], "card": 4111111111111111}
    kept = said(
        live,
        project,
        S(1, name="execute_tool f", scope="scope of ada.scope@example.org", attrs={
            "raw": b"ada.bytes@example.org",
            "gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.arguments": arguments,
            "score of ada.attr@example.org": 3, "card": 5555555555554444, "count": 12345678,
            "spanledger.tag.ada.tag@example.org": "x",
        }),
    )  # fmt: skip
    for secret_ in (
        "ada.key@",
        "ada.deep@",
        "ada.attr@",
        "ada.tag@",
        "ada.scope@",
        base64.b64encode(b"ada.bytes@example.org").decode()[:20],
        "4111111111111111",
        "5555555555554444",
    ):
        assert secret_ not in kept, secret_
    assert "12345678" in kept


def test_what_feedback_says_follows_the_rules_in_every_field(live: LiveCollector, project: str) -> None:
    rule(live, project, {"action": "strip"})
    judged = [
        {"trace_id": trace_hex(1), "name": "helpful", "value": "the SLIP-value told everything", "comment": "SLIP-comment"},
        {"trace_id": trace_hex(1), "name": f"asked by {MAIL}", "value": "yes"},
    ]
    assert live.http.post("/api/v1/feedback", json=judged, headers={"x-spanledger-project": project}).status_code == 200
    live.settled()
    kept = everything_kept(live)
    assert "SLIP-comment" not in kept
    assert MAIL not in kept

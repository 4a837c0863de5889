"""The write side over HTTP: what is acknowledged is durable and counted, what is refused is named, twice is once."""

import gzip
import time
from typing import Any

import orjson
import pytest
from live import LiveCollector
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from otlp_kit import S, chat, recorded, request, span_hex, trace_hex

from spanledger_collector.store.compact import compact_one
from spanledger_collector.store.ledger import keep_best
from spanledger_collector.store.protocol import rows_of
from spanledger_schema.spans import SpanRow

MEASURES = ["interactions", "spans", "generations", "cost_usd", "input_tokens", "output_tokens"]


def test_protobuf_json_and_gzip_say_the_same(collector: LiveCollector, project: str) -> None:
    body = request(S(1, attrs={"spanledger.interaction": "ask"}), S(2, 1, attrs=chat()))
    assert collector.send(body, project + "-pb").status_code == 200
    assert collector.send(gzip.compress(body), project + "-gz", **{"content-encoding": "gzip"}).status_code == 200
    span = {
        "traceId": trace_hex(1).upper(),
        "spanId": span_hex(2),
        "name": "chat",
        "kind": 3,
        "startTimeUnixNano": str(time.time_ns() - 10**9),
        "endTimeUnixNano": str(time.time_ns()),
        "unknownField": {"is": "ignored"},
        "attributes": [
            {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
            for key, value in chat().items()
        ],
    }
    root = {**span, "spanId": span_hex(1), "attributes": [{"key": "spanledger.interaction", "value": {"stringValue": "ask"}}]}
    document = {
        "resourceSpans": [{"scopeSpans": [{"scope": {"name": "x"}, "spans": [root, {**span, "parentSpanId": span_hex(1)}]}]}]
    }
    response = collector.http.post("/v1/traces", json=document, headers={"x-spanledger-project": project + "-json"})
    assert (response.status_code, response.json()) == (200, {})
    answers = [collector.ask(MEASURES, project + suffix) for suffix in ("-pb", "-gz", "-json")]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0]["cost_usd"] == "0.00035"


def test_refused_spans_are_named_and_their_neighbours_stored(collector: LiveCollector, project: str) -> None:
    message = ExportTraceServiceRequest.FromString(request(S(1, attrs=chat()), S(2)))
    message.resource_spans[0].scope_spans[0].spans[1].trace_id = b""
    response = collector.send(message.SerializeToString(), project)
    partial = ExportTraceServiceResponse.FromString(response.content).partial_success
    assert (response.status_code, partial.rejected_spans) == (200, 1)
    assert "16 bytes" in partial.error_message
    assert collector.value("spans", project) == 1


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"\xff\xff\xff", {}, 400, "no OTLP protobuf"),
        (b"{", {"content-type": "application/json"}, 400, "no JSON"),
        (b"[]", {"content-type": "application/json"}, 400, "OTLP/JSON"),
        (b'{"resourceSpans": 3}', {"content-type": "application/json"}, 400, "list of objects"),
        (b"x", {"content-type": "text/plain"}, 415, "Content-Type"),
        (b"x", {"content-encoding": "br"}, 415, "Content-Encoding"),
        (b"plain text", {"content-encoding": "gzip"}, 400, "not valid gzip"),
        (gzip.compress(b"\0" * 70_000_000), {"content-encoding": "gzip"}, 413, "larger than"),
        (b"\0" * 17_000_000, {}, 413, "larger than"),
    ],
    ids=["protobuf", "json", "json list", "json shape", "type", "encoding", "gzip", "bomb", "size"],
)
def test_bad_requests_get_clear_answers(
    collector: LiveCollector, project: str, body: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    response = collector.send(body, project, **headers)
    assert response.status_code == status
    assert words.encode() in response.content
    assert b"Traceback" not in response.content
    assert collector.send(request(S(1, attrs=chat())), project).status_code == 200, "the next good request works"


def test_twice_is_once(collector: LiveCollector, project: str) -> None:
    payloads = list(recorded("openinference-openai", "langfuse-openai"))
    for payload in payloads:
        collector.send(payload.body, project)
    once = collector.ask(MEASURES, project)
    for payload in reversed(payloads):
        collector.send(payload.body, project)
    collector.send(b"".join(payload.body for payload in payloads), project)
    assert collector.ask(MEASURES, project) == once


def test_children_may_come_before_their_parents_and_in_other_requests(collector: LiveCollector, project: str) -> None:
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 10}
    root = S(1, attrs={"spanledger.interaction": "ask", "user.id": "ann"}, start=0, end=9)
    at = time.time() - 60
    for span in (S(3, 2, attrs=chat(), start=3, end=4), S(2, 1, attrs=agent, start=2, end=5), root):
        collector.send(request(span, at=at), project)
        collector.settled()
    (row,) = collector.ask([*MEASURES, "duration_p50_s"], project, dimensions=["user", "interaction_name"])
    assert (row["user"], row["interaction_name"], row["interactions"], row["generations"]) == ("ann", "ask", 1, 1)
    assert (row["input_tokens"], row["spans"], row["duration_p50_s"]) == (100, 3, 9.0)


def test_a_later_end_replaces_an_open_span(collector: LiveCollector, project: str) -> None:
    at = time.time() - 60
    message = ExportTraceServiceRequest.FromString(request(S(1, attrs=chat(given=5, produced=None)), at=at))
    message.resource_spans[0].scope_spans[0].spans[0].end_time_unix_nano = 0
    ended = request(S(1, attrs=chat(given=5, produced=7)), at=at)
    collector.send(ended, project)
    collector.send(message.SerializeToString(), project)
    assert collector.ask(["spans", "output_tokens"], project) == [{"spans": 1, "output_tokens": 7}]


def test_impossible_times_are_kept_under_the_receive_time(collector: LiveCollector, project: str) -> None:
    collector.send(request(S(1, attrs=chat()), at=1.0), project)
    collector.send(request(S(2, attrs=chat(), trace=2), at=time.time() + 86_400 * 400), project)
    today: dict[str, Any] = {"start": time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() - 3_600))}
    assert collector.value("interactions", project, **today) == 2


def test_many_days_in_one_request_are_stored(collector: LiveCollector, project: str) -> None:
    day = 86_400.0
    spans = [S(number, attrs=chat(), trace=number, start=number * day, end=number * day + 1) for number in range(1, 151)]
    assert collector.send(request(*spans, at=time.time() - 152 * day), project).status_code == 200
    rows = collector.ask("interactions", project, granularity="day", limit=200)
    assert len(rows) == 150
    assert {row["interactions"] for row in rows} == {1}


def test_content_in_log_records_joins_its_span(collector: LiveCollector, project: str) -> None:
    (payload,) = [p for p in recorded("otel-openai-v2-legacy-events") if p.scenario == "chat_basic"]
    assert payload.logs is not None
    headers = {"content-type": "application/x-protobuf", "x-spanledger-project": project}
    assert collector.http.post("/v1/logs", content=payload.logs, headers=headers).status_code == 200
    collector.send(payload.body, project)
    (item,) = collector.get("/api/v1/interactions", project)["items"]
    detail = collector.get(f"/api/v1/interactions/{item['id']}", project)
    (content,) = detail["content"].values()
    assert payload.truth["assistant_text"] in str(content["output"])
    assert payload.truth["user_prompt"] in str(content["input"])
    assert collector.value("input_tokens", project) == payload.truth["input_tokens_total"], "usage on event copies is not counted"


def test_metrics_are_refused_politely(collector: LiveCollector) -> None:
    response = collector.http.post("/v1/metrics", json={"resourceMetrics": []})
    assert response.status_code == 200
    assert "counts from spans" in response.text


def test_what_was_acknowledged_survives_a_restart_and_is_counted_once() -> None:
    live = LiveCollector(settle_every_s=4.0)
    try:
        for number in range(1, 21):
            assert live.send(request(S(1, attrs=chat(), trace=number)), "p").status_code == 200
        live.restart()
        assert live.ask(MEASURES, "p")[0]["generations"] == 20
        live.send(request(S(2, 1, attrs=chat(), trace=7)), "p")
        row = live.ask(MEASURES, "p")[0]
        assert (row["interactions"], row["generations"], row["spans"]) == (20, 20, 21), (
            "the late child is the call, its parent a wrapper"
        )
    finally:
        live.stop()


def test_counters_add_up(collector: LiveCollector, project: str) -> None:
    before = _counters(collector)
    message = ExportTraceServiceRequest.FromString(request(S(1), S(2), S(3)))
    message.resource_spans[0].scope_spans[0].spans[0].span_id = b""
    collector.send(message.SerializeToString(), project)
    after = _counters(collector)
    grown = {name: after[name] - before[name] for name in after}
    assert grown["spanledger_spans_received_total"] == grown["spanledger_spans_stored_total"] + 1 == 3


def _counters(collector: LiveCollector) -> dict[str, float]:
    names = ("spanledger_spans_received_total", "spanledger_spans_stored_total")
    lines = collector.http.get("/metrics").text.splitlines()
    return {name: sum(float(line.split(" ")[-1]) for line in lines if line.startswith(name)) for name in names}


def test_other_sites_and_names_are_refused_without_a_key(collector: LiveCollector) -> None:
    assert collector.http.get("/api/v1/projects", headers={"host": "evil.example"}).status_code == 403
    assert collector.http.get("/api/v1/projects", headers={"origin": "https://evil.example"}).status_code == 403
    problem = collector.http.get("/api/v1/nowhere")
    assert (problem.status_code, problem.headers["content-type"]) == (404, "application/problem+json")
    assert orjson.loads(problem.content)["detail"]


def test_with_a_key_every_request_needs_it() -> None:
    live = LiveCollector(bootstrap_key="sl-secret")
    try:
        assert live.send(request(S(1, attrs=chat()))).status_code == 401
        assert live.send(request(S(1, attrs=chat())), authorization="Bearer sl-secret").status_code == 200
        assert live.http.get("/healthz").status_code == 200
        assert live.http.get("/api/v1/projects").status_code == 401
    finally:
        live.stop()


def test_closed_days_become_one_part_and_say_the_same(collector: LiveCollector, project: str) -> None:
    store = collector.parts.store
    at = time.time() - 3 * 86_400
    for number in range(1, 6):
        collector.send(request(S(1, trace=number, attrs=chat()), at=at), project)
        collector.settled()
    before = collector.ask(MEASURES, project)
    while compact_one(store, time.strftime("%Y%m%d", time.gmtime()), quiet_s=0) is not None:
        pass
    day = time.strftime("%Y%m%d", time.gmtime(at))
    sql = (
        "SELECT table, count() AS n FROM system.parts WHERE database = currentDatabase() AND active "
        "AND partition_id = {day:String} AND table IN ('interactions', 'calls') GROUP BY table ORDER BY table"
    )
    parts = {row["table"]: row["n"] for row in rows_of(store.read(sql, {"day": day}))}
    assert parts == {"calls": 1, "interactions": 1}
    assert collector.ask(MEASURES, project) == before


def test_who_waits_for_what_is_counted_waits_for_what_is_just_being_taken_in(
    collector: LiveCollector, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(rows: dict[str, SpanRow], row: SpanRow) -> bool:
        time.sleep(0.1)
        return keep_best(rows, row)

    monkeypatch.setattr("spanledger_collector.settle.run.keep_best", slowly)
    for trace in range(1, 4):
        collector.send(request(S(1, attrs=chat(), trace=trace)), project)
        assert collector.value("spans", project) == trace

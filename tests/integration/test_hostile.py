"""What a sloppy or hostile sender may post: it costs itself, never its neighbours, the collector or the numbers of others."""

import json
import socket
import time
from typing import Any

import pytest
from live import LiveCollector
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otlp_kit import S, chat, request, span_hex, trace_hex

JSON = "application/json"


def json_span(**given: Any) -> dict[str, Any]:
    now = str(time.time_ns())
    return {
        "traceId": trace_hex(7),
        "spanId": span_hex(7),
        "name": "x",
        "startTimeUnixNano": now,
        "endTimeUnixNano": now,
        **given,
    }


def json_body(*spans: Any, resource: Any = None) -> bytes:
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]}).encode()


def deep_value(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"intValue": "1"}
    for _ in range(levels):
        value = {"arrayValue": {"values": [value]}}
    return value


@pytest.mark.parametrize(
    "name", ["error.type", "error.code", "http.status_code", "gen_ai.usage.input_tokens", "spanledger.retry.attempt"]
)
@pytest.mark.parametrize("value", ["²²²", "4²9", "--5", "١٢٣", "1e999"])
def test_digits_that_are_no_number_are_just_text(collector: LiveCollector, project: str, name: str, value: str) -> None:
    bad = S(1, attrs={**chat(given=None), name: value}, status=2, trace=1)
    assert collector.send(request(bad, S(2, attrs=chat(), trace=2)), project).status_code == 200
    assert collector.value("spans", project) == 2


@pytest.mark.parametrize(
    "trace_id", ["1_1" + "1" * 29, "+" + "1" * 31, " " + "1" * 31, "-" + "1" * 31, "0x" + "1" * 30, "١" * 32, "0" * 32]
)
def test_an_id_that_is_no_hex_is_refused_and_everybody_else_is_still_counted(
    collector: LiveCollector, project: str, trace_id: str
) -> None:
    body = json_body(json_span(traceId=trace_id), json_span())
    answer = collector.send(body, project, **{"content-type": JSON})
    assert (answer.status_code, answer.json()["partialSuccess"]["rejectedSpans"]) == (200, "1")
    assert collector.value("spans", project) == 1


@pytest.mark.parametrize(
    "body",
    [
        json_body(json_span(attributes=[{"key": "deep", "value": deep_value(300)}])),
        json_body(json_span(name="half an emoji \ud83d", attributes=[{"key": "\ud83d", "value": {"stringValue": "\ud83d"}}])),
        json_body(json_span(), resource=[1]),
        json_body(json_span(), resource="x"),
        json_body(json_span(kind=-1, status={"code": 1e300}, events=[1, {"name": 3}], links="x")),
        json_body(json_span(startTimeUnixNano="--5", endTimeUnixNano=10**30)),
    ],
    ids=["deep", "half a character", "resource list", "resource text", "wrong types", "wrong numbers"],
)
def test_odd_json_is_read_as_far_as_it_makes_sense(collector: LiveCollector, project: str, body: bytes) -> None:
    assert collector.send(body, project, **{"content-type": JSON}).status_code == 200
    assert collector.value("spans", project) == 1
    assert collector.get(f"/api/v1/interactions/{trace_hex(7)}", project)["spans"]


def test_a_trace_dearer_than_money_can_be_stops_nobody(collector: LiveCollector, project: str) -> None:
    huge = [S(number, attrs=chat("o1-pro", given=4_294_967_295, produced=400_000_000), trace=1) for number in range(1, 40)]
    assert collector.send(request(*huge), project).status_code == 200
    assert collector.send(request(S(1, attrs=chat(), trace=2)), project).status_code == 200
    rows = collector.ask("cost_usd", project, dimensions=["trace_id"])
    assert {"trace_id": trace_hex(2), "cost_usd": "0.00035"} in rows


def test_loops_and_own_parents_are_counted_once(collector: LiveCollector, project: str) -> None:
    loop = [S(1, 1, attrs=chat(given=1), trace=1), *(S(n, n % 3 + 1, attrs=chat(given=n), trace=2) for n in (1, 2, 3))]
    assert collector.send(request(*loop), project).status_code == 200
    assert collector.ask(["spans", "interactions"], project) == [{"spans": 4, "interactions": 2}]
    assert len(collector.get(f"/api/v1/interactions/{trace_hex(2)}", project)["spans"]) == 3


def test_times_at_the_ends_of_their_range(collector: LiveCollector, project: str) -> None:
    times = [(0, 0), (2**64 - 1, 2**64 - 1), (10**18, 5), (0, 2**64 - 1), (2**63, 2**63 + 5), (2**64 - 1, 0)]
    message = ExportTraceServiceRequest.FromString(request(*(S(1, attrs=chat(), trace=n) for n in range(1, len(times) + 1))))
    for span, (start, end) in zip(message.resource_spans[0].scope_spans[0].spans, times, strict=True):
        span.start_time_unix_nano, span.end_time_unix_nano = start, end
    assert collector.send(message.SerializeToString(), project).status_code == 200
    assert collector.ask(["interactions", "generations"], project) == [{"interactions": 6, "generations": 6}]
    for number in range(1, len(times) + 1):
        assert collector.get(f"/api/v1/interactions/{trace_hex(number)}", project)["interaction"]["duration_s"] < 60


def test_a_body_that_is_cut_off_is_no_defect(collector: LiveCollector, project: str, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", collector.port)) as connection:
            head = ("POST /v1/traces HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/x-protobuf", "Content-Length: 99")
            connection.sendall("\r\n".join((*head, "", "cut")).encode())
            time.sleep(0.05)
    assert collector.send(request(S(1, attrs=chat())), project).status_code == 200
    time.sleep(0.2)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert collector.parts.open_bytes == 0


def test_many_who_begin_to_send_and_never_end_take_no_more_memory_than_is_allowed() -> None:
    live = LiveCollector(open_bytes_max=1 << 20)
    head = "POST /v1/traces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-protobuf\r\nContent-Length: 700000\r\n\r\n"
    crowd = [socket.create_connection(("127.0.0.1", live.port)) for _ in range(6)]
    try:
        most = 0
        for connection in crowd:
            connection.settimeout(2)
            connection.sendall(head.encode() + b"x" * 300_000)
            time.sleep(0.1)
            most = max(most, live.parts.open_bytes)
        assert 600_000 <= most <= 1 << 20
        refused = live.send(request(*(S(n, attrs=chat(padding="y" * 500_000)) for n in (1, 2))))
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) <= 2
        assert crowd[-1].recv(12) == b"HTTP/1.1 503"
        for connection in crowd:
            connection.close()
        deadline = time.monotonic() + 5
        while live.parts.open_bytes:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert live.send(request(S(1, attrs=chat()))).status_code == 200
    finally:
        for connection in crowd:
            connection.close()
        live.stop()


@pytest.mark.parametrize("depth", [30, 250, 400, 900])
def test_content_nested_beyond_reason_is_shown_as_text(collector: LiveCollector, project: str, depth: int) -> None:
    lists, objects = "[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth
    shapes = [
        f'[{{"role":"user","content":{lists}}}]',
        f'[{{"role":"user","parts":[{objects}]}}]',
        '{"messages":[' * (depth // 2) + "]}" * (depth // 2),
        '[{"message":' * (depth // 2) + "1" + "}]" * (depth // 2),
        json.dumps([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": objects}}]}]),
    ]
    for number, words in enumerate(shapes, 1):
        found = {"gen_ai.input.messages": words, "gen_ai.output.messages": words, "gen_ai.tool.definitions": words}
        seeking = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": words}
        sent = collector.send(request(S(1, attrs=chat() | found, trace=number), S(2, 1, attrs=seeking, trace=number)), project)
        assert (sent.status_code, sent.content) == (200, b"")
        assert collector.get(f"/api/v1/interactions/{trace_hex(number)}", project)["content"]
    assert len(collector.get("/api/v1/interactions", project)["items"]) == len(shapes)


def test_flattened_names_of_a_thousand_steps_or_digits(collector: LiveCollector, project: str) -> None:
    names = [
        "gen_ai.prompt.0.role",
        "gen_ai.prompt.0" + ".a" * 2_000,
        "gen_ai.prompt." + "9" * 5_000 + ".role",
        "gen_ai.prompt..",
        "gen_ai.prompt.²",
    ]
    found = chat() | dict.fromkeys(names, "x") | {"traceloop.span.kind": "workflow"}
    sent = collector.send(request(S(1, attrs=found, scope="opentelemetry.instrumentation.openai.v1")), project)
    assert (sent.status_code, sent.content) == (200, b"")
    assert collector.get(f"/api/v1/interactions/{trace_hex(1)}", project)["interaction"]["cost_usd"] == "0.00035"

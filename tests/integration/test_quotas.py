"""A key with a quota: what is too much is refused before it costs anything, nothing of it is stored, and later it goes in."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from live import LiveCollector, free_port
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from otlp_kit import S, request
from typer.testing import CliRunner

import spanledger
from spanledger.cli._keys import keys
from spanledger_collector.errors import Overloaded
from spanledger_collector.governance.keys import Access
from spanledger_collector.governance.quotas import QuotaExceeded, Quotas

ADMIN = "sl-first-key"
PROTOBUF = {"content-type": "application/x-protobuf"}


@pytest.fixture(scope="module")
def live() -> Iterator[LiveCollector]:
    collector = LiveCollector(bootstrap_key=ADMIN, grpc_port=free_port())
    yield collector
    collector.stop()


def call(live: LiveCollector, method: str, path: str, key: str = ADMIN, **more: Any) -> httpx.Response:
    return live.http.request(method, path, headers={**more.pop("headers", {}), "authorization": f"Bearer {key}"}, **more)


def make(live: LiveCollector, project: str, quota: int | None, *scopes: str) -> dict[str, Any]:
    body = {"name": "app", "scopes": scopes or ["ingest", "read"], "project": project, "quota_spans_per_minute": quota}
    response = call(live, "POST", "/api/v1/keys", json=body)
    assert response.status_code == 201, response.text
    return dict(response.json())


def spans(count: int, first: int = 1) -> bytes:
    return request(*(S(n, trace=n) for n in range(first, first + count)))


def send(live: LiveCollector, key: str, body: bytes, **headers: str) -> httpx.Response:
    return call(live, "POST", "/v1/traces", key, content=body, headers={**PROTOBUF, **headers})


def stored(live: LiveCollector, key: str) -> int:
    live.settled()
    return int(call(live, "POST", "/api/v1/query", key, json={"measures": ["spans"]}).json()["rows"][0][0])


def refused(live: LiveCollector) -> int:
    lines = call(live, "GET", "/metrics").text.splitlines()
    found = [line for line in lines if line.startswith('spanledger_requests_refused_total{reason="quota_exceeded"}')]
    return int(float(found[0].rsplit(" ", 1)[1])) if found else 0


def test_what_is_over_the_quota_is_refused_whole_and_taken_when_it_was_waited_for(live: LiveCollector) -> None:
    key = make(live, "shop", 600)["key"]
    before = refused(live)
    assert send(live, key, spans(590)).status_code == 200
    too_much = send(live, key, spans(30, first=1_001))
    assert too_much.status_code == 429
    wait_s = int(too_much.headers["retry-after"])
    assert 1 <= wait_s <= 2, "ten a second come back, twenty are missing"
    status = Status.FromString(too_much.content)
    assert status.code == 8
    assert "600 spans" in status.message
    assert f"again in {wait_s} s" in status.message
    assert stored(live, key) == 590, "nothing of the refused request"
    assert refused(live) == before + 1
    time.sleep(wait_s)
    assert send(live, key, spans(30, first=1_001)).status_code == 200
    assert stored(live, key) == 620


def test_once_it_is_used_up_bodies_are_not_even_read(live: LiveCollector) -> None:
    key = make(live, "busy", 60)["key"]
    assert send(live, key, spans(60)).status_code == 200
    assert send(live, key, b"\xff not a protobuf at all").status_code == 429, "else it would be a 400"
    answer = send(live, key, b"{nor JSON", **{"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (429, 8)
    other = make(live, "busy", None)["key"]
    assert send(live, other, spans(500, first=1_001)).status_code == 200, "another key of the project is another sender"


def test_a_request_larger_than_a_whole_minute_gets_in_once_and_the_next_waits_for_it(live: LiveCollector) -> None:
    key = make(live, "bulk", 60)["key"]
    assert send(live, key, spans(120)).status_code == 200, "it would never get in otherwise"
    assert 60 < int(send(live, key, spans(1, first=1_001)).headers["retry-after"]) <= 61


def test_log_records_count_and_what_cannot_be_stored_is_given_back(live: LiveCollector, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make(live, "logs", 60)["key"]
    message = ExportLogsServiceRequest()
    for n in range(60):
        record = message.resource_logs.add().scope_logs.add().log_records.add()
        record.trace_id, record.span_id = n.to_bytes(16, "big")[:15] + b"\1", b"12345678"
    sent = call(live, "POST", "/v1/logs", key, content=message.SerializeToString(), headers=PROTOBUF)
    assert sent.status_code == 200
    assert call(live, "POST", "/v1/logs", key, content=b"", headers=PROTOBUF).status_code == 429
    assert send(live, key, spans(1)).status_code == 429

    away = make(live, "away", 60)["key"]

    async def fail(*_: Any) -> None:
        raise Overloaded("There is no room for it anywhere.")

    with monkeypatch.context() as patched:
        patched.setattr("spanledger_collector.api.exports._commit_or_wait", fail)
        assert send(live, away, spans(60)).status_code == 503
    assert send(live, away, spans(60)).status_code == 200, "what was not kept does not count"


def test_feedback_counts_too_so_that_a_key_in_a_browser_cannot_fill_the_ledger(live: LiveCollector) -> None:
    key = make(live, "page", 60, "feedback")["key"]
    judged = [{"trace_id": f"{n:032x}", "name": "helpful", "value": True} for n in range(1, 61)]
    assert call(live, "POST", "/api/v1/feedback", key, json=[{"name": "names no interaction"}] * 60).status_code == 422
    assert call(live, "POST", "/api/v1/feedback", key, json=judged).status_code == 200, "what cannot be read does not count"
    before = refused(live)
    answer = call(live, "POST", "/api/v1/feedback", key, json=judged[0])
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert answer.headers["retry-after"] == "1"
    assert "60 spans, logs and judgements" in answer.json()["detail"]
    assert call(live, "POST", "/api/v1/feedback", key, content=b"no JSON").status_code == 429, "nor is it read"
    assert refused(live) == before + 2
    time.sleep(1.05)
    assert call(live, "POST", "/api/v1/feedback", key, json=judged[0]).status_code == 200
    assert send(live, key, spans(1)).status_code == 403
    both = make(live, "both", 60, "ingest", "feedback")["key"]
    assert send(live, both, spans(60)).status_code == 200
    assert call(live, "POST", "/api/v1/feedback", both, json=judged[0]).status_code == 429, "of one bucket"


def test_a_key_that_acts_for_people_has_one_quota_for_all_of_them(live: LiveCollector) -> None:
    key = make(live, "crowd", 60, "ingest", "act_for")["key"]
    assert send(live, key, spans(60), **{"x-spanledger-person": "p0"}).status_code == 200
    before = len(live.parts.quotas._buckets)
    answers = [send(live, key, spans(5, first=1_001), **{"x-spanledger-person": f"p{n}"}) for n in range(1, 20)]
    assert {answer.status_code for answer in answers} == {429}
    assert len(live.parts.quotas._buckets) == before, "names that somebody makes up take no memory"


def test_what_a_sender_gives_up_counts_since_it_may_be_stored(live: LiveCollector, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make(live, "gives-up", 60)["key"]
    begun = threading.Event()

    async def slow(*_: Any) -> None:
        begun.set()
        await asyncio.sleep(30)

    with monkeypatch.context() as patched:
        patched.setattr("spanledger_collector.api.exports._commit_or_wait", slow)
        with grpc.insecure_channel(f"127.0.0.1:{live.parts.settings.grpc_port}") as channel:
            message = ExportTraceServiceRequest.FromString(spans(60))
            sent = TraceServiceStub(channel).Export.future(message, metadata=[("authorization", f"Bearer {key}")])
            assert begun.wait(10)
            sent.cancel()
    time.sleep(0.3)
    assert send(live, key, spans(60)).status_code == 429, "else whoever hangs up at once sends as much as they like"


def test_grpc_says_when_to_send_again(live: LiveCollector) -> None:
    key = make(live, "rpc", 120)["key"]
    metadata = [("authorization", f"Bearer {key}")]
    with grpc.insecure_channel(f"127.0.0.1:{live.parts.settings.grpc_port}") as channel:
        stub = TraceServiceStub(channel)
        stub.Export(ExportTraceServiceRequest.FromString(spans(120)), metadata=metadata)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Export(ExportTraceServiceRequest.FromString(spans(2, first=1_001)), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "120 spans" in caught.value.details()
        trailers = dict(caught.value.trailing_metadata())
        (detail,) = Status.FromString(trailers["grpc-status-details-bin"]).details
        retry = RetryInfo()
        assert detail.Unpack(retry)
        assert retry.retry_delay.seconds == 1
        time.sleep(1.05)
        stub.Export(ExportTraceServiceRequest.FromString(spans(2, first=1_001)), metadata=metadata)
    assert stored(live, key) == 122


def test_our_sdk_loses_nothing_to_a_quota(live: LiveCollector, tmp_path: Path) -> None:
    key = make(live, "app", 600)["key"]
    assert send(live, key, spans(600, first=100_001)).status_code == 200, "all of a minute's is gone"
    before = refused(live)
    # The SDK counts for the process, whichever collector it spoke to before.
    dropped = sum(spanledger.stats().spans_dropped.values())
    spanledger.init(app="bot", endpoint=live.url, api_key=key, spool=tmp_path)
    try:
        for n in range(20):
            with spanledger.interaction(f"question {n}"), spanledger.generation(model="gpt-4o", provider="openai") as generation:
                generation.record(input_tokens=10, output_tokens=2)
            if n == 9:
                time.sleep(1.2)
        deadline = time.monotonic() + 30
        while stored(live, key) < 640 and time.monotonic() < deadline:
            time.sleep(0.2)
        stats = spanledger.stats()
    finally:
        spanledger.shutdown()
    assert refused(live) > before, "it was refused at first"
    assert stored(live, key) == 640
    assert sum(stats.spans_dropped.values()) == dropped


def test_a_quota_is_shown_changed_and_kept_by_the_command_line(live: LiveCollector) -> None:
    runner = CliRunner(env={"SPANLEDGER_API_KEY": ADMIN, "SPANLEDGER_ENDPOINT": live.url, "COLUMNS": "200"})
    made = runner.invoke(keys, ["create", "-s", "ingest", "--quota-spans-per-minute", "1", "--project", "cli", "--json"])
    assert made.exit_code == 0, made.output
    (found,) = [key for key in call(live, "GET", "/api/v1/keys").json()["keys"] if key["project"] == "cli"]
    assert found["quota_spans_per_minute"] == 1
    key = made.stdout.split('"key"')[1].split('"')[1]
    assert [send(live, key, spans(1, first=n)).status_code for n in (1, 2)] == [200, 429]
    assert "2,000 spans a minute" in runner.invoke(keys, ["quota", found["id"], "2000"]).output
    assert send(live, key, spans(1, first=2)).status_code == 200, "it counts at once"
    assert "2,000/min" in runner.invoke(keys, ["list"]).output
    fresh = call(live, "POST", f"/api/v1/keys/{found['id']}/rotate").json()
    assert fresh["quota_spans_per_minute"] == 2_000
    assert "as much as it likes" in runner.invoke(keys, ["quota", found["id"], "0"]).output
    entries = call(live, "GET", "/api/v1/audit?project=cli").json()["entries"]
    assert [json.loads(entry["detail"])["quota_spans_per_minute"] for entry in entries if entry["action"] == "quota set"] == [
        None,
        2_000,
    ]
    for wrong in (0, -1, 1.5, "many", True, 10**10):
        body = {"scopes": ["ingest"], "quota_spans_per_minute": wrong}
        assert "whole number" in call(live, "POST", "/api/v1/keys", json=body).json()["detail"]
    assert (
        "only quota_spans_per_minute" in call(live, "PATCH", f"/api/v1/keys/{found['id']}", json={"scopes": []}).json()["detail"]
    )


def test_a_quota_is_known_while_the_store_is_away(live: LiveCollector) -> None:
    key = make(live, "cached", 7)
    ring = type(live.parts.ring)(live.parts.store, live.parts.ring._cache, watches=False)
    ring.recall()
    access = ring.check(key["key"])
    assert access is not None
    assert access.quota == 7


def test_over_any_time_a_sender_gets_its_quota_and_one_minute_more() -> None:
    quotas, access, taken, now = Quotas(), Access("key:a", frozenset(("ingest",)), quota=1_000), 0, 0.0
    while now < 3_600:
        try:
            quotas.check(access, now)
            quotas.take(access, 37, now)
            taken += 37
            now += 0.01
        except QuotaExceeded as refusal:
            now += min(refusal.retry_after_s, 3)  # thirty-seven take 2.2 s
            quotas.check(access, now)
    assert 0.9 * 60_000 <= taken <= 61_000 + 37


def test_a_large_request_is_not_overtaken_for_ever() -> None:
    quotas, access = Quotas(), Access("key:a", frozenset(("ingest",)), quota=60)
    quotas.take(access, 50, 0.0)
    with pytest.raises(QuotaExceeded) as refusal:
        quotas.take(access, 40, 0.0)
    assert refusal.value.retry_after_s == 30
    with pytest.raises(QuotaExceeded):
        quotas.check(access, 10.0)
    quotas.check(access, 30.0)
    quotas.take(access, 40, 30.0)

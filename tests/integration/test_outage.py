"""Nothing that was answered is lost and nothing counts twice while the store is away, slow, or refuses a span."""

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from live import LiveCollector
from otlp_kit import S, request, span_hex, trace_hex

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 1_000,
    "gen_ai.usage.output_tokens": 100,
}


@pytest.fixture
def live() -> Iterator[LiveCollector]:
    collector = LiveCollector(spool_bytes_max=200_000)
    yield collector
    collector.stop()


def take_away(live: LiveCollector) -> None:
    """A real outage of the real engine: the tables are gone until they come back."""
    for table in ("spans", "feedback", "span_content"):
        live.parts.store.command(f"DETACH TABLE {table}")


def bring_back(live: LiveCollector) -> None:
    for table in ("spans", "feedback", "span_content"):
        live.parts.store.command(f"ATTACH TABLE {table}")


def account(live: LiveCollector, project: str) -> dict[str, int]:
    """accepted, stored, pending, quarantined off /metrics; the invariant holds whenever one looks."""
    text = live.http.get("/metrics").text
    rows = re.findall(r'spanledger_spans\{project="(\w+)",state="(\w+)"\} (\d+)', text)
    found = {state: int(number) for name, state, number in rows if name == project}
    if found:
        assert found["accepted"] == found["stored"] + found["pending"] + found["quarantined"]
    return found


def test_spans_feedback_and_content_wait_on_disk_and_arrive_in_full(live: LiveCollector) -> None:
    live.send(request(S(1, trace=1, attrs=CHAT)), "p")
    take_away(live)
    said = {**CHAT, "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"42"}]}]'}
    for number in (2, 3):
        assert live.send(request(S(1, trace=number, attrs=said)), "p").status_code == 200
    judged = {"trace_id": trace_hex(2), "name": "helpful", "value": True}
    answer = live.http.post("/api/v1/feedback", json=judged, headers={"x-spanledger-project": "p"})
    assert answer.status_code == 200
    assert account(live, "p") == {"accepted": 3, "stored": 1, "pending": 2, "quarantined": 0}
    assert live.http.get("/api/v1/status").json()["waiting_spans"] == 2
    bring_back(live)
    live.drained()
    assert account(live, "p") == {"accepted": 3, "stored": 3, "pending": 0, "quarantined": 0}
    row = live.ask(["input_tokens", "generations", "cost_usd", "feedback_count"], "p")[0]
    assert row == {"input_tokens": 3_000, "generations": 3, "cost_usd": "0.0105", "feedback_count": 1}
    detail = live.get(f"/api/v1/interactions/{trace_hex(2)}", "p")
    assert "42" in str(detail["content"])
    assert detail["feedback"][0]["id"] == answer.json()["ids"][0], "judged when it was sent, not when it was stored"


def test_what_waits_survives_the_process(live: LiveCollector) -> None:
    live.send(request(S(1, trace=1, attrs=CHAT)), "p")
    take_away(live)
    for number in range(2, 12):
        assert live.send(request(S(1, trace=number, attrs=CHAT)), "p").status_code == 200
    # The engine attaches its tables when it opens them again; here it stays open, so this is done by hand.
    stop_and_start = threading.Thread(target=live.stop)
    stop_and_start.start()
    stop_and_start.join()
    other = live.parts.store
    assert other is not None
    live.parts = None  # type: ignore[assignment]
    from live import new_store

    store = new_store(live._database)
    for table in ("spans", "feedback", "span_content"):
        store.command(f"ATTACH TABLE IF NOT EXISTS {table}")
    store.close()
    live._start()
    live.drained()
    assert account(live, "p") == {"accepted": 10, "stored": 10, "pending": 0, "quarantined": 0}
    assert live.value("generations", "p") == 11


def test_requests_sent_again_while_the_store_is_away_count_once(live: LiveCollector) -> None:
    body = request(S(1, trace=1, attrs=CHAT), at=time.time() - 60)
    take_away(live)
    for _ in range(3):
        assert live.send(body, "p").status_code == 200
    bring_back(live)
    live.send(body, "p")
    live.drained()
    assert live.ask(["generations", "input_tokens"], "p") == [{"generations": 1, "input_tokens": 1_000}]


def test_a_full_spool_says_so_at_once_and_takes_more_when_it_is_empty(live: LiveCollector) -> None:
    take_away(live)
    big = request(*(S(n, trace=n, attrs=CHAT) for n in range(1, 400)))
    answers = [live.send(big, "p") for _ in range(4)]
    assert answers[0].status_code == 200
    assert answers[-1].status_code == 503
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 2
    kept = sum(answer.status_code == 200 for answer in answers)
    assert account(live, "p")["pending"] == 399 * kept
    bring_back(live)
    live.drained()
    assert live.send(big, "p").status_code == 200
    assert live.value("generations", "p") == 399


def test_a_slow_store_costs_no_client_more_than_its_patience() -> None:
    collector = LiveCollector(spool_after_s=0.3)
    try:
        collector.send(request(S(1, trace=1, attrs=CHAT)), "p")
        store: Any = collector.parts.store
        lane = store._lane("commit-spans")
        # The lane's handle is busy, as it is while the engine works on something long.
        with lane._backend._handle.lock:
            began = time.monotonic()
            assert collector.send(request(S(1, trace=2, attrs=CHAT)), "p").status_code == 200
            assert time.monotonic() - began < 3
            assert account(collector, "p")["pending"] == 1
        collector.drained()
        assert account(collector, "p")["pending"] == 0
        assert collector.value("generations", "p") == 2
    finally:
        collector.stop()


def poison(live: LiveCollector) -> None:
    live.parts.store.command("ALTER TABLE spans ADD CONSTRAINT no_poison CHECK name != 'poison'")


def test_a_span_that_the_store_refuses_goes_to_quarantine_and_holds_up_nobody(live: LiveCollector) -> None:
    poison(live)
    spans = [S(n, trace=n, attrs=CHAT, name="poison" if n in (3, 7) else "call") for n in range(1, 11)]
    answer = live.send(request(*spans), "p")
    assert answer.status_code == 200, "accepted, and kept"
    assert account(live, "p") == {"accepted": 10, "stored": 8, "pending": 0, "quarantined": 2}
    assert live.value("generations", "p") == 8
    held = live.get("/api/v1/quarantine", "p")["items"]
    assert {item["trace_id"] for item in held} == {trace_hex(3), trace_hex(7)}
    assert {item["span_id"] for item in held} == {span_hex(3), span_hex(7)}
    assert all("469" in item["reason"] for item in held)
    assert live.get("/api/v1/quarantine", "other")["items"] == []

    headers = {"x-spanledger-project": "p"}
    again = live.http.post("/api/v1/quarantine/replay", json={}, headers=headers)
    assert again.json() == {"tried": 2, "stored": 0, "denied": 0}, "still refused, still kept"
    assert account(live, "p")["quarantined"] == 2
    live.parts.store.command("ALTER TABLE spans DROP CONSTRAINT no_poison")
    (one, other) = live.get("/api/v1/quarantine", "p")["items"]
    assert live.http.post("/api/v1/quarantine/replay", json={"ids": [one["id"]]}, headers=headers).json()["stored"] == 1
    assert live.http.post("/api/v1/quarantine/drop", json={"ids": [other["id"]]}, headers=headers).json() == {"dropped": 1}
    assert account(live, "p") == {"accepted": 9, "stored": 9, "pending": 0, "quarantined": 0}
    assert live.value("generations", "p") == 9


def test_a_refused_span_among_what_waited_does_not_stop_the_drain(live: LiveCollector) -> None:
    poison(live)
    take_away(live)
    for number in range(1, 6):
        live.send(request(S(1, trace=number, attrs=CHAT, name="poison" if number == 2 else "call")), "p")
    bring_back(live)
    live.drained()
    assert account(live, "p") == {"accepted": 5, "stored": 4, "pending": 0, "quarantined": 1}


def test_the_account_agrees_whenever_one_looks(live: LiveCollector) -> None:
    stop = threading.Event()
    seen: list[dict[str, int]] = []

    def look() -> None:
        while not stop.is_set():
            seen.append(account(live, "p"))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for number in range(1, 40):
            if number == 10:
                take_away(live)
            if number == 25:
                bring_back(live)
            assert live.send(request(S(1, trace=number, attrs=CHAT)), "p").status_code == 200
        live.drained()
    finally:
        stop.set()
        watcher.join()
    assert len(seen) > 10
    assert account(live, "p") == {"accepted": 39, "stored": 39, "pending": 0, "quarantined": 0}

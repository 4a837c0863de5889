"""What cannot be delivered waits on disk, within bounds, and is delivered once: by this process or the next one."""

import os
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

import spanledger
from spanledger import _backlog, _pipeline, _spool
from spanledger._spool import Spool

Collector = Any  # of conftest.py, which cannot be imported here


def wait_until(condition: Any, seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not condition() and time.monotonic() < ends:
        time.sleep(0.02)
    assert condition()


def away(path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    return 503, {}, b""


@pytest.fixture
def spooling(collector: Collector, provider: TracerProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Collector:
    """The SDK with a spool, impatient."""
    monkeypatch.setattr(_pipeline, "RETRY_FOR_S", 0.0)
    monkeypatch.setattr(_backlog, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(_pipeline, "_BACKOFF_MAX_S", 0.1)
    monkeypatch.setattr(_pipeline, "DELAY_S", 0.05)
    spanledger.init(endpoint=collector.url, spool=tmp_path / "spool", tracer_provider=provider, capture="metadata")
    return collector


def record(name: str) -> None:
    with spanledger.interaction(name, input="secret") as it:
        pass
    spanledger.feedback(it.id, "helpful", True)


def test_an_outage_loses_nothing(spooling: Collector, tmp_path: Path) -> None:
    spooling.decide = away
    record("one")
    record("two")
    assert spanledger.flush(10)
    s = spanledger.stats()
    assert (s.spans_spooled, s.spans_pending, s.spans_dropped, s.feedback_spooled) == (2, 2, {}, 2)
    (file,) = (tmp_path / "spool").glob("*.sqlite")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"secret" not in file.read_bytes()

    spooling.requests.clear()
    spooling.decide = lambda path, body: None
    record("three")
    wait_until(lambda: spanledger.stats().spans_spooled == spanledger.stats().feedback_spooled == 0)
    s = spanledger.stats()
    assert (s.spans_sent, s.spans_pending, s.feedback_sent, s.spans_dropped) == (3, 0, 3, {})
    assert sorted(spooling.names()) == ["one", "three", "two"]
    assert b"traces" not in file.read_bytes()


def test_what_is_refused_later_is_counted_and_not_kept_forever(spooling: Collector) -> None:
    spooling.decide = away
    record("one")
    assert spanledger.flush(10)
    spooling.decide = lambda path, body: (400, {}, b"") if path.endswith("traces") else None
    wait_until(lambda: spanledger.stats().spans_spooled == spanledger.stats().feedback_spooled == 0)
    s = spanledger.stats()
    assert (s.spans_dropped, s.spans_pending, s.feedback_sent) == ({"rejected": 1}, 0, 1)


def test_it_is_bounded_and_the_oldest_goes(spooling: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spool, "BYTES_MAX", 3_000)
    spooling.decide = away
    for n in range(30):
        with spanledger.interaction(f"a{n}"):
            pass
        assert spanledger.flush(10)
    s = spanledger.stats()
    assert s.spans_dropped["spool_full"] > 5
    assert s.spans_pending == s.spans_spooled == 30 - s.spans_dropped["spool_full"]
    spooling.requests.clear()
    spooling.decide = lambda path, body: None
    wait_until(lambda: spanledger.stats().spans_spooled == 0)
    assert spooling.names() == [f"a{n}" for n in range(s.spans_dropped["spool_full"], 30)]
    assert spanledger.stats().spans_pending == 0


def test_a_spool_that_cannot_be_written_is_as_none(
    collector: Collector, provider: TracerProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_pipeline, "RETRY_FOR_S", 0.0)
    spanledger.init(endpoint=collector.url, spool="/dev/null/spool", tracer_provider=provider)
    collector.decide = away
    record("one")
    assert spanledger.flush(10)
    assert spanledger.stats().spans_dropped == {"unavailable": 1}
    assert "cannot write its spool" in caplog.text


def test_a_file_that_is_no_database_costs_what_was_in_it_and_is_replaced(spooling: Collector, tmp_path: Path) -> None:
    spooling.decide = away
    record("one")
    assert spanledger.flush(10)
    (file,) = (tmp_path / "spool").glob("*.sqlite")
    file.write_bytes(b"no database" * 1000)
    record("two")
    assert spanledger.flush(10)
    record("three")
    assert spanledger.flush(10)
    spooling.requests.clear()
    spooling.decide = lambda path, body: None
    wait_until(lambda: spanledger.stats().spans_pending == spanledger.stats().feedback_pending == 0)
    assert "three" in spooling.names()
    s = spanledger.stats()
    assert s.spans_dropped["spool_damaged"] >= 1
    assert s.spans_accepted == s.spans_sent + sum(s.spans_dropped.values())


def test_the_collectors_wish_to_wait_holds_for_what_is_on_disk_too(spooling: Collector) -> None:
    spooling.replies = [(503, {"retry-after": "1"}, b"")]
    record("one")
    wait_until(lambda: spanledger.stats().spans_sent == 1)
    assert spooling.arrived_at[1] - spooling.arrived_at[0] >= 1.0
    assert spanledger.stats().retries >= 1


def test_while_the_collector_is_away_new_spans_go_to_the_disk_without_asking(
    spooling: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pipeline, "_BACKOFF_FIRST_S", 60.0)
    monkeypatch.setattr(_pipeline, "_BACKOFF_MAX_S", 60.0)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    spooling.decide = away
    record("first")
    assert spanledger.flush(10)
    asked = len(spooling.requests)
    for n in range(5):
        record(f"later{n}")
        assert spanledger.flush(1)
    assert len(spooling.requests) == asked
    assert spanledger.stats().spans_spooled == 6


def test_a_body_that_is_too_large_is_cut_until_it_fits(spooling: Collector) -> None:
    spooling.decide = away
    for n in range(9):
        with spanledger.interaction(f"s{n}"):
            pass
    for n in range(9):
        spanledger.feedback("0" * 32, "wrong" if n == 4 else f"f{n}", True)
    assert spanledger.flush(10)

    def small_only(path: str, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        if path.endswith("traces"):
            return (413, {}, b"") if body.count(b"spanledger.interaction") > 2 else None
        return (422, {}, b"") if b'"wrong"' in body else None

    spooling.requests.clear()
    spooling.decide = small_only
    wait_until(lambda: spanledger.stats().spans_pending == spanledger.stats().feedback_pending == 0)
    s = spanledger.stats()
    assert (s.spans_sent, s.spans_dropped, s.feedback_sent, s.feedback_dropped) == (9, {}, 8, {"rejected": 1})


def test_what_is_a_day_old_is_not_sent(spooling: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spooling.decide = away
    record("old")
    assert spanledger.flush(10)
    monkeypatch.setattr(_spool, "AGE_S_MAX", 0.0)
    spooling.requests.clear()
    spooling.decide = lambda path, body: None
    wait_until(lambda: spanledger.stats().spans_pending == spanledger.stats().feedback_pending == 0)
    assert spooling.names() == []
    assert (spanledger.stats().spans_dropped, spanledger.stats().feedback_dropped) == ({"expired": 1}, {"expired": 1})


def test_what_is_a_day_old_leaves_the_disk_while_the_collector_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(str(tmp_path), "http://127.0.0.1:9", {})
    spool.put("/v1/traces", 3, b"old")
    monkeypatch.setattr(_spool, "AGE_S_MAX", -1.0)
    kept = spool.put("/v1/traces", 1, b"new")
    assert kept is not None
    assert [(lost.items, lost.reason) for lost in kept[1]] == [(3, "expired")]


def test_losses_are_told_to_the_collector(spooling: Collector, provider: TracerProvider) -> None:
    record("before")
    assert spanledger.flush(10)
    spooling.decide = lambda path, body: (400, {}, b"")
    record("lost")
    assert spanledger.flush(10)
    spooling.decide = lambda path, body: None
    record("after")
    assert spanledger.flush(10)
    first, _, last = spooling.exports()
    assert not [item.key for item in first.resource_spans[0].resource.attributes if item.key.startswith("spanledger.")]
    told = {item.key: item.value for item in last.resource_spans[0].resource.attributes}
    assert told["spanledger.sdk.dropped.rejected"].int_value == 1
    assert told["spanledger.sdk.feedback_dropped.rejected"].int_value == 1
    assert len(told["spanledger.sdk.instance"].string_value) == 16


def test_a_process_counts_what_it_finds_and_cannot_deliver(spooling: Collector, tmp_path: Path) -> None:
    Spool(str(tmp_path / "spool"), spooling.url, {}).put("/v1/traces", 7, b"from another process")
    spooling.decide = lambda path, body: (400, {}, b"") if b"another" in body else None
    record("mine")
    wait_until(lambda: spanledger.stats().inherited_dropped == {"rejected": 7})
    s = spanledger.stats()
    assert (s.spans_accepted, s.spans_dropped) == (1, {})


def test_without_asking_it_is_in_the_users_own_folder(
    collector: Collector, provider: TracerProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPANLEDGER_SPOOL")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    spanledger.init(endpoint=collector.url, tracer_provider=provider)
    collector.decide = away
    record("one")
    assert spanledger.flush(10)
    folder = tmp_path / "state" / "spanledger" / "spool"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(list(folder.glob("*.sqlite"))) == 1
    spanledger.init(endpoint=collector.url, tracer_provider=provider, spool=False, app="other")
    assert spanledger._runtime.state is not None
    assert spanledger._runtime.state.config.spool is None


def test_processes_that_share_the_folder_lose_and_keep_nothing(spooling: Collector, tmp_path: Path) -> None:
    spooling.decide = away
    record("mine")
    assert spanledger.flush(10)
    (file,) = (tmp_path / "spool").glob("*.sqlite")
    other = Spool(str(tmp_path / "spool"), spooling.url, {})
    while (body := other.oldest()) is not None:
        other.remove(body.id)
    assert file.exists()
    wait_until(lambda: spanledger.stats().spans_pending == spanledger.stats().feedback_pending == 0)
    assert spanledger.stats().spans_sent == 1, "the other one took it over"


def test_each_destination_has_its_own_file_and_its_key_is_not_in_it(tmp_path: Path) -> None:
    for headers in ({"authorization": "Bearer a"}, {"authorization": "Bearer b"}, {"x-spanledger-project": "p"}):
        Spool(str(tmp_path), "http://127.0.0.1:9", headers).put("/v1/traces", 1, b"x")
    files = list(tmp_path.iterdir())
    assert len(files) == 3
    assert all(b"Bearer" not in file.read_bytes() for file in files)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("record"), st.integers(1, 5)),
            st.tuples(st.just("reply"), st.sampled_from([200, 400, 401, 413, 429, 503])),
            st.tuples(st.just("flush"), st.just(0)),
            st.tuples(st.just("damage"), st.just(0)),
        ),
        max_size=14,
    )
)
def test_whatever_is_answered_each_span_is_delivered_or_counted(
    spooling: Collector, tmp_path: Path, steps: list[tuple[str, int]]
) -> None:
    before = spanledger.stats()
    taken: set[str] = set()
    recorded = 0
    replies: list[int] = []

    def answer(path: str, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        status = replies.pop(0) if replies else 200
        if status == 200 and path.endswith("traces"):
            request = ExportTraceServiceRequest.FromString(body)
            taken.update(s.span_id.hex() for r in request.resource_spans for scope in r.scope_spans for s in scope.spans)
        return (status, {}, b"")

    spooling.decide = answer
    for step, n in steps:
        if step == "record":
            recorded += n
            for _ in range(n):
                with spanledger.interaction("a"):
                    pass
        elif step == "reply":
            replies.append(n)
        elif step == "flush":
            assert spanledger.flush(10)
        else:
            for file in (tmp_path / "spool").glob("*.sqlite"):
                file.write_bytes(b"no database" * 1000)
    assert spanledger.flush(10)
    replies.clear()
    wait_until(lambda: spanledger.stats().spans_pending == 0)
    after = spanledger.stats()
    lost = sum(after.spans_dropped.values()) - sum(before.spans_dropped.values())
    assert after.spans_sent - before.spans_sent == recorded - lost
    assert len(taken) == recorded - lost


PROGRAM = """
    import sys, time, spanledger
    spanledger.init(app="shop")
    with spanledger.interaction(sys.argv[1]) as it: pass
    spanledger.feedback(it.id, "helpful", True)
    print(time.monotonic(), flush=True)
"""


def run_program(name: str, **env: str) -> float:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPANLEDGER_", "PYTEST_"))}
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, env=kept | env)
    assert "Traceback" not in done.stderr
    return time.monotonic() - float(done.stdout)


@pytest.mark.parametrize("kind", ["unavailable", "silent"])
def test_the_next_process_delivers_what_the_last_one_could_not(collector: Collector, tmp_path: Path, kind: str) -> None:
    env = {"SPANLEDGER_ENDPOINT": collector.url, "SPANLEDGER_SPOOL": str(tmp_path)}
    if kind == "unavailable":
        collector.decide = away
    else:
        collector.delay_s = 8.0
    assert run_program("first", **env) < 3.0
    collector.requests.clear()
    collector.decide = lambda path, body: None
    collector.delay_s = 0.0
    assert run_program("second", **env) < 3.0
    assert sorted(collector.names()) == ["first", "second"]
    assert len({item["id"] for item in collector.feedback()}) == 2

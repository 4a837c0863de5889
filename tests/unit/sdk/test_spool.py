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
from opentelemetry.sdk.trace import TracerProvider

import spanledger
from spanledger import _pipeline, _spool
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
    """The SDK with a spool, impatient: it gives up after one try."""
    monkeypatch.setattr(_pipeline, "RETRY_FOR_S", 0.0)
    monkeypatch.setattr(_pipeline, "_SPOOL_AGAIN_S", 0.1)
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
    (file,) = (tmp_path / "spool").iterdir()
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


def test_a_file_that_is_no_database_does_no_harm(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), "http://127.0.0.1:9", {})
    assert spool.oldest() is None
    assert spool.put("/v1/traces", 1, b"x") is not None
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"no database" * 1000)
    assert spool.put("/v1/traces", 1, b"x") is None
    assert spool.oldest() is None
    assert not spool.remove(1)


def test_each_destination_has_its_own_file_and_its_key_is_not_in_it(tmp_path: Path) -> None:
    for headers in ({"authorization": "Bearer a"}, {"authorization": "Bearer b"}, {"x-spanledger-project": "p"}):
        Spool(str(tmp_path), "http://127.0.0.1:9", headers).put("/v1/traces", 1, b"x")
    files = list(tmp_path.iterdir())
    assert len(files) == 3
    assert all(b"Bearer" not in file.read_bytes() for file in files)


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

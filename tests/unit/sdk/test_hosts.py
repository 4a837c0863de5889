"""Whole host programs: what they answer and raise is the same with and without the SDK, whatever the collector or the disk does,
and they end in time. Each runs in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

Collector = Any  # of conftest.py, which cannot be imported here

HOST = """
    import asyncio, json, os, sys, threading, time
    import spanledger
    if "ON" in os.environ:
        spanledger.init(app="shop")

    class Awkward:
        def __str__(self): raise RuntimeError("no text")
        __repr__ = __str__

    @spanledger.observe
    def divide(a, b): return a / b

    @spanledger.observe
    def count(n):
        for i in range(n):
            got = yield i
            if got == "stop": return "stopped"

    @spanledger.observe
    async def later(n):
        await asyncio.sleep(0)
        if n == 3: raise LookupError(n)
        return n

    def attempt(work):
        try: return repr(work())
        except BaseException as error: return [type(error).__name__, repr(error.args)]

    def generation(n):
        with spanledger.interaction("answer", user=f"u{n}", input="hello " * 200) as it:
            with spanledger.generation("gpt-4o", "openai", input=[{"role": "user", "content": Awkward()}]) as g:
                g.record(output="text " * 200, input_tokens=10, output_tokens=n)
            if n % 5 == 4: raise ValueError(n)
            it.confidence(0.5, source="judge")
        return n

    def stopped():
        steps = count(5)
        next(steps)
        try: steps.send("stop")
        except StopIteration as stop: return stop.value

    async def all_later():
        return [repr(r) for r in await asyncio.gather(*(later(n) for n in range(6)), return_exceptions=True)]

    outcome = [attempt(lambda n=n: generation(n)) for n in range(30)]
    outcome += [attempt(lambda: divide(1, 0)), attempt(lambda: divide(6, 3)), attempt(lambda: list(count(4))), attempt(stopped)]
    outcome += [attempt(lambda: asyncio.run(all_later()))]
    results = {}
    def work(t): results[t] = [attempt(lambda n=n: generation(n)) for n in range(20)]
    threads = [threading.Thread(target=work, args=(t,)) for t in range(4)]
    [t.start() for t in threads]; [t.join() for t in threads]
    outcome += [results[t] for t in sorted(results)]
    print(json.dumps({"outcome": outcome, "at": time.monotonic()}), flush=True)
"""


def run(code: str, *flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPANLEDGER_", "PYTEST_", "OTEL_"))}
    command = [sys.executable, *flags, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, timeout=40, check=False, env=kept | env)


def run_host(*flags: str, code: str = HOST, **env: str) -> tuple[Any, float]:
    """What the host program found, and how long it took to end."""
    done = run(code, *flags, **env)
    ended = time.monotonic()
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout)
    return told["outcome"], ended - told["at"]


@pytest.fixture(scope="module")
def without() -> Any:
    return run_host()[0]


@pytest.fixture
def deaf() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"


@pytest.mark.parametrize(
    "kind",
    ["alive", "optimised", "refused", "deaf", "unavailable", "no TLS", "no such host", "read-only home", "full disk", "slow"],
)
def test_results_and_exceptions_are_the_same_and_the_end_comes_in_time(
    collector: Collector, deaf: str, without: Any, tmp_path: Path, kind: str
) -> None:
    env = {"ON": "1", "SPANLEDGER_ENDPOINT": collector.url, "XDG_STATE_HOME": str(tmp_path)}
    flags, code = (), HOST
    if kind == "optimised":
        flags = ("-O",)
    elif kind == "refused":
        env["SPANLEDGER_ENDPOINT"] = "http://127.0.0.1:9"
    elif kind == "deaf":
        env["SPANLEDGER_ENDPOINT"] = deaf
    elif kind == "no TLS":
        env["SPANLEDGER_ENDPOINT"] = collector.url.replace("http:", "https:")
    elif kind == "no such host":
        env["SPANLEDGER_ENDPOINT"] = "http://no-such-host.invalid"
    elif kind == "slow":
        collector.delay_s = 30.0
    elif kind != "alive":
        collector.decide = lambda path, body: (503, {"retry-after": "1"}, b"")
    if kind == "read-only home":
        env |= {"XDG_STATE_HOME": "/proc/nowhere", "HOME": "/proc/nowhere"}
    elif kind == "full disk":
        code = FULL + "\n" + textwrap.dedent(HOST)
    outcome, exit_s = run_host(*flags, code=code, **env)
    assert outcome == without
    # Two seconds, and what the interpreter and this machine take.
    assert exit_s < 3.0
    if kind in ("alive", "optimised"):
        assert len(collector.names()) == 2 * (30 + 80) + 10
    elif kind in ("refused", "deaf", "unavailable", "slow"):
        assert (tmp_path / "spanledger" / "spool").is_dir(), "what could not be delivered is kept"


NEXT = """
    import spanledger, time
    spanledger.init(app="shop")
    spanledger.feedback("0" * 32, "helpful", True)
    time.sleep(2.0)
"""

KILLED = """
    import os, sys, time, spanledger
    spanledger.init(app="shop")
    for n in range(int(sys.argv[1]) if len(sys.argv) > 1 else 20):
        with spanledger.interaction(f"s{n}"): pass
    time.sleep(2.0)
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_host_that_is_killed_while_the_collector_is_away_loses_the_last_moments_only(
    collector: Collector, tmp_path: Path
) -> None:
    collector.decide = lambda path, body: (503, {}, b"")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPANLEDGER_", "PYTEST_", "OTEL_"))}
    env = {"SPANLEDGER_ENDPOINT": collector.url, "XDG_STATE_HOME": str(tmp_path)}
    host = subprocess.Popen([sys.executable, "-c", textwrap.dedent(KILLED)], stdout=subprocess.PIPE, text=True, env=kept | env)
    try:
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n"
    finally:
        host.kill()
        host.wait(10)
        host.stdout.close()
    collector.requests.clear()
    collector.decide = lambda path, body: None
    done = run(
        "import spanledger, time; spanledger.init(app='shop'); spanledger.feedback('0' * 32, 'x', True); time.sleep(1.5)", **env
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(collector.names()) == sorted(f"s{n}" for n in range(20))


PREFORK = """
    import json, os, signal, sys, threading, time
    import spanledger
    spanledger.init(app="shop", redact=lambda text: text.replace("hush", "...."))
    with spanledger.generation("master", input="hush"): pass
    spanledger.flush(5)

    def worker(number):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        def serve(thread):
            for n in range(10):
                with spanledger.interaction(f"{number}.{thread}.{n}", input="hush"): pass
        threads = [threading.Thread(target=serve, args=(t,)) for t in range(2)]
        [t.start() for t in threads]; [t.join() for t in threads]
        os.write(ready[1], b".")
        while True: time.sleep(0.05)

    ready = os.pipe()
    stop = threading.Event()
    def busy():
        while not stop.is_set():
            with spanledger.generation("busy", input="hush"): pass
            time.sleep(0.001)
    thread = threading.Thread(target=busy); thread.start()
    children = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            try: worker(number)
            except SystemExit: pass
            import atexit
            atexit._run_exitfuncs()
            os._exit(0)
        children.append(pid)
    for _ in children: os.read(ready[0], 1)
    began = time.monotonic()
    for pid in children: os.kill(pid, signal.SIGTERM)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    stop.set(); thread.join()
    print(json.dumps({"outcome": [codes, time.monotonic() - began], "at": time.monotonic()}), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("is_away", [False, True])
def test_workers_that_are_forked_from_a_busy_master_deliver_their_own(
    collector: Collector, tmp_path: Path, is_away: bool
) -> None:
    env = {"SPANLEDGER_ENDPOINT": collector.url, "XDG_STATE_HOME": str(tmp_path)}
    collector.decide = (lambda path, body: (503, {}, b"")) if is_away else collector.decide
    (codes, stopped_s), exit_s = run_host(code=PREFORK, **env)
    assert codes == [0, 0, 0, 0]
    assert stopped_s < 4.0
    assert exit_s < 3.0
    if is_away:
        collector.requests.clear()
        collector.decide = lambda path, body: None
        run(
            "import spanledger, time; spanledger.init(app='shop'); spanledger.feedback('0' * 32, 'x', True); time.sleep(2.5)",
            **env,
        )
    ours = [name for name in collector.names() if "." in name]
    assert sorted(set(ours)) == sorted(f"{w}.{t}.{n}" for w in range(4) for t in range(2) for n in range(10))
    assert b"hush" not in b"".join(export.SerializeToString() for export in collector.exports())


def test_children_of_multiprocessing_deliver_before_they_leave(collector: Collector) -> None:
    code = """
        import multiprocessing, spanledger
        from concurrent.futures import ProcessPoolExecutor
        def work(n):
            with spanledger.generation(f"m{n}"): pass
            return n * n
        if __name__ == "__main__":
            spanledger.init(app="shop", spool=False)
            context = multiprocessing.get_context("fork")
            child = context.Process(target=work, args=(0,)); child.start(); child.join()
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                assert list(pool.map(work, [1, 2, 3])) == [1, 4, 9]
    """
    done = run(code, SPANLEDGER_ENDPOINT=collector.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(collector.names()) == [f"chat m{n}" for n in range(4)]


GEVENT = """
    from gevent import monkey
    BEFORE
    monkey.patch_all()
    import gevent, json, time
    import spanledger
    spanledger.init(app="shop", redact=lambda text: text)
    ticks = []
    def tick():
        while True:
            ticks.append(time.monotonic()); gevent.sleep(0.01)
    ticking = gevent.spawn(tick)
    def serve(n):
        with spanledger.interaction(f"g{n}", input="hello"):
            gevent.sleep(0.01)
            with spanledger.generation(f"m{n}") as call:
                gevent.sleep(0.01)
                call.record(output="text")
        return n
    outcome = [job.get() for job in [gevent.spawn(serve, n) for n in range(50)]]
    gevent.sleep(1.5)
    pauses = [b - a for a, b in zip(ticks, ticks[1:])]
    ticking.kill()
    print(json.dumps({"outcome": [outcome, max(pauses)], "at": time.monotonic()}), flush=True)
"""


@pytest.mark.parametrize("before", ["", "import spanledger"], ids=["patched first", "imported first"])
@pytest.mark.parametrize("is_deaf", [False, True])
def test_greenlets_go_on_while_it_sends(collector: Collector, deaf: str, tmp_path: Path, before: str, is_deaf: bool) -> None:
    pytest.importorskip("gevent")
    env = {"SPANLEDGER_ENDPOINT": deaf if is_deaf else collector.url, "XDG_STATE_HOME": str(tmp_path)}
    (outcome, longest_s), exit_s = run_host(code=GEVENT.replace("BEFORE", before), **env)
    assert outcome == list(range(50))
    # Were a wait of the sender not a greenlet's, everybody would wait a second with it.
    assert longest_s < 0.9
    assert exit_s < 3.0
    if not is_deaf:
        names = collector.names()
        assert sorted(names) == sorted([f"g{n}" for n in range(50)] + [f"chat m{n}" for n in range(50)])
        by_id = {span.span_id: span for span in collector.spans()}
        assert all(
            by_id[s.parent_span_id].name == s.name.replace("chat m", "g") for s in by_id.values() if s.name.startswith("chat")
        )


ENDS = (
    "sys.exit(3)",
    "raise KeyError('x')",
    "os.kill(os.getpid(), 15)",
    "threading.Thread(target=time.sleep, args=(0.3,)).start()",
)


@pytest.mark.parametrize("how", ENDS)
def test_the_program_ends_as_it_would(collector: Collector, how: str) -> None:
    code = f"""
        import os, sys, threading, time, spanledger
        {{init}}
        with spanledger.interaction("a"): pass
        {how}
    """
    plain = run(code.format(init=""))
    ours = run(code.format(init="spanledger.init(app='shop', spool=False)"), SPANLEDGER_ENDPOINT=collector.url)
    assert ours.returncode == plain.returncode
    assert ours.stderr.replace("line 3", "") == plain.stderr.replace("line 3", "")
    if plain.returncode != -signal.SIGTERM:
        assert collector.names() == ["a"]


@pytest.mark.parametrize("spool", ["on", "off"])
def test_a_full_queue_holds_up_the_end_no_longer(tmp_path: Path, spool: str) -> None:
    code = """
        import json, time, spanledger
        spanledger.init(app="shop")
        text = "Where is parcel 1234567 that I ordered, please? " * 120
        for n in range(8000):
            with spanledger.generation("m", input=text): pass
        began = time.monotonic()
        spanledger.shutdown()
        took_s = time.monotonic() - began
        s = spanledger.stats()
        adds_up = s.spans_accepted == s.spans_spooled + sum(s.spans_dropped.values())
        print(json.dumps({"outcome": [took_s, adds_up], "at": time.monotonic()}))
    """
    env = {"SPANLEDGER_ENDPOINT": "http://127.0.0.1:9", "XDG_STATE_HOME": str(tmp_path), "SPANLEDGER_SPOOL": spool}
    (took_s, adds_up), _ = run_host(code=code, **env)
    assert took_s < 3.0
    assert adds_up

"""`spanledger up` and `spanledger dashboard` as a user runs them: real processes, real ports, real signals."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMAND = [sys.executable, "-P", "-c", "import sys; from spanledger.cli import main; sys.exit(main())"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return response.status == 200
    except OSError:
        return False


def wait_for(what, seconds: float = 45) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


def test_a_taken_port_is_named_before_anything_starts():
    with taken_port() as port:
        ended = run("up", "--port", str(port), "--dashboard-port", str(free_port()))
        assert ended.returncode == 1
        assert f"port {port} on 127.0.0.1 is taken" in " ".join(ended.stderr.split())
        assert "--port" in ended.stderr
        ended = run("dashboard", "--port", str(port))
        assert ended.returncode == 1
        assert "is taken" in ended.stderr


def test_one_port_cannot_serve_both():
    port = str(free_port())
    ended = run("up", "--port", port, "--dashboard-port", port)
    assert ended.returncode == 1
    assert "cannot share" in ended.stderr


def test_up_says_where_both_are_and_one_signal_stops_both(tmp_path: Path):
    collector, dashboard = free_port(), free_port()
    command = [*COMMAND, "up", "--port", str(collector), "--dashboard-port", str(dashboard), "--data-dir", str(tmp_path / "data")]
    log = tmp_path / "log"
    # The folder of the user has files that are named like libraries.
    (tmp_path / "click.py").write_text("raise SystemExit('the wrong click')")
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=tmp_path)
    try:
        # The last line, since they are written one by one.
        wait_for(lambda: f"http://127.0.0.1:{dashboard}" in log.read_text())
        assert log.read_text().startswith("Ready in "), "nothing is said before there is something to say"
        assert f"http://127.0.0.1:{collector}" in log.read_text()
        assert f"http://127.0.0.1:{dashboard}" in log.read_text()
        assert answers(f"http://127.0.0.1:{collector}/readyz")
        with urllib.request.urlopen(f"http://127.0.0.1:{dashboard}/", timeout=5) as page:
            assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
            assert page.headers["x-frame-options"] == "DENY"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert not answers(f"http://127.0.0.1:{collector}/healthz")
        assert not answers(f"http://127.0.0.1:{dashboard}/_stcore/health")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def test_up_ends_with_the_collectors_reason_when_it_cannot_start(tmp_path: Path):
    occupied = tmp_path / "a-file"
    occupied.write_text("not a folder")
    ended = run("up", "--port", str(free_port()), "--dashboard-port", str(free_port()), "--data-dir", str(occupied))
    assert ended.returncode == 1
    said = " ".join(ended.stderr.split())
    assert "The collector ended with exit code" in said
    assert "Traceback" not in said

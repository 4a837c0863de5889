"""Processes that benches start and stop: a collector over a folder of its own, and its memory and CPU."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class CollectorProcess:
    """`spanledger serve` as a user runs it; `ready_s` is how long it took to answer `/readyz`."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "spanledger_collector", "serve", "--port", str(self.port), "--data-dir", str(folder)],
            env={**os.environ, **environment},
        )
        while True:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                if self._process.poll() is not None:
                    raise RuntimeError("the collector ended before it was ready") from None
                time.sleep(0.02)
        self.ready_s = time.perf_counter() - started
        self.http = httpx.Client(base_url=self.url, timeout=120)

    def memory_mib(self, field: str = "VmHWM") -> float:
        """Peak (`VmHWM`) or present (`VmRSS`) resident memory."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1_024
        return 0.0

    def cpu_s(self) -> float:
        """CPU seconds that it has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settled(self, timeout_s: float = 60) -> None:
        """Wait until nothing waits to be settled."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.http.get("/api/v1/status").json()["pending_traces"]:
            time.sleep(0.1)

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        self.http.close()
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=60)

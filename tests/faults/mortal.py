"""What the tests of faults share: a collector that may die, senders with patience, and the ledger that they keep themselves."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from live import free_port
from otlp_kit import S, chat, request, trace_hex

PER_REQUEST = 40
ROW_COST_USD = {number: Decimal(number) * Decimal("2.5e-6") + Decimal("10e-5") for number in range(1, PER_REQUEST + 1)}
"""gpt-4o: `number` tokens in at 2.50 USD and 10 out at 10 USD per million."""


class Mortal:
    """A collector in a process of its own, on one folder and port for all its lives."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self._port = free_port()
        self._arguments = ["serve", "--port", str(self._port), "--data-dir", str(folder)]
        self._environment = {**os.environ, "SPANLEDGER_SETTLE_QUIET_S": "0.3", **environment}
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, crash: tuple[str, int] | None = None) -> bool:
        """Start, perhaps in trouble (see `crashing`); whether it became ready (one that is to crash may end before)."""
        head = [sys.executable, "-P", "-m", "spanledger_collector"]
        if crash is not None:
            head = [sys.executable, str(Path(__file__).parent / "crashing.py"), crash[0], str(crash[1])]
        self._process = subprocess.Popen([*head, *self._arguments], env=self._environment)
        for _ in range(1_200):
            if self._process.poll() is not None:
                assert crash is not None, "the collector ended by itself"
                return False
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return True
            time.sleep(0.05)
        raise AssertionError("the collector did not become ready")

    def try_to_start(self) -> str:
        """Start where it may not be possible; what it says of that, in its last words or as the reason why it is not ready."""
        command = [sys.executable, "-P", "-m", "spanledger_collector", *self._arguments]
        self._process = subprocess.Popen(command, env=self._environment, stderr=subprocess.PIPE, text=True)
        for _ in range(600):
            if self._process.poll() is not None:
                return self._process.communicate()[1]
            with contextlib.suppress(httpx.HTTPError):
                return str(httpx.get(f"{self.url}/readyz", timeout=5).json()["reason"])
            time.sleep(0.05)
        raise AssertionError("the collector says nothing")

    @property
    def has_died(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def freeze(self) -> None:
        """Stop it in its tracks; only `kill` ends that."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)


class Sender(threading.Thread):
    """Sends distinct traces, each request until it is acknowledged, as an exporter does; some in parts, some again."""

    def __init__(self, url: str, number: int, stopping: threading.Event, seed: int) -> None:
        super().__init__(daemon=True)
        self._url, self._number, self._stopping = url, number, stopping
        self._random = random.Random(seed)
        self.acknowledged: list[int] = []
        self.resent = 0
        self._sent: list[bytes] = []

    def run(self) -> None:
        count = 0
        while not self._stopping.is_set():
            count += 1
            trace = self._number * 1_000_000 + count
            bodies = self._bodies(trace)
            if all(self._deliver(body) for body in bodies):
                self.acknowledged.append(trace)
                self._sent = [*self._sent[-20:], *bodies]
                if self._random.random() < 0.2:
                    self.resent += 1
                    self._post(self._random.choice(self._sent))

    def _bodies(self, trace: int) -> list[bytes]:
        """The trace in one request, or in three out of order."""
        spans = [S(n, 100, attrs=chat(given=n), trace=trace, start=n * 0.01) for n in ROW_COST_USD]
        spans.append(S(100, attrs={"spanledger.interaction": "job"}, trace=trace))
        if self._random.random() < 0.7:
            return [request(*spans)]
        self._random.shuffle(spans)
        return [request(*spans[part::3]) for part in range(3)]

    def _deliver(self, body: bytes) -> bool:
        for _ in range(1_200):
            if self._post(body):
                return True
            self.resent += 1
            time.sleep(0.05)
        return False

    def _post(self, body: bytes) -> bool:
        try:
            sent = httpx.post(
                f"{self._url}/v1/traces", content=body, headers={"content-type": "application/x-protobuf"}, timeout=10
            )
        except httpx.HTTPError:
            return False
        return sent.status_code == 200


class Load:
    """Senders at work; `end` lets each finish what it is sending."""

    def __init__(self, url: str, senders: int, seed: int = 1) -> None:
        self._stopping = threading.Event()
        self.senders = [Sender(url, number, self._stopping, seed + number) for number in range(1, senders + 1)]
        for sender in self.senders:
            sender.start()

    def end(self) -> list[str]:
        """The traces that were acknowledged."""
        self._stopping.set()
        for sender in self.senders:
            sender.join(90)
        return [trace_hex(trace) for sender in self.senders for trace in sender.acknowledged]


def ask(url: str, measures: list[str], **query: Any) -> list[list[Any]]:
    """Ask a Query and return its rows."""
    answer = httpx.post(f"{url}/api/v1/query", json={"measures": measures, **query}, timeout=60)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["rows"])


def replay_quarantine(url: str) -> int:
    """Send all that was refused again; how many spans there were."""
    replayed = 0
    while tried := httpx.post(f"{url}/api/v1/quarantine/replay", json={}, timeout=120).json()["tried"]:
        replayed += tried
    return replayed


def assert_ledger(url: str, traces: list[str], within_s: float = 5.0) -> None:
    """Every acknowledged span is stored and counted exactly once, and the cost is right to the last digit."""
    began = time.monotonic()
    each = sum(ROW_COST_USD.values())
    wanted: list[Any] = [len(traces), len(traces) * (PER_REQUEST + 1), len(traces) * PER_REQUEST]
    wanted += [len(traces) * sum(ROW_COST_USD), each * len(traces)]
    measures = ["interactions", "spans", "generations", "input_tokens", "cost_usd"]
    while True:
        row = [0] * 5
        for start in range(0, len(traces), 5_000):
            filters = [{"dimension": "trace_id", "op": "in", "values": traces[start : start + 5_000]}]
            part = ask(url, measures, filters=filters)[0]
            row = [have + _number(value) for have, value in zip(row, part, strict=True)]
        if row == wanted:
            return
        assert time.monotonic() - began < within_s, f"{within_s} s after it was ready {row}, not {wanted}"
        time.sleep(0.1)


def _number(value: Any) -> Any:
    return Decimal(value) if isinstance(value, str) else value or 0

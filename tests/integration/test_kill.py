"""A collector that is killed at random moments: what it acknowledged is stored and counted exactly once, to the last digit."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from live import free_port
from otlp_kit import S, chat, request, trace_hex

KILLS = 3
SENDERS = 3
PER_REQUEST = 40
ROW_COST_USD = {number: Decimal(number) * Decimal("2.5e-6") + Decimal("10e-5") for number in range(1, PER_REQUEST + 1)}
"""gpt-4o: `number` tokens in at 2.50 USD and 10 out at 10 USD per million."""


class Mortal:
    """A collector in a process of its own, on one folder and port for all its lives."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._command = [sys.executable, "-P", "-m", "spanledger_collector", "serve", "--port", str(self._port)]
        self._command += ["--data-dir", str(folder)]
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, env={**os.environ, "SPANLEDGER_SETTLE_QUIET_S": "0.3"})
        for _ in range(600):
            assert self._process.poll() is None, "the collector ended by itself"
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError("the collector did not become ready")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Mortal]:
    collector = Mortal(tmp_path / "data")
    yield collector
    collector.stop()


class Sender(threading.Thread):
    """Sends requests of distinct traces, each until it is acknowledged, as an exporter with patience does."""

    def __init__(self, url: str, number: int, stopping: threading.Event, seed: int) -> None:
        super().__init__(daemon=True)
        self._url, self._number, self._stopping = url, number, stopping
        self._random = random.Random(seed)
        self.acknowledged: list[int] = []
        self.resent = 0

    def run(self) -> None:
        count = 0
        while not self._stopping.is_set():
            count += 1
            trace = self._number * 1_000_000 + count
            spans = [S(n, 100, attrs=chat(given=n), trace=trace, start=n * 0.01) for n in ROW_COST_USD]
            body = request(*(S(100, attrs={"spanledger.interaction": "job"}, trace=trace), *spans))
            if self._deliver(body):
                self.acknowledged.append(trace)
                if self._random.random() < 0.2:
                    self.resent += 1
                    self._post(body)

    def _deliver(self, body: bytes) -> bool:
        for _ in range(400):
            if self._post(body):
                return True
            self.resent += 1
            time.sleep(0.05)
        return False

    def _post(self, body: bytes) -> bool:
        try:
            sent = httpx.post(
                f"{self._url}/v1/traces", content=body, headers={"content-type": "application/x-protobuf"}, timeout=5
            )
        except httpx.HTTPError:
            return False
        return sent.status_code == 200


def ask(url: str, measures: list[str], **query: Any) -> list[list[Any]]:
    answer = httpx.post(f"{url}/api/v1/query", json={"measures": measures, **query}, timeout=30)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["rows"])


def test_what_was_acknowledged_is_counted_once_however_often_the_collector_dies(mortal: Mortal) -> None:
    stopping = threading.Event()
    chance = random.Random(20261125)
    senders = [Sender(mortal.url, number, stopping, number) for number in range(1, SENDERS + 1)]
    for sender in senders:
        sender.start()
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.3, 1.5))
        mortal.kill()
        mortal.start()
    stopping.set()
    for sender in senders:
        sender.join(60)
    mortal.kill()
    mortal.start()
    ready = time.monotonic()

    traces = [trace_hex(trace) for sender in senders for trace in sender.acknowledged]
    assert len(traces) > KILLS
    assert sum(sender.resent for sender in senders) > 0
    each = sum(ROW_COST_USD.values())
    wanted = [len(traces), len(traces) * (PER_REQUEST + 1), len(traces) * PER_REQUEST, len(traces) * sum(ROW_COST_USD)]
    filters = [{"dimension": "trace_id", "op": "in", "values": traces}]
    measures = ["interactions", "spans", "generations", "input_tokens", "cost_usd"]
    while True:
        row = ask(mortal.url, measures, filters=filters)[0]
        if [*row[:4], Decimal(row[4] or 0)] == [*wanted, each * len(traces)]:
            break
        assert time.monotonic() - ready < 5, f"five seconds after it was ready {row}, not {wanted} and {each * len(traces)}"
        time.sleep(0.1)
    # Seen from the calls too, trace by trace.
    costs = ask(mortal.url, ["cost_usd", "generations"], dimensions=["trace_id", "model"], filters=filters, limit=100_000)
    assert {(trace, Decimal(cost), count) for trace, _, cost, count in costs} == {(trace, each, PER_REQUEST) for trace in traces}

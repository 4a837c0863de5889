"""A running collector and dashboard with traffic in them, and a browser that looks at them."""

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from tests.browser.traffic import FORMULA, HOSTILE, interaction, requests

from spanledger.client import Client

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@dataclass(frozen=True)
class Stack:
    """A running collector and dashboard with traffic in them."""

    collector: str
    dashboard: str
    hostile_trace: str


def _chromium() -> str | None:
    found = (
        os.environ.get("CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    return found if found and Path(found).exists() else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, f"the server of {url} ended"
        try:
            if httpx.get(url, timeout=1).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{url} did not answer")


def _send(url: str) -> str:
    rng, now = random.Random(11), datetime.now(UTC)
    spans = []
    for i in range(400):
        feature = rng.choice(("search", "search", "support", FORMULA))
        at = now - timedelta(days=14) * (1 - i / 400) - timedelta(minutes=5)
        spans += interaction(rng, at, feature, failed=rng.random() < 0.1)
    bad = interaction(rng, now - timedelta(hours=2), HOSTILE, answer=HOSTILE)
    spans += bad
    with httpx.Client(base_url=url, timeout=60) as client:
        for body in requests(spans, "v142"):
            client.post("/v1/traces", content=body, headers={"content-type": "application/x-protobuf"}).raise_for_status()
        judged = [
            {"trace_id": s.trace_id.hex(), "name": "helpful", "value": rng.random() < 0.8, "source": "user"}
            for s in spans
            if not s.parent_span_id
        ]
        judged.append({"trace_id": bad[0].trace_id.hex(), "name": HOSTILE, "value": False, "source": "user", "comment": HOSTILE})
        client.post("/api/v1/feedback", json=judged).raise_for_status()
    with Client(url) as client:
        for _ in range(150):
            if client.query({"measures": ["interactions"]}).frame["interactions"][0] == 401:
                return bad[0].trace_id.hex()
            time.sleep(0.1)
    raise AssertionError("the traffic was not counted")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if _chromium() is None:
        pytest.skip("there is no Chromium on this machine")
    ports = _free_port(), _free_port()
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    data = tmp_path_factory.mktemp("store") / "data"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPANLEDGER_", "OTEL_"))}
    commands = [
        ["-m", "spanledger_collector", "serve", "--port", str(ports[0]), "--data-dir", str(data)],
        ["-m", "spanledger_dashboard", "--port", str(ports[1]), "--collector", urls[0]],
    ]
    running = [subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL) for command in commands]
    try:
        _await(f"{urls[0]}/readyz", running[0])
        _await(f"{urls[1]}/_stcore/health", running[1])
        yield Stack(urls[0], urls[1], _send(urls[0]))
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


@pytest.fixture(scope="module")  # not the session: Playwright's loop runs in this thread until it is left
def browser() -> Iterator["playwright.Browser"]:
    path = _chromium()
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser, stack) -> Iterator["playwright.Page"]:
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, timezone_id="UTC")
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    yield opened
    context.close()

"""Every question that the dashboard sends, over many generated spans.

The dashboard's own pages are run once against the collector (Streamlit's `AppTest`) while their requests are written down; then
each request is sent again several times with other ends of its range, so that nothing is answered from a cache.
"""

import json
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import streamlit as st
from figures import Figure
from generate import PROJECT, generate
from process import CollectorProcess
from rich.progress import Progress
from streamlit.testing.v1 import AppTest

import spanledger_dashboard
from spanledger_collector.store.embedded import EmbeddedStore
from spanledger_collector.store.migrate import migrate

PAGES = ("overview", "costs", "failures", "confidence", "feedback", "interactions", "alerts")
RANGES = ("24h", "7d", "30d")
TARGET_MS = 150
SLOW_TO_READ = ("/api/v1/alerts/preview",)
"""Not a question of a page as it opens: it evaluates a rule a hundred times, on request."""


def _record(url: str) -> list[tuple[str, str, bytes, str]]:
    """Open every page over every range and note what it asked: method, path with parameters, body, `Accept`."""
    seen: dict[tuple[str, str, bytes], str] = {}
    original = httpx.Client.send

    def send(self: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        target = str(request.url).removeprefix(url)
        if str(request.url).startswith(url) and target.startswith("/api/"):
            seen[request.method, target, request.content] = request.headers.get("accept", "")
        return original(self, request, **more)

    httpx.Client.send = send  # type: ignore[method-assign]
    try:
        for page in PAGES:
            for range_ in RANGES:
                st.cache_data.clear()
                app = AppTest.from_file(str(Path(spanledger_dashboard.__file__).parent / "app.py"), default_timeout=120)
                app.query_params["range"] = range_
                app.query_params["project"] = PROJECT
                app.run()
                if page != "overview":
                    app.switch_page(f"views/{page}.py").run()
                if app.exception:
                    raise RuntimeError(f"{page} failed: {app.exception[0].value}")
    finally:
        httpx.Client.send = original  # type: ignore[method-assign]
    return [(*key, accept) for key, accept in seen.items()]


def _shifted(target: str, body: bytes, step: int) -> tuple[str, bytes]:
    """The same question a little later, so that it is not the same question."""
    if body and body.startswith(b"{"):
        raw = json.loads(body)
        if isinstance(raw, dict) and raw.get("start"):
            start = datetime.fromisoformat(raw["start"]) + timedelta(seconds=37 * step)
            raw["start"] = start.astimezone(UTC).isoformat().replace("+00:00", "Z")
            return target, json.dumps(raw).encode()
    return target, body


def run(quick: bool) -> list[Figure]:
    """Measure; `quick` over a tenth of the spans."""
    spans = 1_000_000 if quick else 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder))
        migrate(store)
        with Progress(transient=True) as progress:
            task = progress.add_task(f"writing {spans:,} spans", total=30)
            generate(store, spans, time.time(), lambda day: progress.update(task, completed=day))
        store.close()
        collector = CollectorProcess(Path(folder))
        try:
            import os

            os.environ["SPANLEDGER_ENDPOINT"] = collector.url
            questions = _record(collector.url)
            timings: list[tuple[float, str]] = []
            for method, target, body, accept in questions:
                if target.startswith(SLOW_TO_READ):
                    continue
                headers = {"accept": accept, "x-spanledger-project": PROJECT, "content-type": "application/json"}
                for step in range(1, 5):
                    path, content = _shifted(target, body, step)
                    started = time.perf_counter()
                    response = collector.http.request(method, path, content=content, headers=headers)
                    took = (time.perf_counter() - started) * 1e3
                    if response.status_code != 200:
                        raise RuntimeError(f"{method} {path} answered {response.status_code}: {response.text[:300]}")
                    timings.append((took, f"{path.split('?')[0]} {content[:400].decode(errors='replace')}"))
            peak = collector.memory_mib()
        finally:
            collector.stop()
    timings.sort()
    times = [took for took, _ in timings]
    p95 = times[int(len(times) * 0.95)]
    slowest = ", ".join(f"{took:.0f} ms {what[:60]}" for took, what in timings[-3:])
    Path("bench-results").mkdir(exist_ok=True)
    Path("bench-results/queries.txt").write_text("\n".join(f"{took:8.1f} ms  {what}" for took, what in reversed(timings)))
    return [
        Figure(
            f"every question of the dashboard ({len(questions)} distinct), {spans:,} spans, p95",
            f"<= {TARGET_MS} ms",
            f"{p95:.0f} ms",
            p95 <= TARGET_MS,
            f"median {statistics.median(times):.0f} ms; slowest: {slowest}",
        ),
        Figure("collector memory while they are answered (peak RSS)", "", f"{peak:,.0f} MiB", None),
    ]

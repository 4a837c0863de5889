"""Durable and settled ingest over HTTP, its ratio to a bare `insert_arrow`, delay until counted, storage and memory."""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from clickhouse_connect import get_client
from figures import Figure
from load import SPANS, make_body
from process import CollectorProcess

from spanledger_collector.ingest.intake import PROTOBUF, Intake
from spanledger_collector.store.embedded import EmbeddedStore
from spanledger_collector.store.migrate import migrate

SPANS_PER_S = 25_000
LOAD = Path(__file__).parent / "load.py"


def _drive(port: int, connections: int, seconds: float, shape: str) -> dict[str, float]:
    command = [sys.executable, str(LOAD), str(port), str(connections), str(seconds), shape, str(connections)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(result.stdout))


def _bare_rates(seconds: float) -> dict[int, float]:
    """Spans per second of a bare `insert_arrow` of the same rows (spans, then content), by rows per block."""
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder))
        migrate(store)
        store.close()
        client = get_client(interface="chdb", path=str(Path(folder) / "clickhouse"), database="spanledger")
        intake = Intake(decompressed_bytes_max=1 << 26, spans_max=100_000)
        rates = {}
        for rows in (512, 8_192):
            groups = []
            for index in range(max(2, 8_192 * 2 // rows)):
                bodies = [make_body(index * 100 + part, "five").renew(random.Random(index)) for part in range(rows // SPANS)]
                parcels = [intake.traces(body, PROTOBUF, "", "bench", time.time_ns())[0] for body in bodies]
                spans = pa.concat_tables([parcel.spans for parcel in parcels if parcel])
                content = pa.concat_tables([parcel.content for parcel in parcels if parcel and parcel.content])
                groups.append((spans, content))
            client.insert_arrow("spans", groups[0][0])
            done, started = 0, time.perf_counter()
            while (took := time.perf_counter() - started) < seconds:
                spans, content = groups[done % len(groups)]
                client.insert_arrow("spans", spans)
                client.insert_arrow("span_content", content)
                done += 1
            rates[rows] = done * rows / took
        client.close()
        return rates


def _delays(collector: CollectorProcess, seconds: float) -> list[float]:
    """Seconds from the answer to a batch until all its interactions are counted, at about 5,000 spans/s."""
    delays: list[float] = []
    began, number = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        tick = time.perf_counter()
        project = f"delay-{number}"
        headers = {"content-type": PROTOBUF, "x-spanledger-project": project if number % 5 == 0 else "delay"}
        body = make_body(number % 7, "five").renew(random.Random(number))
        collector.http.post("/v1/traces", content=body, headers=headers)
        answered = time.perf_counter()
        if number % 5 == 0:
            query: dict[str, Any] = {"measures": ["interactions"]}
            while True:
                answer = collector.http.post("/api/v1/query", json=query, headers=headers | {"content-type": "application/json"})
                if answer.json()["rows"][0][0] == (SPANS + 4) // 5:
                    delays.append(time.perf_counter() - answered)
                    break
                time.sleep(0.02)
        number += 1
        time.sleep(max(0.0, 0.1 - (time.perf_counter() - tick)))
    return sorted(delays)


def _bytes_per_span(folder: Path) -> tuple[float, float]:
    """Bytes on disk per span without and with content, once each day is one part."""
    store = EmbeddedStore(folder)
    try:
        for table in ("spans", "span_content", "interactions", "calls"):
            store.command(f"OPTIMIZE TABLE {table} FINAL")
        sql = (
            "SELECT table, sum(bytes_on_disk) AS b, sum(rows) AS n FROM system.parts "
            "WHERE active AND database = 'spanledger' GROUP BY table"
        )
        found = {row["table"]: row for row in store.read(sql).to_pylist()}
    finally:
        store.close()
    spans = found["spans"]["n"]
    without = sum(found[name]["b"] for name in ("spans", "interactions", "calls"))
    return without / spans, (without + found["span_content"]["b"]) / spans


def run(quick: bool) -> list[Figure]:
    """Measure; `quick` takes seconds instead of minutes and says less."""
    seconds = 4.0 if quick else 12.0
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        collector = CollectorProcess(data)
        figures.append(
            Figure(
                "start of `spanledger serve` to ready, new folder", "<= 3 s", f"{collector.ready_s:.1f} s", collector.ready_s <= 3
            )
        )
        _drive(collector.port, 4, 2, "five")
        best = 0.0
        for shape, words in (("five", "5-span traces"), ("single", "1-span traces")):
            for connections in (1, 4, 16):
                before = collector.cpu_s()
                found = _drive(collector.port, connections, seconds, shape)
                cpu = (collector.cpu_s() - before) / found["spans"] * 1e6
                is_target = connections == 16 and shape == "five"
                best = found["spans_per_s"] if is_target else best
                figures.append(
                    Figure(
                        f"durable and settled ingest, {words}, {connections} connections",
                        f">= {SPANS_PER_S:,} spans/s" if is_target else "",
                        f"{found['spans_per_s']:,.0f} spans/s",
                        found["spans_per_s"] >= SPANS_PER_S if is_target else None,
                        f"p50 {found['p50_s'] * 1e3:.0f} ms, p99 {found['p99_s'] * 1e3:.0f} ms, {cpu:.0f} µs CPU a span",
                    )
                )
            collector.settled()
        peak = collector.memory_mib()
        figures.append(Figure("collector memory under full load (peak RSS)", "<= 1.2 GiB", f"{peak:,.0f} MiB", peak <= 1_228.8))
        collector.stop()
        for rows, rate in _bare_rates(seconds / 2).items():
            target = 1.0 if rows == 512 else 0.3
            ratio = best / rate
            figures.append(
                Figure(
                    f"ratio to a bare insert_arrow of spans and content, {rows:,}-row blocks",
                    f">= {target} x",
                    f"{ratio:.2f} x",
                    ratio >= target,
                    f"bare: {rate:,.0f} spans/s",
                )
            )
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        collector = CollectorProcess(data)
        delays = _delays(collector, 2 * seconds)
        p95 = delays[int(len(delays) * 0.95)]
        figures.append(Figure("from 2xx to counted, about 5,000 spans/s (p95)", "<= 2 s", f"{p95:.2f} s", p95 <= 2))
        collector.settled()
        collector.stop()
        without, with_content = _bytes_per_span(data)
        figures.append(
            Figure(
                "storage per span without content, 5-span traces",
                "<= 100 bytes",
                f"{without:.0f} bytes",
                without <= 100,
                f"with content: {with_content:.0f} bytes",
            )
        )
    return figures

"""Ten times the load: how fast a refusal comes, what is accepted meanwhile, and how much memory it takes."""

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure
from load import SPANS, make_body
from process import CollectorProcess

CONNECTIONS = 400
"""Sixteen saturate a collector; these do not wait after a refusal either."""
REFUSAL_S = 0.1
_RAMP_S = 2.0
_FEW = 24
MEMORY_MIB = 1_228.8


async def _client(port: int, bodies: list[bytes], deadline: float, kept: list[float], refused: list[float]) -> int:
    random_ = random.Random()
    sent = 0
    await asyncio.sleep(random_.uniform(0, _RAMP_S))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < deadline:
        body = random_.choice(bodies)
        head = (
            "POST /v1/traces HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-protobuf\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        started = time.perf_counter()
        try:
            writer.write(head.encode() + body)
            status = await reader.readline()
            took = time.perf_counter() - started
            length, is_last = 0, False
            while (line := await reader.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
                is_last = is_last or line.lower().startswith(b"connection: close")
            await reader.readexactly(length)
        except (ConnectionError, asyncio.IncompleteReadError):
            status, is_last, took = b"", True, 0.0
        if b" 200 " in status:
            sent += 1
            kept.append(took)
        elif b" 503 " in status:
            refused.append(took)
            # As Retry-After asks; whoever was refused must not hear of a lower load than there is.
            await asyncio.sleep(random_.uniform(1.0, 2.0))
        elif status:
            raise RuntimeError(status.decode())
        if is_last:
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return sent


async def drive(port: int, connections: int, seconds: float) -> dict[str, float]:
    """Load without patience; what was kept, and how long refusals took in seconds."""
    bodies = [make_body(index, "five").renew(random.Random(index)) for index in range(40)]
    kept: list[float] = []
    refused: list[float] = []
    deadline = time.perf_counter() + seconds
    sent = await asyncio.gather(*(_client(port, bodies, deadline, kept, refused) for _ in range(connections)))
    refused.sort()
    return {
        "kept": sum(sent),
        "refused": len(refused),
        "p50_s": refused[len(refused) // 2] if refused else 0.0,
        "p99_s": refused[int(len(refused) * 0.99)] if refused else 0.0,
    }


def run(quick: bool) -> list[Figure]:
    """Measure; `quick` takes seconds instead of half a minute."""
    seconds = 5.0 if quick else 20.0
    with tempfile.TemporaryDirectory() as folder:
        collector = CollectorProcess(Path(folder) / "data")
        # The crowd shares two cores with the collector and hears of answers late; a few beside it hear of them at once.
        crowd = _begin(collector.port, CONNECTIONS, seconds + 2)
        time.sleep(_RAMP_S + 1)
        few = _begin(collector.port, _FEW, seconds - 2)
        found, heard = (json.loads(process.communicate()[0]) for process in (crowd, few))
        collector.settled()
        peak = collector.memory_mib()
        counted = collector.http.post("/api/v1/query", json={"measures": ["spans"]}).json()["rows"][0][0]
        collector.stop()
    what = f"ten times the load ({CONNECTIONS} connections)"
    kept = f"{found['refused']:,.0f} refused, {found['kept'] * SPANS / seconds:,.0f} spans/s kept, {counted:,} counted"
    crowd_ms = f"p50 {found['p50_s'] * 1e3:.0f}, p99 {found['p99_s'] * 1e3:.0f} ms"
    words = f"{heard['refused']:,.0f} refusals of {_FEW} clients beside the crowd, which hears {crowd_ms}"
    return [
        Figure(
            f"{what}: a refusal takes",
            "p99 <= 100 ms",
            f"p50 {heard['p50_s'] * 1e3:.0f}, p99 {heard['p99_s'] * 1e3:.0f} ms",
            heard["p99_s"] <= REFUSAL_S,
            words,
        ),
        Figure(f"{what}: memory (peak RSS)", "<= 1.2 GiB", f"{peak:,.0f} MiB", peak <= MEMORY_MIB, kept),
    ]


def _begin(port: int, connections: int, seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, str(port), str(connections), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


if __name__ == "__main__":
    at, count, time_s = sys.argv[1:4]
    print(json.dumps(asyncio.run(drive(int(at), int(count), float(time_s)))))

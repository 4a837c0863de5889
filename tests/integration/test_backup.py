"""A backup is made while the collector runs, is tried out, and gives back every total to the last digit."""

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from live import LiveCollector, free_port
from otlp_kit import S, request


def chat(number: int, trace: int) -> S:
    attrs = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 1_000 + number,
        "gen_ai.usage.output_tokens": 100,
    }
    return S(1, trace=trace, attrs=attrs)


def spanledger(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spanledger_collector", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_whole_and_incremental_backups_are_restored_to_equal_totals(tmp_path: Path) -> None:
    live = LiveCollector()
    try:
        for number in range(1, 21):
            live.send(request(chat(number, number)), "p" if number % 2 else "q")
        live.settled()
        made = live.http.post("/api/v1/backups", json={"name": "sunday"})
        assert made.status_code == 201, made.text
        assert made.json()["totals"]["p"]["interactions"] == 10
        for number in range(21, 26):
            live.send(request(chat(number, number)), "p")
        cost = live.value("cost_usd", "p")
        live.settled()
        second = live.http.post("/api/v1/backups", json={"name": "monday", "base": "sunday"}).json()
        assert second["totals"]["p"] == {"spans": 15, "interactions": 15, "calls": 15, "cost_usd": cost}
        sizes = {item["name"]: item["bytes"] for item in live.http.get("/api/v1/backups").json()["backups"]}
        assert set(sizes) == {"sunday", "monday"}
        for body, status in (({"name": "monday"}, 422), ({"name": "../out"}, 422), ({"name": "x", "base": "never"}, 404)):
            assert live.http.post("/api/v1/backups", json=body).status_code == status
        path = Path(second["path"])
    finally:
        live.stop()
    restored = tmp_path / "restored"
    done = spanledger("restore", str(path), "--data-dir", str(restored))
    assert done.returncode == 0, done.stderr
    assert "Restored and equal" in " ".join(done.stderr.split())
    again = spanledger("restore", str(path), "--data-dir", str(restored))
    assert again.returncode == 1
    assert "is not empty" in " ".join(again.stderr.split())


def test_a_damaged_backup_says_so(tmp_path: Path) -> None:
    live = LiveCollector()
    try:
        live.send(request(chat(1, 1)), "p")
        live.settled()
        path = Path(live.http.post("/api/v1/backups", json={"name": "one"}).json()["path"])
        totals = json.loads((path / "totals.json").read_text())
        totals["totals"]["p"][3] = "0.5"
        (path / "totals.json").write_text(json.dumps(totals))
    finally:
        live.stop()
    done = spanledger("restore", str(path), "--data-dir", str(tmp_path / "restored"))
    assert done.returncode == 1
    assert "not those of the backup" in " ".join(done.stderr.split())
    none = spanledger("restore", str(tmp_path / "nothing"), "--data-dir", str(tmp_path / "other"))
    assert "no backup of Spanledger" in " ".join(none.stderr.split())


@pytest.mark.timeout(120)
def test_a_collector_starts_on_a_restored_store_and_answers_the_same(tmp_path: Path) -> None:
    port = free_port()
    first, second = tmp_path / "first", tmp_path / "second"

    def serve(folder: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "spanledger_collector", "serve", "--port", str(port), "--data-dir", str(folder)]
        process = subprocess.Popen(command)
        for _ in range(200):
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    return process
            except httpx.HTTPError:
                time.sleep(0.1)
        raise AssertionError("it did not start")

    question = {"measures": ["interactions", "cost_usd", "input_tokens"]}
    headers = {"content-type": "application/x-protobuf"}
    url = f"http://127.0.0.1:{port}"
    process = serve(first)
    try:
        for number in range(1, 6):
            httpx.post(f"{url}/v1/traces", content=request(chat(number, number)), headers=headers)
        time.sleep(3)
        before = httpx.post(f"{url}/api/v1/query", json=question).json()["rows"]
        path = httpx.post(f"{url}/api/v1/backups", json={"name": "b"}, timeout=60).json()["path"]
    finally:
        process.terminate()
        process.wait(30)
    assert before[0][0] == 5
    assert spanledger("restore", path, "--data-dir", str(second)).returncode == 0
    process = serve(second)
    try:
        assert httpx.post(f"{url}/api/v1/query", json=question).json()["rows"] == before
        assert httpx.get(f"{url}/api/v1/audit/verify").json()["is_whole"]
    finally:
        process.terminate()
        process.wait(30)

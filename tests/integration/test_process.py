"""The collector as users run it: a process of its own, without what tests happen to have imported."""

import subprocess
import sys
from pathlib import Path

import pytest
from otlp_kit import S, chat, request

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from process import CollectorProcess


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    process = CollectorProcess(tmp_path_factory.mktemp("data"))
    yield process
    process.stop()


def test_every_read_route_answers(served: CollectorProcess) -> None:
    headers = {"content-type": "application/x-protobuf"}
    body = request(S(1, attrs=chat() | {"spanledger.confidence.judge": 0.5}), at=1_790_000_000.123456789)
    assert served.http.post("/v1/traces", content=body, headers=headers).status_code == 200
    served.settled()
    (item,) = served.http.get("/api/v1/interactions").json()["items"]
    for path in (
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/status",
        "/api/v1/projects",
        "/api/v1/catalogue",
        "/api/v1/dimensions/model/values",
        f"/api/v1/interactions/{item['id']}",
        "/api/v1/drift",
        "/api/v1/alerts/rules",
        "/api/v1/alerts/events",
    ):
        response = served.http.get(path)
        assert response.status_code == 200, (path, response.text)


def test_a_second_collector_on_the_same_folder_says_who_has_it(
    served: CollectorProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "data0"
    command = [sys.executable, "-m", "spanledger_collector", "serve", "--port", "1", "--data-dir", str(folder)]
    command[command.index("1")] = str(served.port)
    taken = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert taken.returncode == 1
    assert "--port" in taken.stderr
    command[command.index(str(served.port))] = "39999"
    locked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert locked.returncode == 1
    assert "in use by process" in " ".join(locked.stderr.split())
    assert "Traceback" not in locked.stderr


def test_a_wrong_setting_is_said_in_words(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spanledger_collector", "serve", "--port", "70000", "--data-dir", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert "SPANLEDGER_PORT" in result.stderr
    command[command.index("70000")] = "39998"
    open_to_all = subprocess.run([*command, "--host", "0.0.0.0"], capture_output=True, text=True, check=False, timeout=60)
    assert open_to_all.returncode == 1
    assert "SPANLEDGER_BOOTSTRAP_KEY" in open_to_all.stderr

"""A store that has lost something says so, and goes on only when somebody has looked."""

import shutil
import time
from pathlib import Path

import pytest
from live import LiveCollector, engine_folder
from otlp_kit import S, request
from typer.testing import CliRunner

from spanledger.cli._doctor import doctor
from spanledger_collector.store.compact import compact_one
from spanledger_collector.store.project_book import sweep

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 10, "user.id": "ada"}
DAY = 86_400.0


@pytest.fixture
def live() -> LiveCollector:  # type: ignore[misc]
    collector = LiveCollector()
    for number in range(1, 5):
        collector.send(request(S(1, trace=number, attrs=CHAT), at=time.time() - (number % 2) * 200 * DAY), "p")
        collector.settled()
    yield collector
    collector.stop()


def lose_a_part(live: LiveCollector, table: str) -> int:
    """Delete the folder of the largest part of a table while the engine does not look; its rows."""
    store = live.parts.store
    sql = (
        "SELECT name, path, rows FROM system.parts WHERE database = currentDatabase() AND active AND table = {t:String} "
        "ORDER BY rows DESC LIMIT 1"
    )
    part = store.read(sql, {"t": table}).to_pylist()[0]
    store.command(f"DETACH TABLE {table}")
    path = Path(part["path"])
    assert engine_folder() in path.parents
    shutil.rmtree(path)
    store.command(f"ATTACH TABLE {table}")
    return int(part["rows"])


def test_a_part_that_is_gone_turns_readiness_red_until_somebody_accepts_the_loss(live: LiveCollector) -> None:
    live.parts.manifest.check()
    assert live.http.get("/readyz").status_code == 200
    rows = lose_a_part(live, "interactions")
    live.parts.manifest.check()
    red = live.http.get("/readyz")
    assert red.status_code == 503
    assert f"interactions: {rows} rows of " in red.json()["reason"]
    live.restart()
    assert live.http.get("/readyz").status_code == 503, "a restart does not make it whole"
    runner = CliRunner(env={"SPANLEDGER_ENDPOINT": live.url})
    import typer

    app = typer.Typer()
    app.command()(doctor)
    told = runner.invoke(app, ["--no-write"])
    assert told.exit_code == 1
    assert "has lost data" in " ".join(told.output.split())
    assert "Restore a backup" in " ".join(told.output.split())
    accepted = runner.invoke(app, ["--no-write", "--accept-loss"])
    assert accepted.exit_code == 0, accepted.output
    assert live.http.get("/readyz").status_code == 200
    live.restart()
    assert live.http.get("/readyz").status_code == 200


@pytest.mark.parametrize("table", ["interactions", "calls"])
def test_settled_rows_that_were_lost_are_counted_again_from_their_spans(live: LiveCollector, table: str) -> None:
    measures = ["interactions", "generations", "input_tokens", "cost_usd"]
    before = live.ask(measures, "p", dimensions=["model"])
    live.parts.manifest.check()
    lose_a_part(live, table)
    assert live.ask(measures, "p", dimensions=["model"]) != before
    live.parts.manifest.check()
    answer = live.http.post("/api/v1/store/accept-loss").json()
    assert answer["accepted"] == len(answer["counted_again"]) == 1
    deadline = time.monotonic() + 10
    while live.ask(measures, "p", dimensions=["model"]) != before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    live.restart()
    assert live.ask(measures, "p", dimensions=["model"]) == before
    assert live.http.get("/readyz").status_code == 200


def test_what_is_merged_compacted_or_deleted_on_purpose_is_not_lost(live: LiveCollector) -> None:
    manifest, store = live.parts.manifest, live.parts.store
    manifest.check()
    for table in ("spans", "interactions", "calls"):
        store.command(f"OPTIMIZE TABLE {table} FINAL")
    while compact_one(store, time.strftime("%Y%m%d", time.gmtime()), quiet_s=0):
        pass
    manifest.check()
    assert manifest.problems == []
    assert live.http.put("/api/v1/projects/p", json={"numbers_days": 100}).status_code == 200
    with manifest.deleting():
        assert sweep(store, time.time_ns())["interactions"] >= 2, "two are older than that"
    manifest.check()
    assert manifest.problems == []
    assert live.http.post("/api/v1/erasures", json={"user": "ada"}, headers={"x-spanledger-project": "p"}).status_code == 200
    live.restart()
    assert live.parts.manifest.problems == []
    assert live.http.get("/readyz").status_code == 200

"""What is too old goes, what belongs to one person goes when they ask, and nobody else's numbers move."""

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from live import LiveCollector, engine_folder
from otlp_kit import S, request, span_hex, trace_hex
from typer.testing import CliRunner

from spanledger.cli import _projects
from spanledger_collector.store.project_book import sweep

DAY = 86_400.0
QUICK = dict.fromkeys(("old_parts_lifetime", "cleanup_delay_period", "max_cleanup_delay_period"), 1)
QUICK["cleanup_delay_period_random_add"] = 0
MEASURES = ["interactions", "spans", "generations", "input_tokens", "cost_usd", "feedback_count"]


def chat(user: str | None = None, said: str = "hello", **more: Any) -> dict[str, Any]:
    attrs = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.input.messages": f'[{{"role":"user","parts":[{{"type":"text","content":"{said}"}}]}}]',
        "user.id": user,
        **more,
    }
    return {key: value for key, value in attrs.items() if value is not None}


def call(live: LiveCollector, method: str, path: str, project: str, **more: Any) -> Any:
    response = live.http.request(method, path, headers={"x-spanledger-project": project}, **more)
    assert response.status_code == 200, response.text
    return response.json()


def test_numbers_and_content_are_kept_as_long_as_their_project_says(collector: LiveCollector, project: str) -> None:
    now = time.time()
    for number, days in enumerate((1, 40, 390, 395)):
        collector.send(request(S(1, trace=number + 1, attrs=chat()), at=now - days * DAY), project)
        collector.send(request(S(1, trace=number + 1, attrs=chat()), at=now - days * DAY), project + "-other")
    collector.settled()
    changed = call(collector, "PUT", f"/api/v1/projects/{project}", project, json={"numbers_days": 100})
    assert changed == {"name": project, "numbers_days": 100, "content_days": 30}
    sweep(collector.parts.store, time.time_ns())
    assert collector.value("interactions", project) == 2, "one of yesterday, one of 40 days ago"
    assert collector.value("interactions", project + "-other") == 4, "the others keep 13 months"
    for name, count in ((project, 1), (project + "-other", 1)):
        texts = [
            detail["content"]
            for n in range(1, 5)
            if (found := collector.http.get(f"/api/v1/interactions/{trace_hex(n)}", headers={"x-spanledger-project": name}))
            and (detail := found.json()).get("content")
        ]
        assert len(texts) == count, "what was written is kept for 30 days"
    (listed,) = [item for item in call(collector, "GET", "/api/v1/projects", project)["projects"] if item["name"] == project]
    assert (listed["numbers_days"], listed["content_days"]) == (100, 30)


def test_what_is_no_sensible_retention_is_refused(collector: LiveCollector, project: str) -> None:
    for body, words in (
        ({"numbers_days": 0}, "number of days"),
        ({"content_days": 500}, "cannot outlive"),
        ({"weeks": 3}, "no setting 'weeks'"),
    ):
        refused = collector.http.put(f"/api/v1/projects/{project}", json=body)
        assert refused.status_code == 422
        assert words in refused.json()["detail"]


def files_with(marker: str) -> list[Path]:
    """Files of the data folder in which a text stands in the clear; what the engine has given up is waited for."""
    found = []
    for path in [Path(root) / name for root, _, names in os.walk(engine_folder()) for name in names]:
        try:
            if path.is_file() and marker.encode() in path.read_bytes():
                found.append(path)
        except FileNotFoundError:
            continue
    return found


def test_a_person_is_erased_and_nobody_else(collector: LiveCollector, project: str) -> None:
    at = time.time() - 60
    secret = "marker-7f3a9c"
    user = "user-b41d77-eve"
    whole = [S(1, trace=1, attrs=chat(user, secret)), S(2, 1, trace=1, attrs=chat(None, secret))]
    shared = [
        S(1, trace=2, name="batch", attrs={"gen_ai.operation.name": "invoke_agent"}, end=9.0),
        S(2, 1, trace=2, name="hers", attrs={"spanledger.interaction": "ask", "user.id": user}, end=4.0),
        S(3, 2, trace=2, attrs=chat(None, secret), start=1.0, end=2.0),
        S(4, 1, trace=2, name="his", attrs={"spanledger.interaction": "ask", "user.id": "adam"}, start=5.0, end=8.0),
        S(5, 4, trace=2, attrs=chat(None, "kept"), start=6.0, end=7.0),
    ]
    others = [S(1, trace=number, attrs=chat("adam", "kept")) for number in (3, 4)]
    for spans in (whole, shared, others):
        collector.send(request(*spans, at=at), project)
    judged = [{"trace_id": trace_hex(n), "name": "ok", "value": True, "comment": text} for n, text in ((1, secret), (3, "kept"))]
    call(collector, "POST", "/api/v1/feedback", project, json=judged)
    collector.settled()
    adams = [{"dimension": "user", "op": "in", "values": ["adam"]}]
    before = collector.ask(MEASURES, project, filters=adams)

    his = call(collector, "GET", f"/api/v1/interactions/{trace_hex(2)}-{span_hex(4)}", project)
    assert [span["span_id"] for span in his["spans"]] == [span_hex(4), span_hex(5)], "each mark has its own steps"

    answer = call(collector, "POST", "/api/v1/erasures", project, json={"user": user})
    assert (answer["traces"], answer["interactions_in_shared_traces"], answer["rows_left"]) == (1, 1, 0)
    collector.settled()
    assert collector.ask(MEASURES, project, filters=adams) == before
    assert collector.ask("interactions", project, dimensions=["user"], order_by=["user"]) == [
        {"user": "adam", "interactions": 3},
        {"user": None, "interactions": 1},
    ]
    assert (
        collector.http.get(f"/api/v1/interactions/{trace_hex(1)}", headers={"x-spanledger-project": project}).status_code == 404
    )
    detail = call(collector, "GET", f"/api/v1/interactions/{trace_hex(2)}", project)
    assert secret not in str(detail)
    for table in ("spans", "span_content", "interactions", "calls", "feedback", "span_notes"):
        rows = collector.parts.store.read(f"SELECT * FROM {table} WHERE project = {{p:String}}", {"p": project})
        assert secret not in str(rows.to_pylist())
        assert user not in str(rows.to_pylist())
    entries = call(collector, "GET", f"/api/v1/audit?project={project}", project)["entries"]
    (entry,) = [item for item in entries if item["action"] == "erase user"]
    assert user not in str(entry)
    assert collector.value("interactions", project) == 4


def test_nothing_of_the_person_is_left_in_the_files() -> None:
    live = LiveCollector()
    try:
        user = "person-without-compression-1c9e"
        live.send(request(S(1, trace=1, attrs=chat(user, "something private 1c9e"))), "p")
        live.settled()
        assert files_with(user), "before, it stands there in the clear: the search finds what it looks for"
        call(live, "POST", "/api/v1/erasures", "p", json={"user": user})
        live.settled()
        store = live.parts.store
        for table in ("spans", "span_content", "interactions", "calls", "feedback", "span_notes"):
            # The engine keeps what it has replaced for some minutes, and looks again and again; the test does not wait so long.
            for name, value in QUICK.items():
                store.command(f"ALTER TABLE {table} MODIFY SETTING {name} = {value}")
            store.command(f"DETACH TABLE {table}")
            store.command(f"ATTACH TABLE {table}")
        deadline = time.monotonic() + 60
        while files_with(user) and time.monotonic() < deadline:
            time.sleep(1)
        assert not files_with(user)
        assert not files_with("something private 1c9e")
    finally:
        live.stop()


def test_erasing_waits_for_what_waits(collector: LiveCollector, project: str) -> None:
    store = collector.parts.store
    store.command("DETACH TABLE spans")
    try:
        assert collector.send(request(S(1, attrs=chat("eve"))), project).status_code == 200
        refused = collector.http.post("/api/v1/erasures", json={"user": "eve"}, headers={"x-spanledger-project": project})
        assert refused.status_code == 503
    finally:
        store.command("ATTACH TABLE spans")
    collector.drained()


def test_the_command_line_says_what_it_did(collector: LiveCollector, project: str) -> None:
    collector.send(request(S(1, attrs=chat("eve"))), project)
    runner = CliRunner(env={"SPANLEDGER_ENDPOINT": collector.url})
    kept = runner.invoke(_projects.projects, ["set", project, "--content-days", "7"])
    assert kept.exit_code == 0, kept.output
    assert "content for 7" in re.sub(r"\s+", " ", kept.output)
    collector.settled()
    import typer

    app = typer.Typer()
    app.command()(_projects.erase)
    no = runner.invoke(app, ["--user", "eve", "--project", project], input="n\n")
    assert no.exit_code == 1
    assert collector.value("interactions", project) == 1
    yes = runner.invoke(app, ["--user", "eve", "--project", project, "--yes"])
    assert yes.exit_code == 0, yes.output
    assert collector.value("interactions", project) == 0


@pytest.mark.parametrize("body", [{}, {"user": ""}, {"user": 3}, {"user": "a", "also": "b"}])
def test_whom_to_erase_must_be_said(collector: LiveCollector, project: str, body: dict[str, Any]) -> None:
    assert collector.http.post("/api/v1/erasures", json=body, headers={"x-spanledger-project": project}).status_code == 422

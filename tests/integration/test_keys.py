"""Keys, scopes, projects and the audit log: nobody in who should not be, and nothing done unseen."""

import base64
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from live import LiveCollector
from otlp_kit import S, request, trace_hex
from typer.testing import CliRunner

from spanledger.cli._keys import audit, keys
from spanledger_collector.api.access import ANY, OPEN, RULES, rule_of
from spanledger_collector.governance.keys import SCOPES

ADMIN = "sl-first-key"
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 10,
    "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"my secret prompt"}]}]',
    "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"a secret answer"}]}]',
}
PROTOBUF = {"content-type": "application/x-protobuf"}


@pytest.fixture(scope="module")
def live() -> Iterator[LiveCollector]:
    collector = LiveCollector(bootstrap_key=ADMIN)
    yield collector
    collector.stop()


def call(live: LiveCollector, method: str, path: str, key: str | None, **more: Any) -> httpx.Response:
    headers = {**more.pop("headers", {}), **({"authorization": f"Bearer {key}".encode()} if key else {})}
    return live.http.request(method, path, headers=headers, **more)


def make(live: LiveCollector, *scopes: str, project: str = "p", **more: Any) -> dict[str, Any]:
    body = {"name": "test", "scopes": list(scopes), "project": project, **more}
    response = call(live, "POST", "/api/v1/keys", ADMIN, json=body)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def routes(live: LiveCollector) -> list[tuple[str, str]]:
    paths = live.http.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def test_every_route_has_a_rule_and_every_rule_a_route(live: LiveCollector) -> None:
    described = {("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/docs/oauth2-redirect")}
    assert set(routes(live)) | described == set(RULES)
    assert rule_of("POST", "/api/v1/made-up-tomorrow").scope == "admin"


def test_every_route_takes_exactly_the_scopes_that_its_rule_names(live: LiveCollector) -> None:
    keys = {scope: make(live, scope)["key"] for scope in SCOPES}
    for method, path in routes(live):
        concrete = re.sub(r"\{\w+\}", "0" * 32, path)
        rule = rule_of(method, concrete)
        for scope, key in keys.items():
            if rule.scope == "admin" and scope == "admin":
                continue  # would change things; that an admin may is tested where it is done
            allowed = rule.scope in (OPEN, ANY, scope) or scope == "admin"
            status = call(live, method, concrete, key).status_code
            assert (status != 403) == allowed, (method, path, scope, status)
            assert status != 401, (method, path, scope)
        if rule.scope != OPEN:
            for wrong in (None, "sl-wrong", "sl_0123456789_" + "x" * 43, "é"):
                assert call(live, method, concrete, wrong).status_code == 401, (method, path)


def test_a_key_reads_and_writes_its_own_project_and_no_other(live: LiveCollector) -> None:
    mine, theirs = make(live, "ingest", "read", project="mine"), make(live, "ingest", "read", project="theirs")
    body = request(S(1, attrs=CHAT))
    assert call(live, "POST", "/v1/traces", mine["key"], content=body, headers=PROTOBUF).status_code == 200
    live.settled()
    question = {"measures": ["interactions"]}
    assert call(live, "POST", "/api/v1/query", mine["key"], json=question).json()["rows"] == [[1]]
    assert call(live, "POST", "/api/v1/query", theirs["key"], json=question).json()["rows"] == [[0]]
    assert call(live, "GET", f"/api/v1/interactions/{trace_hex(1)}", theirs["key"]).status_code == 404
    other = {"x-spanledger-project": "mine"}
    refused = call(live, "POST", "/api/v1/query", theirs["key"], json=question, headers=other)
    assert refused.status_code == 403
    assert call(live, "POST", "/v1/traces", theirs["key"], content=body, headers={**PROTOBUF, **other}).status_code == 403
    names = [item["name"] for item in call(live, "GET", "/api/v1/projects", mine["key"]).json()["projects"]]
    assert names == ["mine"]
    chosen = call(live, "POST", "/api/v1/query", ADMIN, json=question, headers=other)
    assert chosen.json()["rows"] == [[1]], "an admin chooses the project"


def test_what_people_wrote_needs_a_scope_of_its_own_and_is_noted(live: LiveCollector) -> None:
    writer = make(live, "ingest", "feedback", project="secrets")
    call(live, "POST", "/v1/traces", writer["key"], content=request(S(1, attrs=CHAT)), headers=PROTOBUF)
    judged = {"trace_id": trace_hex(1), "name": "helpful", "value": False, "comment": "a secret comment"}
    assert call(live, "POST", "/api/v1/feedback", writer["key"], json=judged).status_code == 200
    live.settled()
    numbers, content = make(live, "read", project="secrets"), make(live, "read", "read_content", project="secrets")
    for path in (f"/api/v1/interactions/{trace_hex(1)}", "/api/v1/interactions"):
        blind, seeing = call(live, "GET", path, numbers["key"]), call(live, "GET", path, content["key"])
        assert blind.status_code == seeing.status_code == 200
        assert "secret" not in blind.text.replace("secrets", "")
        assert "my secret prompt" in seeing.text
    assert call(live, "GET", f"/api/v1/interactions/{trace_hex(1)}", numbers["key"]).json()["spans"][0]["cost_usd"]
    entries = call(live, "GET", "/api/v1/audit?project=secrets", ADMIN).json()["entries"]
    reads = [(entry["actor"], entry["subject"]) for entry in entries if entry["action"] == "read content"]
    assert reads == [(f"key:{content['id']}", trace_hex(1))]


def test_a_key_ends_when_it_is_revoked_or_expires_and_two_live_while_it_is_replaced(live: LiveCollector) -> None:
    key = make(live, "read")
    assert call(live, "GET", "/api/v1/status", key["key"]).status_code == 200
    fresh = call(live, "POST", f"/api/v1/keys/{key['id']}/rotate?overlap_s=1", ADMIN).json()
    assert fresh["scopes"] == ["read"]
    for one in (key, fresh):
        assert call(live, "GET", "/api/v1/status", one["key"]).status_code == 200
    time.sleep(1.1)
    assert call(live, "GET", "/api/v1/status", key["key"]).status_code == 401
    assert call(live, "DELETE", f"/api/v1/keys/{fresh['id']}", ADMIN).json()["state"] == "revoked"
    assert call(live, "GET", "/api/v1/status", fresh["key"]).status_code == 401
    soon = (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()
    short = make(live, "read", expires_at=soon)
    assert call(live, "GET", "/api/v1/status", short["key"]).status_code == 200
    time.sleep(0.6)
    assert call(live, "GET", "/api/v1/status", short["key"]).status_code == 401
    listed = {item["id"]: item for item in call(live, "GET", "/api/v1/keys", ADMIN).json()["keys"]}
    assert (listed[key["id"]]["state"], listed[fresh["id"]]["state"]) == ("expired", "revoked")
    assert listed[short["id"]]["last_used_at"] is not None


def test_what_somebody_wrote_is_hidden_wherever_it_stands(live: LiveCollector) -> None:
    """A reason, a value of feedback and the address of a webhook hold words and secrets too."""
    headers = {"x-spanledger-project": "wrote"}
    reasons = {"spanledger.fallback.reason": "HUSH it said no", "spanledger.validation.schema": "passed"}
    body = request(S(1, attrs=CHAT | reasons))
    assert call(live, "POST", "/v1/traces", ADMIN, content=body, headers={**PROTOBUF, **headers}).status_code == 200
    judged = [
        {"trace_id": trace_hex(1), "name": "why", "value": "HUSH about the patient"},
        {"trace_id": trace_hex(1), "name": "kind", "value": "wrong_answer"},
        {"trace_id": trace_hex(1), "name": "helpful", "value": True},
    ]
    assert call(live, "POST", "/api/v1/feedback", ADMIN, json=judged, headers=headers).status_code == 200
    rule = {
        "name": "r",
        "measure": "interactions",
        "window": "1h",
        "comparison": ">=",
        "threshold": "0",
        "webhooks": ["https://hooks.invalid/services/HUSH"],
    }
    made = call(live, "POST", "/api/v1/alerts/rules", ADMIN, json=rule, headers=headers)
    assert made.status_code == 201, made.text
    live.settled()
    numbers, content = make(live, "read", project="wrote")["key"], make(live, "read", "read_content", project="wrote")["key"]
    one = f"/api/v1/interactions/{trace_hex(1)}"
    blind, seeing = call(live, "GET", one, numbers), call(live, "GET", one, content)
    assert "HUSH" not in blind.text
    assert seeing.text.count("HUSH") >= 2
    assert {item["name"]: item["value"] for item in blind.json()["feedback"]} == {
        "why": None,
        "kind": "wrong_answer",
        "helpful": True,
    }
    assert blind.json()["spans"][0]["signals"]["validation.schema"] == "passed"
    for key, shown in ((content, "https://hooks.invalid/…"), (ADMIN, rule["webhooks"][0])):
        (found,) = call(live, "GET", "/api/v1/alerts/rules", key, headers=headers).json()["rules"]
        assert found["webhooks"] == [shown]
    deadline = time.monotonic() + 40
    while True:
        events = call(live, "GET", "/api/v1/alerts/events", ADMIN, headers=headers).json()["events"]
        if events and events[0]["delivery"]:
            break
        assert time.monotonic() < deadline
        time.sleep(0.2)
    told = call(live, "GET", "/api/v1/alerts/events", content)
    assert "HUSH" not in told.text
    assert list(told.json()["events"][0]["delivery"]) == ["https://hooks.invalid/…"]


def test_a_key_of_one_project_is_not_told_how_busy_others_are(live: LiveCollector) -> None:
    body = request(*(S(n, trace=n, attrs=CHAT) for n in range(1, 6)))
    for name, sent in (("busy", body), ("calm", request(S(1, attrs=CHAT), at=time.time() - 7_200))):
        headers = {**PROTOBUF, "x-spanledger-project": name}
        assert call(live, "POST", "/v1/traces", ADMIN, content=sent, headers=headers).status_code == 200
    live.settled()
    mine = call(live, "GET", "/api/v1/status", make(live, "read", project="calm")["key"]).json()
    assert mine["accepted_spans"] == 1
    assert mine["data_through"] < call(live, "GET", "/api/v1/status", ADMIN).json()["data_through"]
    assert {mine[name] for name in ("spans_per_minute", "pending_traces", "spool_bytes", "rejected_spans")} == {None}


def test_a_key_that_follows_another_lives_as_long_and_none_follows_one_that_has_ended(live: LiveCollector) -> None:
    until = datetime.now(UTC) + timedelta(days=90)
    key = make(live, "read", expires_at=until.isoformat())
    fresh = call(live, "POST", f"/api/v1/keys/{key['id']}/rotate", ADMIN).json()
    assert abs(datetime.fromisoformat(fresh["expires_at"]) - until) < timedelta(minutes=1)
    call(live, "DELETE", f"/api/v1/keys/{fresh['id']}", ADMIN)
    refused = call(live, "POST", f"/api/v1/keys/{fresh['id']}/rotate", ADMIN)
    assert (refused.status_code, "has ended" in refused.json()["detail"]) == (422, True)


def test_a_cursor_that_nobody_gave_is_damaged(live: LiveCollector) -> None:
    for given in ('[1e300, "x"]', '[-1e19, "x"]', '["1", "x"]', "{}", "[1]"):
        cursor = base64.urlsafe_b64encode(given.encode()).decode()
        answer = call(live, "GET", "/api/v1/interactions", ADMIN, params={"cursor": cursor})
        assert (answer.status_code, "cursor is damaged" in answer.text) == (422, True), given


def test_secrets_are_shown_once_and_kept_nowhere(live: LiveCollector) -> None:
    made = make(live, "ingest")
    secret = made["key"].rsplit("_", 1)[1]
    assert secret not in call(live, "GET", "/api/v1/keys", ADMIN).text
    rows = live.parts.store.read("SELECT * FROM keys").to_pylist()
    assert secret not in str(rows)
    assert secret not in call(live, "GET", "/api/v1/audit?limit=10000", ADMIN).text


def test_bad_requests_for_keys_are_explained(live: LiveCollector) -> None:
    for body, words in (
        ({"scopes": []}, "scopes is a list"),
        ({"scopes": ["everything"]}, "ingest, feedback, read"),
        ({"scopes": ["read"], "expires_at": "tomorrow"}, "expires_at is no ISO 8601"),
        ({"scopes": ["read"], "expires_at": "1970-01-01T00:00:00Z"}, "in the future"),
        ({"scopes": ["read"], "expires_at": "9999-12-31T00:00:00Z"}, "before the year 2262"),
        ({"scopes": ["read"], "colour": "red"}, "no field 'colour'"),
    ):
        refused = call(live, "POST", "/api/v1/keys", ADMIN, json=body)
        assert refused.status_code == 422
        assert words in refused.json()["detail"]


def test_every_change_is_in_the_audit_log_and_the_log_is_whole(live: LiveCollector) -> None:
    headers = {"x-spanledger-project": "audited"}
    rule = {"name": "r", "measure": "cost_usd", "window": "1h", "comparison": ">", "threshold": "1"}
    made = call(live, "POST", "/api/v1/alerts/rules", ADMIN, json=rule, headers=headers)
    assert made.status_code == 201, made.text
    call(live, "DELETE", f"/api/v1/alerts/rules/{made.json()['id']}", ADMIN, headers=headers)
    entries = call(live, "GET", "/api/v1/audit?project=audited", ADMIN).json()["entries"]
    assert [(entry["actor"], entry["action"].split()[0]) for entry in entries] == [
        ("bootstrap", "DELETE"),
        ("bootstrap", "POST"),
    ]
    verdict = call(live, "GET", "/api/v1/audit/verify", ADMIN).json()
    assert verdict["is_whole"], verdict
    assert verdict["entries"] >= 2


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        ("ALTER TABLE audit_log UPDATE actor = 'somebody else' WHERE number = 3 SETTINGS mutations_sync = 1", "it was changed"),
        ("ALTER TABLE audit_log DELETE WHERE number = 3 SETTINGS mutations_sync = 1", "entry 3 is missing"),
        ("ALTER TABLE audit_log DELETE WHERE number > 4 SETTINGS mutations_sync = 1", "the log ends at 4"),
    ],
)
def test_an_audit_log_that_was_tampered_with_says_where(tamper: str, words: str) -> None:
    live = LiveCollector()
    try:
        for number in range(6):
            live.parts.audit.write("me", "did", "p", f"thing {number}", {"number": number})
        assert live.http.get("/api/v1/audit/verify").json()["is_whole"]
        live.parts.store.command(tamper)
        found = live.http.get("/api/v1/audit/verify").json()
        assert not found["is_whole"]
        assert words in found["reason"]
        live.restart()
        live.parts.audit.write("me", "did", "p", "one more")
        assert not live.http.get("/api/v1/audit/verify").json()["is_whole"], "going on does not heal it"
    finally:
        live.stop()


def test_the_first_key_closes_the_door_behind_it() -> None:
    live = LiveCollector()
    try:
        assert live.http.get("/api/v1/status").status_code == 200
        lame = live.http.post("/api/v1/keys", json={"scopes": ["read"]})
        assert lame.status_code == 422
        assert "needs the scope admin" in lame.json()["detail"]
        key = live.http.post("/api/v1/keys", json={"scopes": ["admin"], "name": "me"}).json()["key"]
        assert live.http.get("/api/v1/status").status_code == 401
        assert call(live, "GET", "/api/v1/status", key).status_code == 200
        live.restart()
        assert live.http.get("/api/v1/status").status_code == 401, "also after a restart"
        assert call(live, "GET", "/api/v1/status", key).status_code == 200
    finally:
        live.stop()


def test_the_door_stays_closed_when_the_last_key_has_ended() -> None:
    live = LiveCollector()
    try:
        soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        assert live.http.post("/api/v1/keys", json={"scopes": ["admin"], "expires_at": soon}).status_code == 201
        time.sleep(1.1)
        assert live.http.get("/api/v1/keys").status_code == 401, "an end that nobody watched must not open it to all"
        live.restart()
        assert live.http.get("/api/v1/keys").status_code == 401
    finally:
        live.stop()


def test_keys_are_known_while_the_store_is_away_and_never_wrongly_refused() -> None:
    live = LiveCollector()
    try:
        key = live.http.post("/api/v1/keys", json={"scopes": ["admin"]}).json()["key"]
        live.parts.store.command("RENAME TABLE keys TO keys_away")
        ring = type(live.parts.ring)(live.parts.store, live.parts.ring._cache, watches=False)
        ring.start()
        assert ring.check(key) is not None, "from the cache"
        blind = type(live.parts.ring)(live.parts.store, live.parts.ring._cache.with_name("none.json"), watches=False)
        blind.start()
        live.parts.doorkeeper._ring = blind
        live.parts.doorkeeper._bootstrap = "something"
        assert call(live, "GET", "/api/v1/status", key).status_code == 503, "an SDK drops data for good on 401"
        live.parts.store.command("RENAME TABLE keys_away TO keys")
    finally:
        live.stop()


def test_the_command_line_makes_replaces_and_ends_keys(live: LiveCollector) -> None:
    runner = CliRunner(env={"SPANLEDGER_API_KEY": ADMIN, "SPANLEDGER_ENDPOINT": live.url})
    made = runner.invoke(
        keys, ["create", "-s", "ingest", "-s", "feedback", "--name", "bot", "--expires-in", "90d", "--project", "shop"]
    )
    assert made.exit_code == 0, made.output
    key = made.stdout.strip().splitlines()[-1]
    assert key.startswith("sl_")
    assert call(live, "POST", "/v1/traces", key, content=request(S(1, attrs=CHAT)), headers=PROTOBUF).status_code == 200
    listed = [json.loads(line) for line in runner.invoke(keys, ["list", "--json"]).stdout.splitlines()]
    (found,) = [item for item in listed if item["name"] == "bot"]
    assert (found["project"], found["scopes"], found["state"]) == ("shop", ["feedback", "ingest"], "live")
    assert runner.invoke(keys, ["revoke", found["id"]]).exit_code == 0
    assert call(live, "POST", "/v1/traces", key, content=b"", headers=PROTOBUF).status_code == 401
    whole = runner.invoke(audit, ["verify"])
    assert whole.exit_code == 0, whole.output
    assert "key revoked" in runner.invoke(audit, ["list", "--project", "shop"]).stdout

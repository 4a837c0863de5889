"""Data rules hold before anything is kept: at every door, whatever the store does, and in whatever order they are written."""

import json
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from kept import everything_kept, log_request, rule
from live import LiveCollector, free_port
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from otlp_kit import S, request, span_hex, trace_hex
from typer.testing import CliRunner

import spanledger
from spanledger.cli import _projects
from spanledger_collector.store.protocol import rows_of

PROTOBUF = {"content-type": "application/x-protobuf"}
MAIL = "ada@example.org"


@pytest.fixture(scope="module")
def live() -> Iterator[LiveCollector]:
    collector = LiveCollector(grpc_port=free_port())
    yield collector
    collector.stop()


def chat(said: str, data_class: str | None = None, purpose: str | None = None, **more: Any) -> dict[str, Any]:
    given = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": said}]}]),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": said}]}]),
        "my_app.prompt": said,
        "spanledger.data_class": data_class,
        "spanledger.purpose": purpose,
        **more,
    }
    return {key: value for key, value in given.items() if value is not None}


def denied(live: LiveCollector, project: str, what: str = "spans") -> int:
    line = f'spanledger_{what}_denied_total{{project="{project}"}} '
    found = [line_ for line_ in live.http.get("/metrics").text.splitlines() if line_.startswith(line)]
    return int(found[0].rpartition(" ")[2]) if found else 0


def as_json(said: str, data_class: str, trace: int) -> bytes:
    given = chat(said, data_class)
    span = {
        "traceId": trace_hex(trace),
        "spanId": span_hex(1),
        "name": "chat",
        "startTimeUnixNano": str(time.time_ns() - 10**9),
        "endTimeUnixNano": str(time.time_ns()),
        "attributes": [
            {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
            for key, value in given.items()
        ],
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def content_of(live: LiveCollector, project: str, trace: int) -> str:
    return json.dumps(live.get(f"/api/v1/interactions/{trace_hex(trace)}", project))


def test_what_is_denied_is_kept_nowhere_at_no_door(live: LiveCollector, project: str) -> None:
    rule(live, project, {"data_class": "secret", "action": "deny"})
    headers = {**PROTOBUF, "x-spanledger-project": project}
    port = live._settings["grpc_port"]
    judged = [("gen_ai.evaluation.result", 0.5, {"gen_ai.evaluation.name": "q", "gen_ai.evaluation.score.value": 1.0,
                "gen_ai.evaluation.explanation": "DENIED-ev"})]  # fmt: skip
    body = request(
        S(1, trace=1, attrs=chat("DENIED-pb", "secret"), events=judged), S(1, trace=2, attrs=chat("allowed-pb", "open"))
    )
    answer = live.send(body, project)
    assert answer.status_code == 200, "nobody is to send it again"
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 1
    assert "data rule" in partial.error_message
    told = live.http.post(
        "/v1/traces", content=as_json("DENIED-json", "secret", 3), headers={**headers, "content-type": "application/json"}
    )
    assert told.json()["partialSuccess"]["rejectedSpans"] == "1"
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        metadata = [("x-spanledger-project", project)]
        message = ExportTraceServiceRequest.FromString(request(S(1, trace=4, attrs=chat("DENIED-grpc", "Secret "))))
        assert TraceServiceStub(channel).Export(message, metadata=metadata).partial_success.rejected_spans == 1
        records = ExportLogsServiceRequest.FromString(log_request("DENIED-grpc-log", "secret"))
        assert LogsServiceStub(channel).Export(records, metadata=metadata).partial_success.rejected_log_records == 3
    answer = live.http.post("/v1/logs", content=log_request("DENIED-log", "secret"), headers=headers)
    assert ExportLogsServiceResponse.FromString(answer.content).partial_success.rejected_log_records == 3
    assert live.http.post("/v1/logs", content=log_request("allowed-log", "open", 2), headers=headers).status_code == 200

    assert live.ask(["spans", "feedback_count"], project) == [{"spans": 1, "feedback_count": 0}]
    assert (denied(live, project), denied(live, project, "logs")) == (3, 6)
    kept = everything_kept(live)
    assert "DENIED" not in kept
    assert "allowed-pb" in kept, "what is kept would have been found"
    assert "allowed-log" in kept


def test_while_the_store_is_away_only_what_the_rules_left_waits_on_disk(live: LiveCollector, project: str) -> None:
    rule(
        live,
        project,
        {"data_class": "secret", "action": "deny"},
        {"data_class": "restricted", "action": "strip"},
        {"data_class": "internal", "action": "redact"},
    )
    live.parts.store.command("DETACH TABLE spans")
    try:
        spans = [
            S(1, trace=1, attrs=chat("HIDDEN-deny", "secret")),
            S(1, trace=2, attrs=chat("HIDDEN-strip", "restricted", more=[1.5, {"deep": [True, "x"]}], nan=float("inf"))),
            S(1, trace=3, attrs=chat(f"mail HIDDEN-{MAIL} or not", "internal")),
            S(1, trace=4, attrs=chat("open words")),
        ]
        answer = live.send(request(*spans), project)
        assert ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans == 1
        headers = {**PROTOBUF, "x-spanledger-project": project}
        live.http.post("/v1/logs", content=log_request("HIDDEN-log", "restricted", 2), headers=headers)
        assert not live.parts.spool.is_empty
        assert live.parts.account.by_project()[project] == {"accepted": 3, "stored": 0, "pending": 3, "quarantined": 0}
        waiting = b"".join(item.body for item in live.parts.spool.oldest(100, 1 << 20)).decode()
        assert "HIDDEN" not in waiting
        assert "open words" in waiting
    finally:
        live.parts.store.command("ATTACH TABLE spans")
    live.drained()
    assert live.ask(["spans", "input_tokens"], project) == [{"spans": 3, "input_tokens": 300}]
    assert live.parts.account.by_project()[project] == {"accepted": 3, "stored": 3, "pending": 0, "quarantined": 0}
    assert "[redacted:email] or not" in content_of(live, project, 3)
    assert "HIDDEN" not in everything_kept(live)


def test_a_rule_made_while_something_waits_holds_for_it_too(live: LiveCollector, project: str) -> None:
    live.parts.store.command("DETACH TABLE spans")
    try:
        body = request(S(1, trace=1, attrs=chat("LATE-words", "secret")), S(1, trace=2, attrs=chat("open")))
        assert live.send(body, project).status_code == 200
        rule(live, project, {"data_class": "secret", "action": "deny"})
    finally:
        live.parts.store.command("ATTACH TABLE spans")
    live.drained()
    assert live.value("spans", project) == 1
    assert live.parts.account.by_project()[project] == {"accepted": 1, "stored": 1, "pending": 0, "quarantined": 0}
    assert denied(live, project) == 1


def test_what_comes_back_from_quarantine_follows_the_rules_of_now(live: LiveCollector, project: str) -> None:
    live.parts.store.command(f"ALTER TABLE spans ADD CONSTRAINT no_{project} CHECK project != '{project}'")
    headers = {"x-spanledger-project": project}
    tagged = {"spanledger.tag.who": MAIL, "spanledger.confidence.judge": 0.5}
    spans = [
        S(1, trace=1, attrs={"spanledger.data_class": "secret"}),
        S(2, 1, trace=1, attrs=chat("BACK-denied")),
        S(1, trace=2, attrs=chat("BACK-stripped", ["restricted", "open"]), status=2, message="BACK-message"),  # type: ignore[arg-type]
        S(1, trace=3, attrs=chat(f"BACK-redacted {MAIL}", "internal", **tagged)),
    ]
    try:
        assert live.send(request(*spans), project).status_code == 200
        of_resource = request(S(1, trace=4, attrs=chat("BACK-resource")), resource={"spanledger.purpose": "training"})
        assert live.send(of_resource, project).status_code == 200
        assert live.parts.account.by_project()[project]["quarantined"] == 5
        rule(
            live,
            project,
            {"data_class": "secret", "action": "deny"},
            {"data_class": "restricted", "action": "strip"},
            {"data_class": "internal", "action": "redact"},
            {"purpose": "training", "action": "mask"},
        )
    finally:
        live.parts.store.command(f"ALTER TABLE spans DROP CONSTRAINT no_{project}")
    replayed = live.http.post("/api/v1/quarantine/replay", json={}, headers=headers).json()
    assert replayed == {"tried": 5, "stored": 3, "denied": 2}
    assert denied(live, project) == 2
    assert live.parts.account.by_project()[project] == {"accepted": 3, "stored": 3, "pending": 0, "quarantined": 0}
    assert live.ask(["generations", "input_tokens"], project) == [{"generations": 3, "input_tokens": 300}]
    stripped, redacted, masked = (content_of(live, project, trace) for trace in (2, 3, 4))
    assert "BACK-redacted [redacted:email]" in redacted
    assert MAIL not in redacted
    assert "confidence.judge" in redacted, "numbers stay"
    assert "BACK" not in stripped + masked
    assert "BACK-denied" not in str(live.parts.store.read("SELECT * FROM span_content").to_pylist())
    assert "[masked]" in masked
    assert live.get("/api/v1/quarantine", project)["items"] == []


def test_content_is_stripped_masked_or_redacted_and_numbers_stay(live: LiveCollector, project: str) -> None:
    rule(
        live,
        project,
        {"data_class": "restricted", "action": "strip"},
        {"data_class": "internal", "action": "mask"},
        {"data_class": "plain", "action": "redact"},
    )
    words = f"WORDS mail {MAIL}, card 4111 1111 1111 1111, call +49 30 901820, at 10.1.2.3, IBAN DE89370400440532013000"
    judged = [
        (
            "gen_ai.evaluation.result",
            0.5,
            {
                "gen_ai.evaluation.name": "quality",
                "gen_ai.evaluation.score.value": 1.0,
                "gen_ai.evaluation.explanation": words,
            },
        ),
        ("gen_ai.user.message", 0.1, {"content": words, "count": 3}),
    ]
    for number, name in enumerate(("restricted", "internal", "plain", "open"), 1):
        span = S(1, trace=number, attrs=chat(words, name, **{"spanledger.tag.who": MAIL}), events=judged, status=2, message=words)
        assert live.send(request(span), project).status_code == 200
    assert live.ask(["generations", "input_tokens", "cost_usd"], project)[0] == {
        "generations": 4,
        "input_tokens": 400,
        "cost_usd": "0.0014",
    }
    stripped, masked, redacted, whole = (content_of(live, project, number) for number in (1, 2, 3, 4))
    for text in (stripped, masked, redacted):
        assert MAIL not in text
    assert MAIL in whole
    assert "WORDS" not in stripped + masked
    assert json.loads(stripped)["spans"][0]["attributes"]["spanledger.content_dropped"] == "data_rule"
    assert "[masked]" in masked
    assert "my_app.prompt" not in stripped
    for kind in ("email", "card", "phone", "ip", "iban"):
        assert f"[redacted:{kind}]" in redacted
    judgements = rows_of(
        live.parts.store.read("SELECT trace_id, score, comment FROM feedback WHERE project = {p:String}", {"p": project})
    )
    assert [item["score"] for item in judgements] == [1.0] * 4
    assert sorted(item["comment"][:5] for item in judgements) == ["", "WORDS", "WORDS", "[mask"]


def test_a_class_is_the_spans_own_then_its_ancestors_then_its_resources(live: LiveCollector, project: str) -> None:
    rule(live, project, {"data_class": "secret", "action": "deny"}, {"data_class": "", "action": "strip"})
    resource = {"spanledger.data_class": "secret"}
    live.send(request(S(1, trace=1, attrs=chat("a")), S(2, trace=1, attrs=chat("b", "open")), resource=resource), project)
    live.send(
        request(
            S(1, trace=2, attrs={"spanledger.data_class": "secret"}),
            S(2, 1, trace=2),
            S(3, 2, trace=2, attrs=chat("c")),
            S(4, 2, trace=2, attrs=chat("FREE", "open")),
            S(5, 9, trace=2, attrs=chat("UNSTATED")),
        ),
        project,
    )
    kept = rows_of(
        live.parts.store.read("SELECT trace_id, span_id FROM spans WHERE project = {p:String} ORDER BY 1, 2", {"p": project})
    )
    assert [(int(row["trace_id"]), int(row["span_id"])) for row in kept] == [(1, 2), (2, 4), (2, 5)]
    text = everything_kept(live)
    assert "FREE" in text
    assert "UNSTATED" not in text, "no class is a class too"


def kept_of(live: LiveCollector, project: str) -> str:
    tables = ("spans", "span_content", "interactions", "calls")
    sql = "SELECT * FROM {} FINAL WHERE project = {{p:String}}"
    return str([live.parts.store.read(sql.format(table), {"p": project}).to_pylist() for table in tables])


def await_gone(live: LiveCollector, project: str, words: str) -> None:
    deadline = time.monotonic() + 15
    while words in kept_of(live, project):
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.1)
    live.settled()


def test_a_class_crosses_requests_whichever_comes_first(live: LiveCollector, project: str) -> None:
    rule(live, project, {"data_class": "restricted", "action": "strip"}, {"data_class": "internal", "action": "mask"})
    root = {"spanledger.data_class": "restricted", "spanledger.tag.tier": "gold"}
    live.send(request(S(1, trace=1, attrs=root)), project)
    live.send(request(S(2, 1, trace=1)), project)
    live.send(request(S(3, 2, trace=1, attrs=chat("CROSS-after"))), project)
    assert "CROSS" not in kept_of(live, project), "of a parent that came before it is never kept"

    headers = {**PROTOBUF, "x-spanledger-project": project}
    for trace, name in ((2, "restricted"), (3, "internal"), (4, "open")):
        live.send(request(S(3, 2, trace=trace, attrs=chat(f"CROSS-{name}"), status=2, message=f"CROSS-{name}")), project)
        live.http.post("/v1/logs", content=log_request(f"CROSS-{name}", None, trace), headers=headers)
        live.send(request(S(2, 1, trace=trace)), project)
        assert f"CROSS-{name}" in kept_of(live, project)
    before = live.ask(["generations", "input_tokens", "cost_usd", "failures"], project)
    for trace, name in ((2, "restricted"), (3, "internal"), (4, "open")):
        live.send(request(S(1, trace=trace, attrs={"spanledger.data_class": name})), project)
    for name in ("restricted", "internal"):
        await_gone(live, project, f'"content": "CROSS-{name}"')
        await_gone(live, project, f"'CROSS-{name}'")
    assert live.ask(["generations", "input_tokens", "cost_usd", "failures"], project) == before, "numbers stay"
    stripped, masked, whole = (content_of(live, project, trace) for trace in (2, 3, 4))
    assert "CROSS" not in stripped + masked
    assert "[masked]" in masked
    assert "CROSS-open" in whole
    live.send(request(S(4, 3, trace=2, attrs=chat("CROSS-later"))), project)
    await_gone(live, project, "CROSS-later")
    live.send(request(S(3, 2, trace=2, attrs=chat("CROSS-restricted"))), project)
    await_gone(live, project, "CROSS-restricted")
    assert '_late_total{project="' + project in live.http.get("/metrics").text


def test_what_turns_out_to_be_denied_is_deleted(live: LiveCollector, project: str) -> None:
    rule(live, project, {"data_class": "secret", "action": "deny"})
    live.send(request(S(2, 1, trace=1, attrs=chat("LATER-denied")), S(5, 9, trace=1, attrs=chat("LATER-beside"))), project)
    live.send(request(S(2, 1, trace=2, attrs=chat("LATER-whole"))), project)
    assert live.value("generations", project) == 3
    live.send(request(*(S(1, trace=trace, attrs={"spanledger.data_class": "secret"}) for trace in (1, 2))), project)
    deadline = time.monotonic() + 20
    while denied(live, project) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert live.ask(["generations", "spans"], project) == [{"generations": 1, "spans": 1}]
    assert "LATER-denied" not in kept_of(live, project)
    assert "LATER-whole" not in kept_of(live, project)
    assert "LATER-beside" in content_of(live, project, 1)


def test_what_an_earlier_process_did_not_come_to_is_looked_after(project: str) -> None:
    collector = LiveCollector()
    try:
        rule(collector, project, {"data_class": "restricted", "action": "strip"})
        collector.send(request(S(2, 1, trace=1, attrs=chat("OLDER-child"))), project)
        collector.settled()
        collector.restart()
        collector.send(request(S(1, trace=1, attrs={"spanledger.data_class": "restricted"})), project)
        await_gone(collector, project, "OLDER-child")
    finally:
        collector.stop()


def test_log_records_follow_their_span_or_their_resource(live: LiveCollector, project: str) -> None:
    rule(live, project, {"data_class": "restricted", "action": "strip"})
    live.send(request(S(1, trace=1, attrs=chat("x", "restricted"))), project)
    headers = {**PROTOBUF, "x-spanledger-project": project}
    assert live.http.post("/v1/logs", content=log_request("LOGGED-span", None, 1), headers=headers).status_code == 200
    of_resource = log_request("LOGGED-resource", None, 7, {"spanledger.data_class": "restricted"})
    assert live.http.post("/v1/logs", content=of_resource, headers=headers).status_code == 200
    live.settled()
    assert "LOGGED" not in everything_kept(live)
    assert live.value("generations", project, filters=[{"dimension": "finish_reason", "op": "in", "values": ["stop"]}]) == 1


def test_what_is_said_of_feedback_follows_the_rules_for_what_states_no_class(live: LiveCollector, project: str) -> None:
    rule(live, project, {"action": "redact"})
    judged = {"trace_id": trace_hex(1), "name": "helpful", "value": True, "comment": f"write to {MAIL}"}
    assert live.http.post("/api/v1/feedback", json=judged, headers={"x-spanledger-project": project}).status_code == 200
    (kept,) = rows_of(live.parts.store.read("SELECT comment FROM feedback WHERE project = {p:String}", {"p": project}))
    assert kept["comment"] == "write to [redacted:email]"


def test_the_strictest_rule_holds_in_any_order_and_is_kept_over_a_restart(project: str) -> None:
    rules = [
        {"action": "redact"},
        {"data_class": "restricted", "action": "mask"},
        {"purpose": "training", "action": "strip"},
        {"data_class": "restricted", "purpose": "training", "action": "deny"},
    ]
    pairs = [("restricted", "training"), ("restricted", "support"), ("open", "training"), ("open", None), (None, None)]
    live = LiveCollector()
    try:
        for turn, order in enumerate((rules, rules[::-1], rules[2:] + rules[:2])):
            rule(live, f"{project}{turn}", *order)
            if turn == 1:
                live.restart()
            body = request(*(S(1, trace=n, attrs=chat(f"word {MAIL}", *pair)) for n, pair in enumerate(pairs, 1)))
            answer = live.send(body, f"{project}{turn}")
            assert ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans == 1
            texts = [content_of(live, f"{project}{turn}", n) for n in (2, 3, 4, 5)]
            assert ["[masked]" in text for text in texts] == [True, False, False, False]
            assert ["word" in text for text in texts] == [False, False, True, True]
            assert not any(MAIL in text for text in texts)
    finally:
        live.stop()


def test_rules_are_for_admins_are_audited_and_hold_at_once() -> None:
    live = LiveCollector(bootstrap_key="sl-secret")
    admin = {"authorization": "Bearer sl-secret"}
    try:

        def key(*scopes: str, project: str = "p") -> dict[str, str]:
            made = live.http.post("/api/v1/keys", json={"scopes": list(scopes), "project": project, "name": "k"}, headers=admin)
            return {"authorization": f"Bearer {made.json()['key']}"}

        body = {"rules": [{"data_class": "secret", "action": "deny"}]}
        path = "/api/v1/projects/p/data-rules"
        assert live.http.put(path, json=body, headers=key("ingest", "read", "review")).status_code == 403
        sender = {**PROTOBUF, **key("ingest")}
        spans = request(S(1, attrs=chat("x", "secret")))
        assert live.http.post("/v1/traces", content=spans, headers=sender).content == b""
        assert live.http.put(path, json=body, headers=admin).status_code == 200
        answer = live.http.post("/v1/traces", content=spans, headers=sender)
        assert ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans == 1
        assert live.http.get(path, headers=key("read")).json() == {
            "project": "p",
            "rules": [{"data_class": "secret", "purpose": None, "action": "deny"}],
        }
        assert live.http.get(path, headers=key("read", project="other")).status_code == 404
        (entry,) = [
            item for item in live.http.get("/api/v1/audit", headers=admin).json()["entries"] if item["action"] == "set data rules"
        ]
        assert (entry["actor"], entry["project"]) == ("bootstrap", "p")
        assert "secret" in str(entry["detail"])
    finally:
        live.stop()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "Send all rules"),
        ({"rules": {}}, "a list"),
        ({"rules": ["deny"]}, "Rule 1 is no object"),
        ({"rules": [{"action": "burn"}]}, "one of deny, strip, mask, redact"),
        ({"rules": [{"action": "deny", "class": "x"}]}, "no field 'class'"),
        ({"rules": [{"action": "deny", "data_class": 7}]}, "data_class of rule 1 is a name"),
        ({"rules": [{"action": "deny", "purpose": "a\nb"}]}, "printable"),
        ({"rules": [{"action": "deny", "data_class": "A"}, {"action": "mask", "data_class": "a "}]}, "same class and purpose"),
        ({"rules": [{"action": "deny"}] * 201}, "at most 200"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_reason(live: LiveCollector, body: dict[str, Any], words: str) -> None:
    refused = live.http.put("/api/v1/projects/p/data-rules", json=body)
    assert refused.status_code == 422
    assert words in refused.json()["detail"]


def test_the_command_sets_shows_and_removes_rules(live: LiveCollector, project: str) -> None:
    runner = CliRunner(env={"SPANLEDGER_ENDPOINT": live.url})

    def run(*words: str) -> Any:
        done = runner.invoke(_projects.projects, list(words))
        return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()] if "--json" in words else done.output

    assert run("set-rule", project, "strip", "--data-class", "restricted", "--json")[0] == 0
    run("set-rule", project, "deny", "--purpose", "training", "--data-class", "", "--json")
    changed = run("set-rule", project, "mask", "--data-class", "Restricted", "--json")
    assert [(item["data_class"], item["purpose"], item["action"]) for item in changed[1]] == [
        ("", "training", "deny"),
        ("Restricted", None, "mask"),
    ]
    code, shown = run("rules", project)
    assert code == 0
    assert "none stated" in shown
    assert run("remove-rule", project, "--data-class", "restricted", "--json")[1] == [changed[1][0]]
    assert run("remove-rule", project, "--data-class", "restricted")[0] == 2
    assert run("set-rule", project, "burn")[0] != 0


def test_retention_and_rules_do_not_undo_each_other(live: LiveCollector, project: str) -> None:
    rule(live, project, {"data_class": "secret", "action": "deny"})
    assert live.http.put(f"/api/v1/projects/{project}", json={"content_days": 7}).json()["content_days"] == 7
    assert len(live.get(f"/api/v1/projects/{project}/data-rules", project)["rules"]) == 1
    rule(live, project)
    assert live.http.put(f"/api/v1/projects/{project}", json={"numbers_days": 99}).json()["content_days"] == 7
    assert live.send(request(S(1, attrs=chat("x", "secret"))), project).content == b"", "no rule, nothing is refused"


def test_the_sdk_does_not_send_again_what_is_denied(live: LiveCollector, project: str) -> None:
    rule(live, project, {"data_class": "secret", "action": "deny"})
    from opentelemetry.sdk.trace import TracerProvider

    before = spanledger.stats()
    spanledger.init(
        "app", endpoint=live.url, project=project, tracer_provider=TracerProvider(shutdown_on_exit=False), spool=False
    )
    try:
        with spanledger.interaction("answer", data_class="secret"), spanledger.generation(model="gpt-4o", input="DENIED-sdk"):
            pass
        with spanledger.interaction("answer"):
            pass
        assert spanledger.flush()
        stats = spanledger.stats()
        rejected = stats.spans_dropped["rejected"] - before.spans_dropped.get("rejected", 0)
        assert (rejected, stats.spans_pending, stats.retries - before.retries) == (2, 0, 0)
    finally:
        spanledger.shutdown()
    assert live.value("spans", project) == 1
    assert denied(live, project) == 2

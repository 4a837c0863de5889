"""What SDKs say that they lost is counted once, however often and in whatever order they say it, and told with what to do."""

import json
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from live import LiveCollector, new_store
from otlp_kit import S, request
from typer.testing import CliRunner

import spanledger
from spanledger import _pipeline
from spanledger.cli import _doctor
from spanledger_collector.ingest.losses import read_losses
from spanledger_collector.store.loss_book import Loss, LossBook
from spanledger_collector.store.migrate import migrate
from spanledger_collector.store.project_book import sweep
from spanledger_collector.store.protocol import rows_of
from spanledger_schema.losses import LOSS_REASONS

TRACES = iter(range(1, 1_000_000))


@pytest.fixture(scope="module")
def live() -> Iterator[LiveCollector]:
    collector = LiveCollector()
    yield collector
    collector.stop()


def report(instance: str = "i1", app: str = "bot", feedback: dict[str, int] | None = None, **dropped: int) -> bytes:
    resource: dict[str, Any] = {"service.name": app, "spanledger.sdk.instance": instance}
    resource |= {f"spanledger.sdk.dropped.{reason}": count for reason, count in dropped.items()}
    resource |= {f"spanledger.sdk.feedback_dropped.{reason}": count for reason, count in (feedback or {}).items()}
    return request(S(1, trace=next(TRACES)), resource=resource)


def written(live: LiveCollector) -> None:
    live.parts.losses.write()


def in_metrics(live: LiveCollector, project: str, signal: str = "spans") -> dict[str, int]:
    start = f'spanledger_sdk_dropped_{signal}_total{{project="{project}",reason="'
    lines = [line.removeprefix(start) for line in live.http.get("/metrics").text.splitlines() if line.startswith(start)]
    return {line.partition('"')[0]: int(line.rpartition(" ")[2]) for line in lines}


def test_reports_in_any_order_and_number_add_up_to_the_highest(live: LiveCollector, project: str) -> None:
    bodies = [
        report(queue_full=5),
        report(queue_full=12, expired=1),
        report(queue_full=20, expired=1, feedback={"unreachable": 2}),
        report("i2", queue_full=3),
        report("i3", app="other", unreachable=7),
    ]
    chance = random.Random(5)
    sent = bodies * 3
    chance.shuffle(sent)
    for number, body in enumerate(sent):
        assert live.send(body, project).status_code == 200
        if number % 4 == 0:
            written(live)
    written(live)
    assert live.ask(["sdk_dropped_spans", "sdk_dropped_feedback"], project) == [
        {"sdk_dropped_spans": 31, "sdk_dropped_feedback": 2}
    ]
    rows = live.ask("sdk_dropped_spans", project, dimensions=["app", "loss_reason"], order_by=["-sdk_dropped_spans"])
    assert [(row["app"], row["loss_reason"], row["sdk_dropped_spans"]) for row in rows if row["sdk_dropped_spans"]] == [
        ("bot", "queue_full", 23),
        ("other", "unreachable", 7),
        ("bot", "expired", 1),
    ]
    assert in_metrics(live, project) == {"queue_full": 23, "unreachable": 7, "expired": 1}
    assert in_metrics(live, project, "feedback") == {"unreachable": 2}
    assert live.value("sdk_dropped_spans", f"{project}-other") == 0
    kept = [{"dimension": "loss_reason", "op": "in", "values": ["expired", "unreachable"]}]
    assert live.value("sdk_dropped_spans", project, filters=kept) == 8
    by_hour = live.ask(["sdk_dropped_spans", "spans"], project, granularity="hour", dimensions=["app"])
    assert sum(row["sdk_dropped_spans"] for row in by_hour) == 31, "beside what arrived, in one question"
    values = live.get("/api/v1/dimensions/loss_reason/values", project)["values"]
    assert set(values) == {"queue_full", "expired", "unreachable"}


COUNTS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["queue_full", "expired"]), st.integers(1, 50)),
    min_size=1,
    max_size=12,
)
STORE = []


@given(COUNTS, st.randoms(), st.lists(st.booleans(), min_size=40, max_size=40))
@settings(max_examples=25)
def test_shuffled_and_repeated_reports_give_the_same_totals(
    counts: list[tuple[str, str, int]], chance: random.Random, writes: list[bool]
) -> None:
    if not STORE:
        STORE.append(new_store())
        migrate(STORE[0])
    store, project = STORE[0], f"{chance.random()}{time.time_ns()}"
    sent = counts + chance.choices(counts, k=len(counts))
    chance.shuffle(sent)
    # Two collectors, and one that starts anew in the middle.
    books = [LossBook(store), LossBook(store)]
    for number, (instance, reason, count) in enumerate(sent):
        book = chance.choice(books)
        book.take([Loss(project, instance, "spans", reason, count, "bot", "", "", time.time_ns())])
        if writes[number]:
            book.write()
        if number == len(sent) // 2:
            books[0].write()
            books[0] = LossBook(store)
    for book in books:
        book.write()
    highest: dict[tuple[str, str], int] = {}
    for instance, reason, count in counts:
        highest[instance, reason] = max(count, highest.get((instance, reason), 0))
    expected = {reason: sum(n for (_, name), n in highest.items() if name == reason) for _, reason, _ in counts}
    assert {reason: n for name, _, reason, n in books[1].totals() if name == project} == expected
    from spanledger_collector.query.compile import compile_query
    from spanledger_schema.query import Query

    sql = compile_query(Query(measures=("sdk_dropped_spans",), dimensions=("loss_reason",)), project)
    answered = {row["d0"]: row["m0"] for row in rows_of(store.read(sql.text, sql.parameters))}
    assert answered == expected, "the measure, too"


def test_reports_survive_a_restart_and_an_outage() -> None:
    live = LiveCollector()
    try:
        live.send(report(queue_full=5), "p")
        live.restart()
        assert in_metrics(live, "p") == {"queue_full": 5}, "written when the collector stops"
        live.send(report(queue_full=5), "p")
        live.parts.store.command("DETACH TABLE sdk_losses")
        live.send(report(queue_full=9), "p")
        time.sleep(2.5)
        assert in_metrics(live, "p") == {"queue_full": 5}, "as last known"
        live.parts.store.command("ATTACH TABLE sdk_losses")
        deadline = time.monotonic() + 5
        while in_metrics(live, "p") != {"queue_full": 9}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        live.stop()


@pytest.mark.parametrize(
    "resource",
    [
        {},
        {"spanledger.sdk.dropped.queue_full": 5},
        {"spanledger.sdk.instance": "", "spanledger.sdk.dropped.queue_full": 5},
        {"spanledger.sdk.instance": "x" * 65, "spanledger.sdk.dropped.queue_full": 5},
        {"spanledger.sdk.instance": 7, "spanledger.sdk.dropped.queue_full": 5},
        {"spanledger.sdk.instance": "a", "spanledger.sdk.dropped.queue_full": "5"},
        {"spanledger.sdk.instance": "a", "spanledger.sdk.dropped.queue_full": True},
        {"spanledger.sdk.instance": "a", "spanledger.sdk.dropped.queue_full": 0},
        {"spanledger.sdk.instance": "a", "spanledger.sdk.dropped.queue_full": -5},
        {"spanledger.sdk.instance": "a", "spanledger.sdk.dropped.queue_full": 2**60},
        {"spanledger.sdk.instance": "a", 'spanledger.sdk.dropped.x"} 1\n': 5},
        {"spanledger.sdk.instance": "a", "spanledger.sdk.dropped.": 5},
    ],
)
def test_what_is_no_report_is_not_believed(resource: dict[str, Any]) -> None:
    assert read_losses(resource, "p", 1) == []


def test_a_report_names_no_more_than_some_reasons() -> None:
    resource = {"spanledger.sdk.instance": "a", **{f"spanledger.sdk.dropped.r{n}": 1 for n in range(500)}}
    assert len(read_losses(resource, "p", 1)) == 32


def test_reports_older_than_the_project_keeps_numbers_go(live: LiveCollector, project: str) -> None:
    old = time.time_ns() - int(timedelta(days=400).total_seconds() * 1e9)
    book = live.parts.losses
    book.take([Loss(project, "old", "spans", "queue_full", 5, "bot", "", "", old)])
    book.take([Loss(project, "new", "spans", "queue_full", 7, "bot", "", "", time.time_ns())])
    book.write()
    assert live.value("sdk_dropped_spans", project) == 12
    sweep(live.parts.store, time.time_ns())
    assert live.value("sdk_dropped_spans", project) == 7


def test_a_loss_counts_when_it_was_first_heard_of(live: LiveCollector, project: str) -> None:
    live.send(report(queue_full=4), project)
    written(live)
    soon = datetime.now(UTC) + timedelta(seconds=0.05)
    time.sleep(0.1)
    live.send(report(queue_full=10), project)
    written(live)
    assert live.value("sdk_dropped_spans", project, end=soon.isoformat()) == 4
    assert live.value("sdk_dropped_spans", project, start=soon.isoformat()) == 6


def test_an_alert_can_watch_losses(live: LiveCollector, project: str) -> None:
    rule = {
        "name": "losses",
        "measure": "sdk_dropped_spans",
        "window": "1h",
        "comparison": ">",
        "threshold": "0",
        "group_by": ["app"],
    }
    headers = {"x-spanledger-project": project}
    made = live.http.post("/api/v1/alerts/rules", json=rule, headers=headers)
    assert made.status_code in (200, 201), made.text
    live.send(report(queue_full=4), project)
    preview = live.http.post(
        "/api/v1/alerts/preview",
        json={**rule, "start": (datetime.now(UTC) - timedelta(hours=3)).isoformat(), "end": datetime.now(UTC).isoformat()},
        headers=headers,
    )
    assert preview.status_code == 200, preview.text


@pytest.mark.parametrize("route", ["changes", "distribution", "waste", "caching"])
def test_costs_are_not_asked_by_reasons_of_loss(live: LiveCollector, route: str) -> None:
    filters = [{"dimension": "loss_reason", "op": "in", "values": ["queue_full"]}]
    for measure in ("cost_usd", "sdk_dropped_spans"):
        body = {"measures": [measure], "filters": filters, "start": "2026-11-01T00:00:00Z", "end": "2026-11-02T00:00:00Z"}
        answer = live.http.post(f"/api/v1/costs/{route}", json=body)
        assert answer.status_code == 422, (route, measure, answer.text)


def doctor(live: LiveCollector, project: str) -> tuple[int, list[dict[str, Any]]]:
    app = typer.Typer()
    app.command()(_doctor.doctor)
    done = CliRunner(env={"SPANLEDGER_ENDPOINT": live.url}).invoke(app, ["--no-write", "--json", "--project", project])
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return done.exit_code, [item for item in found if item["what"] == "sdk losses"]


def test_the_doctor_says_what_to_do_about_each_reason(live: LiveCollector, project: str) -> None:
    assert doctor(live, project) == (0, [])
    live.send(report(denied=3), project)
    written(live)
    code, (meant,) = doctor(live, project)
    assert (code, meant["ok"]) == (0, None), "what an application drops on purpose is no failure"
    for number, reason in enumerate(LOSS_REASONS):
        live.send(report(f"n{number}", feedback={"queue_full": 2}, **{reason: 1_200}), project)
    live.send(report("newer", app="", brand_new=1), project)
    written(live)
    code, found = doctor(live, project)
    assert code == 1
    said = "\n".join(item["detail"] for item in found)
    for known in LOSS_REASONS.values():
        assert known.advice in said
    assert "1,200 spans and 24 judgements" in said
    assert "brand new" in said


def test_a_host_that_loses_spans_is_seen_in_the_ledger(
    live: LiveCollector, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(_pipeline, "SPANS_MAX", 10)
    before = spanledger.stats()
    spanledger.init("bot", endpoint=live.url, project=project, tracer_provider=provider, spool=False)
    try:
        for _ in range(2_000):
            with spanledger.interaction("answer"):
                pass
        assert spanledger.flush()
        lost = spanledger.stats().spans_dropped
        assert lost.get("queue_full", 0) > 0
        with spanledger.interaction("answer"):
            pass
        assert spanledger.flush()
        written(live)
        assert in_metrics(live, project) == spanledger.stats().spans_dropped
        stats = spanledger.stats()
        # The SDK counts for the process, whichever collector it spoke to before.
        assert live.value("spans", project) == stats.spans_sent - before.spans_sent
        assert live.value("sdk_dropped_spans", project) == sum(stats.spans_dropped.values())
    finally:
        spanledger.shutdown()

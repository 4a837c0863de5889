"""Re-pricing: history costs what is known now, totals move by exactly what is told, and it is on record."""

import time
from decimal import Decimal
from typing import Any

import pytest
from live import LiveCollector
from otlp_kit import S, chat, request

HOUSE = {"gen_ai__request__model": "house-7b", "gen_ai__response__model": "house-7b", "gen_ai__provider__name": "vllm"}
PRICE = {"provider": "vllm", "model": "house-*", "prices": {"input": "3", "output": "7"}}


def post(collector: LiveCollector, path: str, body: Any, project: str, wanted: int) -> dict[str, Any]:
    response = collector.http.post(path, json=body, headers={"x-spanledger-project": project})
    assert response.status_code == wanted, response.text
    return dict(response.json())


def reprice(collector: LiveCollector, project: str, **scope: Any) -> dict[str, Any]:
    collector.settled()
    made = post(collector, "/api/v1/reprices", scope, project, 202)
    for _ in range(400):
        found = collector.get(f"/api/v1/reprices/{made['id']}", project)
        if found["state"] not in ("queued", "running"):
            assert found["state"] == "done"
            return dict(found)
        time.sleep(0.02)
    raise AssertionError("it did not end")


def total(collector: LiveCollector, project: str) -> Decimal:
    return Decimal(collector.value("cost_usd", project) or 0)


@pytest.fixture
def history(collector: LiveCollector, project: str) -> str:
    """A hundred traces: calls to a model without a price, and to one with, on two days."""
    now = time.time()
    for day in (0, 1):
        spans = []
        for trace in range(1 + day, 101, 2):
            spans.append(S(1, attrs={"spanledger.interaction": "answer"}, trace=trace))
            spans.append(S(2, 1, attrs=chat(given=1_000 + trace, produced=trace, **HOUSE), trace=trace))
            spans.append(S(3, 1, attrs=chat(given=500, produced=5), trace=trace))
        collector.send(request(*spans, at=now - 30 - 90_000 * day), project)
    collector.settled()
    return project


def test_totals_move_by_exactly_what_is_told(collector: LiveCollector, history: str) -> None:
    before = total(collector, history)
    assert collector.value("unpriced_generations", history) == 100
    post(collector, "/api/v1/prices", PRICE, history, 201)
    assert total(collector, history) == before
    dry = reprice(collector, history, dry_run=True)
    assert total(collector, history) == before
    done = reprice(collector, history)
    after = total(collector, history)
    worth = sum(Decimal(3 * (1_000 + trace) + 7 * trace) / 10**6 for trace in range(1, 101))
    assert after - before == worth == Decimal(done["difference_usd"]) == Decimal(dry["difference_usd"])
    assert collector.value("unpriced_generations", history) == 0
    assert sum(Decimal(change["difference_usd"]) for change in done["changes"]) == worth
    (change,) = done["changes"]
    assert (change["model"], change["calls"], change["why"]) == ("house-7b", 100, "a price is known now")
    assert change["before"] == {"status": "unpriced", "price": "unknown_model", "usd": "0"}
    assert change["after"]["price"].startswith("user/")
    assert (done["traces_total"], done["traces_done"], done["calls_changed"]) == (100, 100, 100)
    again = reprice(collector, history)
    assert (again["difference_usd"], again["changes"], again["calls_changed"]) == ("0", [], 0)
    assert total(collector, history) == after
    # Interactions and breakdowns say the same.
    by_model = collector.ask("cost_usd", history, dimensions=["model"])
    assert sum(Decimal(row["cost_usd"]) for row in by_model) == after
    records = collector.get("/api/v1/reprices", history)["reprices"]
    assert [(record["dry_run"], record["calls_changed"]) for record in records] == [(False, 0), (False, 100), (True, 100)]


def test_a_dry_run_knows_what_twins_in_other_traces_told(collector: LiveCollector, project: str) -> None:
    """The user's trace is billed, by what the provider's client counted in a trace of its own."""
    model = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5"}
    said = {"gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "It lies there."}]}]'}
    counts = {"gen_ai.usage.input_tokens": 1_000, "gen_ai.usage.output_tokens": 50, "gen_ai.response.id": "msg_1"}
    spans = [
        S(1, attrs={"spanledger.interaction": "answer"}, trace=1, end=2.0),
        S(2, 1, scope="logfire.anthropic", attrs=model | said, trace=1, start=0.1, end=1.0),
        S(3, scope="com.anthropic.sdk.python", attrs=model | counts, trace=2, start=0.12, end=0.98),
    ]
    collector.send(request(*spans, at=time.time() - 60), project)
    collector.settled()
    before = total(collector, project)
    assert before == Decimal("0.00375"), "1,000 tokens at 3 and 50 at 15 USD a million"
    for dry_run in (True, False):
        done = reprice(collector, project, dry_run=dry_run)
        assert (done["difference_usd"], done["calls_changed"]) == ("0", 0)
    assert total(collector, project) == before


def test_a_part_of_history_only(collector: LiveCollector, history: str) -> None:
    post(collector, "/api/v1/prices", PRICE, history, 201)
    post(collector, "/api/v1/prices", {"provider": "openai", "model": "gpt-4o*", "multiplier": "0.5"}, history, 201)
    yesterday = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3_600))
    late = reprice(collector, history, since=yesterday, dry_run=True)
    assert late["traces_total"] == 50
    assert {change["why"] for change in late["changes"]} == {"a price is known now", "a price of yours applies now"}
    early = reprice(collector, history, until=yesterday, dry_run=True)
    assert early["traces_total"] == 50
    none = reprice(collector, history, model="claude*", dry_run=True)
    assert (none["traces_total"], none["calls_changed"]) == (0, 0)
    some = reprice(collector, history, model="GPT-4o*", dry_run=True)
    assert some["traces_total"] == 100


def test_a_retired_price_goes_back_to_unknown(collector: LiveCollector, history: str) -> None:
    made = post(collector, "/api/v1/prices", PRICE, history, 201)["prices"][0]
    reprice(collector, history)
    before = total(collector, history)
    collector.http.delete(f"/api/v1/prices/{made['id']}", headers={"x-spanledger-project": history})
    done = reprice(collector, history)
    assert total(collector, history) - before == Decimal(done["difference_usd"]) < 0
    assert collector.value("unpriced_generations", history) == 100
    assert done["changes"][0]["why"] == "its price is not known any more"


@pytest.mark.parametrize(
    "body", [{"since": "soon"}, {"dry_run": "yes"}, {"model": 5}, {"form": 1}, {"since": "2026-02-01", "until": "2026-01-01"}]
)
def test_a_wrong_request_is_refused_in_words(collector: LiveCollector, body: dict[str, Any]) -> None:
    answer = post(collector, "/api/v1/reprices", body, "p", 422)
    assert len(answer["detail"]) > 10


def test_the_record_survives_a_restart() -> None:
    collector = LiveCollector()
    try:
        collector.send(request(S(1, attrs=chat(**HOUSE))), "p")
        collector.settled()
        post(collector, "/api/v1/prices", PRICE, "p", 201)
        done = reprice(collector, "p")
        assert done["calls_changed"] == 1
        collector.restart()
        assert collector.get(f"/api/v1/reprices/{done['id']}", "p") == done
        assert collector.get("/api/v1/reprices", "other")["reprices"] == []
    finally:
        collector.stop()

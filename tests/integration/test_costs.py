"""Spending in more than one number, over HTTP: what changed adds up, causes of waste add up, other models cost what they cost."""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live import LiveCollector
from otlp_kit import S, request

from spanledger_collector.costs.changes import EFFECTS, Traffic, decompose
from spanledger_collector.costs.forecast import forecast

DAY = 86_400.0


def chat(model: str = "gpt-4o", given: int | None = 1_000, produced: int | None = 100, **more: Any) -> dict[str, Any]:
    attrs = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": given,
        "gen_ai.usage.output_tokens": produced,
        **more,
    }
    return {key: value for key, value in attrs.items() if value is not None}


def ask(collector: LiveCollector, project: str, path: str, **body: Any) -> dict[str, Any]:
    collector.settled()
    response = collector.http.post(f"/api/v1/costs/{path}", json=body, headers={"x-spanledger-project": project})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def test_what_changed_adds_up_to_the_difference(collector: LiveCollector, project: str) -> None:
    now = time.time()
    old = [S(n, trace=n, attrs=chat("gpt-4o"), start=n) for n in range(1, 5)]
    new = [S(n, trace=n, attrs=chat("gpt-4o", 1_500), start=n) for n in range(10, 13)]
    new += [S(n, trace=n, attrs=chat("gpt-4o-mini", 2_000, 400), start=n) for n in range(20, 23)]
    collector.send(request(*old, at=now - 3 * DAY), project)
    collector.send(request(*new, at=now - 1 * DAY), project)
    found = ask(collector, project, "changes", start=iso(now - 2 * DAY), end=iso(now))
    overall = found["overall"]
    before = collector.value("cost_usd", project, start=iso(now - 4 * DAY), end=iso(now - 2 * DAY))
    after = collector.value("cost_usd", project, start=iso(now - 2 * DAY), end=iso(now))
    assert (overall["before_usd"], overall["after_usd"]) == (before, after)
    effects = sum(Decimal(overall[f"{name}_usd"]) for name in EFFECTS)
    assert effects == Decimal(overall["change_usd"]) == Decimal(after) - Decimal(before)
    # Two more calls of the earlier kind at 1,000 x $2.50 and 100 x $10 per million.
    assert Decimal(overall["volume_usd"]) == 2 * Decimal("0.0035")
    assert Decimal(overall["price_usd"]) == 0, "prices did not change"
    assert Decimal(overall["tokens_per_call_usd"]) == 3 * 500 * Decimal("0.0000025")
    assert [row["model"] for row in found["models"]] == ["gpt-4o-mini", "gpt-4o"]


PIECES = st.dictionaries(st.sampled_from(["input", "cache_read", "output"]), st.integers(0, 10**7), max_size=3)
TRAFFIC = st.builds(Traffic, st.integers(1, 10**5), PIECES, PIECES.map(lambda pieces: {k: v * 1_237 for k, v in pieces.items()}))
PERIOD = st.dictionaries(st.sampled_from("abc"), TRAFFIC, max_size=3)


@settings(max_examples=200, deadline=None)
@given(before=PERIOD, after=PERIOD)
def test_any_change_is_explained_to_the_last_digit(before: dict[str, Traffic], after: dict[str, Traffic]) -> None:
    found = decompose(before, after)
    for change in [*found.by_model.values(), found.overall]:
        assert sum(getattr(change, name) for name in EFFECTS) == change.total
    assert found.overall.after_usd == sum(Decimal(item.total) for item in after.values()) / 10**12


@settings(max_examples=50, deadline=None)
@given(period=PERIOD)
def test_nothing_changed_is_no_change(period: dict[str, Traffic]) -> None:
    found = decompose(period, period)
    assert all(getattr(found.overall, name) == 0 for name in EFFECTS)


def test_the_distribution_and_what_the_tail_has_more_often(collector: LiveCollector, project: str) -> None:
    spans = [S(n, trace=n, attrs=chat(given=1_000, **{"spanledger.feature": "search"}), start=n) for n in range(1, 91)]
    spans += [S(n, trace=n, attrs=chat(given=80_000, **{"spanledger.feature": "report"}), start=n) for n in range(101, 105)]
    spans += [S(200, trace=200, attrs=chat("no-such-model"))]
    collector.send(request(*spans, at=time.time() - 3_600), project)
    found = ask(collector, project, "distribution")
    assert (found["interactions"], found["without_cost"]) == (95, 1)
    assert sum(row["interactions"] for row in found["bins"]) == 94
    assert sum(Decimal(row["cost_usd"]) for row in found["bins"]) == Decimal(collector.value("cost_usd", project))
    for row in found["bins"]:
        assert (
            row["from_usd"] * row["interactions"]
            <= float(row["cost_usd"]) * 1.0001
            <= row["to_usd"] * row["interactions"] * 1.0002
        )
    (top, *_) = found["tail"]
    assert (top["dimension"], top["value"], top["share_of_tail"], top["share_of_rest"]) == ("feature", "report", 1.0, 0.0)
    assert found["cost_p95_usd"] == collector.value("cost_p95_usd", project)


def test_waste_is_split_by_cause_and_adds_up(collector: LiveCollector, project: str) -> None:
    spans = [
        S(1, trace=1, attrs=chat()),
        S(2, trace=2, attrs=chat(**{"gen_ai.response.finish_reasons": ["length"]})),
        S(3, trace=3, attrs=chat(**{"error.type": "TimeoutError"}), status=2),
        S(4, trace=4, name="answer", attrs={"spanledger.interaction": "answer"}, end=3.0),
        S(5, 4, trace=4, attrs=chat(**{"error.type": "InternalServerError"}), status=2),
        S(6, 4, trace=4, attrs=chat(), start=1.5, end=2.0),
        S(7, trace=7, attrs=chat()),
    ]
    collector.send(request(*spans), project)
    rejected = {"trace_id": f"{7:032x}", "name": "helpful", "value": False}
    assert collector.http.post("/api/v1/feedback", json=rejected, headers={"x-spanledger-project": project}).status_code == 200
    found = ask(collector, project, "waste")
    assert {row["cause"]: row["cost_usd"] for row in found["causes"]} == dict.fromkeys(
        ("truncated", "failed", "retried", "rejected"), "0.0035"
    )
    assert found["wasted_cost_usd"] == collector.value("wasted_cost_usd", project) == "0.014"


def test_caching_says_what_was_saved_and_what_could_have_been(collector: LiveCollector, project: str) -> None:
    cached = {"gen_ai.usage.cache_read.input_tokens": 2_000, "spanledger.feature": "chat"}
    missed = {"spanledger.feature": "batch"}
    spans = [S(n, trace=n, attrs=chat(given=2_500, **cached), start=n) for n in range(1, 5)]
    spans += [S(n, trace=n, attrs=chat(given=3_000, **missed), start=n) for n in range(11, 16)]
    spans += [S(n, trace=n, attrs=chat(given=3_000, **{"spanledger.feature": "rare"}), start=n * 1_000.0) for n in range(21, 24)]
    collector.send(request(*spans, at=time.time() - 30_000), project)
    found = ask(collector, project, "caching")
    groups = {row["feature"]: row for row in found["groups"]}
    # Read at $1.25 instead of $2.50 per million.
    assert groups["chat"]["saved_usd"] == "0.01"
    assert groups["chat"]["missed_tokens"] == 3 * 500
    assert groups["batch"]["missed_tokens"] == 4 * 3_000, "the first call has nothing to read"
    assert groups["batch"]["missed_usd"] == "0.015"
    assert groups["rare"]["missed_tokens"] == 0, "a cache does not last that long"
    assert found["saved_usd"] == collector.value("cache_savings_usd", project)


def test_another_model_costs_what_its_prices_say(collector: LiveCollector, project: str) -> None:
    spans = [S(n, trace=n, attrs=chat(), start=n) for n in range(1, 4)] + [S(9, trace=9, attrs=chat("no-such-model"))]
    collector.send(request(*spans, at=time.time() - 3_600), project)
    found = ask(collector, project, "what-if", model="gpt-4o-mini", provider="openai")
    assert (found["calls"], found["cost_usd"]) == (3, "0.0105")
    # 1,000 at $0.15 and 100 at $0.60 per million, three times
    assert found["would_cost_usd"] == "0.00063"
    assert found["difference_usd"] == "-0.00987"
    assert found["caveats"]
    same = ask(collector, project, "what-if", model="gpt-4o", provider="openai")
    assert same["difference_usd"] == "0", "the same model costs the same"
    refused = collector.http.post(
        "/api/v1/costs/what-if", json={"model": "never-heard-of"}, headers={"x-spanledger-project": project}
    )
    assert refused.status_code == 422
    assert "has no price" in refused.json()["detail"]


def test_long_context_is_recosted_call_by_call(collector: LiveCollector, project: str) -> None:
    spans = [S(1, trace=1, attrs=chat(given=150_000)), S(2, trace=2, attrs=chat(given=250_000), start=2)]
    collector.send(request(*spans, at=time.time() - 3_600), project)
    found = ask(collector, project, "what-if", model="gemini-2.5-pro", provider="gcp.gemini")
    # Above 200,000 tokens of input all of the call pays $2.50 and $15 instead of $1.25 and $10 per million.
    short = 150_000 * Decimal("1.25e-6") + 100 * Decimal("10e-6")
    long = 250_000 * Decimal("2.5e-6") + 100 * Decimal("15e-6")
    assert Decimal(found["would_cost_usd"]) == short + long


def test_the_month_so_far_and_its_forecast(collector: LiveCollector, project: str) -> None:
    now = datetime.now(UTC)
    for back in range(40):
        at = (now - timedelta(days=back)).timestamp() - 60
        collector.send(request(S(back + 1, trace=back + 1, attrs=chat(given=100_000)), at=at), project)
    found = ask(collector, project, "month", timezone="UTC")
    cost = collector.value("cost_usd", project, start=found["start"], end=iso(time.time()))
    assert found["to_date_usd"] == cost
    ahead = found["forecast"]
    assert float(cost) <= ahead["p10_usd"] <= ahead["p50_usd"] <= ahead["p90_usd"]
    assert sum(Decimal(day["cost_usd"]) for day in found["days"]) == Decimal(cost)


def test_a_history_of_two_days_is_too_short_for_a_forecast(collector: LiveCollector, project: str) -> None:
    collector.send(request(S(1, attrs=chat()), at=time.time() - DAY), project)
    assert ask(collector, project, "month")["forecast"] is None


def test_a_steady_history_gives_a_steady_forecast_and_a_weekly_one_a_weekly() -> None:
    first = datetime(2026, 9, 7, tzinfo=UTC).date()
    steady = [(first + timedelta(days=n), 10.0) for n in range(42)]
    today = first + timedelta(days=42)
    ahead = forecast(steady, today, 0.0, today + timedelta(days=10))
    assert ahead is not None
    assert ahead.p10_usd == pytest.approx(100) == ahead.p90_usd
    weekly = [(day, 2.0 if day.weekday() >= 5 else 10.0) for day, _ in steady]
    weekend = forecast(weekly, today + timedelta(days=5), 0.0, today + timedelta(days=7))
    workdays = forecast(weekly, today, 0.0, today + timedelta(days=2))
    assert weekend is not None
    assert workdays is not None
    assert weekend.p50_usd < 0.6 * workdays.p50_usd


def test_parts_of_cost_add_up_by_any_dimension(collector: LiveCollector, project: str) -> None:
    cached = {"gen_ai.usage.cache_read.input_tokens": 300, "spanledger.usage.web_searches": 2}
    spans = [
        S(1, trace=1, attrs=chat(**cached)),
        S(2, trace=2, attrs=chat("gpt-4o-mini")),
        S(3, trace=3, scope="spanledger", attrs=chat("my-own", **{"spanledger.cost_usd": 0.5})),
    ]
    collector.send(request(*spans), project)
    parts = [f"cost_{kind}_usd" for kind in ("input", "cache_read", "cache_write", "output", "other", "unsplit")]
    for dimensions in ([], ["model"], ["feature", "cost_status"]):
        for row in collector.ask([*parts, "cost_usd"], project, dimensions=dimensions):
            assert sum(Decimal(row[part] or 0) for part in parts) == Decimal(row["cost_usd"] or 0)


def test_streams_without_usage_are_estimated_and_shown_apart(collector: LiveCollector, project: str) -> None:
    messages = '[{"role":"user","parts":[{"type":"text","content":"%s"}]}]' % ("How far is the moon? " * 20)
    answer = '[{"role":"assistant","parts":[{"type":"text","content":"%s"}],"finish_reason":"stop"}]' % ("Far away. " * 40)
    silent = chat(given=None, produced=None, **{"gen_ai.input.messages": messages, "gen_ai.output.messages": answer})
    nothing = chat(given=None, produced=None)
    collector.send(request(S(1, trace=1, attrs=silent), S(2, trace=2, attrs=nothing), S(3, trace=3, attrs=chat())), project)
    row = collector.ask(["cost_usd", "estimated_cost_usd", "estimated_share", "priced_share", "unpriced_share"], project)[0]
    assert (row["estimated_share"], row["priced_share"], row["unpriced_share"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert Decimal(row["cost_usd"]) - Decimal(row["estimated_cost_usd"]) == Decimal("0.0035")
    by_quality = collector.ask(["input_tokens", "output_tokens"], project, dimensions=["usage_quality"])
    found = {item["usage_quality"]: (item["input_tokens"], item["output_tokens"]) for item in by_quality}
    assert found["exact"] == (1_000, 100)
    assert found["missing"] == (None, None)
    given, produced = found["estimated"]
    # About a hundred and ten tokens each, by any tokenizer.
    assert 90 <= given <= 140
    assert 80 <= produced <= 130

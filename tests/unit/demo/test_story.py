"""The demonstration's story: the same for the same seed, and with the incidents that a viewer is promised."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import mean, median

import pytest

from spanledger.demo.plan import Plan
from spanledger.demo.plot import Plot, first_day
from spanledger.demo.run import LIVE_PER_HOUR, live_plans
from spanledger.demo.scenes import DISLIKED, DRIFTING, FEATURES
from spanledger.demo.story import interactions

NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)
PLOT = Plot(first_day(NOW, 30), per_day=600)


@pytest.fixture(scope="module")
def month() -> list[Plan]:
    return list(interactions(PLOT, PLOT.begin, NOW))


def some(plans: list[Plan], wanted: Callable[[Plan], bool]) -> list[Plan]:
    found = [plan for plan in plans if wanted(plan)]
    assert len(found) > 30
    return found


def positive_share(plans: list[Plan]) -> float:
    said = [judgement.value for plan in plans for judgement in plan.judgements if judgement.source == "user"]
    assert len(said) > 30
    return sum(value is True for value in said) / len(said)


def test_a_seed_is_one_story_and_another_seed_another() -> None:
    first, last = NOW - timedelta(days=3), NOW
    told = list(interactions(PLOT, first, last))
    assert told == list(interactions(PLOT, first, last))
    assert told != list(interactions(Plot(PLOT.begin, per_day=600, seed=8), first, last))


def test_a_stretch_told_in_two_parts_is_the_same_story(month: list[Plan]) -> None:
    cut = PLOT.begin + timedelta(days=11, hours=13, minutes=17)
    parts = [*interactions(PLOT, PLOT.begin, cut), *interactions(PLOT, cut, NOW)]
    assert parts == month


def test_it_is_a_month_of_a_growing_product_with_days_and_weekends(month: list[Plan]) -> None:
    assert 12_000 < len(month) < 30_000
    assert [plan.at for plan in month] == sorted(plan.at for plan in month)
    assert all(PLOT.begin <= plan.at < NOW for plan in month)
    by_hour = [sum(plan.at.hour == hour for plan in month) for hour in range(24)]
    assert by_hour[14] > 4 * by_hour[3]
    week = [plan for plan in month if plan.at < PLOT.begin + timedelta(days=28)]
    weekend = sum(plan.at.weekday() >= 5 for plan in week) / 8
    assert weekend < 0.6 * sum(plan.at.weekday() < 5 for plan in week) / 20
    halves = PLOT.begin + timedelta(days=14), PLOT.begin + timedelta(days=28)
    assert sum(plan.at < halves[0] for plan in week) < 0.85 * sum(plan.at >= halves[0] for plan in week)


def test_it_has_everything_that_the_pages_show(month: list[Plan]) -> None:
    assert {plan.feature for plan in month} == set(FEATURES)
    assert {plan.environment for plan in month} == {"production", "staging"}
    assert len({plan.release for plan in month}) == 5
    assert all(plan.tags["demo"] == "true" and plan.user and plan.session for plan in month)
    assert max(len(list(group)) for _, group in itertools.groupby(sorted(plan.session for plan in month))) > 2
    steps = [step for plan in month for step in plan.steps]
    assert {step.kind for step in steps} == {"model", "embedding", "retrieval", "tool"}
    assert {step.provider for step in steps if step.provider} == {"openai", "anthropic", "gcp.gemini"}
    assert any(step.attempt == 2 and step.fault is None for step in steps)
    assert any(step.cache_read_tokens for step in steps)
    assert any(step.cache_write_tokens for step in steps)
    assert any(step.reasoning_tokens for step in steps)
    assert any(plan.fallback for plan in month)
    assert any(plan.escalation for plan in month)
    assert any(False in plan.validations.values() for plan in month)
    judgements = [judgement for plan in month for judgement in plan.judgements]
    assert {judgement.source for judgement in judgements} == {"user", "reviewer", "evaluator"}
    assert any(judgement.comment for judgement in judgements)
    assert {source for plan in month for source in plan.confidence} == {"verbalized", "judge"}
    tokens = [step.input_tokens for step in steps if step.kind == "model" and step.input_tokens]
    assert mean(tokens) > 1.3 * median(tokens)


def test_counts_are_inside_each_other(month: list[Plan]) -> None:
    for step in (step for plan in month for step in plan.steps if step.input_tokens is not None):
        assert (step.cache_read_tokens or 0) + (step.cache_write_tokens or 0) <= (step.input_tokens or 0)
        assert (step.reasoning_tokens or 0) <= (step.output_tokens or 0)


def test_one_release_costs_more(month: list[Plan]) -> None:
    def prompt_tokens(release: str) -> float:
        found = some(month, lambda plan: plan.feature == "answer" and plan.release == release and plan.fault is None)
        return mean(plan.steps[-1].input_tokens or 0 for plan in found)

    assert prompt_tokens("2.4.0") > 4 * prompt_tokens("2.3.1")
    assert prompt_tokens("2.4.1") < 1.2 * prompt_tokens("2.3.1")


def test_one_evening_fails(month: list[Plan]) -> None:
    first, last = PLOT.outage()
    is_anthropic = {"triage", "summarise"}
    evening = some(month, lambda plan: plan.feature in is_anthropic and first <= plan.at < last)
    others = some(month, lambda plan: plan.feature in is_anthropic and not first <= plan.at < last)
    assert mean(plan.fault is not None for plan in evening) > 0.3
    assert mean(plan.fault is not None for plan in others) < 0.03
    assert {plan.fault.status for plan in evening if plan.fault} <= {429, 529}


def test_one_feature_grows_unsure_and_no_other(month: list[Plan]) -> None:
    def sure(feature: str, first: int, last: int) -> float:
        begin, end = PLOT.begin + timedelta(days=first), PLOT.begin + timedelta(days=last)
        found = some(month, lambda plan: plan.feature == feature and begin <= plan.at < end and "verbalized" in plan.confidence)
        return mean(plan.confidence["verbalized"] for plan in found)

    assert sure(DRIFTING, 0, 14) - sure(DRIFTING, 14, 19) < 0.03
    assert sure(DRIFTING, 0, 14) - sure(DRIFTING, 28, 31) > 0.08
    assert abs(sure("answer", 0, 14) - sure("answer", 28, 31)) < 0.03


def test_one_feature_is_disliked(month: list[Plan]) -> None:
    assert positive_share([plan for plan in month if plan.feature == DISLIKED]) < 0.5
    assert positive_share([plan for plan in month if plan.feature != DISLIKED]) > 0.7


def test_live_traffic_is_in_the_order_of_its_ends_and_has_bursts_of_cost() -> None:
    start = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
    plans = list(itertools.takewhile(lambda plan: plan.ends < start + timedelta(minutes=59), live_plans(PLOT, start)))
    assert all(plan.at >= start for plan in plans)
    assert [plan.ends for plan in plans] == sorted(plan.ends for plan in plans)
    assert sum(plan.name == "summarise folder" for plan in plans) > 100
    calm = sum(plan.name != "summarise folder" for plan in plans)
    assert 0.6 * LIVE_PER_HOUR < calm < 1.4 * LIVE_PER_HOUR


def test_a_short_history_has_the_incidents_too() -> None:
    short = Plot(first_day(NOW, 5), days=5)
    assert short.begin < short.outage()[0] < NOW
    assert short.has_grown_prompt(short.begin + timedelta(days=3.7))
    assert short.drift(NOW) == 1.0

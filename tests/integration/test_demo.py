"""The demonstration, told through the real SDK into a real collector, is counted as the story has it."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from live import LiveCollector
from rich.console import Console

import spanledger
from spanledger.client import Client
from spanledger.demo.plan import Plan, Step
from spanledger.demo.play import Player
from spanledger.demo.plot import Plot, first_day
from spanledger.demo.run import PROJECT, RULES, plot_of, write_history
from spanledger.demo.story import interactions
from spanledger.testing import ManualClock, use_clock
from spanledger_collector.pricing.arithmetic import TokenCounts
from spanledger_collector.pricing.book import SHIPPED

NOW = datetime.now(UTC)
PLOT = Plot(first_day(NOW, 3), days=3, per_day=130)
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def told(collector: LiveCollector) -> list[Plan]:
    """The story, written up to now; what it should come to."""
    clock = ManualClock(NOW)
    before = spanledger.stats()
    with use_clock(clock), Client(collector.url, project=PROJECT) as client:
        player = Player(clock, endpoint=collector.url, project=PROJECT)
        # In two parts, the second of which must not write the first again.
        cut = NOW - timedelta(hours=30)
        count = write_history(client, player, PLOT, cut, QUIET)
        collector.settled()
        count += write_history(client, player, PLOT, NOW, QUIET)
        collector.settled()
        assert write_history(client, player, PLOT, NOW, QUIET) == 0
        player.finish()
        spanledger.shutdown()
    after = spanledger.stats()
    plans = list(interactions(PLOT, PLOT.begin, NOW))
    assert count == len(plans) > 150
    assert after.spans_dropped == before.spans_dropped
    assert after.feedback_dropped == before.feedback_dropped
    assert after.invalid_values == before.invalid_values
    assert after.internal_errors == before.internal_errors
    assert after.spans_sent - before.spans_sent == sum(1 + len(plan.steps) for plan in plans)
    return plans


def generations(plans: list[Plan]) -> list[tuple[Plan, Step]]:
    return [(plan, step) for plan in plans for step in plan.steps if step.kind in ("model", "embedding")]


def cost(plan: Plan, step: Step) -> Decimal:
    """What the collector's own arithmetic says that a call costs."""
    if step.input_tokens is None:
        return Decimal(0)
    read, write = step.cache_read_tokens or 0, step.cache_write_tokens or 0
    counts = TokenCounts(
        input=step.input_tokens - read - write,
        cache_read=read,
        cache_write_5m=write,
        output=(step.output_tokens or 0) - (step.reasoning_tokens or 0),
        reasoning=step.reasoning_tokens or 0,
    )
    start_ns = int(plan.at.timestamp()) * 1_000_000_000
    priced = SHIPPED.price(step.provider or "", step.name, start_ns, counts)
    assert priced.total is not None, (step.name, priced.reason)
    return Decimal(priced.total) / 10**12


def test_what_is_counted_is_what_the_story_says(collector: LiveCollector, told: list[Plan]) -> None:
    calls = generations(told)
    row = collector.ask(
        [
            "interactions",
            "generations",
            "spans",
            "input_tokens",
            "output_tokens",
            "cache_read_tokens",
            "cost_usd",
            "unpriced_generations",
        ],
        PROJECT,
    )[0]
    assert row["interactions"] == len(told)
    assert row["spans"] == sum(1 + len(plan.steps) for plan in told)
    assert row["generations"] == len(calls)
    assert row["input_tokens"] == sum(step.input_tokens or 0 for _, step in calls)
    assert row["output_tokens"] == sum(step.output_tokens or 0 for _, step in calls)
    assert row["cache_read_tokens"] == sum(step.cache_read_tokens or 0 for _, step in calls)
    assert Decimal(row["cost_usd"]) == sum(cost(plan, step) for plan, step in calls)
    assert row["unpriced_generations"] == sum(step.fault is not None and step.fault.status is None for _, step in calls)


def test_each_dimension_is_there(collector: LiveCollector, told: list[Plan]) -> None:
    for name, value_of in (
        ("feature", lambda plan: plan.feature),
        ("environment", lambda plan: plan.environment),
        ("release", lambda plan: plan.release),
        ("tag:demo", lambda plan: plan.tags["demo"]),
        ("tag:tier", lambda plan: plan.tags["tier"]),
        ("session", lambda plan: plan.session),
    ):
        counted = {row[name]: row["interactions"] for row in collector.ask("interactions", PROJECT, dimensions=[name])}
        expected: dict[str, int] = {}
        for plan in told:
            expected[value_of(plan)] = expected.get(value_of(plan), 0) + 1
        assert counted == expected, name


def test_what_went_wrong_is_called_by_its_name(collector: LiveCollector, told: list[Plan]) -> None:
    rates = collector.ask(["escalation_rate", "fallback_rate", "retry_rate"], PROJECT)[0]
    assert rates["escalation_rate"] == pytest.approx(sum(plan.escalation is not None for plan in told) / len(told))
    assert rates["fallback_rate"] == pytest.approx(sum(plan.fallback is not None for plan in told) / len(told))
    calls = generations(told)
    assert rates["retry_rate"] == pytest.approx(sum((step.attempt or 1) > 1 for _, step in calls) / len(calls))
    modes = {
        row["failure_mode"]: row["interactions"] for row in collector.ask("interactions", PROJECT, dimensions=["failure_mode"])
    }
    faults = [plan.fault.status for plan in told if plan.fault is not None]
    assert modes.get("rate_limited", 0) == faults.count(429)
    assert modes.get("provider_error", 0) == faults.count(529) + faults.count(500)
    assert modes.get("timeout", 0) == faults.count(None)


def test_feedback_arrives_from_all_three(collector: LiveCollector, told: list[Plan]) -> None:
    judged = {
        row["feedback_source"]: row["feedback_count"]
        for row in collector.ask("feedback_count", PROJECT, dimensions=["feedback_source"])
    }
    for source in ("user", "evaluator"):
        # What is said after now is not said yet.
        given = [j for plan in told for j in plan.judgements if j.source == source]
        assert 0 < judged[source] <= len(given)


def test_a_later_start_goes_on_with_the_same_plot(collector: LiveCollector, told: list[Plan]) -> None:
    with Client(collector.url, project=PROJECT) as client:
        assert plot_of(client, NOW + timedelta(days=2), 3, PLOT.seed).begin == PLOT.begin


def test_the_rules_are_rules(collector: LiveCollector) -> None:
    with Client(collector.url, project=PROJECT) as client:
        for rule in RULES:
            assert client.create_alert_rule(rule)["measure"] == rule["measure"]


def test_a_port_that_others_use_is_refused(collector: LiveCollector) -> None:
    command = "import sys; from spanledger.cli import main; sys.exit(main(sys.argv[1:]))"
    result = subprocess.run(
        [sys.executable, "-c", command, "demo", "--port", str(collector.port)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert f"port {collector.port} is taken" in result.stderr

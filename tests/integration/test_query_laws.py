"""Laws of questions: parts add up to their whole whatever is filtered, both sides agree, and order is the same every time."""

import random
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live import LiveCollector
from otlp_kit import S, chat, request, trace_hex

from spanledger_schema.catalogue import MEASURES
from spanledger_schema.dimensions import DIMENSIONS

ADDITIVE = [name for name, measure in MEASURES.items() if measure.additive and measure.losses is None]
OF_CALLS = [name for name in ADDITIVE if MEASURES[name].calls is not None]
SHARED = [name for name, dimension in DIMENSIONS.items() if dimension.calls and dimension.interactions] + ["tag:tier", "tag:none"]
CALLS_ONLY = [name for name, dimension in DIMENSIONS.items() if dimension.calls and dimension.interactions is None]
SINGLE = [name for name in SHARED if name != "interaction"]
VALUES: dict[str, list[str | None]] = {
    "model": ["gpt-4o", "gpt-4o-mini", "unheard-of", None],
    "provider": ["openai", "anthropic"],
    "feature": ["search", "answer", None],
    "environment": ["prod", None],
    "failure_mode": ["provider_error", "rate_limited", None],
    "user": ["u1", "u2", None],
    "kind": ["model", "tool", "embedding"],
    "cost_status": ["priced", "unpriced"],
    "tag:tier": ["pro", None],
    "app": ["shop", "it's"],
    "feedback_source": ["user", "reviewer"],
    "feedback_name": ["helpful"],
    "confidence_source": ["verbalized", "logprob"],
}


def _trace(number: int, chance: random.Random) -> list[S]:
    # The interaction and its calls begin in one second, so that both sides see them in the same range and bucket.
    marks: dict[str, Any] = {"spanledger.interaction": "ask"}
    for key, values in {
        "spanledger.feature": ["search", "answer"],
        "user.id": ["u1", "u2"],
        "spanledger.tag.tier": ["pro", "free"],
        "spanledger.confidence.verbalized": [0.2, 0.9],
        "spanledger.confidence.logprob": [0.4],
    }.items():
        if chance.random() < 0.6:
            marks[key] = chance.choice(values)
    spans = [S(1, attrs=marks, trace=number, status=chance.choice([0, 0, 0, 2]))]
    for index in range(chance.randint(0, 4)):
        model = chance.choice(["gpt-4o", "gpt-4o-mini", "unheard-of", "text-embedding-3-small"])
        found = chat(model, chance.choice([None, 10, 1_000, 77_777]), chance.choice([None, 0, 13, 999]))
        if "embedding" in model:
            found["gen_ai.operation.name"] = "embeddings"
        if chance.random() < 0.3:
            found |= {"gen_ai.usage.cache_read.input_tokens": 5, "gen_ai.usage.reasoning.output_tokens": 3}
        if chance.random() < 0.2:
            found |= {"error.type": "RateLimitError", "http.response.status_code": 429}
        spans.append(S(10 + index, 1, attrs=found, trace=number, end=0.5 + index * 0.1))
    if chance.random() < 0.3:
        spans.append(S(30, 1, name="t", attrs={"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}, trace=number))
    return spans


@pytest.fixture(scope="module")
def ledger(collector: LiveCollector) -> LiveCollector:
    chance = random.Random(7)
    for number in range(1, 121):
        app, environment = chance.choice(["shop", "it's"]), chance.choice(["prod", ""])
        described = {"service.name": app, "deployment.environment.name": environment}
        body = request(*_trace(number, chance), at=time.time() - number * 5_000, resource=described)
        assert collector.send(body, "laws").status_code == 200
    judged = [
        {"trace_id": trace_hex(number), "name": "helpful", "value": number % 3 > 0, "source": ("user", "reviewer")[number % 2]}
        for number in range(1, 80)
    ]
    assert collector.http.post("/api/v1/feedback", json=judged, headers={"x-spanledger-project": "laws"}).status_code == 200
    return collector


@st.composite
def filters(draw: st.DrawFn, names: list[str]) -> list[dict[str, Any]]:
    chosen = draw(st.lists(st.sampled_from([name for name in names if name in VALUES]), max_size=2, unique=True))
    found: list[dict[str, Any]] = []
    for name in chosen:
        op = draw(st.sampled_from(["in", "not_in", "contains"]))
        known = [value for value in VALUES[name] if value is not None] if op == "contains" else VALUES[name]
        found.append({"dimension": name, "op": op, "values": draw(st.lists(st.sampled_from(known), min_size=1, unique=True))})
    return found


def exact(value: Any) -> Decimal:
    return Decimal(str(value or 0))


LAWS = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@LAWS
@given(
    measure=st.sampled_from(ADDITIVE),
    dimensions=st.lists(st.sampled_from(SINGLE), min_size=1, max_size=2, unique=True),
    kept=filters(SHARED),
    granularity=st.sampled_from([None, "minute", "hour", "day", "week", "month"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
)
def test_groups_add_up_to_the_total(
    ledger: LiveCollector, measure: str, dimensions: list[str], kept: list[dict[str, Any]], granularity: str | None, zone: str
) -> None:
    more = {"granularity": granularity, "timezone": zone, "limit": 100_000}
    groups = ledger.ask(measure, "laws", dimensions=dimensions, filters=kept, **more)
    assert sum(exact(row[measure]) for row in groups) == exact(ledger.value(measure, "laws", filters=kept))


@LAWS
@given(measure=st.sampled_from(OF_CALLS), dimension=st.sampled_from(CALLS_ONLY), kept=filters(SHARED))
def test_calls_and_interactions_agree(ledger: LiveCollector, measure: str, dimension: str, kept: list[dict[str, Any]]) -> None:
    by_call = ledger.ask(measure, "laws", dimensions=[dimension], filters=kept, limit=100_000)
    assert sum(exact(row[measure]) for row in by_call) == exact(ledger.value(measure, "laws", filters=kept))


@LAWS
@given(
    measure=st.sampled_from(sorted(MEASURES)),
    dimensions=st.lists(
        st.sampled_from([*SHARED, *CALLS_ONLY, *(n for n in DIMENSIONS if not DIMENSIONS[n].calls)]), max_size=2, unique=True
    ),
    kept=filters(list(VALUES)),
    granularity=st.sampled_from([None, "hour", "month"]),
)
def test_any_question_is_answered_or_refused_in_words(
    ledger: LiveCollector, measure: str, dimensions: list[str], kept: list[dict[str, Any]], granularity: str | None
) -> None:
    asked = {"measures": [measure], "dimensions": dimensions, "filters": kept, "granularity": granularity}
    columns = [*(["time"] if granularity else []), *dimensions, measure]
    answers = []
    for order in [[], *([name] for name in columns), *([f"-{name}"] for name in columns)]:
        body = {**asked, "order_by": order, "limit": 5}
        sent = [ledger.http.post("/api/v1/query", json=body, headers={"x-spanledger-project": "laws"}) for _ in range(2)]
        assert sent[0].status_code in (200, 422), (body, sent[0].text)
        assert sent[0].content == sent[1].content
        answers.append(sent[0].status_code)
    assert len(set(answers)) == 1


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("granularity", ["minute", "hour", "day", "week", "month"])
def test_buckets_over_a_change_of_clocks(collector: LiveCollector, project: str, zone: str, granularity: str) -> None:
    local = ZoneInfo(zone)
    moments = [datetime(2026, 10, 24, 20, tzinfo=UTC) + timedelta(minutes=30 * step + 7) for step in range(80)]
    moments += [datetime(2026, 11, 1, 3, tzinfo=UTC) + timedelta(minutes=30 * step + 7) for step in range(20)]
    zero = moments[0].timestamp()
    spans = [
        S(1, attrs=chat(), trace=n, start=at.timestamp() - zero, end=at.timestamp() - zero + 1) for n, at in enumerate(moments, 1)
    ]
    assert collector.send(request(*spans, at=zero), project).status_code == 200
    wanted: dict[datetime, int] = {}
    for moment in moments:
        begins = _begin(moment, granularity, local)
        wanted[begins] = wanted.get(begins, 0) + 1
    rows = collector.ask("interactions", project, granularity=granularity, timezone=zone)
    assert {datetime.fromisoformat(row["time"]): row["interactions"] for row in rows} == wanted


def _begin(moment: datetime, granularity: str, zone: ZoneInfo) -> datetime:
    here = moment.astimezone(zone)
    if granularity == "minute":
        return moment.replace(second=0, microsecond=0)
    if granularity == "hour":
        # The hour that the clock on the wall shows; the same hour twice is two.
        return (moment - timedelta(minutes=here.minute, seconds=here.second, microseconds=here.microsecond)).astimezone(UTC)
    day = here.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if granularity == "week":
        day -= timedelta(days=day.weekday())
    if granularity == "month":
        day = day.replace(day=1)
    return day.astimezone(UTC)


def test_a_filter_of_ten_thousand_values_and_an_empty_range(ledger: LiveCollector) -> None:
    values = [trace_hex(number) for number in range(1, 10_001)]
    kept = [{"dimension": "trace_id", "op": "in", "values": values}]
    assert ledger.value("interactions", "laws", filters=kept) == ledger.value("interactions", "laws")
    now = "2026-11-20T00:00:00Z"
    empty = ledger.ask(["interactions", "cost_usd", "failure_rate"], "laws", start=now, end=now)
    assert empty == [{"interactions": 0, "cost_usd": None, "failure_rate": None}]
    assert ledger.ask("interactions", "laws", start=now, end=now, dimensions=["model"], granularity="hour") == []


def test_only_what_was_cut_is_called_cut(ledger: LiveCollector) -> None:
    body = {"measures": ["interactions"], "dimensions": ["interaction"]}
    headers = {"x-spanledger-project": "laws"}
    groups = len(ledger.ask("interactions", "laws", dimensions=["interaction"]))
    for limit, is_cut in ((groups + 1, False), (groups, False), (groups - 1, True)):
        answer = ledger.http.post("/api/v1/query", json={**body, "limit": limit}, headers=headers).json()
        assert (len(answer["rows"]), bool(answer["warnings"])) == (min(limit, groups), is_cut)


@pytest.mark.parametrize(
    "ends", [("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"), ("1800-01-01T00:00:00+14:00", "2500-01-01T00:00:00-12:00")]
)
def test_a_range_may_reach_beyond_what_a_store_can_hold(ledger: LiveCollector, ends: tuple[str, str]) -> None:
    start, end = ends
    whole = ledger.value("interactions", "laws")
    assert ledger.value("interactions", "laws", start=start, end=end) == whole
    assert (
        sum(row["interactions"] for row in ledger.ask("interactions", "laws", start=start, end=end, granularity="day")) == whole
    )
    assert len(ledger.get("/api/v1/interactions", "laws", start=start, end=end, limit=500)["items"]) == whole
    assert ledger.get("/api/v1/dimensions/feature/values", "laws", start=start, end=end)["values"]
    assert ledger.get("/api/v1/drift", "laws", source="verbalized", start=start, end=end)["state"]
    assert ledger.get("/api/v1/alerts/events", "laws", start=start, end=end) == {"events": []}


@pytest.mark.parametrize(
    "bad", ["min_cost_usd=1e400", "min_cost_usd=-1", "min_duration_s=-1", "min_duration_s=1e308", "max_confidence=nan"]
)
def test_limits_that_cannot_be_meant_are_refused(ledger: LiveCollector, bad: str) -> None:
    assert ledger.http.get(f"/api/v1/interactions?{bad}").status_code == 422

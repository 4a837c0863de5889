"""Two instrumentations of one provider call are billed once; what only looks like that is billed as often as it happened."""

import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live import LiveCollector
from otlp_kit import S, request, span_hex, trace_hex

OWN = "com.anthropic.sdk.python"
TRACELOOP = "opentelemetry.instrumentation.anthropic"
LANGCHAIN = "openinference.instrumentation.langchain"
TOKENS = ["input_tokens", "output_tokens", "generations", "interactions", "cost_usd"]


def call(span: int, trace: int, scope: str, response_id: str | None = "msg_1", tokens: int = 1000, **more: object) -> S:
    """A span of one call to Claude as an instrumentation sees it."""
    attrs = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.usage.input_tokens": tokens,
        "gen_ai.usage.output_tokens": 50,
    }
    if response_id:
        attrs["gen_ai.response.id"] = response_id
    extra = more.pop("attrs", {})
    assert isinstance(extra, dict)
    return S(span, name="call", scope=scope, trace=trace, attrs={**attrs, **extra}, **more)  # type: ignore[arg-type]


def counted(collector: LiveCollector, project: str) -> tuple[int, int, int]:
    """Input tokens, generations and interactions of the project."""
    row = collector.ask(TOKENS, project)[0]
    return row["input_tokens"], row["generations"], row["interactions"]


@pytest.mark.parametrize("trace", [1, 2], ids=["in one trace", "in two traces"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_call_that_two_instrumentations_saw_is_one_call(collector: LiveCollector, project: str, trace: int, first: int) -> None:
    spans = [call(1, 1, TRACELOOP), call(2, trace, OWN, start=0.1, end=0.9)]
    at = time.time() - 60
    for span in (spans[first], spans[1 - first]):
        collector.send(request(span, at=at), project)
        collector.settled()
    assert counted(collector, project) == (1000, 1, 1)


def test_the_twin_may_come_after_a_restart_and_days_later(project: str) -> None:
    live = LiveCollector()
    try:
        at = time.time() - 3 * 86_400
        live.send(request(call(1, 1, TRACELOOP), at=at), project)
        before = live.ask(TOKENS, project)
        live.restart()
        live.send(request(call(2, 2, OWN, start=0.1, end=0.9), at=at), project)
        assert live.ask(TOKENS, project) == before
        assert counted(live, project) == (1000, 1, 1)
        live.restart()
        live.send(request(call(3, 2, OWN, parent=2, response_id="msg_2", start=0.2, end=0.8), at=at), project)
        assert counted(live, project) == (2000, 2, 2), "a late span of the twin's trace is a call of its own"
    finally:
        live.stop()


def test_the_trace_with_the_context_is_billed_and_learns_what_the_client_knows(collector: LiveCollector, project: str) -> None:
    chain = S(1, name="chain", scope=LANGCHAIN, attrs={"openinference.span.kind": "CHAIN", "user.id": "ada"}, end=2.0)
    model = S(
        2,
        1,
        scope=LANGCHAIN,
        start=0.2,
        end=1.2,
        attrs={
            "openinference.span.kind": "LLM",
            "llm.model_name": "claude-sonnet-4-5",
            "llm.provider": "anthropic",
            "llm.token_count.prompt": 1000,
            "llm.token_count.completion": 50,
        },
    )
    details = {
        "gen_ai.usage.cache_write.input_tokens": 400,
        "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 400,
        "gen_ai.usage.cache_read.input_tokens": 100,
    }
    own = call(3, 2, OWN, start=0.3, end=1.1, attrs=details)
    at = time.time() - 60
    collector.send(request(own, at=at), project)
    collector.settled()
    collector.send(request(chain, model, at=at), project)
    assert counted(collector, project) == (1000, 1, 1)
    by_user = collector.ask([*TOKENS, "cache_read_tokens", "cache_write_tokens"], project, dimensions=["user"])
    assert [(row["user"], row["cache_read_tokens"], row["cache_write_tokens"]) for row in by_user] == [("ada", 100, 400)]
    # 500 at $3, 100 read at $0.30, 400 written for an hour at $6, 50 out at $15 per million
    assert collector.value("cost_usd", project) == "0.00468"
    lone = collector.get(f"/api/v1/interactions/{trace_hex(2)}", project)
    assert lone["spans"][0]["not_billed_reason"] == (
        "another instrumentation saw the same call in another trace, where it is counted"
    )


def test_a_server_that_repeats_response_ids_is_billed_each_time(collector: LiveCollector, project: str) -> None:
    at = time.time() - 600
    for number, scope in enumerate([TRACELOOP, OWN, TRACELOOP], 1):
        collector.send(request(call(number, number, scope, response_id="chatcmpl-1"), at=at + 120 * number), project)
    assert counted(collector, project) == (3000, 3, 3)


def test_equal_ids_of_one_instrumentation_are_not_twins(collector: LiveCollector, project: str) -> None:
    at = time.time() - 60
    collector.send(request(*(call(number, number, TRACELOOP) for number in range(1, 4)), at=at), project)
    assert counted(collector, project) == (3000, 3, 3)


def test_a_busy_classifier_is_billed_for_every_call(collector: LiveCollector, project: str) -> None:
    spans = [call(number, number, LANGCHAIN, None, start=number * 0.02, end=number * 0.02 + 0.5) for number in range(1, 41)]
    for chunk in itertools.batched(spans, 7) if hasattr(itertools, "batched") else [spans[:20], spans[20:]]:
        collector.send(request(*chunk, at=time.time() - 60), project)
    assert counted(collector, project) == (40_000, 40, 40)


def test_a_busy_classifier_seen_twice_is_billed_once_for_every_call(collector: LiveCollector, project: str) -> None:
    at = time.time() - 60
    seen = [call(n, n, LANGCHAIN, None, start=n * 0.1, end=n * 0.1 + 0.08) for n in range(1, 21)]
    own = [call(100 + n, 100 + n, OWN, f"msg_{n}", start=n * 0.1 + 0.01, end=n * 0.1 + 0.07) for n in range(1, 21)]
    spans = seen + own
    random.Random(7).shuffle(spans)
    for start in range(0, 40, 10):
        collector.send(request(*spans[start : start + 10], at=at), project)
        collector.settled()
    assert counted(collector, project) == (20_000, 20, 20)


def test_retries_of_one_request_are_calls_of_their_own(collector: LiveCollector, project: str) -> None:
    root = S(1, name="answer", attrs={"spanledger.interaction": "answer"}, end=5.0)
    failed = [
        call(
            n,
            1,
            TRACELOOP,
            None,
            parent=1,
            start=n * 1.0,
            end=n + 0.5,
            status=2,
            attrs={"error.type": "RateLimitError", "gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None},
        )
        for n in (2, 3)
    ]
    answered = call(4, 1, TRACELOOP, parent=1, start=4.0, end=4.5)
    collector.send(request(root, *failed, answered), project)
    assert counted(collector, project) == (1000, 3, 1)
    assert collector.value("failures", project) == 0, "a retry that recovered is no failure"


def test_a_failed_call_that_two_instrumentations_saw_is_one_failed_call(collector: LiveCollector, project: str) -> None:
    none = {"error.type": "RateLimitError", "gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}
    own = {**none, "error.type": "rate_limit_error", "http.response.status_code": 429}
    collector.send(
        request(
            call(1, 1, TRACELOOP, None, status=2, attrs=none), call(2, 2, OWN, None, start=0.1, end=0.9, status=2, attrs=own)
        ),
        project,
    )
    row = collector.ask(["generations", "failures", "interactions"], project)[0]
    assert row == {"generations": 1, "failures": 1, "interactions": 1}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)), cuts=st.sets(st.integers(1, 5)))
def test_the_order_of_arrival_does_not_matter(collector: LiveCollector, order: list[int], cuts: set[int]) -> None:
    project = f"order-{random.getrandbits(48):x}"
    at = time.time() - 60
    spans = [
        S(1, name="chain", scope=LANGCHAIN, attrs={"openinference.span.kind": "CHAIN", "session.id": "s"}, end=3.0),
        call(2, 1, TRACELOOP, "a", parent=1, start=0.1, end=0.5),
        call(3, 2, OWN, "a", start=0.2, end=0.4),
        call(4, 1, TRACELOOP, "b", parent=1, start=1.0, end=1.5, tokens=700),
        call(5, 3, OWN, "b", start=1.1, end=1.4, tokens=700),
        call(6, 4, OWN, "c", start=2.0, end=2.4, tokens=300),
    ]
    places = [0, *sorted(cuts), 6]
    for start, end in itertools.pairwise(places):
        collector.send(request(*(spans[place] for place in order[start:end]), at=at), project)
        if end % 2:
            collector.settled()
    assert counted(collector, project) == (2000, 3, 2)
    detail = collector.get(f"/api/v1/interactions/{trace_hex(1)}", project)
    billed = {span["span_id"] for span in detail["spans"] if span["cost_status"]}
    assert billed == {span_hex(2), span_hex(4)}


def test_neighbours_of_equal_size_but_of_other_models_or_times_are_no_twins(collector: LiveCollector, project: str) -> None:
    """A client's own span has its twin above it; calls that only happen to be as large are calls of their own."""
    wrapped = call(1, 1, LANGCHAIN, None, start=0.5, end=1.0)
    own = call(2, 1, OWN, "msg_2", parent=1, start=0.55, end=0.95)
    before = call(3, 2, LANGCHAIN, None, start=0.0, end=0.45)
    openai = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini"}
    beside = call(4, 3, LANGCHAIN, None, start=0.5, end=1.0, attrs=openai)
    collector.send(request(wrapped, own, before, beside), project)
    assert counted(collector, project) == (3000, 3, 3)


def test_an_estimate_gives_way_to_what_the_client_counted(collector: LiveCollector, project: str) -> None:
    words = {"gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "It lies there."}]}]'}
    unknown = {**words, "gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}
    root = S(1, name="ask", attrs={"spanledger.interaction": "ask"}, end=5.0)
    streamed = call(2, 1, LANGCHAIN, None, parent=1, start=0.1, end=1.0, attrs=unknown)
    own = call(3, 1, OWN, "msg_3", parent=1, start=0.12, end=0.98)
    later = call(4, 1, LANGCHAIN, None, parent=1, start=2.0, end=3.0, attrs=unknown)
    at = time.time() - 60
    for part in ((streamed, later), (own,), (root,)):
        collector.send(request(*part, at=at), project)
        collector.settled()
    qualities = collector.ask(["generations", "input_tokens"], project, dimensions=["usage_quality"])
    assert {row["usage_quality"]: row["generations"] for row in qualities} == {"exact": 1, "estimated": 1}
    assert {row["usage_quality"]: row["input_tokens"] for row in qualities}["exact"] == 1000


@pytest.mark.parametrize("first", [0, 1])
def test_a_call_that_callbacks_saw_outside_its_trace_is_one_call(collector: LiveCollector, project: str, first: int) -> None:
    """Callbacks of a framework leave no trace to be in, and of a stream they do not know the id."""
    openai = "openinference.instrumentation.openai"
    spans = []
    for number in range(1, 6):
        at = number * 2.0
        spans.append(
            (
                call(number, number, LANGCHAIN, None, start=at, end=at + 1),
                call(50 + number, 50 + number, openai, f"chatcmpl-{number}", start=at + 0.01, end=at + 0.98),
            )
        )
    failed = {"error.type": "RateLimitError", "gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}
    spans.append(
        (
            call(9, 9, LANGCHAIN, None, start=20, end=21, status=2, attrs=failed),
            call(59, 59, openai, None, start=20.01, end=20.9, status=2, attrs=failed),
        )
    )
    zero = time.time() - 60
    for pair in spans:
        for span in (pair[first], pair[1 - first]):
            collector.send(request(span, at=zero), project)
            collector.settled()
    assert counted(collector, project) == (5000, 6, 6)


def test_an_estimate_gives_way_to_the_client_in_another_trace(collector: LiveCollector, project: str) -> None:
    words = {"gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "It lies there."}]}]'}
    unknown = {**words, "gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}
    zero = time.time() - 60
    collector.send(request(call(1, 1, OWN, "msg_0", start=-5.0, end=-4.0), at=zero), project)
    collector.send(request(call(2, 2, "logfire.anthropic", None, start=0.1, end=1.0, attrs=unknown), at=zero), project)
    collector.settled()
    collector.send(request(call(3, 3, OWN, "msg_1", start=0.12, end=0.98), at=zero), project)
    assert counted(collector, project) == (2000, 2, 2)


UNKNOWN = {
    "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "It lies there."}]}]',
    "gen_ai.usage.input_tokens": None,
    "gen_ai.usage.output_tokens": None,
}
GUESSER = "logfire.anthropic"


def guessed(number: int, **more: object) -> S:
    """A stream without usage, as an instrumentation saw it that estimates."""
    return call(number, number, GUESSER, None, **{"start": 0.1, "end": 1.0, "attrs": UNKNOWN, **more})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def restarted() -> Iterator[dict[str, tuple[int, int, int]]]:
    """What is counted of projects whose calls came in two parts, with a restart of the collector between them."""
    early, late = time.time() - 3 * 86_400, time.time() - 120
    fable = {**UNKNOWN, "gen_ai.request.model": "claude-fable-5"}
    own = {n: call(100 + n, 100 + n, OWN, f"msg_{n}", start=0.12, end=0.98) for n in (1, 2)}
    chain = call(3, 3, LANGCHAIN, None, start=0.1, end=1.0)
    openai = call(4, 4, "openinference.instrumentation.openai", "chatcmpl-1", start=0.12, end=0.98)
    counting = call(7, 7, "opentelemetry.instrumentation.mistralai", "id_7", start=0.1, end=1.0)
    silent = call(8, 8, "mistralai_sdk_tracer", None, start=0.12, end=0.98, attrs=UNKNOWN)
    details = {"gen_ai.usage.cache_read.input_tokens": 700, "gen_ai.usage.cache_write.input_tokens": 100}
    caching = call(9, 9, OWN, "msg_9", start=0.12, end=0.98, attrs=details)
    bare = call(10, 10, "anthropic", None, tokens=200, start=0.1, end=1.0, attrs={"gen_ai.request.type": "chat"})
    parts = {
        "own-last": ([guessed(1)], [own[1]]),
        "own-first": ([own[1]], [guessed(1)]),
        "parallel": ([own[1], guessed(2, start=0.6, end=1.9)], [guessed(1), replace(own[2], start=0.62, end=1.88)]),
        "silent-client-last": ([counting], [silent]),
        "silent-client-first": ([silent], [counting]),
        "bare-last": ([caching], [bare]),
        "bare-first": ([bare], [caching]),
        "bare-other-size": ([caching], [replace(bare, attrs={**bare.attrs, "gen_ai.usage.input_tokens": 300})]),
        "callbacks-last": ([openai], [chain]),
        "callbacks-first": ([chain], [openai]),
        "other-time": ([guessed(1, start=0.0, end=0.4), guessed(2, start=0.9, end=1.6)], [own[1]]),
        "other-model": ([guessed(1, attrs=fable)], [own[1]]),
        "much-longer": ([guessed(1, start=0.0, end=3.0)], [own[1]]),
        "same-side": ([own[1], call(5, 5, TRACELOOP, "msg_5", start=0.1, end=1.0)], [own[2]]),
        "two-guesses": ([guessed(1), call(6, 6, TRACELOOP, None, start=0.1, end=1.0, attrs=UNKNOWN)], [own[1]]),
    }
    live = LiveCollector()
    try:
        for place in (0, 1):
            for name, part in parts.items():
                live.send(request(*part[place], at=early), name)
                if name.startswith("own"):
                    live.send(request(*part[place], at=late), f"{name}-now")
            live.settled()
            if place == 0:
                live.restart()
        yield {name: counted(live, name) for name in [*parts, "own-last-now", "own-first-now"]}
    finally:
        live.stop()


@pytest.mark.parametrize(
    "name",
    [
        *[f"{name}-{order}" for name in ("own", "callbacks", "silent-client", "bare") for order in ("first", "last")],
        *["own-first-now", "own-last-now"],
    ],
)
def test_twins_that_only_time_tells_of_are_found_after_a_restart(restarted: dict[str, tuple[int, int, int]], name: str) -> None:
    assert restarted[name] == (1000, 1, 1)


def test_each_estimate_finds_its_own_twin_after_a_restart(restarted: dict[str, tuple[int, int, int]]) -> None:
    assert restarted["parallel"] == (2000, 2, 2)


@pytest.mark.parametrize(
    ("name", "calls"),
    [("other-time", 3), ("other-model", 2), ("much-longer", 2), ("same-side", 3), ("two-guesses", 2), ("bare-other-size", 2)],
)
def test_what_only_looks_like_the_twin_of_an_estimate_stays_apart(
    restarted: dict[str, tuple[int, int, int]], name: str, calls: int
) -> None:
    assert restarted[name][1] == calls


def test_a_wrapper_that_says_the_same_completes_the_call_below_it(collector: LiveCollector, project: str) -> None:
    """Some instrumentations of a client know no cached tokens, which are cheaper, while the framework above knows them."""
    details = {"gen_ai.usage.cache_read.input_tokens": 800, "gen_ai.usage.reasoning.output_tokens": 20}
    outer = call(1, 1, LANGCHAIN, None, end=2.0, attrs=details)
    inner = call(2, 1, "opentelemetry.instrumentation.openai_v2", "a", parent=1, start=0.1, end=1.9)
    collector.send(request(outer, inner), project)
    row = collector.ask(["generations", "input_tokens", "cache_read_tokens", "reasoning_tokens"], project)[0]
    assert row == {"generations": 1, "input_tokens": 1000, "cache_read_tokens": 800, "reasoning_tokens": 20}

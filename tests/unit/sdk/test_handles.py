"""What is recorded, seen through `spanledger.testing`."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanLimits, TracerProvider

import spanledger
from spanledger.testing import START, Captured, ManualClock, capture, use_clock


def text_of(messages: Any) -> str:
    return "".join(p["content"] for m in json.loads(messages) for p in m["parts"])


def test_an_answer_with_everything(captured_spans: Captured) -> None:
    with spanledger.interaction(
        "answer",
        feature="search",
        user="u1",
        session="s1",
        tags={"tier": "pro"},
        prompt_version="v3",
        release="1.2",
        input="Where?",
    ) as it:
        with spanledger.retrieval("kb", query="parcel") as found:
            found.record(documents=["a text", {"id": "d2", "content": "b", "score": 0.5}])
        with spanledger.generation("gpt-4o", "openai", input=[{"role": "user", "content": "Where?"}], attempt=2) as call:
            call.record(
                output="Here.",
                input_tokens=812,
                output_tokens=64,
                cache_read_tokens=512,
                cache_write_tokens=100,
                cache_write_1h_tokens=50,
                reasoning_tokens=20,
                finish_reason="stop",
                response_model="gpt-4o-2024-08-06",
                response_id="r1",
                cost_usd=Decimal("0.000000000001"),
            )
            call.confidence(0.4, source="logprob")
            call.validation("language", False)
        with spanledger.tool("lookup", arguments={"id": 7}, call_id="c1") as called:
            called.record(result={"state": "on its way"})
        it.confidence(0.82, source="verbalized")
        it.validation("answer_schema", passed=True)
        it.fallback("gpt-4o-mini", from_model="gpt-4o", reason="timeout")
        it.escalate("support", reason="angry")
        it.record(output="Here.")

    inherited = {
        "spanledger.feature": "search",
        "user.id": "u1",
        "session.id": "s1",
        "spanledger.tag.tier": "pro",
        "spanledger.prompt_version": "v3",
        "spanledger.release": "1.2",
    }
    root = captured_spans.one("answer")
    assert root.kind == "INTERNAL"
    assert root.parent_id is None
    assert it.id == f"{root.trace_id}-{root.span_id}"
    assert text_of(root.attributes.pop("gen_ai.input.messages")) == "Where?"
    assert text_of(root.attributes.pop("gen_ai.output.messages")) == "Here."
    assert root.attributes == inherited | {
        "spanledger.interaction": "answer",
        "spanledger.confidence.verbalized": 0.82,
        "spanledger.validation.answer_schema": True,
        "spanledger.fallback.to": "gpt-4o-mini",
        "spanledger.fallback.from": "gpt-4o",
        "spanledger.fallback.reason": "timeout",
        "spanledger.escalation.to": "support",
        "spanledger.escalation.reason": "angry",
    }
    chat = captured_spans.one("chat gpt-4o")
    assert (chat.kind, chat.parent, chat.status) == ("CLIENT", captured_spans.one("answer"), "UNSET")
    assert text_of(chat.attributes.pop("gen_ai.input.messages")) == "Where?"
    assert text_of(chat.attributes.pop("gen_ai.output.messages")) == "Here."
    assert chat.attributes == inherited | {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.provider.name": "openai",
        "spanledger.retry.attempt": 2,
        "gen_ai.usage.input_tokens": 812,
        "gen_ai.usage.output_tokens": 64,
        "gen_ai.usage.cache_read.input_tokens": 512,
        "gen_ai.usage.cache_write.input_tokens": 100,
        "spanledger.usage.cache_write_1h_tokens": 50,
        "gen_ai.usage.reasoning.output_tokens": 20,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.response.id": "r1",
        "spanledger.cost_usd": "0.000000000001",
        "spanledger.confidence.logprob": 0.4,
        "spanledger.validation.language": False,
    }
    search = captured_spans.one("retrieval kb")
    assert search.attributes["gen_ai.retrieval.query.text"] == "parcel"
    assert json.loads(search.attributes["gen_ai.retrieval.documents"]) == [
        {"content": "a text"},
        {"id": "d2", "content": "b", "score": 0.5},
    ]
    lookup = captured_spans.one("execute_tool lookup")
    assert json.loads(lookup.attributes["gen_ai.tool.call.arguments"]) == {"id": 7}
    assert json.loads(lookup.attributes["gen_ai.tool.call.result"]) == {"state": "on its way"}
    assert lookup.attributes["gen_ai.tool.call.id"] == "c1"


def test_spans_of_other_instrumentations_inherit_but_keep_what_they_say_themselves(captured_spans: Captured) -> None:
    tracer = captured_spans.tracer_provider.get_tracer("httpx")
    with (
        spanledger.interaction("answer", feature="search", user="u1") as it,
        tracer.start_as_current_span("GET", attributes={"user.id": "theirs"}),
    ):
        it.tag("tier", "pro")
        with tracer.start_as_current_span("below"):
            pass
    with tracer.start_as_current_span("outside"):
        pass
    assert captured_spans.one("GET").attributes == {"user.id": "theirs", "spanledger.feature": "search"}
    assert captured_spans.one("below").attributes == {
        "user.id": "u1",
        "spanledger.feature": "search",
        "spanledger.tag.tier": "pro",
    }
    assert captured_spans.one("outside").attributes == {}
    assert captured_spans.one("answer").attributes["spanledger.tag.tier"] == "pro"


def test_an_inner_interaction_inherits_and_overrides_without_touching_the_outer(captured_spans: Captured) -> None:
    with spanledger.interaction("batch", feature="import", user="u1"):
        with spanledger.interaction("row", feature="extract") as row:
            row.tag("n", "1")
        with spanledger.generation("m"):
            pass
    assert captured_spans.one("row").attributes["spanledger.feature"] == "extract"
    assert captured_spans.one("row").attributes["user.id"] == "u1"
    assert captured_spans.one("chat m").attributes["spanledger.feature"] == "import"
    assert "spanledger.tag.n" not in captured_spans.one("chat m").attributes


def test_time_to_first_token_is_measured_once(captured_spans: Captured) -> None:
    captured_spans.clock = ManualClock(START)
    with use_clock(captured_spans.clock), spanledger.generation("m", stream=True) as call:
        captured_spans.clock.advance(0.25)
        call.first_token()
        captured_spans.clock.advance(5)
        call.first_token()
    span = captured_spans.one("chat m")
    assert span.attributes["gen_ai.response.time_to_first_chunk"] == 0.25
    assert span.attributes["gen_ai.request.stream"] is True
    assert span.duration_s == 5.25


def test_history_can_be_written_with_past_times() -> None:
    past = datetime(2026, 10, 2, 3, 4, 5, 678901, tzinfo=UTC)
    clock = ManualClock(past)
    with capture(clock=clock) as captured:
        with spanledger.interaction("answer") as it:
            clock.advance(1.5)
        spanledger.feedback(it.id, "helpful", True)
    span = captured.one("answer")
    assert span.start_ns == 1_790_910_245_678_901_000
    assert span.duration_s == 1.5
    assert captured.feedback[0]["timestamp"] == "2026-10-02T03:04:07.178901Z"


class RateLimited(Exception):
    status_code = 429


@pytest.mark.parametrize("make", [spanledger.interaction, spanledger.generation, spanledger.retrieval, spanledger.tool])
def test_a_failure_is_recorded_and_passes_through_untouched(captured_spans: Captured, make: Any) -> None:
    error = RateLimited("slow down")
    with pytest.raises(RateLimited) as caught, make("x"):
        raise error
    assert caught.value is error
    assert vars(error) == {}
    (span,) = captured_spans.spans
    assert (span.status, span.status_message) == ("ERROR", "slow down")
    assert span.attributes["error.type"].endswith("test_handles.RateLimited")
    assert span.attributes["http.response.status_code"] == 429
    ((name, event),) = span.events
    assert (name, event["exception.message"]) == ("exception", "slow down")
    assert "raise error" in event["exception.stacktrace"]


class BotoError(Exception):
    def __init__(self) -> None:
        self.response = {"ResponseMetadata": {"HTTPStatusCode": 503}}


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    @property
    def status_code(self) -> int:
        raise RuntimeError("no")


def test_statuses_are_found_in_other_places_and_hostile_exceptions_do_no_harm(captured_spans: Captured) -> None:
    for error in (BotoError(), Unspeakable(), KeyError("x")):
        with pytest.raises(type(error)), spanledger.tool(type(error).__name__):
            raise error
    boto, odd, key = captured_spans.spans
    assert boto.attributes["http.response.status_code"] == 503
    assert odd.status_message == "<unprintable Unspeakable>"
    assert "http.response.status_code" not in key.attributes
    assert key.attributes["error.type"] == "KeyError"


def test_a_cancelled_task_failed_but_a_closed_consumer_did_not(captured_spans: Captured) -> None:
    with pytest.raises(asyncio.CancelledError), spanledger.generation("m"):
        raise asyncio.CancelledError
    with pytest.raises(GeneratorExit), spanledger.generation("n"):
        raise GeneratorExit
    assert captured_spans.one("chat m").status == "ERROR"
    assert captured_spans.one("chat n").status == "UNSET"


def test_values_that_cannot_be_meant_are_counted_and_left_out(captured_spans: Captured) -> None:
    before = spanledger.stats().invalid_values
    with spanledger.interaction("a", tags="pro") as it:  # type: ignore[arg-type]
        it.confidence(1.2, source="judge")
        it.confidence(float("nan"), source="judge")
        it.confidence(0.5, source="")
        it.validation("schema", "yes")  # type: ignore[arg-type]
        it.tag("", "x")
        with spanledger.generation("m", attempt=0) as call:
            call.record(input_tokens=-1, output_tokens=True, cost_usd="lots")
    assert spanledger.stats().invalid_values - before == 10
    assert captured_spans.one("a").attributes == {"spanledger.interaction": "a"}
    assert captured_spans.one("chat m").attributes == {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}


def test_signals_after_the_end_are_counted_and_ignored(captured_spans: Captured) -> None:
    with spanledger.interaction("a") as it, spanledger.generation("m") as call:
        pass
    it.confidence(0.5, source="judge")
    it.tag("a", "b")
    call.record(output="late")
    call.first_token()
    assert spanledger.stats().late_signals == 4
    assert captured_spans.one("a").attributes == {"spanledger.interaction": "a"}
    assert it.id


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __bool__(self) -> bool:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("strict", [True, False])
def test_hostile_values_neither_raise_nor_stop_the_span(
    captured_spans: Captured, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    monkeypatch.setenv("SPANLEDGER_STRICT", "1" if strict else "0")
    bad: Any = Hostile()
    loop: list[Any] = []
    loop.append(loop)
    with spanledger.interaction(bad, feature=bad, user=bad, tags={"k": bad, bad.__class__: 1}, input=bad) as it:
        with spanledger.generation(bad, bad, input=[bad, {"role": bad, "content": loop}], system=bad, tools=bad) as call:
            call.record(output=loop, input_tokens=bad, finish_reason="\ud800", response_id=bad, cost_usd=bad)
            call.record_response(bad)
        with spanledger.retrieval(bad, query=bad) as found:
            found.record(documents=[bad, (bad, bad), loop])
        with spanledger.tool(bad, arguments=bad, call_id=bad) as called:
            called.record(result={"x": bad, "loop": loop, "nan": float("nan")})
        it.confidence(bad, source="judge")
        it.tag("k", bad)
        it.record(output=bad)
    spanledger.feedback(it.id, "helpful", True, comment=bad)
    assert len(captured_spans.spans) == 4
    assert spanledger.stats().internal_errors == 0
    for span in captured_spans.spans:
        for value in span.attributes.values():
            assert isinstance(value, (str, int, float, tuple))
            str(value).encode()


def test_a_runaway_prompt_is_cut_and_no_limit_of_the_host_is_hit(caplog: pytest.LogCaptureFixture) -> None:
    limited = TracerProvider(span_limits=SpanLimits(max_span_attribute_length=200), shutdown_on_exit=False)
    with capture(tracer_provider=limited) as captured, spanledger.interaction("a", user="u" * 1000, input="x" * 5000) as it:
        it.record(output=[{"role": "assistant", "content": "y" * 5000}])
        with spanledger.tool("t", arguments={"a": "z" * 5000}):
            pass
    with capture() as captured_large, spanledger.interaction("a", input="x" * 10_000_000):
        pass
    assert [r.message for r in caplog.records] == []
    assert all(len(v) <= 200 for s in captured.spans for v in s.attributes.values() if isinstance(v, str))
    assert len(captured_large.one("a").attributes["gen_ai.input.messages"]) < 300_000


def test_metadata_mode_records_no_content() -> None:
    secret = "secret"
    with capture(mode="metadata") as captured:
        record_everything(secret)
    everything = repr([(s.attributes, s.events, s.status_message) for s in captured.spans]) + repr(captured.feedback)
    assert secret not in everything
    assert captured.one("answer").attributes["user.id"] == "the-user"
    assert captured.one("chat m").attributes["gen_ai.usage.input_tokens"] == 1
    assert captured.one("answer").attributes["error.type"] == "ValueError"


def test_none_mode_records_no_identities_either() -> None:
    with capture(mode="none") as captured:
        record_everything("secret")
    everything = repr([(s.attributes, s.events, s.status_message) for s in captured.spans]) + repr(captured.feedback)
    assert "secret" not in everything
    assert "the-user" not in everything
    assert captured.one("answer").attributes["spanledger.feature"] == "f"


def record_everything(secret: str) -> None:
    with pytest.raises(ValueError, match=secret):
        fail_after_recording_everything(secret)


def fail_after_recording_everything(secret: str) -> None:
    @spanledger.observe
    def observed(argument: str) -> str:
        return argument

    with spanledger.interaction("answer", feature="f", user="the-user", session="the-user", input=secret) as it:
        with spanledger.generation("m", input=secret, system=secret, tools=[secret]) as call:
            call.record(output=secret, input_tokens=1)
            call.record_response({"id": "r", "choices": [{"message": {"role": "assistant", "content": secret}}], "usage": {}})
        with spanledger.retrieval("kb", query=secret) as found:
            found.record(documents=[secret])
        with spanledger.tool("t", arguments=secret) as called:
            called.record(result=secret)
        observed(secret)
        it.record(output=secret)
        spanledger.feedback(it.id, "helpful", True, comment=secret, user="the-user")
        raise ValueError(secret)


def test_without_init_everything_does_nothing() -> None:
    with spanledger.interaction("a") as it, spanledger.generation("m") as call, spanledger.retrieval("k") as found:
        call.first_token()
        call.record(output="x")
        call.record_response(object())
        found.record(documents=[1])
        it.fallback("x")
        it.escalate()
        it.tag("a", "b")
        it.confidence(2, source="x")
        it.validation("x", True)
        with spanledger.tool("t") as called:
            called.record(result=1)
        assert not trace.get_current_span().is_recording()
    assert it.id == ""
    spanledger.feedback(it.id, "helpful", True)
    spanledger.feedback("0" * 32, "helpful", True)
    assert spanledger.flush()
    assert spanledger.shutdown()
    stats = spanledger.stats()
    assert (stats.spans_accepted, stats.feedback_accepted, stats.invalid_values, stats.late_signals) == (0, 0, 0, 0)
    with pytest.raises(KeyError), spanledger.interaction("a"):
        raise KeyError


def test_feedback_says_who_judged_what(captured_spans: Captured) -> None:
    with spanledger.interaction("a") as it:
        pass
    spanledger.feedback(it.id, "helpful", False, comment="no", user="u1")
    spanledger.feedback("0af7651916cd43dd8448eb211c80319c", "score", 0.5, source="evaluator", timestamp=START)
    before = spanledger.stats().invalid_values
    bad: Any
    for bad in (None, float("inf"), [1], Hostile()):
        spanledger.feedback(it.id, "helpful", bad)
    spanledger.feedback(it.id, "", True)
    spanledger.feedback(it.id, "helpful", True, source="nobody")  # type: ignore[arg-type]
    spanledger.feedback(it.id, "helpful", True, timestamp=datetime(2026, 1, 1))
    assert spanledger.stats().invalid_values - before == 7
    first, second = captured_spans.feedback
    assert first == {
        "interaction_id": it.id,
        "name": "helpful",
        "value": False,
        "source": "user",
        "id": "feedback-1",
        "timestamp": "2026-01-01T00:00:02Z",
        "comment": "no",
        "user": "u1",
    }
    assert (second["trace_id"], second["value"], second["timestamp"]) == (
        "0af7651916cd43dd8448eb211c80319c",
        0.5,
        "2026-01-01T00:00:00Z",
    )


def test_threads_join_the_interaction_by_propagate(captured_spans: Captured) -> None:
    def work(n: int) -> None:
        with spanledger.generation(f"m{n}"):
            pass

    with spanledger.interaction("a", feature="f"), ThreadPoolExecutor(4) as pool:
        list(pool.map(spanledger.propagate(work), range(20)))
        pool.submit(work, 99).result()
    root = captured_spans.one("a")
    assert all(captured_spans.one(f"chat m{n}").parent == root for n in range(20))
    assert captured_spans.one("chat m99").parent is None
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_asyncio_tasks_keep_their_interactions_apart(captured_spans: Captured) -> None:
    async def answer(n: int) -> None:
        with spanledger.interaction(f"a{n}", user=f"u{n}"):
            await asyncio.sleep(0)
            await asyncio.gather(*(call(n, k) for k in range(3)))
            await asyncio.to_thread(work, n)

    async def call(n: int, k: int) -> None:
        with spanledger.generation(f"m{n}.{k}"):
            await asyncio.sleep(0)

    def work(n: int) -> None:
        with spanledger.tool(f"t{n}"):
            pass

    async def main() -> None:
        await asyncio.gather(*(answer(n) for n in range(10)))

    asyncio.run(main())
    for n in range(10):
        below = [s for s in captured_spans.spans if s.parent == captured_spans.one(f"a{n}")]
        assert len(below) == 4
        assert {s.attributes["user.id"] for s in below} == {f"u{n}"}


def test_leaving_in_another_order_or_task_leaks_nothing(captured_spans: Captured, caplog: pytest.LogCaptureFixture) -> None:
    def parts() -> Any:
        with spanledger.generation("paused"):
            yield 1

    gen = parts()
    next(gen)
    with spanledger.interaction("meanwhile"):
        gen.close()
        with spanledger.tool("inside"):
            pass
    with spanledger.interaction("after"):
        pass
    assert captured_spans.one("execute_tool inside").parent == captured_spans.one("meanwhile")
    assert captured_spans.one("after").parent_id is None

    async def main() -> None:
        it = spanledger.interaction("elsewhere")
        await asyncio.create_task(enter(it))
        await asyncio.create_task(leave(it))

    async def enter(it: Any) -> None:
        it.__enter__()

    async def leave(it: Any) -> None:
        it.__exit__(None, None, None)

    asyncio.run(main())
    assert captured_spans.one("elsewhere")
    assert [r.message for r in caplog.records] == []


def test_a_span_that_is_left_in_a_copy_of_its_context_is_not_current_there(captured_spans: Captured) -> None:
    async def leave(it: Any) -> None:
        it.__exit__(None, None, None)
        assert not trace.get_current_span().is_recording()
        with spanledger.tool("next"):
            pass

    async def main() -> None:
        it = spanledger.interaction("a")
        it.__enter__()
        await asyncio.create_task(leave(it))

    asyncio.run(main())
    assert captured_spans.one("execute_tool next").parent_id is None


def test_a_background_task_stays_in_the_trace_of_the_interaction_that_started_it(captured_spans: Captured) -> None:
    async def later() -> None:
        await asyncio.sleep(0.01)
        for name in ("one", "two"):
            with spanledger.tool(name):
                pass

    async def main() -> None:
        with spanledger.interaction("a"):
            task = asyncio.create_task(later())
        await task

    asyncio.run(main())
    root = captured_spans.one("a")
    assert captured_spans.one("execute_tool one").parent == root
    assert captured_spans.one("execute_tool two").parent == root


def test_a_span_may_be_filled_from_many_threads(captured_spans: Captured) -> None:
    with spanledger.interaction("a") as it:
        threads = [threading.Thread(target=lambda n=n: it.tag(f"k{n}", "v")) for n in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(key.startswith("spanledger.tag.") for key in captured_spans.one("a").attributes) == 50


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (
            {
                "id": "c1",
                "model": "gpt-4o-2024-08-06",
                "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}],
                "usage": {
                    "prompt_tokens": 10,
                    "completion_tokens": 5,
                    "prompt_tokens_details": {"cached_tokens": 4},
                    "completion_tokens_details": {"reasoning_tokens": 2},
                },
            },
            (10, 5, 4, 2, ("stop",), "Hi"),
        ),
        (
            {
                "type": "message",
                "id": "m1",
                "model": "claude-sonnet-4-5",
                "stop_reason": "end_turn",
                "content": [{"type": "text", "text": "Hi"}],
                "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3, "output_tokens": 5},
            },
            (10, 5, 4, None, ("stop",), "Hi"),
        ),
        (
            {
                "id": "g1",
                "modelVersion": "gemini-2.5-pro",
                "candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "Hi"}]}}],
                "usageMetadata": {
                    "promptTokenCount": 10,
                    "candidatesTokenCount": 3,
                    "thoughtsTokenCount": 2,
                    "cachedContentTokenCount": 4,
                },
            },
            (10, 5, 4, 2, ("stop",), "Hi"),
        ),
        (
            {
                "id": "resp1",
                "status": "completed",
                "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}],
                "usage": {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}},
            },
            (10, 5, 4, None, ("stop",), "Hi"),
        ),
    ],
    ids=["openai-chat", "anthropic", "gemini", "openai-responses"],
)
def test_providers_responses_are_read_into_one_meaning(
    captured_spans: Captured, response: Any, expected: tuple[Any, ...]
) -> None:
    with spanledger.generation("m") as call:
        call.record_response(response)
    got = captured_spans.one("chat m").attributes
    assert (
        got["gen_ai.usage.input_tokens"],
        got["gen_ai.usage.output_tokens"],
        got["gen_ai.usage.cache_read.input_tokens"],
        got.get("gen_ai.usage.reasoning.output_tokens"),
        got["gen_ai.response.finish_reasons"],
        text_of(got["gen_ai.output.messages"]),
    ) == expected


def test_a_response_of_unknown_shape_records_nothing(captured_spans: Captured) -> None:
    with spanledger.generation("m") as call:
        call.record_response({"hello": "world"})
        call.record_response(None)
    assert set(captured_spans.one("chat m").attributes) == {"gen_ai.operation.name", "gen_ai.request.model"}

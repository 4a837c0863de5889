"""Settling: which calls count, what they cost, how the interaction ended. And the laws that make totals exact."""

import itertools
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otlp_kit import SECOND, S, chat, request, span_hex, trace_hex

from spanledger_collector.ingest.normalize import normalise
from spanledger_collector.ingest.otlp import Decoder
from spanledger_collector.settle.recent import Trace
from spanledger_collector.settle.rules import Settled, settle
from spanledger_collector.settle.run import Written, differ
from spanledger_collector.settle.sightings import Remembered, Sighting, nearest_of
from spanledger_collector.store.ledger import keep_best
from spanledger_schema.spans import Feedback, SpanRow

AT = int(time.time()) - 3_600
INTERACTION = {"spanledger.interaction": "answer"}


def rows(*spans: S, resource: dict[str, Any] | None = None) -> list[SpanRow]:
    decoded = Decoder().spans(request(*spans, at=AT, resource=resource))
    return [normalise(group, span, "p", AT * 1_000_000_000 + 5)[0] for group in decoded.groups for span in group.spans]


def settled(*spans: S, feedback: tuple[Feedback, ...] = ()) -> Settled:
    return settle(rows(*spans), feedback)


def judged(positive: int, span: int = 0) -> Feedback:
    return Feedback(f"f{positive}{span}", span_hex(span) if span else "", "user", "helpful", positive)


class TestWhatCounts:
    def test_a_wrapper_that_repeats_usage_is_not_billed(self) -> None:
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 10}
        result = settled(S(1, attrs=agent), S(2, 1, attrs=chat()))
        assert [call.span_id for call in result.calls] == [span_hex(2)]
        assert result.verdicts[span_hex(1)] == "wrapper"
        assert result.interactions[0].input_tokens == 100

    def test_a_wrapper_is_billed_when_nothing_below_carries_usage(self) -> None:
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"}
        usage = {"gen_ai.usage.input_tokens": 500, "gen_ai.usage.output_tokens": 50}
        result = settled(S(1, attrs=agent | usage), S(2, 1, attrs=chat(given=None, produced=None)))
        assert [call.span_id for call in result.calls] == [span_hex(1)]
        assert result.verdicts[span_hex(2)] == "usage_above"
        assert result.interactions[0].generations == 1

    def test_an_outer_model_span_around_attempts_is_not_billed(self) -> None:
        outer = chat(given=100, produced=10)
        failed = chat(given=None, produced=None) | {"error.type": "RateLimitError"}
        result = settled(
            S(1, attrs=outer, end=3), S(2, 1, attrs=failed, status=2, end=1), S(3, 1, attrs=chat(), start=1.5, end=3)
        )
        assert [call.span_id for call in result.calls] == [span_hex(2), span_hex(3)]
        assert [call.is_retry for call in result.calls] == [0, 1]
        assert result.interactions[0].retries == 1
        assert result.interactions[0].failure_mode == ""

    def test_a_model_call_inside_a_tool_is_a_call_of_its_own(self) -> None:
        tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "ask"}
        result = settled(S(1, attrs=chat(given=900)), S(2, 1, attrs=tool), S(3, 2, attrs=chat(given=100)))
        assert result.interactions[0].input_tokens == 1_000
        assert [call.kind for call in result.calls] == ["model", "tool", "model"]

    def test_twins_are_billed_once(self) -> None:
        one = S(2, 1, attrs=chat(gen_ai__response__id="r1"), scope="framework")
        other = S(3, 1, attrs=chat(gen_ai__response__id="r1", gen_ai__usage__cache_read__input_tokens=50), scope="client.library")
        result = settled(S(1, attrs=INTERACTION), one, other)
        assert [call.span_id for call in result.calls] == [span_hex(3)], "the richer one is kept"
        assert result.verdicts[span_hex(2)] == "twin"

    @pytest.mark.parametrize(
        "other",
        [
            S(3, 1, attrs=chat(gen_ai__response__id="r2"), scope="b"),
            S(3, 1, attrs=chat(given=101, gen_ai__response__id="r1"), scope="b"),
            S(3, 1, attrs=chat(gen_ai__response__id="r1"), scope="a"),
            S(3, 1, attrs=chat(gen_ai__response__id="r1"), scope="b", start=9, end=10),
        ],
        ids=["another response id", "other counts", "the same scope", "far apart in time"],
    )
    def test_what_only_looks_like_twins_stays_two(self, other: S) -> None:
        result = settled(S(1, attrs=INTERACTION), S(2, 1, attrs=chat(gen_ai__response__id="r1"), scope="a"), other)
        assert len(result.calls) == 2

    def test_a_busy_classifier_stays_many(self) -> None:
        calls = [
            S(number, 1, attrs=chat(given=40, produced=1), start=number / 100, end=number / 100 + 0.05) for number in range(2, 22)
        ]
        assert settled(S(1, attrs=INTERACTION), *calls).interactions[0].generations == 20

    def test_a_refusing_provider_charges_nothing_and_silence_is_unknown(self) -> None:
        refused = chat(given=None, produced=None) | {"error.type": "RateLimitError", "http.response.status_code": 429}
        result = settled(S(1, attrs=refused, status=2))
        assert (result.calls[0].cost_usd, result.calls[0].cost_status) == (0, "not_billable")
        silent = settled(S(1, attrs=chat(given=None, produced=None)))
        assert (silent.calls[0].cost_usd, silent.calls[0].cost_status) == (None, "unpriced")
        assert silent.calls[0].unpriced_reason == "no_usage"

    def test_an_unknown_model_is_unpriced_with_a_reason(self) -> None:
        call = settled(S(1, attrs=chat("totally-invented-9"))).calls[0]
        assert (call.cost_usd, call.cost_status, call.unpriced_reason) == (None, "unpriced", "unknown_model")

    def test_cost_is_exact_and_adds_up(self) -> None:
        attrs = chat("gpt-4o-mini", 1_000, 100, gen_ai__usage__cache_read__input_tokens=400)
        call = settled(S(1, attrs=attrs)).calls[0]
        # 600 x 0.15 + 400 x 0.075 + 100 x 0.60 USD per million
        assert call.cost_usd == 180_000_000
        assert call.cost_usd == (call.cost_input_usd or 0) + (call.cost_cache_read_usd or 0) + (call.cost_output_usd or 0)
        assert call.cache_savings_usd == 30_000_000


class TestInteractions:
    def test_an_unmarked_trace_is_one_interaction_with_the_trace_id(self) -> None:
        result = settled(S(1, name="GET /ask"), S(2, 1, attrs=chat(), start=0.1, end=0.9))
        (interaction,) = result.interactions
        assert interaction.interaction_id == trace_hex(1)
        assert (interaction.is_interaction, interaction.span_count, interaction.duration_ns) == (1, 2, 1_000_000_000)

    def test_a_trace_without_ai_is_no_interaction_and_its_spans_are_counted(self) -> None:
        (row,) = settled(S(1, name="GET /"), S(2, 1, name="SELECT")).interactions
        assert (row.is_interaction, row.span_count, row.failure_mode) == (0, 2, "")

    def test_each_outermost_mark_is_one_and_the_rest_another(self) -> None:
        result = settled(
            S(1, name="nightly job", end=10),
            S(2, 1, attrs=INTERACTION),
            S(3, 2, attrs=chat(given=10)),
            S(4, 2, attrs={"spanledger.interaction": "inner"}),
            S(5, 1, attrs=INTERACTION),
            S(6, 5, attrs=chat(given=20)),
            S(7, 1, attrs=chat(given=30)),
        )
        by_id = {row.interaction_id: row for row in result.interactions}
        assert set(by_id) == {trace_hex(1), f"{trace_hex(1)}-{span_hex(2)}", f"{trace_hex(1)}-{span_hex(5)}"}
        assert by_id[f"{trace_hex(1)}-{span_hex(2)}"].span_count == 3
        assert [by_id[key].input_tokens for key in sorted(by_id)] == [30, 10, 20]

    def test_calls_share_what_their_interaction_knows(self) -> None:
        root = INTERACTION | {"spanledger.feature": "search", "user.id": "u1", "spanledger.tag.tier": "pro"}
        (call,) = settled(S(1, attrs=root), S(2, 1, attrs=chat(session__id="s9", spanledger__prompt_version="v3"))).calls
        assert (call.feature, call.user, call.session, call.tags, call.prompt_version) == (
            "search",
            "u1",
            "s9",
            {"tier": "pro"},
            "v3",
        )

    def test_the_last_word_on_confidence_counts(self) -> None:
        early = S(2, 1, attrs={"gen_ai.operation.name": "chat", "spanledger.confidence.verbalized": 0.4}, end=1)
        late = S(3, 1, attrs={"gen_ai.operation.name": "chat", "spanledger.confidence.verbalized": 0.9}, start=2, end=3)
        (row,) = settled(S(1, attrs=INTERACTION, end=4), early, late).interactions
        assert (row.confidence_sources, row.confidence_values) == (("verbalized",), (0.9,))

    def test_a_loop_of_parents_is_cut(self) -> None:
        assert settled(S(1, 2, attrs=chat(), start=0), S(2, 1, attrs=INTERACTION, start=1)).interactions[0].span_count in (1, 2)


FAILURES = [
    ("rate_limited", [S(1, attrs=chat(None, None) | {"http.response.status_code": 429, "error.type": "x"}, status=2)]),
    ("timeout", [S(1, attrs=chat() | {"error.type": "openai.APITimeoutError"}, status=2)]),
    ("provider_error", [S(1, attrs=chat() | {"http.response.status_code": 503, "error.type": "y"}, status=2)]),
    ("auth_error", [S(1, attrs=chat() | {"error.type": "AuthenticationError"}, status=2)]),
    ("content_filter", [S(1, attrs=chat(gen_ai__response__finish_reasons=["content_filter"]))]),
    ("truncated", [S(1, attrs=chat(gen_ai__response__finish_reasons=["max_tokens"]))]),
    ("refusal", [S(1, attrs=chat(gen_ai__response__finish_reasons=["refusal"]))]),
    ("empty", [S(1, attrs=chat(gen_ai__output__messages='[{"role":"assistant","parts":[]}]'))]),
    ("validation", [S(1, attrs=INTERACTION | {"spanledger.validation.schema": False}), S(2, 1, attrs=chat())]),
    ("tool_error", [S(1, attrs=INTERACTION), S(2, 1, attrs={"gen_ai.operation.name": "execute_tool"}, status=2)]),
    ("retrieval_error", [S(1, attrs=INTERACTION), S(2, 1, attrs={"gen_ai.operation.name": "retrieval"}, status=2)]),
    ("error", [S(1, attrs=INTERACTION, status=2)]),
    ("", [S(1, attrs=chat(gen_ai__response__finish_reasons=["stop"]))]),
]


class TestFailures:
    @pytest.mark.parametrize(("mode", "spans"), FAILURES, ids=[mode or "none" for mode, _ in FAILURES])
    def test_modes(self, mode: str, spans: list[S]) -> None:
        assert settled(*spans).interactions[0].failure_mode == mode

    def test_a_tool_error_that_the_model_answers_after_is_recovered(self) -> None:
        tool = S(2, 1, attrs={"gen_ai.operation.name": "execute_tool"}, status=2, end=1)
        assert (
            settled(S(1, attrs=INTERACTION, end=3), tool, S(3, 1, attrs=chat(), start=1, end=2)).interactions[0].failure_mode
            == ""
        )

    def test_a_user_can_reject_what_looks_well(self) -> None:
        well = S(1, attrs=chat())
        assert settled(well, feedback=(judged(0),)).interactions[0].failure_mode == "rejected"
        assert settled(well, feedback=(judged(0), judged(1))).interactions[0].failure_mode == ""

    def test_failed_interactions_are_wasted_cost(self) -> None:
        row = settled(S(1, attrs=chat("gpt-4o-mini", 1_000, 0, gen_ai__response__finish_reasons=["length"]))).interactions[0]
        assert row.wasted_cost_usd == row.cost_usd == 150_000_000
        fine = settled(S(1, attrs=chat("gpt-4o-mini", 1_000, 0))).interactions[0]
        assert fine.wasted_cost_usd == 0


KINDS = st.sampled_from(
    [
        {},
        INTERACTION,
        chat(),
        chat("gpt-4o-mini", 50, 5),
        chat(given=None, produced=None),
        chat(gen_ai__response__id="same"),
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 10},
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"},
        {"spanledger.confidence.verbalized": 0.5, "user.id": "u"},
    ]
)


@st.composite
def traces(draw: st.DrawFn) -> list[SpanRow]:
    size = draw(st.integers(1, 9))
    spans = []
    for number in range(1, size + 1):
        start = draw(st.integers(0, 20)) / 10
        spans.append(
            S(
                number,
                draw(st.integers(0, size)),
                attrs=draw(KINDS),
                start=start,
                end=start + draw(st.integers(0, 20)) / 10,
                status=draw(st.sampled_from([0, 1, 2])),
                scope=draw(st.sampled_from(["a", "b"])),
            )
        )
    return rows(*spans)


class TestLaws:
    @given(traces(), st.randoms(use_true_random=False))
    def test_order_does_not_matter(self, trace: list[SpanRow], random: Any) -> None:
        shuffled = list(trace)
        random.shuffle(shuffled)
        one, other = settle(trace), settle(shuffled)
        assert sorted(one.interactions) == sorted(other.interactions)
        assert sorted(one.calls, key=str) == sorted(other.calls, key=str)

    @given(traces(), st.lists(st.integers(0, 8), min_size=1, max_size=20))
    def test_batches_and_repeats_settle_to_the_same_rows(self, trace: list[SpanRow], picks: list[int]) -> None:
        memory, alive = Trace(), {}
        for pick in itertools.chain(picks, range(len(trace))):
            row = trace[pick % len(trace)]
            keep_best(memory.rows, row)
            written = Written()
            memory.interactions, memory.calls = differ(memory, written)
            for interaction, gone in zip(written.interactions, written.interactions_deleted, strict=True):
                alive["i", interaction.start_time, interaction.interaction_id] = None if gone else interaction
            for call, gone in zip(written.calls, written.calls_deleted, strict=True):
                alive["c", call.start_time, call.span_id] = None if gone else call
        whole = settle(trace)
        stored = [row for row in alive.values() if row is not None]
        assert sorted(map(str, stored)) == sorted(map(str, [*whole.interactions, *whole.calls]))

    @given(traces())
    def test_settling_twice_writes_nothing(self, trace: list[SpanRow]) -> None:
        memory = Trace()
        memory.rows = {row.span_id: row for row in trace}
        memory.interactions, memory.calls = differ(memory, Written())
        again = Written()
        differ(memory, again)
        assert again.interactions == []
        assert again.calls == []

    @given(traces())
    def test_sums_over_calls_equal_sums_over_interactions(self, trace: list[SpanRow]) -> None:
        result = settle(trace)
        for user in {row.user for row in result.interactions}:
            calls = [call for call in result.calls if call.user == user]
            interactions = [row for row in result.interactions if row.user == user]
            assert sum(call.cost_usd or 0 for call in calls) == sum(row.cost_usd or 0 for row in interactions)
            assert sum(call.wasted_cost_usd or 0 for call in calls) == sum(row.wasted_cost_usd or 0 for row in interactions)
        assert sum(row.span_count for row in result.interactions) == len(trace)


def test_a_cost_that_the_application_reports_counts_without_tokens_too() -> None:
    (call,) = settled(S(1, attrs=chat(given=None, produced=None) | {"spanledger.cost_usd": "0.0125"})).calls
    assert (call.cost_usd, call.cost_status) == (12_500_000_000, "reported")
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search", "spanledger.cost_usd": 0.01}
    (paid,) = settled(S(1, attrs=tool)).calls
    assert (paid.cost_usd, paid.kind, paid.cost_status) == (10_000_000_000, "tool", "reported")


def test_of_calls_at_one_time_the_one_that_lies_most_closely_is_the_nearest() -> None:
    others = [Sighting(f"t{n}", "other", n * SECOND, n * SECOND + 4 * SECOND) for n in range(20)]
    assert nearest_of(Sighting("t", "own", 7 * SECOND + 1, 11 * SECOND), others) == others[7]
    assert nearest_of(Sighting("t", "own", 60 * SECOND, 61 * SECOND), others) is None
    assert nearest_of(Sighting("t", "other", 7 * SECOND, 11 * SECOND), others) is None, "one instrumentation sees a call once"
    assert nearest_of(Sighting("t7", "own", 7 * SECOND, 11 * SECOND), others) in (others[6], others[8])


def test_memory_knows_what_it_has_forgotten() -> None:
    memory: Remembered[str] = Remembered()
    for n in range(150):
        memory.meet("busy", Sighting(f"t{n}", "own", n, n + 5))
    memory.meet("rare", Sighting("t", "own", 1, 2))
    assert memory.forgotten_until("busy") == 48 + 5, "the last 101 are kept"
    assert memory.forgotten_until("rare") == 0
    for n in range(100_001):
        memory.meet(f"key{n}", Sighting(f"t{n}", "own", 1000 + n, 1000 + n))
    assert memory.under("rare") == []
    assert memory.forgotten_until("rare") >= 5

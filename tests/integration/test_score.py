"""The floor under the score: recorded payloads of every instrumentation, compared with what their providers really sent."""

import sys
from pathlib import Path

import pytest
from live import LiveCollector

sys.path.insert(0, str(Path(__file__).parent.parent / "score"))
from score import Verdict, run, shares

DATA = Path(__file__).parent.parent / "data" / "otlp"
MISSES = {
    "langfuse-langchain/lc_agent": {"finish"},  # only in what a later step was given
    "langfuse-langchain/lc_chain": {"finish"},  # likewise
    "openinference-anthropic-2025/anthropic_stream_cached": {"totals"},  # excludes cached tokens and names none; marked partial
    "openinference-haystack/hs_cached": {"five counts"},  # only in the text of a Python object
    "openlit-openai-1.34/responses_stream": {"estimated"},  # it estimates most streams and does not say which
    "semantic-kernel/sk_cached": {"five counts"},  # only in a line of a log file, as text
    "semantic-kernel/sk_tools": {"five counts"},  # likewise
    "traceloop-and-openinference-anthropic/anthropic_stream": {"finish"},  # on the span below the one that is counted
    "traceloop-and-openinference-anthropic/anthropic_stream_cached": {"finish", "totals"},  # and as openinference-anthropic-2025
    # Its log records name neither trace nor span where nothing is around the call.
    "traceloop-events/anthropic_cached": {"prompt", "output"},
    "traceloop-events/anthropic_slow": {"prompt"},
    "traceloop-events/anthropic_stream_cached": {"prompt", "output"},
    "traceloop-events/anthropic_tools": {"prompt", "output"},
    "traceloop-langchain/chain_reasoning": {"five counts"},  # only in the input of a later step
}
"""What is known to be missed, and why; a line that is no longer true is a failure too."""


@pytest.fixture(scope="module")
def verdicts() -> list[Verdict]:
    live = LiveCollector()
    try:
        return run(DATA, live.http, live.settled)
    finally:
        live.stop()


def test_many_instrumentations_are_recorded(verdicts: list[Verdict]) -> None:
    assert len({verdict.payload.instrumentor for verdict in verdicts}) >= 81


def test_each_payload_is_understood(verdicts: list[Verdict]) -> None:
    misses = {f"{v.payload.instrumentor}/{v.payload.scenario}": set(v.why) for v in verdicts if v.why}
    assert misses == MISSES, {f"{v.payload.instrumentor}/{v.payload.scenario}": v.why for v in verdicts if v.why}


def test_what_the_score_promises_is_reached(verdicts: list[Verdict]) -> None:
    reached = {fact: right / of for fact, (right, of) in shares(verdicts).items()}
    exact = ("model", "not billed twice", "error", "user", "session", "honest")
    assert {fact: reached[fact] for fact in exact} == dict.fromkeys(exact, 1.0)
    assert min(reached["totals"], reached["estimated"]) >= 0.98
    assert min(reached["finish"], reached["prompt"], reached["output"]) >= 0.95
    assert min(reached["five counts"], reached["error class"]) >= 0.90

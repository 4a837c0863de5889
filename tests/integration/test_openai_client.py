"""The main promise on real input: a real client, instrumentation and exporter, and a provider that knows its bill."""

from collections.abc import Iterator
from decimal import Decimal

import openai
import pytest
from fake_provider import MODEL, FakeProvider
from live import LiveCollector
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

PROJECT = "real-client"
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    fake = FakeProvider()
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def traffic(collector: LiveCollector, provider: FakeProvider) -> Iterator[FakeProvider]:
    """Plain, cached, streamed and tool-calling calls, a 429, a 500 and a timeout, each exported as it ends."""
    tracing = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    exporter = OTLPSpanExporter(f"{collector.url}/v1/traces", headers={"x-spanledger-project": PROJECT})
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=tracing)
    client = openai.OpenAI(base_url=provider.url, api_key="test", max_retries=0, timeout=0.8)

    def ask(words: str, **more: object) -> object:
        return client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": words}], **more)  # type: ignore[call-overload]

    try:
        for number in range(3):
            ask(f"plain question {number}")
        ask("cached question")
        ask("tools please", tools=TOOLS)
        for _ in ask("streamed question", stream=True, stream_options={"include_usage": True}):  # type: ignore[attr-defined]
            pass
        for words, error in (
            ("fail429", openai.RateLimitError),
            ("fail500", openai.InternalServerError),
            ("slow", openai.APITimeoutError),
        ):
            with pytest.raises(error):
                ask(f"{words} now")
        yield provider
    finally:
        instrumentor.uninstrument()
        tracing.shutdown()


def test_tokens_equal_what_the_provider_counted(collector: LiveCollector, traffic: FakeProvider) -> None:
    row = collector.ask(["input_tokens", "output_tokens", "cache_read_tokens", "generations"], PROJECT)[0]
    assert row["input_tokens"] == traffic.total("input")
    assert row["output_tokens"] == traffic.total("output")
    assert row["cache_read_tokens"] == traffic.total("cached")
    assert row["generations"] == 9


def test_cost_equals_what_the_provider_charged(collector: LiveCollector, traffic: FakeProvider) -> None:
    assert Decimal(collector.value("cost_usd", PROJECT)) == traffic.cost_usd
    by_model = collector.ask("cost_usd", PROJECT, dimensions=["model"])
    assert {row["model"]: row["cost_usd"] for row in by_model}[MODEL] == format(traffic.cost_usd.normalize(), "f")


def test_failures_are_the_three_that_happened(collector: LiveCollector, traffic: FakeProvider) -> None:
    rows = collector.ask("failures", PROJECT, dimensions=["failure_mode"])
    modes = {row["failure_mode"]: row["failures"] for row in rows}
    assert modes == {None: 0, "rate_limited": 1, "provider_error": 1, "timeout": 1}
    assert collector.value("interactions", PROJECT) == 9


def test_what_cost_nothing_and_what_is_unknown_are_told_apart(collector: LiveCollector, traffic: FakeProvider) -> None:
    rows = collector.ask("generations", PROJECT, dimensions=["cost_status", "error_class"])
    found = {(row["cost_status"], row["error_class"]): row["generations"] for row in rows}
    assert found == {
        ("priced", None): 6,
        ("not_billable", "rate_limited"): 1,
        ("not_billable", "provider_error"): 1,
        ("unpriced", "timeout"): 1,
    }


def test_the_streamed_call_knows_when_it_began_to_answer(collector: LiveCollector, traffic: FakeProvider) -> None:
    assert collector.value("ttft_p50_s", PROJECT) is not None

"""The interaction page over recorded traffic of many instrumentations: what was really said reads as a conversation."""

import json
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.browser.look import settle

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RECORDED = Path(__file__).parent.parent / "data" / "otlp"
WITH_TOOLS = {
    "langsmith-otel": "agent_tool_roundtrip",
    "openinference-crewai": "agent_tool_roundtrip",
    "openinference-langchain": "agent_tool_roundtrip",
    "openinference-smolagents": "agent_tool_roundtrip",
    "pydantic-ai": "agent_anthropic_tool_roundtrip",
    "strands": "agent_tool_roundtrip",
    "vercel-ai-v5": "tool_roundtrip",
    "vercel-ai-v7": "tool_roundtrip",
}
PLAIN = {
    "anthropic-native-content": "messages_basic",
    "litellm-otel": "anthropic_basic",
    "logfire-openai": "chat_basic",
    "mlflow-genai-semconv": "chat_basic",
    "openinference-openai": "chat_basic",
    "otel-genai-openai-content": "chat_basic",
    "traceloop-openai": "chat_basic",
}


def _open(page, stack, instrumentor: str, scenario: str) -> dict:
    """Send a recording into a project of its own and open its interaction; the answer is what was really said."""
    folder = RECORDED / instrumentor
    headers = {"content-type": "application/x-protobuf", "x-spanledger-project": f"{instrumentor}-page"}
    body = (folder / f"{scenario}.pb").read_bytes()
    with httpx.Client(base_url=stack.collector, headers=headers, timeout=30) as http:
        logs = folder / f"{scenario}.logs.pb"
        if logs.exists() and logs.stat().st_size:
            http.post("/v1/logs", content=logs.read_bytes()).raise_for_status()
        http.post("/v1/traces", content=body).raise_for_status()
    traces = [
        span.trace_id.hex()
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert len(set(traces)) == 1, "the recording is of one trace"
    page.goto(f"{stack.dashboard}/interactions?project={instrumentor}-page&trace={traces[0]}")
    page.wait_for_selector("text=Usage and cost by step")
    settle(page)
    return dict(json.loads((folder / f"{scenario}.json").read_text()))


@pytest.mark.parametrize("instrumentor", WITH_TOOLS)
def test_an_agent_with_a_tool_reads_as_a_conversation(page, stack, instrumentor):
    truth = _open(page, stack, instrumentor, WITH_TOOLS[instrumentor])
    # An agent whose answer is the argument of its last tool says no text of its own.
    for said in filter(None, (truth["user_prompt"], truth["assistant_text"])):
        assert page.get_by_text(said).count() >= 1
    labels = page.locator("[data-testid=stExpander] summary").all_inner_texts()
    assert any("get_weather(city=Lyon" in label for label in labels), labels
    assert any(label.split(" → ")[-1].startswith(("21C", "temp_c=21", "It")) for label in labels), labels
    assert not any("not shown" in label for label in labels), labels
    assert page.locator(".st-key-facts").get_by_text("recorded by").count() >= 1
    assert page.locator("[data-testid=stException]").count() == 0


@pytest.mark.parametrize("instrumentor", PLAIN)
def test_one_call_reads_as_question_and_answer(page, stack, instrumentor):
    truth = _open(page, stack, instrumentor, PLAIN[instrumentor])
    for said in (truth["user_prompt"], truth["assistant_text"]):
        assert page.get_by_text(said, exact=True).count() == 1
    assert page.locator(".st-key-facts").get_by_text("recorded by").count() >= 1


def test_a_failed_call_says_how_where_it_failed(page, stack):
    truth = _open(page, stack, "langfuse-decorators", "error_429")
    assert page.get_by_text(truth["user_prompt"], exact=True).count() >= 1
    assert page.get_by_text("Failed · rate limited").count() >= 1
    assert page.get_by_text("Rate limit reached").count() >= 1
    assert page.get_by_text("→ 2 documents").count() >= 1

"""Logfire's OpenAI and Anthropic instrumentations, formats 1 and 2.

Format 2 follows the conventions and keeps the provider's usage in `gen_ai.usage.raw`, the only place of cached and reasoning
counts. Format 1 has `request_data` and `response_data` as JSON. A streamed call makes two spans: the request span, which ends at
the first byte and knows neither answer nor usage, and a zero-length one with both; the first is no call of its own.
"""

from collections.abc import Mapping
from typing import Any, Final

from spanledger_collector.ingest.decoded import Attributes, DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import (
    Facts,
    as_list,
    as_mapping,
    pico_usd,
    text,
    to_json,
)
from spanledger_collector.ingest.dialects.usage import fill
from spanledger_schema import semconv

NAME: Final = "logfire"
SCOPES: Final = ("logfire.",)
MARKS: Final[tuple[str, ...]] = ()


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a Logfire span."""
    attributes = span.attributes
    get = attributes.get
    request = as_mapping(get("request_data"))
    response = as_mapping(get("response_data"))
    if genai.recognises(attributes):
        genai.read(span, scope, facts)
    if not request and facts.kind == "span":
        return
    if not request and span.name.startswith("Function:"):
        facts.kind, facts.operation, facts.name = "tool", "execute_tool", text(get("name"))
        facts.input, facts.output = to_json(get("input", "")), to_json(get("output", ""))
        return
    if not request and not facts.request_model and scope.endswith("agents"):
        # Turns, tasks and runs name the provider too.
        facts.kind = "agent" if span.name.startswith("Agent run") else "chain"
        return
    if facts.kind in ("span", "chain"):
        facts.kind = "embedding" if "Embedding" in span.name else "model"
    facts.operation = facts.operation or ("embeddings" if facts.kind == "embedding" else "chat")
    facts.provider = facts.provider or scope.removeprefix("logfire.")
    facts.request_model = facts.request_model or text(request.get("model"))
    facts.finish_reason = facts.finish_reason or _finish(response)
    usage = as_mapping(get("gen_ai.usage.raw")) or as_mapping(response.get("usage"))
    if not usage and facts.request_model:
        # Calls of the agents SDK hold what that says of them.
        usage = as_mapping(get("usage"))
    if usage:
        fill(usage, facts)
    if facts.kind == "embedding" and facts.input_tokens is not None and facts.output_tokens is None:
        facts.output_tokens = 0
    facts.reported_cost_usd = pico_usd(get("operation.cost")) or None
    tags = as_list(get("logfire.tags"))
    facts.tags = {tag: "true" for tag in tags if isinstance(tag, str)}
    _read_content(attributes, request, response, facts)
    _mend_stream(span, request, facts)


def _mend_stream(span: DecodedSpan, request: Mapping[str, Any], facts: Facts) -> None:
    if "streaming response from" in span.name:
        seconds = span.attributes.get("duration")
        if isinstance(seconds, int | float) and 0 < seconds < 1e6:
            # The log span has no length of its own: the stream ended where it stands and lasted as long as it says.
            span.start_ns = max(0, span.end_ns - int(seconds * 1e9))
        return
    # Chats of format 2 do not say whether they stream; one that ended well with neither answer nor usage did.
    streams = request.get("stream", semconv.OPERATION in span.attributes) is True
    if streams and facts.input_tokens is None and not facts.output and span.status_code != 2:
        facts.kind = "chain"


def _finish(response: Mapping[str, Any]) -> str:
    for key in ("finish_reason", "stop_reason"):
        if found := text(response.get(key)):
            return found
    choices = response.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[-1], dict):
        return text(choices[-1].get("finish_reason"))
    return ""


def _read_content(attributes: Attributes, request: Mapping[str, Any], response: Mapping[str, Any], facts: Facts) -> None:
    events = as_list(attributes.get("events"))
    if not facts.input and request:
        messages = request.get("messages") or request.get("input") or request.get("prompt")
        system = request.get("system")
        if isinstance(messages, list) and system:
            messages = [{"role": "system", "content": system}, *messages]
        facts.input = to_json(messages) if messages is not None else ""
    if not facts.output:
        answer = response.get("message") or response.get("combined_chunk_content") or response.get("text")
        facts.output = to_json([answer] if isinstance(answer, dict) else answer) if answer else ""
    if not facts.output and isinstance(answers := attributes.get("output"), str | list):
        facts.output = to_json(answers)
    if events and not facts.output:
        produced = [event for event in events if isinstance(event, dict) and event.get("role") == "assistant"]
        given = [event for event in events if isinstance(event, dict) and event.get("role") != "assistant"]
        facts.output = to_json(produced) if produced else ""
        facts.input = facts.input if facts.input and not given else to_json(given)
    if not facts.tools and request.get("tools"):
        facts.tools = to_json(request["tools"])

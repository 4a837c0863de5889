"""Pydantic AI: the conventions, with the agent's sum on its own span and messages in forms of its own.

Usage is inclusive for every provider. `gen_ai.aggregated_usage.*` on the agent is a sum over its calls, counted only where no
call below says anything; version 1 wrote it under the plain names. The details bag holds the provider's words.
"""

from typing import Final

from spanledger_collector.ingest.decoded import Attributes, DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import Facts, as_list, as_mapping, count, first_text, pico_usd, text, to_json

NAME: Final = "pydantic_ai"
SCOPES: Final = ("pydantic-ai", "pydantic_ai")
MARKS: Final = ("pydantic_ai.all_messages",)
_SUM: Final = "gen_ai.aggregated_usage."


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a span of Pydantic AI."""
    attributes = span.attributes
    get = attributes.get
    genai.read(span, scope, facts)
    if not facts.operation:
        _read_kind(span, facts)
    if facts.input_tokens is None and facts.output_tokens is None:
        facts.input_tokens, facts.output_tokens = count(get(_SUM + "input_tokens")), count(get(_SUM + "output_tokens"))
        facts.cache_read_tokens = count(get(_SUM + "cache_read.input_tokens"))
        facts.cache_write_tokens = count(get(_SUM + "cache_creation.input_tokens"))
    facts.reported_cost_usd = pico_usd(get("operation.cost")) or None
    if facts.kind == "agent":
        facts.request_model = facts.request_model or first_text(attributes, ("gen_ai.request.model", "model_name"))
        facts.name = facts.name or text(get("agent_name"))
    tags = as_mapping(get("metadata"))
    facts.tags.update({key: text(value) for key, value in tags.items() if text(value)})
    _read_content(attributes, facts)


def _read_kind(span: DecodedSpan, facts: Facts) -> None:
    # The span "running tools" holds those of the tools.
    if "tool_arguments" in span.attributes or span.name.startswith("running tool:") or span.name == "running tool":
        facts.kind, facts.operation = "tool", "execute_tool"
    elif span.name == "agent run" or "agent_name" in span.attributes:
        facts.kind, facts.operation = "agent", "invoke_agent"


def _read_content(attributes: Attributes, facts: Facts) -> None:
    get = attributes.get
    if facts.kind == "tool":
        facts.input = facts.input or to_json(get("tool_arguments") or "")
        facts.output = facts.output or to_json(get("tool_response") or "")
        return
    history = as_list(get("pydantic_ai.all_messages") or get("all_messages_events") or get("events"))
    messages = [item for item in history if isinstance(item, dict)]
    if messages and not facts.output and messages[-1].get("role") == "assistant":
        facts.output = to_json(messages[-1:])
        messages = messages[:-1]
    if messages and (not facts.input or "gen_ai.input.messages" not in attributes):
        system = [{"role": "system", "parts": as_list(get("gen_ai.system_instructions"))}]
        facts.input = to_json(system + messages if system[0]["parts"] else messages)
    if not facts.output and (final := get("final_result")) is not None:
        facts.output = to_json(final)

"""Vercel AI SDK 4 to 6, and the legacy telemetry of 7: `ai.*` on an outer span and on one inner span per provider call.

Only the inner (`….doGenerate`, `.doStream`, `.doEmbed`) is a call; the outer repeats its usage. Before version 6, which is
told by `ai.usage.inputTokenDetails.*`, Anthropic's input excludes cached tokens, and these stand in the provider's metadata
only. Version 7's default telemetry follows the OpenTelemetry conventions.
"""

from typing import Any, Final

from spanledger_collector.ingest.decoded import Attributes, DecodedSpan
from spanledger_collector.ingest.dialects.facts import (
    Facts,
    as_list,
    as_mapping,
    count,
    first_count,
    first_text,
    parse_json,
    text,
    to_json,
)
from spanledger_collector.ingest.dialects.usage import fill

NAME: Final = "vercel"
SCOPES: Final[tuple[str, ...]] = ()
MARKS: Final = ("ai.operationId",)
_OPERATION: Final = {"doGenerate": "chat", "doStream": "chat", "doEmbed": "embeddings", "doRerank": "rerank"}
_KIND: Final = {"chat": "model", "embeddings": "embedding", "rerank": "rerank"}
_CONTEXTS: Final = ("ai.telemetry.metadata.", "ai.settings.context.", "ai.settings.runtimeContext.")
_USER: Final = ("userId", "user_id", "user")
_SESSION: Final = ("sessionId", "session_id", "threadId", "thread_id", "conversationId")


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a span of the SDK."""
    attributes = span.attributes
    get = attributes.get
    operation_id = text(get("ai.operationId"))
    facts.operation = _OPERATION.get(operation_id.rpartition(".")[2], "")
    facts.kind = _KIND.get(facts.operation, "tool" if operation_id == "ai.toolCall" else "chain")
    facts.provider = first_text(attributes, ("ai.model.provider", "gen_ai.system")).partition(".")[0]
    facts.request_model = first_text(attributes, ("gen_ai.request.model", "ai.model.id"))
    facts.response_model = first_text(attributes, ("gen_ai.response.model", "ai.response.model"))
    facts.response_id = first_text(attributes, ("gen_ai.response.id", "ai.response.id"))
    facts.finish_reason = text(get("ai.response.finishReason"))
    milliseconds = get("ai.response.msToFirstChunk")
    if isinstance(milliseconds, int | float) and 0 <= milliseconds < 1e9:
        facts.ttft_ns = int(milliseconds * 1e6)
    _read_usage(attributes, facts)
    _read_context(attributes, facts)
    if facts.kind == "tool":
        facts.name = text(get("ai.toolCall.name"))
        facts.operation = "execute_tool"
        facts.input, facts.output = text(get("ai.toolCall.args")), text(get("ai.toolCall.result"))
    else:
        _read_content(attributes, facts)


def _read_usage(attributes: Attributes, facts: Facts) -> None:
    get = attributes.get
    facts.input_tokens = first_count(
        attributes, ("ai.usage.inputTokens", "ai.usage.promptTokens", "gen_ai.usage.input_tokens", "ai.usage.tokens")
    )
    facts.output_tokens = first_count(
        attributes, ("ai.usage.outputTokens", "ai.usage.completionTokens", "gen_ai.usage.output_tokens")
    )
    if facts.input_tokens is not None and facts.output_tokens is None and "ai.usage.tokens" in attributes:
        facts.output_tokens = 0
    details = "ai.usage.inputTokenDetails."
    facts.cache_read_tokens = first_count(attributes, (details + "cacheReadTokens", "ai.usage.cachedInputTokens"))
    facts.cache_write_tokens = count(get(details + "cacheWriteTokens"))
    facts.reasoning_tokens = first_count(attributes, ("ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens"))
    is_excluding = not any(key.startswith(details) for key in attributes)
    metadata = as_mapping(get("ai.response.providerMetadata"))
    for provider, values in metadata.items():
        if not isinstance(values, dict):
            continue
        if provider in ("anthropic", "bedrock"):
            facts.is_input_exclusive = is_excluding
            raw = values.get("usage")
            names = ("cacheReadInputTokens", "cacheCreationInputTokens", "cacheWriteInputTokens")
            if isinstance(raw, dict) and "input_tokens" in raw:
                fill(raw, facts)
            bag = {**(raw if isinstance(raw, dict) else {}), **values}
            facts.cache_read_tokens = _known(facts.cache_read_tokens, first_count(bag, names[:1]))
            facts.cache_write_tokens = _known(facts.cache_write_tokens, first_count(bag, names[1:]))
        elif isinstance(raw := values.get("usageMetadata"), dict):
            fill(raw, facts)
        else:
            facts.cache_read_tokens = _known(facts.cache_read_tokens, count(values.get("cachedPromptTokens")))
            facts.reasoning_tokens = _known(facts.reasoning_tokens, count(values.get("reasoningTokens")))
        if tier := text(values.get("serviceTier")):
            facts.say_tier(tier)


def _known(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def _read_context(attributes: Attributes, facts: Facts) -> None:
    for key, value in attributes.items():
        prefix = next((prefix for prefix in _CONTEXTS if key.startswith(prefix)), None)
        if prefix is None:
            continue
        name = key[len(prefix) :]
        if name in _USER:
            facts.user = facts.user or text(value)
        elif name in _SESSION:
            facts.session = facts.session or text(value)
        elif name == "tags":
            facts.tags.update({tag: "true" for tag in as_list(value) if isinstance(tag, str)})
        else:
            facts.tags[name] = text(value) or to_json(value)


def _read_content(attributes: Attributes, facts: Facts) -> None:
    get = attributes.get
    if (messages := get("ai.prompt.messages")) is not None:
        facts.input = to_json(messages)
    elif (prompt := get("ai.prompt")) is not None:
        asked = as_mapping(prompt)
        given = asked.get("messages")
        if not isinstance(given, list):
            given = [{"role": "user", "content": asked.get("prompt", prompt)}]
        system = asked.get("system")
        facts.input = to_json([{"role": "system", "content": system}, *given] if system else given)
    elif (values := get("ai.values", get("ai.value"))) is not None:
        facts.input = to_json([parse_json(value) or value for value in values] if isinstance(values, list) else values)
    if (tools := get("ai.prompt.tools")) is not None:
        facts.tools = to_json([parse_json(tool) for tool in tools] if isinstance(tools, list) else tools)
    parts: list[dict[str, Any]] = []
    if reasoning := text(get("ai.response.reasoning")):
        parts.append({"type": "reasoning", "content": reasoning})
    for key in ("ai.response.text", "ai.response.object"):
        if words := text(get(key)):
            parts.append({"type": "text", "content": words})
    for call in as_list(get("ai.response.toolCalls")):
        if isinstance(call, dict):
            arguments = call.get("input", call.get("args"))
            parts.append(
                {"type": "tool_call", "id": call.get("toolCallId"), "name": call.get("toolName"), "arguments": arguments}
            )
    if parts:
        facts.output = to_json([{"role": "assistant", "parts": parts}])

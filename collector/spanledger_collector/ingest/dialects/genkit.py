"""Genkit: everything is an action, with its input and output as JSON; a model's output holds the provider's answer, whole.

Only actions of the subtypes model and embedder are calls; `generate` and flows around them repeat the answer. Its own usage
leaves cached tokens out of nothing, and thoughts out of the output where the total shows it; the provider's usage completes it.
"""

from collections.abc import Mapping
from typing import Any, Final

from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.dialects.facts import Facts, as_mapping, count, first_count, text, to_json
from spanledger_collector.ingest.dialects.replies import read_reply

NAME: Final = "genkit"
SCOPES: Final = ("genkit-tracer",)
MARKS: Final = ("genkit:type", "genkit:name")
_SUBTYPE: Final = "genkit:metadata:subtype"
_KIND: Final = {
    "model": ("model", "chat"),
    "background-model": ("model", "chat"),
    "embedder": ("embedding", "embeddings"),
    "reranker": ("rerank", "rerank"),
    "retriever": ("retrieval", "retrieval"),
    "tool": ("tool", "execute_tool"),
    "tool.v2": ("tool", "execute_tool"),
    "evaluator": ("evaluator", ""),
}
_ROLES: Final = {"model": "assistant"}


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a Genkit span."""
    get = span.attributes.get
    facts.kind, facts.operation = _KIND.get(text(get(_SUBTYPE)), ("chain", ""))
    name = text(get("genkit:name"))
    given, produced = as_mapping(get("genkit:input")), as_mapping(get("genkit:output"))
    facts.session = text(get("genkit:sessionId")) or text(get("genkit:metadata:sessionId"))
    if facts.kind not in ("model", "embedding", "rerank"):
        facts.name = name if facts.kind in ("tool", "retrieval") else ""
        facts.input, facts.output = text(get("genkit:input")), text(get("genkit:output"))
        if facts.kind == "retrieval":
            facts.input = to_json([_parts(given.get("query"))]) if given.get("query") else facts.input
            facts.documents = to_json(produced.get("documents") or [])
        return
    facts.provider, _, facts.request_model = name.rpartition("/")
    if facts.kind == "model":
        _read_answer(produced, facts)
        facts.input = to_json([_message(item) for item in given.get("messages") or []])
        facts.tools = to_json(given["tools"]) if given.get("tools") else ""
    elif facts.kind == "embedding":
        facts.input = to_json([_message(item) for item in given.get("input") or []])
    else:
        facts.input = to_json([_message({"role": "user", **as_mapping(given.get("query"))})])
        facts.documents = to_json(produced.get("documents") or [])


def _read_answer(produced: Mapping[str, Any], facts: Facts) -> None:
    usage = as_mapping(produced.get("usage"))
    facts.input_tokens, facts.output_tokens = count(usage.get("inputTokens")), count(usage.get("outputTokens"))
    facts.cache_read_tokens = first_count(usage, ("cachedContentTokens",))
    facts.reasoning_tokens = first_count(usage, ("thoughtsTokens",))
    total = count(usage.get("totalTokens"))
    shown = (facts.input_tokens or 0) + (facts.output_tokens or 0)
    facts.is_output_exclusive = bool(facts.reasoning_tokens) and total == shown + (facts.reasoning_tokens or 0)
    # The provider's own word for why it ended is the better one: Genkit has none for tools.
    read_reply(produced.get("raw", produced.get("custom")), facts)
    facts.finish_reason = facts.finish_reason or text(produced.get("finishReason"))
    message = produced.get("message")
    if not isinstance(message, Mapping):
        candidates = produced.get("candidates")
        message = as_mapping(candidates[0]).get("message") if isinstance(candidates, list) and candidates else None
    if isinstance(message, Mapping):
        facts.output = to_json([_message(message)])


def _message(item: Any) -> dict[str, Any]:
    message = as_mapping(item)
    role = text(message.get("role")) or "user"
    return {"role": _ROLES.get(role, role), "parts": _parts(message)}


def _parts(message: Any) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    content = as_mapping(message).get("content")
    for part in content if isinstance(content, list) else []:
        held = as_mapping(part)
        if isinstance(call := held.get("toolRequest"), Mapping):
            found = {"type": "tool_call", "id": call.get("ref"), "name": call.get("name"), "arguments": call.get("input")}
        elif isinstance(result := held.get("toolResponse"), Mapping):
            found = {"type": "tool_call_response", "id": result.get("ref"), "response": result.get("output")}
        elif isinstance(media := held.get("media"), Mapping):
            found = {"type": "uri", "uri": media.get("url"), "mime_type": media.get("contentType")}
        elif "reasoning" in held:
            found = {"type": "reasoning", "content": held["reasoning"]}
        else:
            found = {"type": "text", "content": held.get("text", to_json(held.get("data", "")))}
        parts.append(found)
    return parts

"""OpenInference (Arize): `openinference.span.kind` and flattened `llm.*` attributes.

Counts are inclusive (measured for all its instrumentors but the Anthropic streams of 2025, which `Facts.settle_inclusion` and
the raw response repair where they can). `llm.model_name` is the response model when it is known.
"""

from collections.abc import Mapping
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
    pico_usd,
    text,
    to_json,
    unflatten,
)
from spanledger_collector.ingest.dialects.litellm import split_model
from spanledger_collector.ingest.dialects.replies import read_reply, read_repr
from spanledger_collector.ingest.dialects.usage import fill

NAME: Final = "openinference"
SCOPES: Final[tuple[str, ...]] = ()
MARKS: Final = ("openinference.span.kind",)
_KIND: Final = {
    "LLM": "model",
    "EMBEDDING": "embedding",
    "RERANKER": "rerank",
    "TOOL": "tool",
    "RETRIEVER": "retrieval",
    "AGENT": "agent",
    "GUARDRAIL": "guardrail",
    "EVALUATOR": "evaluator",
}
_OPERATION: Final = {
    "model": "chat",
    "embedding": "embeddings",
    "rerank": "rerank",
    "tool": "execute_tool",
    "retrieval": "retrieval",
}


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read an OpenInference span."""
    attributes = span.attributes
    get = attributes.get
    facts.kind = _KIND.get(text(get("openinference.span.kind")).upper(), "chain")
    if facts.kind == "model" and "embed" in text(get("llm.model_name")):
        # Bedrock's models are all invoked in one way.
        facts.kind = "embedding"
    facts.operation = _OPERATION.get(facts.kind, "")
    facts.provider = first_text(attributes, ("llm.provider", "llm.system"))
    request = as_mapping(get("input.value"))
    answer = parse_json(get("output.value"))
    response = answer if isinstance(answer, dict) else {}
    parameters = as_mapping(get("llm.invocation_parameters"))
    facts.request_model = text(get("llm.request.model_name")) or text(parameters.get("model")) or text(request.get("model"))
    facts.response_model = first_text(attributes, ("llm.response.model_name", "llm.model_name", "embedding.model_name"))
    facts.finish_reason = text(get("llm.finish_reason"))
    facts.input_tokens = count(get("llm.token_count.prompt"))
    facts.output_tokens = count(get("llm.token_count.completion"))
    if facts.input_tokens is not None and facts.output_tokens is None and facts.kind in ("embedding", "rerank"):
        facts.output_tokens = 0
    facts.cache_read_tokens = first_count(
        attributes, ("llm.token_count.prompt_details.cache_read", "llm.token_count.prompt_details.cache_input")
    )
    facts.cache_write_tokens = count(get("llm.token_count.prompt_details.cache_write"))
    facts.reasoning_tokens = count(get("llm.token_count.completion_details.reasoning"))
    for kind, name in (("input_audio", "prompt_details.audio"), ("output_audio", "completion_details.audio")):
        if number := count(get(f"llm.token_count.{name}")):
            facts.other_usage[kind] = number
    if isinstance(answer, list) and facts.kind == "model":
        read_reply(answer, facts)
    _read_answer(response, scope, facts)
    # Of Anthropic's streams those of 2025 name no cached tokens, and exclude them.
    is_bare = facts.cache_read_tokens is None and facts.cache_write_tokens is None
    facts.is_partial = is_bare and parameters.get("stream") is True and scope.endswith("anthropic")
    facts.reported_cost_usd = pico_usd(get("llm.cost.total")) if get("llm.cost.total") else None
    metadata = as_mapping(get("metadata"))
    facts.user = text(metadata.get("user_id"))
    facts.session = text(metadata.get("session_id"))
    facts.prompt_version = text(get("llm.prompt_template.version"))
    facts.tags = {tag: "true" for tag in as_list(get("tag.tags")) if isinstance(tag, str)}
    facts.name = text(get("tool.name")) if facts.kind == "tool" else ""
    for name, time_ns, _ in span.events:
        if name == "First Token Stream Event" and time_ns >= span.start_ns:
            facts.ttft_ns = time_ns - span.start_ns
    _read_content(attributes, facts)


def _read_content(attributes: Attributes, facts: Facts) -> None:
    get = attributes.get
    if facts.kind == "model":
        given = [_message(item) for item in unflatten(attributes, "llm.input_messages")]
        produced = [_message(item) for item in unflatten(attributes, "llm.output_messages")]
        facts.input = to_json(given) if given else text(get("input.value")) or _prompt_of(get("llm.invocation_parameters"))
        facts.output = to_json(produced) if produced else text(get("output.value"))
        tools = [item.get("tool") for item in unflatten(attributes, "llm.tools") if isinstance(item, dict)]
        facts.tools = to_json([as_mapping(tool.get("json_schema")) for tool in tools if isinstance(tool, dict)]) if tools else ""
    else:
        facts.input = text(get("input.value"))
        facts.output = text(get("output.value"))
        if facts.kind == "embedding":
            items = [item.get("embedding") for item in unflatten(attributes, "embedding.embeddings") if isinstance(item, dict)]
            texts = [item["text"] for item in items if isinstance(item, dict) and item.get("text")]
            facts.input = to_json(texts) if texts else facts.input or _prompt_of(get("llm.invocation_parameters"))
        elif '"expected_output"' in facts.output:
            _read_crew(as_mapping(facts.output), facts)
    documents = [
        item.get("document")
        for item in unflatten(attributes, "retrieval.documents") + unflatten(attributes, "reranker.output_documents")
        if isinstance(item, dict)
    ]
    if documents:
        facts.documents = to_json(documents)


def _prompt_of(parameters: Any) -> str:
    """The prompt of a request that stands among the parameters of the call."""
    asked = as_mapping(parameters)
    found = next((asked[key] for key in ("messages", "prompt", "inputText", "input") if asked.get(key)), "")
    return to_json(found)


def _read_crew(output: Mapping[str, Any], facts: Facts) -> None:
    """CrewAI: the task's output holds the conversation that led to it, and the answer apart."""
    tasks = output.get("tasks_output")
    last = tasks[-1] if isinstance(tasks, list) and tasks else output
    messages = last.get("messages") if isinstance(last, Mapping) else None
    if isinstance(messages, list) and messages:
        facts.input = to_json(messages)
    if answer := text(output.get("raw")):
        facts.output = answer


def _message(item: Any) -> dict[str, Any]:
    message = item.get("message") if isinstance(item, dict) else None
    if not isinstance(message, dict):
        return {"role": "user", "content": ""}
    plain: dict[str, Any] = {"role": message.get("role") or "user", "content": message.get("content")}
    if isinstance(contents := message.get("contents"), list):
        plain["content"] = [entry.get("message_content") for entry in contents if isinstance(entry, dict)]
    calls = [entry.get("tool_call") for entry in message.get("tool_calls") or [] if isinstance(entry, dict)]
    if calls:
        plain["tool_calls"] = calls
    if message.get("tool_call_id"):
        plain["tool_call_id"] = message["tool_call_id"]
    return plain


def _read_answer(response: Mapping[str, Any], scope: str, facts: Facts) -> None:
    if facts.kind in ("model", "embedding", "rerank"):
        if scope.endswith("litellm"):
            facts.provider, facts.response_model = split_model(facts.provider, facts.response_model)
            facts.provider, facts.request_model = split_model(facts.provider, facts.request_model)
        read_reply(response, facts)
        # smolagents keeps the provider's answer as the text of a Python object.
        if isinstance(raw := response.get("raw"), str):
            read_repr(raw, facts)
    elif isinstance(usage := response.get("token_usage"), Mapping):
        # CrewAI says a sum on the crew's span, and nothing on its calls.
        fill(usage, facts)

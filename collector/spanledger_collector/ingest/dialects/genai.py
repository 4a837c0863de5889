"""OpenTelemetry GenAI: the current names, and the older ones that emitters still send. Also Spanledger's own spans.

Counts are inclusive by specification. Content is JSON text (or a structured value) in `gen_ai.*.messages`, in span events of
semantic conventions up to 1.36, or in indexed attributes (`gen_ai.prompt.0.content`), which Traceloop began and others took over.
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
    pico_usd,
    text,
    to_json,
    unflatten,
)
from spanledger_schema import semconv

INPUT: Final = (semconv.INPUT_TOKENS, "gen_ai.usage.prompt_tokens")
OUTPUT: Final = (semconv.OUTPUT_TOKENS, "gen_ai.usage.completion_tokens")
CACHE_READ: Final = (
    semconv.CACHE_READ_TOKENS,
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.input_tokens.cached",
    "gen_ai.usage.details.cache_read_tokens",
    "gen_ai.usage.cached_tokens",
    "gen_ai.usage.details.cached_tokens",
)
CACHE_WRITE: Final = (
    semconv.CACHE_WRITE_TOKENS,
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.cache_write_input_tokens",
    "gen_ai.usage.details.cache_write_tokens",
)
CACHE_WRITE_1H: Final = (semconv.CACHE_WRITE_1H_TOKENS, "anthropic.usage.cache_creation.ephemeral_1h_input_tokens")
REASONING: Final = (
    semconv.REASONING_TOKENS,
    "gen_ai.usage.reasoning_tokens",
    "llm.usage.reasoning_tokens",
    "gen_ai.usage.details.reasoning_tokens",
    "gen_ai.usage.output_tokens.reasoning",
)
OTHER: Final = {
    "input_audio": (semconv.INPUT_AUDIO_TOKENS, "gen_ai.usage.audio.input_tokens"),
    "output_audio": (semconv.OUTPUT_AUDIO_TOKENS, "gen_ai.usage.audio.output_tokens"),
    "input_image": (semconv.INPUT_IMAGE_TOKENS, "gen_ai.usage.image.input_tokens"),
    "output_image": (semconv.OUTPUT_IMAGE_TOKENS, "gen_ai.usage.image.output_tokens"),
    "web_searches": (semconv.WEB_SEARCHES,),
}
_TIERS: Final = (
    "openai.response.service_tier",
    "anthropic.response.service_tier",
    "gen_ai.openai.response.service_tier",
    "gen_ai.response.service_tier",
    "aws.bedrock.response.service_tier",
)
"""What the provider says that it did; what was asked for is no promise."""
_OTHER_OF: Final = {name: kind for kind, names in OTHER.items() for name in names} | dict.fromkeys(_TIERS, "service_tier")

_CLIENT_SPAN: Final = 3
KIND_OF_OPERATION: Final = {
    "chat": "model",
    "generate_content": "model",
    "text_completion": "model",
    "completion": "model",
    "acompletion": "model",
    "responses": "model",
    "aresponses": "model",
    "embeddings": "embedding",
    "embedding": "embedding",
    "embed": "embedding",
    "aembedding": "embedding",
    "rerank": "rerank",
    "arerank": "rerank",
    "execute_tool": "tool",
    "retrieval": "retrieval",
    "invoke_agent": "agent",
    "create_agent": "agent",
    # Mastra's words until 1.0.
    "tool.execute": "tool",
    "agent.run": "agent",
}
NAME: Final = "genai"
SCOPES: Final[tuple[str, ...]] = ()
MARKS: Final = (
    semconv.OPERATION,
    semconv.INTERACTION,
    semconv.PROVIDER,
    "gen_ai.system",
    semconv.REQUEST_MODEL,
    semconv.INPUT_TOKENS,
    "gen_ai.usage.prompt_tokens",
    semconv.TOOL_NAME,
    "gen_ai.agent.name",
)
_PROMPT_TEXTS: Final = ("gen_ai.prompt", "gen_ai.request.messages")
_ANSWER_TEXTS: Final = ("gen_ai.completion", "gen_ai.response.text")
_TEXTS: Final = frozenset(_PROMPT_TEXTS + _ANSWER_TEXTS)
_FIRST_INDEXED: Final = frozenset(
    {
        "gen_ai.prompt.0.role",
        "gen_ai.prompt.0.content",
        "gen_ai.completion.0.role",
        "gen_ai.completion.0.content",
        "gen_ai.completion.0.finish_reason",
    }
)
_PROMPT_EVENTS: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


def recognises(attributes: Attributes) -> bool:
    """Whether a span has any of the convention's marks."""
    return any(mark in attributes for mark in MARKS)


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a span of the conventions."""
    attributes = span.attributes
    get = attributes.get
    operation = get(semconv.OPERATION, "")
    if type(operation) is not str:
        operation = text(operation)
    if not operation and span.otel_kind == _CLIENT_SPAN and semconv.REQUEST_MODEL not in attributes:
        # Of a failed call some say no more than the name that the conventions prescribe.
        operation = _operation_of_name(span.name, facts)
    facts.operation = operation
    facts.kind = _kind(operation, attributes)
    # What is no text is made one where all texts of a span are checked at once.
    facts.provider = get(semconv.PROVIDER) or get("gen_ai.system", "")
    facts.request_model = get(semconv.REQUEST_MODEL) or facts.request_model
    facts.response_model = get(semconv.RESPONSE_MODEL, "")
    facts.response_id = get(semconv.RESPONSE_ID, "")
    if semconv.FINISH_REASONS in attributes:
        facts.finish_reason = finish_reason(attributes[semconv.FINISH_REASONS])
    elif "gen_ai.response.finish_reason" in attributes:
        facts.finish_reason = finish_reason(attributes["gen_ai.response.finish_reason"])
    read_usage(attributes, facts)
    if semconv.COST_USD in attributes:
        facts.reported_cost_usd = pico_usd(attributes[semconv.COST_USD])
    facts.session = get(semconv.CONVERSATION_ID, "")
    seconds = get(semconv.TIME_TO_FIRST_CHUNK)
    if seconds is None:
        seconds = get("gen_ai.client.operation.time_to_first_chunk", get("gen_ai.latency.time_to_first_token"))
    if isinstance(seconds, int | float) and 0 <= seconds < 1e6:
        facts.ttft_ns = int(seconds * 1e9)
    if facts.kind == "tool":
        facts.name = text(get(semconv.TOOL_NAME))
    elif facts.kind == "retrieval":
        facts.name = text(get(semconv.DATA_SOURCE_ID))
    elif facts.kind == "agent":
        facts.name = text(get(semconv.AGENT_NAME))
    read_content(span, facts)
    if facts.input_tokens is not None and facts.cache_read_tokens is None:
        # What Bedrock's models answer in words of their own excludes cached tokens, and nobody copies how many there were.
        facts.is_partial = text(get("rpc.method")).startswith("InvokeModel") and is_excluding(facts.request_model)


def is_excluding(model: Any) -> bool:
    """Whether a model's own answers, by its name, leave cached tokens out of their input."""
    word = text(model).lower()
    return "claude" in word or "nova" in word


def read_usage(attributes: Attributes, facts: Facts) -> None:
    """Counts under the convention's current and older names."""
    get = attributes.get
    facts.input_tokens = count(get(semconv.INPUT_TOKENS))
    facts.output_tokens = count(get(semconv.OUTPUT_TOKENS))
    if facts.input_tokens is None or facts.output_tokens is None:
        # Some mix the current name of one with the older name of the other.
        if facts.input_tokens is None:
            facts.input_tokens = first_count(attributes, INPUT[1:])
        if facts.output_tokens is None:
            facts.output_tokens = first_count(attributes, OUTPUT[1:])
        if facts.input_tokens is None and facts.output_tokens is None:
            return
    if facts.output_tokens is None and facts.kind in ("embedding", "rerank"):
        facts.output_tokens = 0
    facts.cache_read_tokens = first_count(attributes, CACHE_READ)
    facts.cache_write_tokens = first_count(attributes, CACHE_WRITE)
    facts.cache_write_1h_tokens = first_count(attributes, CACHE_WRITE_1H)
    facts.reasoning_tokens = first_count(attributes, REASONING)
    for name in attributes.keys() & _OTHER_OF.keys():
        kind = _OTHER_OF[name]
        if kind == "service_tier":
            facts.say_tier(text(attributes[name]))
        elif number := count(attributes[name]):
            facts.other_usage[kind] = number


def finish_reason(value: Any) -> str:
    """The last word of a list of finish reasons, which may come as JSON text."""
    if isinstance(value, str):
        words = as_list(value) if value.startswith("[") else [value]
    else:
        words = value if isinstance(value, list) else []
    return next((word for word in reversed(words) if isinstance(word, str) and word), "")


def read_content(span: DecodedSpan, facts: Facts) -> None:
    """Messages from attributes, or from the span events of older conventions."""
    attributes = span.attributes
    get = attributes.get
    messages = get(semconv.INPUT_MESSAGES)
    instructions = get(semconv.SYSTEM_INSTRUCTIONS)
    if messages is not None or instructions is not None:
        facts.input = _with_instructions(messages, instructions)
    if (output := get(semconv.OUTPUT_MESSAGES)) is not None:
        facts.output = to_json(output)
    if facts.kind == "tool":
        if (arguments := get(semconv.TOOL_ARGUMENTS, get("gen_ai.tool.input"))) is not None:
            facts.input = to_json(arguments)
        if (result := get(semconv.TOOL_RESULT, get("gen_ai.tool.output"))) is not None:
            facts.output = to_json(result)
    elif facts.kind == "retrieval":
        if (query := get(semconv.RETRIEVAL_QUERY)) is not None:
            facts.input = text(query)
        if (documents := get(semconv.RETRIEVAL_DOCUMENTS)) is not None:
            facts.documents = to_json(documents)
    if (tools := get(semconv.TOOL_DEFINITIONS)) is not None:
        facts.tools = to_json(tools)
    if not (facts.input and facts.output) and not _FIRST_INDEXED.isdisjoint(attributes):
        _read_indexed(attributes, facts)
    if not facts.input and not facts.output:
        if not _TEXTS.isdisjoint(attributes):
            facts.input = first_text(attributes, _PROMPT_TEXTS)
            facts.output = first_text(attributes, _ANSWER_TEXTS)
        elif span.events:
            _read_events(span, facts)


def _read_indexed(attributes: Attributes, facts: Facts) -> None:
    """Messages whose parts are attributes of their own, as Traceloop began it: `gen_ai.prompt.0.content` and so on."""
    if not facts.input and (prompts := unflatten(attributes, "gen_ai.prompt")):
        facts.input = to_json(prompts)
    if not facts.output and (answers := unflatten(attributes, "gen_ai.completion")):
        last = answers[-1] if isinstance(answers[-1], dict) else {}
        facts.output = to_json(answers) if any(last.keys() - {"role", "finish_reason"}) else ""
        facts.finish_reason = facts.finish_reason or text(last.get("finish_reason"))
    for prefix in ("llm.request.functions", "gen_ai.request.functions"):
        if not facts.tools and (functions := unflatten(attributes, prefix)):
            facts.tools = to_json(functions)


def _with_instructions(messages: Any, instructions: Any) -> str:
    if instructions is None:
        return to_json(messages)
    parts = as_list(instructions) or [{"type": "text", "content": text(instructions)}]
    return to_json([{"role": "system", "parts": parts}, *as_list(messages)])


def _read_events(span: DecodedSpan, facts: Facts) -> None:
    given: list[Any] = []
    produced: list[Any] = []
    for name, _, attributes in span.events:
        if role := _PROMPT_EVENTS.get(name):
            given.append({"role": role, **_body(attributes)})
        elif name == "gen_ai.choice":
            said = _body(attributes)
            facts.finish_reason = facts.finish_reason or text(said.get("finish_reason"))
            produced.append({"role": "assistant", **said})
        elif name == "gen_ai.content.prompt":
            given.append(attributes.get("gen_ai.prompt"))
        elif name == "gen_ai.content.completion":
            produced.append(attributes.get("gen_ai.completion"))
        elif name == "gen_ai.client.inference.operation.details":
            # A copy of the span's attributes: its content counts, its usage never does.
            facts.input = facts.input or to_json(attributes.get(semconv.INPUT_MESSAGES) or "")
            facts.output = facts.output or to_json(attributes.get(semconv.OUTPUT_MESSAGES) or "")
    if facts.kind == "tool":
        # A tool's arguments and result, not a conversation.
        given = [item.get("content") if isinstance(item, dict) else item for item in given[:1]]
        produced = [item.get("message", item) if isinstance(item, dict) else item for item in produced[:1]]
    if given:
        facts.input = given[0] if len(given) == 1 and isinstance(given[0], str) else to_json(given)
    if produced:
        facts.output = produced[0] if len(produced) == 1 and isinstance(produced[0], str) else to_json(produced)


def _body(attributes: Attributes) -> Mapping[str, Any]:
    """What an event says of a message: attributes of their own, or all as JSON in one."""
    if whole := as_mapping(attributes.get("gen_ai.event.content")):
        return whole
    return {key: value for key, value in attributes.items() if not key.startswith("gen_ai.")}


def _operation_of_name(name: str, facts: Facts) -> str:
    operation, _, model = name.partition(" ")
    if operation not in KIND_OF_OPERATION:
        return ""
    if KIND_OF_OPERATION[operation] in ("model", "embedding"):
        facts.request_model = model
    return operation


def _kind(operation: str, attributes: Attributes) -> str:
    if operation:
        return KIND_OF_OPERATION.get(operation, "chain")
    if semconv.INTERACTION in attributes:
        return "interaction"
    if semconv.TOOL_NAME in attributes and semconv.REQUEST_MODEL not in attributes:
        return "tool"
    if semconv.REQUEST_MODEL in attributes or semconv.RESPONSE_MODEL in attributes:
        return "model"
    return "chain"

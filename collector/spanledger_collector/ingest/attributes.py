"""What becomes of a span's attributes besides what its dialect reads from them. Pure.

Those with a column of their own and those that are content are dropped here (they are stored there), Spanledger's signals and
tags go to their maps, and all others are kept as they came. The decision depends on the key alone, and spans of one place in a
program carry the same keys, so it is remembered by the tuple of keys.
"""

from typing import Any, Final

from spanledger_collector.ingest.decoded import Attributes
from spanledger_collector.ingest.dialects.facts import to_json
from spanledger_schema import semconv
from spanledger_schema.content import MESSAGE_KEYS

VALUE_CHARS_MAX: Final = 4_096
_SHAPES_MAX: Final = 10_000
_SHAPE_KEYS_MAX: Final = 200
"""Larger ones are one of a kind; remembering them would only fill the memory."""

Pairs = tuple[tuple[str, str], ...]

_PROMOTED: Final = frozenset(
    {
        semconv.OPERATION,
        semconv.PROVIDER,
        semconv.REQUEST_MODEL,
        semconv.RESPONSE_MODEL,
        semconv.RESPONSE_ID,
        semconv.INPUT_TOKENS,
        semconv.OUTPUT_TOKENS,
        semconv.CACHE_READ_TOKENS,
        semconv.CACHE_WRITE_TOKENS,
        semconv.CACHE_WRITE_1H_TOKENS,
        semconv.REASONING_TOKENS,
        semconv.USER_ID,
        semconv.SESSION_ID,
        semconv.CONVERSATION_ID,
        semconv.FINISH_REASONS,
        semconv.TIME_TO_FIRST_CHUNK,
        semconv.ERROR_TYPE,
        semconv.HTTP_STATUS,
        semconv.INTERACTION,
        semconv.FEATURE,
        semconv.PROMPT_VERSION,
        semconv.RELEASE,
        semconv.COST_USD,
    }
)
_SIGNAL_PREFIXES: Final = (
    semconv.CONFIDENCE_PREFIX,
    semconv.VALIDATION_PREFIX,
    "spanledger.fallback.",
    "spanledger.escalation.",
    "spanledger.retry.",
    semconv.PROCESSING,
    semconv.SERVICE_TIER,
)
_CONTENT_PREFIXES: Final = (
    "gen_ai.prompt.",
    "gen_ai.completion.",
    "llm.input_messages.",
    "llm.output_messages.",
    "llm.prompts",
    "llm.tools.",
    "llm.request.functions.",
    "gen_ai.request.functions.",
    "langfuse.observation.input",
    "langfuse.observation.output",
    "langfuse.trace.input",
    "langfuse.trace.output",
    "retrieval.documents.",
    "reranker.",
    "embedding.",
    "ai.prompt",
    "ai.response.text",
    "ai.response.object",
    "ai.response.toolCalls",
    "ai.response.reasoning",
    "ai.value",
    "ai.embedding",
    "ai.toolCall.args",
    "ai.toolCall.result",
)

_RAW_CONTENT: Final = frozenset(
    {"messages", "content", "contents", "choices", "candidates", "system", "prompt", "input", "output"}
)
"""Last steps of `llm.<provider>.<field>`, where LiteLLM keeps a provider's raw request and answer."""
_NOISE_PREFIXES: Final = (
    "metadata.user_api_key",
    "langsmith.metadata.LANGSMITH_",
    "logfire.json_schema",
    "langsmith.metadata.usage",
)

_shapes: dict[tuple[str, ...], tuple[tuple[str, ...], Pairs, Pairs]] = {}


def split(attributes: Attributes, signals: dict[str, str], tags: dict[str, str]) -> dict[str, str]:
    """Sort out attributes: signals and tags are added to the given maps, what is kept is returned as text by key."""
    shape = tuple(attributes)
    plan = _shapes.get(shape)
    if plan is None:
        plan = _plan(shape)
        if len(shape) <= _SHAPE_KEYS_MAX and len(_shapes) < _SHAPES_MAX:
            _shapes[shape] = plan
    keep, signal_keys, tag_keys = plan
    for key, name in signal_keys:
        signals[name] = as_text(attributes[key])
    for key, name in tag_keys:
        tags[name] = as_text(attributes[key])
    return {key: as_text(attributes[key]) for key in keep}


def as_text(value: Any) -> str:
    """A value as bounded text; structures as JSON."""
    words = value if type(value) is str else str(value) if type(value) is int else to_json(value)
    return words if len(words) <= VALUE_CHARS_MAX else words[: VALUE_CHARS_MAX - 1] + "…"


def _plan(shape: tuple[str, ...]) -> tuple[tuple[str, ...], Pairs, Pairs]:
    keep: list[str] = []
    signals: list[tuple[str, str]] = []
    tags: list[tuple[str, str]] = []
    for key in shape:
        if key in _PROMOTED or key in MESSAGE_KEYS or key.startswith((*_CONTENT_PREFIXES, *_NOISE_PREFIXES)):
            continue
        if key.startswith("llm.") and key.count(".") == 2 and key.rpartition(".")[2] in _RAW_CONTENT:
            continue
        if key.startswith(_SIGNAL_PREFIXES):
            signals.append((key, key.removeprefix("spanledger.")))
        elif key.startswith(semconv.TAG_PREFIX):
            tags.append((key, key[len(semconv.TAG_PREFIX) :]))
        else:
            keep.append(key)
    return tuple(keep), tuple(signals), tuple(tags)

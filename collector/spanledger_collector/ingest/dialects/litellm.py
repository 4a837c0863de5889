"""LiteLLM's OpenTelemetry callback: `litellm_request` with the conventions' names, and a raw request below it that is no call.

Input is inclusive for every provider. Cached and reasoning counts stand in `metadata.usage_object`, a Python literal, only.
Streams without usage say 0, which is unknown. Its cost comes from its own price list.
"""

import ast
from typing import Any, Final

from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.dialects import genai
from spanledger_collector.ingest.dialects.facts import Facts, as_list, as_mapping, first_text, pico_usd, text
from spanledger_collector.ingest.dialects.usage import fill

NAME: Final = "litellm"
SCOPES: Final = ("litellm",)
MARKS: Final = ("litellm.call_id",)
PROVIDERS: Final = frozenset(
    {"ai21", "anthropic", "azure", "azure_ai", "bedrock", "cerebras", "cohere", "databricks", "deepinfra", "deepseek"}
    | {"fireworks_ai", "gemini", "groq", "hosted_vllm", "huggingface", "lm_studio", "mistral", "nvidia_nim", "ollama"}
    | {
        "ollama_chat",
        "openai",
        "openrouter",
        "perplexity",
        "replicate",
        "sagemaker",
        "together_ai",
        "vertex_ai",
        "watsonx",
        "xai",
    }
)
"""What LiteLLM puts before a model's name, as in `anthropic/claude-sonnet-4-5`."""
_LITERAL_CHARS_MAX: Final = 20_000
_NOISE: Final = (
    "user_api_key",
    "usage_object",
    "requester_",
    "spend_logs",
    "applied_guardrails",
    "user_agent",
    "user_id",
    "session_id",
    "thread_id",
    "tags",
)


def read(span: DecodedSpan, scope: str, facts: Facts) -> None:
    """Read a LiteLLM span."""
    attributes = span.attributes
    get = attributes.get
    if not genai.recognises(attributes):
        return
    genai.read(span, scope, facts)
    if facts.kind == "chain" and span.name == "litellm_request":
        facts.kind = "model"
    facts.provider, facts.request_model = split_model(facts.provider, facts.request_model)
    fill(read_literal(get("metadata.usage_object")), facts)
    hidden = as_mapping(get("hidden_params"))
    facts.reported_cost_usd = pico_usd(get("gen_ai.cost.total_cost")) or pico_usd(hidden.get("response_cost")) or None
    facts.user = first_text(attributes, ("llm.user", "metadata.user_id", "metadata.user_api_key_end_user_id"))
    facts.session = first_text(attributes, ("metadata.session_id", "metadata.thread_id")) or facts.session
    tags = get("metadata.tags")
    facts.tags.update({tag: "true" for tag in as_list(tags) or read_literal(tags, list) if isinstance(tag, str)})
    for key, value in attributes.items():
        name = key.removeprefix("metadata.")
        if (
            name != key
            and not name.startswith(_NOISE)
            and name not in ("user_id", "session_id", "thread_id", "tags")
            and text(value)
        ):
            facts.tags[name] = text(value)


def split_model(provider: str, model: Any) -> tuple[str, str]:
    """The provider and the model's own name, out of LiteLLM's `provider/model`."""
    head, slash, rest = text(model).partition("/")
    if slash and head.lower() in PROVIDERS:
        return provider or head.lower(), rest
    return provider, text(model)


def read_literal(value: Any, kind: type[Any] = dict) -> Any:
    """A Python literal of the wanted type out of text; an empty one where it is none. Evaluates nothing."""
    if not isinstance(value, str) or not value or len(value) > _LITERAL_CHARS_MAX:
        return kind()
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return kind()
    return found if isinstance(found, kind) else kind()

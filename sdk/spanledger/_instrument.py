"""Switching on OpenTelemetry instrumentations of GenAI clients and frameworks that happen to be installed.

An allow-list by distribution name: the entry-point group also holds instrumentations of databases and web servers,
which are the host's own decision. Where several instrument the same client one is chosen, OpenTelemetry's own first.
"""

import os
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from spanledger._guard import LOGGER

_GROUP: Final = "opentelemetry_instrumentor"
_CAPTURE_VARIABLE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_TARGETS: Final = (
    "agno",
    "anthropic",
    "autogen",
    "autogen-agentchat",
    "bedrock",
    "beeai",
    "claude-agent-sdk",
    "cohere",
    "crewai",
    "dspy",
    "google-genai",
    "google-generativeai",
    "groq",
    "guardrails",
    "haystack",
    "instructor",
    "langchain",
    "litellm",
    "llama-index",
    "llamaindex",
    "mistralai",
    "ollama",
    "openai",
    "openai-agents",
    "portkey",
    "replicate",
    "sagemaker",
    "smolagents",
    "together",
    "transformers",
    "vertexai",
    "watsonx",
)
_SAME: Final = {"llamaindex": "llama-index"}
# In the order of preference.
_MAKERS: Final = (
    "opentelemetry-instrumentation-genai-{}",
    "opentelemetry-instrumentation-{}-v2",
    "openinference-instrumentation-{}",
    "opentelemetry-instrumentation-{}",
)
_ALLOWED: Final = {
    maker.format(target): (_SAME.get(target, target), rank) for target in _TARGETS for rank, maker in enumerate(_MAKERS)
}


def instrument_installed(provider: Any, *, captures_content: bool) -> list[str]:
    """Switch on what is installed and allowed.

    Args:
        provider: Where their spans go.
        captures_content: Whether to ask them for prompts and outputs too, unless the environment says otherwise.

    Returns:
        The distributions that were switched on now.
    """
    if captures_content:
        os.environ.setdefault(_CAPTURE_VARIABLE, "SPAN_ONLY")
    return [name for name, entry in chosen(list(entry_points(group=_GROUP))) if _switch_on(name, entry, provider)]


def chosen(entries: list[EntryPoint]) -> list[tuple[str, EntryPoint]]:
    """The allowed entry points by distribution name, one per client."""
    best: dict[str, tuple[int, str, EntryPoint]] = {}
    for entry in entries:
        name = entry.dist.name.lower().replace("_", "-") if entry.dist is not None else ""
        if name not in _ALLOWED:
            continue
        target, rank = _ALLOWED[name]
        if target not in best or rank < best[target][0]:
            best[target] = (rank, name, entry)
    return [(name, entry) for _, name, entry in best.values()]


def _switch_on(name: str, entry: EntryPoint, provider: Any) -> bool:
    try:
        instrumentor = entry.load()()
        if getattr(instrumentor, "is_instrumented_by_opentelemetry", False):
            return False
        instrumentor.instrument(tracer_provider=provider, raise_exception_on_conflict=True)
    except Exception as error:  # noqa: BLE001 - somebody else's code, which may need what is not installed
        LOGGER.info("spanledger could not switch on %s (%s)", name, type(error).__name__)
        return False
    return True

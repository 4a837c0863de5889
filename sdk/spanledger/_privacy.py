"""Capture modes for spans that Spanledger did not make.

Our own spans never hold what the capture mode forbids. Spans of other instrumentations travel through the same
exporter, and many of them record prompts by default, so in modes other than `full` their content is removed here, on
the export thread, before anything leaves the process.
"""

from typing import Any, Final

from spanledger._config import Capture
from spanledger_schema import semconv

_CONTENT_KEYS: Final = frozenset(
    {
        semconv.INPUT_MESSAGES,
        semconv.OUTPUT_MESSAGES,
        semconv.SYSTEM_INSTRUCTIONS,
        semconv.TOOL_DEFINITIONS,
        semconv.TOOL_ARGUMENTS,
        semconv.TOOL_RESULT,
        semconv.RETRIEVAL_QUERY,
        semconv.RETRIEVAL_DOCUMENTS,
        "all_messages_events",
        "events",
        "exception.message",
        "exception.stacktrace",
        "final_result",
        "gen_ai.agent.description",
        "gen_ai.evaluation.explanation",
        "input",
        "llm.invocation_parameters",
        "metadata",
        "output",
        "pydantic_ai.all_messages",
        "request_data",
        "response_data",
        "tool_arguments",
        "tool_response",
    }
)
_CONTENT_PREFIXES: Final = (
    "ai.prompt",
    "ai.response.object",
    "ai.response.reasoning",
    "ai.response.text",
    "ai.response.toolCalls",
    "ai.toolCall.args",
    "ai.toolCall.result",
    "ai.value",
    "ai.values",
    "embedding.embeddings",
    "embedding.text",
    "gen_ai.completion",
    "gen_ai.content",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.prompt",
    "input.",
    "langfuse.observation.input",
    "langfuse.observation.output",
    "langfuse.trace.input",
    "langfuse.trace.output",
    "llm.completions",
    "llm.function_call",
    "llm.input_messages",
    "llm.output_messages",
    "llm.prompt",
    "llm.request.functions",
    "llm.tools",
    "lmnr.span.input",
    "lmnr.span.output",
    "mlflow.spanInputs",
    "mlflow.spanOutputs",
    "output.",
    "reranker.input_documents",
    "reranker.output_documents",
    "reranker.query",
    "retrieval.documents",
    "tool.parameters",
    "traceloop.entity.input",
    "traceloop.entity.output",
    "traceloop.prompt",
)
_IDENTITY_KEYS: Final = frozenset({semconv.USER_ID, semconv.SESSION_ID, semconv.CONVERSATION_ID, "enduser.id", "tag.tags"})
_IDENTITY_PREFIXES: Final = (
    "user.",
    "session.",
    "enduser.",
    "langfuse.user",
    "langfuse.session",
    "traceloop.association.properties",
)


def strip_foreign_content(request: Any, capture: Capture, own_scope: str) -> None:
    """Remove content (in `none` identities too) from an OTLP export request, in place, except from our own scope."""
    if capture == "full":
        return
    keys = _CONTENT_KEYS | _IDENTITY_KEYS if capture == "none" else _CONTENT_KEYS
    prefixes = _CONTENT_PREFIXES + _IDENTITY_PREFIXES if capture == "none" else _CONTENT_PREFIXES
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            if scope_spans.scope.name == own_scope:
                continue
            for span in scope_spans.spans:
                _strip(span.attributes, keys, prefixes)
                for event in span.events:
                    _strip(event.attributes, keys, prefixes)
                span.status.message = ""


def _strip(attributes: Any, keys: frozenset[str], prefixes: tuple[str, ...]) -> None:
    kept = [item for item in attributes if item.key not in keys and not item.key.startswith(prefixes)]
    if len(kept) != len(attributes):
        copies = [type(item).FromString(item.SerializeToString()) for item in kept]
        del attributes[:]
        attributes.extend(copies)

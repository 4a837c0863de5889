"""Which attributes hold content, which say who somebody is, and which are only names and numbers; of all instrumentations."""

from typing import Final

from spanledger_schema import semconv

CONTENT_KEYS: Final = frozenset(
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
CONTENT_PREFIXES: Final = (
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
IDENTITY_KEYS: Final = frozenset({semconv.USER_ID, semconv.SESSION_ID, semconv.CONVERSATION_ID, "enduser.id", "tag.tags"})
IDENTITY_PREFIXES: Final = (
    "user.",
    "session.",
    "enduser.",
    "langfuse.user",
    "langfuse.session",
    "traceloop.association.properties",
)
_NAMING_PREFIXES: Final = (
    "ai.",
    "cloud.",
    "code.",
    "container.",
    "db.",
    "deployment.",
    "gen_ai.",
    "host.",
    "http.",
    "k8s.",
    "langfuse.",
    "llm.",
    "lmnr.",
    "mlflow.",
    "network.",
    "openinference.",
    "os.",
    "otel.",
    "process.runtime.",
    "rpc.",
    "server.",
    "service.",
    "spanledger.",
    "telemetry.",
    "thread.",
    "traceloop.",
)
_FREE_TEXT_KEYS: Final = frozenset({semconv.FALLBACK_REASON, semconv.ESCALATION_REASON})
_NEVER_CHANGED: Final = frozenset(
    {
        semconv.USER_ID,
        semconv.SESSION_ID,
        semconv.CONVERSATION_ID,
        semconv.DATA_CLASS,
        semconv.PURPOSE,
        "enduser.id",
        "langfuse.user.id",
        "langfuse.session.id",
    }
)


def is_content(key: str) -> bool:
    """Whether the attribute holds what models and users wrote, or what tools and documents said."""
    return key in CONTENT_KEYS or key.startswith(CONTENT_PREFIXES)


def is_identity(key: str) -> bool:
    """Whether the attribute says who the user is or which session it was."""
    return key in IDENTITY_KEYS or key.startswith(IDENTITY_PREFIXES)


def is_free_text(key: str) -> bool:
    """Whether anything may stand in it: content, tags, reasons, and whatever no vocabulary that is known here defines."""
    if is_content(key) or key in _FREE_TEXT_KEYS or key.startswith(semconv.TAG_PREFIX):
        return True
    return not key.startswith(_NAMING_PREFIXES) and not is_fixed(key)


def is_fixed(key: str) -> bool:
    """Whether its value is an id that others must find again, so that redaction leaves it alone."""
    return key in _NEVER_CHANGED

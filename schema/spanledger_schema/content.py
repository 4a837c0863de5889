"""Which attributes hold content, which say who somebody is, which are only names and numbers; and content without its words.

SDK and collector go by the same lists, so that a word such as `strip` means the same on both sides.
"""

import json
import re
import unicodedata
from typing import Any, Final

from spanledger_schema import semconv

MESSAGE_KEYS: Final = frozenset(
    {
        semconv.INPUT_MESSAGES,
        semconv.OUTPUT_MESSAGES,
        semconv.SYSTEM_INSTRUCTIONS,
        semconv.TOOL_DEFINITIONS,
        semconv.TOOL_ARGUMENTS,
        semconv.TOOL_RESULT,
        semconv.RETRIEVAL_QUERY,
        semconv.RETRIEVAL_DOCUMENTS,
        "events",
        "request_data",
        "response_data",
        "all_messages_events",
        "pydantic_ai.all_messages",
        "final_result",
        "tool_arguments",
        "tool_response",
        "input.value",
        "output.value",
        "gen_ai.prompt",
        "gen_ai.completion",
        "gen_ai.request.messages",
        "gen_ai.response.text",
        "traceloop.entity.input",
        "traceloop.entity.output",
        "logfire.msg",
        "ai.values",
        "gcp.vertex.agent.llm_request",
        "gcp.vertex.agent.llm_response",
        "gcp.vertex.agent.tool_call_args",
        "gcp.vertex.agent.tool_response",
        "gen_ai.task.input",
        "gen_ai.task.output",
        "gen_ai.tool.args",
        "gen_ai.tool.input",
        "gen_ai.tool.output",
        "genkit:input",
        "genkit:output",
        "mlflow.chat.tools",
        "lmnr.span.input",
        "lmnr.span.output",
        "mlflow.spanInputs",
        "mlflow.spanOutputs",
    }
)
"""Where dialects put what was said: the collector keeps it as content and not among the other attributes."""
CONTENT_KEYS: Final = MESSAGE_KEYS | {
    "ai.embedding",
    "ai.embeddings",
    "db.query.text",
    "db.statement",
    "event_body",
    "exception.message",
    "exception.stacktrace",
    "gen_ai.agent.description",
    "gen_ai.evaluation.explanation",
    "gen_ai.event.content",
    "http.error_message",
    "http.request.body",
    "http.request.body.content",
    "http.response.body",
    "http.response.body.content",
    "gen_ai.request.embedding_inputs",
    "gen_ai.request.tool_results",
    "input",
    "langfuse.observation.status_message",
    "llm.invocation_parameters",
    "metadata",
    "mlflow.chat.messages",
    "otel.status_description",
    "output",
    "process.command_args",
    "process.command_line",
    "url.fragment",
    "url.query",
    "raw_input",
}
"""All keys whose values are words."""
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
    "db.operation.parameter.",
    "db.query.parameter.",
    "embedding.embeddings",
    "embedding.text",
    "gen_ai.completion",
    "gen_ai.content",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.prompt",
    "http.request.header.",
    "http.response.header.",
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
    "gen_ai.request.functions",
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
    "rpc.grpc.request.metadata.",
    "rpc.grpc.response.metadata.",
    "rpc.request.metadata.",
    "rpc.response.metadata.",
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
_RAW_CONTENT: Final = frozenset(
    {"messages", "content", "contents", "choices", "candidates", "system", "prompt", "input", "output"}
)
"""Last steps of `llm.<provider>.<field>`, where LiteLLM keeps a provider's raw request and answer."""
_NUMBER_PREFIXES: Final = ("llm.cost.", "llm.token_count.", "llm.usage.")
_CONTENT_WORDS: Final = frozenset(
    {
        "answer",
        "arguments",
        "body",
        "comment",
        "completion",
        "content",
        "contents",
        "document",
        "documents",
        "explanation",
        "input",
        "inputs",
        "message",
        "messages",
        "output",
        "outputs",
        "prompt",
        "prompts",
        "query",
        "question",
        "response",
        "result",
        "text",
        "transcript",
    }
)
_FREE_TEXT_KEYS: Final = frozenset({semconv.FALLBACK_REASON, semconv.ESCALATION_REASON})
_LABEL_KEYS: Final = frozenset({"finish_reason", "gen_ai.evaluation.score.label", "role"})
_APP_DATA_PREFIXES: Final = (
    "ai.telemetry.metadata.",
    "langfuse.observation.metadata",
    "langfuse.trace.metadata",
    "lmnr.association.properties",
)
"""Where applications put what they like among the names of a vocabulary."""
_LABEL_ENDS: Final = (".annotation.label", ".evaluation.label")
SECRET_KINDS: Final = ("private_key", "api_key", "email", "iban", "card", "phone", "ip")
"""What `redaction.redact` can look for."""
SECRET_KINDS_IN_NAMES: Final = tuple(kind for kind in SECRET_KINDS if kind not in ("ip", "phone"))
"""What it looks for in names and ids: versions look like addresses and telephone numbers."""
MASK: Final = "[masked]"
EVENT_LABELS: Final = frozenset(
    {
        "exception.type",
        "finish_reason",
        "gen_ai.evaluation.name",
        "gen_ai.evaluation.score.label",
        "role",
    }
)
"""Texts of events that say what happened, and not what somebody wrote."""
_LABEL_CHARS_MAX: Final = 60
_UNSPACED_CHARS_MAX: Final = 8
_ADDRESS_STARTS: Final = ("/", "http://", "https://", "ws://", "wss://")
_ASKED: Final = re.compile(r"(?<=\S)\?[^\s?].*", re.DOTALL)
_PLACE: Final = re.compile(r"[?#].*", re.DOTALL)
TEXT_CHARS_MAX: Final = 1 << 20
"""Longer texts (other instrumentations have no limit) are cut before they are searched."""
CUT: Final = "…[cut]"
_SHAPE_KEYS: Final = frozenset({"role", "type", "finish_reason", "modality"})
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
    """Whether the attribute holds what models and users wrote, or what tools and documents said.

    Of names that no vocabulary known here defines, those count whose last step says so, as in `my_app.prompt`.
    """
    if key in CONTENT_KEYS or key.startswith(CONTENT_PREFIXES):
        return True
    if key.startswith("llm."):
        is_number = key.startswith(_NUMBER_PREFIXES)
        return not is_number and key.count(".") == 2 and key.rpartition(".")[2] in _RAW_CONTENT
    return not key.startswith(_NAMING_PREFIXES) and key.rpartition(".")[2].lower() in _CONTENT_WORDS


def is_identity(key: str) -> bool:
    """Whether the attribute says who the user is or which session it was."""
    return key in IDENTITY_KEYS or key.startswith(IDENTITY_PREFIXES)


def is_free_text(key: str) -> bool:
    """Whether anything may stand in it: content, tags, reasons, and whatever no vocabulary that is known here defines."""
    if is_content(key) or key in _FREE_TEXT_KEYS or key.startswith(semconv.TAG_PREFIX):
        return True
    return not key.startswith(_NAMING_PREFIXES) and not is_fixed(key)


def is_words(key: str, value: Any) -> bool:
    """Whether somebody wrote what stands there: content, or more than one word in place of a label.

    Labels are tags, reasons, and whatever no vocabulary that is known here defines. Numbers, names and ids that one does define,
    and who somebody is, are no words.
    """
    if is_content(key):
        return True
    is_open = (is_free_text(key) and not is_identity(key)) or key.startswith(_APP_DATA_PREFIXES)
    is_open = is_open or key in _LABEL_KEYS or key.endswith(_LABEL_ENDS)
    return is_open and not _holds_labels_only(value)


def is_words_of_event(key: str, value: Any) -> bool:
    """The same of an event, a link or a log record: whose texts are words unless a vocabulary that is known here defines them."""
    if is_words(key, value):
        return True
    return is_free_text(key) and key not in EVENT_LABELS and not isinstance(value, bool | int | float)


def _holds_labels_only(value: Any) -> bool:
    if isinstance(value, str):
        return is_label(value)
    if isinstance(value, list | dict):
        return all(map(_holds_labels_only, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, bytes)


def without_query(text: str, instead: str = "") -> str:
    """An address, or a name that ends with one, without what somebody asked for: what stands behind `?`, or `#` in an address."""
    if "/" not in text or ("?" not in text and "#" not in text):
        return text
    query = _PLACE if text.startswith(_ADDRESS_STARTS) else _ASKED
    return query.sub(f"?{instead}" if instead else "", text, count=1)


def is_fixed(key: str) -> bool:
    """Whether its value is an id that others must find again, so that redaction leaves it alone."""
    return key in _NEVER_CHANGED


def is_label(text: str) -> bool:
    """Whether a value is a label of one word, such as `thumbs_up`, and not something that somebody wrote."""
    if len(text) > _LABEL_CHARS_MAX or len(text.split()) > 1 or text.startswith(("{", "[{", '["')):
        return False
    # In writing without spaces between words a sentence is one word.
    return text.isascii() or sum(unicodedata.category(char) == "Lo" for char in text) <= _UNSPACED_CHARS_MAX


def mask(text: str) -> str:
    """Content without its words: of JSON the shape stays, so that turns, calls and documents can still be counted."""
    try:
        return json.dumps(masked(json.loads(text)), separators=(",", ":"))
    except (ValueError, RecursionError):
        return MASK


def masked(value: Any) -> Any:
    """A structure with every text and number in it replaced, but for what says its shape, such as `role`."""
    if isinstance(value, dict):
        return {
            key: item if key in _SHAPE_KEYS and isinstance(item, str) and item.isidentifier() else masked(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [masked(item) for item in value]
    return value if value is None or isinstance(value, bool) else MASK

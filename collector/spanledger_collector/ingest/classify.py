"""Errors and finish reasons in canonical words. Pure.

The class of an error comes from its HTTP status, else from the class name or code that the client gave, else from its message:
in that order, because each is less certain than the one before.
"""

import re
from functools import lru_cache
from typing import Final

RATE_LIMITED: Final = "rate_limited"
TIMEOUT: Final = "timeout"
PROVIDER_ERROR: Final = "provider_error"
AUTH_ERROR: Final = "auth_error"
INVALID_REQUEST: Final = "invalid_request"
CONTENT_FILTER: Final = "content_filter"
CANCELLED: Final = "cancelled"
ERROR: Final = "error"

_WORDS: Final = (
    (CONTENT_FILTER, ("contentfilter", "content_filter", "contentpolicy", "content_policy", "safety", "guardrail")),
    (RATE_LIMITED, ("ratelimit", "rate_limit", "resourceexhausted", "resource_exhausted", "throttl", "toomanyrequests", "quota")),
    (TIMEOUT, ("timeout", "timedout", "deadline")),
    (AUTH_ERROR, ("authentication", "permissiondenied", "permission_denied", "unauthorized", "forbidden", "unauthenticated")),
    (
        INVALID_REQUEST,
        (
            "badrequest",
            "invalid_request",
            "invalidrequest",
            "invalid_argument",
            "invalidargument",
            "unprocessable",
            "notfound",
            "not_found",
            "contextwindow",
            "context_length",
        ),
    ),
    (CANCELLED, ("cancel", "abort", "generatorexit", "keyboardinterrupt", "connectionclosed", "disconnect")),
    (
        PROVIDER_ERROR,
        (
            "internalserver",
            "internal_server",
            "overloaded",
            "serviceunavailable",
            "service_unavailable",
            "apiconnection",
            "connectionerror",
            "servererror",
            "server_error",
            "api_error",
            "badgateway",
            "apistatus",
            "apierror",
            "serverhadanerror",
            "remoteprotocol",
        ),
    ),
)
_STATUS_IN_MESSAGE: Final = re.compile(r"(?:Error code:|status_code[:=]|HTTP(?:/1\.1)?|status)\s*(\d{3})\b")

_FINISH: Final = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "complete": "stop",
    "finish": "stop",
    "pause_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "incomplete": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
    "spii": "content_filter",
    "guardrail_intervened": "content_filter",
    "refusal": "refusal",
    "error": "error",
    "failed": "error",
    "malformed_function_call": "error",
    "cancelled": "cancelled",
}


@lru_cache(maxsize=4_096)
def finish_reason(raw: str) -> str:
    """The canonical word for a provider's finish reason (stop, length, tool_calls, content_filter, refusal, error), else its own.

    OpenTelemetry's words, with `refusal` kept apart from a filter's verdict.
    """
    word = raw.removeprefix("FinishReason.").lower().replace("-", "_")
    return _FINISH.get(word, word[:64])


def class_of_status(status: int) -> str:
    """The class of an HTTP status; empty for a success."""
    if status == 429:
        return RATE_LIMITED
    if status in (408, 504):
        return TIMEOUT
    if status in (401, 403):
        return AUTH_ERROR
    if status == 499:
        return CANCELLED
    if status >= 500:
        return PROVIDER_ERROR
    return INVALID_REQUEST if status >= 400 else ""


@lru_cache(maxsize=8_192)
def _class_of_name(name: str) -> str:
    word = name.lower().replace(" ", "")
    for error_class, parts in _WORDS:
        if any(part in word for part in parts):
            return error_class
    return ""


def error_class(status: int, error_type: str, message: str) -> tuple[str, int]:
    """Classify an error.

    Returns:
        The class, and the HTTP status when one was stated anywhere (else 0).
    """
    if not status and error_type.isdecimal() and len(error_type) == 3:
        status = int(error_type)
    found = re.search(_STATUS_IN_MESSAGE, message[:500]) if not status and message else None
    if found:
        status = int(found.group(1))
    named = _class_of_name(error_type[:200])
    if named == CONTENT_FILTER:
        return named, status
    by_message = _class_of_name(message[:200])
    if status >= 400:
        if status == 400 and by_message == CONTENT_FILTER:
            return CONTENT_FILTER, status
        return class_of_status(status), status
    return named or by_message or ERROR, 0


@lru_cache(maxsize=16_384)
def provider_name(raw: str, model: str) -> str:
    """OpenTelemetry's name of a provider; inferred from the model's name where the source says none or names a framework."""
    word = raw.strip().lower()
    if word.startswith("["):
        word = ""
    word = _PROVIDERS.get(word.split(".")[0] if word.split(".")[-1] in _API_SUFFIXES else word, word)
    return word if word and word not in _FRAMEWORKS else _provider_of_model(model)


_API_SUFFIXES: Final = frozenset({"chat", "responses", "completion", "completions", "messages", "embedding", "embeddings"})
_FRAMEWORKS: Final = frozenset({"langchain", "strands-agents", "llamaindex", "litellm", "crewai", "unknown", "none", "_other"})
_PROVIDERS: Final = {
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "google_genai": "gcp.gemini",
    "googleai": "gcp.gemini",
    "gcp.gen_ai": "gcp.gemini",
    "google-gla": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "google-vertex": "gcp.vertex_ai",
    "az.ai.openai": "azure.ai.openai",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "az.ai.inference": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "aws_bedrock": "aws.bedrock",
    "aws": "aws.bedrock",
    "amazon_bedrock": "aws.bedrock",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
    "grok": "x_ai",
    "moonshotai": "moonshot_ai",
}
_MODEL_PREFIXES: Final = (
    (("gpt-", "o1", "o3", "o4", "chatgpt-", "text-embedding-", "ft:gpt", "davinci", "omni-moderation"), "openai"),
    (("claude",), "anthropic"),
    (("gemini", "models/gemini", "text-embedding-00"), "gcp.gemini"),
    (("mistral", "codestral", "ministral", "magistral", "pixtral"), "mistral_ai"),
    (("deepseek",), "deepseek"),
    (("grok",), "x_ai"),
    (("command", "embed-english", "embed-multilingual", "rerank-"), "cohere"),
)


@lru_cache(maxsize=8_192)
def _provider_of_model(model: str) -> str:
    word = model.lower()
    for prefixes, provider in _MODEL_PREFIXES:
        if word.startswith(prefixes):
            return provider
    return ""

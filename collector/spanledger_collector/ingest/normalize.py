"""A decoded span becomes a row of the ledger and, where it has any, a row of content. Pure but for the receive time it is given.

The row keeps what the source said: attributes without a column of their own stay in `attributes`, content goes to its own
table. The version is made from content alone, so that whichever copy of a span arrives first, the same one wins: ended beats
open, a later end beats an earlier one, more attributes beat fewer, then a digest.
"""

from functools import lru_cache
from typing import Any, Final

from spanledger_collector.ingest import classify
from spanledger_collector.ingest.decoded import DecodedSpan, ScopeSpans
from spanledger_collector.ingest.dialects import read_facts
from spanledger_collector.ingest.dialects.facts import Facts, as_mapping, first_text, text, to_json
from spanledger_schema import semconv
from spanledger_schema.spans import SpanRow
from spanledger_schema.tokens import UsageQuality

NS_PER_DAY: Final = 86_400_000_000_000
PAST_NS_MAX: Final = 396 * NS_PER_DAY
"""A start is believed up to 13 months back and 10 minutes ahead; outside, the receive time counts and the row says so."""
AHEAD_NS_MAX: Final = 600_000_000_000
_VALUE_CHARS_MAX: Final = 4_096
_TEXT_CHARS_MAX: Final = 512
_EPOCH_2000_MS: Final = 946_684_800_000

ContentRow = tuple[str, str, str, str, int, str, str, str, str, str, int]

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
        "traceloop.entity.input",
        "traceloop.entity.output",
        "logfire.msg",
        "lmnr.span.input",
        "lmnr.span.output",
        "mlflow.spanInputs",
        "mlflow.spanOutputs",
    }
)
_CONTENT_PREFIXES: Final = (
    "gen_ai.prompt.",
    "gen_ai.completion.",
    "llm.input_messages.",
    "llm.output_messages.",
    "llm.prompts",
    "llm.tools.",
    "llm.request.functions.",
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
_KEEP, _DROP, _SIGNAL, _TAG = range(4)


@lru_cache(maxsize=16_384)
def _route(key: str) -> int:
    """What becomes of an attribute besides what the dialect read from it."""
    if key in _PROMOTED or key in _CONTENT_KEYS or key.startswith(_CONTENT_PREFIXES):
        return _DROP
    if key.startswith(_SIGNAL_PREFIXES):
        return _SIGNAL
    return _TAG if key.startswith(semconv.TAG_PREFIX) else _KEEP


def normalise(group: ScopeSpans, span: DecodedSpan, project: str, received_at: int) -> tuple[SpanRow, ContentRow | None]:
    """Make the rows of one span.

    Args:
        group: The span's resource and scope.
        span: The span.
        project: Whose it is.
        received_at: When the request came, in nanoseconds since 1970.

    Returns:
        The row, and its content or None where the span carries none.
    """
    facts = read_facts(span, group.scope)
    attributes = span.attributes
    resource = group.resource
    get = attributes.get
    kept: dict[str, str] = {}
    signals = facts.signals
    tags = facts.tags
    for key, value in attributes.items():
        route = _route(key)
        if route == _KEEP:
            kept[key] = value if type(value) is str and len(value) <= _VALUE_CHARS_MAX else _clip(to_json(value))
        elif route == _SIGNAL:
            signals[key.removeprefix("spanledger.")] = _clip(to_json(value))
        elif route == _TAG:
            tags[key[len(semconv.TAG_PREFIX) :]] = _clip(to_json(value))
    start_time, duration_ns, clock = _times(span, received_at)
    error_type, error_class, http_status = _outcome(span, facts)
    finish_raw = facts.finish_reason[:_TEXT_CHARS_MAX]
    finish = classify.finish_reason(finish_raw) if finish_raw else ""
    quality = _settle_usage(facts)
    model = facts.response_model or facts.request_model
    is_call = facts.kind in ("model", "embedding", "rerank", "agent", "chain")
    row = SpanRow(
        project,
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        (facts.name or span.name)[:_TEXT_CHARS_MAX],
        facts.kind,
        facts.dialect,
        group.scope[:_TEXT_CHARS_MAX],
        span.otel_kind,
        start_time,
        duration_ns,
        received_at,
        clock,
        text(resource.get(semconv.SERVICE_NAME))[:_TEXT_CHARS_MAX],
        (first_text(resource, (semconv.ENVIRONMENT, "deployment.environment")) or facts.environment)[:_TEXT_CHARS_MAX],
        (text(get(semconv.RELEASE)) or text(resource.get(semconv.SERVICE_VERSION)) or facts.release)[:_TEXT_CHARS_MAX],
        text(get(semconv.FEATURE))[:_TEXT_CHARS_MAX],
        (text(get(semconv.PROMPT_VERSION)) or facts.prompt_version)[:_TEXT_CHARS_MAX],
        (text(get(semconv.USER_ID)) or facts.user or text(get("enduser.id")))[:_TEXT_CHARS_MAX],
        (text(get(semconv.SESSION_ID)) or facts.session)[:_TEXT_CHARS_MAX],
        tags,
        text(get(semconv.INTERACTION))[:_TEXT_CHARS_MAX],
        classify.provider_name(facts.provider, model)[:_TEXT_CHARS_MAX] if is_call else facts.provider,
        facts.operation[:_TEXT_CHARS_MAX],
        facts.request_model[:_TEXT_CHARS_MAX],
        facts.response_model[:_TEXT_CHARS_MAX],
        facts.response_id[:_TEXT_CHARS_MAX],
        finish,
        finish_raw,
        facts.input_tokens,
        facts.output_tokens,
        facts.cache_read_tokens,
        facts.cache_write_tokens,
        facts.cache_write_1h_tokens,
        facts.reasoning_tokens,
        facts.other_usage,
        quality,
        facts.reported_cost_usd,
        facts.ttft_ns,
        2 if facts.is_error else span.status_code if span.status_code in (0, 1, 2) else 0,
        (span.status_message or facts.error_message)[:_VALUE_CHARS_MAX],
        error_type[:_TEXT_CHARS_MAX],
        error_class,
        http_status,
        _has_output(facts),
        signals,
        kept,
        _version(span),
    )
    return row, _content(row, facts)


def _times(span: DecodedSpan, received_at: int) -> tuple[int, int, str]:
    start, end = span.start_ns, span.end_ns
    duration = end - start if end > start else 0
    if received_at - PAST_NS_MAX <= start <= received_at + AHEAD_NS_MAX:
        return start, duration, "ok"
    return received_at, duration if duration < 30 * NS_PER_DAY else 0, "suspect"


def _outcome(span: DecodedSpan, facts: Facts) -> tuple[str, str, int]:
    get = span.attributes.get
    error_type = text(get(semconv.ERROR_TYPE)) or facts.error_type
    status_text = text(get(semconv.HTTP_STATUS)) or text(get("http.status_code")) or text(get("error.code"))
    status = int(status_text) if status_text.isdigit() and len(status_text) == 3 else facts.http_status
    message = span.status_message or facts.error_message
    if span.status_code != 2 and not facts.is_error and not error_type:
        return "", "", status
    if span.events:
        for name, _, attributes in span.events:
            if name == "exception":
                error_type = error_type or text(attributes.get("exception.type"))
                message = message or text(attributes.get("exception.message"))
    if not error_type and ": " in message[:80]:
        head = message.split(":", 1)[0]
        error_type = head if head.isidentifier() else ""
    found, status = classify.error_class(status, error_type, message)
    return error_type, found, status


def _settle_usage(facts: Facts) -> str:
    if facts.kind == "model" and not facts.input_tokens and not facts.output_tokens:
        # A call to a model has at least one token of input: two zeros are how some write "unknown".
        facts.input_tokens = facts.output_tokens = None
    if facts.input_tokens is None and facts.output_tokens is None:
        return UsageQuality.MISSING if facts.kind in ("model", "embedding", "rerank") else ""
    facts.settle_inclusion()
    if facts.is_estimated:
        return UsageQuality.ESTIMATED
    return UsageQuality.EXACT if facts.input_tokens is not None and facts.output_tokens is not None else UsageQuality.PARTIAL


def _has_output(facts: Facts) -> int:
    """0: no output recorded, 1: some, 2: an output was recorded and it is empty, 3: the model refused in words of its own."""
    output = facts.output
    if not output:
        return 0
    if facts.kind == "model":
        if '"refusal"' in output and _is_refusal(output):
            return 3
        if len(output) < 120 and not _says_anything(output):
            return 2
    return 1


def _is_refusal(output: str) -> bool:
    messages = as_mapping('{"m":' + output + "}").get("m")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            if message.get("refusal") and not message.get("content"):
                return True
            parts = message.get("parts")
            if isinstance(parts, list) and any(isinstance(part, dict) and part.get("type") == "refusal" for part in parts):
                return True
    return False


def _says_anything(output: str) -> bool:
    if output[0] not in "[{":
        return bool(output.strip())
    messages = as_mapping('{"m":' + output + "}").get("m")
    return any(_leaf_texts(messages))


def _leaf_texts(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [
            found for key, value in node.items() if key not in ("role", "type", "finish_reason") for found in _leaf_texts(value)
        ]
    if isinstance(node, list):
        return [found for value in node for found in _leaf_texts(value)]
    return [node] if isinstance(node, str) and node.strip() else [str(node)] if isinstance(node, int | float) else []


def _version(span: DecodedSpan) -> int:
    ended = 1 if span.end_ns else 0
    end_ms = min(max(span.end_ns // 1_000_000 - _EPOCH_2000_MS, 0), (1 << 41) - 1)
    return ended << 63 | end_ms << 22 | min(len(span.attributes), 255) << 14 | span.digest & 0x3FFF


def _content(row: SpanRow, facts: Facts) -> ContentRow | None:
    if not (facts.input or facts.output or facts.tools or facts.documents or facts.reasoning):
        return None
    return (
        row.project,
        row.trace_id,
        row.span_id,
        "span",
        row.start_time,
        facts.input,
        facts.output,
        facts.reasoning,
        facts.tools,
        facts.documents,
        row.version,
    )


def _clip(value: str) -> str:
    return value if len(value) <= _VALUE_CHARS_MAX else value[: _VALUE_CHARS_MAX - 1] + "…"

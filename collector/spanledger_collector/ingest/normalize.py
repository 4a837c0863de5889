"""A decoded span becomes a row of the ledger and, where it has any, a row of content. Pure but for the receive time it is given.

The row keeps what the source said: attributes without a column of their own stay in `attributes`, content goes to its own
table. The version is made from content alone, so that whichever copy of a span arrives first, the same one wins: ended beats
open, a later end beats an earlier one, more attributes beat fewer, then a digest.
"""

from typing import Any, Final

from spanledger_collector.ingest import classify
from spanledger_collector.ingest.attributes import VALUE_CHARS_MAX, split
from spanledger_collector.ingest.decoded import DecodedSpan, ScopeSpans
from spanledger_collector.ingest.dialects import read_facts
from spanledger_collector.ingest.dialects.facts import Facts, as_mapping, text
from spanledger_collector.ingest.estimate import estimate_usage
from spanledger_schema import semconv
from spanledger_schema.spans import ContentRow, SpanRow
from spanledger_schema.tokens import UsageQuality

NS_PER_DAY: Final = 86_400_000_000_000
PAST_NS_MAX: Final = 396 * NS_PER_DAY
"""A start is believed up to 13 months back and 10 minutes ahead; outside, the receive time counts and the row says so."""
AHEAD_NS_MAX: Final = 600_000_000_000
_TEXT_CHARS_MAX: Final = 512
_EPOCH_2000_MS: Final = 946_684_800_000

_CALLERS: Final = frozenset({"model", "embedding", "rerank", "agent", "chain"})


def normalise(
    group: ScopeSpans, span: DecodedSpan, project: str, received_at: int, host_ns: int | None = None
) -> tuple[SpanRow, ContentRow | None]:
    """Make the rows of one span.

    Args:
        group: The span's resource and scope.
        span: The span.
        project: Whose it is.
        received_at: When the request came, in nanoseconds since 1970.
        host_ns: What the span's own times are held against, `received_at` unless given.

    Returns:
        The row, and its content or None where the span carries none.
    """
    facts = read_facts(span, group.scope)
    attributes = span.attributes
    resource = group.resource
    get, of_resource = attributes.get, resource.get
    signals, tags = facts.signals, facts.tags
    kept = split(attributes, signals, tags)
    quality = _settle_usage(facts, (span.status_code == 2 and not facts.is_answered) or facts.is_error)
    start, end = span.start_ns, span.end_ns
    duration, clock = end - start if end > start else 0, "ok"
    now = received_at if host_ns is None else host_ns
    if not now - PAST_NS_MAX <= start <= now + AHEAD_NS_MAX:
        start, clock = now, "suspect"
        duration = duration if duration < 30 * NS_PER_DAY else 0
    error_type, error_class, http_status = _outcome(span, facts)
    texts = (
        facts.name or span.name,
        group.scope,
        of_resource(semconv.SERVICE_NAME) or "",
        of_resource(semconv.ENVIRONMENT) or of_resource("deployment.environment") or facts.environment,
        get(semconv.RELEASE) or of_resource(semconv.SERVICE_VERSION) or facts.release,
        get(semconv.FEATURE) or "",
        get(semconv.PROMPT_VERSION) or facts.prompt_version,
        get(semconv.USER_ID) or facts.user or get("enduser.id") or "",
        get(semconv.SESSION_ID) or facts.session,
        get(semconv.INTERACTION) or "",
        facts.provider,
        facts.operation,
        facts.request_model,
        facts.response_model,
        facts.response_id,
        facts.finish_reason,
    )
    try:
        is_plain = len("".join(texts)) <= _TEXT_CHARS_MAX
    except TypeError:
        is_plain = False
    if not is_plain:
        texts = tuple([text(value)[:_TEXT_CHARS_MAX] for value in texts])  # type: ignore[assignment]
    name, scope, app, environment, release, feature, prompt_version, user, session, mark = texts[:10]
    provider, operation, request_model, response_model, response_id, finish_raw = texts[10:]
    if facts.kind in _CALLERS:
        provider = classify.provider_name(provider, response_model or request_model)
    status_code = 2 if facts.is_error else 0 if facts.is_answered else span.status_code
    fields = (
        project,
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        name,
        facts.kind,
        facts.dialect,
        scope,
        span.otel_kind & 0xFF,
        start,
        duration,
        received_at,
        clock,
        app,
        environment,
        release,
        feature,
        prompt_version,
        user,
        session,
        tags,
        mark,
        provider,
        operation,
        request_model,
        response_model,
        response_id,
        classify.finish_reason(finish_raw) if finish_raw else "",
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
        facts.ttft_ns if facts.ttft_ns is None or facts.ttft_ns <= NS_PER_DAY else None,
        status_code if status_code in (0, 1, 2) else 0,
        (span.status_message or facts.error_message)[:VALUE_CHARS_MAX],
        error_type[:_TEXT_CHARS_MAX],
        error_class,
        http_status,
        _has_output(facts) if facts.output else 0,
        signals,
        kept,
        _version(span),
    )
    # What the named tuple itself would do, without its call.
    row = tuple.__new__(SpanRow, fields)
    if facts.input or facts.output or facts.tools or facts.documents or facts.reasoning:
        return row, _content(row, facts)
    return row, None


def _outcome(span: DecodedSpan, facts: Facts) -> tuple[str, str, int]:
    attributes = span.attributes
    is_failed = span.status_code == 2 or facts.is_error or semconv.ERROR_TYPE in attributes or facts.error_type != ""
    is_failed = is_failed and not facts.is_answered
    if not is_failed and semconv.HTTP_STATUS not in attributes:
        return "", "", facts.http_status
    get = attributes.get
    error_type = text(get(semconv.ERROR_TYPE)) or facts.error_type
    status_text = text(get(semconv.HTTP_STATUS)) or text(get("http.status_code")) or text(get("error.code"))
    status = int(status_text) if status_text.isdecimal() and len(status_text) == 3 else facts.http_status
    message = span.status_message or facts.error_message
    if not is_failed:
        return "", "", status
    if span.events:
        for name, _, details in span.events:
            if name == "exception":
                error_type = error_type or text(details.get("exception.type"))
                message = message or text(details.get("exception.message"))
    if not error_type and ": " in message[:80]:
        head = message.split(":", 1)[0]
        error_type = head if head.isidentifier() else ""
    found, status = classify.error_class(status, error_type, message)
    return error_type, found, status


def _settle_usage(facts: Facts, is_failed: bool) -> str:
    if facts.kind == "model" and not facts.input_tokens and not facts.output_tokens:
        # A call to a model has at least one token of input: two zeros are how some write "unknown".
        facts.input_tokens = facts.output_tokens = None
        if not is_failed:
            # A stream that carries no usage, or one that its reader left: what was said was paid for.
            estimate_usage(facts)
    if facts.input_tokens is None and facts.output_tokens is None:
        return UsageQuality.MISSING if facts.kind in ("model", "embedding", "rerank") else ""
    facts.settle_inclusion()
    if facts.is_estimated:
        return UsageQuality.ESTIMATED
    if facts.is_partial:
        return UsageQuality.PARTIAL
    if facts.is_input_exclusive and facts.cache_read_tokens is None and facts.cache_write_tokens is None:
        # The input lacks its cached tokens, and nothing says how many there were.
        return UsageQuality.PARTIAL
    return UsageQuality.EXACT if facts.input_tokens is not None and facts.output_tokens is not None else UsageQuality.PARTIAL


def _has_output(facts: Facts) -> int:
    """Of a recorded output: 1 some, 2 empty, 3 the model refused in words of its own."""
    output = facts.output
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
    end_ms = span.end_ns // 1_000_000 - _EPOCH_2000_MS
    if not 0 <= end_ms < 1 << 41:
        end_ms = 0 if end_ms < 0 else (1 << 41) - 1
    ended = 1 << 63 if span.end_ns else 0
    attributes = len(span.attributes)
    return ended | end_ms << 22 | (attributes if attributes < 256 else 255) << 14 | span.digest & 0x3FFF


def _content(row: SpanRow, facts: Facts) -> ContentRow:
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

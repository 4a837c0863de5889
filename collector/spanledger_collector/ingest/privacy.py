"""A project's data rules put into effect on what was decoded, before anything of it is kept. Pure.

A span's class and purpose are what it states itself, else what its nearest ancestor in the same request states, else what its
resource states. Ancestors in other requests are not waited for: that would mean to keep what may have to be refused.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from spanledger_collector.governance.data_rules import Action, DataRules
from spanledger_collector.ingest.decoded import Attributes, Decoded, DecodedSpan, LogRecord
from spanledger_collector.ingest.dialects.facts import as_mapping, text
from spanledger_schema import semconv
from spanledger_schema.content import (
    CUT,
    MASK,
    SECRET_KINDS,
    SECRET_KINDS_IN_NAMES,
    TEXT_CHARS_MAX,
    is_content,
    is_fixed,
    is_free_text,
    mask,
    masked,
)
from spanledger_schema.redaction import redact

DENIED: Final = "denied"
_INDIGESTIBLE: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_STATED_MAX: Final = 50_000
_ANCESTORS_MAX: Final = 100
_EVENT_TEXTS: Final = frozenset(
    {
        "exception.type",
        "finish_reason",
        "gen_ai.evaluation.name",
        "gen_ai.evaluation.score.label",
        "role",
    }
)
"""Texts of events that say what happened, and not what somebody wrote."""

Stated = tuple[str, str]
"""A class and a purpose; empty where none is stated."""


class Classes:
    """What spans stated lately, for log records, which belong to a span but seldom state its class. Bounded; one thread."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._stated: dict[tuple[str, str, str], Stated] = {}

    def learn(self, project: str, span: DecodedSpan, stated: Stated) -> None:
        """Remember a span's class and purpose; the oldest are forgotten."""
        if any(stated):
            self._stated[project, span.trace_id, span.span_id] = stated
            if len(self._stated) > _STATED_MAX:
                del self._stated[next(iter(self._stated))]

    def of(self, project: str, record: LogRecord) -> Stated:
        """What the record states, else its span as far as it is remembered, else its resource."""
        of_span = self._stated.get((project, record.trace_id, record.span_id), ("", ""))
        found = [
            text(record.attributes.get(key)) or of_span[index] or text(record.resource.get(key))
            for index, key in enumerate((semconv.DATA_CLASS, semconv.PURPOSE))
        ]
        return found[0], found[1]


def enforce(decoded: Decoded, rules: DataRules, project: str, classes: Classes) -> bool:
    """Refuse, strip, mask and redact the spans of a request; whether any was touched."""
    is_touched = False
    resolve = _resolver(decoded)
    # All are asked before the first is changed: what is dropped from one says what another is.
    groups = [[(span, resolve(span, group.resource)) for span in group.spans] for group in decoded.groups]
    for group, spans in zip(decoded.groups, groups, strict=True):
        kept = []
        is_group_touched = False
        for span, stated in spans:
            classes.learn(project, span, stated)
            action = rules.action(*stated)
            is_group_touched |= action is not None
            if action == "deny":
                decoded.reject(DENIED)
                continue
            try:
                if action is not None:
                    _change(span, action)
            except _INDIGESTIBLE:
                # What cannot be changed is not kept as it came.
                decoded.reject("malformed_span")
                continue
            kept.append(span)
        group.spans = kept
        if is_group_touched:
            group.resource = _clean_resource(group.resource)
            is_touched = True
    decoded.groups = [group for group in decoded.groups if group.spans]
    return is_touched


def enforce_logs(
    records: Iterable[LogRecord], rules: DataRules, project: str, classes: Classes
) -> tuple[list[LogRecord], int, bool]:
    """Refuse, strip, mask and redact log records; what is left, how many were refused, and whether any was touched."""
    kept: list[LogRecord] = []
    denied, is_touched = 0, False
    for record in records:
        action = rules.action(*classes.of(project, record))
        is_touched |= action is not None
        if action == "deny":
            denied += 1
            continue
        try:
            kept.append(record if action is None else _changed_record(record, action))
        except _INDIGESTIBLE:
            denied += 1
    return kept, denied, is_touched


def enforce_feedback(item: Any, rules: DataRules) -> Any:
    """Feedback of the API as the rules for what states no class leave it; the judgement itself always stays."""
    action = rules.action("", "")
    if action is None or not isinstance(item, Mapping):
        return item
    changed = dict(item)
    if isinstance(comment := item.get("comment"), str):
        changed["comment"] = _redacted(comment, SECRET_KINDS) if action == "redact" else MASK if action == "mask" else ""
    if isinstance(value := item.get("value"), str):
        changed["value"] = _redacted(value, SECRET_KINDS)
    return changed


def _resolver(decoded: Decoded) -> Callable[[DecodedSpan, Attributes], Stated]:
    spans = {(span.trace_id, span.span_id): span for group in decoded.groups for span in group.spans}

    def stated(span: DecodedSpan, resource: Attributes, key: str) -> str:
        holder: DecodedSpan | None = span
        for _ in range(_ANCESTORS_MAX):
            if holder is None:
                break
            if found := text(holder.attributes.get(key)):
                return found
            holder = spans.get((holder.trace_id, holder.parent_span_id))
        return text(resource.get(key))

    return lambda span, resource: (stated(span, resource, semconv.DATA_CLASS), stated(span, resource, semconv.PURPOSE))


def _change(span: DecodedSpan, action: Action) -> None:
    attributes, message = span.attributes, span.status_message
    events = span.events
    if action == "strip":
        kept = {key: value for key, value in attributes.items() if not is_content(key)}
        if len(kept) < len(attributes) or message or events:
            kept[semconv.CONTENT_DROPPED] = "data_rule"
        attributes, message = kept, ""
        events = [(name, at, _numbers_of(details)) for name, at, details in events]
    elif action == "mask":
        attributes, message = _masked_content(attributes), MASK if message else ""
        events = [(name, at, _masked_content(details)) for name, at, details in events]
    span.name = _redacted(span.name, SECRET_KINDS_IN_NAMES)
    span.attributes = _redacted_all(attributes)
    span.status_message = _redacted(message, SECRET_KINDS)
    span.events = [(_redacted(name, SECRET_KINDS_IN_NAMES), at, _redacted_all(details)) for name, at, details in events]


def _changed_record(record: LogRecord, action: Action) -> LogRecord:
    attributes, body = record.attributes, record.body
    if action == "strip":
        attributes, body = _numbers_of(attributes), _without_words(body)
    elif action == "mask":
        attributes, body = _masked_content(attributes), mask(body) if isinstance(body, str) else masked(body)
    body = _redacted_value(body, SECRET_KINDS)
    return LogRecord(
        record.trace_id,
        record.span_id,
        record.time_ns,
        record.event,
        body,
        _redacted_all(attributes),
        _clean_resource(record.resource),
    )


def _without_words(body: Any) -> Any:
    """A log record's body as instrumentations write it where they are not to record content."""
    choice = as_mapping(body)
    reason = choice.get("finish_reason")
    return {"finish_reason": reason, "message": {"role": "assistant"}} if isinstance(reason, str) else None


def _numbers_of(details: Attributes) -> Attributes:
    """Of an event or log record, what is no content and no text that might be some."""
    return {
        key: value
        for key, value in details.items()
        if not is_content(key) and (key in _EVENT_TEXTS or isinstance(value, bool | int | float) or not is_free_text(key))
    }


def _masked_content(attributes: Attributes) -> Attributes:
    return {
        key: value if not is_content(key) else mask(value) if isinstance(value, str) else masked(value)
        for key, value in attributes.items()
    }


def _clean_resource(resource: Attributes) -> Attributes:
    kept = {key: value for key, value in resource.items() if not is_content(key)}
    return {key: _redacted_value(value, SECRET_KINDS_IN_NAMES) for key, value in kept.items()}


def _redacted_all(attributes: Attributes) -> Attributes:
    return {
        key: value if is_fixed(key) else _redacted_value(value, SECRET_KINDS if is_free_text(key) else SECRET_KINDS_IN_NAMES)
        for key, value in attributes.items()
    }


def _redacted_value(value: Any, kinds: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return _redacted(value, kinds)
    if isinstance(value, list):
        return [_redacted_value(item, kinds) for item in value]
    if isinstance(value, dict):
        return {key: _redacted_value(item, kinds) for key, item in value.items()}
    return value


def _redacted(words: str, kinds: tuple[str, ...]) -> str:
    if len(words) > TEXT_CHARS_MAX:
        words = words[:TEXT_CHARS_MAX] + CUT
    return redact(words, kinds)

"""A project's data rules put into effect on what was decoded, before anything of it is kept. Pure.

A span's class and purpose are what it states itself, else what its nearest ancestor in the same request states, else what its
resource states. Ancestors in other requests are not waited for: that would mean to keep what may have to be refused.
"""

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from spanledger_collector.governance.data_rules import Action, DataRules
from spanledger_collector.ingest.decoded import Attributes, Decoded, DecodedSpan, LogRecord
from spanledger_collector.ingest.dialects.facts import as_mapping, parse_json, text, to_json
from spanledger_schema import semconv
from spanledger_schema.content import (
    CUT,
    MASK,
    SECRET_KINDS,
    SECRET_KINDS_IN_NAMES,
    TEXT_CHARS_MAX,
    holds_label,
    is_content,
    is_fixed,
    is_free_text,
    is_label,
    mask,
    masked,
)
from spanledger_schema.redaction import redact
from spanledger_schema.spans import SpanRow

DENIED: Final = "denied"
_INDIGESTIBLE: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_STATED_MAX: Final = 50_000
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
_COUNTED: Final = frozenset({"ai.response.providerMetadata", "gen_ai.usage.raw", "mlflow.chunk.value"})
"""JSON that is read for the tokens in it, among whatever else a provider wrote there."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{8,}+={0,2}")
_CARD_FROM: Final = 10**12

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
            named(record.attributes.get(key)) or of_span[index] or named(record.resource.get(key))
            for index, key in enumerate((semconv.DATA_CLASS, semconv.PURPOSE))
        ]
        return found[0], found[1]


def enforce(decoded: Decoded, rules: DataRules, project: str, classes: Classes) -> bool:
    """Refuse, strip, mask and redact the spans of a request; whether any was touched."""
    is_touched = False
    resolve = resolver(span for group in decoded.groups for span in group.spans)
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
                    change(span, action)
            except _INDIGESTIBLE:
                # What cannot be changed is not kept as it came.
                decoded.reject("malformed_span")
                continue
            kept.append(span)
        group.spans = kept
        if is_group_touched:
            group.resource = _clean_resource(group.resource)
            group.scope = redacted(group.scope, SECRET_KINDS_IN_NAMES)
            is_touched = True
    decoded.groups = [group for group in decoded.groups if group.spans]
    return is_touched


def enforce_logs(records: Iterable[LogRecord], rules: DataRules, project: str, classes: Classes) -> tuple[list[LogRecord], int]:
    """Refuse, strip, mask and redact log records; what is left, and how many were refused."""
    kept: list[LogRecord] = []
    denied = 0
    for record in records:
        action = rules.action(*classes.of(project, record))
        if action == "deny":
            denied += 1
            continue
        try:
            kept.append(record if action is None else _changed_record(record, action))
        except _INDIGESTIBLE:
            denied += 1
    return kept, denied


def enforce_feedback(item: Any, rules: DataRules) -> Any:
    """Feedback of the API as the rules for what states no class leave it; the judgement itself always stays."""
    action = rules.action("", "")
    if action is None or not isinstance(item, Mapping):
        return item
    changed = dict(item)
    if isinstance(comment := item.get("comment"), str):
        changed["comment"] = redacted(comment, SECRET_KINDS) if action == "redact" else MASK if action == "mask" else ""
    if isinstance(value := item.get("value"), str):
        is_kept = action == "redact" or is_label(value)
        changed["value"] = redacted(value, SECRET_KINDS) if is_kept else MASK if action == "mask" else ""
    if isinstance(name := item.get("name"), str):
        changed["name"] = redacted(name, SECRET_KINDS_IN_NAMES)
    return changed


def resolver(holders: Iterable[DecodedSpan] | Iterable[SpanRow]) -> Callable[[DecodedSpan | SpanRow, Attributes], Stated]:
    """How to find what a span of these states, given its resource: itself, else its nearest ancestor among them, else that."""
    spans: dict[tuple[str, str], DecodedSpan | SpanRow] = {(span.trace_id, span.span_id): span for span in holders}

    known: dict[str, dict[tuple[str, str], str]] = {semconv.DATA_CLASS: {}, semconv.PURPOSE: {}}

    def stated(span: DecodedSpan | SpanRow, resource: Attributes, key: str) -> str:
        if found := named(span.attributes.get(key)):
            return found
        path, answers, place = [], known[key], (span.trace_id, span.parent_span_id)
        while place not in answers:
            # An answer before it is known ends a ring of spans that are each other's parents.
            answers[place] = ""
            path.append(place)
            holder = spans.get(place)
            if holder is None or (found := named(holder.attributes.get(key))):
                break
            place = holder.trace_id, holder.parent_span_id
        else:
            found = answers[place]
        answers.update(dict.fromkeys(path, found))
        return found or named(resource.get(key))

    return lambda span, resource: (stated(span, resource, semconv.DATA_CLASS), stated(span, resource, semconv.PURPOSE))


def named(value: Any) -> str:
    """The class or purpose in an attribute; of a list or an object all that stand in it, each in a line of its own."""
    if isinstance(value, str) and value.startswith("["):
        # A list that became text on its way.
        value = parse_json(value) or value
    if isinstance(value, list | dict):
        return "\n".join(filter(None, map(named, value.values() if isinstance(value, dict) else value)))
    return text(value)


def change(span: DecodedSpan, action: Action) -> None:
    """Strip, mask or redact a span where it is."""
    attributes, message = span.attributes, span.status_message
    events = span.events
    if action == "strip":
        kept = {key: _counted(key, value) for key, value in attributes.items() if not _is_words(key, value)}
        if len(kept) < len(attributes) or message or events:
            kept[semconv.CONTENT_DROPPED] = "data_rule"
        attributes, message = kept, ""
        events = [(name, at, _numbers_of(details)) for name, at, details in events]
    elif action == "mask":
        attributes, message = _masked_content(attributes), MASK if message else ""
        events = [(name, at, _masked_texts(details)) for name, at, details in events]
    span.name = redacted(span.name, SECRET_KINDS_IN_NAMES)
    span.attributes = _redacted_all(attributes)
    span.status_message = redacted(message, SECRET_KINDS)
    span.events = [(redacted(name, SECRET_KINDS_IN_NAMES), at, _redacted_all(details)) for name, at, details in events]


def _changed_record(record: LogRecord, action: Action) -> LogRecord:
    attributes, body = record.attributes, record.body
    if action == "strip":
        attributes, body = _numbers_of(attributes), _without_words(body)
    elif action == "mask":
        attributes, body = _masked_texts(attributes), mask(body) if isinstance(body, str) else masked(body)
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
    is_told = isinstance(reason, str) and is_label(reason)
    return {"finish_reason": reason, "message": {"role": "assistant"}} if is_told else None


def _numbers_of(details: Attributes) -> Attributes:
    """Of an event or log record, what is no content and no text that might be some."""
    return {
        key: _counted(key, value)
        for key, value in details.items()
        if not _is_words(key, value) and (key in _EVENT_TEXTS or isinstance(value, bool | int | float) or not is_free_text(key))
    }


def _masked_content(attributes: Attributes) -> Attributes:
    return {key: _masked(value) if _is_words(key, value) else _counted(key, value) for key, value in attributes.items()}


def _masked_texts(details: Attributes) -> Attributes:
    """Of an event or log record without its words: what `_numbers_of` leaves out is masked."""
    kept = _numbers_of(details)
    return {key: kept[key] if key in kept else _masked(value) for key, value in details.items()}


def _is_words(key: str, value: Any) -> bool:
    """Whether somebody wrote what stands there: content, or a text in place of a label."""
    return is_content(key) or (holds_label(key) and isinstance(value, str) and not is_label(value))


def _masked(value: Any) -> Any:
    return mask(value) if isinstance(value, str) else masked(value)


def _counted(key: str, value: Any) -> Any:
    """What is read for its numbers keeps those, and loses its words."""
    if key not in _COUNTED:
        return value
    parsed = parse_json(value)
    return MASK if parsed is None or isinstance(parsed, str) else to_json(_without_texts(parsed))


def _without_texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_texts(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_texts(item) for key, item in value.items()}
    return MASK if isinstance(value, str) else value


def _clean_resource(resource: Attributes) -> Attributes:
    kept = {key: value for key, value in resource.items() if not is_content(key)}
    return {key: _redacted_value(value, SECRET_KINDS_IN_NAMES) for key, value in kept.items()}


def _redacted_all(attributes: Attributes) -> Attributes:
    kept: Attributes = {}
    for key, value in attributes.items():
        is_free = is_free_text(key)
        # A name that no vocabulary defines may be made of what somebody wrote.
        name = redacted(key, SECRET_KINDS_IN_NAMES) if is_free else key
        kept[name] = value if is_fixed(key) else _redacted_value(value, SECRET_KINDS if is_free else SECRET_KINDS_IN_NAMES)
    return kept


def _redacted_value(value: Any, kinds: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return redacted(value, kinds)
    if isinstance(value, list):
        return [_redacted_value(item, kinds) for item in value]
    if isinstance(value, dict):
        return {redacted(key, kinds): _redacted_value(item, kinds) for key, item in value.items()}
    if isinstance(value, int) and value >= _CARD_FROM and redact(words := str(value), ("card",)) != words:
        return redacted(words, ("card",))
    return value


def redacted(words: str, kinds: tuple[str, ...]) -> str:
    """A text with its secrets replaced; a very long one is cut."""
    if len(words) > TEXT_CHARS_MAX:
        words = words[:TEXT_CHARS_MAX] + CUT
    found = redact(words, kinds)
    if found == words and len(words) % 4 == 0 and _BASE64.fullmatch(words):
        # Bytes come as this text. What they say is read as SDKs read it: all secrets are ASCII.
        said = base64.b64decode(words).decode("latin-1")
        if (plain := redact(said, kinds)) != said:
            return base64.b64encode(plain.encode("latin-1")).decode()
    return found

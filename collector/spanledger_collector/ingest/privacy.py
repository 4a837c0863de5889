"""A project's data rules put into effect on what was decoded, before anything of it is kept. Pure.

A span's class and purpose are what it states itself, else what its nearest ancestor in the same request or in memory states, else
what its resource states. Ancestors that come later are not waited for: that would mean to keep what may have to be refused. Where
one comes, what was kept is looked after (`afterwards`).
"""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from spanledger_collector.governance.data_rules import Action, DataRules
from spanledger_collector.ingest.classes import Classes, either, own, resolver, rooted
from spanledger_collector.ingest.decoded import Attributes, Decoded, DecodedSpan, LogRecord
from spanledger_collector.ingest.dialects.facts import as_mapping, parse_json, to_json
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
    is_label,
    is_words,
    is_words_of_event,
    mask,
    masked,
    without_query,
)
from spanledger_schema.redaction import redact

DENIED: Final = "denied"
_INDIGESTIBLE: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_COUNTED: Final = frozenset({"ai.response.providerMetadata", "gen_ai.usage.raw", "mlflow.chunk.value"})
"""JSON that is read for the tokens in it, among whatever else a provider wrote there."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{8,}+={0,2}")
_CARD_FROM: Final = 10**12


def enforce(decoded: Decoded, rules: DataRules, project: str, classes: Classes, received_at: int = 0) -> bool:
    """Refuse, strip, mask and redact the spans of a request; whether any was touched."""
    is_touched = False
    everyone = [span for group in decoded.groups for span in group.spans]
    resolve, is_rooted = resolver(everyone, lambda place: classes.inherited(project, place)), rooted(everyone)
    # All are asked before the first is changed: what is dropped from one says what another is.
    groups = [[(span, resolve(span)) for span in group.spans] for group in decoded.groups]
    for group, spans in zip(decoded.groups, groups, strict=True):
        kept = []
        is_group_touched = False
        of_resource = own(group.resource)
        for span, inherited in spans:
            stated = either(inherited, of_resource)
            action = rules.action(*stated)
            classes.learn(project, (span.trace_id, span.span_id), inherited, stated)
            is_ruled = action is not None and any(inherited)
            is_open = rules.misses(inherited) and not is_rooted(span)
            classes.meet(project, span.trace_id, received_at, is_open=is_open, is_ruled=is_ruled)
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


def enforce_logs(
    records: Iterable[LogRecord], rules: DataRules, project: str, classes: Classes, received_at: int = 0
) -> tuple[list[LogRecord], int]:
    """Refuse, strip, mask and redact log records; what is left, and how many were refused."""
    kept: list[LogRecord] = []
    denied = 0
    for record in records:
        itself, stated = classes.of(project, record)
        # Its span may come later.
        classes.meet(project, record.trace_id, received_at, is_open=rules.misses(itself), is_ruled=False)
        action = rules.action(*stated)
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
    return item if action is None or not isinstance(item, Mapping) else change_feedback(item, action)


def change_feedback(item: Mapping[str, Any], action: Action) -> dict[str, Any]:
    """What is left of a judgement's words."""
    changed = dict(item)
    if (comment := item.get("comment")) and isinstance(comment, str):
        changed["comment"] = redacted(comment, SECRET_KINDS) if action == "redact" else MASK if action == "mask" else ""
    if isinstance(value := item.get("value"), str):
        is_kept = action == "redact" or is_label(value)
        changed["value"] = redacted(value, SECRET_KINDS) if is_kept else MASK if action == "mask" else ""
    if isinstance(name := item.get("name"), str):
        changed["name"] = redacted(name, SECRET_KINDS_IN_NAMES)
    return changed


def change(span: DecodedSpan, action: Action) -> None:
    """Strip, mask or redact a span where it is."""
    attributes, message, name = span.attributes, span.status_message, span.name
    events = span.events
    if action == "strip":
        kept = {key: _counted(key, value) for key, value in attributes.items() if not is_words(key, value)}
        if len(kept) < len(attributes) or message or events:
            kept[semconv.CONTENT_DROPPED] = "data_rule"
        attributes, message = kept, ""
        events = [(event, at, _numbers_of(details)) for event, at, details in events]
    elif action == "mask":
        attributes, message = _masked_content(attributes), MASK if message else ""
        events = [(event, at, _masked_texts(details)) for event, at, details in events]
    if action != "redact":
        name, attributes = without_query(name), _without_queries(attributes, action)
    span.name = redacted(name, SECRET_KINDS_IN_NAMES)
    span.attributes = _redacted_all(attributes)
    span.status_message = redacted(message, SECRET_KINDS)
    span.events = [(redacted(event, SECRET_KINDS_IN_NAMES), at, _redacted_all(details)) for event, at, details in events]


def _without_queries(attributes: Attributes, action: Action) -> Attributes:
    """Addresses without what somebody asked for; content, where it stayed, is none."""
    instead = MASK if action == "mask" else ""
    return {
        key: without_query(value, instead) if isinstance(value, str) and not is_content(key) else value
        for key, value in attributes.items()
    }


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
    return {key: _counted(key, value) for key, value in details.items() if not is_words_of_event(key, value)}


def _masked_content(attributes: Attributes) -> Attributes:
    return {key: _masked(value) if is_words(key, value) else _counted(key, value) for key, value in attributes.items()}


def _masked_texts(details: Attributes) -> Attributes:
    """Of an event or log record without its words: what `_numbers_of` leaves out is masked."""
    kept = _numbers_of(details)
    return {key: kept[key] if key in kept else _masked(value) for key, value in details.items()}


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

"""What leaves the process: capture mode, rules for data classes, redaction, in that order, on the sending thread.

Our own spans never hold what the capture mode forbids. Spans of other instrumentations travel through the same exporter, and
many of them record prompts by default, so their content is removed here. What goes to the disk has been through here too.
Whatever fails costs the content of that span, never the span, and never lets the content through.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from spanledger._config import Capture
from spanledger._counters import COUNTERS
from spanledger._guard import survive
from spanledger._hooks import Hooks, Result
from spanledger._rules import Action, DataRules, Redaction
from spanledger_schema import semconv
from spanledger_schema.content import (
    CUT,
    MASK,
    SECRET_KINDS_IN_NAMES,
    TEXT_CHARS_MAX,
    is_content,
    is_fixed,
    is_free_text,
    is_identity,
    is_words,
    is_words_of_event,
    mask,
    masked,
    without_query,
)

Slot = tuple[str, Any, str]
"""The attribute's name, the protobuf message that holds the text, and the name of its field."""


@dataclass(frozen=True, slots=True)
class Privacy:
    """How content is treated before it is sent or kept on disk."""

    capture: Capture = "full"
    rules: DataRules = field(default_factory=DataRules)
    redaction: Redaction = field(default_factory=Redaction)
    hooks: Hooks = field(default_factory=lambda: Hooks(()))

    def is_denied(self, attributes: Mapping[str, Any] | None) -> bool:
        """Whether a rule forbids that a span with these attributes leaves the process."""
        return bool(self.rules) and self.rules.action(attributes or {}) == "deny"

    def clean(self, request: Any, own_scope: str, deadline: float) -> None:
        """Apply everything to an OTLP export request, in place.

        Args:
            request: An `ExportTraceServiceRequest`.
            own_scope: Name of the instrumentation scope whose spans keep to the capture mode by themselves.
            deadline: When to stop waiting for hooks, by `time.monotonic`.
        """
        pending: list[tuple[Any, list[Slot]]] = []
        for resource_spans in request.resource_spans:
            self._clean_resource(resource_spans.resource)
            for scope_spans in resource_spans.scope_spans:
                is_own = scope_spans.scope.name == own_scope
                for span in scope_spans.spans:
                    try:
                        slots = self._clean_span(span, is_own)
                    except Exception as error:  # noqa: BLE001 - fail closed, whatever it is
                        _drop_content(span)
                        survive("redaction", error)
                        continue
                    if slots:
                        pending.append((span, slots))
                    # Patterns hold the interpreter; let the host's threads have it between spans.
                    time.sleep(0)
        self._run_hooks(pending, deadline)

    def clean_text(self, text: str, deadline: float) -> str | None:
        """One free text, such as a comment; None if it must not be sent."""
        try:
            text = self._replace(text, self.redaction.kinds)
        except Exception as error:  # noqa: BLE001 - fail closed, whatever it is
            COUNTERS.content_dropped += 1
            survive("redaction", error)
            return None
        if not self.hooks:
            return text
        ((worked, result),) = self.hooks.run([text], deadline)
        if not worked:
            COUNTERS.content_dropped += 1
        return result

    def _clean_resource(self, resource: Any) -> None:
        kinds = self._kinds_of_names()
        if not kinds:
            return
        try:
            for _, holder, part in _texts_of(resource.attributes):
                self._replace_in(holder, part, kinds)
        except Exception as error:  # noqa: BLE001 - fail closed, whatever it is
            del resource.attributes[:]
            survive("redaction", error)

    def _clean_span(self, span: Any, is_own: bool) -> list[Slot]:
        """Everything but the hooks; returns what these have to see."""
        if self.capture != "full" and not is_own:
            _strip(span, self._is_uncaptured, self._is_uncaptured)
            _cut_queries(span, "")
        if self.rules:
            _apply_rule(span, self.rules.action({item.key: item.value.string_value for item in span.attributes}))
        slots: list[Slot] = []
        if not self.redaction.kinds and not self.hooks:
            return slots
        for slot in _texts_of_span(span):
            key, holder, part = slot
            if is_fixed(key):
                continue
            is_free = is_free_text(key)
            self._replace_in(holder, part, self.redaction.kinds if is_free else self._kinds_of_names())
            if is_free and self.hooks and part == "string_value":
                slots.append(slot)
        return slots

    def _is_uncaptured(self, key: str, _value: Any) -> bool:
        return is_content(key) or (self.capture == "none" and is_identity(key))

    def _run_hooks(self, pending: list[tuple[Any, list[Slot]]], deadline: float) -> None:
        if not pending:
            return
        texts = [getattr(holder, part) for _, slots in pending for _, holder, part in slots]
        results = iter(self.hooks.run(texts, deadline))
        for span, slots in pending:
            answers: list[Result] = [next(results) for _ in slots]
            if not all(worked for worked, _ in answers):
                _drop_content(span)
                continue
            for (_, holder, part), (_, text) in zip(slots, answers, strict=True):
                if text is None:
                    holder.Clear()
                elif text != getattr(holder, part):
                    setattr(holder, part, _encodable(text[:TEXT_CHARS_MAX]))

    def _kinds_of_names(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.redaction.kinds if kind in SECRET_KINDS_IN_NAMES)

    def _replace_in(self, holder: Any, part: str, kinds: tuple[str, ...]) -> None:
        before = getattr(holder, part)
        # Any bytes are text in this encoding, and all secrets are ASCII.
        text = before.decode("latin-1") if isinstance(before, bytes) else before
        after = self._replace(text, kinds)
        if after is not text:
            setattr(holder, part, after.encode("latin-1", "replace") if isinstance(before, bytes) else after)

    @staticmethod
    def _replace(text: str, kinds: tuple[str, ...]) -> str:
        from spanledger_schema.redaction import redact

        if len(text) > TEXT_CHARS_MAX:
            text = text[:TEXT_CHARS_MAX] + CUT
        return redact(text, kinds) if kinds else text


def _texts_of_span(span: Any) -> Iterator[Slot]:
    yield semconv.INTERACTION, span, "name"
    yield from _texts_of(span.attributes)
    for event in span.events:
        yield from _texts_of(event.attributes)
    for link in span.links:
        yield from _texts_of(link.attributes)
    if span.status.message:
        yield "exception.message", _StatusText(span.status), "string_value"


class _StatusText:
    """The message of a status, to be treated as the text of an attribute."""

    def __init__(self, status: Any) -> None:
        self._status = status

    @property
    def string_value(self) -> str:
        return str(self._status.message)

    @string_value.setter
    def string_value(self, text: str) -> None:
        self._status.message = text

    def Clear(self) -> None:
        self._status.message = ""


def _texts_of(attributes: Any) -> Iterator[Slot]:
    for item in attributes:
        yield from _texts_in(item.key, item.value)


def _texts_in(key: str, value: Any) -> Iterator[Slot]:
    kind = value.WhichOneof("value")
    if kind in ("string_value", "bytes_value"):
        yield key, value, kind
    elif kind == "array_value":
        for item in value.array_value.values:
            yield from _texts_in(key, item)
    elif kind == "kvlist_value":
        for entry in value.kvlist_value.values:
            yield from _texts_in(key, entry.value)


def _strip(span: Any, is_unwanted: Callable[[str, Any], bool], is_unwanted_beside: Callable[[str, Any], bool]) -> bool:
    """Remove attributes (the second says which, of events and links) and the status's message; whether there were any."""
    removed = bool(span.status.message)
    span.status.message = ""
    beside = [(holder.attributes, is_unwanted_beside) for holder in (*span.events, *span.links)]
    for attributes, is_out in ((span.attributes, is_unwanted), *beside):
        for index in range(len(attributes) - 1, -1, -1):
            if is_out(attributes[index].key, _plain(attributes[index].value)):
                del attributes[index]
                removed = True
    return removed


def _drop_content(span: Any) -> None:
    """What happens when redaction fails: no free text of this span is sent."""
    COUNTERS.content_dropped += 1
    _strip(span, _is_free, _is_free)
    for link in span.links:
        del link.attributes[:]
    span.attributes.add(key=semconv.CONTENT_DROPPED).value.string_value = "redaction"


def _is_free(key: str, _value: Any) -> bool:
    return is_free_text(key)


def _apply_rule(span: Any, action: Action | None) -> None:
    if action is None:
        return
    if action == "strip" and _strip(span, is_words, is_words_of_event):
        span.attributes.add(key=semconv.CONTENT_DROPPED).value.string_value = "data_rule"
    elif action == "mask":
        _mask(span.attributes, is_words)
        for holder in (*span.events, *span.links):
            _mask(holder.attributes, is_words_of_event)
        if span.status.message:
            span.status.message = MASK
    _cut_queries(span, MASK if action == "mask" else "")


def _mask(attributes: Any, is_out: Callable[[str, Any], bool]) -> None:
    for item in attributes:
        value = _plain(item.value)
        if is_out(item.key, value):
            item.value.string_value = mask(value) if isinstance(value, str) else json.dumps(masked(value))


def _cut_queries(span: Any, instead: str) -> None:
    span.name = without_query(span.name)
    for item in span.attributes:
        if item.value.WhichOneof("value") == "string_value" and not is_content(item.key):
            item.value.string_value = without_query(item.value.string_value, instead)


def _plain(value: Any) -> Any:
    """What an attribute holds, as Python has it; bytes stay."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {entry.key: _plain(entry.value) for entry in value.kvlist_value.values}
    return getattr(value, kind) if kind else None


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")

"""Data rules put into effect on spans that are rows already. Pure.

They are in quarantine, from where they come a second time, or in the store, when an ancestor that comes later says which class
they have. A row and its content become a span again, the rules do with it what they do with any other; what is left goes back.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from spanledger_collector.governance.data_rules import Action, DataRules
from spanledger_collector.ingest.classes import NOTHING, Classes, Place, Stated, either, own, resolver
from spanledger_collector.ingest.decoded import DecodedSpan
from spanledger_collector.ingest.privacy import change, redacted
from spanledger_schema import semconv
from spanledger_schema.content import SECRET_KINDS_IN_NAMES
from spanledger_schema.spans import CONTENT_FIELDS, ContentRow, SpanRow

_SIGNAL_PREFIX: Final = "spanledger."
_VERSION_MAX: Final = (1 << 64) - 1
_CONTENT: Final = {
    "input": semconv.INPUT_MESSAGES,
    "output": semconv.OUTPUT_MESSAGES,
    "reasoning": "gen_ai.content.reasoning",
    "tools": semconv.TOOL_DEFINITIONS,
    "documents": semconv.RETRIEVAL_DOCUMENTS,
}
"""Columns of content, and names under which they are content for the rules too."""
_PLACES: Final = {name: [field for field, _ in CONTENT_FIELDS].index(name) for name in _CONTENT}
_NAMES: Final = ("scope", "app", "environment", "release", "feature", "prompt_version", "interaction")


def with_class(row: SpanRow, rows: Iterable[SpanRow], of_resource: Mapping[tuple[str, str], Stated]) -> SpanRow:
    """A span's row that says itself which class and purpose it has, if only its ancestors among `rows` or its resource do."""
    return _saying(row, either(resolver(rows)(row), of_resource.get((row.trace_id, row.span_id), NOTHING)))


def _saying(row: SpanRow, stated: Stated) -> SpanRow:
    said = zip((semconv.DATA_CLASS, semconv.PURPOSE), stated, strict=True)
    return row._replace(attributes=row.attributes | {key: found for key, found in said if found})


class Late(NamedTuple):
    """What is to be done with what is kept of some traces: rows by the action of an ancestor, places by the action of a span."""

    rows: list[tuple[SpanRow, Action]]
    denied: list[Place]
    actions: dict[Place, Action]


def came_late(rows: Sequence[SpanRow], logged: Iterable[Place], rules: DataRules, classes: Classes, project: str) -> Late:
    """Find in all rows of some traces, and in places where log records left content, what a rule is about and was not.

    Rows say themselves what their ancestors say from then on, so that the second time they are not among them. Spans that were
    refused are not among the rows, but remembered.
    """
    resolve = resolver(rows, lambda place: classes.inherited(project, place))
    late = Late([], [], {})
    for row in rows:
        place, stated = (row.trace_id, row.span_id), resolve(row)
        action = rules.action(*stated)
        if action is None or not any(stated):
            continue
        is_told = stated == own(row.attributes)
        if action != "deny":
            late.actions[place] = action
        elif not is_told:
            late.denied.append(place)
        if action != "deny" and not is_told:
            late.rows.append((_saying(row, stated), action))
    known = {(row.trace_id, row.span_id) for row in rows}
    for place in set(logged) - known:
        stated = classes.stated(project, place)
        if any(stated) and (action := rules.action(*stated)) is not None:
            if action == "deny":
                late.denied.append(place)
            else:
                late.actions[place] = action
    return late


def replaced_row(row: SpanRow, action: Action, received_at: int) -> SpanRow:
    """What takes the place of a row in the store: one version higher."""
    changed, _ = change_row(row, [], action)
    return changed._replace(version=min(row.version + 1, _VERSION_MAX), received_at=received_at)


def replaced_content(content: ContentRow, action: Action) -> ContentRow | None:
    """What takes the place of a row of content, empty where nothing is left; None where nothing is to be done."""
    emptied: ContentRow = (*content[:5], "", "", "", "", "", content[10])
    after = _change_content(content, action) or emptied
    return None if after == content else (*after[:10], min(content[10] + 1, _VERSION_MAX))


def enforce_rows(
    rows: Sequence[SpanRow], contents: Sequence[ContentRow], rules: DataRules
) -> tuple[list[SpanRow], list[ContentRow]]:
    """Rows that state their class themselves, as the rules of now leave them; those that are denied are left out."""
    kept: list[SpanRow] = []
    left: list[ContentRow] = []
    for row in rows:
        its = [content for content in contents if (content[1], content[2]) == (row.trace_id, row.span_id)]
        action = rules.action(*own(row.attributes))
        if action == "deny":
            continue
        if action is not None:
            row, its = change_row(row, its, action)
        kept.append(row)
        left += its
    return kept, left


def change_row(row: SpanRow, contents: Sequence[ContentRow], action: Action) -> tuple[SpanRow, list[ContentRow]]:
    """Strip, mask or redact a span's row and its content; content of which nothing is left is left out."""
    span = DecodedSpan()
    span.name, span.status_message, span.events = row.name, row.status_message, []
    span.attributes = {
        **row.attributes,
        **{semconv.TAG_PREFIX + key: value for key, value in row.tags.items()},
        **{_SIGNAL_PREFIX + key: value for key, value in row.signals.items()},
    }
    change(span, action)
    tags, signals, attributes = {}, {}, {}
    for key, value in span.attributes.items():
        if key.startswith(semconv.TAG_PREFIX):
            tags[key.removeprefix(semconv.TAG_PREFIX)] = str(value)
        elif key.removeprefix(_SIGNAL_PREFIX) in row.signals:
            signals[key.removeprefix(_SIGNAL_PREFIX)] = str(value)
        else:
            attributes[key] = str(value)
    changed = row._replace(
        name=span.name,
        status_message=span.status_message,
        tags=tags,
        signals=signals,
        attributes=attributes,
        **{name: redacted(getattr(row, name), SECRET_KINDS_IN_NAMES) for name in _NAMES},  # type: ignore[arg-type]
    )
    return changed, [left for content in contents if (left := _change_content(content, action)) is not None]


def _change_content(content: ContentRow, action: Action) -> ContentRow | None:
    span = DecodedSpan()
    span.name, span.status_message, span.events = "", "", []
    span.attributes = {_CONTENT[name]: content[place] for name, place in _PLACES.items() if content[place]}
    change(span, action)
    left = list(content)
    for name, place in _PLACES.items():
        left[place] = str(span.attributes.get(_CONTENT[name], ""))
    return tuple(left) if any(left[place] for place in _PLACES.values()) else None  # type: ignore[return-value]

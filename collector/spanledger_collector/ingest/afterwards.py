"""Data rules put into effect on spans that are rows already, such as those in quarantine, which come a second time. Pure.

A row and its content become a span again, the rules do with it what they do with any other, and what is left goes back.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from spanledger_collector.governance.data_rules import Action, DataRules
from spanledger_collector.ingest.decoded import Attributes, DecodedSpan
from spanledger_collector.ingest.normalize import ContentRow
from spanledger_collector.ingest.privacy import Stated, change, named, redacted, resolver
from spanledger_schema import semconv
from spanledger_schema.content import SECRET_KINDS_IN_NAMES
from spanledger_schema.spans import CONTENT_FIELDS, SpanRow

_SIGNAL_PREFIX: Final = "spanledger."
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


def content_row(values: Iterable[Any]) -> ContentRow:
    """A row of content from its values in the order of the columns."""
    row: ContentRow = tuple(values)
    return row


def with_class(row: SpanRow, rows: Iterable[SpanRow], of_resource: Mapping[tuple[str, str], Stated]) -> SpanRow:
    """A span's row that says itself which class and purpose it has, if only its ancestors among `rows` or its resource do."""
    data_class, purpose = of_resource.get((row.trace_id, row.span_id), ("", ""))
    resource: Attributes = {semconv.DATA_CLASS: data_class, semconv.PURPOSE: purpose}
    stated = dict(zip(resource, resolver(rows)(row, resource), strict=True))
    return row._replace(attributes=row.attributes | {key: found for key, found in stated.items() if found})


def enforce_rows(
    rows: Sequence[SpanRow], contents: Sequence[ContentRow], rules: DataRules
) -> tuple[list[SpanRow], list[ContentRow]]:
    """Rows that state their class themselves, as the rules of now leave them; those that are denied are left out."""
    kept: list[SpanRow] = []
    left: list[ContentRow] = []
    for row in rows:
        own = [content for content in contents if (content[1], content[2]) == (row.trace_id, row.span_id)]
        action = rules.action(named(row.attributes.get(semconv.DATA_CLASS)), named(row.attributes.get(semconv.PURPOSE)))
        if action == "deny":
            continue
        if action is not None:
            row, own = change_row(row, own, action)
        kept.append(row)
        left += own
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

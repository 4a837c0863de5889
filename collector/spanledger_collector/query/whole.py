"""Spans as they are kept, with all their columns, and their content: for what changes them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from spanledger_collector.store.arrow import Row, rows_from
from spanledger_collector.store.protocol import Store, pieces
from spanledger_schema.spans import CONTENT_FIELDS, SPAN_FIELDS, ContentRow, Fields, SpanRow

_SPANS: Final = ", ".join(name for name, _ in SPAN_FIELDS)
_CONTENT: Final = ", ".join(name for name, _ in CONTENT_FIELDS)
_WHICH: Final = "FINAL WHERE project = {project:String} AND"


def whole_spans(store: Store, project: str, trace_ids: Sequence[str]) -> list[SpanRow]:
    """All spans of some traces.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    sql = f"SELECT {_SPANS} FROM spans {_WHICH} trace_id IN {{traces:Array(String)}}"
    return rows_from(store.read(sql, {"project": project, "traces": list(trace_ids)}), SPAN_FIELDS, SpanRow._make)


def content_of_spans(store: Store, project: str, spans: Sequence[tuple[str, str]]) -> list[ContentRow]:
    """What is kept of some spans (trace and span id) as content, that of log records too.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    found: list[ContentRow] = []
    sql = (
        f"SELECT {_CONTENT} FROM span_content {_WHICH} trace_id IN {{traces:Array(String)}} "
        "AND concat(trace_id, span_id) IN {ids:Array(String)}"
    )
    for piece in pieces([trace_id + span_id for trace_id, span_id in spans]):
        parameters = {"project": project, "ids": piece, "traces": sorted({one[:32] for one in piece})}
        found += rows_from(store.read(sql, parameters), CONTENT_FIELDS, tuple)
    return found


def logged_spans(store: Store, project: str, trace_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Trace and span ids to which log records brought content.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    which = "trace_id IN {traces:Array(String)} AND source = 'log'"
    sql = f"SELECT DISTINCT trace_id, span_id FROM span_content WHERE project = {{project:String}} AND {which}"
    answer = store.read(sql, {"project": project, "traces": list(trace_ids)})
    return list(zip(answer.column("trace_id").to_pylist(), answer.column("span_id").to_pylist(), strict=True))


def evaluations_of(
    store: Store, project: str, trace_ids: Sequence[str], fields: Fields, make: Callable[[Iterable[Any]], Row]
) -> list[Row]:
    """What evaluators said of spans of some traces, as rows with some fields of `feedback`.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    columns = ", ".join(name for name, _ in fields)
    which = "trace_id IN {traces:Array(String)} AND source = 'evaluator' AND span_id != ''"
    sql = f"SELECT {columns} FROM feedback {_WHICH} {which}"
    return rows_from(store.read(sql, {"project": project, "traces": list(trace_ids)}), fields, make)

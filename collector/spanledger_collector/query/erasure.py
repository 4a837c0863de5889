"""Everything that belongs to one person, and its deletion."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from spanledger_collector.query.detail import members
from spanledger_collector.settle.rules import settle
from spanledger_collector.store.ddl import parts_of
from spanledger_collector.store.ledger import read_history
from spanledger_collector.store.protocol import Store, pieces, rows_of

_BY_TRACE: Final = ("spans", "span_content", "calls", "interactions", "feedback", "span_notes")
_BY_SPAN: Final = ("spans", "span_content", "calls", "feedback", "span_notes")
_BY_INTERACTION: Final = ("interactions", "feedback")
_NAMED: Final = ("spans", "interactions", "calls", "feedback", "span_notes")


class Belongings(NamedTuple):
    """A person's data in a project: traces that are theirs alone, and their parts of traces that others share."""

    traces: list[str]
    shared: list[str]
    spans: list[tuple[str, str]]
    interactions: list[str]


def belongings(store: Store, project: str, user: str) -> Belongings:
    """Find what belongs to a person: whole interactions, with every span in them.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    found: set[str] = set()
    for table in _NAMED:
        sql = f"SELECT DISTINCT trace_id FROM {table} WHERE project = {{project:String}} AND user = {{user:String}}"
        found.update(row["trace_id"] for row in rows_of(store.read(sql, {"project": project, "user": user})))
    belongs = Belongings([], [], [], [])
    trace_ids = sorted(found)
    for start in range(0, len(trace_ids), 500):
        history = read_history(store, [(project, trace_id) for trace_id in trace_ids[start : start + 500]])
        for (_, trace_id), trace in history.items():
            settled = settle(trace.rows.values(), list(trace.feedback.values())) if trace.rows else None
            theirs = [row for row in settled.interactions if row.user == user] if settled else []
            if settled is None or len(theirs) == len(settled.interactions) or not theirs:
                # A span that names them without owning an interaction is theirs too; what cannot be told apart goes whole.
                belongs.traces.append(trace_id)
                continue
            belongs.shared.append(trace_id)
            for interaction in theirs:
                belongs.interactions.append(interaction.interaction_id)
                belongs.spans.extend((trace_id, span_id) for span_id in members(trace.rows, interaction, settled.interactions))
    return belongs


def delete(store: Store, project: str, belongs: Belongings) -> None:
    """Delete it from every table; when it returns, it is gone from all parts that are read.

    Raises:
        StoreUnavailable: the store does not take it; what is left is deleted by doing it again.
    """
    pairs = [trace_id + span_id for trace_id, span_id in belongs.spans]
    for tables, which, ids in (
        (_BY_TRACE, "trace_id", belongs.traces),
        (_BY_SPAN, "concat(trace_id, span_id)", pairs),
        (_BY_INTERACTION, "interaction_id", belongs.interactions),
    ):
        for piece in pieces(ids):
            for table in tables:
                _delete(store, table, f"{which} IN {{ids:Array(String)}}", {"project": project, "ids": piece})


def delete_spans(store: Store, project: str, spans: Sequence[tuple[str, str]], traces: Sequence[str]) -> None:
    """Delete spans (trace and span id) with all that belongs to them, and what is counted of traces of which nothing is left.

    Raises:
        StoreUnavailable: the store does not take it; what is left is deleted by doing it again.
    """
    for piece in pieces([trace_id + span_id for trace_id, span_id in spans]):
        for table in _BY_SPAN:
            _delete(store, table, "concat(trace_id, span_id) IN {ids:Array(String)}", {"project": project, "ids": piece})
    for piece in pieces(traces):
        _delete(store, "interactions", "trace_id IN {ids:Array(String)}", {"project": project, "ids": piece})


def delete_content(store: Store, project: str, spans: Iterable[tuple[str, str]]) -> None:
    """Delete what spans (trace and span id) brought as content; what log records say of them stays.

    Raises:
        StoreUnavailable: the store does not take it; doing it again is harmless.
    """
    for piece in pieces(sorted({trace_id + span_id for trace_id, span_id in spans})):
        which = "source = 'span' AND concat(trace_id, span_id) IN {ids:Array(String)}"
        _delete(store, "span_content", which, {"project": project, "ids": piece})


def _delete(store: Store, table: str, which: str, parameters: dict[str, Any]) -> None:
    sql = f"ALTER TABLE {parts_of(table)} DELETE WHERE project = {{project:String}} AND {which} SETTINGS mutations_sync = 2"
    store.command(sql, parameters)


def left(store: Store, project: str, user: str, belongs: Belongings) -> int:
    """Rows of that person that are still there: the proof that there are none.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    number = 0
    for table in _NAMED:
        sql = f"SELECT count() AS n FROM {table} WHERE project = {{project:String}} AND user = {{user:String}}"
        number += int(rows_of(store.read(sql, {"project": project, "user": user}))[0]["n"])
    for table in _BY_TRACE:
        sql = f"SELECT count() AS n FROM {table} WHERE project = {{project:String}} AND trace_id IN {{ids:Array(String)}}"
        for piece in pieces(belongs.traces):
            number += int(rows_of(store.read(sql, {"project": project, "ids": piece}))[0]["n"])
    return number

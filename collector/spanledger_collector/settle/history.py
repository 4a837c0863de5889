"""Reading back what settling needs from the store: spans, feedback and the rows written before."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from spanledger_collector.settle.rules import Feedback
from spanledger_collector.store.arrow import rows_from
from spanledger_collector.store.protocol import Store
from spanledger_schema.spans import CALL_FIELDS, INTERACTION_FIELDS, SPAN_FIELDS, CallRow, InteractionRow, SpanRow

Key = tuple[str, str]
"""Project and trace id."""

# Settling never looks at what a span carries besides; leaving the widest column out makes reading back a third cheaper.
_SPAN_COLUMNS: Final = ", ".join("map() AS attributes" if name == "attributes" else name for name, _ in SPAN_FIELDS).replace(
    "map() AS attributes", "CAST(map(), 'Map(String, String)') AS attributes"
)
_FEEDBACK_FIELDS: Final = (
    ("trace_id", "text"),
    ("feedback_id", "text"),
    ("span_id", "text"),
    ("source", "text"),
    ("name", "text"),
    ("positive", "i8"),
)


@dataclass(slots=True)
class History:
    """What the store holds of one trace."""

    rows: dict[str, SpanRow] = field(default_factory=dict)
    feedback: dict[str, Feedback] = field(default_factory=dict)
    interactions: dict[str, InteractionRow] = field(default_factory=dict)
    calls: dict[str, CallRow] = field(default_factory=dict)


def keep_best(rows: dict[str, SpanRow], row: SpanRow) -> bool:
    """Keep the highest version of each span id; the digest in the version makes ties equal copies.

    Returns:
        Whether `row` is new or better.
    """
    known = rows.get(row.span_id)
    if known is not None and known.version >= row.version:
        return False
    rows[row.span_id] = row
    return True


def read_history(store: Store, keys: Iterable[Key]) -> dict[Key, History]:
    """Everything that the store holds of some traces.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    found: dict[Key, History] = {}
    by_project: dict[str, list[str]] = {}
    for project, trace_id in keys:
        by_project.setdefault(project, []).append(trace_id)
        found[project, trace_id] = History()
    for project, trace_ids in by_project.items():
        _read_project(store, project, trace_ids, found)
    return found


def _read_project(store: Store, project: str, trace_ids: Sequence[str], found: dict[Key, History]) -> None:
    parameters = {"project": project, "traces": list(trace_ids)}
    which = "FINAL WHERE project = {project:String} AND trace_id IN {traces:Array(String)}"
    for row in rows_from(store.read(f"SELECT {_SPAN_COLUMNS} FROM spans {which}", parameters), SPAN_FIELDS, SpanRow._make):
        # FINAL works within a day; a span sent with two starts has a row in each.
        keep_best(found[project, row.trace_id].rows, row)
    columns = ", ".join(name for name, _ in INTERACTION_FIELDS)
    answer = store.read(f"SELECT {columns} FROM interactions {which}", parameters)
    for interaction in rows_from(answer, INTERACTION_FIELDS, InteractionRow._make):
        found[project, interaction.trace_id].interactions[interaction.interaction_id] = interaction
    columns = ", ".join(name for name, _ in CALL_FIELDS)
    for call in rows_from(store.read(f"SELECT {columns} FROM calls {which}", parameters), CALL_FIELDS, CallRow._make):
        found[project, call.trace_id].calls[call.span_id] = call
    columns = ", ".join(name for name, _ in _FEEDBACK_FIELDS)
    for trace_id, *rest in rows_from(store.read(f"SELECT {columns} FROM feedback {which}", parameters), _FEEDBACK_FIELDS, tuple):
        judgement = Feedback._make(rest)
        found[project, trace_id].feedback[judgement.feedback_id] = judgement

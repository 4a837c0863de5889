"""One interaction in full: its steps with usage, price and verdict, its conversation, its feedback."""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from spanledger_collector.errors import NotFound
from spanledger_collector.query.interactions import iso, show, trace_of, usd
from spanledger_collector.query.messages import first_text, structure, to_documents, to_messages
from spanledger_collector.settle.rules import Settled, settle
from spanledger_collector.settle.tree import ELSEWHERE, NOT_BILLED
from spanledger_collector.store.arrow import rows_from
from spanledger_collector.store.ledger import read_notes, read_settled
from spanledger_collector.store.protocol import Store, rows_of
from spanledger_schema.content import is_label
from spanledger_schema.spans import CONTENT_FIELDS, SPAN_FIELDS, CallRow, Feedback, InteractionRow, SpanRow

_SPAN_COLUMNS: Final = ", ".join(name for name, _ in SPAN_FIELDS)
_CONTENT_COLUMNS: Final = ", ".join(name for name, _ in CONTENT_FIELDS)


def read_interaction(store: Store, project: str, identity: str) -> dict[str, Any]:
    """An interaction as the API shows it.

    Args:
        store: Where it is.
        project: Whose it is.
        identity: An interaction id, or a trace id.

    Raises:
        NotFound: the project has no such interaction.
    """
    trace_id = trace_of(identity)
    which = "FINAL WHERE project = {project:String} AND trace_id = {trace:String}"
    parameters = {"project": project, "trace": trace_id}
    best: dict[str, SpanRow] = {}
    for row in rows_from(store.read(f"SELECT {_SPAN_COLUMNS} FROM spans {which}", parameters), SPAN_FIELDS, SpanRow._make):
        if row.span_id not in best or best[row.span_id].version < row.version:
            best[row.span_id] = row
    for note in read_notes(store, project, [trace_id]):
        if note.span_id in best:
            best[note.span_id] = note.add_to(best[note.span_id])
    if not best:
        raise NotFound("This project has no such interaction; it may be of another project, or older than the retention.")
    judgements = rows_of(store.read(f"SELECT * FROM feedback {which} ORDER BY created_at", parameters))
    facts = [
        Feedback(item["feedback_id"], item["span_id"], item["source"], item["name"], item["positive"]) for item in judgements
    ]
    settled = _settled(store, project, best, facts)
    interaction = _choose(settled.interactions, identity, trace_id)
    own = members(best, interaction, settled.interactions)
    calls = {call.span_id: call for call in settled.calls}
    contents = _contents(store.read(f"SELECT {_CONTENT_COLUMNS} FROM span_content {which}", parameters), own)
    spans = [_step(row, calls.get(row.span_id), settled.verdicts, interaction) for row in _ordered(own)]
    asked = sorted(spans, key=lambda span: span["kind"] not in ("interaction", "model"))
    preview = next(
        (words for span in asked if (words := first_text(contents.get(span["span_id"], {}).get("input", []), "user"))), None
    )
    return {
        "interaction": show(interaction, preview),
        "spans": spans,
        "content": contents,
        "feedback": [_judgement(item) for item in judgements if not item["span_id"] or item["span_id"] in own],
    }


def without_content(detail: dict[str, Any]) -> dict[str, Any]:
    """An interaction without anything that people and models wrote: numbers, names and verdicts only."""
    return {
        "interaction": {**detail["interaction"], "preview": None},
        "spans": [
            {**span, "status_message": None, "attributes": {}, "signals": _labels(span["signals"])} for span in detail["spans"]
        ],
        "content": {},
        "feedback": [{**item, "comment": None, "value": _labels(item)["value"]} for item in detail["feedback"]],
    }


def _labels(values: dict[str, Any]) -> dict[str, Any]:
    """Values without those texts that are more than a label, as a reason in somebody's words is."""
    return {key: None if isinstance(value, str) and not is_label(value) else value for key, value in values.items()}


def _settled(store: Store, project: str, best: dict[str, SpanRow], feedback: list[Feedback]) -> Settled:
    """The trace as it is counted; what came a moment ago and is not counted yet, as it will be but for twins in other traces."""
    now = settle(best.values(), feedback)
    trace_id = next(iter(best.values())).trace_id
    interactions, calls = read_settled(store, project, [trace_id])
    if not interactions or max(row.settled_through for row in interactions) < max(row.received_at for row in best.values()):
        return now
    counted = {call.span_id for call in calls}
    lost = {call.span_id: ELSEWHERE for call in now.calls if call.span_id not in counted}
    return Settled(interactions, calls, now.verdicts | lost)


def _choose(interactions: list[InteractionRow], identity: str, trace_id: str) -> InteractionRow:
    by_id = {row.interaction_id: row for row in interactions}
    if identity in by_id:
        return by_id[identity]
    if identity != trace_id:
        raise NotFound("This project has no such interaction in that trace.")
    return min(interactions, key=lambda row: (row.start_time, row.interaction_id))


def members(best: dict[str, SpanRow], interaction: InteractionRow, all_of_trace: list[InteractionRow]) -> dict[str, SpanRow]:
    """The spans of one interaction: a mark's subtree, or what lies outside all marks."""
    marks = {row.root_span_id for row in all_of_trace if row.interaction_id != row.trace_id}
    if not marks:
        return best
    owner: dict[str, str] = {}

    def find(span_id: str) -> str:
        """The outermost mark above a span or on it, empty where there is none."""
        path: list[str] = []
        current = span_id
        while current in best and current not in path and current not in owner:
            path.append(current)
            current = best[current].parent_span_id
        above = owner.get(current, "")
        for item in reversed(path):
            above = above or (item if item in marks else "")
            owner[item] = above
        return owner[span_id]

    wanted = interaction.root_span_id if interaction.interaction_id != interaction.trace_id else ""
    return {span_id: row for span_id, row in best.items() if find(span_id) == wanted}


def _ordered(rows: dict[str, SpanRow]) -> list[SpanRow]:
    """Parents before children, siblings by their start."""
    children: dict[str, list[SpanRow]] = {}
    for row in sorted(rows.values(), key=lambda row: (row.start_time, row.span_id)):
        parent = row.parent_span_id if row.parent_span_id in rows and row.parent_span_id != row.span_id else ""
        children.setdefault(parent, []).append(row)
    ordered: list[SpanRow] = []
    seen: set[str] = set()
    stack = list(reversed(children.get("", [])))
    rest = iter(sorted(rows.values(), key=lambda row: (row.start_time, row.span_id)))
    while len(ordered) < len(rows):
        row = stack.pop() if stack else next(rest)
        if row.span_id not in seen:
            seen.add(row.span_id)
            ordered.append(row)
            stack.extend(reversed(children.get(row.span_id, [])))
    return ordered


def _step(row: SpanRow, call: CallRow | None, verdicts: dict[str, str], interaction: InteractionRow) -> dict[str, Any]:
    verdict = verdicts.get(row.span_id, "")
    explains = verdict in NOT_BILLED and (row.input_tokens is not None or row.kind in ("model", "embedding", "rerank"))
    return {
        "span_id": row.span_id,
        "parent_span_id": row.parent_span_id or None,
        "name": row.name,
        "kind": row.kind,
        "start": iso(row.start_time),
        "offset_s": (row.start_time - interaction.start_time) / 1e9,
        "duration_s": row.duration_ns / 1e9,
        "status": ("unset", "ok", "error")[row.status_code] if row.status_code in (0, 1, 2) else "unset",
        "status_message": row.status_message or None,
        "error_type": row.error_type or None,
        "error_class": row.error_class or None,
        "http_status": row.http_status or None,
        "provider": row.provider or None,
        "model": row.response_model or row.request_model or None,
        "request_model": row.request_model or None,
        "operation": row.operation or None,
        "finish_reason": row.finish_reason or None,
        "response_id": row.response_id or None,
        "ttft_s": None if row.ttft_ns is None else row.ttft_ns / 1e9,
        "usage": {
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "cache_read_tokens": row.cache_read_tokens,
            "cache_write_tokens": row.cache_write_tokens,
            "reasoning_tokens": row.reasoning_tokens,
        },
        "usage_quality": row.usage_quality or None,
        "cost_usd": usd(call.cost_usd) if call else None,
        "cost": {
            "input": usd(call.cost_input_usd) if call else None,
            "cache_read": usd(call.cost_cache_read_usd) if call else None,
            "cache_write": usd(call.cost_cache_write_usd) if call else None,
            "output": usd(call.cost_output_usd) if call else None,
            "other": usd(call.cost_other_usd) if call else None,
        },
        "cost_status": call.cost_status if call else None,
        "cost_source": (call.cost_source or None) if call else None,
        "processing": (call.processing or None) if call else None,
        "price_version": (call.price_version or None) if call else None,
        "unpriced_reason": (call.unpriced_reason or None) if call else None,
        "not_billed_reason": NOT_BILLED[verdict] if explains else None,
        "is_retry": bool(call and call.is_retry),
        "is_fallback": bool(call and call.is_fallback),
        "signals": row.signals,
        "attributes": row.attributes,
        "dialect": row.dialect or None,
        "scope": row.scope or None,
    }


def _contents(answer: Any, members: Iterable[str]) -> dict[str, dict[str, Any]]:
    contents: dict[str, dict[str, Any]] = {}
    wanted = set(members)
    for row in sorted(rows_of(answer), key=lambda row: (row["source"] != "span", row["version"])):
        if row["span_id"] not in wanted:
            continue
        entry = contents.setdefault(
            row["span_id"], {"input": [], "output": [], "tools": [], "documents": [], "raw": {"input": "", "output": ""}}
        )
        entry["input"] = entry["input"] or to_messages(row["input"], "user")
        entry["output"] = entry["output"] or to_messages(row["output"], "assistant")
        if row["reasoning"]:
            entry["output"] = [
                {"role": "assistant", "parts": [{"type": "reasoning", "text": row["reasoning"]}]},
                *entry["output"],
            ]
        entry["tools"] = entry["tools"] or _tools(row["tools"])
        entry["documents"] = entry["documents"] or to_documents(row["documents"])
        entry["raw"]["input"] = entry["raw"]["input"] or row["input"]
        entry["raw"]["output"] = entry["raw"]["output"] or row["output"]
    return contents


def _tools(raw: str) -> list[Any]:
    if not raw:
        return []
    value = structure(raw)
    if value is None:
        return [raw]
    return value if isinstance(value, list) else [value]


def _judgement(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": item["feedback_id"],
        "name": item["name"],
        "source": item["source"],
        "value": orjson.loads(item["value"]),
        "positive": None if item["positive"] < 0 else item["positive"] == 1,
        "score": item["score"],
        "comment": item["comment"] or None,
        "user": item["user"] or None,
        "time": item["created_at"].isoformat().replace("+00:00", "Z"),
        "span_id": item["span_id"] or None,
    }

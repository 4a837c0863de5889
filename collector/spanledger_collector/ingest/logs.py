"""What log records say of spans, joined by trace and span id: content, evaluations, users and finish reasons. Pure.

Content has two forms: one record per message (`gen_ai.user.message`, `gen_ai.choice`, …, conventions up to 1.36), and one
record with all (`gen_ai.client.inference.operation.details`). Usage on such copies is never counted: only content is read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from spanledger_collector.ingest.classify import finish_reason
from spanledger_collector.ingest.decoded import LogRecord
from spanledger_collector.ingest.dialects.facts import as_list, as_mapping, first_text, text, to_json
from spanledger_collector.ingest.evaluations import EVENT as EVALUATION
from spanledger_collector.ingest.evaluations import from_event
from spanledger_collector.ingest.judgements import Judgement
from spanledger_collector.store import arrow
from spanledger_collector.store.ledger import Note
from spanledger_schema import semconv
from spanledger_schema.spans import ContentRow

DETAILS: Final = "gen_ai.client.inference.operation.details"
_TEXT_CHARS_MAX: Final = 512
_PAST_NS_MAX: Final = 396 * 86_400_000_000_000
_ROLES: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


@dataclass(slots=True)
class LogParcel:
    """What the log records of a request say of spans.

    `denied` of them a data rule refused; `body` is OTLP/JSON of what the rules left, None where there are none.
    """

    count: int
    content: pa.Table | None
    notes: list[Note]
    judgements: list[Judgement]
    denied: int = 0
    body: bytes | None = None


def log_parcel(records: Sequence[LogRecord], project: str, received_at: int) -> LogParcel:
    """Sort out a request's records: content, evaluations, and what they note of their spans."""
    judgements = [
        found
        for record in records
        if record.event == EVALUATION
        and (found := from_event(record.attributes, project, record.trace_id, record.span_id, record.time_ns or received_at))
    ]
    return LogParcel(len(records), _content(records, project), _notes(records, received_at), judgements)


def _notes(records: Iterable[LogRecord], received_at: int) -> list[Note]:
    noted: dict[tuple[str, str], Note] = {}
    for record in records:
        user = text(record.attributes.get(semconv.USER_ID))[:_TEXT_CHARS_MAX]
        session = first_text(record.attributes, (semconv.SESSION_ID, semconv.CONVERSATION_ID))[:_TEXT_CHARS_MAX]
        reason = ""
        if record.event == "gen_ai.choice":
            reason = text(as_mapping(record.body).get("finish_reason"))[:_TEXT_CHARS_MAX]
        if not user and not session and not reason:
            continue
        key = record.trace_id, record.span_id
        known = noted.get(key)
        time_ns = record.time_ns if 0 < received_at - record.time_ns < _PAST_NS_MAX else received_at
        note = Note(*key, time_ns, user, session, finish_reason(reason) if reason else "", reason)
        noted[key] = note.join(known)
    return list(noted.values())


def _content(records: Iterable[LogRecord], project: str) -> pa.Table | None:
    by_span: dict[tuple[str, str], list[LogRecord]] = {}
    for record in records:
        if record.event in _ROLES or record.event in ("gen_ai.choice", DETAILS):
            by_span.setdefault((record.trace_id, record.span_id), []).append(record)
    rows = [row for key, group in by_span.items() if (row := _row(project, *key, group)) is not None]
    return arrow.content_table(rows) if rows else None


def _row(project: str, trace_id: str, span_id: str, records: list[LogRecord]) -> ContentRow | None:
    given: list[Any] = []
    produced: list[Any] = []
    tools = ""
    # Records of one span may share a time, so their order in the request decides between them.
    for record in sorted(records, key=lambda record: record.time_ns):
        # Python's logging makes text of a structured body.
        body = as_mapping(record.body) or {"content": record.body}
        if record.event == DETAILS:
            instructions = record.attributes.get(semconv.SYSTEM_INSTRUCTIONS)
            if instructions is not None:
                given.append(
                    {"role": "system", "parts": as_list(instructions) or [{"type": "text", "content": text(instructions)}]}
                )
            given += as_list(record.attributes.get(semconv.INPUT_MESSAGES))
            produced += as_list(record.attributes.get(semconv.OUTPUT_MESSAGES))
            definitions = record.attributes.get(semconv.TOOL_DEFINITIONS)
            tools = to_json(definitions) if definitions is not None else tools
        elif record.event == "gen_ai.choice":
            message = body.get("message")
            produced.append({"role": "assistant", **(message if isinstance(message, dict) else body)})
        elif body.get("content") is not None or body.get("tool_calls") is not None:
            given.append({"role": _ROLES[record.event], **body})
    if not given and not produced and not tools:
        return None
    start = min(record.time_ns for record in records)
    version = max(record.time_ns for record in records)
    output = to_json(produced) if produced else ""
    return project, trace_id, span_id, "log", start, to_json(given) if given else "", output, "", tools, "", version

"""Content that comes in log records, joined to its span by trace and span id. Pure.

Two forms: one record per message (`gen_ai.user.message`, `gen_ai.choice`, …, conventions up to 1.36), and one record with all
(`gen_ai.client.inference.operation.details`). Usage on such copies is never counted: only content is read.
"""

from collections.abc import Iterable
from typing import Any, Final

import pyarrow as pa

from spanledger_collector.ingest.decoded import LogRecord
from spanledger_collector.ingest.dialects.facts import as_list, text, to_json
from spanledger_collector.ingest.normalize import ContentRow
from spanledger_collector.store import arrow
from spanledger_schema import semconv

DETAILS: Final = "gen_ai.client.inference.operation.details"
_ROLES: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


def content_parcel(records: Iterable[LogRecord], project: str) -> pa.Table | None:
    """The content rows (source `log`) of a request's records, or None when none carries content."""
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
        body = record.body if isinstance(record.body, dict) else {"content": record.body}
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

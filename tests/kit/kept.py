"""Data rules in tests: make them, send log records, and look for words in whatever was kept."""

import os
import time
from pathlib import Path
from typing import Any

from live import LiveCollector, engine_folder
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otlp_kit import any_value, attributes, span_hex, trace_hex

from spanledger_collector.store.protocol import rows_of


def rule(live: LiveCollector, project: str, *rules: dict[str, Any]) -> None:
    answer = live.http.put(f"/api/v1/projects/{project}/data-rules", json={"rules": list(rules)})
    assert answer.status_code == 200, answer.text


def everything_kept(live: LiveCollector) -> str:
    """Every row of every table, and every file of the data folder in which text stands in the clear."""
    store = live.parts.store
    names = [row["name"] for row in rows_of(store.read("SELECT name FROM system.tables WHERE database = currentDatabase()"))]
    kept = [str(store.read(f"SELECT * FROM {name}").to_pylist()) for name in names]
    for root, _, files in os.walk(engine_folder()):
        for name in files:
            try:
                kept.append((Path(root) / name).read_bytes().decode("latin-1"))
            except OSError:
                continue
    return "\n".join(kept)


def log_request(said: str, data_class: str | None, trace: int = 1, resource: dict[str, Any] | None = None) -> bytes:
    message = ExportLogsServiceRequest()
    outer = message.resource_logs.add()
    outer.resource.attributes.extend(attributes(resource or {}))
    scope = outer.scope_logs.add()
    for event, body, given in (
        ("gen_ai.user.message", {"content": said}, {}),
        ("gen_ai.choice", {"finish_reason": "stop", "message": {"content": said}}, {}),
        (
            "gen_ai.evaluation.result",
            None,
            {
                "gen_ai.evaluation.name": "quality",
                "gen_ai.evaluation.score.value": 0.9,
                "gen_ai.evaluation.explanation": said,
            },
        ),
    ):
        record = scope.log_records.add(event_name=event, time_unix_nano=time.time_ns())
        record.trace_id, record.span_id = bytes.fromhex(trace_hex(trace)), bytes.fromhex(span_hex(1))
        record.attributes.extend(attributes({**given, **({"spanledger.data_class": data_class} if data_class else {})}))
        if body is not None:
            record.body.CopyFrom(any_value(body))
    return message.SerializeToString()

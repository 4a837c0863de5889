"""Recorded payloads with what their providers really sent, and what a payload holds at all. Never our own reading of it."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
_NUMBER = re.compile(r"\d+")
_FINISH = {
    "stop": "stop",
    "end_turn": "stop",
    "completed": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "refusal",
}


@dataclass(frozen=True)
class Payload:
    """One scenario of one instrumentor: its bytes and its truth."""

    instrumentor: str
    scenario: str
    traces: bytes
    logs: bytes
    truth: dict[str, Any]

    @cached_property
    def trace_ids(self) -> tuple[str, ...]:
        """All traces of the payload, in order of their first span."""
        starts: dict[str, int] = {}
        for span in self._spans():
            trace_id = span.trace_id.hex()
            starts[trace_id] = min(starts.get(trace_id, span.start_time_unix_nano), span.start_time_unix_nano)
        return tuple(sorted(starts, key=lambda trace_id: starts[trace_id]))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Every text that stands anywhere in the payload, also inside JSON and Python literals."""
        found: list[str] = []
        for value in self._values():
            _collect(value, found, 0)
        return tuple(found)

    @cached_property
    def numbers(self) -> frozenset[int]:
        """Every number that stands anywhere."""
        return frozenset(int(digits) for word in self.words for digits in _NUMBER.findall(word) if len(digits) < 12)

    @property
    def is_plain(self) -> bool:
        """Neither failed nor aborted, by the truth."""
        return not self.truth["is_error"] and not self.truth["stream_aborted_by_client"]

    @property
    def has_counts(self) -> bool:
        """Whether the true input and output counts of every call stand somewhere in the payload."""
        if not self.truth["usage_sent_by_provider"]:
            return False
        return all(self._holds(call, "input_tokens_total") and self._holds(call, "output_tokens_total") for call in self.calls)

    @property
    def has_five_counts(self) -> bool:
        """Whether the parts of the true counts stand somewhere too."""
        parts = ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
        return self.has_counts and all((call[key] or 0) in (0, *self.numbers) for call in self.calls for key in parts)

    @property
    def has_finish(self) -> bool:
        """Whether the last finish reason stands somewhere, in the provider's word or in one that means the same."""
        words = {word.strip('"').rpartition(".")[2].lower().replace("-", "_") for word in self.words if len(word) < 40}
        return any(_FINISH.get(word, "") == self.finish for word in words | {word.rstrip("s") for word in words})

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls that the provider answered."""
        return [call for call in self.truth["calls"] if call.get("usage_sent")]

    def holds(self, words: str | None) -> bool:
        """Whether a text stands somewhere in the payload."""
        return bool(words) and any(words in word for word in self.words)

    def counts(self) -> dict[str, int]:
        """The true totals under the names of the measures; what the provider did not state is left out."""
        truth = self.truth
        pairs = zip(
            COUNTS, (truth["input_tokens_total"], truth["output_tokens_total"], *(truth[key] for key in COUNTS[2:])), strict=True
        )
        return {name: number for name, number in pairs if number is not None}

    @property
    def finish(self) -> str | None:
        """The provider's last word in canonical terms."""
        word = self.truth["finish_reason"]
        return None if word is None else _FINISH.get(word.lower(), word.lower())

    @property
    def error_class(self) -> str | None:
        """What went wrong, as the provider or the client's clock had it."""
        error = self.truth["error"]
        if not error:
            return None
        if error["kind"] == "timeout":
            return "timeout"
        return "rate_limited" if error["http_status"] == 429 else "provider_error"

    def _holds(self, call: dict[str, Any], key: str) -> bool:
        if call[key] in (None, 0) or call[key] in self.numbers:
            return True
        native = call.get("native_usage") or {}
        name = "input_tokens" if key.startswith("input") else "candidatesTokenCount"
        return native.get(name) in self.numbers

    def _spans(self) -> Iterator[Any]:
        for resource in ExportTraceServiceRequest.FromString(self.traces).resource_spans:
            for scope in resource.scope_spans:
                yield from scope.spans

    def _values(self) -> Iterator[Any]:
        for span in self._spans():
            yield span.status.message
            for pair in span.attributes:
                yield _plain(pair.value)
            for event in span.events:
                for pair in event.attributes:
                    yield _plain(pair.value)
        for resource in ExportLogsServiceRequest.FromString(self.logs).resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    yield _plain(record.body)
                    for pair in record.attributes:
                        yield _plain(pair.value)


def read_payloads(folder: Path) -> list[Payload]:
    """All payloads of a folder that left a span, by instrumentor and scenario."""
    found = []
    for file in sorted(folder.glob("*/*.json")):
        traces = file.with_suffix(".pb")
        if file.name.startswith("_") or not traces.exists():
            continue
        logs = file.with_suffix(".logs.pb")
        body = traces.read_bytes()
        if body:
            truth = json.loads(file.read_text())
            found.append(Payload(file.parent.name, file.stem, body, logs.read_bytes() if logs.exists() else b"", truth))
    return found


def _plain(value: AnyValue) -> Any:
    which = value.WhichOneof("value")
    if which == "array_value":
        return [_plain(item) for item in value.array_value.values]
    if which == "kvlist_value":
        return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, which) if which else None


def _collect(value: Any, found: list[str], depth: int) -> None:
    if isinstance(value, dict):
        for item in value.values():
            _collect(item, found, depth)
    elif isinstance(value, list | tuple):
        for item in value:
            _collect(item, found, depth)
    elif isinstance(value, str):
        found.append(value)
        if depth < 4 and value[:1] in ("{", "[", '"'):
            _collect(_structure(value), found, depth + 1)
    elif value is not None:
        found.append(str(value))


def _structure(words: str) -> Any:
    try:
        return json.loads(words)
    except ValueError:
        pass
    try:
        return ast.literal_eval(words)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None

"""What decoding a request yields, whichever encoding it came in. Dictionaries may be shared between spans: read-only."""

from dataclasses import dataclass, field
from typing import Any

Attributes = dict[str, Any]


class DecodedSpan:
    """One span off the wire. Times are nanoseconds since 1970; ids lower-case hex; `raw_size` is a digest input."""

    __slots__ = (
        "attributes",
        "digest",
        "end_ns",
        "events",
        "name",
        "otel_kind",
        "parent_span_id",
        "span_id",
        "start_ns",
        "status_code",
        "status_message",
        "trace_id",
    )

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    otel_kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    events: "list[tuple[str, int, Attributes]]"
    status_code: int
    status_message: str
    digest: int


@dataclass(slots=True)
class ScopeSpans:
    """Spans of one instrumentation scope of one resource."""

    resource: Attributes
    scope: str
    scope_version: str
    spans: list[DecodedSpan]


@dataclass(slots=True)
class Decoded:
    """What a request holds, and how many spans were refused for which reason."""

    groups: list[ScopeSpans] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Accepted spans."""
        return sum(len(group.spans) for group in self.groups)

    def reject(self, reason: str) -> None:
        """Count a refused span."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1


@dataclass(slots=True)
class LogRecord:
    """One log record that belongs to a span."""

    trace_id: str
    span_id: str
    time_ns: int
    event: str
    body: Any
    attributes: Attributes
    resource: Attributes = field(default_factory=dict)

"""For tests of programs that use Spanledger: see what was recorded, with the same ids and times in every run.

In pytest, import the fixture and use it; nothing leaves the process:

    from spanledger.testing import captured_spans

    def test_an_answer_is_recorded(captured_spans):
        answer("Where is my parcel?")
        generation = captured_spans.one("chat gpt-4o")
        assert generation.attributes["gen_ai.usage.input_tokens"] == 812
        assert generation.parent == captured_spans.one("answer")
        assert captured_spans.feedback == []

Anywhere else `with capture() as captured:` does the same. Each reading of the clock is one second after the one before,
trace and span ids count up from 1. Instrumentations of other makers take part if they are given `captured.tracer_provider`.

`use_clock(ManualClock(start))` alone makes the SDK record at any time you like, with real delivery: the spans and feedback of
a past day carry that day's times.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from spanledger import _runtime
from spanledger._clock import ManualClock, use_clock, use_ids
from spanledger._config import Capture, resolve_config
from spanledger._counters import COUNTERS
from spanledger._encode import FeedbackItem

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""What the clock of `capture` shows first."""

__all__ = ["START", "Captured", "CapturedSpan", "ManualClock", "capture", "captured_spans", "use_clock"]


@dataclass(frozen=True, slots=True)
class CapturedSpan:
    """An ended span.

    Attributes:
        name: Its name.
        kind: `INTERNAL`, `CLIENT` and so on.
        attributes: Its attributes.
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_id: The parent's `span_id`, or None.
        parent: The parent, if it ended too by the time that was asked.
        start_ns: Nanoseconds since 1970.
        end_ns: Nanoseconds since 1970.
        status: `UNSET`, `OK` or `ERROR`.
        status_message: What the status says, or None.
        events: Names and attributes of events.
        scope: Name of the instrumentation that made it; `spanledger` for our own.
    """

    name: str
    kind: str
    attributes: dict[str, Any]
    trace_id: str
    span_id: str
    parent_id: str | None
    parent: "CapturedSpan | None" = field(repr=False)
    start_ns: int
    end_ns: int
    status: str
    status_message: str | None
    events: list[tuple[str, dict[str, Any]]]
    scope: str

    @property
    def duration_s(self) -> float:
        """From start to end."""
        return (self.end_ns - self.start_ns) / 1e9


class Captured:
    """What was recorded while capturing."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        """Set or advance it to record at other times."""
        self.tracer_provider = TracerProvider(
            sampler=ALWAYS_ON,
            id_generator=_CountingIds(),
            span_limits=SpanLimits(max_span_attributes=512),
            shutdown_on_exit=False,
        )
        self._delivery = _Memory()

    @property
    def spans(self) -> list[CapturedSpan]:
        """Ended spans, in the order in which they ended."""
        ended = list(self._delivery.spans)
        by_id = {_ids(span): span for span in ended}
        seen: dict[tuple[str, str], CapturedSpan] = {}
        return [_captured(span, by_id, seen) for span in ended]

    @property
    def feedback(self) -> list[dict[str, Any]]:
        """Judgements, as they would be sent."""
        return [dict(item) for item in self._delivery.feedback]

    def named(self, name: str) -> list[CapturedSpan]:
        """The ended spans of that name."""
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> CapturedSpan:
        """The one ended span of that name.

        Raises:
            AssertionError: if there is none or there are several; says which spans there are.
        """
        found = self.named(name)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} spans are named {name!r}; ended are {[s.name for s in self.spans]}")
        return found[0]

    def clear(self) -> None:
        """Forget what was recorded so far."""
        self._delivery.spans.clear()
        self._delivery.feedback.clear()


@contextmanager
def capture(
    *, mode: Capture = "full", clock: ManualClock | None = None, tracer_provider: TracerProvider | None = None
) -> Iterator[Captured]:
    """Record into memory inside the block; what `init` set up before is back after it.

    Args:
        mode: The capture mode, as in `spanledger.init`.
        clock: Default: one that starts at `START` and ticks a second at each reading.
        tracer_provider: Take part in this provider instead of a fresh one with counting ids.
    """
    captured = Captured(clock or ManualClock(START, tick_s=1.0))
    if tracer_provider is not None:
        captured.tracer_provider = tracer_provider
    config = resolve_config(
        app="test",
        endpoint="http://127.0.0.1:1",
        api_key=None,
        project=None,
        environment=None,
        release=None,
        capture=mode,
        enabled=True,
        instrument=False,
        spool=False,
    )
    with (
        use_clock(captured.clock),
        use_ids(_counting_feedback_ids()),
        _runtime.replaced(config, captured.tracer_provider, captured._delivery),
    ):
        yield captured


class _CountingIds(IdGenerator):
    def __init__(self) -> None:
        self._trace = 0
        self._span = 0

    def generate_span_id(self) -> int:
        self._span += 1
        return self._span

    def generate_trace_id(self) -> int:
        self._trace += 1
        return self._trace

    def is_trace_id_random(self) -> bool:
        return False


def _counting_feedback_ids() -> Any:
    count = iter(range(1, 1 << 62))
    return lambda: f"feedback-{next(count)}"


class _Memory:
    """A delivery that keeps everything."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.feedback: list[FeedbackItem] = []
        self._lock = threading.Lock()

    def put(self, span: ReadableSpan) -> None:
        with self._lock:
            self.spans.append(span)
            COUNTERS.spans.accept()
            COUNTERS.spans.send(1)

    def put_feedback(self, item: FeedbackItem) -> None:
        with self._lock:
            self.feedback.append(item)
            COUNTERS.feedback.accept()
            COUNTERS.feedback.send(1)

    def flush(self, timeout_s: float) -> bool:  # noqa: ARG002 - the protocol's
        return True

    def retire(self, timeout_s: float) -> None:  # noqa: ARG002 - the protocol's
        return None

    def close(self, timeout_s: float) -> bool:  # noqa: ARG002 - the protocol's
        return True

    def reset_after_fork(self) -> None:
        self._lock = threading.Lock()


def _ids(span: ReadableSpan) -> tuple[str, str]:
    context = span.get_span_context()
    return (f"{context.trace_id:032x}", f"{context.span_id:016x}") if context is not None else ("", "")


def _captured(
    span: ReadableSpan, by_id: dict[tuple[str, str], ReadableSpan], seen: dict[tuple[str, str], CapturedSpan]
) -> CapturedSpan:
    trace_id, span_id = key = _ids(span)
    if key in seen:
        return seen[key]
    parent_id = f"{span.parent.span_id:016x}" if span.parent is not None else None
    parent = by_id.get((trace_id, parent_id)) if parent_id is not None else None
    scope = span.instrumentation_scope
    seen[key] = CapturedSpan(
        name=span.name,
        kind=span.kind.name,
        attributes=dict(span.attributes or {}),
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent_id,
        parent=_captured(parent, by_id, seen) if parent is not None else None,
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        status=span.status.status_code.name,
        status_message=span.status.description,
        events=[(event.name, dict(event.attributes or {})) for event in span.events],
        scope=scope.name if scope is not None else "",
    )
    return seen[key]


try:
    import pytest
except ImportError:  # Only the fixture needs it.
    pass
else:

    @pytest.fixture(name="captured_spans")
    def captured_spans() -> Iterator[Captured]:
        """What is recorded during the test, with counting ids and a ticking clock."""
        with capture() as captured:
            yield captured

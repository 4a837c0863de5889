"""What happens to every span of ours: started, made current, filled, ended, whatever the host does meanwhile.

A handle made while Spanledger is off does nothing. A signal that comes after the end is counted, not recorded.
"""

import traceback
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from opentelemetry.context import get_current
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode

from spanledger import _clock, _runtime
from spanledger._attributes import Attributes, error_type, http_status, key_part, put_probability
from spanledger._context import Frame, Inherited, current_frame
from spanledger._counters import COUNTERS
from spanledger._guard import Guard, survive
from spanledger._runtime import State
from spanledger._values import to_text
from spanledger_schema import semconv

_STACK_CHARS_MAX: Final = 16_384
SIGNAL: Final = Guard("signal")
# The consumer stopped early or the program ends as it wishes: nothing failed.
_NO_FAILURES: Final = (GeneratorExit, SystemExit)


class SpanHandle(Frame):
    """A span as a `with` block. Usable from any thread while it is open; not to be entered twice."""

    kind: ClassVar[SpanKind] = SpanKind.INTERNAL
    _state: State | None = None
    _span: Span = INVALID_SPAN
    _started_ns = 0

    def __enter__(self) -> Self:
        state = _runtime.state
        if state is not None and self._state is None:
            try:
                self._open(state)
            except Exception as failure:  # noqa: BLE001 - the wall, see _guard
                survive("span start", failure)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._state is None:
            return
        try:
            self.submerge()
        except Exception as failure:  # noqa: BLE001 - the wall, see _guard
            survive("span end", failure)
        try:
            self.end(error)
        except Exception as failure:  # noqa: BLE001 - the wall, see _guard
            survive("span end", failure)

    def enter(self) -> None:
        """Make the span current in this thread or task (again, after `leave`)."""
        if self._state is not None:
            self.surface(self._span, get_current())

    def leave(self) -> None:
        """Make the span current no longer; it stays open."""
        if self._state is not None:
            self.submerge()

    def end(self, error: BaseException | None = None) -> None:
        """End the span, as failed if there is an error."""
        state, self._state = self._state, None
        if state is None:
            return
        span = self._span
        try:
            if error is not None and not isinstance(error, _NO_FAILURES):
                _record_error(span, error, state)
        finally:
            span.end(_clock.now_ns())

    def _open(self, state: State) -> None:
        outer = get_current()
        frame = current_frame(outer)
        name, attributes, inherited = self._describe(state, frame.inherited if frame is not None else {})
        self.inherited = inherited
        if inherited:
            attributes = {**inherited, **attributes}
        self._started_ns = started_ns = _clock.now_ns()
        self._span = span = state.tracer.start_span(name, outer, self.kind, attributes, start_time=started_ns)
        self._state = state
        self.surface(span, outer)

    def _describe(self, state: State, inherited: Inherited) -> tuple[str, Attributes, Inherited]:
        """The span's name, its own attributes, and what it and its descendants inherit."""
        raise NotImplementedError

    def _set(self, attributes: Attributes) -> None:
        if attributes:
            self._span.set_attributes(attributes)

    def _live(self) -> State | None:
        """The state to record a signal with, or None; one that comes too late is counted."""
        state = self._state
        if state is None and self._span is not INVALID_SPAN:
            COUNTERS.late_signals += 1
        return state

    def confidence(self, value: float, *, source: str) -> None:
        """Say how sure the answer is.

        Args:
            value: The estimated probability, in [0, 1], that the answer is right. Anything else is counted and left
                out.
            source: How it was estimated, such as `verbalized`, `logprob`, `self_consistency`, `judge`, `classifier`.
                Confidences of different sources are never mixed.
        """
        if self._live() is not None:
            with SIGNAL:
                attributes: Attributes = {}
                put_probability(attributes, source, value)
                self._set(attributes)

    def validation(self, name: str, passed: bool) -> None:
        """Say whether the answer passed a check, such as a schema, a unit test, or a policy."""
        if self._live() is not None:
            with SIGNAL:
                part = key_part(name)
                if part and isinstance(passed, bool):
                    self._set({semconv.VALIDATION_PREFIX + part: passed})
                else:
                    COUNTERS.invalid_values += 1


def _record_error(span: Span, error: BaseException, state: State) -> None:
    if not span.is_recording():
        return
    kind = error_type(error)
    attributes: Attributes = {semconv.ERROR_TYPE: kind}
    status = http_status(error)
    if status is not None:
        attributes[semconv.HTTP_STATUS] = status
    span.set_attributes(attributes)
    event: dict[str, Any] = {"exception.type": kind}
    message = None
    if state.captures_content:
        message = to_text(error, state.text_chars_max)
        event["exception.message"] = message
        event["exception.stacktrace"] = _stack(error)[-min(_STACK_CHARS_MAX, state.content_chars_max) :]
    span.add_event("exception", event, _clock.now_ns())
    span.set_status(Status(StatusCode.ERROR, message))


def _stack(error: BaseException) -> str:
    try:
        return to_text("".join(traceback.format_exception(error, limit=-30)), 10 * _STACK_CHARS_MAX)
    except Exception:  # noqa: BLE001 - formatting runs code of the host's exception
        return ""

"""Which interaction is going on here, and what its descendants inherit; carried in the OpenTelemetry context.

Spans may be left in another order than they were entered (a generator that is paused inside a `with` block), or in
another task or thread than the one that entered them. Neither may log, raise, or leave an ended span current.
"""

import functools
from collections.abc import Callable
from contextvars import Token
from typing import Final, ParamSpec, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context

P = ParamSpec("P")
R = TypeVar("R")
Inherited = dict[str, str]

_FRAME: Final = otel_context.create_key("spanledger-frame")


class Frame:
    """The place of one span in the context. Its fields start as class attributes, which cost nothing to make.

    Attributes:
        inherited: Attributes that spans below it get; shared by all frames of one interaction. Readers copy it first,
            since another thread may tag the interaction meanwhile.
    """

    inherited: Inherited
    _outer: Context
    _outer_frame: "Frame | None" = None
    _context: Context | None = None
    _token: Token[Context] | None = None
    _is_buried = False

    def surface(self, span: trace.Span, outer: Context) -> None:
        """Make `span` the current one of this thread or task, on top of `outer`, its present context."""
        self._outer = outer
        self._outer_frame = outer.get(_FRAME)  # type: ignore[assignment]
        # `copy` makes a plain dictionary, of which the next call makes a Context: one copy less than two `set_value`.
        values = outer.copy()
        values[_FRAME] = self
        self._context = context = trace.set_span_in_context(span, values)  # type: ignore[arg-type]
        self._token = otel_context.attach(context)
        if self._is_buried:
            self._is_buried = False

    def submerge(self) -> None:
        """Make the span current that was so before `surface`; if another is still open on top, when that one is left."""
        token, entered = self._token, self._context
        # The context refers to this frame: a cycle, which would keep the span until the next garbage collection.
        self._token = self._context = None
        if token is None or otel_context.get_current() is not entered:
            self._is_buried = True
            return
        try:
            token.var.reset(token)
        except (ValueError, RuntimeError):
            # Entered in one task or thread and left in another, which has a copy of the context.
            otel_context.attach(self._outer)
        below = self._outer_frame
        if below is not None and below._is_buried:
            otel_context.attach(below.surfaced())

    def surfaced(self) -> Context:
        """The context below this frame and below all frames that were left while another was on top of them."""
        frame = self
        while frame._outer_frame is not None and frame._outer_frame._is_buried:
            frame = frame._outer_frame
        return frame._outer


def current_frame(context: Context | None = None) -> Frame | None:
    """The innermost entered span of `context` (default: the current one)."""
    return otel_context.get_value(_FRAME, context)  # type: ignore[return-value]


def propagate(function: Callable[P, R]) -> Callable[P, R]:
    """Carry the present interaction into another thread.

    asyncio tasks and `asyncio.to_thread` carry it by themselves, pools and `threading.Thread` do not:
    `pool.submit(spanledger.propagate(work), item)`.

    Returns:
        A function that runs `function` as part of the interaction that is going on now; it may run in many threads at
        once.
    """
    context = otel_context.get_current()

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        token = otel_context.attach(context)
        try:
            return function(*args, **kwargs)
        finally:
            token.var.reset(token)

    return run

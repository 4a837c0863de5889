"""Which interaction is going on here, and what its descendants inherit; carried in the OpenTelemetry context.

Spans may be left in another order than they were entered (a generator that is paused inside a `with` block), or in
another task or thread than the one that entered them. Neither may log, raise, or leave an ended span current.
"""

import functools
from collections.abc import Callable
from contextvars import Token
from typing import Final, ParamSpec, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context

P = ParamSpec("P")
R = TypeVar("R")
Inherited = dict[str, str]

_FRAME: Final = otel_context.create_key("spanledger-frame")


class Frame:
    """One entered span.

    Attributes:
        inherited: Attributes that spans below it get; shared by all frames of one interaction. Readers copy it first,
            since another thread may tag the interaction meanwhile.
    """

    __slots__ = ("_context", "_is_buried", "_outer", "_outer_frame", "_token", "inherited")

    def __init__(self, inherited: Inherited) -> None:
        self.inherited = inherited
        self._context: Context | None = None
        self._token: Token[Context] | None = None

    def enter(self, span: trace.Span, outer: Context) -> None:
        """Make `span` the current one of this thread or task, on top of `outer`, its present context."""
        self._is_buried = False
        self._outer = outer
        self._outer_frame: Frame | None = cast(Frame | None, outer.get(_FRAME))
        # `copy` makes a plain dictionary, of which the next call makes a Context: one copy less than two `set_value`.
        values = outer.copy()
        values[_FRAME] = self
        self._context = context = trace.set_span_in_context(span, cast(Context, values))
        self._token = otel_context.attach(context)

    def leave(self) -> None:
        """Make the span current that was so before `enter`; if another is still open on top, when that one is left."""
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
    return cast(Frame | None, otel_context.get_value(_FRAME, context))


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

"""The OpenTelemetry span processor through which every span of the provider reaches Spanledger.

A provider cannot drop a processor once it has it, so the processor stays and its delivery is exchanged.
"""

from typing import Final, Protocol

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from spanledger._context import current_frame
from spanledger._encode import SCOPE, FeedbackItem
from spanledger._guard import Guard, survive

CLOSE_S: Final = 2.0
_START: Final = Guard("span start")


class Delivery(Protocol):
    """Where ended spans and judgements go: `Pipeline`, or a list in tests."""

    def put(self, span: ReadableSpan) -> None:
        """Take an ended span; never waits."""

    def put_feedback(self, item: FeedbackItem) -> None:
        """Take a judgement; never waits."""

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was taken is sent or dropped."""

    def retire(self, timeout_s: float) -> None:
        """Begin to close, without waiting."""

    def close(self, timeout_s: float) -> bool:
        """Close, and send what is left for at most `timeout_s`."""

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child."""


class LedgerProcessor(SpanProcessor):
    """Gives spans of other instrumentations what their interaction says, and hands ended spans to the delivery."""

    def __init__(self) -> None:
        self.delivery: Delivery | None = None

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Our own spans got theirs when they were made."""
        scope = span.instrumentation_scope
        if scope is not None and scope.name == SCOPE:
            return
        with _START:
            frame = current_frame(parent_context)
            if frame is not None and self.delivery is not None:
                inherited = frame.inherited.copy()
                for key in span.attributes or ():
                    inherited.pop(key, None)
                if inherited:
                    span.set_attributes(inherited)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span."""
        delivery = self.delivery
        if delivery is not None:
            try:
                context = span.context
                if context is not None and context.trace_flags & 1:
                    delivery.put(span)
            except Exception as failure:  # noqa: BLE001 - the wall, see _guard
                survive("span end", failure)

    def shutdown(self) -> None:
        """Close the delivery: the provider is shutting down."""
        if self.delivery is not None:
            with Guard("shutdown"):
                self.delivery.close(CLOSE_S)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until what ended so far is sent or dropped."""
        delivery = self.delivery
        return delivery is None or delivery.flush(timeout_millis / 1_000)

"""Delivery: one daemon thread per process that sends queued spans and feedback to the collector.

What it promises: `put` never waits; everything is bounded; what the collector does not take now goes to the spool at once and
is sent from there, with full jitter and honouring Retry-After; where there is no spool a batch is retried for up to
`RETRY_FOR_S`, then dropped; everything is counted. Closing takes at most the time it is given, whatever the collector does. The
thread is started by the first item, so a process that only forks or imports pays nothing.
"""

import contextlib
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from opentelemetry import context as otel_context

from spanledger._answers import FEEDBACK, TRACES, drop_reason
from spanledger._backlog import Backlog
from spanledger._counters import COUNTERS
from spanledger._encode import (
    FeedbackItem,
    count_rejected_spans,
    encode_feedback,
    encode_traces,
    feedback_chars,
    span_chars,
)
from spanledger._guard import Guard, log_rarely
from spanledger._lane import Item, Lane
from spanledger._privacy import Privacy
from spanledger._sender import Answer, Sender
from spanledger._spool import Spool

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

SPANS_MAX: Final = 8_192
SPAN_CHARS_MAX: Final = 64 * 1024 * 1024
BATCH_SPANS_MAX: Final = 512
BATCH_CHARS_MAX: Final = 4 * 1024 * 1024
FEEDBACK_MAX: Final = 2_048
DELAY_S: Final = 1.0
REQUEST_TIMEOUT_S: Final = 10.0
RETRY_FOR_S: Final = 30.0
_BACKOFF_FIRST_S: Final = 0.5
_BACKOFF_MAX_S: Final = 5.0
# A Retry-After beyond this is a mistake.
_WISH_MAX_S: Final = 300.0
# Left over at the end of a close for the batch that has begun, and for the joining thread to wake up and count.
_CLOSE_MARGIN_S: Final = 0.2
_PROBE_S: Final = 2.0
_SPOOL_CLOSE_S: Final = 0.6


class Pipeline:
    """Queues, thread and connection of one configuration."""

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        resource: Mapping[str, str | None],
        privacy: Privacy,
        spool: str | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._resource = resource
        self._privacy = privacy
        self._backlog = None if spool is None else Backlog(Spool(spool, endpoint, headers))
        self._spans: Lane[ReadableSpan] = Lane(
            COUNTERS.spans,
            span_chars,
            items_max=SPANS_MAX,
            chars_max=SPAN_CHARS_MAX,
            batch_items_max=BATCH_SPANS_MAX,
            batch_chars_max=BATCH_CHARS_MAX,
        )
        self._feedback: Lane[FeedbackItem] = Lane(
            COUNTERS.feedback,
            feedback_chars,
            items_max=FEEDBACK_MAX,
            chars_max=BATCH_CHARS_MAX,
            batch_items_max=100,
            batch_chars_max=BATCH_CHARS_MAX // 4,
        )
        self._start_over()

    def _start_over(self) -> None:
        self._sender = Sender(self._endpoint, self._headers)
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.RLock()
        # SimpleQueue.put is re-entrant, unlike Event.set: a span may end inside a signal handler or the garbage
        # collector.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_woken = False
        self._progress = threading.Condition()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._is_away = False
        # How many requests in a row were not answered for good, and from when on the next one may be sent.
        self._failures = 0
        self._again_at = 0.0

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child: the parent sends what was queued, its thread and connection are not ours."""
        self._spans.reset()
        self._feedback.reset()
        self._privacy.hooks.reset()
        if self._backlog is not None:
            self._backlog.forget()
        self._start_over()

    def put(self, span: "ReadableSpan") -> None:
        """Take an ended span for delivery."""
        self._after_put(self._spans.put(span))

    def put_feedback(self, item: FeedbackItem) -> None:
        """Take a judgement for delivery."""
        self._after_put(self._feedback.put(item))

    def _after_put(self, is_batch_full: bool) -> None:
        if self._thread is None:
            self._start_thread()
        if is_batch_full and not self._is_woken:
            self._is_woken = True
            self._wake.put(None)

    def _start_thread(self) -> None:
        with self._thread_lock:
            if self._thread is not None or self._closing.is_set():
                return
            thread = threading.Thread(target=self._run, name="spanledger", daemon=True)
            self._privacy.hooks.start()
            try:
                thread.start()
            except RuntimeError:
                # The interpreter is shutting down and starts no more threads; `close` will send from its own.
                return
            self._thread = thread

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything accepted before this call is sent or dropped.

        Returns:
            False if `timeout_s` ran out first.
        """
        spans, feedback = self._spans.accepted, self._feedback.accepted
        deadline = time.monotonic() + timeout_s
        self._wake.put(None)
        with self._progress:
            return self._progress.wait_for(
                lambda: self._spans.finished >= spans and self._feedback.finished >= feedback,
                timeout=max(0.0, deadline - time.monotonic()),
            )

    def retire(self, timeout_s: float) -> None:
        """Begin to close without waiting: refuse new items, send the rest for at most `timeout_s`."""
        self._spans.close()
        self._feedback.close()
        if not self._closing.is_set():
            self._deadline = time.monotonic() + timeout_s - _CLOSE_MARGIN_S
            self._closing.set()
        self._wake.put(None)

    def close(self, timeout_s: float) -> bool:
        """Send what is left, for at most `timeout_s` seconds, and count what could not be sent.

        Returns:
            True if nothing was lost by closing.
        """
        ends = time.monotonic() + timeout_s
        self.retire(timeout_s)
        thread = self._thread
        if thread is None:
            with Guard("shutdown"):
                self._drain()
        elif thread is not threading.current_thread():
            thread.join(max(0.0, ends - time.monotonic() - (_SPOOL_CLOSE_S if self._backlog is not None else 0.0)))
            if thread.is_alive() and self._backlog is not None:
                with Guard("shutdown"):
                    self._spool_rest()
        lost = self._spans.abandon("shutdown") + self._feedback.abandon("shutdown")
        if lost:
            log_rarely("shutdown", "spanledger lost %d spans or judgements: shutdown ran out of time", lost)
        return lost == 0

    def _spool_rest(self) -> None:
        """Write what is left to the spool, in place of a thread that still waits for an answer."""
        self._is_away = True
        self._feedback.reclaim()
        self._spans.reclaim()
        self._drain()

    def _run(self) -> None:
        # Our own requests must not be traced by an HTTP instrumentation, or every export would cause the next one.
        otel_context.attach(otel_context.set_value(otel_context._SUPPRESS_INSTRUMENTATION_KEY, True))
        while True:
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=0 if self._closing.is_set() else DELAY_S)
            self._is_woken = False
            with Guard("delivery"):
                self._drain()
            if self._closing.is_set():
                break
        self._sender.close()

    def _drain(self) -> None:
        # Encoding and redacting take time as well, of which there is little when the process ends.
        while time.monotonic() < self._deadline and (
            self._send_next(self._feedback, self._send_feedback)
            | self._send_next(self._spans, self._send_spans)
            | self._send_spooled()
        ):
            pass

    def _send_next(self, lane: Lane[Item], send: Callable[[Sequence[Item]], None]) -> bool:
        batch = lane.take()
        if not batch:
            return False
        try:
            send(batch)
        except Exception:
            lane.settle_rest("unencodable")
            raise
        finally:
            with self._progress:
                self._progress.notify_all()
        return True

    def _send_spans(self, batch: "Sequence[ReadableSpan]") -> None:
        allowed = [span for span in batch if not self._privacy.is_denied(span.attributes)] if self._privacy.rules else batch
        self._spans.settle(dropped=len(batch) - len(allowed), reason="denied")
        if not allowed:
            return
        body, kept = encode_traces(allowed, self._resource, self._privacy, self._deadline)
        self._spans.settle(dropped=len(allowed) - len(kept), reason="unencodable")
        if not kept:
            return
        answer = self._deliver(self._spans, TRACES, len(kept), body)
        if answer is None:
            return
        if answer.is_ok:
            refused = min(len(kept), count_rejected_spans(answer.body))
            self._spans.settle(sent=len(kept) - refused, dropped=refused, reason="rejected")
        elif answer.status == 413 and len(kept) > 1:
            self._send_spans(kept[: len(kept) // 2])
            self._send_spans(kept[len(kept) // 2 :])
        else:
            self._give_up(self._spans, len(kept), answer)

    def _send_feedback(self, batch: Sequence[FeedbackItem]) -> None:
        body = encode_feedback(batch, self._privacy, self._deadline)
        answer = self._deliver(self._feedback, FEEDBACK, len(batch), body)
        if answer is None:
            return
        if answer.is_ok:
            self._feedback.settle(sent=len(batch))
        elif answer.status in (400, 413, 422) and len(batch) > 1:
            # One judgement that the collector refuses must not cost the others.
            self._send_feedback(batch[: len(batch) // 2])
            self._send_feedback(batch[len(batch) // 2 :])
        else:
            self._give_up(self._feedback, len(batch), answer)

    def _give_up(self, lane: Lane[Item], count: int, answer: Answer) -> None:
        reason = drop_reason(answer)
        lane.settle(dropped=count, reason=reason)
        log_rarely(f"drop:{reason}", "spanledger dropped %d items: %s (HTTP %d)", count, reason, answer.status)
        if self._closing.is_set() and answer.is_retryable and self._backlog is None:
            # The collector is away and time is short: the rest would fare no better.
            lane.abandon(reason)

    def _send_spooled(self) -> bool:
        """Send the oldest body of the spool, this process's or an earlier one's, if it is time to."""
        if self._backlog is None or self._is_away or time.monotonic() < self._again_at:
            return False
        if self._deadline - time.monotonic() < _SPOOL_CLOSE_S:
            return False
        answer = self._backlog.send_oldest(self._send_from_spool)
        if self._backlog.is_empty:
            # There is nothing to try the collector with but what comes next.
            self._failures = 0
        return answer is not None and not answer.is_retryable

    def _send_from_spool(self, path: str, body: bytes) -> Answer:
        if self._failures:
            COUNTERS.retries += 1
        # Meanwhile new spans wait in memory: a collector that seems away gets little time at first.
        patience_s = min(REQUEST_TIMEOUT_S, _PROBE_S * self._failures or REQUEST_TIMEOUT_S)
        return self._send(path, body, min(patience_s, (self._deadline - time.monotonic()) / 2))

    def _send(self, path: str, body: bytes, timeout_s: float) -> Answer:
        kind = "application/x-protobuf" if path == TRACES else "application/json"
        answer = self._sender.post(path, body, kind, timeout_s=timeout_s, compress=path == TRACES)
        if answer.is_retryable:
            # Full jitter, so that a thousand processes do not come back together; never before the server's own wish.
            pause_max_s = min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2.0 ** min(self._failures, 16))
            pause_s = random.uniform(0, pause_max_s)  # noqa: S311 - not for secrets
            wished_s = min(_WISH_MAX_S, answer.retry_after_s or 0.0)
            self._again_at = time.monotonic() + wished_s + pause_s
            self._failures += 1
        else:
            self._failures, self._again_at = 0, 0.0
        return answer

    def _deliver(self, lane: Lane[Item], path: str, count: int, body: bytes) -> Answer | None:
        """Send until it is answered for good, or the retry bound or the closing deadline has come; None if the spool has it."""
        give_up_at = time.monotonic() + RETRY_FOR_S
        answer = Answer(0)
        while True:
            # Once the collector seems away, what is new goes to the disk unasked, and what is there is tried: a host that is
            # killed loses the last moments only.
            if (self._is_away or self._failures) and self._keep(lane, path, count, body):
                return None
            remaining_s = min(REQUEST_TIMEOUT_S, self._deadline - time.monotonic())
            if remaining_s <= 0 or self._is_away:
                return answer
            answer = self._send(path, body, remaining_s)
            if not answer.is_retryable:
                return answer
            if self._closing.is_set() and (answer.status == 0 or self._backlog is not None):
                self._is_away = self._backlog is not None
                return None if self._is_away and self._keep(lane, path, count, body) else answer
            if self._keep(lane, path, count, body):
                return None
            if self._again_at > min(give_up_at, self._deadline):
                return answer
            COUNTERS.retries += 1
            pause_s = max(0.0, self._again_at - time.monotonic())
            if self._closing.is_set():
                time.sleep(pause_s)
            else:
                self._closing.wait(pause_s)

    def _keep(self, lane: Lane[Item], path: str, count: int, body: bytes) -> bool:
        if self._backlog is None or not self._backlog.keep(path, count, body):
            return False
        lane.settle(spooled=count)
        return True

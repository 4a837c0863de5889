"""What the SDK accepted, sent and lost in this process, by reason.

The rule is accepted = sent + dropped + pending, for spans and for feedback alike.
"""

import os
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final

from spanledger_schema import semconv


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of the SDK's own counters since the process started (or was forked).

    Attributes:
        spans_accepted: Ended spans taken for delivery; equals sent + dropped + pending.
        spans_sent: Spans that the collector acknowledged.
        spans_pending: Spans waiting or on their way, in memory or in the spool.
        spans_spooled: Those of the pending ones that are in the spool on disk.
        spans_dropped: Spans lost, by reason: `queue_full` (too many or too large waiting), `unreachable` (no
            connection or no answer within the retry bound), `unavailable` (429, 502, 503, 504 for too long),
            `unauthorized` (401, 403), `rejected` (refused by the collector), `too_large`, `unencodable`, `spool_full`,
            `expired` (a day in the spool), `spool_damaged`, `shutdown`
            (the time to shut down ran out), `denied` (by `data_rules`).
        feedback_accepted: Judgements taken for delivery; same rule.
        feedback_sent: Judgements that the collector acknowledged.
        feedback_pending: Judgements waiting or on their way.
        feedback_spooled: Those of the pending ones that are in the spool on disk.
        feedback_dropped: Judgements lost, by the same reasons.
        inherited_dropped: Spans and judgements that other processes had left in the spool and that were lost, by reason.
        retries: Requests that were sent again.
        invalid_values: Values not stored because they could not be meant, such as a confidence of 1.2 or a negative
            token count.
        late_signals: Signals given to a span after it had ended.
        internal_errors: Errors of Spanledger itself that were kept from the host.
        content_dropped: Spans and judgements that were sent without their content, since redacting it failed.
    """

    spans_accepted: int
    spans_sent: int
    spans_pending: int
    spans_spooled: int
    spans_dropped: dict[str, int]
    feedback_accepted: int
    feedback_sent: int
    feedback_pending: int
    feedback_spooled: int
    feedback_dropped: dict[str, int]
    inherited_dropped: dict[str, int]
    retries: int
    invalid_values: int
    late_signals: int
    internal_errors: int
    content_dropped: int


@dataclass(slots=True)
class Tally:
    """Counts of one kind of thing. The lock serves the queues too: counting and queueing are one step."""

    accepted: int = 0
    sent: int = 0
    spooled: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    inherited_dropped: dict[str, int] = field(default_factory=dict)
    lock: AbstractContextManager[bool] = field(default_factory=threading.RLock, repr=False, compare=False)

    def reset(self) -> None:
        """Start from zero, with a fresh lock: after a fork the old one may be held by a thread that does not exist."""
        self.accepted = self.sent = self.spooled = 0
        self.dropped = {}
        self.inherited_dropped = {}
        self.lock = threading.RLock()

    def accept(self) -> None:
        """Count one taken for delivery."""
        with self.lock:
            self.accepted += 1

    def send(self, count: int) -> None:
        """Count what the collector acknowledged."""
        with self.lock:
            self.sent += count

    def drop(self, count: int, reason: str) -> None:
        """Count a loss."""
        if count:
            with self.lock:
                self.dropped[reason] = self.dropped.get(reason, 0) + count

    def unspool(self, count: int, *, sent: int, reason: str) -> None:
        """Account for spooled ones that were answered: `sent` of `count` were taken, the others refused for `reason`."""
        with self.lock:
            self.spooled -= count
            self.send(sent)
            self.drop(count - sent, reason)

    def inherit(self, count: int, reason: str) -> None:
        """Count a loss of what another process had left in the spool."""
        if count:
            with self.lock:
                self.inherited_dropped[reason] = self.inherited_dropped.get(reason, 0) + count

    def losses(self) -> dict[str, int]:
        """All losses that this process knows of, by reason."""
        with self.lock:
            found = self.dropped.copy()
            for reason, count in self.inherited_dropped.items():
                found[reason] = found.get(reason, 0) + count
            return found

    def read(self) -> tuple[int, int, int, dict[str, int]]:
        """Accepted, sent, pending and dropped, of one moment."""
        with self.lock:
            dropped = self.dropped.copy()
            return self.accepted, self.sent, self.accepted - self.sent - sum(dropped.values()), dropped


@dataclass(slots=True)
class Counters:
    """Process-wide counters. The informal ones have no lock: a rare lost increment costs less than that."""

    spans: Tally = field(default_factory=Tally)
    feedback: Tally = field(default_factory=Tally)
    retries: int = 0
    invalid_values: int = 0
    late_signals: int = 0
    internal_errors: int = 0
    content_dropped: int = 0
    instance: str = ""

    def reset(self) -> None:
        """Start from zero: in a forked child, whose parent reports its own, and between tests."""
        self.instance = ""
        self.spans.reset()
        self.feedback.reset()
        self.retries = self.invalid_values = self.late_signals = self.internal_errors = self.content_dropped = 0

    def report(self) -> dict[str, str | int]:
        """Losses so far as resource attributes, with the process that counts them; empty while nothing was lost."""
        spans, judgements = self.spans.losses(), self.feedback.losses()
        if not spans and not judgements:
            return {}
        self.instance = self.instance or os.urandom(8).hex()
        return {
            semconv.SDK_INSTANCE: self.instance,
            **{semconv.SDK_DROPPED_PREFIX + reason: count for reason, count in spans.items()},
            **{semconv.SDK_FEEDBACK_DROPPED_PREFIX + reason: count for reason, count in judgements.items()},
        }

    def snapshot(self) -> Stats:
        """The public, frozen view."""
        spans_accepted, spans_sent, spans_pending, spans_dropped = self.spans.read()
        feedback_accepted, feedback_sent, feedback_pending, feedback_dropped = self.feedback.read()
        return Stats(
            spans_accepted=spans_accepted,
            spans_sent=spans_sent,
            spans_pending=spans_pending,
            spans_spooled=self.spans.spooled,
            spans_dropped=spans_dropped,
            feedback_accepted=feedback_accepted,
            feedback_sent=feedback_sent,
            feedback_pending=feedback_pending,
            feedback_spooled=self.feedback.spooled,
            feedback_dropped=feedback_dropped,
            inherited_dropped=_added(self.spans.inherited_dropped, self.feedback.inherited_dropped),
            retries=self.retries,
            invalid_values=self.invalid_values,
            late_signals=self.late_signals,
            internal_errors=self.internal_errors,
            content_dropped=self.content_dropped,
        )


def _added(some: dict[str, int], others: dict[str, int]) -> dict[str, int]:
    return {reason: some.get(reason, 0) + others.get(reason, 0) for reason in {**some, **others}}


COUNTERS: Final = Counters()


def stats() -> Stats:
    """What the SDK accepted, sent and lost so far in this process (see `Stats`)."""
    return COUNTERS.snapshot()

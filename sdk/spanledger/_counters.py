"""What the SDK accepted, sent and lost in this process, by reason.

The rule is accepted = sent + dropped + pending, for spans and for feedback alike.
"""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of the SDK's own counters since the process started (or was forked).

    Attributes:
        spans_accepted: Ended spans taken for delivery; equals sent + dropped + pending.
        spans_sent: Spans that the collector acknowledged.
        spans_pending: Spans waiting or on their way.
        spans_dropped: Spans lost, by reason: `queue_full` (too many or too large waiting), `unreachable` (no connection or no
            answer within the retry bound), `unavailable` (429, 502, 503, 504 for too long), `unauthorized` (401, 403), `rejected`
            (refused by the collector), `too_large`, `unencodable`, `shutdown` (the time to shut down ran out).
        feedback_accepted: Judgements taken for delivery; same rule.
        feedback_sent: Judgements that the collector acknowledged.
        feedback_pending: Judgements waiting or on their way.
        feedback_dropped: Judgements lost, by the same reasons.
        retries: Requests that were sent again.
        invalid_values: Values not stored because they could not be meant, such as a confidence of 1.2 or a negative token count.
        late_signals: Signals given to a span after it had ended.
        internal_errors: Errors of Spanledger itself that were kept from the host.
    """

    spans_accepted: int
    spans_sent: int
    spans_pending: int
    spans_dropped: dict[str, int]
    feedback_accepted: int
    feedback_sent: int
    feedback_pending: int
    feedback_dropped: dict[str, int]
    retries: int
    invalid_values: int
    late_signals: int
    internal_errors: int


@dataclass(slots=True)
class Tally:
    """Counts of one kind of thing that is delivered."""

    accepted: int = 0
    sent: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def drop(self, count: int, reason: str) -> None:
        """Count a loss."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    @property
    def pending(self) -> int:
        """What is neither sent nor dropped yet."""
        return max(0, self.accepted - self.sent - sum(self.dropped.copy().values()))


@dataclass(slots=True)
class Counters:
    """Process-wide counters. Plain integers: a rare lost increment of the informal ones is cheaper than a lock on every call."""

    spans: Tally = field(default_factory=Tally)
    feedback: Tally = field(default_factory=Tally)
    retries: int = 0
    invalid_values: int = 0
    late_signals: int = 0
    internal_errors: int = 0

    def reset(self) -> None:
        """Start from zero: in a forked child, whose parent reports its own, and between tests."""
        self.spans = Tally()
        self.feedback = Tally()
        self.retries = self.invalid_values = self.late_signals = self.internal_errors = 0

    def snapshot(self) -> Stats:
        """The public, frozen view."""
        return Stats(
            spans_accepted=self.spans.accepted,
            spans_sent=self.spans.sent,
            spans_pending=self.spans.pending,
            spans_dropped=self.spans.dropped.copy(),
            feedback_accepted=self.feedback.accepted,
            feedback_sent=self.feedback.sent,
            feedback_pending=self.feedback.pending,
            feedback_dropped=self.feedback.dropped.copy(),
            retries=self.retries,
            invalid_values=self.invalid_values,
            late_signals=self.late_signals,
            internal_errors=self.internal_errors,
        )


COUNTERS: Final = Counters()


def stats() -> Stats:
    """What the SDK accepted, sent and lost so far in this process (see `Stats`)."""
    return COUNTERS.snapshot()

"""Why an SDK loses spans and feedback: each reason in words, and what to do about it."""

from typing import Final, NamedTuple


class LossReason(NamedTuple):
    """A reason in words that follow "dropped 12 spans: ", and advice. `is_meant`: the application asked for it."""

    words: str
    advice: str
    is_meant: bool = False


LOSS_REASONS: Final[dict[str, LossReason]] = {
    "queue_full": LossReason(
        "more came than could be sent",
        "record less (SPANLEDGER_CAPTURE=metadata), spread the load over more processes, or see why the collector is slow",
    ),
    "unreachable": LossReason(
        "the collector could not be reached",
        "check SPANLEDGER_ENDPOINT and the network; with a spool on disk they would have waited",
    ),
    "unavailable": LossReason(
        "the collector was overloaded, or its store away", "see /readyz and /metrics; with a spool on disk they would have waited"
    ),
    "unauthorized": LossReason("the key was refused", "give the application a valid key with the scope ingest"),
    "rejected": LossReason(
        "the collector refused them",
        "a data rule denies them or they were malformed: see spanledger_spans_denied_total and _rejected_total in /metrics",
    ),
    "too_large": LossReason("a span was too large", "record less in one span, or raise SPANLEDGER_BODY_BYTES_MAX"),
    "unencodable": LossReason(
        "they could not be encoded", "an attribute has a value that OTLP cannot hold; the SDK's log says more"
    ),
    "spool_full": LossReason(
        "the spool on disk was full", "see why the collector was away for so long, or make room on the disk"
    ),
    "expired": LossReason("they waited on disk for longer than a day", "see why the collector was away for so long"),
    "spool_damaged": LossReason("the spool on disk was damaged", "check the application's disk; the damaged file was set aside"),
    "shutdown": LossReason("the process ended before they were sent", "give it time to end, or a spool on disk"),
    "denied": LossReason("the application's own data rules deny them", "nothing, if that is what they are for", is_meant=True),
}
"""By the names that `spanledger.stats().spans_dropped` and `spanledger.sdk.dropped.<reason>` use."""


def loss_reason(name: str) -> LossReason:
    """A reason by its name; one that only a newer SDK knows has no advice here."""
    return LOSS_REASONS.get(name) or LossReason(name.replace("_", " "), "see the log of the application's SDK")

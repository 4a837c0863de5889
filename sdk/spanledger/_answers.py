"""The routes of the collector that the SDK posts to, and what an answer of theirs means for what was posted."""

from typing import Final

from spanledger._sender import Answer

TRACES: Final = "/v1/traces"
FEEDBACK: Final = "/api/v1/feedback"


def drop_reason(answer: Answer) -> str:
    """Why what was posted is lost, as `Stats` names it."""
    if answer.status == 0:
        return "unreachable"
    if answer.is_retryable:
        return "unavailable"
    if answer.status in (401, 403):
        return "unauthorized"
    return "too_large" if answer.status == 413 else "rejected"

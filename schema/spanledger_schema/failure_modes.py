"""How an interaction can have failed."""

from typing import Final

FAILURE_MODES: Final[dict[str, str]] = {
    "rate_limited": "The provider refused for too many requests.",
    "timeout": "A call took too long.",
    "provider_error": "The provider failed (5xx or overloaded).",
    "auth_error": "The provider refused the credentials.",
    "invalid_request": "The provider refused the request as malformed or too long.",
    "cancelled": "The call was cancelled or its stream cut off.",
    "error": "Another error ended the interaction.",
    "tool_error": "A tool failed.",
    "retrieval_error": "A retrieval failed.",
    "content_filter": "A content filter stopped the answer.",
    "refusal": "The model refused.",
    "truncated": "The answer hit the token limit.",
    "empty": "The model answered nothing.",
    "validation": "The answer failed a check.",
    "rejected": "The user rejected the answer.",
}
"""Failure modes in no order; `settle/rules.py` has the order in which they are tried."""

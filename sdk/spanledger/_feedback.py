"""`feedback`: a judgement on an interaction, from a user, a reviewer or an evaluator."""

import math
from datetime import UTC, datetime
from typing import Final, Literal

from spanledger import _clock, _runtime
from spanledger._counters import COUNTERS
from spanledger._guard import Guard
from spanledger._values import TEXT_CHARS_MAX, to_text

FeedbackSource = Literal["user", "reviewer", "evaluator"]

_SOURCES: Final = ("user", "reviewer", "evaluator")
_FEEDBACK: Final = Guard("feedback")
_COMMENT_CHARS_MAX: Final = 16_384


def feedback(
    id: str,
    name: str,
    value: bool | float | str,
    *,
    comment: str | None = None,
    source: FeedbackSource = "user",
    user: str | None = None,
    timestamp: datetime | None = None,
) -> None:
    """Record a judgement; sent in the background.

    Args:
        id: `it.id` of an interaction, or a trace id of 32 hex digits. Empty (recorded without `init`) does nothing.
        name: What is judged, such as `helpful` or `correct`.
        value: True or False, a number, or a word.
        comment: What was said. Sent only if content is captured.
        source: Who judges.
        user: Who it was. Not sent if identities are not captured.
        timestamp: When, if not now; with a time zone.
    """
    state = _runtime.state
    if state is None or not id:
        return
    with _FEEDBACK:
        target, judged = to_text(id, 64), to_text(name)
        is_value = isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))
        is_time = timestamp is None or (isinstance(timestamp, datetime) and timestamp.tzinfo is not None)
        if not judged or not is_value or not is_time or source not in _SOURCES:
            COUNTERS.invalid_values += 1
            return
        item: dict[str, object] = {
            "trace_id" if len(target) == 32 else "interaction_id": target,
            "name": judged,
            "value": to_text(value) if isinstance(value, str) else value,
            "source": source,
            "id": _clock.new_id(),
            "timestamp": _iso(timestamp),
        }
        if comment is not None and state.captures_content:
            item["comment"] = to_text(comment, _COMMENT_CHARS_MAX)
        if user is not None and state.captures_identity:
            item["user"] = to_text(user, TEXT_CHARS_MAX)
        state.delivery.put_feedback(item)


def _iso(timestamp: datetime | None) -> str:
    moment = timestamp or datetime.fromtimestamp(_clock.now_ns() / 1e9, UTC)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

"""Feedback as it comes becomes rows: one concept for users, reviewers and evaluators. Pure."""

import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from spanledger_collector.errors import InvalidQuestion
from spanledger_schema.query import QueryError, parse_time
from spanledger_schema.spans import Feedback, Fields

SOURCES: Final = ("user", "reviewer", "evaluator")
_FIELDS: Final = frozenset(
    {"interaction_id", "trace_id", "span_id", "name", "value", "source", "comment", "user", "id", "timestamp"}
)
_GOOD: Final = frozenset(
    {"yes", "true", "good", "positive", "up", "thumbs_up", "helpful", "correct", "accept", "accepted", "like", "pass"}
)
_BAD: Final = frozenset(
    {"no", "false", "bad", "negative", "down", "thumbs_down", "unhelpful", "incorrect", "reject", "rejected", "dislike", "fail"}
)
_COMMENT_CHARS_MAX: Final = 10_000

FEEDBACK_FIELDS: Final[Fields] = (
    ("project", "text"),
    ("feedback_id", "text"),
    ("trace_id", "text"),
    ("span_id", "text"),
    ("interaction_id", "text"),
    ("name", "text"),
    ("source", "text"),
    ("value", "text"),
    ("positive", "i8"),
    ("score", "f64"),
    ("comment", "text"),
    ("user", "text"),
    ("created_at", "time"),
    ("version", "u64"),
)


class Judgement(NamedTuple):
    """A row of `feedback`: `positive` is 1, 0, or -1 where the value says neither."""

    project: str
    feedback_id: str
    trace_id: str
    span_id: str
    interaction_id: str
    name: str
    source: str
    value: str
    positive: int
    score: float | None
    comment: str
    user: str
    created_at: int
    version: int

    def fact(self) -> Feedback:
        """What settling needs of it."""
        return Feedback(self.feedback_id, self.span_id, self.source, self.name, self.positive)


def read_judgement(item: Any, project: str, now_ns: int) -> Judgement:
    """Read one judgement of the API.

    Raises:
        InvalidQuestion: a field is missing, unknown or unusable; says which.
    """
    if not isinstance(item, Mapping):
        raise InvalidQuestion('Feedback is an object: {"interaction_id": …, "name": …, "value": …}.')
    if unknown := sorted(map(str, set(item) - _FIELDS)):
        raise InvalidQuestion(f"Feedback has no field {unknown[0][:60]!r}; there are: {', '.join(sorted(_FIELDS))}.")
    trace_id, span_id, interaction_id = _target(item)
    name = _text(item, "name", 200)
    if not name:
        raise InvalidQuestion("Feedback needs a name, such as helpful.")
    source = item.get("source", "user")
    if source not in SOURCES:
        raise InvalidQuestion(f"source is one of {', '.join(SOURCES)}.")
    value = item.get("value")
    positive, score = verdict(value)
    created_at = _time(item.get("timestamp"), now_ns)
    user = _text(item, "user", 500)
    given = _text(item, "id", 200)
    comment = _text(item, "comment", _COMMENT_CHARS_MAX)
    identity = given or _identity(
        trace_id, span_id, interaction_id, name, source, value, comment, user, item.get("timestamp") or now_ns
    )
    encoded = orjson.dumps(value).decode()
    # The later statement wins, whenever it arrives; equal times are told apart by what they say.
    tie = int.from_bytes(hashlib.sha256(encoded.encode() + comment.encode()).digest()[:1], "big")
    version = (created_at // 1_000) * 256 + tie
    return Judgement(
        project,
        identity,
        trace_id,
        span_id,
        interaction_id,
        name,
        source,
        encoded,
        positive,
        score,
        comment,
        user,
        created_at,
        version,
    )


def verdict(value: Any) -> tuple[int, float | None]:
    """Whether a value is positive (1), negative (0) or neither (-1), and its number where it has one.

    Booleans speak for themselves; of numbers, more than one half of the scale 0..1 is positive and less is negative (outside that
    scale the sign decides); words are looked up.

    Raises:
        InvalidQuestion: it is no bool, finite number or text.
    """
    if isinstance(value, bool):
        return int(value), float(value)
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise InvalidQuestion("value is a bool, a finite number or a text.")
        number = float(value)
        middle = 0.5 if 0 <= number <= 1 else 0.0
        return (-1 if number == middle else int(number > middle)), number
    if isinstance(value, str) and len(value) <= _COMMENT_CHARS_MAX:
        word = value.strip().lower()
        return (1 if word in _GOOD else 0 if word in _BAD else -1), None
    raise InvalidQuestion("value is a bool, a finite number or a text.")


def _target(item: Mapping[str, Any]) -> tuple[str, str, str]:
    interaction_id = _text(item, "interaction_id", 60).lower()
    trace_id, _, mark = (interaction_id or _text(item, "trace_id", 60).lower()).partition("-")
    span_id = _text(item, "span_id", 60).lower() or mark
    if not _is_hex(trace_id, 32) or (span_id and not _is_hex(span_id, 16)):
        raise InvalidQuestion("Feedback needs interaction_id (as `it.id` gives it) or trace_id (32 hex digits).")
    return trace_id, span_id, interaction_id or trace_id


def _is_hex(value: str, digits: int) -> bool:
    return len(value) == digits and all(character in "0123456789abcdef" for character in value)


def _text(item: Mapping[str, Any], key: str, limit: int) -> str:
    value = item.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidQuestion(f"{key} is a text.")
    if len(value) > limit:
        raise InvalidQuestion(f"{key} has at most {limit:,} characters.")
    return value.encode("utf-8", "replace").decode()


def _time(value: Any, now_ns: int) -> int:
    try:
        parsed = parse_time(value, "timestamp")
    except QueryError as error:
        raise InvalidQuestion(str(error)) from None
    if parsed is None:
        return now_ns
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    if not epoch < parsed:
        raise InvalidQuestion("timestamp lies before 1970.")
    return int((parsed - epoch).total_seconds() * 1_000_000) * 1_000


def _identity(*parts: Any) -> str:
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]

"""The one place from which the SDK takes time and chance, so that both can be replaced.

Tests pin them to make a whole trace a literal; the demonstration writes a month of history through the real SDK. Spans
of other instrumentations keep the machine's clock.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

_now: Callable[[], int] = time.time_ns


def _random_id() -> str:
    return uuid.uuid4().hex


_new_id: Callable[[], str] = _random_id


def now_ns() -> int:
    """The present time in nanoseconds since 1970."""
    return _now()


def new_id() -> str:
    """A new id for a judgement, so that sending it twice counts once."""
    return _new_id()


def to_ns(moment: datetime | int) -> int:
    """A moment (with a time zone, or nanoseconds since 1970) in nanoseconds, exactly.

    Raises:
        ValueError: for a datetime without a time zone.
    """
    if isinstance(moment, int):
        return moment
    if moment.tzinfo is None:
        raise ValueError("the time needs a time zone, for example datetime.now(UTC)")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


class ManualClock:
    """A clock that stands still until it is moved, or moves by `tick_s` at each reading."""

    def __init__(self, start: datetime | int, *, tick_s: float = 0.0) -> None:
        self._at_ns = to_ns(start)
        self._tick_ns = round(tick_s * 1e9)

    def now_ns(self) -> int:
        """The time it shows; then it ticks."""
        shown = self._at_ns
        self._at_ns += self._tick_ns
        return shown

    def set(self, moment: datetime | int) -> None:
        """Show another time, earlier or later."""
        self._at_ns = to_ns(moment)

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`."""
        self._at_ns += round(seconds * 1e9)


@contextmanager
def use_clock(clock: ManualClock) -> Iterator[ManualClock]:
    """Take the time of this process's SDK from `clock` inside the block."""
    global _now
    before, _now = _now, clock.now_ns
    try:
        yield clock
    finally:
        _now = before


@contextmanager
def use_ids(new_id: Callable[[], str]) -> Iterator[None]:
    """Take the ids of judgements from `new_id` inside the block."""
    global _new_id
    before, _new_id = _new_id, new_id
    try:
        yield
    finally:
        _new_id = before

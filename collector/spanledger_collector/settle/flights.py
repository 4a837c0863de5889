"""What was received and is not settled yet, so that the mark of settling never passes it.

After a restart only what was received after the mark is looked at, so a span that was received before it and stored after it
would never be counted. Whoever receives something keeps a flight open until it is durable and the settler knows of it, or until
it waits on disk; what waits there holds the mark by itself.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spanledger_collector.clock import CLOCK


class Flights:
    """Receive times of what is on its way. Methods are thread-safe."""

    def __init__(self, oldest_waiting: Callable[[], int | None]) -> None:
        """Nothing is on its way.

        Args:
            oldest_waiting: The earliest receive time of what waits on disk, None when nothing does.

        """
        self._oldest_waiting = oldest_waiting
        self._lock = threading.Lock()
        self._flying: dict[int, int] = {}
        self._number = 0

    @contextmanager
    def receiving(self) -> Iterator[int]:
        """Work on a request; gives its receive time."""
        with self._lock:
            # Taken under the lock: a mark that is computed meanwhile is either before it or sees it.
            received_at = CLOCK.now_ns()
            number = self._enter(received_at)
        try:
            yield received_at
        finally:
            self.land(number)

    def depart(self, received_at: int) -> int:
        """Something that was received is on its way to the store. Returns a token for `land`."""
        with self._lock:
            return self._enter(received_at)

    def land(self, token: int) -> None:
        """It is durable and known to the settler, or failed."""
        with self._lock:
            self._flying.pop(token, None)

    def bound_ns(self) -> int:
        """A time that everything on its way, and everything received from now on, is at or after.

        What goes from here to the disk, or from the disk to the settler, is seen once at least: the disk is looked at after what
        flies and before the caller looks at what landed.
        """
        with self._lock:
            bound = min(self._flying.values(), default=0) or CLOCK.now_ns()
        return min(bound, self._oldest_waiting() or bound)

    def _enter(self, received_at: int) -> int:
        self._number += 1
        self._flying[self._number] = received_at
        return self._number

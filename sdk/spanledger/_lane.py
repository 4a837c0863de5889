"""A bounded queue of things to deliver, with the counts that prove nothing was lost silently.

Bounded in items and in characters: eight thousand spans with long prompts would otherwise be gigabytes. When it is
full the oldest goes, since fresh telemetry is worth more. The lock is re-entrant, because garbage collection and
signal handlers can end a span while the same thread is inside `put`.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from spanledger._counters import Tally

Item = TypeVar("Item")


class Lane(Generic[Item]):
    """One kind of thing on its way to one route of the collector."""

    def __init__(
        self,
        tally: Tally,
        size_of: Callable[[Item], int],
        *,
        items_max: int,
        chars_max: int,
        batch_items_max: int,
        batch_chars_max: int,
    ) -> None:
        self._tally = tally
        self._size_of = size_of
        self._items_max = items_max
        self._chars_max = chars_max
        self._batch_items_max = batch_items_max
        self._batch_chars_max = batch_chars_max
        self.reset()

    def reset(self) -> None:
        """Empty and open."""
        self._queue: deque[tuple[Item, int]] = deque()
        self._chars = 0
        self._accepted = 0
        self._finished = 0
        self._in_flight = 0
        self._handed_out: list[tuple[Item, int]] = []
        self._closed = False

    def put(self, item: Item) -> bool:
        """Take an item, dropping the oldest ones if there is no room. Never blocks on I/O.

        Returns:
            Whether a full batch is waiting, so that the sender should be woken.
        """
        size = self._size_of(item)
        tally = self._tally
        with tally.lock:
            tally.accepted += 1
            if self._closed:
                tally.drop(1, "shutdown")
                return False
            queue = self._queue
            queue.append((item, size))
            self._chars += size
            self._accepted += 1
            while len(queue) > self._items_max or self._chars > self._chars_max:
                _, dropped_size = queue.popleft()
                self._chars -= dropped_size
                self._finished += 1
                tally.drop(1, "queue_full")
            return len(queue) >= self._batch_items_max

    def take(self) -> list[Item]:
        """The next batch, oldest first; empty if there is nothing."""
        batch: list[Item] = []
        handed_out: list[tuple[Item, int]] = []
        room = self._batch_chars_max
        with self._tally.lock:
            while self._queue and len(batch) < self._batch_items_max and room > 0:
                item, size = self._queue.popleft()
                self._chars -= size
                room -= size
                batch.append(item)
                handed_out.append((item, size))
            self._in_flight = len(batch)
            self._handed_out = handed_out
        return batch

    def settle(self, *, sent: int = 0, dropped: int = 0, spooled: int = 0, reason: str = "") -> None:
        """Account for items that `take` handed out last. Spooled ones stay pending."""
        with self._tally.lock:
            # After `abandon` they have been counted as lost already.
            sent = min(sent, self._in_flight)
            dropped = min(dropped, self._in_flight - sent)
            spooled = min(spooled, self._in_flight - sent - dropped)
            self._in_flight -= sent + dropped + spooled
            self._finished += sent + dropped + spooled
            self._tally.spooled += spooled
            self._tally.send(sent)
            self._tally.drop(dropped, reason)

    def settle_rest(self, reason: str) -> None:
        """Count as lost what is left of the batch that `take` handed out last."""
        self.settle(dropped=self._in_flight, reason=reason)

    def reclaim(self) -> None:
        """Put back what `take` handed out last, unless some of it is settled: its sender does not come back in time."""
        with self._tally.lock:
            if self._in_flight and self._in_flight == len(self._handed_out):
                self._queue.extendleft(reversed(self._handed_out))
                self._chars += sum(size for _, size in self._handed_out)
                self._in_flight = 0

    def close(self) -> None:
        """Refuse (and count) everything from now on."""
        with self._tally.lock:
            self._closed = True

    def abandon(self, reason: str) -> int:
        """Give up on all that is waiting or on its way, and count it."""
        with self._tally.lock:
            lost = self._accepted - self._finished
            self._queue.clear()
            self._chars = 0
            self._in_flight = 0
            self._finished = self._accepted
            self._tally.drop(lost, reason)
            return lost

    @property
    def accepted(self) -> int:
        """How many items were ever queued here."""
        return self._accepted

    @property
    def finished(self) -> int:
        """How many of them are sent or dropped; items finish roughly in order."""
        return self._finished

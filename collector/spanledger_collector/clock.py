"""The clock that orders what the collector writes: it follows the host's and never goes back.

Versions of rows and the mark of settling compare times. A host's clock may leap (a suspended machine, a first synchronisation, an
operator), and a row written after such a leap would lose against an older one, or lie behind the mark and never be counted. So
order comes from a hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014): the host's time, or a nanosecond more
than the last where that is behind; a new process goes on from the newest time in the store. Expiry and windows use the host's
time, which is what people mean by them.
"""

import threading
import time
from typing import Final


class LedgerClock:
    """Nanoseconds since 1970, each later than the one before. Methods are thread-safe."""

    def __init__(self) -> None:
        """Begin with the host's time."""
        self._last = 0
        self._lock = threading.Lock()

    def now_ns(self) -> int:
        """A time later than every one that was given before."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns())
            return self._last

    def not_before(self, ns: int) -> None:
        """Give only later times than this one from now on."""
        with self._lock:
            self._last = max(self._last, ns)

    @property
    def ahead_s(self) -> float:
        """How far the last time is ahead of the host's clock, in seconds; more than a little means that the host's went back."""
        return max(0.0, (self._last - time.time_ns()) / 1e9)


CLOCK: Final = LedgerClock()
"""The process's own; stores that are opened set it forward."""

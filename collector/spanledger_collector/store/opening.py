"""From a store that may be away to one that is open: steps in order, tried until each has been done.

A collector starts while its store is away: requests wait on disk, questions get a 503, and `/readyz` says why. What can be said
at once (a newer schema, an edited migration, a login that is refused) ends the start instead.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from spanledger_collector.errors import CannotStart, SpanledgerError, StoreUnavailable

_LOGGER: Final = logging.getLogger(__name__)
_WAIT_S: Final = (0.25, 5.0)


class Opening:
    """The steps, and how far they have come."""

    def __init__(self, steps: Sequence[Callable[[], object]]) -> None:
        """Remember the steps; a step that failed is done again, and those after it are not begun."""
        self._steps = list(steps)
        self._reason: str | None = "The store has not been opened yet."
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="opening", daemon=True)

    @property
    def reason(self) -> str | None:
        """Why the store is not open, in words; None when it is."""
        return self._reason

    def try_once(self) -> bool:
        """Go as far as possible; whether it is open.

        Raises:
            CannotStart: it cannot be opened like this, now or later.
        """
        try:
            while self._steps:
                self._steps[0]()
                del self._steps[0]
        except StoreUnavailable as error:
            self._reason = error.detail
            return False
        self._reason = None
        return True

    def go_on(self) -> None:
        """Try again in the background until it is open."""
        self._thread.start()

    def stop(self) -> None:
        """Give up."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        wait_s = _WAIT_S[0]
        while not self._stopping.wait(wait_s):
            wait_s = min(wait_s * 2, _WAIT_S[1])
            try:
                if self.try_once():
                    _LOGGER.warning("the store is open")
                    return
            except CannotStart as error:
                # It was away at the start, and now that it is back it is not one that this version can work with.
                self._reason = error.detail
                _LOGGER.error("the store cannot be used: %s", error.detail)
            except SpanledgerError as error:
                self._reason = error.detail
                _LOGGER.error("the store cannot be opened: %s", error.code)
            except Exception:
                self._reason = "Opening the store hit a defect; the log of the collector has it."
                _LOGGER.exception("opening the store hit a defect and is tried again")

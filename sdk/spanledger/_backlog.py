"""The spool with its accounts: what this process wrote there, what others left, and what became of each."""

import time
from collections.abc import Callable
from typing import Final

from spanledger._answers import FEEDBACK, TRACES, drop_reason
from spanledger._counters import COUNTERS, Tally
from spanledger._encode import count_rejected_spans, split_feedback, split_traces
from spanledger._guard import log_rarely
from spanledger._sender import Answer
from spanledger._spool import Body, Spool

Send = Callable[[str, bytes], Answer]

LOOK_AGAIN_S: Final = 2.0
"""How often an empty spool is looked into: another process may have left something."""
_EXPIRED: Final = Answer(410)


class Backlog:
    """What waits on disk for one destination."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        # Path and number of items of each body that this process wrote.
        self._own: dict[int, tuple[str, int]] = {}
        self._look_at = 0.0

    def forget(self) -> None:
        """Own nothing, in a forked child: what the parent wrote is the parent's to count."""
        self._own = {}
        self._look_at = 0.0

    def keep(self, path: str, count: int, body: bytes) -> bool:
        """Write a body of this process to the disk; False if that was not possible."""
        kept = self._spool.put(path, count, body)
        if kept is None:
            self._count_damage()
            return False
        id, lost = kept
        self._own[id] = (path, count)
        self._look_at = 0.0
        for gone in lost:
            self._settle(gone.id, gone.path, gone.items, lost=gone.items, reason=gone.reason)
        log_rarely("spool:put", "spanledger keeps what it cannot deliver in its spool; the collector is away")
        return True

    def send_oldest(self, send: Send) -> Answer | None:
        """Send the body that waits longest, and account for it if it is answered for good.

        Returns:
            The answer, 410 (gone) for one that is too old to be sent, or None if there is nothing to send now.
        """
        if time.monotonic() < self._look_at:
            return None
        waiting = self._spool.oldest()
        if waiting is None:
            self._count_damage()
            self._count_taken_over(None)
            self._look_at = time.monotonic() + LOOK_AGAIN_S
            return None
        self._count_taken_over(waiting.id)
        if waiting.is_expired:
            if not self._remove(waiting.id):
                return None
            self._settle(waiting.id, waiting.path, waiting.items, lost=waiting.items, reason="expired")
            return _EXPIRED
        answer = send(waiting.path, waiting.body)
        if not answer.is_retryable and self._remove(waiting.id):
            self._account(waiting, answer)
        return answer

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found when it was last looked into."""
        return time.monotonic() < self._look_at

    def _remove(self, id: int) -> bool:
        if self._spool.remove(id):
            return True
        self._look_at = time.monotonic() + LOOK_AGAIN_S
        return False

    def _account(self, body: Body, answer: Answer) -> None:
        splits = (413,) if body.path == TRACES else (400, 413, 422)
        if body.items > 1 and answer.status in splits:
            # One item that the collector refuses must not cost the others.
            halves = split_traces(body.body) if body.path == TRACES else split_feedback(body.body)
            is_own = self._own.pop(body.id, None) is not None
            for count, half in halves:
                kept = self._spool.put(body.path, count, half)
                if kept is not None and is_own:
                    self._own[kept[0]] = (body.path, count)
                elif kept is None:
                    self._count(body.path, count, is_own, lost=count, reason=drop_reason(answer))
            return
        if answer.is_ok:
            lost = min(body.items, count_rejected_spans(answer.body)) if body.path == TRACES else 0
        else:
            lost = body.items
            log_rarely("spool:drop", "spanledger dropped %d items of its spool (HTTP %d)", lost, answer.status)
        self._settle(body.id, body.path, body.items, lost=lost, reason=drop_reason(answer))

    def _settle(self, id: int, path: str, items: int, *, lost: int, reason: str) -> None:
        self._count(path, items, self._own.pop(id, None) is not None, lost=lost, reason=reason)

    @staticmethod
    def _count(path: str, items: int, is_own: bool, *, lost: int, reason: str) -> None:
        tally = _tally_of(path)
        if is_own:
            tally.unspool(items, sent=items - lost, reason=reason)
        else:
            tally.inherit(lost, reason)

    def _count_taken_over(self, oldest: int | None) -> None:
        """Bodies of ours that are gone were sent by a process that shares the spool, which counts what it lost."""
        for id in [id for id in self._own if oldest is None or id < oldest]:
            path, count = self._own.pop(id)
            _tally_of(path).unspool(count, sent=count, reason="")

    def _count_damage(self) -> None:
        if self._spool.take_damage():
            for path, count in self._own.values():
                _tally_of(path).unspool(count, sent=0, reason="spool_damaged")
            self._own = {}


def _tally_of(path: str) -> Tally:
    return COUNTERS.feedback if path == FEEDBACK else COUNTERS.spans

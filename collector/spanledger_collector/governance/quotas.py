"""Quotas: how much one key may send. A token bucket for each key that has one; pure, the time is given.

A bucket holds what the key may send in a minute and fills evenly, so that a sender who is a little too fast waits a second or
two and not until the minute is over. Each process counts for itself and from a full bucket on: with three collectors behind one
address a key may send up to three times its quota.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Final

from spanledger_collector.errors import SpanledgerError
from spanledger_collector.governance.keys import Access

MINUTE_S: Final = 60.0
QUOTA_MAX: Final = 1_000_000_000
_DUST: Final = 1e-6
"""What sums of fractions may be off: whoever waits exactly as long as they were told to must not be told again."""


class QuotaExceeded(SpanledgerError):
    """The key has sent as much as it may for now; the same request may succeed after `retry_after_s`."""

    code: ClassVar[str] = "quota_exceeded"
    status: ClassVar[int] = 429
    title: ClassVar[str] = "The quota of the key is used up"

    def __init__(self, quota: int, wait_s: float) -> None:
        """Say how long to wait, in whole seconds.

        Args:
            quota: Of the key, in spans a minute.
            wait_s: Until the request may succeed.
        """
        self.retry_after_s = max(1, math.ceil(wait_s))
        super().__init__(
            f"This key may send {quota:,} spans, logs and judgements a minute and has. Nothing of this request was stored; send "
            f"it again in {self.retry_after_s:,} s; an admin may raise the quota with `spanledger keys quota`."
        )


@dataclass(slots=True)
class _Bucket:
    quota: int
    level: float
    at_s: float
    wanted: float = 1.0
    """What the last refused request needs: until that is there, others are not read in vain and do not overtake it."""

    def wait_s(self, now_s: float) -> float:
        """How long until there is enough for what is wanted."""
        self.level = min(self.quota, self.level + (now_s - self.at_s) * self.quota / MINUTE_S)
        self.at_s = now_s
        return max(0.0, self.wanted - self.level - _DUST) * MINUTE_S / self.quota


class Quotas:
    """The buckets of one process: one for each key with a quota that sent something. For one thread."""

    def __init__(self) -> None:
        """Nobody has sent anything yet."""
        self._buckets: dict[str, _Bucket] = {}

    def check(self, access: Access, now_s: float) -> None:
        """Ask before a request is read whether its key may send anything now.

        Args:
            access: The key's.
            now_s: A clock that never goes back.

        Raises:
            QuotaExceeded: not yet.
        """
        bucket = self._of(access, now_s)
        if bucket is not None and (wait_s := bucket.wait_s(now_s)) > 0:
            raise QuotaExceeded(bucket.quota, wait_s)

    def take(self, access: Access, count: int, now_s: float) -> None:
        """Count what a request holds. One with more than a whole minute's is taken from a full bucket, and the next waits longer.

        Raises:
            QuotaExceeded: there is not enough left for it.
        """
        bucket = self._of(access, now_s)
        if bucket is None or not count:
            return
        bucket.wanted = max(bucket.wanted, min(count, bucket.quota))
        if (wait_s := bucket.wait_s(now_s)) > 0:
            raise QuotaExceeded(bucket.quota, wait_s)
        bucket.wanted = 1.0
        bucket.level -= count

    def give_back(self, access: Access, count: int) -> None:
        """Of a request that could not be kept after all: it will come again."""
        bucket = self._buckets.get(access.sender)
        if bucket is not None:
            bucket.level = min(bucket.quota, bucket.level + count)

    def _of(self, access: Access, now_s: float) -> _Bucket | None:
        quota = access.quota
        if not quota:
            # It may have had one until now.
            self._buckets.pop(access.sender, None)
            return None
        bucket = self._buckets.get(access.sender)
        if bucket is None or bucket.quota != quota:
            bucket = self._buckets[access.sender] = _Bucket(quota, float(quota), now_s)
        return bucket

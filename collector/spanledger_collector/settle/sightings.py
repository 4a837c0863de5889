"""Calls as instrumentations saw them, and which of them lie nearest in time: what finding twins without ids goes by."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from spanledger_collector.settle.twins import GAP_NS

_REMEMBERED_MAX: Final = 50_000
_BUCKET_MAX: Final = 100
_FULL_MAX: Final = 1_000

_K = TypeVar("_K")


class Sighting(NamedTuple):
    """A call that an instrumentation saw: times in nanoseconds since 1970."""

    trace_id: str
    scope: str
    start: int
    end: int

    def may_be(self, other: "Sighting") -> bool:
        """Whether both may be one call: seen by two scopes in two traces at the same time."""
        return (
            self.scope != other.scope
            and self.trace_id != other.trace_id
            and max(self.start, other.start) - min(self.end, other.end) <= GAP_NS
        )

    def distance(self, other: "Sighting") -> int:
        """How far apart both began and ended: of calls that run in parallel, twins lie in each other most closely."""
        return abs(self.start - other.start) + abs(self.end - other.end)


def nearest_of(seen: Sighting, others: Sequence[Sighting]) -> Sighting | None:
    """The call that lies most closely in another, of all that may be the same.

    Args:
        seen: A call.
        others: Calls by their start. Only those that began no further away than the nearest lies are looked at.

    """
    middle = bisect_left(others, seen.start, key=lambda other: other.start)
    best: Sighting | None = None
    for way in (range(middle, len(others)), range(middle - 1, -1, -1)):
        for at in way:
            other = others[at]
            if (best and abs(other.start - seen.start) > best.distance(seen)) or other.start > seen.end + GAP_NS:
                break
            if seen.may_be(other) and (best is None or (seen.distance(other), other) < (seen.distance(best), best)):
                best = other
    return best


class Remembered(Generic[_K]):
    """Sightings by key, young ones only: two generations, of which the older is dropped when the younger is full."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._young: dict[_K, list[Sighting]] = {}
        self._old: dict[_K, list[Sighting]] = {}
        self._dropped_until = 0
        self._cut_until: dict[_K, int] = {}

    def meet(self, key: _K, sighting: Sighting) -> list[Sighting] | None:
        """Note a sighting under a key; the earlier ones under it, or None where the key is new."""
        known = self._young.get(key)
        if known is None:
            known = self._old.get(key, [])
            if len(self._young) >= _REMEMBERED_MAX:
                self._drop()
        if len(known) > _BUCKET_MAX:
            self._cut_until[key] = max(self._cut_until.get(key, 0), *(each.end for each in known[:-_BUCKET_MAX]))
        self._young[key] = [*known[-_BUCKET_MAX:], sighting]
        return known or None

    def under(self, key: _K) -> list[Sighting]:
        """What is remembered under a key."""
        return self._young.get(key) or self._old.get(key, [])

    def forgotten_until(self, key: _K) -> int:
        """Calls that ended later than this are still remembered, if they came at all."""
        return max(self._dropped_until, self._cut_until.get(key, 0))

    def _drop(self) -> None:
        self._dropped_until = max([self._dropped_until, *(each.end for known in self._old.values() for each in known)])
        self._young, self._old = {}, self._young
        if len(self._cut_until) > _FULL_MAX:
            self._dropped_until = max(self._dropped_until, *self._cut_until.values())
            self._cut_until = {}

"""Which class and purpose spans have, and what is remembered of them for other requests. Pure but for its memory."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from spanledger_collector.ingest.decoded import Attributes, DecodedSpan, LogRecord
from spanledger_collector.ingest.dialects.facts import parse_json, text
from spanledger_schema import semconv
from spanledger_schema.spans import SpanRow

_REMEMBERED_MAX: Final = 50_000
_UNSURE_NS: Final = 5 * 60 * 1_000_000_000

Stated = tuple[str, str]
"""A class and a purpose; empty where none is stated."""
Place = tuple[str, str]
"""Trace and span id."""
NOTHING: Final[Stated] = ("", "")


def named(value: Any) -> str:
    """The class or purpose in an attribute; of a list or an object all that stand in it, each in a line of its own."""
    if isinstance(value, str) and value.startswith("["):
        # A list that became text on its way.
        value = parse_json(value) or value
    if isinstance(value, list | dict):
        return "\n".join(filter(None, map(named, value.values() if isinstance(value, dict) else value)))
    return text(value)


def own(attributes: Attributes) -> Stated:
    """What attributes state themselves."""
    return named(attributes.get(semconv.DATA_CLASS)), named(attributes.get(semconv.PURPOSE))


def either(first: Stated, other: Stated) -> Stated:
    """What is stated in one place, else in another."""
    return first[0] or other[0], first[1] or other[1]


def resolver(
    holders: Iterable[DecodedSpan] | Iterable[SpanRow], remembered: Callable[[Place], Stated] = lambda _: NOTHING
) -> Callable[[DecodedSpan | SpanRow], Stated]:
    """How to find what a span of these states: itself, else its nearest ancestor among them, else one that is remembered."""
    spans: dict[Place, DecodedSpan | SpanRow] = {(span.trace_id, span.span_id): span for span in holders}
    known: dict[str, dict[Place, str]] = {semconv.DATA_CLASS: {}, semconv.PURPOSE: {}}

    def stated(span: DecodedSpan | SpanRow, index: int, key: str) -> str:
        if found := named(span.attributes.get(key)):
            return found
        path, answers, place = [], known[key], (span.trace_id, span.parent_span_id)
        while place not in answers:
            # An answer before it is known ends a ring of spans that are each other's parents.
            answers[place] = ""
            path.append(place)
            holder = spans.get(place)
            if holder is None:
                found = remembered(place)[index]
                break
            if found := named(holder.attributes.get(key)):
                break
            place = holder.trace_id, holder.parent_span_id
        else:
            found = answers[place]
        answers.update(dict.fromkeys(path, found))
        return found

    return lambda span: (stated(span, 0, semconv.DATA_CLASS), stated(span, 1, semconv.PURPOSE))


def rooted(holders: Iterable[DecodedSpan]) -> Callable[[DecodedSpan], bool]:
    """How to find whether all ancestors of a span are among these, so that no other can say anything of it."""
    parents: dict[Place, str] = {(span.trace_id, span.span_id): span.parent_span_id for span in holders}
    known: dict[Place, bool] = {}

    def reaches_root(span: DecodedSpan) -> bool:
        path, place = [], (span.trace_id, span.span_id)
        while place not in known:
            # An answer before it is known ends a ring.
            known[place] = False
            path.append(place)
            parent = parents.get(place)
            if parent is None:
                break
            if not parent:
                known[place] = True
                break
            place = place[0], parent
        known.update(dict.fromkeys(path, found := known[place]))
        return found

    return reaches_root


class Classes:
    """What spans stated lately, for log records and for spans of other requests. Bounded; changed by one thread."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._inherited: dict[tuple[str, Place], Stated] = {}
        self._stated: dict[tuple[str, Place], Stated] = {}
        self._open: dict[tuple[str, str], None] = {}
        self._ruled: dict[tuple[str, str], None] = {}
        self._late: dict[tuple[str, str], int] = {}
        self._unsure_until = 0

    def inherited(self, project: str, place: Place) -> Stated:
        """What the children of a span inherit from it, as far as it is remembered."""
        return self._inherited.get((project, place), NOTHING)

    def learn(self, project: str, place: Place, inherited: Stated, stated: Stated) -> None:
        """Remember what a span gives to its children, and what it has itself, by its resource too; the oldest are forgotten."""
        if any(inherited):
            _remember(self._inherited, (project, place), inherited)
        if any(stated):
            _remember(self._stated, (project, place), stated)

    def meet(self, project: str, trace_id: str, received_at: int, *, is_open: bool, is_ruled: bool) -> None:
        """A span came for which an ancestor may say a class yet (open), or one that a rule is about because of what it inherits.

        Where a trace has both, the second may be an ancestor of the first, in whatever order and requests they came. For a while
        after the start nobody knows what came before, so every trace may be open.
        """
        trace = project, trace_id
        self._unsure_until = self._unsure_until or received_at + _UNSURE_NS
        if is_open:
            _remember(self._open, trace, None)
        if is_ruled:
            _remember(self._ruled, trace, None)
        if trace in self._ruled and (trace in self._open or received_at < self._unsure_until):
            _remember(self._late, trace, received_at)

    def take_late(self) -> dict[tuple[str, str], int]:
        """Traces (project and id) whose spans may have a class that came after them, with the time of receipt of the last."""
        late, self._late = self._late, {}
        return late

    def stated(self, project: str, place: Place) -> Stated:
        """What a span has, as far as it is remembered."""
        return self._stated.get((project, place), NOTHING)

    def of(self, project: str, record: LogRecord) -> tuple[Stated, Stated]:
        """What a log record states, else its span as far as it is remembered; and that, else its resource."""
        itself = either(own(record.attributes), self.stated(project, (record.trace_id, record.span_id)))
        return itself, either(itself, own(record.resource))


def _remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > _REMEMBERED_MAX:
        del memory[next(iter(memory))]

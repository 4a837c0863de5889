"""Evaluation as a pure state machine: what was, what is measured, and the time give what is and what to tell.

ok ──breach──▶ firing ──no breach──▶ ok            each arrow into or out of firing is one event
any ──too little data──▶ no_data (policy ok) or as before (policy keep)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from spanledger_collector.alerts.rules import Rule
from spanledger_schema.catalogue import MEASURES
from spanledger_schema.query import Query
from spanledger_schema.units import Unit

OK: Final = "ok"
FIRING: Final = "firing"
PENDING: Final = "pending"
NO_DATA: Final = "no_data"

GroupKey = tuple[str | None, ...]
Value = Decimal | float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """What one window of one group measured."""

    value: Value
    interactions: int


@dataclass(frozen=True, slots=True)
class GroupState:
    """How one group stands: ok, pending (some of several windows breach), firing or no_data; since when; the newest value."""

    state: str
    since: datetime
    value: Value = None


@dataclass(frozen=True, slots=True)
class Change:
    """A group began (`fired`) or ceased (`resolved`) to fire."""

    group: GroupKey
    kind: str
    value: Value
    window_start: datetime
    window_end: datetime


def query_of(rule: Rule, end: datetime, windows_back: int = 0) -> Query:
    """The question of one window; `windows_back` counts whole windows before the newest."""
    end = end - windows_back * rule.length
    measures = (rule.measure,) if rule.measure == "interactions" else (rule.measure, "interactions")
    return Query(measures, rule.group_by, None, rule.filters, end - rule.length, end, limit=10_000)


def judge(rule: Rule, samples: Sequence[Sample | None]) -> str:
    """How one group's windows, the newest first, stand against a rule; None is a window without the group."""
    newest = samples[0]
    if newest is None or newest.value is None or newest.interactions < rule.min_interactions:
        return NO_DATA
    breached = [sample is not None and sample.value is not None and rule.breaches(sample.value) for sample in samples]
    if all(breached):
        return FIRING
    return PENDING if breached[0] else OK


def step(
    rule: Rule, before: Mapping[GroupKey, GroupState], windows: Sequence[Mapping[GroupKey, Sample]], now: datetime
) -> tuple[dict[GroupKey, GroupState], list[Change]]:
    """Advance a rule.

    Args:
        rule: The rule.
        before: Its groups' states.
        windows: Measured groups of its `for_windows` windows, the newest first.
        now: The end of the newest window.

    Returns:
        The states now, and the changes to tell, in order of their groups.
    """
    after: dict[GroupKey, GroupState] = {}
    changes: list[Change] = []
    for key in sorted(set(before) | set(windows[0]), key=lambda key: tuple(part or "" for part in key)):
        samples = [window.get(key) for window in windows]
        verdict = judge(rule, samples)
        value = samples[0].value if samples[0] is not None else None
        was = before.get(key, GroupState(OK, now))
        if verdict == NO_DATA and rule.no_data == "keep" and was.state == FIRING:
            after[key] = replace(was, value=value)
            continue
        after[key] = GroupState(verdict, was.since if was.state == verdict else now, value)
        if (was.state == FIRING) != (verdict == FIRING):
            kind = "fired" if verdict == FIRING else "resolved"
            changes.append(Change(key, kind, value, now - rule.length, now))
        if verdict == NO_DATA and samples[0] is None and rule.group_by:
            # A group that is gone needs no state of its own; a rule without groups keeps its one.
            del after[key]
    return after, changes


def overall(states: Mapping[GroupKey, GroupState]) -> str:
    """One word for all groups of a rule: the worst of them."""
    found = {state.state for state in states.values()}
    return next((word for word in (FIRING, PENDING, OK) if word in found), NO_DATA)


def summary(rule: Rule, change: Change) -> str:
    """A change in words, such as "Cost over 1h was $12.40 (limit > $10.00) for feature = search"."""
    measure = MEASURES[rule.measure]
    scope = [f"{name} = {value or 'not set'}" for name, value in zip(rule.group_by, change.group, strict=True)]
    words = (
        f"{measure.label} over {rule.window} {'was' if change.kind == 'fired' else 'is'} {in_words(change.value, measure.unit)}"
    )
    words += f" (limit {rule.comparison} {in_words(rule.threshold, measure.unit)})"
    return words + (f" for {', '.join(scope)}" if scope else "")


def in_words(value: Value, unit: Unit) -> str:
    """A value with its unit, for texts of alerts."""
    if value is None:
        return "unknown"
    number = Decimal(repr(value)) if isinstance(value, float) else value
    match unit:
        case Unit.USD:
            if abs(number) >= 1 or number == 0 or number == round(number, 2):
                return f"${number:,.2f}"
            return f"${number.normalize():.3g}"
        case Unit.RATIO | Unit.PROBABILITY:
            return f"{number * 100:.1f}%"
        case Unit.SECONDS:
            return f"{number:.3g} s"
        case _:
            suffix = "" if unit is Unit.COUNT else f" {unit.value}"
            return f"{number:,.0f}{suffix}" if number == number.to_integral_value() else f"{number:.4g}{suffix}"

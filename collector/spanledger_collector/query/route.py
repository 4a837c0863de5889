"""Which source can answer which measure. Pure.

* `calls`: one row per call.
* `interactions`: one row per interaction.
* `every_span`: the same with traces that hold no AI span, for counting spans.
* `losses`: what SDKs lost, for the measures of that alone.
* `touched`: one row per interaction and group of its calls, for measures of interactions by a dimension of calls: an interaction
  counts in each group that it touches, with only that group's money and tokens.
"""

from collections.abc import Iterable
from enum import StrEnum

from spanledger_schema.catalogue import MEASURES, Measure
from spanledger_schema.dimensions import DIMENSIONS, TAG_DIMENSION_PREFIX
from spanledger_schema.query import Query, QueryError


class Source(StrEnum):
    """A relation that measures are computed from."""

    CALLS = "calls"
    INTERACTIONS = "interactions"
    EVERY_SPAN = "every_span"
    TOUCHED = "touched"
    LOSSES = "losses"


def dimensions_of(query: Query) -> list[str]:
    """All dimensions that a query groups or filters by."""
    return list(dict.fromkeys((*query.dimensions, *(item.dimension for item in query.filters))))


def of_calls_only(names: Iterable[str]) -> list[str]:
    """Those that only calls have."""
    return [name for name in names if _known(name) and DIMENSIONS[name].calls and DIMENSIONS[name].interactions is None]


def of_interactions_only(names: Iterable[str]) -> list[str]:
    """Those that only interactions have."""
    return [name for name in names if _known(name) and DIMENSIONS[name].interactions and DIMENSIONS[name].calls is None]


def not_of_calls(names: Iterable[str]) -> list[str]:
    """Those that calls have not."""
    return [name for name in names if _known(name) and DIMENSIONS[name].calls is None]


def _known(name: str) -> bool:
    return not name.startswith(TAG_DIMENSION_PREFIX)


def _check_losses(measure: Measure, names: Iterable[str]) -> None:
    """Losses and what arrived have few dimensions in common."""
    for name in names:
        dimension = DIMENSIONS[name] if _known(name) else None
        if measure.losses is not None and (dimension is None or dimension.losses is None):
            has = ", ".join(known.name for known in DIMENSIONS.values() if known.losses is not None)
            raise QueryError(f"{measure.name} is of what never arrived; of that is known: {has}, and not {name[:60]}")
        if measure.losses is None and dimension is not None and dimension.calls is None and dimension.interactions is None:
            raise QueryError(f"{measure.name} cannot be broken down or filtered by {name}, which only losses of SDKs have")


def route(query: Query) -> dict[Source, list[Measure]]:
    """Group a query's measures by the source that answers them.

    Raises:
        QueryError: no source can answer a measure by these dimensions.
    """
    names = dimensions_of(query)
    needs_calls, needs_interactions = of_calls_only(names), of_interactions_only(names)
    plan: dict[Source, list[Measure]] = {}
    for name in query.measures:
        measure = MEASURES[name]
        _check_losses(measure, names)
        plan.setdefault(_source(measure, needs_calls, needs_interactions), []).append(measure)
    return plan


def _source(measure: Measure, needs_calls: list[str], needs_interactions: list[str]) -> Source:
    if measure.losses is not None:
        return Source.LOSSES
    if measure.calls is not None and not needs_interactions and (needs_calls or measure.interactions is None):
        return Source.CALLS
    if measure.interactions is not None:
        if needs_calls:
            return Source.TOUCHED
        return Source.EVERY_SPAN if measure.every_span else Source.INTERACTIONS
    raise QueryError(
        f"{measure.name} is measured on calls and cannot be broken down or filtered by {needs_interactions[0]}, "
        "which interactions have; leave one of the two out"
    )

"""Spending in more than one number. Each question takes the filters, range and time zone of a Query."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body

from spanledger_collector.api import reconcile
from spanledger_collector.api.services import ProjectDep, ServicesDep
from spanledger_collector.query import costs, savings
from spanledger_schema.query import Query, QueryError, parse_time

router = APIRouter(prefix="/api/v1/costs", tags=["Costs"])
router.include_router(reconcile.router)

_EXAMPLE = {
    "filters": [{"dimension": "feature", "op": "in", "values": ["search"]}],
    "start": "2026-11-01T00:00:00Z",
    "end": "2026-11-22T00:00:00Z",
    "timezone": "UTC",
}
Question = Annotated[dict[str, Any], Body(examples=[_EXAMPLE])]


def _query(raw: dict[str, Any], *more: str) -> Query:
    allowed = {"filters", "start", "end", "timezone", *more}
    if unknown := sorted(map(str, set(raw) - allowed)):
        raise QueryError(f"unknown field {unknown[0][:60]!r}; there are: {', '.join(sorted(allowed))}")
    return Query.from_dict({"measures": ["generations"], **{key: raw[key] for key in raw if key not in more}})


@router.post("/changes", summary="Why did cost change?")
def post_changes(raw: Question, parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """An exact decomposition against the period before (or `compare_start` to `compare_end`): volume, mix, tokens, price."""
    query = _query(raw, "compare_start", "compare_end")
    start, end = parse_time(raw.get("compare_start"), "compare_start"), parse_time(raw.get("compare_end"), "compare_end")
    if start is None or end is None:
        if query.start is None or query.end is None:
            raise QueryError("this needs a start and an end")
        start, end = query.start - (query.end - query.start), query.start
    return costs.changes(parts.store, project, query, (start, end))


@router.post("/distribution", summary="What does one interaction cost?")
def post_distribution(raw: Question, parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """The distribution of cost per interaction, and what its dearest twentieth has more often than the rest."""
    return costs.distribution(parts.store, project, _query(raw))


@router.post("/waste", summary="What was paid for nothing?")
def post_waste(raw: Question, parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """Wasted cost by cause: failed, retried, truncated, rejected, abandoned."""
    return costs.waste(parts.store, project, _query(raw))


@router.post("/caching", summary="What does caching save, and what could it?")
def post_caching(raw: Question, parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """Savings made and an upper bound of savings missed, by feature and model."""
    return savings.caching(parts.store, project, _query(raw), parts.books.of(project))


@router.post("/what-if", summary="What would another model have cost?")
def post_what_if(raw: Question, parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """The same tokens at another `model`'s prices (and `provider`'s, where the name alone does not say), with caveats."""
    model, provider = raw.get("model"), raw.get("provider", "")
    if not isinstance(model, str) or not model or not isinstance(provider, str):
        raise QueryError("model is the name of a model, such as gpt-4o-mini; provider a text")
    query = _query(raw, "model", "provider")
    if query.start is None or query.end is None:
        now = datetime.now(UTC)
        query = Query.from_dict({**query.to_dict(), "start": query.start or now - timedelta(days=30), "end": query.end or now})
    return savings.what_if(parts.store, project, query, parts.books.of(project), provider[:200], model[:200])


@router.post("/month", summary="What will this month cost?")
def post_month(raw: Question, parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """The month so far and a forecast of its end with P10, P50 and P90; null where the history is too short."""
    return savings.month(parts.store, project, _query(raw), datetime.now(UTC))

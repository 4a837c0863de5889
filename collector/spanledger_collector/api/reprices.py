"""Re-pricing of history: begin one, watch it, and read what each one changed."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query

from spanledger_collector.api.services import ProjectDep, ServicesDep
from spanledger_collector.errors import InvalidQuestion, NotFound
from spanledger_collector.pricing.quote import usd_text
from spanledger_collector.query.compile import bounded
from spanledger_collector.query.interactions import iso
from spanledger_collector.settle.reprice import Scope
from spanledger_collector.store.reprice_book import Change, Reprice
from spanledger_schema.query import parse_time

router = APIRouter(prefix="/api/v1/reprices", tags=["Prices"])

_EXAMPLE = {"since": "2026-10-01T00:00:00Z", "until": None, "model": "gpt-4o*", "dry_run": True}
_FIELDS = frozenset(_EXAMPLE)


@router.post("", summary="Price history again", status_code=202)
def post_reprice(
    body: Annotated[dict[str, Any], Body(examples=[_EXAMPLE])], parts: ServicesDep, project: ProjectDep
) -> dict[str, Any]:
    """Settle past calls again with the prices that are known now. Answers at once; watch it under its `id`.

    `since` and `until` (exclusive) are times of the calls' starts, `model` is a name or a pattern such as `gpt-4o*`; without
    them all of history is looked at. A trace is priced again whole. `dry_run` (false unless said) only tells what would change.
    """
    if unknown := sorted(set(body) - _FIELDS):
        raise InvalidQuestion(f"There is no field {unknown[0][:60]!r}; there are {', '.join(sorted(_FIELDS))}.")
    is_dry_run, model = body.get("dry_run", False), body.get("model")
    if not isinstance(is_dry_run, bool):
        raise InvalidQuestion("dry_run is true or false.")
    if model is not None and (not isinstance(model, str) or not 0 < len(model) <= 300):
        raise InvalidQuestion("model is a name or a pattern such as gpt-4o*.")
    since, until = (parse_time(body.get(name), name) for name in ("since", "until"))
    since, until = (None if time is None else bounded(time) for time in (since, until))
    if since is not None and until is not None and since >= until:
        raise InvalidQuestion("since must lie before until.")
    return show(parts.repricer.begin(project, Scope(since, until, model), is_dry_run=is_dry_run))


@router.get("", summary="Re-pricings")
def get_reprices(parts: ServicesDep, project: ProjectDep, limit: Annotated[int, Query(ge=1, le=1_000)] = 50) -> dict[str, Any]:
    """What was priced again when, and what it changed, the newest first."""
    return {"reprices": [show(found) for found in parts.repricer.known(project, limit)]}


@router.get("/{reprice_id}", summary="One re-pricing")
def get_reprice(reprice_id: str, parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """How far it is, and what it has changed so far.

    `state`: queued, running, done, stopped (the collector was stopped), interrupted (it ended in the middle) or failed. Sums are
    over the calls that changed, an unknown cost as 0; totals have moved by exactly `difference_usd` (a dry run: would move).
    """
    found = parts.repricer.find(project, reprice_id)
    if found is None:
        raise NotFound("This project has no such re-pricing.")
    return show(found)


def show(found: Reprice) -> dict[str, Any]:
    """A re-pricing as the API shows it."""
    return {
        "id": found.reprice_id,
        "state": found.state,
        "dry_run": found.is_dry_run,
        **found.filters,
        "started_at": iso(found.started_at),
        "traces_total": found.traces_total,
        "traces_done": found.traces_done,
        "calls_changed": found.calls_changed,
        "before_usd": usd_text(found.before_pico),
        "after_usd": usd_text(found.after_pico),
        "difference_usd": usd_text(found.after_pico - found.before_pico),
        "changes": [_show_change(change) for change in found.changes],
    }


def _show_change(change: Change) -> dict[str, Any]:
    return {
        "provider": change.provider or None,
        "model": change.model or None,
        "processing": change.processing or None,
        "calls": change.calls,
        "before": {"status": change.before_status, "price": change.before or None, "usd": usd_text(change.before_pico)},
        "after": {"status": change.after_status, "price": change.after or None, "usd": usd_text(change.after_pico)},
        "difference_usd": usd_text(change.after_pico - change.before_pico),
        "why": change.why,
    }

"""Alert rules, their states, a preview by the evaluator's own code, and the history."""

import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Body, Query
from starlette.responses import Response

from spanledger_collector.alerts.evaluate import FIRING, GroupKey, GroupState, overall, query_of, step
from spanledger_collector.alerts.rules import Rule, parse_rule
from spanledger_collector.api.questions import Time
from spanledger_collector.api.services import AccessDep, ProjectDep, Services, ServicesDep
from spanledger_collector.clock import CLOCK
from spanledger_collector.errors import InvalidQuestion, NotFound
from spanledger_collector.query.compile import bounded, compile_query
from spanledger_collector.query.interactions import iso
from spanledger_collector.query.run import plain_value
from spanledger_collector.store import alert_book
from spanledger_collector.store.alert_book import AlertEvent, StoredRule
from spanledger_schema.query import parse_time

router = APIRouter(prefix="/api/v1/alerts", tags=["Alerts"])

_POINTS_MAX = 150
_EXAMPLE = {
    "name": "Hourly spend of search",
    "measure": "cost_usd",
    "filters": [{"dimension": "feature", "op": "in", "values": ["search"]}],
    "group_by": ["model"],
    "window": "1h",
    "comparison": ">",
    "threshold": "25.00",
    "min_interactions": 10,
    "severity": "warning",
    "webhooks": ["https://hooks.example.com/spanledger"],
    "emails": ["oncall@example.com"],
}
RuleBody = Annotated[dict[str, Any], Body(examples=[_EXAMPLE])]


@router.get("/rules", summary="Rules and their states")
def get_rules(parts: ServicesDep, project: ProjectDep, access: AccessDep) -> dict[str, Any]:
    """All rules of the project, each with its state and that of its groups.

    Of the addresses of webhooks, which are often secrets, only admins see more than the host.
    """
    shown = [_show(parts, stored) for stored in alert_book.read_rules(parts.store, project)]
    if not access.may("admin"):
        shown = [{**rule, "webhooks": [_host_of(url) for url in rule["webhooks"]]} for rule in shown]
    return {"rules": shown}


@router.post("/rules", summary="Make a rule", status_code=201)
def post_rule(raw: RuleBody, parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """Make a rule. The answer has the `signing_secret` of its webhooks, which is not shown again."""
    rule = _checked(raw, uuid.uuid4().hex[:16], project)
    secret = secrets.token_urlsafe(32)
    stored = StoredRule(project, rule.id, {"rule": rule.to_dict(), "signing_secret": secret})
    alert_book.write_rule(parts.store, stored, CLOCK.now_ns())
    return {**_show(parts, stored), "signing_secret": secret}


@router.put("/rules/{rule_id}", summary="Change a rule")
def put_rule(rule_id: str, raw: RuleBody, parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """Replace a rule; its secret stays."""
    before = _find(parts, project, rule_id)
    rule = _checked(raw, rule_id, project)
    stored = StoredRule(project, rule_id, {**before.body, "rule": rule.to_dict()})
    alert_book.write_rule(parts.store, stored, CLOCK.now_ns())
    parts.evaluator.forget(project, rule_id, "changed")
    return _show(parts, stored)


@router.delete("/rules/{rule_id}", summary="Delete a rule", status_code=204)
def delete_rule(rule_id: str, parts: ServicesDep, project: ProjectDep) -> Response:
    """Delete a rule; its history stays."""
    stored = _find(parts, project, rule_id)
    alert_book.write_rule(parts.store, stored, CLOCK.now_ns(), is_deleted=True)
    parts.evaluator.forget(project, rule_id, "deleted")
    return Response(status_code=204)


@router.post("/preview", summary="What a rule would have done")
def post_preview(body: Annotated[dict[str, Any], Body()], parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """A rule with `start` and `end`: what its window measured over that time, and when it would have fired."""
    raw = body.get("rule", {key: value for key, value in body.items() if key not in ("start", "end")})
    rule = _checked(raw, "preview", project)
    end = bounded(parse_time(body.get("end"), "end") or datetime.now(UTC))
    start = bounded(parse_time(body.get("start"), "start") or end - max(timedelta(days=1), 24 * rule.length))
    if start >= end:
        raise InvalidQuestion("start lies before end.")
    count = max(2, min(_POINTS_MAX, int((end - start) / max(rule.length / 4, timedelta(seconds=15)))))
    every = (end - start) / count
    states: dict[GroupKey, GroupState] = {}
    points: list[dict[str, Any]] = []
    fires: list[dict[str, Any]] = []
    open_fires: dict[GroupKey, dict[str, Any]] = {}
    for index in range(1, count + 1):
        at = start + index * every
        windows = parts.evaluator.measure(rule, project, at)
        states, changes = step(rule, states, windows, at)
        for key, sample in windows[0].items():
            breached = states.get(key, GroupState("ok", at)).state == FIRING
            point = {"time": _iso(at), "group": _group(rule, key), "value": plain_value(sample.value)}
            points.append({**point, "breached": breached, "interactions": sample.interactions})
        for change in changes:
            if change.kind == "fired":
                open_fires[change.group] = {"from": _iso(at), "to": None, "group": _group(rule, change.group)}
                fires.append(open_fires[change.group])
            elif change.group in open_fires:
                open_fires.pop(change.group)["to"] = _iso(at)
    return {"points": points, "fires": fires}


@router.get("/events", summary="History")
def get_events(
    parts: ServicesDep,
    project: ProjectDep,
    start: Time = None,
    end: Time = None,
    rule_id: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 200,
    *,
    access: AccessDep,
) -> dict[str, Any]:
    """What fired and resolved, the newest first, with how it was told; the addresses of webhooks as in the rules."""
    rules = {stored.rule_id: stored.body["rule"] for stored in alert_book.read_rules(parts.store, project)}
    since, until = (None if time is None else bounded(time) for time in (start, end))
    events = alert_book.read_events(parts.store, project, rule_id=rule_id, start=since, end=until, limit=limit)
    shown = [_show_event(event, rules.get(event.rule_id, {}).get("group_by", [])) for event in events]
    if not access.may("admin"):
        shown = [{**event, "delivery": _told_hosts(event["delivery"])} for event in shown]
    return {"events": shown}


def _checked(raw: Any, rule_id: str, project: str) -> Rule:
    """Parse a rule and make sure that its question can be answered before anybody relies on it."""
    rule = parse_rule(raw, rule_id)
    compile_query(query_of(rule, datetime.now(UTC)), project)
    return rule


def _find(parts: Services, project: str, rule_id: str) -> StoredRule:
    for stored in alert_book.read_rules(parts.store, project):
        if stored.rule_id == rule_id:
            return stored
    raise NotFound("This project has no such alert rule.")


def _show(parts: Services, stored: StoredRule) -> dict[str, Any]:
    rule = parse_rule(stored.body["rule"], stored.rule_id)
    states, evaluated = parts.evaluator.state_of(stored.project, stored.rule_id)
    groups = [
        {"group": _group(rule, key), "state": state.state, "value": plain_value(state.value), "since": _iso(state.since)}
        for key, state in states.items()
    ]
    word = "ok" if evaluated is None and not states else overall(states)
    return {**rule.to_dict(), "state": word, "groups": groups, "last_evaluated_at": _iso(evaluated) if evaluated else None}


def _host_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/…"


def _told_hosts(delivery: dict[str, str] | None) -> dict[str, str] | None:
    """How it was told, by host; two addresses of one host share an entry that has both results."""
    if delivery is None:
        return None
    found: dict[str, set[str]] = {}
    for target, result in delivery.items():
        found.setdefault(_host_of(target) if "://" in target else target, set()).add(result)
    return {target: "; ".join(sorted(results)) for target, results in found.items()}


def _group(rule: Rule, key: GroupKey) -> dict[str, str | None]:
    return dict(zip(rule.group_by, key, strict=True))


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _show_event(event: AlertEvent, group_by: list[str]) -> dict[str, Any]:
    values = orjson.loads(event.group_key)
    names = group_by if len(group_by) == len(values) else [f"group_{index + 1}" for index in range(len(values))]
    return {
        "id": event.event_id,
        "rule_id": event.rule_id,
        "rule_name": event.rule_name,
        "group": dict(zip(names, values, strict=True)),
        "kind": event.kind,
        "value": event.value,
        "threshold": event.threshold,
        "at": iso(event.at),
        "window_start": iso(event.window_start),
        "window_end": iso(event.window_end),
        "summary": event.summary,
        "delivery": orjson.loads(event.delivery) if event.delivery else None,
    }

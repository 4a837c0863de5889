"""`spanledger alerts`."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from spanledger.cli._show import (
    AsJson,
    Filters,
    Project,
    Url,
    connect,
    last,
    parse_filters,
    safe,
    show_json,
    show_table,
    warn,
)

alerts = typer.Typer(
    help="Alert rules: list, create, preview, delete, and what they did.", no_args_is_help=True, add_completion=False
)

Measure = Annotated[str, typer.Option("--measure", "-m", help="Any measure, such as cost_usd or failure_rate.")]
Threshold = Annotated[str, typer.Option("--threshold", "-t", help="The limit, in the measure's unit.")]
Comparison = Annotated[str, typer.Option("--comparison", "-c", help="When it is breached: '>', '>=', '<' or '<='.")]
Window = Annotated[str, typer.Option("--window", "-w", help="Over which time: 5m, 1h, 1d.")]
GroupBy = Annotated[list[str] | None, typer.Option("--by", "-b", help="Judge each value of this dimension apart.")]
Enough = Annotated[int, typer.Option("--min-interactions", min=0, help="Judge only windows with so many.")]


def _rule(
    name: str,
    measure: str,
    comparison: str,
    threshold: str,
    window: str,
    by: list[str] | None,
    filters: list[str] | None,
    enough: int,
) -> dict[str, Any]:
    return {
        "name": name,
        "measure": measure,
        "comparison": comparison,
        "threshold": threshold,
        "window": window,
        "group_by": by or [],
        "filters": parse_filters(filters),
        "min_interactions": enough,
    }


@alerts.command("list")
def list_rules(as_json: AsJson = False, url: Url = None, project: Project = None) -> None:
    """All rules and their present state."""
    with connect(url, project) as client:
        rules = client.alert_rules()
    if as_json:
        for rule in rules:
            show_json(rule)
        return
    rows = [[safe(rule.get("id")), _state(rule), safe(rule.get("name")), _condition(rule)] for rule in rules]
    show_table(["id", "state", "name", "condition"], rows)


@alerts.command()
def create(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    measure: Measure,
    threshold: Threshold,
    comparison: Comparison = ">",
    window: Window = "1h",
    by: GroupBy = None,
    filters: Filters = None,
    min_interactions: Enough = 0,
    for_windows: Annotated[int, typer.Option(min=1, help="Fire after so many breached windows in a row.")] = 1,
    severity: Annotated[str, typer.Option(help="info, warning or critical.")] = "warning",
    webhook: Annotated[list[str] | None, typer.Option(help="Address to call.")] = None,
    email: Annotated[list[str] | None, typer.Option(help="Address to write to.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """Create a rule."""
    rule = _rule(name, measure, comparison, threshold, window, by, filters, min_interactions)
    rule |= {"for_windows": for_windows, "severity": severity, "webhooks": webhook or [], "emails": email or [], "enabled": True}
    with connect(url, project) as client:
        created = client.create_alert_rule(rule)
    if as_json:
        show_json(created)
        return
    show_table(["id", "name", "condition"], [[safe(created.get("id")), safe(created.get("name")), _condition(created)]])
    if secret := created.get("signing_secret"):
        warn(f"signing secret of its webhooks, shown this once: {secret}")


@alerts.command()
def preview(
    rule_id: Annotated[str | None, typer.Argument(help="An existing rule; else say --measure and --threshold.")] = None,
    measure: Annotated[str | None, typer.Option("--measure", "-m", help="Any measure.")] = None,
    threshold: Annotated[str | None, typer.Option("--threshold", "-t", help="The limit.")] = None,
    comparison: Comparison = ">",
    window: Window = "1h",
    by: GroupBy = None,
    filters: Filters = None,
    min_interactions: Enough = 0,
    since: Annotated[str, typer.Option("--last", help="Over which past time.")] = "7d",
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """When a rule would have fired in the past."""
    with connect(url, project) as client:
        if rule_id is not None:
            found = [rule for rule in client.alert_rules() if rule.get("id") == rule_id]
            if not found:
                raise typer.BadParameter(f"there is no rule {safe(rule_id)}")
            rule = {key: value for key, value in found[0].items() if key not in ("state", "groups", "last_evaluated_at")}
        elif measure is not None and threshold is not None:
            rule = _rule("preview", measure, comparison, threshold, window, by, filters, min_interactions)
        else:
            raise typer.BadParameter("give the id of a rule, or --measure and --threshold")
        answer = client.preview_alert(rule, last(since), datetime.now(UTC))
    if as_json:
        show_json(answer)
        return
    fires = answer.get("fires") or []
    rows = [[safe(f.get("from")), safe(f.get("to") or "still"), _group(f.get("group"))] for f in fires]
    if rows:
        show_table(["from", "to", "group"], rows)
    else:
        warn(f"would not have fired in the last {since} ({len(answer.get('points') or [])} windows judged)")


@alerts.command()
def delete(rule_id: Annotated[str, typer.Argument(help="Its id.")], url: Url = None, project: Project = None) -> None:
    """Delete a rule."""
    with connect(url, project) as client:
        client.delete_alert_rule(rule_id)


@alerts.command()
def events(
    since: Annotated[str, typer.Option("--last", help="How far back: 30m, 6h, 7d.")] = "7d",
    rule_id: Annotated[str | None, typer.Option("--rule", help="Of one rule only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """What fired and was resolved."""
    with connect(url, project) as client:
        found = client.alert_events(start=last(since), rule_id=rule_id, limit=limit)
    if as_json:
        for event in found:
            show_json(event)
        return
    rows = [
        [safe(e.get("at")), safe(e.get("kind")), safe(e.get("rule_name")), _group(e.get("group")), safe(e.get("summary"), 200)]
        for e in found
    ]
    show_table(["at", "what", "rule", "group", "summary"], rows)


def _state(rule: dict[str, Any]) -> str:
    return safe(rule.get("state") or "") if rule.get("enabled", True) else "off"


def _condition(rule: dict[str, Any]) -> str:
    by = f" by {', '.join(rule['group_by'])}" if rule.get("group_by") else ""
    return safe(f"{rule.get('measure')} {rule.get('comparison')} {rule.get('threshold')} over {rule.get('window')}{by}")


def _group(group: object) -> str:
    return ", ".join(f"{safe(key)}={safe(value)}" for key, value in group.items()) if isinstance(group, dict) else ""

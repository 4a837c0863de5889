"""`spanledger projects`, `spanledger erase` and `spanledger backup`: what is kept, for how long, and where else."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from spanledger.cli._show import AsJson, Project, Url, connect, safe, show_json, show_table, warn

_BACKUP_S = 3_600.0

projects = typer.Typer(
    help="Projects: list them, how long they keep data, and rules for classes of data.",
    no_args_is_help=True,
    add_completion=False,
)


@projects.command("list")
def list_projects(as_json: AsJson = False, url: Url = None) -> None:
    """The projects that the key may read, what they hold, and for how long."""
    with connect(url, None) as client:
        found = client.projects()
    if as_json:
        for project in found:
            show_json(project)
        return
    rows = [
        [
            safe(item["name"]),
            f"{item['spans']:,}",
            item["first_at"] or "—",
            item["last_at"] or "—",
            f"{item['numbers_days']} days",
            f"{item['content_days']} days",
        ]
        for item in found
    ]
    show_table(["project", "spans", "first", "last", "numbers kept", "content kept"], rows)


@projects.command("set")
def set_project(
    name: Annotated[str, typer.Argument(help="The project.")],
    numbers_days: Annotated[int | None, typer.Option("--numbers-days", min=1, help="Days that numbers are kept.")] = None,
    content_days: Annotated[
        int | None, typer.Option("--content-days", min=1, help="Days that prompts and answers are kept.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Say for how many days a project keeps numbers, and what people and models wrote."""
    given = {"numbers_days": numbers_days, "content_days": content_days}
    body = {key: value for key, value in given.items() if value is not None}
    if not body:
        raise typer.BadParameter("give --numbers-days, --content-days or both")
    with connect(url, None) as client:
        found = client.call("PUT", f"/api/v1/projects/{name}", body=body)
    if as_json:
        show_json(found)
    else:
        warn(f"{safe(found['name'])} keeps numbers for {found['numbers_days']} days and content for {found['content_days']}")


DataClass = Annotated[str | None, typer.Option("--data-class", help='The class; without it any, "" for data that states none.')]
Purpose = Annotated[str | None, typer.Option("--purpose", help='The purpose; without it any, "" for data that states none.')]
Name = Annotated[str, typer.Argument(help="The project.")]


@projects.command("rules")
def list_rules(name: Name, as_json: AsJson = False, url: Url = None) -> None:
    """What becomes of data of a class or with a purpose when it reaches the collector."""
    with connect(url, None) as client:
        _show_rules(client.call("GET", _rules_path(name))["rules"], as_json)


@projects.command("set-rule")
def set_rule(
    name: Name,
    action: Annotated[str, typer.Argument(help="deny, strip, mask or redact.")],
    data_class: DataClass = None,
    purpose: Purpose = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Say what becomes of data of a class, with a purpose, or both; of several rules that match the strictest holds."""
    rule = {"data_class": data_class, "purpose": purpose, "action": action}
    with connect(url, None) as client:
        kept = _others(client.call("GET", _rules_path(name))["rules"], data_class, purpose)
        _show_rules(client.call("PUT", _rules_path(name), body={"rules": [*kept, rule]})["rules"], as_json)


@projects.command("remove-rule")
def remove_rule(
    name: Name, data_class: DataClass = None, purpose: Purpose = None, as_json: AsJson = False, url: Url = None
) -> None:
    """Take back a rule, named by its class and purpose."""
    with connect(url, None) as client:
        rules = client.call("GET", _rules_path(name))["rules"]
        kept = _others(rules, data_class, purpose)
        if len(kept) == len(rules):
            raise typer.BadParameter("there is no rule about just that; `spanledger projects rules` lists them")
        _show_rules(client.call("PUT", _rules_path(name), body={"rules": kept})["rules"], as_json)


def _rules_path(name: str) -> str:
    return f"/api/v1/projects/{quote(name, safe='')}/data-rules"


def _others(rules: list[dict[str, Any]], data_class: str | None, purpose: str | None) -> list[dict[str, Any]]:
    """The rules that are about another pair of class and purpose."""
    pair = _plain(data_class), _plain(purpose)
    return [rule for rule in rules if (_plain(rule["data_class"]), _plain(rule["purpose"])) != pair]


def _plain(name: str | None) -> str | None:
    return None if name is None else name.strip().casefold()


def _show_rules(rules: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for rule in rules:
            show_json(rule)
        return
    words = {None: "any", "": "none stated"}
    rows = [[words.get(rule[key], safe(rule[key] or "")) for key in ("data_class", "purpose", "action")] for rule in rules]
    show_table(["data class", "purpose", "action"], rows)


def backup(
    name: Annotated[str | None, typer.Option("--name", "-n", help="What it is called; without it the time.")] = None,
    base: Annotated[str | None, typer.Option("--base", help="An earlier backup: keep only what is new since it.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Back up the embedded store while it runs, and try the backup out."""
    body = {key: value for key, value in (("name", name), ("base", base)) if value is not None}
    with connect(url, None, timeout_s=_BACKUP_S) as client:
        found = client.call("POST", "/api/v1/backups", body=body)
    if as_json:
        show_json(found)
        return
    warn(f"{safe(found['name'])} is whole: {safe(found['path'] or '')}")
    rows = [
        [safe(project), f"{held['spans']:,}", f"{held['interactions']:,}", held["cost_usd"]]
        for project, held in found["totals"].items()
    ]
    show_table(["project", "spans", "interactions", "USD"], rows)


def erase(
    user: Annotated[str, typer.Option("--user", help="Whose data; the id that spans carry.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """Delete everything of one person from a project, for good."""
    if not yes:
        typer.confirm(f"Delete everything of {safe(user)} for good?", abort=True, err=True)
    with connect(url, project) as client:
        found = client.call("POST", "/api/v1/erasures", body={"user": user})
    if as_json:
        show_json(found)
    else:
        warn(f"erased {found['traces']} traces and {found['interactions_in_shared_traces']} interactions in shared ones")
    if found["rows_left"]:
        warn(f"{found['rows_left']} rows are left; do it again")
        raise typer.Exit(1)

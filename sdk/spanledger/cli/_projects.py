"""`spanledger projects`, `spanledger erase` and `spanledger backup`: what is kept, for how long, and where else."""

from typing import Annotated

import typer

from spanledger.cli._show import AsJson, Project, Url, connect, safe, show_json, show_table, warn

_BACKUP_S = 3_600.0

projects = typer.Typer(help="Projects: list them, and set how long they keep data.", no_args_is_help=True, add_completion=False)


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

"""`spanledger keys` and `spanledger audit`: who may do what, and what was done."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from spanledger.cli._show import AsJson, Project, Url, connect, parse_duration, safe, show_json, show_table, warn

keys = typer.Typer(help="Keys: list, make, replace and revoke.", no_args_is_help=True, add_completion=False)
audit = typer.Typer(help="The audit log: list and verify.", no_args_is_help=True, add_completion=False)

KeyId = Annotated[str, typer.Argument(help="Id of a key, as `list` shows it.")]


@keys.command("list")
def list_keys(as_json: AsJson = False, url: Url = None) -> None:
    """All keys, without their secrets."""
    with connect(url, None) as client:
        found = client.call("GET", "/api/v1/keys")["keys"]
    if as_json:
        for key in found:
            show_json(key)
        return
    rows = [
        [
            key["id"],
            safe(key["project"]),
            safe(key["name"]),
            ", ".join(key["scopes"]),
            key["state"],
            key["expires_at"] or "never",
            f"{key['quota_spans_per_minute']:,}/min" if key["quota_spans_per_minute"] else "none",
            key["last_used_at"] or "not since the start",
        ]
        for key in found
    ]
    if rows:
        show_table(["id", "project", "name", "scopes", "state", "expires", "quota", "last used"], rows)
    else:
        warn("no keys yet: the collector listens on this machine only")


@keys.command("create")
def create_key(
    scope: Annotated[
        list[str], typer.Option("--scope", "-s", help="ingest, feedback, read, read_content, review, act_for or admin.")
    ],
    name: Annotated[str, typer.Option("--name", "-n", help="What it is for.")] = "",
    expires_in: Annotated[str | None, typer.Option("--expires-in", help="Such as 90d; without it never.")] = None,
    quota: Annotated[
        int | None,
        typer.Option("--quota-spans-per-minute", min=1, help="Most spans, logs and judgements a minute; without it no limit."),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """Make a key for a project; it is shown once."""
    body: dict[str, Any] = {"name": name, "scopes": scope, "quota_spans_per_minute": quota}
    if expires_in is not None:
        body["expires_at"] = (datetime.now(UTC) + parse_duration(expires_in)).isoformat()
    with connect(url, project) as client:
        _show_new(client.call("POST", "/api/v1/keys", body=body), as_json)


@keys.command("rotate")
def rotate_key(
    key_id: KeyId,
    overlap: Annotated[str, typer.Option("--overlap", help="How long the old key goes on.")] = "1d",
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Make a key with the same rights; the old one ends when the overlap is over."""
    seconds = parse_duration(overlap).total_seconds()
    with connect(url, None) as client:
        path = f"/api/v1/keys/{key_id}/rotate"
        _show_new(client.call("POST", path, parameters={"overlap_s": str(seconds)}), as_json)


@keys.command("quota")
def set_quota(
    key_id: KeyId,
    spans_per_minute: Annotated[int, typer.Argument(min=0, help="Most spans, logs and judgements a minute; 0 for no limit.")],
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Set how much a key may send; it counts from now on."""
    with connect(url, None) as client:
        found = client.call("PATCH", f"/api/v1/keys/{key_id}", body={"quota_spans_per_minute": spans_per_minute or None})
    if as_json:
        show_json(found)
    else:
        warn(f"{found['id']} may send " + (f"{spans_per_minute:,} spans a minute" if spans_per_minute else "as much as it likes"))


@keys.command("revoke")
def revoke_key(key_id: KeyId, as_json: AsJson = False, url: Url = None) -> None:
    """End a key now."""
    with connect(url, None) as client:
        found = client.call("DELETE", f"/api/v1/keys/{key_id}")
    if as_json:
        show_json(found)
    else:
        warn(f"{found['id']} is revoked")


def _show_new(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(made)
        return
    warn(f"{made['id']} may: {', '.join(made['scopes'])} in {safe(made['project'])}. It is shown once:")
    typer.echo(made["key"])


@audit.command("list")
def list_entries(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 50,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """What was changed, and who read what people and models wrote; the latest first."""
    parameters = {"limit": str(limit)} | ({"project": project} if project else {})
    with connect(url, None) as client:
        entries = client.call("GET", "/api/v1/audit", parameters=parameters)["entries"]
    if as_json:
        for entry in entries:
            show_json(entry)
        return
    names = ("number", "time", "actor", "action", "project", "subject")
    show_table(list(names), [[safe(str(entry[name] or "")) for name in names] for entry in entries])


@audit.command("verify")
def verify(as_json: AsJson = False, url: Url = None) -> None:
    """Check that no entry was changed, taken out or put in; ends with 1 where one was."""
    with connect(url, None) as client:
        found = client.call("GET", "/api/v1/audit/verify")
    if as_json:
        show_json(found)
    elif found["is_whole"]:
        warn(f"the audit log is whole: {found['entries']} entries")
    else:
        warn(f"the audit log is not whole: entry {found['first_bad']}: {safe(found['reason'])}")
    if not found["is_whole"]:
        raise typer.Exit(1)

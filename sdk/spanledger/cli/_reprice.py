"""`spanledger reprice`."""

import time
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from spanledger.cli._show import AsJson, Project, Url, connect, last, safe, show_json, show_table, warn
from spanledger.client import Client

_PATH: Final = "/api/v1/reprices"
_LOOK_EVERY_S: Final = 0.2
_RUNNING: Final = ("queued", "running")


def reprice(
    since: Annotated[str | None, typer.Option(help="Only calls since: 30m, 6h, 7d, or a time such as 2026-10-01.")] = None,
    until: Annotated[str | None, typer.Option(help="Only calls before a time such as 2026-11-01.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only traces with such a model, such as 'gpt-4o*'.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """Price history again with what is known now, and say what changed; it is kept on record."""
    body: dict[str, Any] = {"since": _time(since), "until": until, "model": model, "dry_run": dry_run}
    with connect(url, project) as client:
        started = client.call("POST", _PATH, body={key: value for key, value in body.items() if value is not None})
        done = _watch(client, started, dry_run)
    if as_json:
        show_json(done)
    else:
        _tell(done)
    if done["state"] != "done":
        warn(f"it ended early: {safe(done['state'])}; what is told was done")
        raise typer.Exit(1)


def _watch(client: Client, started: dict[str, Any], dry_run: bool) -> dict[str, Any]:
    """Follow it to its end. Interrupted here, it goes on in the collector."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("traces"), TimeRemainingColumn())
    found = started
    # On standard error, so that standard output holds the answer alone.
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("looking" if dry_run else "pricing", total=None)
        while found["state"] in _RUNNING:
            time.sleep(_LOOK_EVERY_S)
            found = client.call("GET", f"{_PATH}/{started['id']}")
            bar.update(task, total=found["traces_total"] or None, completed=found["traces_done"])
    return dict(found)


def _tell(done: dict[str, Any]) -> None:
    rows = [
        [
            safe(change["provider"] or ""),
            safe(change["model"] or ""),
            safe(change["calls"]),
            _side(change["before"]),
            _side(change["after"]),
            _signed(change["difference_usd"]),
            safe(change["why"]),
        ]
        for change in done["changes"]
    ]
    if rows:
        right = [False, False, True, False, False, True, False]
        show_table(["provider", "model", "calls", "was", "is", "difference", "why"], rows, right)
    verb = "would change" if done["dry_run"] else "changed"
    warn(
        f"{done['calls_changed']} calls in {done['traces_done']} traces {verb}: ${safe(done['before_usd'])} to "
        f"${safe(done['after_usd'])}, a difference of {_signed(done['difference_usd'])} (record {safe(done['id'])})"
    )


def _side(side: dict[str, Any]) -> str:
    return f"{safe(side['status'])} ${safe(side['usd'])} ({safe(side['price'] or '')})"


def _signed(usd: str) -> str:
    return f"-${safe(usd[1:])}" if usd.startswith("-") else f"+${safe(usd)}"


def _time(text: str | None) -> str | None:
    if text is None or not text[-1:].isalpha() or text.endswith("Z"):
        return text
    return last(text).isoformat().replace("+00:00", "Z")

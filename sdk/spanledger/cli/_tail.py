"""`spanledger tail`."""

import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from spanledger.cli._show import CONSOLE, AsJson, Project, Url, connect, safe, show_json, show_value

_SEEN_MAX: Final = 20_000
_PAGE: Final = 200
# An interaction appears when it has ended, under the time at which it began.
_LOOK_BACK: Final = timedelta(minutes=15)


def tail(
    feature: Annotated[list[str] | None, typer.Option(help="Only this feature (again for more).")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this model.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only failed ones.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many past ones to begin with.")] = 10,
    stop_after: Annotated[int | None, typer.Option("--stop-after", min=1, help="End after so many.")] = None,
    every_s: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between looks.")] = 1.0,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """Watch interactions as they come in."""
    seen: OrderedDict[str, None] = OrderedDict()
    shown = 0
    is_first = True
    with connect(url, project) as client:
        while True:
            start = None if is_first else datetime.now(UTC) - _LOOK_BACK
            page = client.interactions(
                order="-time", limit=_PAGE, start=start, feature=feature, model=model, failed=failed or None
            )
            fresh = [item for item in page["items"] if item["id"] not in seen]
            for item in fresh:
                seen[item["id"]] = None
            for item in reversed(fresh[:lines] if is_first else fresh):
                show_json(item) if as_json else CONSOLE.print(_line(item))
                shown += 1
                if stop_after is not None and shown >= stop_after:
                    return
            while len(seen) > _SEEN_MAX:
                seen.popitem(last=False)
            is_first = False
            time.sleep(every_s)


def _line(item: dict[str, Any]) -> Text:
    failure = item.get("failure_mode")
    cost = item.get("cost_usd")
    parts = (
        (safe(item.get("time") or "")[:19].replace("T", " "), "dim"),
        (safe(item.get("name") or "", 30), "bold"),
        (safe(", ".join(item.get("models") or []), 40), "cyan"),
        (show_value(item.get("duration_s"), "s"), ""),
        (show_value(None if cost is None else float(cost), "USD"), "green"),
        (safe(failure, 30) if failure else "ok", "red" if failure else "dim"),
        (safe(item.get("preview") or "", 80), "dim"),
    )
    return Text("  ").join([Text(text, style) for text, style in parts if text])

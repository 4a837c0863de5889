"""`spanledger demo`: collector, dashboard, a month of history, and live traffic until Ctrl-C."""

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import spanledger
from spanledger.client import Client, ClientError
from spanledger.demo.plan import Plan
from spanledger.demo.play import Player, play_day
from spanledger.demo.plot import DAYS, SEED, Plot, first_day
from spanledger.demo.scenes import bulk
from spanledger.demo.story import hour_of, interactions
from spanledger.testing import ManualClock, use_clock

PROJECT: Final = "demo"
LIVE_PER_HOUR: Final = 240.0
BULK_EVERY: Final = timedelta(minutes=10)
BULK_COUNT: Final = 30
_READY_S: Final = 90.0
_STOP_S: Final = 30.0
_GREETING: Final = ("Ready in", "  Collector", "  Dashboard", "  Ctrl-C")

RULES: Final[tuple[dict[str, Any], ...]] = (
    {
        "name": "Daily spend of a feature",
        "measure": "cost_usd",
        "group_by": ["feature"],
        "window": "1d",
        "comparison": ">",
        "threshold": "3.00",
        "severity": "warning",
    },
    {
        "name": "Spend in five minutes",
        "measure": "cost_usd",
        "group_by": [],
        "window": "5m",
        "comparison": ">",
        "threshold": "0.50",
        "severity": "critical",
    },
)
"""The alert rules of the demonstration, in the form of the API."""


def demo(
    port: Annotated[int, typer.Option(help="Port of the collector.")] = 4318,
    dashboard_port: Annotated[int, typer.Option(help="Port of the dashboard.")] = 8501,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the store; default SPANLEDGER_DATA_DIR.")] = None,
    history_days: Annotated[int, typer.Option(min=1, max=90, help="Days of history to write at the first start.")] = DAYS,
    seed: Annotated[int, typer.Option(help="Another seed is another story with the same incidents.")] = SEED,
    up: Annotated[bool, typer.Option(help="Start collector and dashboard; --no-up sends to a collector that runs.")] = True,
    live: Annotated[bool, typer.Option(help="Go on with live traffic; --no-live stops after the history.")] = True,
) -> None:
    """Show Spanledger with a demonstration application: a month of history, then live traffic."""
    console = Console(stderr=True, highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    collector = f"http://127.0.0.1:{port}"
    if not up:
        collector = os.environ.get("SPANLEDGER_ENDPOINT") or collector
    try:
        household = _household(console, port, dashboard_port, data_dir) if up else nullcontext()
        with household, Client(collector, project=PROJECT) as client:
            console.print(f"  Collector  {collector}")
            console.print(f"  Dashboard  http://127.0.0.1:{dashboard_port}/?project={PROJECT}&range=30d", soft_wrap=True)
            _tell(console, client, collector, history_days, seed, live)
    except KeyboardInterrupt:
        console.print("Stopped.")


def write_history(client: Client, player: Player, plot: Plot, now: datetime, console: Console) -> int:
    """Write what happened up to now and is not there yet; answers how many interactions that were.

    Raises:
        ClientError: the collector does not answer.
    """
    start = plot.begin
    known = _known(client)
    if known is not None:
        start = max(start, known[1] + timedelta(microseconds=1))
    days = list(_days(start, now))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("days"), TimeElapsedColumn())
    count = 0
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("Writing history through the SDK", total=len(days))
        for first, last in days:
            count += play_day(player, interactions(plot, first, last))
            progress.advance(task)
        player.finish()
    return count


def plot_of(client: Client, now: datetime, days: int, seed: int) -> Plot:
    """The plot that the project's data began with, or a new one that ends now.

    Raises:
        ClientError: the collector does not answer.
    """
    known = _known(client)
    begin = first_day(now, days) if known is None else first_day(known[0], 0)
    return Plot(begin, days=days, seed=seed)


def _tell(console: Console, client: Client, collector: str, days: int, seed: int, live: bool) -> None:
    now = datetime.now(UTC)
    plot = plot_of(client, now, days, seed)
    clock = ManualClock(now)
    with use_clock(clock):
        player = Player(clock, endpoint=collector, project=PROJECT, api_key=os.environ.get("SPANLEDGER_API_KEY"))
        try:
            began = time.monotonic()
            count = write_history(client, player, plot, now, console)
            console.print(f"{count:,} interactions written in {time.monotonic() - began:.0f} s; {_losses()}.")
            _make_rules(client)
            if live:
                _go_live(console, player, plot)
        finally:
            spanledger.shutdown()


def _go_live(console: Console, player: Player, plot: Plot) -> None:
    """Play each interaction when it has ended in reality, until interrupted."""
    console.print("Live traffic goes on until Ctrl-C.")
    with console.status("Live") as status:
        for number, plan in enumerate(live_plans(plot, datetime.now(UTC)), 1):
            while (wait_s := (plan.ends - datetime.now(UTC)).total_seconds()) > 0:
                time.sleep(min(wait_s, 1.0))
                player.judge(datetime.now(UTC))
            player.play(plan)
            status.update(f"Live: {number:,} interactions, the last one {plan.name}")


def live_plans(plot: Plot, start: datetime) -> Iterator[Plan]:
    """The story from `start` on, without end, each hour in the order of its ends; now and then somebody does a lot at once."""
    rng = random.Random(f"{plot.seed}/live/{start.isoformat()}")  # noqa: S311 - not for secrets
    hour = start.replace(minute=0, second=0, microsecond=0)
    bulk_at = start + timedelta(seconds=20)
    for hours in itertools.count():
        begins = hour + timedelta(hours=hours)
        pace = max(1.0, LIVE_PER_HOUR / plot.rate(begins))
        plans = [plan for plan in hour_of(plot, begins, pace) if plan.at >= start]
        while bulk_at < begins + timedelta(hours=1):
            plans += bulk(plot, rng, bulk_at, BULK_COUNT)
            bulk_at += BULK_EVERY
        yield from sorted(plans, key=lambda plan: plan.ends)


def _days(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The stretch cut at midnights (UTC)."""
    while start < end:
        midnight = first_day(start, -1)
        yield start, min(midnight, end)
        start = midnight


def _known(client: Client) -> tuple[datetime, datetime] | None:
    """When the first and the last interaction of the project began, or None if there is none."""
    first, last = (client.interactions(order=order, limit=1)["items"] for order in ("time", "-time"))
    if not first or not last:
        return None
    return datetime.fromisoformat(first[0]["time"]), datetime.fromisoformat(last[0]["time"])


def _make_rules(client: Client) -> None:
    """Create the alert rules that are not there yet."""
    there = {rule["name"] for rule in client.alert_rules()}
    for rule in RULES:
        if rule["name"] not in there:
            client.create_alert_rule(rule)


def _losses() -> str:
    stats = spanledger.stats()
    lost = sum(stats.spans_dropped.values()) + sum(stats.feedback_dropped.values())
    return f"{stats.spans_sent:,} spans delivered, {'nothing' if lost == 0 else f'{lost:,} items'} lost"


@contextmanager
def _household(console: Console, port: int, dashboard_port: int, data_dir: Path | None) -> Iterator[None]:
    """`spanledger up` as a child, ready inside the block and stopped after it."""
    for taken, option in ((port, "--port"), (dashboard_port, "--dashboard-port")):
        if _listens(taken):
            raise ClientError(f"port {taken} is taken: stop what uses it, choose another with {option}, or use it with --no-up")
    up = "import sys; from spanledger.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-P", "-c", up, "up", "--port", str(port), "--dashboard-port", str(dashboard_port)]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    # A session of its own: Ctrl-C reaches this process only, which stops the traffic first and then the others.
    child = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    relay = threading.Thread(target=_relay, args=(child,), daemon=True)
    relay.start()
    try:
        with console.status("Starting collector and dashboard"):
            _wait_until_ready(child, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{dashboard_port}")
        yield
    finally:
        relay.join(0.5 if child.poll() is not None else 0.0)
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _relay(child: "subprocess.Popen[str]") -> None:
    """Show what goes wrong in the child; its greeting is replaced by ours."""
    for line in child.stderr or ():
        if not line.startswith(_GREETING):
            sys.stderr.write(line)


def _wait_until_ready(child: "subprocess.Popen[str]", collector: str, dashboard: str) -> None:
    deadline = time.monotonic() + _READY_S
    waiting = [f"{collector}/readyz", f"{dashboard}/_stcore/health"]
    while waiting:
        if child.poll() is not None:
            raise typer.Exit(1)  # It has said why.
        if time.monotonic() > deadline:
            raise ClientError(f"{' and '.join(waiting)} did not answer within {_READY_S:.0f} s")
        waiting = [url for url in waiting if not _answers(url)]
        time.sleep(0.1)


def _listens(port: int) -> bool:
    """Whether somebody listens there: what answers later must be our own child."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0) as response:  # noqa: S310 - an address on this machine, made above
            return bool(response.status == 200)
    except OSError:
        return False


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt

"""`spanledger dashboard` and `spanledger up`."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from spanledger_dashboard.people import FILE_VARIABLE, KEY_VARIABLE, SignInError
from spanledger_dashboard.sign_in_file import load

_GRPC_PORT: Final = 4317
URL_VARIABLE: Final = "SPANLEDGER_ENDPOINT"
_POLL_S: Final = 0.05
_READY_S: Final = 60.0
_STOP_S: Final = 20.0


def dashboard(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8501,
    collector: Annotated[
        str, typer.Option(envvar=URL_VARIABLE, help="Address of the collector. Its key comes from SPANLEDGER_API_KEY.")
    ] = "http://127.0.0.1:4318",
    sign_in: Annotated[
        Path | None,
        typer.Option(
            envvar=FILE_VARIABLE, help="TOML file: people sign in with an OpenID provider, and what their roles permit."
        ),
    ] = None,
) -> None:
    """Serve the dashboard in the foreground until Ctrl-C."""
    console = Console(stderr=True)
    if reason := port_problem(host, port, "--port") or sign_in_problem(sign_in):
        console.print(f"[red]{escape(reason)}[/red]")
        raise typer.Exit(1)
    os.environ[URL_VARIABLE] = collector
    from spanledger_dashboard.server import run

    if sign_in is None:
        if warning := openness(host, port):
            console.print(f"[yellow]{escape(warning)}[/yellow]")
        run(host, port)
    else:
        os.environ[FILE_VARIABLE] = str(sign_in.resolve())
        run(host, port, load(sign_in))


def up(
    host: Annotated[str, typer.Option(help="Address that both listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the collector.")] = 4318,
    dashboard_port: Annotated[int, typer.Option(help="Port of the dashboard.")] = 8501,
    grpc_port: Annotated[
        int | None, typer.Option(help="Port of OTLP/gRPC: 4317 where grpcio is installed and the port is free; 0 for none.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the store; default SPANLEDGER_DATA_DIR.")] = None,
) -> None:
    """Start collector and dashboard together; one Ctrl-C stops both."""
    console = Console(stderr=True)
    problems = [port_problem(host, port, "--port"), port_problem(host, dashboard_port, "--dashboard-port")]
    if grpc_port:
        problems.append(port_problem(host, grpc_port, "--grpc-port"))
    if port == dashboard_port:
        problems = [f"collector and dashboard cannot share port {port}; choose another with --dashboard-port"]
    if found := [problem for problem in problems if problem]:
        for problem in found:
            console.print(f"[red]{problem}[/red]")
        raise typer.Exit(1)
    # -P: a click.py in the folder where somebody starts this must not stand in for the library of that name.
    serve = [sys.executable, "-P", "-m", "spanledger_collector", "serve", "--host", host, "--port", str(port)]
    if data_dir is not None:
        serve += ["--data-dir", str(data_dir)]
    if grpc_at := _grpc_port(host, grpc_port, console):
        serve += ["--grpc-port", str(grpc_at)]
    show = [sys.executable, "-P", "-m", "spanledger_dashboard", "--host", host, "--port", str(dashboard_port)]
    collector_url = address(host, port)
    raise typer.Exit(
        _Household(console).run(
            collector=(serve, f"{collector_url}/readyz"),
            dashboard=([*show, "--collector", collector_url], f"{address(host, dashboard_port)}/_stcore/health"),
            addresses=(collector_url, address(host, dashboard_port)),
            grpc_at=address(host, grpc_at) if grpc_at else None,
        )
    )


def _grpc_port(host: str, wanted: int | None, console: Console) -> int:
    """Where OTLP/gRPC is served; 0 for nowhere. Nobody asked for the usual port, so it may be missing, but not silently."""
    if wanted is not None or importlib.util.find_spec("grpc") is None:
        return wanted or 0
    if reason := port_problem(host, _GRPC_PORT, "--grpc-port"):
        console.print(f"[yellow]No OTLP over gRPC: {reason}[/yellow]")
        return 0
    return _GRPC_PORT


def address(host: str, port: int) -> str:
    """Where a browser on this machine finds what listens on `host`."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`."""
    return host in ("localhost", "::1") or host.startswith("127.")


def openness(host: str, port: int) -> str | None:
    """Who reads at a dashboard that others than this machine reach and nobody signs in to with a provider."""
    if is_loopback(host):
        return None
    if os.environ.get(KEY_VARIABLE, "").strip():
        return f"Whoever reaches {host}:{port} reads with the key in {KEY_VARIABLE}; without it people sign in with their own."
    return f"Whoever reaches {host}:{port} reads everything unless the collector has keys: spanledger keys create --scope admin"


def sign_in_problem(file: Path | None) -> str | None:
    """Why people could not sign in with the settings as they are and what to do, or None."""
    if file is None:
        return None
    if importlib.util.find_spec("authlib") is None:
        return "signing in with an OpenID provider needs Authlib; install it with pip install 'spanledger[server]'"
    if not os.environ.get(KEY_VARIABLE, "").strip():
        return f"the dashboard needs a key that may act for people; make one with the scope act_for and set {KEY_VARIABLE}"

    try:
        load(file)
    except SignInError as error:
        return str(error)
    return None


def port_problem(host: str, port: int, option: str) -> str | None:
    """Why `host`:`port` cannot be listened on and what to do, or None."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except PermissionError:
        return f"port {port} on {host} needs more rights; choose one above 1023 with {option}"
    except socket.gaierror:
        return f"{host} is no address of this machine; choose another with --host"
    except OSError:
        return f"port {port} on {host} is taken; stop what uses it or choose another with {option}"
    return None


class _Household:
    """The two child processes: started together, watched, and stopped together."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = False

    def run(
        self,
        *,
        collector: tuple[list[str], str],
        dashboard: tuple[list[str], str],
        addresses: tuple[str, str],
        grpc_at: str | None = None,
    ) -> int:
        """Start both, say where they are once both answer, and wait. The answer is the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        began = time.monotonic()
        try:
            for name, (command, _) in (("collector", collector), ("dashboard", dashboard)):
                # A session of its own, so that the terminal's Ctrl-C reaches only this process, which stops both in order.
                # What they print on stdout is their own greeting; what goes wrong is on stderr and stays visible.
                self._children[name] = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
            waiting = {"collector": collector[1], "dashboard": dashboard[1]}
            while waiting and not self._stopping and self._fallen() is None:
                waiting = {name: url for name, url in waiting.items() if not _answers(url)}
                if waiting and time.monotonic() - began > _READY_S:
                    self._console.print(f"[red]{' and '.join(waiting)} did not answer within {_READY_S:.0f} s[/red]")
                    return 1
                time.sleep(_POLL_S)
            if not waiting and not self._stopping:
                self._greet(addresses, grpc_at, time.monotonic() - began)
            while not self._stopping and self._fallen() is None:
                time.sleep(_POLL_S * 4)
            return self._verdict()
        finally:
            self._end()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _fallen(self) -> str | None:
        return next((name for name, child in self._children.items() if child.poll() is not None), None)

    def _greet(self, addresses: tuple[str, str], grpc_at: str | None, seconds: float) -> None:
        self._console.print(f"[green]Ready[/green] in {seconds:.1f} s")
        self._console.print(f"  Collector  {addresses[0]}   (OTLP over HTTP)")
        if grpc_at:
            self._console.print(f"             {grpc_at}   (OTLP over gRPC)")
        self._console.print(f"  Dashboard  {addresses[1]}")
        self._console.print("  Ctrl-C stops both.")

    def _verdict(self) -> int:
        if self._stopping:
            return 0
        name = self._fallen()
        code = self._children[name].returncode if name else 0
        reason = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._console.print(f"[red]The {name} {reason}; its last messages are above.[/red]")
        return 1

    def _end(self) -> None:
        for name in ("dashboard", "collector"):
            child = self._children.get(name)
            if child is None or child.poll() is not None:
                continue
            child.terminate()
            try:
                child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._console.print(f"[red]The {name} did not stop within {_STOP_S:.0f} s and was killed.[/red]")
                child.kill()
                child.wait()


def _answers(url: str) -> bool:
    try:
        # The address is this module's own: http on a port that it just gave to a child.
        with urllib.request.urlopen(url, timeout=1.0) as response:  # noqa: S310
            return bool(200 <= response.status < 300)
    except (urllib.error.URLError, OSError):
        return False

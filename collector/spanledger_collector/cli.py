"""The collector's commands: `spanledger serve` and `spanledger migrate`."""

import logging
import signal
import socket
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from pydantic import ValidationError
from rich.console import Console

from spanledger_collector.api.otlp_grpc import check_grpc
from spanledger_collector.app import create_app, start
from spanledger_collector.errors import CannotStart, SpanledgerError
from spanledger_collector.settings import Settings
from spanledger_collector.store.backup import restore_backup
from spanledger_collector.store.migrate import migrate as run_migrations
from spanledger_collector.store.migrate import pending
from spanledger_collector.store.open import open_store
from spanledger_collector.telemetry import set_up_logging

_ERRORS = Console(stderr=True)


def _settings(**given: object) -> Settings:
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = "SPANLEDGER_" + "_".join(str(part) for part in first["loc"]).upper()
        raise CannotStart(f"{name}: {first['msg']}.") from None


def _fail(error: SpanledgerError) -> typer.Exit:
    _ERRORS.print(error.detail, style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(1)


class _NoPandas(MetaPathFinder):
    """pyarrow looks for pandas at its first conversion. Nothing here uses it, and finding it costs a second and 60 MB."""

    def find_spec(self, fullname: str, *_: object) -> None:
        """Refuse pandas, leave everything else to the others."""
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the HTTP API and OTLP/HTTP (4318).")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Port of OTLP/gRPC; without it there is none.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the embedded store.")] = None,
    verbose: Annotated[bool, typer.Option(help="Log what it does, not only what goes wrong.")] = False,
) -> None:
    """Run the collector in the foreground until Ctrl-C."""
    set_up_logging(logging.INFO if verbose else logging.WARNING)
    sys.meta_path.insert(0, _NoPandas())
    try:
        settings = _settings(host=host, port=port, grpc_port=grpc_port, data_dir=data_dir)
        if settings.grpc_port is not None:
            check_grpc(settings.host, settings.grpc_port)
        listener = _listen(settings)
        app = create_app(settings, start(settings))
    except SpanledgerError as error:
        raise _fail(error) from None
    config = uvicorn.Config(app, log_config=None, access_log=False, http="httptools", loop="uvloop", timeout_graceful_shutdown=5)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        listener.close()


def _listen(settings: Settings) -> socket.socket:
    """Bind before anything is opened, so that a port that is taken is said at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"Port {settings.port} on {settings.host} cannot be used ({error.strerror}). Is another collector running? "
            "Stop it, or choose another port with --port."
        ) from None
    listener.listen(2_048)
    return listener


def migrate(
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the embedded store.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be applied.")] = False,
) -> None:
    """Bring the store's schema up to date (starting the collector does the same)."""
    console = Console()
    try:
        store = open_store(_settings(data_dir=data_dir))
        try:
            names = [migration.name for migration in pending(store)] if dry_run else run_migrations(store)
        finally:
            store.close()
    except SpanledgerError as error:
        raise _fail(error) from None
    word = "would be applied" if dry_run else "applied"
    for name in names:
        console.print(f"{name} {word}", highlight=False)
    if not names:
        console.print("The schema is current.")


def restore(
    backup: Annotated[Path, typer.Argument(help="Folder of a backup; the backups that it builds on lie beside it.")],
    data_dir: Annotated[Path, typer.Option(help="A new folder for the restored store.")],
) -> None:
    """Restore a backup into a new data folder, and compare its totals with those that it was made with."""
    console = Console(stderr=True)
    try:
        with console.status("Restoring") as status:
            totals = restore_backup(backup.absolute(), data_dir, status.update)
    except SpanledgerError as error:
        raise _fail(error) from None
    for project, found in totals.items():
        words = f"{project}: {found.spans:,} spans, {found.interactions:,} interactions, {found.cost_usd} USD"
        console.print(words, markup=False, highlight=False)
    console.print(f"Restored and equal. Start it with: spanledger serve --data-dir {data_dir}", markup=False, highlight=False)


def main() -> None:
    """`python -m spanledger_collector`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app = typer.Typer(add_completion=False, no_args_is_help=True)
    app.command("serve")(serve)
    app.command("migrate")(migrate)
    app.command("restore")(restore)
    app()

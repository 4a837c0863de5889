"""The only composition root: settings in, application out."""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from spanledger_collector.alerts.loop import Evaluator
from spanledger_collector.api import (
    alerts,
    backups,
    costs,
    drift,
    feedback,
    governance,
    health,
    keys,
    otlp,
    prices,
    quarantine,
    questions,
    reprices,
)
from spanledger_collector.api.aftercare import look_after
from spanledger_collector.api.drain import drain_spool
from spanledger_collector.api.guard import Doorkeeper, Guard, is_loopback
from spanledger_collector.api.otlp_grpc import GrpcServer
from spanledger_collector.api.problems import plain_problem, problem
from spanledger_collector.api.services import Services
from spanledger_collector.errors import CannotStart, InvalidQuestion, SpanledgerError
from spanledger_collector.ingest.account import Account
from spanledger_collector.ingest.intake import Intake
from spanledger_collector.ingest.writer import Writer
from spanledger_collector.settings import Settings
from spanledger_collector.settle.books import Books
from spanledger_collector.settle.flights import Flights
from spanledger_collector.settle.recount import Recounter
from spanledger_collector.settle.reprice import Repricer
from spanledger_collector.settle.run import Settler
from spanledger_collector.store.audit_book import AuditLog
from spanledger_collector.store.compact import Compactor
from spanledger_collector.store.engine import ENGINE_FILE, check_engine, remember_engine
from spanledger_collector.store.key_book import KeyRing
from spanledger_collector.store.loss_book import LossBook
from spanledger_collector.store.manifest import Manifest
from spanledger_collector.store.migrate import migrate
from spanledger_collector.store.open import open_store
from spanledger_collector.store.opening import Opening
from spanledger_collector.store.project_book import Sweeper
from spanledger_collector.store.protocol import Store
from spanledger_collector.store.room import Room
from spanledger_collector.store.rule_book import RuleBook
from spanledger_collector.store.spool import Spool
from spanledger_collector.telemetry import Counters
from spanledger_schema.query import QueryError

_LOGGER = logging.getLogger(__name__)
_SWITCH_S = 0.0005


def create_app(settings: Settings, started: Services | None = None) -> FastAPI:
    """Build the application. Its parts start with it unless they are given, and stop with it.

    Args:
        settings: Everything that can be set.
        started: Parts that `start` made, for callers who want its errors before the server runs.

    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = started or start(settings)
        app.state.services = parts
        # What lives now lives until the end, so collections need not look at it. Rows come and go by reference count; with the
        # usual thresholds looking for cycles among them took a third of the time under load.
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 200)
        # With the usual 5 ms each piece of a body waits for a decoding thread that long, and under load a refusal took seconds.
        sys.setswitchinterval(_SWITCH_S)
        grpc = None
        if settings.grpc_port is not None:
            grpc = GrpcServer(parts, settings.host, settings.grpc_port)
            await grpc.start()
        tasks = [asyncio.create_task(work) for work in (drain_spool(parts), look_after(parts))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            if grpc is not None:
                await grpc.stop()
            stop(parts)

    app = FastAPI(
        title="Spanledger collector",
        version=version("spanledger"),
        description="OTLP in; priced, classified and settled interactions out.",
        lifespan=lifespan,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for room in (
        otlp,
        questions,
        costs,
        prices,
        reprices,
        quarantine,
        keys,
        governance,
        backups,
        feedback,
        alerts,
        drift,
        health,
    ):
        app.include_router(room.router)
    app.add_middleware(Guard)
    _handle_errors(app)
    return app


def start(settings: Settings, store: Store | None = None) -> Services:
    """Open, migrate and recover; start the threads.

    Args:
        settings: Everything that can be set.
        store: A store to use instead of the one of the settings; it is closed all the same.

    Raises:
        CannotStart: the data folder or its schema is unusable, or it would listen on more than this machine without a key.
    """
    store = store or open_store(settings)
    is_shared = settings.clickhouse_url is not None
    try:
        folder = settings.data_dir / "spool"
        losses = LossBook(store)
        rules = RuleBook(store, folder / f"rules-{store.name}.json", watches=is_shared)
        ring = KeyRing(store, folder / f"keys-{store.name}.json", watches=is_shared)
        audit = AuditLog(store, folder)
        manifest = Manifest(store, folder / f"manifest-{store.name}.json")
        spool = Spool(folder, store.name, settings.spool_bytes_max)
        counters = Counters()
        books = Books(store, watches=is_shared)
        settler = _settler(settings, store, counters, books, spool)
        evaluator = Evaluator(settings, store, counters)
        compactor = Compactor(store)
        sweeper = Sweeper(store, manifest)
        # Read and compared before it is written to; then what only goes on is started.
        prepare = partial(_prepare, store, folder / f"{ENGINE_FILE}-{store.name}")
        known = (rules.reload, ring.reload, partial(_check_reach, settings, ring))
        begin = (prepare, manifest.check, partial(migrate, store), *known)
        go_on = (books.start, settler.start, evaluator.start, manifest.start, compactor.start, sweeper.start)
        opening = Opening([*begin, *go_on])
        _open(opening, settings, ring, rules)
        ring.start()
        rules.start()
        losses.start()
    except SpanledgerError:
        store.close()
        raise
    account = Account(spool.waiting_spans(), spool.refused_spans())
    key = settings.bootstrap_key.get_secret_value() if settings.bootstrap_key else None
    doorkeeper = Doorkeeper(ring, key)
    writer = Writer(store, settler, counters, spool, rows_max=settings.group_rows_max, wait_s=settings.group_wait_s)
    writer.start()
    limits = {"decompressed_bytes_max": settings.decompressed_bytes_max, "spans_max": settings.request_spans_max}
    intake = Intake(**limits, rules_of=rules.of, on_losses=losses.take)
    repricer = Repricer(store, settler, books)
    return Services(
        settings,
        store,
        Room(settings.data_dir, settings.disk_free_bytes_min),
        counters,
        books,
        settler,
        repricer,
        Recounter(store, settler),
        spool,
        account,
        ring,
        rules,
        losses,
        doorkeeper,
        audit,
        writer,
        intake,
        evaluator,
        compactor,
        sweeper,
        manifest,
        opening,
        is_store_away=opening.reason is not None,
    )


def _settler(settings: Settings, store: Store, counters: Counters, books: Books, spool: Spool) -> Settler:
    return Settler(
        store,
        counters,
        books,
        Flights(spool.oldest_received_at),
        every_s=settings.settle_every_s,
        quiet_s=settings.settle_quiet_s,
        spans_max=settings.recent_spans_max,
    )


def _open(opening: Opening, settings: Settings, ring: KeyRing, rules: RuleBook) -> None:
    if opening.try_once():
        return
    if settings.clickhouse_url is None:
        raise CannotStart(f"The embedded store does not work: {opening.reason}")
    _LOGGER.warning("the store is away; requests wait on disk until it is back")
    ring.recall()
    rules.recall()
    _check_reach(settings, ring)
    opening.go_on()


def _prepare(store: Store, engine_file: Path) -> None:
    version = store.prepare()
    check_engine(engine_file, version, "this store")
    remember_engine(engine_file, version)


def _check_reach(settings: Settings, ring: KeyRing) -> None:
    if settings.bootstrap_key is None and not ring.holds_keys and not is_loopback(settings.host):
        raise CannotStart(
            f"Without a key the collector listens on this machine only, not on {settings.host}. "
            "Set SPANLEDGER_BOOTSTRAP_KEY, or leave --host at 127.0.0.1."
        )


def stop(parts: Services) -> None:
    """Commit and settle what is there, then let go of the store."""
    parts.decode_pool.shutdown(wait=True)
    parts.opening.stop()
    parts.compactor.stop()
    parts.sweeper.stop()
    parts.manifest.stop()
    parts.evaluator.stop()
    parts.repricer.stop()
    parts.recounter.stop()
    parts.writer.stop()
    parts.settler.stop()
    parts.books.stop()
    parts.ring.stop()
    parts.rules.stop()
    parts.losses.stop()
    parts.spool.close()
    parts.store.close()


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(SpanledgerError)
    async def on_ours(request: Request, error: SpanledgerError) -> Response:
        if error.status >= 500 and error.status != 503:
            _LOGGER.error("a request failed: %s %s", error.code, request.url.path[:100])
        return problem(error, request.url.path)

    @app.exception_handler(QueryError)
    async def on_question(request: Request, error: QueryError) -> Response:
        return problem(InvalidQuestion(str(error)), request.url.path)

    @app.exception_handler(RequestValidationError)
    async def on_parameters(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(InvalidQuestion(f"{where}: {first['msg']}"), request.url.path)

    @app.exception_handler(HTTPException)
    async def on_http(_: Request, error: HTTPException) -> Response:
        words = {404: "There is no such route; see /docs.", 405: "This route does not take that method; see /docs."}
        detail = words.get(error.status_code, str(error.detail))
        return plain_problem(error.status_code, "http_error", str(error.detail), detail)

    @app.exception_handler(Exception)
    async def on_defect(request: Request, error: Exception) -> Response:
        _LOGGER.error("a request hit a defect: %s", request.url.path[:100], exc_info=error)
        return plain_problem(500, "internal", "Internal error", "This is a defect of Spanledger; the collector's log has it.")

"""What the routes work with: built once by `create_app`, reached through the application's state."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from spanledger_collector.alerts.loop import Evaluator
from spanledger_collector.errors import BadRequest
from spanledger_collector.governance.keys import Access
from spanledger_collector.governance.quotas import Quotas
from spanledger_collector.ingest.account import Account
from spanledger_collector.ingest.intake import Intake
from spanledger_collector.ingest.writer import Writer
from spanledger_collector.settings import Settings
from spanledger_collector.settle.books import Books
from spanledger_collector.settle.recount import Recounter
from spanledger_collector.settle.reprice import Repricer
from spanledger_collector.settle.run import Settler
from spanledger_collector.store.audit_book import AuditLog
from spanledger_collector.store.compact import Compactor
from spanledger_collector.store.key_book import KeyRing
from spanledger_collector.store.loss_book import LossBook
from spanledger_collector.store.manifest import Manifest
from spanledger_collector.store.opening import Opening
from spanledger_collector.store.project_book import Sweeper
from spanledger_collector.store.protocol import Store
from spanledger_collector.store.room import Room
from spanledger_collector.store.rule_book import RuleBook
from spanledger_collector.store.spool import Spool
from spanledger_collector.telemetry import Counters
from spanledger_schema.semconv import DEFAULT_PROJECT, PROJECT_HEADER

if TYPE_CHECKING:
    from spanledger_collector.api.guard import Doorkeeper


@dataclass(slots=True)
class Services:
    """One collector's parts."""

    settings: Settings
    store: Store
    room: Room
    counters: Counters
    books: Books
    settler: Settler
    repricer: Repricer
    recounter: Recounter
    spool: Spool
    account: Account
    ring: KeyRing
    rules: RuleBook
    losses: LossBook
    doorkeeper: "Doorkeeper"
    audit: AuditLog
    writer: Writer
    intake: Intake
    evaluator: Evaluator
    compactor: Compactor
    sweeper: Sweeper
    manifest: Manifest
    opening: Opening
    quotas: Quotas = field(default_factory=Quotas)
    decode_pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "decode"))
    open_bytes: int = 0
    is_store_away: bool = False


def services(request: Request) -> Services:
    """The application's parts."""
    found: Services = request.app.state.services
    return found


def project(request: Request) -> str:
    """The project that a request is about.

    Raises:
        BadRequest: the header names no usable project.
    """
    return project_named(request.headers.get(PROJECT_HEADER, DEFAULT_PROJECT))


def project_named(name: str) -> str:
    """A project's name as a header gives it.

    Raises:
        BadRequest: it is no usable name.
    """
    name = name.strip()
    if not name or len(name) > 100 or not name.isprintable():
        raise BadRequest(f"The header {PROJECT_HEADER} holds no usable name: 1 to 100 printable characters.")
    return name


def access(request: Request) -> Access:
    """What the request may do, as the guard found it."""
    found: Access = request.scope["spanledger.access"]
    return found


AccessDep = Annotated[Access, Depends(access)]
ServicesDep = Annotated[Services, Depends(services)]
ProjectDep = Annotated[str, Depends(project)]

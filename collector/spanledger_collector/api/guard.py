"""Who may speak to the collector, and about which project.

Without a key it serves this machine only, and then it refuses a Host that is not loopback and a foreign Origin: else any web
page could read prompts through the visitor's browser (DNS rebinding). With `SPANLEDGER_BOOTSTRAP_KEY`, or any key made since,
every request needs a key with the scope that `access` names for its route. A key decides the project; only an admin key
chooses one by header. A key that may act for people says for whom by header; the audit log then names both.
"""

import asyncio
import ipaddress
from typing import Final
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from spanledger_collector.api.access import ANY, OPEN, Rule, rule_of
from spanledger_collector.api.problems import problem
from spanledger_collector.errors import BadRequest, NotAllowed, SpanledgerError
from spanledger_collector.governance.keys import BOOTSTRAP, KEYLESS, Access, is_same
from spanledger_collector.store.audit_book import AuditLog
from spanledger_collector.store.key_book import KeyRing
from spanledger_schema.semconv import DEFAULT_PROJECT, PERSON_HEADER, PERSON_SCOPES_HEADER, PROJECT_HEADER

ACCESS: Final = "spanledger.access"
"""Where a request's scope says what it may do."""


class NoKey(NotAllowed):
    """The request carries no key, or not a valid one."""

    code = "unauthorized"
    status = 401
    title = "A key is needed"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    host = host.strip("[]").lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Doorkeeper:
    """Knows the keys; decides for HTTP and gRPC alike."""

    def __init__(self, ring: KeyRing, bootstrap: str | None) -> None:
        """Decide by a ring of keys, and the first key of the settings where there is one."""
        self._ring = ring
        self._bootstrap = bootstrap

    @property
    def is_keyless(self) -> bool:
        """Whether nobody needs a key."""
        return self._bootstrap is None and self._ring.is_empty

    def access(self, authorization: str) -> Access:
        """What the bearer of a header may do.

        Raises:
            NoKey: there is no key in it, or it is not valid.
            StoreUnavailable: the keys were never read and cannot be read now.

        """
        if self.is_keyless:
            return KEYLESS
        given = authorization.removeprefix("Bearer ").strip()
        if self._bootstrap is not None and given and is_same(given, self._bootstrap):
            return BOOTSTRAP
        if self._bootstrap is None:
            # There may be keys or none; as long as nobody can say, nobody comes in.
            self._ring.must_be_known()
        access = self._ring.check(given) if given else None
        if access is None:
            raise NoKey("Send a valid key as `Authorization: Bearer <key>`.")
        return access


def project_of(access: Access, wanted: str | None) -> str:
    """The project that a request is about.

    Raises:
        NotAllowed: the key belongs to another project than the header names.

    """
    if access.project is None:
        return DEFAULT_PROJECT if wanted is None else wanted
    if wanted is not None and wanted.strip() != access.project:
        raise NotAllowed(f"This key belongs to another project; leave {PROJECT_HEADER} out, or use that project's key.")
    return access.project


class Guard:
    """ASGI middleware in front of every route."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard `app`; who may come in is known when its parts have started (`app.state.services`)."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with the access and the project in place."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._admit(scope)
        except SpanledgerError as refusal:
            response: Response = problem(refusal, scope["path"])
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        rule = rule_of(scope["method"], scope["path"])
        parts = scope["app"].state.services
        doorkeeper: Doorkeeper = parts.doorkeeper
        if doorkeeper.is_keyless:
            _check_neighbourhood(headers)
        if rule.scope == OPEN:
            return
        access = _person(doorkeeper.access(headers.get("authorization", "")), headers)
        if rule.scope != ANY and not access.may(rule.scope):
            who = "This person" if PERSON_HEADER in headers else "This key"
            raise NotAllowed(f"{who} may not do that; it needs the scope {rule.scope}.")
        project = project_of(access, headers.get(PROJECT_HEADER))
        scope[ACCESS] = access
        MutableHeaders(scope=scope)[PROJECT_HEADER] = project
        if rule.is_change:
            await _note(parts.audit, rule, access, project, scope)


def _person(access: Access, headers: Headers) -> Access:
    """The access of the person that a key acts for, or of the key itself."""
    person, scopes = headers.get(PERSON_HEADER), headers.get(PERSON_SCOPES_HEADER)
    if person is None:
        if scopes is not None:
            # Whoever narrows what somebody may and loses the name on the way must not be answered as the key itself.
            raise BadRequest(f"{PERSON_SCOPES_HEADER} says what a person may; say who in {PERSON_HEADER}.")
        return access
    return access.acting_for(unquote(person), None if scopes is None else scopes.split())


async def _note(audit: AuditLog, rule: Rule, access: Access, project: str, scope: Scope) -> None:
    """A change is written down before it is made: what cannot be written down is not done."""
    await asyncio.to_thread(audit.write, access.actor, f"{scope['method']} {rule.scope}", project, scope["path"])


def _check_neighbourhood(headers: Headers) -> None:
    host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    if not is_loopback(host):
        raise NotAllowed("Without a key the collector answers on this machine only: use http://127.0.0.1 or set a key.")
    origin = headers.get("origin")
    if origin and not is_loopback(urlsplit(origin).hostname or ""):
        raise NotAllowed("Without a key the collector answers no pages of other sites.")

"""Who may speak to the collector.

Without a key it serves this machine only, and then it refuses a Host that is not loopback and a foreign Origin: else any web page
could read prompts through the visitor's browser (DNS rebinding). With `SPANLEDGER_BOOTSTRAP_KEY` every request but the health
routes needs it.
"""

import hmac
import ipaddress
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from spanledger_collector.api.problems import problem
from spanledger_collector.errors import NotAllowed, SpanledgerError

_OPEN: Final = frozenset({"/healthz", "/readyz"})


class NoKey(NotAllowed):
    """The request carries no key, or not the right one."""

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


class Guard:
    """ASGI middleware in front of every route."""

    def __init__(self, app: ASGIApp, *, key: str | None) -> None:
        """Guard `app` with a key, or without one for loopback only."""
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            response: Response = problem(refusal, scope["path"])
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> SpanledgerError | None:
        headers = Headers(scope=scope)
        if self._key is not None:
            if scope["path"] in _OPEN:
                return None
            given = headers.get("authorization", "").removeprefix("Bearer ").strip()
            if hmac.compare_digest(given.encode(), self._key.encode()):
                return None
            return NoKey("Send the key as `Authorization: Bearer <key>`.")
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if not is_loopback(host):
            return NotAllowed("Without a key the collector answers on this machine only: use http://127.0.0.1 or set a key.")
        origin = headers.get("origin")
        if origin and not is_loopback(urlsplit(origin).hostname or ""):
            return NotAllowed("Without a key the collector answers no pages of other sites.")
        return None

"""Who signed in with a key, kept in this server's memory for as long as the browser is open: a page that is loaded anew goes on.

The browser holds a random id in a cookie that no script can read; the key never leaves the server. The id is new with every
sign-in, so that one that somebody else knows, or planted, is worth nothing: the page hands it over through a ticket, which counts
once, at once, and only together with the id that the same browser had before.
"""

import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs

COOKIE: Final = "spanledger_visit"
DOOR: Final = "/door"
IDLE_S: Final = 12 * 3_600.0
_TICKET_S: Final = 60.0
_VISITS_MAX: Final = 10_000
_ID: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_PIXEL: Final = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c000000000100010000020144003b")


@dataclass(slots=True)
class _Visit:
    key: str = field(repr=False)
    seen_s: float


@dataclass(slots=True)
class _Ticket:
    browser: str
    visit: str
    until_s: float


class Visits:
    """All visits of one server. Times are of a clock that never goes back; safe to use from several threads."""

    def __init__(self) -> None:
        """Nobody is here yet."""
        self._lock = threading.Lock()
        self._visits: dict[str, _Visit] = {}
        self._tickets: dict[str, _Ticket] = {}

    def begin(self, browser: str, key: str, now_s: float) -> tuple[str, str]:
        """Somebody signed in whose browser had this id before; the visit's id, and the ticket for which the browser gets it."""
        visit, ticket = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        with self._lock:
            self._forget_old(now_s)
            self._visits[visit] = _Visit(key, now_s)
            self._tickets[ticket] = _Ticket(browser, visit, now_s + _TICKET_S)
        return visit, ticket

    def is_waiting(self, ticket: str, now_s: float) -> bool:
        """Whether the browser may still come for it."""
        found = self._tickets.get(ticket)
        return found is not None and now_s < found.until_s

    def redeem(self, ticket: str, browser: str, now_s: float) -> str | None:
        """The id of the visit for its browser; None for anybody else, and the second time."""
        with self._lock:
            found = self._tickets.get(ticket)
            if found is None or now_s >= found.until_s or not secrets.compare_digest(found.browser, browser):
                return None
            del self._tickets[ticket]
            return found.visit

    def key(self, visit: str, now_s: float) -> str | None:
        """The key of a visit that is not over, which thereby goes on; None for any other."""
        with self._lock:
            found = self._visits.get(visit)
            if found is None:
                return None
            if now_s - found.seen_s >= IDLE_S:
                del self._visits[visit]
                return None
            found.seen_s = now_s
            return found.key

    def end(self, visit: str) -> None:
        """Somebody signed out, or their key is no longer valid."""
        with self._lock:
            self._visits.pop(visit, None)

    def _forget_old(self, now_s: float) -> None:
        for ticket in [name for name, found in self._tickets.items() if now_s >= found.until_s]:
            del self._tickets[ticket]
        for visit in [name for name, found in self._visits.items() if now_s - found.seen_s >= IDLE_S]:
            del self._visits[visit]
        if len(self._visits) >= _VISITS_MAX:
            del self._visits[min(self._visits, key=lambda name: self._visits[name].seen_s)]


VISITS: Final = Visits()
"""Of this process: the page script and the middleware meet here."""


def id_in(cookies: Mapping[str, str]) -> str:
    """The id in a browser's cookies; "" where there is none that can be ours."""
    found: object = cookies.get(COOKIE)
    return found if isinstance(found, str) and _ID.fullmatch(found) else ""


class Door:
    """ASGI middleware: gives each browser an id before anybody signs in, and another one for a ticket."""

    def __init__(self, app: Any, visits: Visits = VISITS) -> None:
        self._app = app
        self._visits = visits

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        browser = id_in(_cookies(headers.get(b"cookie", b"").decode("latin-1")))
        is_secure = scope.get("scheme") == "https" or headers.get(b"x-forwarded-proto") == b"https"
        if scope["path"] == DOOR:
            (ticket,) = parse_qs(scope["query_string"].decode("latin-1")).get("ticket", [""])[:1]
            visit = self._visits.redeem(ticket, browser, time.monotonic()) if browser else None
            await _answer(send, None if visit is None else _cookie(visit, is_secure))
            return
        if browser or b"text/html" not in headers.get(b"accept", b""):
            await self._app(scope, receive, send)
            return

        async def send_with_id(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = _cookie(secrets.token_urlsafe(32), is_secure)
                message = {**message, "headers": [*message.get("headers", ()), (b"set-cookie", given)]}
            await send(message)

        await self._app(scope, receive, send_with_id)


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


def _cookie(value: str, is_secure: bool) -> bytes:
    # Without an age it ends with the browser; Strict: no other site's link or picture brings it along.
    return f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if is_secure else ''}".encode()


async def _answer(send: Any, cookie: bytes | None) -> None:
    headers = [(b"content-type", b"image/gif"), (b"cache-control", b"no-store")]
    if cookie is not None:
        headers.append((b"set-cookie", cookie))
    await send({"type": "http.response.start", "status": 403 if cookie is None else 200, "headers": headers})
    await send({"type": "http.response.body", "body": _PIXEL})

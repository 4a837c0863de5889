"""Back to the page that somebody came for once they have signed in: Streamlit's callback always ends at the start page.

A link of an alert leads to a page with its filters. When that page is loaded its address goes into a short-lived cookie, and the
answer to the provider's callback is sent there. Only addresses of the dashboard itself are followed.
"""

import re
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import quote, unquote

from spanledger_dashboard.people import CALLBACK

COOKIE: Final = "spanledger_way_back"
_KEPT_S: Final = 900
_CHARS_MAX: Final = 2_000
_PAGE: Final = re.compile(r"/[a-z]*(\?[\x21-\x7e]*)?")
"""A page's path has one part, so nothing that a browser takes for another host is one."""


class WayBack:
    """ASGI middleware around a dashboard where people sign in with a provider."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        headers = dict(scope.get("headers", ()))
        is_page = scope["type"] == "http" and headers.get(b"sec-fetch-mode") == b"navigate"
        is_callback = is_page and scope["path"] == CALLBACK
        here = address(scope["path"], scope["query_string"].decode("latin-1")) if is_page and not is_callback else None
        way = wanted(headers.get(b"cookie", b"").decode("latin-1")) if is_callback else None
        if here is None and way is None:
            await self._app(scope, receive, send)
            return

        async def send_on(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": list(message.get("headers", ()))}
                if here is not None and message["status"] == 200:
                    message["headers"].append((b"set-cookie", _cookie(here, _KEPT_S)))
                if way is not None and message["status"] == 302:
                    kept = [(name, value) for name, value in message["headers"] if name != b"location"]
                    message["headers"] = [*kept, (b"location", way.encode()), (b"set-cookie", _cookie("", 0))]
            await send(message)

        await self._app(scope, receive, send_on)


def address(path: str, query: str) -> str | None:
    """The address of a page of ours, or None: what is something else, or is the start page anyway, needs no way back."""
    found = f"{path}?{query}" if query else path
    return found if found != "/" and len(found) <= _CHARS_MAX and _PAGE.fullmatch(found) else None


def wanted(cookies: str) -> str | None:
    """Where somebody came to, by their cookies."""
    try:
        morsel = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return None
    path, _, query = unquote(morsel.value).partition("?") if morsel else ("", "", "")
    return address(path, query)


def _cookie(value: str, age_s: int) -> bytes:
    return f"{COOKIE}={quote(value, safe='')}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax".encode()

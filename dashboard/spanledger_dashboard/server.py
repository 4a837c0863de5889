"""The dashboard as a server: Streamlit under uvicorn, with headers that keep pages from talking to other hosts."""

import logging
import os
import re
import secrets
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from spanledger_dashboard.people import SignIn

_LOG: Final = logging.getLogger("spanledger.dashboard")
HERE: Final = Path(__file__).resolve().parent
_HOST: Final = re.compile(r"[A-Za-z0-9.\-]{1,253}(:\d{1,5})?|\[[0-9a-fA-F:]{2,45}\](:\d{1,5})?")
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_OWN_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
_POLICY: Final = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; connect-src 'self'{sockets}; font-src 'self' data:; "
    "worker-src 'self' blob:; frame-src 'none'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"
)


def policy(host: str) -> str:
    """The content security policy of a page reached as `host`: nothing but the dashboard's own origin."""
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return _POLICY.format(sockets=sockets)


class SecurityHeaders:
    """ASGI middleware that adds the content security policy and its companions to every answer."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        added = [
            (b"content-security-policy", policy(host).encode()),
            (b"x-frame-options", b"DENY"),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
        ]

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


def report(error: BaseException) -> bool:
    """Show a failed page as such, and write where it failed to the log under the id that the reader sees.

    The log has the exception's type and the lines of code, not its message: that may quote what users wrote.
    """
    import streamlit as st

    id = secrets.token_hex(4)
    lines = "".join(traceback.format_tb(error.__traceback__))
    _LOG.error("page failed, id %s: %s\n%s", id, type(error).__name__, lines)
    st.error(
        f"Load the page again. If it fails again, look for {id} in the dashboard's log.",
        title="This page could not be drawn",
        icon=":material/error:",
    )
    return True


def allowed_hosts(host: str, names: Sequence[str]) -> list[str]:
    """Under which names a dashboard answers that listens on this machine only: its own, and those that a proxy passes on.

    Args:
        host: Address that it listens on; where others reach it too, every name is allowed and the list empty.
        names: Of the proxy, from the settings.
    """
    return [*dict.fromkeys([*_OWN_NAMES, *names])] if host in _LOOPBACK else []


def run(host: str, port: int, sign_in: "SignIn | None" = None) -> None:
    """Serve until interrupted. Configuration that is the same everywhere is in `.streamlit/config.toml` beside this file.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        sign_in: Where people sign in with an OpenID provider.
    """
    import streamlit as st
    from starlette.middleware import Middleware

    from spanledger_dashboard import people
    from spanledger_dashboard.visits import Door
    from spanledger_dashboard.way_back import WayBack

    logging.getLogger("uvicorn.access").disabled = True
    sys.argv = [str(HERE / "__main__.py")]  # Streamlit looks for its configuration and static files beside the launcher.
    options: dict[str, Any] = {"server.address": host, "server.port": port, "logger.level": "warning"}
    public = urlsplit(os.environ.get("SPANLEDGER_PUBLIC_URL", "")).hostname
    names = [public] if public else []
    secrets: dict[str, Any] = {}
    if sign_in is not None:
        names += people.hosts(sign_in)
        secrets["auth"] = dict(sign_in.auth)
    if allowed := allowed_hosts(host, names):
        options["server.allowedHosts"] = allowed
    around = [Middleware(SecurityHeaders), Middleware(Door) if sign_in is None else Middleware(WayBack)]
    app = st.App(HERE / "app.py", middleware=around, on_script_error=report, secrets=secrets)
    app.run(config=options)

"""A small OpenID provider on loopback: discovery, authorize, token with an RS256 id_token, keys, and the end of a session.

It does what the specification asks of the code flow (state, nonce, PKCE, one use of a code, the client's secret) and refuses
what does not fit, so that a test that passes here has done the round trip.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID = "spanledger"
CLIENT_SECRET = "the-client-s-secret"


@dataclass
class Provider:
    """A running provider; `people` are the claims of those who have an account, by their names on its page."""

    people: dict[str, dict[str, Any]]
    issuer: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"}))
    codes: dict[str, dict[str, Any]] = field(default_factory=dict)
    issued: int = 0
    ended: int = 0
    age_s: int = 0
    """How long ago tokens say that they were issued."""
    signer: RSAKey | None = None
    """Signs instead of `key`: a forger's."""

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "end_session_endpoint": f"{self.issuer}/logout",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        given = base64.b64decode(authorization.removeprefix("Basic ")).decode() if authorization else ""
        if given != f"{CLIENT_ID}:{CLIENT_SECRET}":
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None or form.get("redirect_uri") != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=")
        if challenge.decode() != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now - self.age_s,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.people[asked["who"]],
        }
        self.issued += 1
        id_token = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.signer or self.key)
        return 200, {"access_token": secrets.token_hex(8), "token_type": "Bearer", "expires_in": 300, "id_token": id_token}

    def authorize(self, query: dict[str, str]) -> tuple[int, str]:
        """The page on which somebody says who they are, or where to go on with a code."""
        needed = ("client_id", "redirect_uri", "state", "nonce", "code_challenge")
        if query.get("client_id") != CLIENT_ID or query.get("response_type") != "code" or not all(map(query.get, needed)):
            return 400, "invalid_request"
        if "who" not in query:
            links = [f'<p><a href="?{escape(urlencode({**query, "who": who}))}">{escape(who)}</a></p>' for who in self.people]
            return 200, f"<h1>Who are you?</h1>{''.join(links)}"
        code = secrets.token_hex(12)
        self.codes[code] = query
        return 302, f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _reply(self, status: int, body: bytes, kind: str, **headers: str) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            if url.path == "/.well-known/openid-configuration":
                self._reply(200, json.dumps(provider.discovery()).encode(), "application/json")
            elif url.path == "/jwks":
                self._reply(200, json.dumps({"keys": [provider.key.as_dict(private=False)]}).encode(), "application/json")
            elif url.path == "/authorize":
                status, text = provider.authorize(query)
                self._reply(status, text.encode(), "text/html", **({"location": text} if status == 302 else {}))
            elif url.path == "/logout":
                provider.ended += 1
                self._reply(302, b"", "text/html", location=query["post_logout_redirect_uri"])
            else:
                self._reply(404, b"", "text/plain")

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers.get("content-length") or 0)).decode())
            flat = {name: values[0] for name, values in form.items()}
            status, answer = provider.token(flat, self.headers.get("authorization") or "")
            self._reply(status, json.dumps(answer).encode(), "application/json")

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def serving(people: dict[str, dict[str, Any]]) -> Iterator[Provider]:
    """Serve on a free port of loopback."""
    provider = Provider(people)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(provider))
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)

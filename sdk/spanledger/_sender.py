"""One kept-alive HTTP connection to the collector, on the standard library.

Why not the stock OTLP exporter: it retries inside a 10 s budget that shutdown cannot shorten and it cannot send
feedback. Why not `requests`: hosts patch it in their tests, and `http.client` lets every wait be bounded here.
"""

import gzip
import http.client
import os
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Final
from urllib.parse import urlsplit

_CONNECT_TIMEOUT_S: Final = 3.0
_BODY_BYTES_MAX: Final = 65_536
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# Level 3 is three times as fast as the default 6 for a few per cent more bytes.
_GZIP_LEVEL: Final = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP status; 0 when there was no answer at all.
        body: At most 64 KiB.
        retry_after_s: The server's wish, in seconds, or None.
    """

    status: int
    body: bytes = b""
    retry_after_s: float | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the collector made it durable."""
        return 200 <= self.status < 300

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed later. 500 may not: the collector says 503 when it wants it again."""
        return self.status in (0, 429, 502, 503, 504)


class Sender:
    """Posts bodies to routes below one base URL. Used by one thread."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(endpoint)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._headers = {"user-agent": "spanledger-python", **headers}
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes, content_type: str, *, timeout_s: float, compress: bool) -> Answer:
        """Send one request and wait at most about `timeout_s` seconds. Network trouble is an `Answer`, not an error."""
        headers = {**self._headers, "content-type": content_type}
        if compress:
            body = gzip.compress(body, compresslevel=_GZIP_LEVEL)
            headers["content-encoding"] = "gzip"
        reused = self._connection is not None
        try:
            return self._exchange(path, body, headers, timeout_s)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.close()
            if not reused:
                return Answer(0)
        except (OSError, http.client.HTTPException):
            self.close()
            return Answer(0)
        # The server had closed the idle connection: that says nothing about its health, so once more on a new one.
        try:
            return self._exchange(path, body, headers, timeout_s)
        except (OSError, http.client.HTTPException):
            self.close()
            return Answer(0)

    def _exchange(self, path: str, body: bytes, headers: dict[str, str], timeout_s: float) -> Answer:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect(timeout_s)
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        connection.request("POST", self._prefix + path, body=body, headers=headers)
        response = connection.getresponse()
        content = response.read(_BODY_BYTES_MAX)
        if response.will_close or not response.isclosed():
            self.close()
        return Answer(response.status, content, _retry_after_s(response.getheader("retry-after")))

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        is_direct = self._host in _LOOPBACK or bool(urllib.request.proxy_bypass(self._host))
        proxy = None if is_direct else _proxy("https" if self._secure else "http")
        host, port = proxy or (self._host, self._port)
        connection: http.client.HTTPConnection
        if self._secure:
            context = ssl.create_default_context(cafile=os.environ.get("OTEL_EXPORTER_OTLP_CERTIFICATE") or None)
            connection = http.client.HTTPSConnection(host, port, timeout=_CONNECT_TIMEOUT_S, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_CONNECT_TIMEOUT_S)
        if proxy is not None:
            connection.set_tunnel(self._host, self._port)
        connection.timeout = min(_CONNECT_TIMEOUT_S, timeout_s)
        connection.connect()
        return connection

    def close(self) -> None:
        """Drop the connection; the next request opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _proxy(scheme: str) -> tuple[str, int] | None:
    address = urllib.request.getproxies().get(scheme)
    if not address:
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    return (parts.hostname, parts.port or 80) if parts.hostname else None


def _retry_after_s(value: str | None) -> float | None:
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, TypeError):
        return None

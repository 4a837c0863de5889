"""Telling people: signed webhooks and e-mail.

A webhook goes to a public address only (unless the operator allows private ones): the name is resolved once, every address of
it is checked, and the connection goes to the address that was checked. Redirects are not followed. The body is signed with the
rule's secret: `x-spanledger-signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>." + body>`.
"""

import hashlib
import hmac
import ipaddress
import smtplib
import socket
import ssl
from email.message import EmailMessage
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx

_TIMEOUT_S: Final = 5.0
_USER_AGENT: Final = "spanledger-alerts"


class Undeliverable(Exception):
    """Why a message could not be delivered, in words for the history; `is_final` when trying again is pointless."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        """Say why."""
        super().__init__(reason)
        self.is_final = is_final


def sign(secret: str, body: bytes, timestamp_s: int) -> str:
    """The signature header of a body."""
    digest = hmac.new(secret.encode(), f"{timestamp_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp_s},v1={digest}"


def resolve(url: str, *, allow_private: bool) -> str:
    """The address that a webhook may be sent to.

    Raises:
        Undeliverable: the name does not resolve, or it is an address of this network and those are not allowed.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise Undeliverable(f"{host} does not resolve") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not allow_private and not all(ipaddress.ip_address(address.split("%")[0]).is_global for address in addresses):
        raise Undeliverable(f"{host} is a private address; webhooks go to public ones only", is_final=True)
    return addresses[0]


def send_webhook(url: str, body: bytes, secret: str, timestamp_s: int, event_id: str, *, allow_private: bool) -> None:
    """Post a signed body.

    Raises:
        Undeliverable: it did not arrive, or was refused.
    """
    address = resolve(url, allow_private=allow_private)
    parts = urlsplit(url)
    literal = f"[{address}]" if ":" in address else address
    target = httpx.URL(url).copy_with(host=literal)
    host = parts.hostname or ""
    headers = {
        "host": host if parts.port is None else f"{host}:{parts.port}",
        "content-type": "application/json",
        "user-agent": _USER_AGENT,
        "x-spanledger-event": event_id,
        "x-spanledger-signature": sign(secret, body, timestamp_s),
    }
    try:
        with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
            request = client.build_request("POST", target, content=body, headers=headers, extensions={"sni_hostname": host})
            response = client.send(request)
    except httpx.HTTPError as error:
        raise Undeliverable(f"{host} did not answer ({type(error).__name__})") from None
    if not 200 <= response.status_code < 300:
        is_final = 400 <= response.status_code < 500 and response.status_code not in (408, 425, 429)
        raise Undeliverable(f"{host} answered HTTP {response.status_code}", is_final=is_final)


def send_mail(smtp_url: str, sender: str, recipient: str, subject: str, text: str) -> None:
    """Send one e-mail.

    Raises:
        Undeliverable: the server is not set, not reached, or refused it.
    """
    parts = urlsplit(smtp_url)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise Undeliverable("no mail server is set; see SPANLEDGER_SMTP_URL", is_final=True)
    message = EmailMessage()
    message["From"], message["To"] = sender, recipient
    message["Subject"] = " ".join(subject.split())[:200]
    message.set_content(text)
    try:
        with _connect(parts.scheme, parts.hostname, parts.port) as server:
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(message)
    except smtplib.SMTPResponseException as error:
        raise Undeliverable(f"the mail server answered {error.smtp_code}", is_final=500 <= error.smtp_code < 600) from None
    except (OSError, smtplib.SMTPException) as error:
        raise Undeliverable(f"the mail server did not take it ({type(error).__name__})") from None


def _connect(scheme: str, host: str, port: int | None) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port or 465, timeout=_TIMEOUT_S, context=context)
    server = smtplib.SMTP(host, port or 587, timeout=_TIMEOUT_S)
    server.ehlo()
    if server.has_extn("starttls"):
        server.starttls(context=context)
        server.ehlo()
    return server

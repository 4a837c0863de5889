"""Keys: how they look, what they permit, how they are kept.

A key is `sl_<id>_<secret>`. The secret has 256 bits, so a plain SHA-256 of it is kept and no slow hash is needed; whoever
reads the store learns no key. A key belongs to one project and has scopes; an admin key is for the whole instance and chooses
the project by header.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SCOPES: Final = {
    "ingest": "send spans, logs and metrics",
    "feedback": "send feedback; safe in a browser",
    "read": "ask questions and read interactions, without what people and models wrote",
    "read_content": "read prompts, answers, documents and comments too",
    "review": "decide what the model should not decide alone",
    "admin": "everything, in every project",
}
EVERYTHING: Final = frozenset(SCOPES)
_KEY: Final = re.compile(r"sl_([0-9a-z]{10})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept. Times are nanoseconds since 1970; `expires_at` 0 is never."""

    key_id: str
    project: str
    name: str
    scopes: frozenset[str]
    digest: str
    created_at: int
    expires_at: int = 0
    is_revoked: bool = False

    def holds(self, now_ns: int) -> bool:
        """Whether it may still be used."""
        return not self.is_revoked and (not self.expires_at or now_ns < self.expires_at)


@dataclass(frozen=True, slots=True)
class Access:
    """What a request may do: its scopes, the project that it is bound to (None: any), and who it is, for the audit log."""

    actor: str
    scopes: frozenset[str]
    project: str | None = None

    def may(self, scope: str) -> bool:
        """Whether a scope is granted; admin grants all."""
        return scope in self.scopes or "admin" in self.scopes


KEYLESS: Final = Access("loopback", EVERYTHING)
"""Without any key, whoever is on this machine may do everything."""
BOOTSTRAP: Final = Access("bootstrap", EVERYTHING)


def new_key(project: str, name: str, scopes: Iterable[str], now_ns: int, expires_at: int = 0) -> tuple[Key, str]:
    """Make a key.

    Returns:
        What is kept, and the key itself, which is shown once.

    """
    key_id = "".join(secrets.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(10))
    secret = secrets.token_urlsafe(32)
    return Key(key_id, project, name, frozenset(scopes), digest_of(secret), now_ns, expires_at), f"sl_{key_id}_{secret}"


def split_key(given: str) -> tuple[str, str] | None:
    """The id and the secret of a key, or None where it is none of ours."""
    found = _KEY.fullmatch(given)
    return (found.group(1), found.group(2)) if found else None


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_same(given: str, known: str) -> bool:
    """Compare two secrets or digests in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), known.encode())

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
from dataclasses import dataclass, replace
from typing import Final

from spanledger_collector.errors import BadRequest, NotAllowed

SCOPES: Final = {
    "ingest": "send spans, logs and metrics",
    "feedback": "send feedback; safe in a browser",
    "read": "ask questions and read interactions, without what people and models wrote",
    "read_content": "read prompts, answers, documents and comments too",
    "review": "decide what the model should not decide alone",
    "act_for": "act for the people that it names, for a dashboard where they sign in; admin does not include it",
    "admin": "everything, in every project",
}
EVERYTHING: Final = frozenset(SCOPES)
PERSON_CHARS_MAX: Final = 200
_KEY: Final = re.compile(r"sl_([0-9a-z]{10})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept. Times are nanoseconds since 1970, `quota` spans, logs and judgements a minute; 0: never, no limit."""

    key_id: str
    project: str
    name: str
    scopes: frozenset[str]
    digest: str
    created_at: int
    expires_at: int = 0
    is_revoked: bool = False
    quota: int = 0

    def holds(self, now_ns: int) -> bool:
        """Whether it may still be used."""
        return not self.is_revoked and (not self.expires_at or now_ns < self.expires_at)


@dataclass(frozen=True, slots=True)
class Access:
    """What a request may do: its scopes, the project that it is bound to (None: any), how much it may send, and who it is."""

    actor: str
    scopes: frozenset[str]
    project: str | None = None
    name: str = ""
    quota: int = 0
    key: str = ""
    """Whose key it is, where it acts for a person."""

    @property
    def sender(self) -> str:
        """Who a quota is for: the key, for whomever it acts."""
        return self.key or self.actor

    def may(self, scope: str) -> bool:
        """Whether a scope is granted; admin grants all but to act for others, which a key must have been given by name."""
        return scope in self.scopes or ("admin" in self.scopes and scope != "act_for")

    def acting_for(self, person: str, scopes: Iterable[str] | None) -> "Access":
        """What this key may do for a person: no more than the key may, and no more than the person may.

        Args:
            person: Who it is, such as an e-mail address.
            scopes: What the person may do; None for all that the key may.

        Raises:
            NotAllowed: the key may not act for people.
            BadRequest: the person has no usable name, or a scope is none of ours.
        """
        if not self.may("act_for"):
            raise NotAllowed("This key may not act for people; it needs the scope act_for.")
        if not 1 <= len(person) <= PERSON_CHARS_MAX or not person.isprintable() or any(char.isspace() for char in person):
            raise BadRequest(f"A person is 1 to {PERSON_CHARS_MAX} printable characters without spaces, percent-encoded.")
        wanted = EVERYTHING if scopes is None else frozenset(scopes)
        if unknown := sorted(wanted - EVERYTHING):
            raise BadRequest(f"There is no scope {unknown[0][:60]!r}; there are: {', '.join(SCOPES)}.")
        granted = frozenset(scope for scope in wanted if self.may(scope)) - {"act_for"}
        return replace(self, actor=f"{person} by {self.actor}", scopes=granted, name=person, key=self.sender)


KEYLESS: Final = Access("loopback", EVERYTHING - {"act_for"})
"""Without any key, whoever is on this machine may do everything."""
BOOTSTRAP: Final = Access("bootstrap", EVERYTHING, name="bootstrap")


def new_key(project: str, name: str, scopes: Iterable[str], now_ns: int, expires_at: int = 0, quota: int = 0) -> tuple[Key, str]:
    """Make a key.

    Returns:
        What is kept, and the key itself, which is shown once.

    """
    key_id = "".join(secrets.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(10))
    secret = secrets.token_urlsafe(32)
    key = Key(key_id, project, name, frozenset(scopes), digest_of(secret), now_ns, expires_at, quota=quota)
    return key, f"sl_{key_id}_{secret}"


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

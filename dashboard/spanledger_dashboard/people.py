"""Who may sign in with an OpenID provider, and what each role permits: the sign-in file, and claims to a person. Pure.

The file is TOML. `[auth]` is Streamlit's own (https://docs.streamlit.io, `st.login`); `[sign_in]` and `[roles.<name>]` are ours:

    [roles.viewer]
    domains = ["example.com"]
    [roles.admin]
    emails = ["ada@example.com"]
    [roles.auditor]                       # a role of one's own says its scopes
    scopes = ["read", "read_content"]
    groups = ["compliance"]

Who is named by no role gets in nowhere; who is named by several may do what any of them permits. An e-mail address or a domain
counts only when the provider says that the address is verified: else whoever may write any address into their profile is anybody.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

SCOPES: Final = ("ingest", "feedback", "read", "read_content", "review", "admin")
"""What a person may be permitted; to act for others is nobody's."""
ROLES: Final = {
    "viewer": ("read",),
    "reviewer": ("read", "read_content", "review", "feedback"),
    "admin": SCOPES,
}
"""Roles that need not say their scopes."""
FILE_VARIABLE: Final = "SPANLEDGER_DASHBOARD_SIGN_IN"
KEY_VARIABLE: Final = "SPANLEDGER_API_KEY"
CALLBACK: Final = "/oauth2callback"
COOKIE_SECRET_CHARS_MIN: Final = 32
PERSON_CHARS_MAX: Final = 200
_CLIENT: Final = ("client_id", "client_secret", "server_metadata_url")
_MATCHES: Final = ("emails", "domains", "groups")
_SIGN_IN: Final = ("session_hours", "groups_claim", "trust_unverified_email")


class SignInError(ValueError):
    """The sign-in file cannot be used; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a role permits, and who has it."""

    name: str
    scopes: frozenset[str]
    emails: frozenset[str]
    domains: frozenset[str]
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class SignIn:
    """The sign-in file, read and found usable.

    Attributes:
        auth: The section that Streamlit reads; holds secrets.
        providers: Names for `st.login`; None where there is one without a name.
        roles: In the file's order.
        groups_claim: The claim that names a person's groups; dots lead into objects.
        session_s: How long a sign-in holds; the provider is asked again after it.
        trusts_email: Whether addresses count that the provider does not call verified.
    """

    auth: Mapping[str, Any]
    providers: tuple[str | None, ...]
    roles: tuple[Role, ...]
    groups_claim: str
    session_s: float
    trusts_email: bool

    def __repr__(self) -> str:
        return f"SignIn(providers={self.providers}, roles={[role.name for role in self.roles]})"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who signed in: the name for the audit log, the roles, and all that these permit."""

    name: str
    roles: tuple[str, ...]
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody who is known to the provider and gets in nowhere, and why."""

    name: str
    reason: str


def read_sign_in(document: Mapping[str, Any]) -> SignIn:
    """Read the parsed file.

    Raises:
        SignInError: something in it cannot be meant.
    """
    _known(document, ("auth", "sign_in", "roles"), "the file")
    auth = _table(document, "auth")
    options = _table(document, "sign_in", optional=True)
    _known(options, _SIGN_IN, "[sign_in]")
    hours = options.get("session_hours", 12)
    if not isinstance(hours, int | float) or isinstance(hours, bool) or not 0 < hours <= 24 * 30:
        raise SignInError("[sign_in] session_hours is a number of hours, more than 0 and at most 720.")
    claim = options.get("groups_claim", "groups")
    if not isinstance(claim, str) or not claim:
        raise SignInError("[sign_in] groups_claim is the name of a claim, such as groups or realm_access.roles.")
    trusts = options.get("trust_unverified_email", False)
    if not isinstance(trusts, bool):
        raise SignInError("[sign_in] trust_unverified_email is true or false.")
    roles = tuple(_role(name, table) for name, table in _table(document, "roles").items())
    if not any(role.emails | role.domains | role.groups for role in roles):
        raise SignInError("No role names anybody: give at least one emails, domains or groups, or nobody can sign in.")
    return SignIn(auth, _providers(auth), roles, claim, hours * 3_600.0, trusts)


def admit(sign_in: SignIn, claims: Mapping[str, Any]) -> Person | Stranger:
    """Who somebody is, by what the provider says, and what they may.

    Args:
        sign_in: The sign-in file.
        claims: Of the provider's signed token, which was verified.
    """
    email = _email(claims)
    is_verified = claims.get("email_verified") in (True, "true") or (sign_in.trusts_email and "email_verified" not in claims)
    subject = claims.get("sub")
    name = email if email and is_verified else f"sub:{subject}" if isinstance(subject, str) and subject else ""
    if not name or len(name) > PERSON_CHARS_MAX or not name.isprintable() or any(char.isspace() for char in name):
        return Stranger("", "The provider gives no name that an audit log could hold: neither a verified e-mail nor a subject.")
    groups = _groups(claims, sign_in.groups_claim)
    domain = email.rpartition("@")[2]
    found = [
        role
        for role in sign_in.roles
        if role.groups & groups or (is_verified and email and (email in role.emails or domain in role.domains))
    ]
    if found:
        return Person(name, tuple(role.name for role in found), frozenset().union(*(role.scopes for role in found)))
    if email and not is_verified:
        return Stranger(email, "The provider does not say that this address is verified, so it counts for nothing.")
    return Stranger(name, "No role names this address, its domain, or a group that the provider says you are in.")


def is_over(sign_in: SignIn, claims: Mapping[str, Any], now_s: float) -> bool:
    """Whether a sign-in is so long ago that the provider is to be asked again."""
    issued = claims.get("iat")
    return not isinstance(issued, int | float) or isinstance(issued, bool) or now_s - issued > sign_in.session_s


def hosts(sign_in: SignIn) -> list[str]:
    """Under which name browsers reach the dashboard."""
    host = urlsplit(str(sign_in.auth["redirect_uri"])).hostname
    return [host] if host else []


def _email(claims: Mapping[str, Any]) -> str:
    given = claims.get("email")
    found = _low(given.strip()) if isinstance(given, str) else ""
    return found if found.count("@") == 1 and not found.startswith("@") and not found.endswith("@") else ""


def _low(address: str) -> str:
    """In small letters, of ASCII only: some others, as the Kelvin sign, become ASCII's, and somebody becomes somebody else."""
    return address.encode("utf-8", "replace").lower().decode()


def _groups(claims: Mapping[str, Any], path: str) -> frozenset[str]:
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for step in path.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    names = [found] if isinstance(found, str) else found if isinstance(found, list | tuple) else []
    return frozenset(name for name in names if isinstance(name, str) and name)


def _providers(auth: Mapping[str, Any]) -> tuple[str | None, ...]:
    uri = urlsplit(str(auth.get("redirect_uri", "")))
    if uri.scheme not in ("http", "https") or not uri.hostname or not uri.path.endswith(CALLBACK):
        raise SignInError(f"[auth] redirect_uri is the dashboard's own address and {CALLBACK}: https://…{CALLBACK}.")
    if len(str(auth.get("cookie_secret", ""))) < COOKIE_SECRET_CHARS_MIN:
        raise SignInError(
            f"[auth] cookie_secret signs who somebody is: give at least {COOKIE_SECRET_CHARS_MIN} random characters, "
            "such as those of `openssl rand -hex 32`."
        )
    if auth.get("expose_tokens"):
        raise SignInError("[auth] expose_tokens is not used here; leave it out, so that no token reaches a page.")
    named = {name: value for name, value in auth.items() if isinstance(value, Mapping) and name != "client_kwargs"}
    found: dict[str | None, Mapping[str, Any]] = {None: auth} if "client_id" in auth else {}
    for name, provider in (found | named).items():
        missing = [key for key in _CLIENT if not isinstance(provider.get(key), str) or not provider[key]]
        if missing:
            raise SignInError(f"[auth{f'.{name}' if name else ''}] needs {', '.join(missing)} of the client at the provider.")
        if name and "_" in name:
            raise SignInError(f"[auth.{name}]: a provider's name has no underscore.")
    if not (found or named):
        raise SignInError(f"[auth] names no provider: it needs {', '.join(_CLIENT)}, or a section [auth.<name>] with them.")
    return (*found, *named)


def _role(name: str, table: Any) -> Role:
    where = f"[roles.{name}]"
    if not isinstance(table, Mapping):
        raise SignInError(f"{where} is a section with {', '.join(_MATCHES)}.")
    _known(table, ("scopes", *_MATCHES), where)
    scopes = _texts(table, "scopes", where) if "scopes" in table else ROLES.get(name)
    if scopes is None:
        raise SignInError(f"{where} is none of {', '.join(ROLES)}, so it says its scopes: some of {', '.join(SCOPES)}.")
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise SignInError(f"{where}: there is no scope {unknown[0]!r}; there are {', '.join(SCOPES)}.")
    emails, domains, groups = (_texts(table, key, where) for key in _MATCHES)
    if wrong := [email for email in emails if email.count("@") != 1]:
        raise SignInError(f"{where}: {wrong[0]!r} is no e-mail address.")
    domains = [domain.removeprefix("@") for domain in domains]
    if wrong := [domain for domain in domains if "@" in domain or "*" in domain]:
        raise SignInError(f"{where}: {wrong[0]!r} is no domain; write example.com, without wildcards.")
    low = frozenset(map(_low, emails)), frozenset(map(_low, domains))
    return Role(name, frozenset(scopes), low[0], low[1], frozenset(groups))


def _texts(table: Mapping[str, Any], key: str, where: str) -> list[str]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(text, str) and text.strip() for text in found):
        raise SignInError(f"{where} {key} is a list of texts.")
    return [text.strip() for text in found]


def _table(document: Mapping[str, Any], name: str, *, optional: bool = False) -> Mapping[str, Any]:
    found = document.get(name, {} if optional else None)
    if not isinstance(found, Mapping):
        raise SignInError(f"The file needs a section [{name}].")
    return found


def _known(table: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    if unknown := sorted(set(table) - set(names)):
        raise SignInError(f"There is no {unknown[0]!r} in {where}; there are {', '.join(names)}.")

"""Keys, projects and the audit log, for admins."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query

from spanledger_collector.api.services import AccessDep, ProjectDep, Services, ServicesDep
from spanledger_collector.errors import InvalidQuestion, NotFound
from spanledger_collector.governance.keys import SCOPES, Key, new_key
from spanledger_collector.governance.quotas import QUOTA_MAX
from spanledger_collector.store.key_book import write_key
from spanledger_schema.query import parse_time

router = APIRouter(prefix="/api/v1", tags=["Governance"])

_ROTATION_S = 86_400.0
_EXPIRY_MAX_S = 9_214_646_400
_QUOTA = "quota_spans_per_minute"
_FIELDS = ("name", "scopes", "expires_at", "project", _QUOTA)
_EXAMPLE = {"name": "support-bot", "scopes": ["ingest", "feedback"], "expires_at": "2027-11-01T00:00:00Z", _QUOTA: 60_000}
KeyBody = Annotated[dict[str, Any], Body(examples=[_EXAMPLE])]
ChangeBody = Annotated[dict[str, Any], Body(examples=[{_QUOTA: 120_000}, {_QUOTA: None}])]


@router.get("/me", summary="Who am I?")
def get_me(parts: ServicesDep, access: AccessDep) -> dict[str, Any]:
    """Who the bearer of the key is, and what may be done with it; `project` is null where a header chooses."""
    return {
        "actor": access.actor,
        "name": access.name,
        "project": access.project,
        "scopes": [scope for scope in SCOPES if access.may(scope)],
        "is_keyless": parts.doorkeeper.is_keyless,
    }


@router.get("/keys", summary="Keys")
def get_keys(parts: ServicesDep) -> dict[str, Any]:
    """All keys of all projects, without their secrets, and the scopes that there are."""
    parts.ring.reload()
    return {"keys": [_show(key, used) for key, used in parts.ring.all()], "scopes": SCOPES}


@router.post("/keys", summary="Make a key", status_code=201)
def post_key(raw: KeyBody, parts: ServicesDep, project: ProjectDep, access: AccessDep) -> dict[str, Any]:
    """Make a key for a project (header, or `project`). The answer has the key itself, which is not shown again."""
    if unknown := sorted(map(str, set(raw) - set(_FIELDS))):
        raise InvalidQuestion(f"A key has no field {unknown[0][:60]!r}; there are: {', '.join(_FIELDS)}.")
    scopes = raw.get("scopes")
    if not isinstance(scopes, list) or not scopes or not all(scope in SCOPES for scope in scopes):
        raise InvalidQuestion(f"scopes is a list of some of: {', '.join(SCOPES)}.")
    name = raw.get("name", "")
    if not isinstance(name, str) or len(name) > 100:
        raise InvalidQuestion("name is a text of at most 100 characters.")
    where = raw.get("project", project)
    if not isinstance(where, str) or not 1 <= len(where) <= 100 or not where.isprintable():
        raise InvalidQuestion("project is a name of 1 to 100 printable characters.")
    key, secret = new_key(where, name, scopes, time.time_ns(), _expiry(raw), _quota(raw.get(_QUOTA)))
    if parts.doorkeeper.is_keyless and "admin" not in key.scopes:
        raise InvalidQuestion("The first key needs the scope admin: from then on every request needs a key, this one too.")
    _write(parts, key, access.actor, "key made")
    return {**_show(key, 0), "key": secret}


@router.post("/keys/{key_id}/rotate", summary="Replace a key", status_code=201)
def post_rotate(
    key_id: str,
    parts: ServicesDep,
    access: AccessDep,
    overlap_s: Annotated[float, Query(ge=0, le=30 * 86_400, description="How long the old key goes on.")] = _ROTATION_S,
) -> dict[str, Any]:
    """Make a key with the same project, scopes and quota; the old one ends when the overlap is over: both live for a while.

    A key that was made for some time is followed by one for as long. One that has ended is not followed by any.
    """
    old = _find(parts, key_id)
    now_ns = time.time_ns()
    if not old.holds(now_ns):
        raise InvalidQuestion("This key has ended, so nothing takes its place; make a new one.")
    end = now_ns + int(overlap_s * 1e9)
    expires_at = now_ns + old.expires_at - old.created_at if old.expires_at else 0
    key, secret = new_key(old.project, old.name, old.scopes, now_ns, expires_at, old.quota)
    _write(parts, key, access.actor, "key made")
    _write(parts, replace(old, expires_at=min(end, old.expires_at) if old.expires_at else end), access.actor, "key ends")
    return {**_show(key, 0), "key": secret}


@router.patch("/keys/{key_id}", summary="Change a key's quota")
def patch_key(key_id: str, raw: ChangeBody, parts: ServicesDep, access: AccessDep) -> dict[str, Any]:
    """Set how many spans, logs and judgements a minute a key may send; null is as many as it likes. It counts from now on."""
    if set(raw) != {_QUOTA}:
        raise InvalidQuestion(f"Of a key only {_QUOTA} can be changed; for the rest make another.")
    key = replace(_find(parts, key_id), quota=_quota(raw[_QUOTA]))
    _write(parts, key, access.actor, "quota set")
    return _show(key, 0)


@router.delete("/keys/{key_id}", summary="Revoke a key")
def delete_key(key_id: str, parts: ServicesDep, access: AccessDep) -> dict[str, Any]:
    """End a key now."""
    key = replace(_find(parts, key_id), is_revoked=True)
    _write(parts, key, access.actor, "key revoked")
    return _show(key, 0)


@router.get("/audit", summary="What was done")
def get_audit(
    parts: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 200,
    project: Annotated[str | None, Query(description="Of one project only.")] = None,
) -> dict[str, Any]:
    """Entries of the audit log, the latest first: every change, and every read of what people and models wrote."""
    return {
        "entries": [
            {
                "number": entry.number,
                "time": _iso(entry.at),
                "actor": entry.actor,
                "action": entry.action,
                "project": entry.project or None,
                "subject": entry.subject,
                "detail": entry.detail,
            }
            for entry in parts.audit.entries(project, limit)
        ]
    }


@router.get("/audit/verify", summary="Is the audit log whole?")
async def get_verify(parts: ServicesDep) -> dict[str, Any]:
    """Check the chain of hashes and its end; the number of the first entry that does not fit, and why."""
    count, bad = await asyncio.to_thread(parts.audit.verify)
    return {"entries": count, "is_whole": bad is None, "first_bad": bad[0] if bad else None, "reason": bad[1] if bad else None}


def _find(parts: Services, key_id: str) -> Key:
    parts.ring.reload()
    found = next((key for key, _ in parts.ring.all() if key.key_id == key_id), None)
    if found is None:
        raise NotFound("There is no such key; GET /api/v1/keys lists them.")
    return found


def _expiry(raw: dict[str, Any]) -> int:
    expires = parse_time(raw.get("expires_at"), "expires_at")
    if expires is None:
        return 0
    # 1970 would be never, and what ends after 2262 is no number of nanoseconds that the store has.
    if not time.time() < expires.timestamp() < _EXPIRY_MAX_S:
        raise InvalidQuestion("expires_at lies in the future, before the year 2262; leave it out for never.")
    return int(expires.timestamp() * 1e9)


def _quota(given: object) -> int:
    if given is None:
        return 0
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= QUOTA_MAX:
        raise InvalidQuestion(f"{_QUOTA} is a whole number from 1 to {QUOTA_MAX:,}, or null for no limit.")
    return given


def _write(parts: Services, key: Key, actor: str, action: str) -> None:
    parts.audit.write(actor, action, key.project, key.key_id, _detail(key))
    write_key(parts.store, key)
    parts.ring.reload()


def _detail(key: Key) -> dict[str, Any]:
    return {"name": key.name, "scopes": sorted(key.scopes), _QUOTA: key.quota or None}


def _show(key: Key, used: int) -> dict[str, Any]:
    now_ns = time.time_ns()
    state = "revoked" if key.is_revoked else "expired" if not key.holds(now_ns) else "live"
    return {
        "id": key.key_id,
        "project": key.project,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "state": state,
        "created_at": _iso(key.created_at),
        "expires_at": _iso(key.expires_at) if key.expires_at else None,
        "last_used_at": _iso(used) if used else None,
        _QUOTA: key.quota or None,
    }


def _iso(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

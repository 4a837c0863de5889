"""Projects' settings, and the erasure of a person."""

import asyncio
import hashlib
import time
from typing import Annotated, Any

from fastapi import APIRouter, Body

from spanledger_collector.api.services import AccessDep, ProjectDep, Services, ServicesDep, project_named
from spanledger_collector.errors import InvalidQuestion, Overloaded
from spanledger_collector.governance.retention import Retention, parse_retention
from spanledger_collector.query import erasure
from spanledger_collector.store.project_book import read_settings, write_settings

router = APIRouter(prefix="/api/v1", tags=["Governance"])

_SETTLE_S = 20.0
SettingsBody = Annotated[dict[str, Any], Body(examples=[{"numbers_days": 396, "content_days": 30}])]


def _delete(parts: Services, project: str, belongs: erasure.Belongings) -> None:
    with parts.manifest.deleting():
        erasure.delete(parts.store, project, belongs)


@router.put("/projects/{name}", summary="Change a project")
def put_project(name: str, raw: SettingsBody, parts: ServicesDep) -> dict[str, Any]:
    """For how many days its numbers, and what people and models wrote, are kept."""
    project = project_named(name)
    retention = parse_retention(raw, read_settings(parts.store).get(project, Retention()))
    write_settings(parts.store, project, retention)
    return {"name": project, **retention._asdict()}


@router.post("/erasures", summary="Erase a person")
async def post_erasure(
    raw: Annotated[dict[str, Any], Body(examples=[{"user": "u1"}])], parts: ServicesDep, project: ProjectDep, access: AccessDep
) -> dict[str, Any]:
    """Delete everything of a user from the project: spans, content, settled rows, feedback, quarantine.

    Interactions of others stay as they are, in traces that they share too. The answer says how much it was, and how many rows
    are left (0).
    """
    user = raw.get("user")
    if not isinstance(user, str) or not user or set(raw) != {"user"}:
        raise InvalidQuestion('Say whom to erase: {"user": "u1"}.')
    if not parts.spool.is_empty:
        raise Overloaded("Requests wait for the store and may hold something of that person; try again when they are in.")
    await asyncio.to_thread(parts.settler.drain, _SETTLE_S)
    belongs = await asyncio.to_thread(erasure.belongings, parts.store, project, user)
    # The log says that somebody was erased, and not who: the name would stay in it for ever.
    digest = hashlib.sha256(f"{project}\0{user}".encode("utf-8", "replace")).hexdigest()[:16]
    counts = {"traces": len(belongs.traces), "interactions_in_shared_traces": len(belongs.interactions)}
    await asyncio.to_thread(parts.audit.write, access.actor, "erase user", project, digest, counts)
    await asyncio.to_thread(_delete, parts, project, belongs)
    held = await asyncio.to_thread(parts.spool.erase, project, belongs.traces)
    parts.account.drop(project, held)
    parts.settler.forget([(project, trace_id) for trace_id in (*belongs.traces, *belongs.shared)])
    parts.settler.settle_again([(project, trace_id) for trace_id in belongs.shared])
    rest = await asyncio.to_thread(erasure.left, parts.store, project, user, belongs)
    return {**counts, "quarantined": held, "rows_left": rest, "erased_at": int(time.time())}

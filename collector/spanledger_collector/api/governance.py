"""Projects' settings, and the erasure of a person."""

import asyncio
import hashlib
import time
from typing import Annotated, Any

from fastapi import APIRouter, Body

from spanledger_collector.api.services import AccessDep, ProjectDep, Services, ServicesDep, project_named
from spanledger_collector.errors import InvalidQuestion, NotFound, Overloaded
from spanledger_collector.governance.data_rules import as_json, parse_data_rules
from spanledger_collector.governance.retention import parse_retention
from spanledger_collector.query import erasure
from spanledger_collector.store.project_book import ProjectSettings, change_settings, read_settings

router = APIRouter(prefix="/api/v1", tags=["Governance"])

_SETTLE_S = 20.0
RulesBody = Annotated[dict[str, Any], Body(examples=[{"rules": [{"data_class": "restricted", "action": "strip"}]}])]
SettingsBody = Annotated[dict[str, Any], Body(examples=[{"numbers_days": 396, "content_days": 30}])]


def _delete(parts: Services, project: str, belongs: erasure.Belongings) -> None:
    with parts.manifest.deleting():
        erasure.delete(parts.store, project, belongs)


@router.put("/projects/{name}", summary="Change a project")
def put_project(name: str, raw: SettingsBody, parts: ServicesDep) -> dict[str, Any]:
    """For how many days its numbers, and what people and models wrote, are kept."""
    project = project_named(name)
    settings = change_settings(
        parts.store, project, lambda before: before._replace(retention=parse_retention(raw, before.retention))
    )
    return {"name": project, **settings.retention._asdict()}


@router.get("/projects/{name}/data-rules", summary="A project's data rules")
def get_data_rules(name: str, parts: ServicesDep, access: AccessDep) -> dict[str, Any]:
    """What becomes of data of a class or with a purpose before anything of it is kept."""
    project = project_named(name)
    if access.project not in (None, project):
        raise NotFound("There is no such project for this key.")
    settings = read_settings(parts.store).get(project, ProjectSettings())
    return {"project": project, "rules": [as_json(rule) for rule in settings.rules]}


@router.put("/projects/{name}/data-rules", summary="Set a project's data rules")
def put_data_rules(name: str, raw: RulesBody, parts: ServicesDep, access: AccessDep) -> dict[str, Any]:
    """Replace the rules. They hold for whatever comes from now on, in this collector at once and in others within seconds.

    A rule is about a `data_class`, a `purpose` or both; what it leaves out (or null) is any, and `""` is data that states none.
    Of several that match, the strictest action holds: `deny` (the span is refused), `strip` (content is dropped), `mask`
    (words are), `redact` (secrets and personal data are replaced).
    """
    project = project_named(name)
    if set(raw) != {"rules"}:
        raise InvalidQuestion('Send all rules: {"rules": [{"data_class": "restricted", "action": "strip"}]}.')
    rules = parse_data_rules(raw["rules"])
    told = [as_json(rule) for rule in rules]
    parts.audit.write(access.actor, "set data rules", project, project, {"rules": told})
    change_settings(parts.store, project, lambda before: before._replace(rules=rules))
    parts.rules.reload()
    return {"project": project, "rules": told}


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

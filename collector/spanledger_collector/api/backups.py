"""Backups of the embedded store, made while it runs."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Body

from spanledger_collector.api.services import AccessDep, ServicesDep
from spanledger_collector.errors import InvalidQuestion
from spanledger_collector.store.backup import list_backups, make_backup
from spanledger_collector.store.embedded import EmbeddedStore

router = APIRouter(prefix="/api/v1/backups", tags=["Governance"])

_SERVER = "The store is a ClickHouse server; back it up with ClickHouse's own BACKUP."


@router.get("", summary="Backups")
def get_backups(parts: ServicesDep) -> dict[str, Any]:
    """The backups in the data folder, the newest first, with what each holds by project."""
    store = parts.store
    return {"backups": list_backups(store.backup_folder) if isinstance(store, EmbeddedStore) else []}


@router.post("", summary="Make a backup", status_code=201)
async def post_backup(
    raw: Annotated[dict[str, Any], Body(examples=[{"name": "monday", "base": "sunday"}])], parts: ServicesDep, access: AccessDep
) -> dict[str, Any]:
    """Back up everything (with `base`: what is new since that one), and try it out; answers when it is whole."""
    store = parts.store
    if not isinstance(store, EmbeddedStore):
        raise InvalidQuestion(_SERVER)
    name, base = raw.get("name", time.strftime("%Y%m%d-%H%M%S", time.gmtime())), raw.get("base")
    if not isinstance(name, str) or (base is not None and not isinstance(base, str)) or set(raw) - {"name", "base"}:
        raise InvalidQuestion('A backup has a name, and may have a base: {"name": "monday", "base": "sunday"}.')
    folder = parts.settings.data_dir / "spool"
    totals = await asyncio.to_thread(make_backup, store, folder, name, base)
    return {
        "name": name,
        "base": base,
        "path": str(store.backup_folder / name) if access.may("admin") else None,
        "totals": {project: found._asdict() for project, found in totals.items()},
    }

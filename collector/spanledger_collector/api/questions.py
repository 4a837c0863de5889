"""Questions: queries, the catalogue, dimension values, projects, interactions."""

import io
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import orjson
import pyarrow as pa
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from spanledger_collector.api.otlp import read_body
from spanledger_collector.api.services import AccessDep, ProjectDep, ServicesDep
from spanledger_collector.errors import BadRequest
from spanledger_collector.query.detail import read_interaction, without_content
from spanledger_collector.query.interactions import LIMIT_MAX, Wanted, list_interactions
from spanledger_collector.query.places import dimension_values, list_projects, list_tags
from spanledger_collector.query.run import answer, to_result
from spanledger_collector.store.project_book import ProjectSettings, read_settings
from spanledger_schema.catalogue import MEASURES
from spanledger_schema.dimensions import DIMENSIONS
from spanledger_schema.failure_modes import FAILURE_MODES
from spanledger_schema.query import Query as Question

router = APIRouter(prefix="/api/v1", tags=["Questions"])

ARROW = "application/vnd.apache.arrow.stream"
_EXAMPLE = {
    "measures": ["cost_usd", "interactions"],
    "dimensions": ["model"],
    "granularity": "day",
    "filters": [{"dimension": "feature", "op": "in", "values": ["search"]}],
    "start": "2026-11-01T00:00:00Z",
    "end": "2026-11-22T00:00:00Z",
    "timezone": "UTC",
    "order_by": ["-cost_usd"],
    "limit": 1000,
}

Time = Annotated[datetime | None, Query(description="ISO 8601 with an offset or Z.")]
Amount = Annotated[Decimal | None, Query(ge=0, le=1_000_000, description="USD.")]
Names = Annotated[list[str], Query(description="Repeat for alternatives; empty means not set.")]


@router.post(
    "/query",
    summary="Ask a question",
    openapi_extra={"requestBody": {"content": {"application/json": {"example": _EXAMPLE}}, "required": True}},
    response_class=Response,
)
async def post_query(request: Request, parts: ServicesDep, project: ProjectDep) -> Response:
    """A Query as JSON; the answer as JSON, or as an Arrow stream when `Accept` asks for it."""
    body = await read_body(request, parts)
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("The body is no JSON.") from None
    question = Question.from_dict(raw)
    table, warnings = await run_in_threadpool(answer, parts.store, question, project)
    if ARROW in request.headers.get("accept", ""):
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return Response(sink.getvalue(), media_type=ARROW)
    result = to_result(table, warnings)
    columns = [{"name": column.name, "unit": column.unit, "type": column.type} for column in result.columns]
    return Response(
        orjson.dumps({"columns": columns, "rows": result.rows, "warnings": result.warnings}), media_type="application/json"
    )


@router.get("/catalogue", summary="What can be asked")
async def get_catalogue() -> dict[str, Any]:
    """All measures and dimensions with their labels, units and meaning."""
    return {
        "measures": [
            {
                "name": measure.name,
                "label": measure.label,
                "unit": measure.unit.value,
                "description": measure.description,
                "additive": measure.additive,
                "rising_is": measure.rising_is,
            }
            for measure in MEASURES.values()
        ],
        "dimensions": [
            {"name": dimension.name, "label": dimension.label, "description": dimension.description}
            for dimension in DIMENSIONS.values()
        ],
        "failure_modes": FAILURE_MODES,
    }


@router.get("/dimensions/{dimension}/values", summary="Values of a dimension")
def get_values(
    dimension: str,
    parts: ServicesDep,
    project: ProjectDep,
    start: Time = None,
    end: Time = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
) -> dict[str, Any]:
    """The values that a dimension has, those of most interactions first."""
    return {"values": dimension_values(parts.store, project, dimension, start, end, limit)}


@router.get("/tags", summary="Tags")
def get_tags(
    parts: ServicesDep,
    project: ProjectDep,
    each: Annotated[int, Query(ge=1, le=1_000, description="Values of one key.")] = 50,
) -> dict[str, Any]:
    """The keys of tags and the values that each has, most frequent first; all of them are dimensions `tag:<key>`."""
    return {"tags": list_tags(parts.store, project, each)}


@router.get("/projects", summary="Projects")
def get_projects(parts: ServicesDep, access: AccessDep) -> dict[str, Any]:
    """The projects that the key may read, with how much they hold and since when."""
    found = [item for item in list_projects(parts.store) if access.project in (None, item["name"])]
    if access.project is not None and not found:
        # Nothing has come yet, but it is the project that the key is for.
        found = [{"name": access.project, "spans": 0, "first_at": None, "last_at": None}]
    settings = read_settings(parts.store)
    return {"projects": [{**item, **settings.get(item["name"], ProjectSettings()).retention._asdict()} for item in found]}


@router.get("/interactions", summary="List interactions")
def get_interactions(
    parts: ServicesDep,
    project: ProjectDep,
    start: Time = None,
    end: Time = None,
    feature: Names = [],  # noqa: B006 - FastAPI copies defaults
    model: Names = [],  # noqa: B006
    environment: Names = [],  # noqa: B006
    release: Names = [],  # noqa: B006
    app: Names = [],  # noqa: B006
    failure_mode: Names = [],  # noqa: B006
    tag: Annotated[list[str], Query(description="`key=value`; repeat a key for alternatives.")] = [],  # noqa: B006
    user: str | None = None,
    session: str | None = None,
    failed: bool | None = None,
    feedback: str | None = None,
    text: str | None = None,
    min_cost_usd: Amount = None,
    max_cost_usd: Amount = None,
    min_duration_s: Annotated[float | None, Query(ge=0, le=1e9)] = None,
    max_confidence: Annotated[float | None, Query(ge=0, le=1)] = None,
    order: str = "-time",
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = 50,
    cursor: str | None = None,
    *,
    access: AccessDep,
) -> dict[str, Any]:
    """One page; give `next_cursor` back as `cursor` for the next."""
    lists = {"feature": feature, "environment": environment, "release": release, "app": app, "failure_mode": failure_mode}
    wanted = Wanted(
        start,
        end,
        lists,
        model,
        tag,
        user,
        session,
        failed,
        feedback,
        text,
        min_cost_usd,
        max_cost_usd,
        min_duration_s,
        max_confidence,
        order,
        limit,
        cursor,
    )
    page = list_interactions(parts.store, project, wanted)
    if access.may("read_content"):
        parts.audit.write(access.actor, "read previews", project, f"{len(page['items'])} interactions")
        return page
    return {**page, "items": [{**item, "preview": None} for item in page["items"]]}


@router.get("/interactions/{identity}", summary="One interaction")
def get_interaction(identity: str, parts: ServicesDep, project: ProjectDep, access: AccessDep) -> dict[str, Any]:
    """Its steps with usage, price and verdict, its conversation and its feedback, by interaction or trace id.

    What people and models wrote is left out for keys without the scope `read_content`; a read of it is in the audit log.
    """
    found = read_interaction(parts.store, project, identity)
    if access.may("read_content"):
        parts.audit.write(access.actor, "read content", project, str(found["interaction"]["id"]))
        return found
    return without_content(found)

"""Feedback: judgements on interactions and spans."""

from typing import Any

import orjson
from fastapi import APIRouter, Request

from spanledger_collector.api.exports import accept_feedback, admit
from spanledger_collector.api.otlp import read_body
from spanledger_collector.api.services import ProjectDep, ServicesDep
from spanledger_collector.errors import BadRequest, InvalidQuestion

router = APIRouter(prefix="/api/v1", tags=["Feedback"])

_ITEMS_MAX = 10_000
_EXAMPLE = {
    "interaction_id": "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
    "name": "helpful",
    "value": True,
    "comment": "solved it",
    "user": "u1",
}


@router.post(
    "/feedback",
    summary="Store feedback",
    openapi_extra={"requestBody": {"content": {"application/json": {"example": _EXAMPLE}}, "required": True}},
)
async def post_feedback(request: Request, parts: ServicesDep, project: ProjectDep) -> dict[str, Any]:
    """One judgement or a list of them. All are stored or none; the same `id` twice counts once."""
    admit(parts, 0)
    body = await read_body(request, parts)
    try:
        items = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("The body is no JSON.") from None
    items = items if isinstance(items, list) else [items]
    if not 1 <= len(items) <= _ITEMS_MAX:
        raise InvalidQuestion(f"Send 1 to {_ITEMS_MAX:,} judgements.")
    judgements = await accept_feedback(parts, items, project)
    return {"accepted": len(judgements), "ids": [judgement.feedback_id for judgement in judgements]}

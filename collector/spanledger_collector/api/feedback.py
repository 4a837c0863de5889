"""Feedback: judgements on interactions and spans."""

from typing import Any

import orjson
from fastapi import APIRouter, Request

from spanledger_collector.api.exports import accept_feedback, admit_export, charged
from spanledger_collector.api.otlp import read_body
from spanledger_collector.api.services import AccessDep, ProjectDep, ServicesDep
from spanledger_collector.errors import BadRequest, InvalidQuestion
from spanledger_collector.governance.quotas import QuotaExceeded

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
async def post_feedback(request: Request, parts: ServicesDep, access: AccessDep, project: ProjectDep) -> dict[str, Any]:
    """One judgement or a list of them. All are stored or none; the same `id` twice counts once.

    They count in the quota of the key: over it the answer is 429 with Retry-After.
    """
    try:
        admit_export(parts, access, 0)
        items = _items(await read_body(request, parts))
        with charged(parts, access, len(items)):
            judgements = await accept_feedback(parts, items, project)
    except QuotaExceeded as refusal:
        parts.counters.add("spanledger_requests_refused_total", reason=refusal.code)
        raise
    return {"accepted": len(judgements), "ids": [judgement.feedback_id for judgement in judgements]}


def _items(body: bytes) -> list[Any]:
    try:
        items = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("The body is no JSON.") from None
    items = items if isinstance(items, list) else [items]
    if not 1 <= len(items) <= _ITEMS_MAX:
        raise InvalidQuestion(f"Send 1 to {_ITEMS_MAX:,} judgements.")
    return items

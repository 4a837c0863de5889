"""Confidence against its reference."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter

from spanledger_collector.api.questions import Time
from spanledger_collector.api.services import ProjectDep, ServicesDep
from spanledger_collector.query.confidence import read_drift

router = APIRouter(prefix="/api/v1", tags=["Questions"])


@router.get("/drift", summary="Has confidence moved?")
def get_drift(
    parts: ServicesDep,
    project: ProjectDep,
    source: str | None = None,
    app: str | None = None,
    feature: str | None = None,
    start: Time = None,
    end: Time = None,
    reference_start: Time = None,
    reference_end: Time = None,
) -> dict[str, Any]:
    """One confidence source over time against a pinned reference period, and its calibration where there are judgements."""
    return read_drift(
        parts.store,
        project,
        source=source,
        app=app,
        feature=feature,
        start=start,
        end=end,
        reference_start=reference_start,
        reference_end=reference_end,
        now=datetime.now(UTC),
    )

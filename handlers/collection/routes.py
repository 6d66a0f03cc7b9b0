"""``GET /statistics``: formats.md, section 7."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from daemon.contract import Serving
from handlers.collection.asked import Collection
from handlers.settings import LEAST_TARGET_H, MOST_TARGET_H

STATISTICS = "/statistics"

EXAMPLE = {
    "summary": {
        "total_conversations": 13,
        "total_hours": 10.25,
        "total_minutes": 615.0,
        "total_size_mb": 453.23,
        "total_size_gb": 0.44,
        "average_duration_minutes": 47.31,
        "average_size_mb": 34.86,
    }
}


def routes(collection: Collection, serving: Serving) -> APIRouter:
    """The room's routes."""
    router = APIRouter(tags=["totals"])

    @router.get(STATISTICS, responses={200: {"content": {"application/json": {"example": EXAMPLE}}}})
    def statistics(
        target_hours: Annotated[
            float | None, Query(ge=LEAST_TARGET_H, le=MOST_TARGET_H, description="Hours to reach.")
        ] = None,
    ) -> dict[str, Any]:
        """Conversations, hours, sizes, and how far a target is."""
        with serving.view() as read:
            return collection.statistics(read, target_hours)

    return router

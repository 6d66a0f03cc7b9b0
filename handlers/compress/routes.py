"""``GET /api/storage-stats``: formats.md, section 8."""

from __future__ import annotations

from fastapi import APIRouter

from daemon.contract import Serving
from handlers import records

STATS = "/api/storage-stats"

EXAMPLE = {
    "total_size": 6_128_000,
    "compressed_size": 1_128_000,
    "original_size": 5_000_000,
    "savings": 8_400_000,
    "compression_ratio": 0.1841,
}


def routes(serving: Serving) -> APIRouter:
    """The room's routes."""
    router = APIRouter(tags=["totals"])

    @router.get(STATS, responses={200: {"content": {"application/json": {"example": EXAMPLE}}}})
    def storage_stats() -> dict[str, float]:
        """Bytes of recordings that lie there now, compressed or not, and what compression freed."""
        with serving.view() as read:
            return records.storage_figures(read)

    return router

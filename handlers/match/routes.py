"""Calls and their matches over HTTP: a page of calls, what is held for a person, and what a person says of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query

from daemon.contract import Serving
from handlers import records
from handlers.match.story import held

PAGE, MOST = 100, 1000

Named = Annotated[str, Body(embed=True, min_length=1, max_length=512)]
Why = Annotated[str, Body(embed=True, max_length=500)]


def routes(serving: Serving) -> APIRouter:
    """The room's routes."""
    refused: dict[int | str, dict[str, Any]] = {404: {"description": "Unknown."}, 409: {"description": "Not possible."}}
    router = APIRouter(prefix="/api/v1", tags=["calls"], responses=refused)

    @router.get("/calls")
    def calls(
        before: Annotated[int | None, Query(ge=0, le=2**62, description="Only calls with a lower number.")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST)] = PAGE,
    ) -> dict[str, Any]:
        """The newest calls first, each with where it stands; ``next`` is the next page's ``before``."""
        with serving.view() as read:
            found = records.newest_calls(read, before, limit)
        return {"calls": found, "next": found[-1]["number"] if len(found) == limit else None}

    @router.get("/match")
    def match() -> Any:
        """What waits for a partner or a person; those that share candidates stand together."""
        with serving.view() as read:
            return held(read)

    def act(name: str, call: str, recording: str, why: str) -> Any:
        return serving.act(f"match.{name}", {"call": call, "recording": recording, "why": why})

    @router.post("/match/accept")
    def accept(call: Named, recording: Named, why: Why = "") -> Any:
        """A recording (or a lead) belongs to a call."""
        return act("accept", call, recording, why)

    @router.post("/match/reject")
    def reject(call: Named, recording: Named, why: Why = "") -> Any:
        """It does not."""
        return act("reject", call, recording, why)

    @router.post("/match/undo")
    def undo(call: Named, recording: Named, why: Why = "") -> Any:
        """What was said of the two is taken back."""
        return act("undo", call, recording, why)

    return router

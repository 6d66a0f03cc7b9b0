"""Links to recordings over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body

from daemon.contract import Json, Serving
from handlers import records
from handlers.view import links

Named = Annotated[str, Body(embed=True, min_length=1, max_length=512)]


def routes(serving: Serving) -> APIRouter:
    """The routes: behind the token, as everything that is somebody's."""
    refused: dict[int | str, dict[str, Any]] = {404: {"description": "Unknown."}, 409: {"description": "Not possible."}}
    router = APIRouter(prefix="/api/v1", tags=["links"], responses=refused)

    @router.get("/links")
    def listed() -> list[dict[str, Any]]:
        """Every link, newest first, and how often it was used."""
        with serving.view() as read:
            return [dict(links.told(link, read.now)) for link in records.links(read)]

    @router.post("/links")
    def add(
        subject: Named,
        anyone: Annotated[bool, Body(embed=True)] = False,
        expires: Annotated[str, Body(embed=True, max_length=20)] = "",
    ) -> Any:
        """Make a link to a recording; ``path`` is told here and never again."""
        made = links.secret()
        args: dict[str, Json] = {"sha256": links.digest(made), "anyone": anyone, "expires": expires}
        answer: Any = serving.act(links.ADD, {"subject": subject, **args})
        return {**answer, "path": f"/r/{made}"}

    @router.post("/links/revoke")
    def revoke(subject: Named) -> Any:
        """A link by its number, or all links of a call or recording, work no more."""
        return serving.act(links.REVOKE, {"subject": subject})

    return router

"""The room as a value: the operator's page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from daemon.contract import Acted, Event, Held, Json, Machine, Reader, Room, Serving
from daemon.errors import UnknownSubject
from handlers import records
from handlers.view import links

PLAY = "recording.play"
LINKED = "/r/"
"""Links judge by themselves who may hear: some need no token."""

if TYPE_CHECKING:
    from fastapi import APIRouter


def room(
    machine: Machine,
    state: str,
    holds: Callable[[Reader, int], Held | None] | None,
    report: Callable[[Reader], Mapping[str, Any]],
    by_day: Callable[[Reader, datetime], Mapping[str, float]],
    zone: tzinfo | None,
) -> Room:
    """The room. ``holds`` tells what storage has of a recording; ``report`` and ``by_day`` are what ``callspool hours``
    answers, ``zone`` that of its days."""

    def routes(serving: Serving) -> APIRouter:
        from handlers.view.links_http import routes as linking
        from handlers.view.routes import Front, router

        made = router(Front(serving, machine.contents, state, report, by_day, zone, holds or _nothing))
        made.include_router(linking(serving))
        return made

    return Room(
        name="view",
        acts={PLAY: played, links.ADD: links.add, links.REVOKE: links.revoke},
        routes=routes,
        open_paths=("/", "/page.css", "/page.js"),
        judged_paths=(LINKED,),
    )


def _nothing(_read: Reader, _item: int) -> None:
    return None


def played(args: Mapping[str, Any], read: Reader) -> Acted:
    """Somebody hears a recording, perhaps by a link: the journal says so. Raises UnknownSubject."""
    number, link = int(args["recording"]), args.get("link")
    if read.item(number).kind != "recording":
        raise UnknownSubject("that is no recording", fix="callspool status")
    said: dict[str, Json] = {"subject": f"r{number}"} | ({} if link is None else {"link": int(link)})
    facts = () if link is None else (records.LinkPlayed(int(link)),)
    return Acted({"played": f"r{number}"}, facts, events=(Event("recording.played", said),))

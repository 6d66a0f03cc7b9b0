"""The room as a value: the operator's page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from daemon.contract import Acted, Event, Machine, Reader, Room, Serving
from daemon.errors import UnknownSubject

if TYPE_CHECKING:
    from fastapi import APIRouter


def room(
    machine: Machine,
    state: str,
    report: Callable[[Reader], Mapping[str, Any]],
    by_day: Callable[[Reader, datetime], Mapping[str, float]],
    zone: tzinfo | None,
) -> Room:
    """The room. ``report`` and ``by_day`` are the collection's answers, in the words of ``callspool hours``, ``zone``
    that of its days."""

    def routes(serving: Serving) -> APIRouter:
        from handlers.view.routes import Front, router

        return router(Front(serving, machine.contents, state, report, by_day, zone))

    return Room(
        name="view",
        acts={"recording.play": played},
        routes=routes,
        open_paths=("/", "/page.css", "/page.js"),
    )


def played(args: Mapping[str, Any], read: Reader) -> Acted:
    """Somebody hears a recording: nothing changes, and the journal says so. Raises UnknownSubject."""
    number = int(args["recording"])
    if read.item(number).kind != "recording":
        raise UnknownSubject("that is no recording", fix="callspool status")
    return Acted({"played": f"r{number}"}, events=(Event("recording.played", {"subject": f"r{number}"}),))

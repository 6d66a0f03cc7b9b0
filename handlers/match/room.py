"""The room as a value: who belongs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from daemon.contract import Desk, Finding, Lane, Reader, Room, Serving, Subject
from handlers import records
from handlers.match.acts import acts
from handlers.match.changes import MATCH
from handlers.match.handler import MatchHandler
from handlers.match.shift import fix, said
from handlers.match.story import explain, failures
from handlers.settings import MatchSettings

if TYPE_CHECKING:
    import typer
    from fastapi import APIRouter


def room(settings: MatchSettings) -> Room:
    """The room; its lane decides inside the write transaction, so that its decisions see one another."""
    return Room(
        name="match",
        handlers=(MatchHandler(settings),),
        lanes=(Lane("match", (MATCH,), workers=1, inline=True),),
        subjects={MATCH: Subject("subject", "")},
        acts=acts(settings),
        status=records.match_counts,
        explain=partial(explain, settings=settings),
        failures=partial(failures, settings=settings),
        checks=(clocks,),
        routes=_routes,
        verbs=_verbs,
    )


def _routes(serving: Serving) -> APIRouter:
    from handlers.match.routes import routes

    return routes(serving)


def clocks(read: Reader | None) -> Sequence[Finding]:
    """Whether recordings and conversations lie a constant distance apart, as a wrong clock or time zone makes them."""
    if read is None:
        return ()
    found = records.shift_suspected(read)
    if found is None:
        return (Finding("producers' clocks", "ok", "no constant distance between recordings and conversations"),)
    return (Finding("producers' clocks", "warn", said(found.shift_ms, found.calls), fix(found.shift_ms)),)


def _verbs(desk: Desk) -> Mapping[str, typer.Typer]:
    from handlers.match.verbs import verbs

    return {"match": verbs(desk)}

"""The room as a value: who belongs together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from daemon.contract import Desk, Lane, Room, Subject
from handlers import records
from handlers.match.acts import acts
from handlers.match.changes import MATCH
from handlers.match.handler import MatchHandler
from handlers.match.story import explain, failures
from handlers.settings import MatchSettings

if TYPE_CHECKING:
    import typer


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
        verbs=_verbs,
    )


def _verbs(desk: Desk) -> Mapping[str, typer.Typer]:
    from handlers.match.verbs import verbs

    return {"match": verbs(desk)}

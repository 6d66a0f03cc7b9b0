"""The room as a value: three inlets, one lane, one handler."""

from __future__ import annotations

from functools import partial
from zoneinfo import ZoneInfoNotFoundError

from daemon.contract import Inlet, Lane, Machine, Room
from daemon.errors import ConfigInvalid
from handlers.intake import times
from handlers.intake.conversation import Reading
from handlers.intake.handler import KINDS, SUBJECTS, Intake, Prober
from handlers.intake.names import Configured, Names
from handlers.settings import zone_of

WORKERS = 12
"""Files understood at once. Each waits for two commits, so this many share them: with three, a burst of sets took half
as long again. Measuring audio is bounded apart, by the prober's processes."""


def intake(
    *,
    recordings: str,
    conversations: str,
    leads: str,
    timezone: str,
    region: str,
    conventions: tuple[Configured, ...],
    machine: Machine,
    prober: Prober,
) -> Room:
    """The room, for folders given as absolute paths.

    ``timezone`` is the zone of naive times, ``host`` for this host's; ``region`` the country (ISO 3166) of numbers
    written without a code, empty for none; ``conventions`` are tried before the built-in names. The room owns
    ``prober`` and closes it. Raises ConfigInvalid for a zone or a convention that cannot be.
    """
    names = Names(conventions)
    handler = Intake(machine.contents, prober, names, Reading(_zone(timezone), region))
    folders = {"recordings": recordings, "conversations": conversations, "leads": leads}
    return Room(
        name="intake",
        handlers=(handler,),
        lanes=(Lane("intake", KINDS, workers=WORKERS, pause="collect"),),
        subjects=SUBJECTS,
        inlets=tuple(
            Inlet(role, kind, folder, partial(names.evidence_of, role))
            for (role, folder), kind in zip(folders.items(), KINDS, strict=True)
        ),
        close=prober.close,
    )


def _zone(name: str) -> times.Zone:
    try:
        return zone_of(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigInvalid(f"watch.timezone: no zone is called {name!r}", fix="timedatectl list-timezones") from error

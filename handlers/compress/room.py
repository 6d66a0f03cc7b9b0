"""The room as a value: old audio takes less room, and not one second of it is lost."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from daemon.contract import Acted, Fields, JobSpec, Lane, Machine, Patience, Reader, Room, Scheduled, Serving, Subject
from handlers import records
from handlers.compress.handler import DAILY, DEST, FILE, SWEEP, Compress, Sweep
from handlers.compress.performers import (
    DOCUMENT,
    ENCODE,
    NAME,
    REMOVE,
    VERIFY,
    DocumentPerformer,
    EncodePerformer,
    Encoders,
    NamePerformer,
    RemovePerformer,
    VerifyPerformer,
)
from handlers.settings import CompressSettings

if TYPE_CHECKING:
    from fastapi import APIRouter

PATIENCE = Patience((timedelta(seconds=30), timedelta(minutes=5), timedelta(minutes=30)), 3)


def workers_of(settings: CompressSettings) -> int:
    """Encoders at once."""
    return settings.workers or max(1, (os.cpu_count() or 2) - 1)


def room(
    settings: CompressSettings, encoders: Encoders, machine: Machine, *, timezone: str = "host", match_wait: timedelta
) -> Room:
    """The room, which owns ``encoders`` and closes them. ``match_wait`` is how long a recording waits for its call."""
    parts = (settings, encoders, machine.contents)
    return Room(
        name="compress",
        handlers=(Sweep(settings, match_wait), Compress(settings, machine.contents)),
        lanes=(Lane("compress", (SWEEP, FILE), workers=workers_of(settings), pause="compress"),),
        performers={
            ENCODE: EncodePerformer(*parts),
            NAME: NamePerformer(*parts),
            VERIFY: VerifyPerformer(*parts),
            DOCUMENT: DocumentPerformer(*parts),
            REMOVE: RemovePerformer(*parts),
        },
        subjects={FILE: Subject("item", "r")},
        patience={DEST: PATIENCE},
        acts={"compress.run": run},
        status=status,
        failures=failures,
        routes=_routes,
        open_paths=("/api/storage-stats",),
        schedules=(Scheduled(settings.at, timezone, JobSpec(SWEEP, DAILY)),),
        close=encoders.close,
    )


def _routes(serving: Serving) -> APIRouter:
    from handlers.compress.routes import routes

    return routes(serving)


def run(args: Mapping[str, Any], read: Reader) -> Acted:
    """``compress``: now, and not only when its hour comes."""
    del args, read
    return Acted({"started": True}, then=(JobSpec(SWEEP, DAILY),))


def status(read: Reader) -> Fields:
    """How many recordings are compressed, and what that saved."""
    return {**records.compression_counts(read), **records.storage_figures(read)}


def failures(read: Reader) -> Sequence[Fields]:
    """Recordings whose copy was refused: their originals stay."""
    return tuple(
        {"subject": f"r{number}", "reason": f"not compressed: {reason}", "fix": f"callspool explain r{number}"}
        for number, reason in records.refused_copies(read)
    )

"""The room as a value: what was collected, in hours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from daemon.contract import Fields, Lane, Machine, Reader, Room, Sample, Scheduled, Serving
from handlers.collection.acts import acts
from handlers.collection.asked import Collection
from handlers.collection.files import METADATA, WRITE, MetadataPerformer, TextPerformer
from handlers.collection.handler import (
    REPORT_JOB,
    SILENCE_JOB,
    SILENT_FIX,
    SUMMARY_JOB,
    TARGET_JOB,
    CollectionHandler,
    wakes,
)
from handlers.collection.questions import questions
from handlers.records import KINDS, silence

if TYPE_CHECKING:
    from fastapi import APIRouter

    from handlers.settings import CollectSettings

SUMMARY_AT = "5 0 * * *"
"""Five past midnight: the day is over, and its last deliveries have ended."""

EVERY_MINUTE = "* * * * *"
"""Whether a target is reached is one sum a minute; whether recordings come is one row."""


def room(collection: Collection, *, timezone: str, metadata: str | None, reports: str, machine: Machine) -> Room:
    """The room. ``metadata`` and ``reports`` are absolute paths, ``timezone`` the setting."""
    settings = collection.settings
    handler = CollectionHandler(collection, metadata=metadata, reports=reports)

    def status(read: Reader) -> Fields:
        totals = collection.totals(read)
        said: dict[str, object] = {kind: round(totals[kind].hours, 2) for kind in KINDS}
        if settings.target_hours is not None:
            said["target"] = settings.target_hours
        return said  # type: ignore[return-value]

    def failures(read: Reader) -> Sequence[Fields]:
        last = None if settings.silence is None else silence(read)[1]
        if last is None:
            return ()
        reason = f"no recording came since {last.astimezone(collection.zone):%Y-%m-%d %H:%M}"
        return ({"subject": "recordings", "reason": reason, "fix": SILENT_FIX},)

    def metrics(read: Reader) -> Iterable[Sample]:
        for kind, total in collection.totals(read).items():
            name, labels = "audio_seconds", {"kind": kind}
            yield Sample(name, "Seconds of audio collected, by kind.", total.ms / 1000, labels)
            yield Sample("conversations", "Conversations collected, by kind.", total.conversations, labels)
        if settings.target_hours is not None:
            yield Sample("audio_target_seconds", "Seconds of audio to collect.", settings.target_hours * 3600)

    def routes(collection: Collection, serving: Serving) -> APIRouter:
        from handlers.collection.routes import routes as made

        return made(collection, serving)

    return Room(
        name="hours",
        handlers=(handler,),
        lanes=(Lane("collection", handler.kinds, workers=1),),
        performers={WRITE: TextPerformer(), METADATA: MetadataPerformer(collection, machine.view)},
        acts=acts(collection),
        schedules=_schedules(settings, timezone),
        wakes=wakes(metadata=metadata is not None),
        questions=questions(collection),
        status=status,
        failures=failures,
        metrics=metrics,
        routes=lambda serving: routes(collection, serving),
        open_paths=("/statistics",),
    )


def _schedules(settings: CollectSettings, timezone: str) -> tuple[Scheduled, ...]:
    found = [Scheduled(SUMMARY_AT, timezone, SUMMARY_JOB)]
    if settings.report_every is not None:
        found.append(Scheduled("", "UTC", REPORT_JOB, settings.report_every))
    if settings.target_hours is not None:
        found.append(Scheduled(EVERY_MINUTE, "UTC", TARGET_JOB))
    if settings.silence is not None:
        found.append(Scheduled(EVERY_MINUTE, "UTC", SILENCE_JOB))
    return tuple(found)

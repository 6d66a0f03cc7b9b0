"""The room as a value: what was collected, in hours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from daemon.contract import Fields, Lane, Machine, Reader, Room, Sample, Scheduled, Serving
from handlers.collection.acts import acts
from handlers.collection.asked import Collection
from handlers.collection.files import METADATA, WRITE, MetadataPerformer, TextPerformer
from handlers.collection.handler import (
    REPORT_JOB,
    SUMMARY_JOB,
    TARGET_JOB,
    CollectionHandler,
    wakes,
)
from handlers.records import KINDS

if TYPE_CHECKING:
    from fastapi import APIRouter

SUMMARY_AT = "5 0 * * *"
"""Five past midnight: the day is over, and its last deliveries have ended."""

TARGET_AT = "* * * * *"
"""Whether a target is reached is one sum a minute."""


def room(collection: Collection, *, timezone: str, metadata: str | None, reports: str, machine: Machine) -> Room:
    """The room. ``metadata`` and ``reports`` are absolute paths, ``timezone`` the setting."""
    settings = collection.settings
    scheduled = [Scheduled(SUMMARY_AT, timezone, SUMMARY_JOB)]
    if settings.report_every is not None:
        scheduled.append(Scheduled("", "UTC", REPORT_JOB, settings.report_every))
    if settings.target_hours is not None:
        scheduled.append(Scheduled(TARGET_AT, "UTC", TARGET_JOB))
    handler = CollectionHandler(collection, metadata=metadata, reports=reports)

    def status(read: Reader) -> Fields:
        totals = collection.totals(read)
        said: dict[str, object] = {kind: round(totals[kind].hours, 2) for kind in KINDS}
        if settings.target_hours is not None:
            said["target"] = settings.target_hours
        return said  # type: ignore[return-value]

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
        schedules=tuple(scheduled),
        wakes=wakes(metadata=metadata is not None),
        status=status,
        metrics=metrics,
        routes=lambda serving: routes(collection, serving),
        open_paths=("/statistics",),
    )

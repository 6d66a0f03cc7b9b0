"""The room as a value: old audio takes less room, and not one second of it is lost."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from daemon.contract import (
    Acted,
    Fields,
    JobSpec,
    Lane,
    Machine,
    Patience,
    Reader,
    Removal,
    Room,
    Scheduled,
    Serving,
    Subject,
    Traces,
)
from daemon.errors import UnknownSubject
from handlers import records
from handlers.compress.conditions import Conditions
from handlers.compress.handler import DAILY, DEST, FILE, SWEEP, Compress, Papers, Sweep
from handlers.compress.papers import INDEX, LOG, IndexPerformer, LogPerformer, names_in_index, purge_index
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
    temporary_name,
)
from handlers.settings import CompressSettings

if TYPE_CHECKING:
    from fastapi import APIRouter

PATIENCE = Patience((timedelta(seconds=30), timedelta(minutes=5), timedelta(minutes=30)), 3)


def workers_of(settings: CompressSettings) -> int:
    """Encoders at once."""
    return settings.workers or max(1, (os.cpu_count() or 2) - 1)


def room(
    settings: CompressSettings,
    encoders: Encoders,
    machine: Machine,
    *,
    timezone: str = "host",
    match_wait: timedelta,
    papers: Papers,
) -> Room:
    """The room, which owns ``encoders`` and closes them. ``match_wait`` is how long a recording waits for its call."""
    parts = (settings, encoders, machine.contents)
    conditions = Conditions(settings, timezone)
    return Room(
        name="compress",
        handlers=(Sweep(settings, match_wait), Compress(settings, machine.contents, conditions, papers)),
        lanes=(Lane("compress", (SWEEP, FILE), workers=workers_of(settings), pause="compress"),),
        performers={
            ENCODE: EncodePerformer(*parts),
            NAME: NamePerformer(*parts),
            VERIFY: VerifyPerformer(*parts),
            DOCUMENT: DocumentPerformer(*parts),
            REMOVE: RemovePerformer(*parts),
            INDEX: IndexPerformer(),
            LOG: LogPerformer(),
        },
        subjects={FILE: Subject("item", "r")},
        patience={DEST: PATIENCE},
        acts={"compress.run": run},
        redo={FILE: redo},
        traces=partial(traces, papers),
        status=status,
        explain=explain,
        failures=failures,
        routes=_routes,
        open_paths=("/api/storage-stats",),
        schedules=(Scheduled(settings.at, timezone, JobSpec(SWEEP, DAILY)),),
        stop=encoders.close,
        close=encoders.close,
    )


def _routes(serving: Serving) -> APIRouter:
    from handlers.compress.routes import routes

    return routes(serving)


def run(args: Mapping[str, Any], read: Reader) -> Acted:
    """``compress``: now, and not only when its hour comes; ``retry``: also what was refused or left."""
    again = records.retriable(read) if args.get("retry") else ()
    facts = tuple(records.LookedAtAgain(one) for one in again)
    return Acted({"started": True, "again": len(again)}, facts=facts, then=(JobSpec(SWEEP, DAILY),))


def redo(read: Reader, key: str) -> Acted:
    """``retry`` of a recording whose copy was refused, or that was left: it is looked at again."""
    known = records.compressed(read, int(key))
    if known is None or known.state not in ("refused", "left"):
        raise UnknownSubject("nothing of that name waits to be retried", fix="callspool failures")
    return Acted(None, facts=(records.LookedAtAgain(int(key)),), then=(JobSpec(FILE, key),))


def traces(papers: Papers, read: Reader, ids: Sequence[int]) -> Traces:
    """Of these items: copies that the watch has not taken in yet, what an encoder left, entries of the master index."""
    unseen = records.copies_unseen(read, ids)
    rests = records.folders_of(read, ids)
    files = [(folder, name) for folder, name in unseen]
    files += [(folder, temporary_name(number)) for folder, number in rests]
    removals = () if papers.index is None else _entries(papers.index, frozenset(records.file_names(read, ids)))
    contents = tuple(("recordings", sha256) for sha256 in records.unseen_contents(read, ids))
    return Traces(tuple(name for _, name in unseen), tuple(files), removals, contents=contents)


def _entries(index: str, names: frozenset[str]) -> tuple[Removal, ...]:
    if not names_in_index(index, names):
        return ()
    return (Removal(f"entries of {index}", lambda: purge_index(index, names)),)


def status(read: Reader) -> Fields:
    """How many recordings are compressed, and what that saved."""
    return {**records.compression_counts(read), **records.storage_figures(read)}


def explain(read: Reader, subject: str) -> Fields | None:
    """What became of a call's recordings, or of one: why a copy was refused, how close one is."""
    named = records.items_named(read, subject)
    told = records.compression_told(read, records.whole_calls(read, named)) if named else ()
    return {"compressed": told} if told else None


def failures(read: Reader) -> Sequence[Fields]:
    """Recordings whose copy was refused: their originals stay."""
    return tuple(
        {"subject": f"r{number}", "reason": f"not compressed: {reason}", "fix": f"callspool retry r{number}"}
        for number, reason in records.refused_copies(read)
    )

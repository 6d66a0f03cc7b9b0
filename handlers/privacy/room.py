"""The room as a value: whose data is whose, what is held, what is let go by age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from daemon.contract import Acted, Event, Fields, JobSpec, Lane, Machine, Reader, Room, Scheduled
from daemon.errors import BadRequest, UnknownSubject
from handlers import records
from handlers.privacy.retention import DAILY, KIND, REMOVE, RemoveSource, Retention
from handlers.privacy.select import LOOK, imports_meant, traces, wanted
from handlers.settings import RetentionSettings


def room(settings: RetentionSettings, region: str, machine: Machine, written: Sequence[str] = ()) -> Room:
    """The room; ``region`` is the country of numbers written without one, ``written`` the files and folders of reports
    that callspool writes."""
    schedules = (Scheduled(settings.at, "host", JobSpec(KIND, DAILY)),) if settings.rules else ()
    return Room(
        name="privacy",
        handlers=(Retention(settings),),
        lanes=(Lane("privacy", (KIND,), workers=1),),
        performers={REMOVE: RemoveSource(machine)},
        acts={
            "erase.find": partial(find, region),
            "hold.add": add_hold,
            "hold.remove": remove_hold,
            "retention.run": run_retention,
        },
        status=status,
        traces=partial(traces, written),
        schedules=schedules,
    )


def status(read: Reader) -> Fields:
    """How many items are on hold."""
    return {"held": len(records.holds(read))}


def find(region: str, args: Mapping[str, Any], read: Reader) -> Acted:
    """``erase``'s first half: the items that are meant. Raises UnknownSubject, BadRequest where one is on hold."""
    ids = wanted(args, read, region)
    if held := records.holds(read, ids):
        prefix = {"conversation": "c", "recording": "r", "lead": "l"}[read.item(held[0].item_id).kind]
        fix = f"callspool hold list; callspool hold remove {prefix}{held[0].item_id}"
        raise BadRequest("a part of it is on hold", fix=fix)
    return Acted(list(ids), facts=tuple(map(records.ImportErased, imports_meant(args, read, region))))


def add_hold(args: Mapping[str, Any], read: Reader) -> Acted:
    """``hold add``: keep a whole call, whatever retention or a request to erase says."""
    ids = _subject(args, read)
    event = Event("hold.added", {"items": len(ids)})
    facts = tuple(records.Held(number, str(args.get("why", ""))) for number in ids)
    return Acted({"held": list(ids)}, facts=facts, events=(event,))


def remove_hold(args: Mapping[str, Any], read: Reader) -> Acted:
    """``hold remove``."""
    ids = tuple(hold.item_id for hold in records.holds(read, _subject(args, read)))
    if not ids:
        raise UnknownSubject("nothing of that name is on hold", fix="callspool hold list")
    event = Event("hold.removed", {"items": len(ids)})
    return Acted({"released": list(ids)}, facts=tuple(map(records.Unheld, ids)), events=(event,))


def run_retention(args: Mapping[str, Any], read: Reader) -> Acted:
    """``retention --run``: now, and not only when its hour comes."""
    del args, read
    return Acted({"started": True}, then=(JobSpec(KIND, DAILY),))


def _subject(args: Mapping[str, Any], read: Reader) -> tuple[int, ...]:
    word = str(args["subject"])
    seeds = records.items_named(read, word)
    if not seeds:
        raise UnknownSubject("nothing here is called that", fix=LOOK)
    return records.whole_calls(read, seeds)

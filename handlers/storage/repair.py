"""What is done about copies that are missing or differ: the ledger takes back that they lie there, and the ordinary way
puts them again, from the source, from its compressed copy, or from a copy in another store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from daemon.contract import Acted, Event, Fact, JobSpec, Json, Reader
from handlers import records
from handlers.records import Copy, CopyLost, CopyRemoved
from handlers.storage.handler import STORE, members_of, storing_job
from handlers.storage.planning import NOWHERE, Places, Planner, has_source

FOUND = "found to be missing or to be something else"
TOLD = "a person wants it looked at again"
UNWANTED = "it is gone, and nothing of its call is kept under that key any more"


def repair(places: Places) -> Callable[[Mapping[str, Any], Reader], Acted]:
    """``storage.repair``: ``found`` are place, bucket and key of copies that are missing or differ."""

    def act(args: Mapping[str, Any], read: Reader) -> Acted:
        named = [records.copy_at(read, place, bucket, key) for place, bucket, key in args["found"]]
        hopeless = [copy for copy in named if copy is not None and not has_source(read, copy)]
        lost = [copy for copy in named if copy is not None and copy not in hopeless]
        facts, then = _again(read, places, lost, FOUND)
        fields: dict[str, Json] = {"objects": len(lost), "reason": FOUND}
        events = (Event("storage.lost", fields, "warning"),) if lost else ()
        left: list[Json] = [
            {"place": copy.place, "key": copy.key, "subject": f"c{copy.subject}", "reason": NOWHERE}
            for copy in hopeless
        ]
        return Acted({"repairing": len(lost), "hopeless": left}, tuple(facts), tuple(then), events)

    return act


def redo(places: Places, kind: str) -> Callable[[Reader, str], Acted]:
    """What ``retry`` of a call that is stored means: each of its copies is put again, which changes nothing where it
    lies there as it was meant."""

    def again(read: Reader, key: str) -> Acted:
        job = storing_job(read, int(key))
        if job.kind != kind or (kind == STORE and job.key != key):
            return Acted(None)
        held = [places.known(read, places.home, one) for one in sorted(_keys(read, places, job))]
        verified = [copy for copy in held if copy is not None and copy.state == "verified" and has_source(read, copy)]
        facts, then = _again(read, places, verified, TOLD)
        return Acted(None, tuple(facts), (*then, job))

    return again


def _again(read: Reader, places: Places, lost: Sequence[Copy], reason: str) -> tuple[list[Fact], list[JobSpec]]:
    """Facts and jobs that have these copies put again where they belong."""
    facts: list[Fact] = []
    wanted: dict[JobSpec, set[str]] = {}
    home = (places.home, places.buckets[places.home])
    for copy in lost:
        job = storing_job(read, copy.subject)
        if job not in wanted:
            wanted[job] = _keys(read, places, job)
        at_home = (copy.place, copy.bucket) == home
        if at_home and copy.key in wanted[job]:
            facts.append(CopyLost(copy.place, copy.bucket, copy.key, reason))
        else:
            facts.append(CopyRemoved(copy.place, copy.bucket, copy.key, UNWANTED if at_home else reason))
            if copy.bound_for is not None:  # it was on its way: what it was to become is put from its source
                key = copy.bound_for["keys"][places.home]
                facts.append(CopyLost("s3", places.buckets[places.home], key, reason))
    return facts, list(wanted)


def _keys(read: Reader, places: Places, job: JobSpec) -> set[str]:
    """The keys under which it has something where copies belong."""
    planner = Planner(places, members_of(read, job), read)
    return {wanted.keys[places.home] for wanted in planner.everything()}

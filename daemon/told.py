"""What people are told of everything, machine and rooms together: behind the command line and HTTP alike."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version as installed_version
from string import ascii_letters
from typing import TYPE_CHECKING, Any

from daemon.catalogue import printable
from daemon.contract import Fields, Reader, Trouble
from daemon.errors import UnknownSubject
from daemon.ledger import story
from daemon.ledger.lock import holder
from daemon.masking import mask

if TYPE_CHECKING:
    from daemon.health import Health
    from daemon.house import House


def status_of(house: House, read: Reader) -> dict[str, Any]:
    """The machine's and every room's part."""
    pid = holder(house.paths.lock)
    found = {"version": installed_version("callspool"), "running": pid is not None, "pid": pid}
    found.update(story.machine_status(read))
    for room in house.rooms:
        if room.status is not None:
            found[room.name] = room.status(read)
    found["needs_a_person"] = len(failures_of(house, read)["failures"])
    return found


def explain_of(house: House, read: Reader, subject: str, where: str | None = None) -> dict[str, Any]:
    """Everything known of a call or a file, as who is in the folder ``where`` (None: this process's) names it.
    Raises UnknownSubject."""
    rooms: dict[str, Fields] = {}
    shown = printable(os.fsencode(subject))  # as rooms know names: an argument may hold bytes that are no UTF-8
    for room in house.rooms:
        part = None if room.explain is None else room.explain(read, shown)
        if part is not None:
            rooms[room.name] = part
    files = story.files_named(read, subject, where or os.getcwd())
    items = _items(rooms.values(), files) or _item_of(house, read, shown)
    if not rooms and not files and not items:
        raise UnknownSubject(
            f"nothing here is called {shown!r}",
            fix="callspool explain takes c12, r13, l14, a callId, a path or a name",
        )
    call_id = next((str(part["call_id"]) for part in rooms.values() if part.get("call_id")), None)
    return {
        "subject": shown,
        "call_id": call_id,
        "items": items,
        "files": files or story.files_of(read, items),
        **rooms,
        "jobs": story.jobs_about(read, house.lanes, items),
        "journal": story.journal_about(read, call_id, items),
    }


def _item_of(house: House, read: Reader, subject: str) -> list[int]:
    """The item that c12, r13 or l14 names, also where no room took it in."""
    number = subject.lstrip(ascii_letters)
    kinds = [kind for kind, named in house.subjects.items() if named.prefix + number == subject]
    found = story.item_named(read, kinds, number) if number.isdecimal() else None
    return [] if found is None else [found]


def _items(parts: Any, files: Sequence[Mapping[str, Any]]) -> list[int]:
    """The items that a room's parts and the files speak of, each once."""
    named = [item for part in parts for item in part.get("items", ())]
    return list(dict.fromkeys([*named, *(f["item"] for f in files if f["item"] is not None)]))


def failures_of(house: House, read: Reader) -> dict[str, Any]:
    """Parked jobs, files that never settled, and what the rooms hold for a person; shut destinations beside them."""
    listed: list[dict[str, Any]] = []
    parked = story.parked_jobs(read)
    paths = story.paths_of(read, (job["key"] for job in parked))
    for job in parked:
        subject = house.subject(job["kind"], job["key"])
        listed.append(
            {
                "subject": subject,
                "path": mask(paths[job["key"]]) if job["key"] in paths else None,
                "kind": job["kind"],
                "reason": job["reason"],
                "fix": job["fix"] or f"callspool retry {subject}",
                "since": job["changed_ts"],
            }
        )
    for file in story.troubled_files(read):
        fix = f"callspool explain {shlex.quote(file['path'])}"
        reason = f"{file['state']}: {file['reason']}"
        listed.append(
            {"subject": file["path"], "kind": "file", "reason": reason, "fix": fix, "since": file["changed_ts"]}
        )
    seen = {entry["subject"] for entry in listed}
    for room in house.rooms:
        if room.failures is not None:
            listed += [dict(entry) for entry in room.failures(read) if entry["subject"] not in seen]
    status = story.machine_status(read)
    return {
        "failures": listed,
        "retrying": story.held_back(read),
        "destinations": [d for d in status["destinations"] if d["state"] != "closed"],
        "hold": status["hold"],
    }


def troubles_of(house: House, read: Reader, health: Callable[[], Health]) -> list[Trouble]:
    """What is wrong now, grouped: what does not move, and what waits for a person, by its reason."""
    found = [
        Trouble(f"health:{problem.subject}", f"{problem.subject}: {problem.reason}") for problem in health().problems
    ]
    reasons = Counter(str(entry["reason"]) for entry in failures_of(house, read)["failures"])
    for reason, count in sorted(reasons.items()):
        found.append(Trouble(f"failure:{reason}", reason if count == 1 else f"{count} times: {reason}"))
    return found


QUESTIONS: Mapping[str, Callable[[House, Mapping[str, Any], Reader], Any]] = {
    "status": lambda house, _args, read: status_of(house, read),
    "explain": lambda house, args, read: explain_of(house, read, str(args["subject"]), str(args["where"])),
    "failures": lambda house, _args, read: failures_of(house, read),
}
"""What the machine answers, by name."""

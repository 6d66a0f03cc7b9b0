"""What one page of an operator shows, in few queries that stay quick on a ledger of a million calls: each counts by a
partial index, or reads the newest rows alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from daemon.contract import Reader
from handlers.records.rows import maybe_moment, moment, newest
from handlers.records.running import running

NAMED = 3
"""Subjects of a cause that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What waits for a person for one reason. ``fix`` is what the first of them says mends it."""

    reason: str
    kind: str
    count: int
    since: datetime
    keys: tuple[str, ...]
    fix: str = ""


def causes(read: Reader) -> tuple[Cause, ...]:
    """Parked jobs by reason, the commonest first: 7,000 of one cause are one."""
    rows = read.rows(
        "SELECT reason, kind, count(*) AS n, min(changed_us) AS since, min(id) AS first_id FROM job INDEXED BY "
        "job_parked WHERE state = 'parked' GROUP BY reason, kind ORDER BY n DESC, reason"
    )
    return tuple(
        Cause(row["reason"], row["kind"], row["n"], moment(row["since"]), *_named(read, row["reason"], row["kind"]))
        for row in rows
    )


def _named(read: Reader, reason: str, kind: str) -> tuple[tuple[str, ...], str]:
    rows = read.rows(
        "SELECT key, fix FROM job INDEXED BY job_parked WHERE state = 'parked' AND kind = ? AND reason = ? LIMIT ?",
        (kind, reason, NAMED),
    )
    return tuple(row["key"] for row in rows), rows[0]["fix"] if rows else ""


def stuck_files(read: Reader) -> tuple[Cause, ...]:
    """Files that never settled or cannot be read, by reason; ``keys`` are their names."""
    rows = read.rows(
        "SELECT reason, state, count(*) AS n, min(changed_us) AS since, min(name) AS name FROM file "
        "WHERE state IN ('attention', 'unreadable') AND state != 'known' GROUP BY reason, state ORDER BY n DESC"
    )
    return tuple(
        Cause(row["reason"], "file", row["n"], moment(row["since"]), (row["name"].decode("utf-8", "backslashreplace"),))
        for row in rows
    )


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the work of one lane stands; ``oldest`` is since when the oldest job that should move is there."""

    name: str
    ready: int = 0
    running: int = 0
    retrying: int = 0
    postponed: int = 0
    parked: int = 0
    oldest: datetime | None = None


_STATES: Mapping[str, tuple[str, str]] = {
    "ready": ("job_ready", "state = 'ready'"),
    "running": ("job_running", "state = 'running'"),
    "retrying": ("job_waiting", "state = 'waiting' AND EXISTS (SELECT 1 FROM job_effect WHERE job_id = job.id)"),
    "postponed": ("job_waiting", "state = 'waiting' AND NOT EXISTS (SELECT 1 FROM job_effect WHERE job_id = job.id)"),
    "parked": ("job_parked", "state = 'parked'"),
}


def stages(read: Reader) -> tuple[Stage, ...]:
    """Every lane that has something to do, by name."""
    found: dict[str, dict[str, Any]] = {}
    for name, (index, where) in _STATES.items():
        rows = read.rows(
            f"SELECT lane, count(*) AS n, min(created_us) AS oldest FROM job INDEXED BY {index} WHERE {where} "
            "GROUP BY lane"
        )
        for row in rows:
            stage = found.setdefault(row["lane"], {"name": row["lane"], "oldest": None})
            stage[name] = row["n"]
            if name != "postponed":
                stage["oldest"] = min(filter(None, (stage["oldest"], moment(row["oldest"]))))
    return tuple(Stage(**found[lane]) for lane in sorted(found))


@dataclass(frozen=True, slots=True)
class Site:
    """A watched folder, or a destination: how it is, and why."""

    name: str
    state: str
    reason: str = ""
    last: datetime | None = None
    until: datetime | None = None


def folders(read: Reader) -> tuple[Site, ...]:
    """The watched folders."""
    rows = read.rows("SELECT role, state, reason FROM root ORDER BY id")
    return tuple(Site(row["role"], row["state"], row["reason"]) for row in rows)


def destinations(read: Reader) -> tuple[Site, ...]:
    """The destinations, with when each last took something and until when it is left alone."""
    rows = read.rows("SELECT name, state, reason, succeeded_us, until_us FROM destination ORDER BY name")
    return tuple(
        Site(
            row["name"],
            "ok" if row["state"] == "closed" else row["state"],
            row["reason"],
            maybe_moment(row["succeeded_us"]),
            None if row["state"] == "closed" else moment(row["until_us"]),
        )
        for row in rows
    )


def hold_reason(read: Reader) -> str | None:
    """Why the ledger is on hold; None when all is well."""
    rows = read.rows("SELECT value FROM meta WHERE key = 'hold'")
    return rows[0]["value"] if rows else None


@dataclass(frozen=True, slots=True)
class LatestCall:
    """One of the newest calls. ``recording_id`` is that of its longest side, which ``peaks`` draws up to ``heard_s``
    seconds (``AudioInfo``)."""

    id: int
    at: datetime
    number: str | None
    recording: str
    lead: str
    duration_s: float | None
    recording_id: int | None
    flags: tuple[str, ...]
    delivered_at: datetime | None
    job: str
    reason: str
    peaks: str = ""
    heard_s: float = 0.0


def latest_calls(read: Reader, count: int, before: int | None = None) -> tuple[LatestCall, ...]:
    """The newest calls by number, from below ``before`` on; those whose transcript was replaced are left out."""
    rows = read.rows(
        "SELECT c.id, coalesce(c.start_us, c.registered_us) AS at_us, c.number, v.recording, v.lead, k.delivered_us, "
        "j.state AS job, j.reason, p.group_key FROM conversation AS c "
        "LEFT JOIN verdict AS v ON v.conversation_id = c.id LEFT JOIN pairing AS p ON p.conversation_id = c.id "
        "LEFT JOIN call AS k ON k.conversation_id = c.id LEFT JOIN job AS j ON j.kind = 'call' AND "
        f"j.key = CAST(c.id AS TEXT) WHERE c.id < ? AND {newest('conversation', 'c')} ORDER BY c.id DESC LIMIT ?",
        (2**62 if before is None else before, count),
    )
    return tuple(_latest(read, row) for row in rows)


def _latest(read: Reader, row: Any) -> LatestCall:
    sides = (
        []
        if row["group_key"] is None
        else read.rows(
            "SELECT id, number, media_s, flags, audio_flags, peaks, heard_s FROM recording WHERE group_key = ? "
            "ORDER BY media_s DESC",
            (row["group_key"],),
        )
    )
    flags = [flag for side in sides for key in ("flags", "audio_flags") for flag in json.loads(side[key])]
    return LatestCall(
        id=row["id"],
        at=moment(row["at_us"]),
        number=next((side["number"] for side in sides if side["number"]), row["number"]),
        recording=row["recording"] or "not looked at yet",
        lead=row["lead"] or "",
        duration_s=sides[0]["media_s"] if sides else None,
        recording_id=sides[0]["id"] if sides else None,
        flags=tuple(dict.fromkeys(flags)),
        delivered_at=maybe_moment(row["delivered_us"]),
        job=row["job"] or "",
        reason=row["reason"] or "",
        peaks=(sides[0]["peaks"] or "") if sides else "",
        heard_s=sides[0]["heard_s"] if sides else 0.0,
    )


@dataclass(frozen=True, slots=True)
class Pause:
    """A kind of work that a person paused."""

    what: str
    since: datetime
    why: str


def pauses(read: Reader) -> tuple[Pause, ...]:
    """What is paused."""
    rows = read.rows("SELECT what, at_us, why FROM pause ORDER BY what")
    return tuple(Pause(row["what"], moment(row["at_us"]), row["why"]) for row in rows)


def ambiguous(read: Reader, count: int) -> tuple[tuple[int, str, Mapping[str, Any]], ...]:
    """Held calls, oldest first: the call, whether the recording or the lead is in question, and its candidates."""
    rows = read.rows(
        "SELECT conversation_id, recording, lead, explanation FROM verdict INDEXED BY verdict_open "
        "WHERE (recording IN ('waiting', 'ambiguous') OR lead IN ('waiting', 'ambiguous')) "
        "AND 'ambiguous' IN (recording, lead) ORDER BY conversation_id LIMIT ?",
        (count,),
    )
    found = []
    for row in rows:
        told = json.loads(row["explanation"])
        parts = [part for part in ("recording", "lead") if row[part] == "ambiguous"]
        found += [(row["conversation_id"], part, told.get(part) or {}) for part in parts]
    return tuple(found)


def ambiguous_count(read: Reader) -> int:
    """How many calls are held."""
    return running(read, "verdict")["held"].n


def journal_number(read: Reader) -> int:
    """The number of the journal's last line."""
    found: int = read.rows("SELECT coalesce(max(id), 0) FROM journal")[0][0]
    return found


def journal_lines(read: Reader, after: int, count: int) -> tuple[dict[str, Any], ...]:
    """The newest ``count`` lines after a number, newest first, each with its ``id``, ``at``, ``event`` and fields."""
    rows = read.rows(
        "SELECT id, at_us, event, level, fields FROM journal WHERE id > ? ORDER BY id DESC LIMIT ?", (after, count)
    )
    return tuple(
        {
            "id": row["id"],
            "at": moment(row["at_us"]),
            "event": row["event"],
            "level": row["level"],
            "fields": json.loads(row["fields"]),
        }
        for row in rows
    )

"""What the ledger can tell a person: the machine's part of ``status``, ``explain`` and ``failures``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from sqlite3 import Row
from typing import Any

from daemon.catalogue import printable
from daemon.contract import Reader
from daemon.ledger.pause import paused
from daemon.ledger.reading import moment

"""Where a job stands that should move, or needs somebody to move it."""


def stamp(us: int | None) -> str | None:
    """RFC 3339 in UTC with milliseconds, as logs write it."""
    return None if us is None else moment(us).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def machine_status(read: Reader) -> dict[str, Any]:
    """Roots, files, jobs and destinations, counted."""
    return {
        "hold": _one(read, "SELECT value FROM meta WHERE key = 'hold'"),
        "paused": paused(read),
        "host_id": _one(read, "SELECT value FROM meta WHERE key = 'host_id'"),
        "roots": [
            {
                "role": row["role"],
                "path": printable(row["path"]),
                "state": row["state"],
                "reason": row["reason"],
                "since": stamp(row["changed_us"]),
            }
            for row in read.rows("SELECT * FROM root ORDER BY id")
        ],
        "files": {
            "known": _one(read, "SELECT count(*) FROM file WHERE item_id IS NOT NULL"),
            **{
                row["state"]: row["n"]
                for row in read.rows("SELECT state, count(*) AS n FROM file WHERE state != 'known' GROUP BY state")
            },
        },
        "jobs": _job_counts(read),
        "effects": {
            row["state"]: row["n"]
            for row in read.rows(
                "SELECT state, count(*) AS n FROM effect WHERE state IN ('pending', 'in_flight', 'in_doubt', 'parked') "
                "GROUP BY state"
            )
        },
        "destinations": [
            {
                "dest": row["name"],
                "state": row["state"],
                "failures": row["failures"],
                "until": None if row["state"] == "closed" else stamp(row["until_us"]),
                "reason": row["reason"],
                "last_success_ts": stamp(row["succeeded_us"]),
            }
            for row in read.rows("SELECT * FROM destination ORDER BY name")
        ],
    }


def _job_counts(read: Reader) -> dict[str, Any]:
    """By lane: how many stand where, and since when the oldest that should move does.

    A waiting job that has effects failed and is tried again (``retrying``); one without was decided to wait
    (``postponed``), and what for is the rooms' to tell.
    """
    counts: dict[str, Any] = {}
    with_effects = "EXISTS (SELECT 1 FROM job_effect WHERE job_id = job.id)"
    wheres = {
        "ready": "state = 'ready'",
        "running": "state = 'running'",
        "retrying": f"state = 'waiting' AND {with_effects}",
        "postponed": f"state = 'waiting' AND NOT {with_effects}",
        "parked": "state = 'parked'",
    }
    for name, where in wheres.items():
        for row in read.rows(
            f"SELECT lane, count(*) AS n, min(created_us) AS oldest FROM job WHERE {where} GROUP BY lane"
        ):
            lane = counts.setdefault(row["lane"], {})
            lane[name] = row["n"]
            if name != "postponed":
                lane["oldest_ts"] = min(filter(None, (lane.get("oldest_ts"), stamp(row["oldest"]))))
    return counts


def files_named(read: Reader, reference: str, where: str) -> list[dict[str, Any]]:
    """Current and former files that a person in the folder ``where`` may mean by a path: absolute, relative to it,
    below a root, or a bare name."""
    found = []
    for root, folder, name in _candidates(read, reference, where):
        query = (
            "SELECT root.role, folder.path AS folder, file.name, file.state, file.reason, file.flags, file.size, "
            "file.item_id, file.first_seen_us, file.changed_us, item.sha256 FROM file "
            "JOIN folder ON folder.id = file.folder_id JOIN root ON root.id = folder.root_id "
            "LEFT JOIN item ON item.id = file.item_id WHERE root.id = ? AND folder.path = ? AND file.name = ?"
        )
        found += [_file(row) for row in read.rows(query, (root, folder, name))]
        former = (
            "SELECT root.role, folder.path AS folder, f.name, f.state, f.reason, '[]' AS flags, f.size, f.item_id, "
            "f.first_seen_us, f.changed_us, item.sha256 FROM former_file AS f JOIN folder ON folder.id = f.folder_id "
            "JOIN root ON root.id = folder.root_id LEFT JOIN item ON item.id = f.item_id "
            "WHERE root.id = ? AND folder.path = ? AND f.name = ? ORDER BY f.id"
        )
        found += [_file(row) for row in read.rows(former, (root, folder, name))]
    return found


def item_named(read: Reader, kinds: Iterable[str], number: str) -> int | None:
    """The item of this number, if it is of one of these kinds."""
    for kind in kinds:
        rows = read.rows("SELECT id FROM item WHERE id = ? AND kind = ?", (number, kind))
        if rows:
            return int(rows[0]["id"])
    return None


def paths_of(read: Reader, items: Iterable[str]) -> dict[str, str]:
    """The path each of these items was first found at, by its number as text."""
    rows = (read.rows("SELECT id, path FROM item WHERE id = ?", (item,)) for item in items)
    return {str(row["id"]): row["path"] for found in rows for row in found}


def files_of(read: Reader, items: Iterable[int]) -> list[dict[str, Any]]:
    """Every current path of these items."""
    found = []
    for item_id in items:
        rows = read.rows(
            "SELECT root.role, folder.path AS folder, file.name, file.state, file.reason, file.flags, file.size, "
            "file.item_id, file.first_seen_us, file.changed_us, item.sha256 FROM file "
            "JOIN folder ON folder.id = file.folder_id JOIN root ON root.id = folder.root_id "
            "JOIN item ON item.id = file.item_id WHERE file.item_id = ?",
            (item_id,),
        )
        found += [_file(row) for row in rows]
    return found


def jobs_about(read: Reader, kinds: Iterable[str], items: Iterable[int]) -> list[dict[str, Any]]:
    """The jobs whose key is one of these items, with their effects."""
    keys = [(kind, str(item_id)) for item_id in items for kind in kinds]
    rows = [row for key in keys for row in read.rows("SELECT * FROM job WHERE kind = ? AND key = ?", key)]
    return [{**_job(row), "effects": _effects(read, row["id"])} for row in rows]


def journal_about(read: Reader, call_id: str | None, items: Sequence[int], limit: int = 200) -> list[dict[str, Any]]:
    """The journal's lines about a call and its items, oldest first, the newest ``limit`` of them."""
    places = ",".join("?" * len(items))
    rows = read.rows(
        f"SELECT id, at_us, event, level, fields FROM journal WHERE call_id = ? "
        f"UNION SELECT id, at_us, event, level, fields FROM journal WHERE item_id IN ({places}) "
        "ORDER BY id DESC LIMIT ?",
        (call_id, *items, limit),
    )
    return [{"ts": stamp(row["at_us"]), "event": row["event"], **json.loads(row["fields"])} for row in reversed(rows)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines of the journal: events by a pattern with ``*``, and, if given, about a call's id or these items."""

    event: str = "*"
    about: tuple[str, tuple[int, ...]] | None = None

    def where(self) -> tuple[str, tuple[object, ...]]:
        """The condition and its values."""
        if self.about is None:
            return "event GLOB ?", (self.event,)
        call_id, items = self.about
        places = ",".join("?" * len(items))
        return f"event GLOB ? AND (call_id = ? OR item_id IN ({places}))", (self.event, call_id, *items)


def journal_end(read: Reader, wanted: Wanted, count: int) -> tuple[int, list[dict[str, Any]]]:
    """The number of the journal's last line, and the newest ``count`` wanted ones, oldest first."""
    last: int = _one(read, "SELECT coalesce(max(id), 0) FROM journal")
    where, args = wanted.where()
    rows = read.rows(f"SELECT * FROM journal WHERE id <= ? AND {where} ORDER BY id DESC LIMIT ?", (last, *args, count))
    return last, [_line(row) for row in reversed(rows)]


def journal_after(read: Reader, wanted: Wanted, after: int, count: int) -> tuple[int, list[dict[str, Any]]]:
    """The wanted lines among the next ``count`` after this number, and the number to go on from."""
    last: int = read.rows(
        "SELECT coalesce(max(id), ?) FROM (SELECT id FROM journal WHERE id > ? ORDER BY id LIMIT ?)",
        (after, after, count),
    )[0][0]
    where, args = wanted.where()
    rows = read.rows(f"SELECT * FROM journal WHERE id > ? AND id <= ? AND {where} ORDER BY id", (after, last, *args))
    return last, [_line(row) for row in rows]


def journal_page(read: Reader, after: int, count: int) -> list[dict[str, Any]]:
    """The next lines after this number, oldest first, each with its own number."""
    rows = read.rows("SELECT * FROM journal WHERE id > ? ORDER BY id LIMIT ?", (after, count))
    return [{"id": row["id"], **_line(row)} for row in rows]


def _line(row: Row) -> dict[str, Any]:
    return {"ts": stamp(row["at_us"]), "event": row["event"], "level": row["level"], **json.loads(row["fields"])}


def parked_jobs(read: Reader) -> list[dict[str, Any]]:
    """Every job that waits for a person."""
    # Told to use the index: for the order SQLite would rather read every job there ever was.
    rows = read.rows("SELECT * FROM job INDEXED BY job_parked WHERE state = 'parked' ORDER BY id")
    return [{**_job(row), "id": row["id"]} for row in rows]


def held_back(read: Reader) -> list[dict[str, Any]]:
    """Jobs that failed and will be tried again by themselves."""
    rows = read.rows(
        "SELECT DISTINCT job.* FROM job INDEXED BY job_waiting CROSS JOIN job_effect ON job_id = job.id "
        "CROSS JOIN effect ON effect.key = effect_key "
        "WHERE effect.state IN ('pending', 'in_doubt') AND effect.failures > 0 AND job.state = 'waiting' "
        "ORDER BY job.id"
    )
    return [_job(row) for row in rows]


def troubled_files(read: Reader) -> list[dict[str, Any]]:
    """Files that never settled or cannot be read."""
    rows = read.rows(
        "SELECT root.role, folder.path AS folder, name, file.state, file.reason, flags, size, item_id, first_seen_us, "
        "file.changed_us, NULL AS sha256 FROM file JOIN folder ON folder.id = folder_id "
        "JOIN root ON root.id = root_id WHERE file.state IN ('attention', 'unreadable') AND file.state != 'known'"
    )
    return [_file(row) for row in rows]


def _candidates(read: Reader, reference: str, where: str) -> list[tuple[int, bytes, bytes]]:
    given = os.fsencode(reference)
    found = []
    for row in read.rows("SELECT id, path FROM root"):
        inside = given
        absolute = os.path.normpath(os.path.join(os.fsencode(where), given))
        if absolute.startswith(row["path"].rstrip(b"/") + b"/"):
            inside = os.path.relpath(absolute, row["path"])
        folder, name = os.path.split(inside)
        found.append((row["id"], folder, name))
    if b"/" not in given:
        # A bare name may lie in any folder: item.name has an index, and knows the printable form.
        rows = read.rows(
            "SELECT DISTINCT folder.root_id, folder.path AS folder, file.name FROM item "
            "JOIN file ON file.item_id = item.id JOIN folder ON folder.id = file.folder_id WHERE item.name = ?",
            (printable(given),),
        )
        found += [(row["root_id"], row["folder"], row["name"]) for row in rows]
        # Files that are no items yet, or no more: few, but for the old ones, and a person can wait that long.
        rows = read.rows(
            "SELECT folder.root_id, folder.path AS folder, name FROM file JOIN folder ON folder.id = folder_id "
            "WHERE file.state != 'known' AND name = ? UNION SELECT folder.root_id, folder.path AS folder, name "
            "FROM former_file JOIN folder ON folder.id = folder_id WHERE name = ?",
            (given, given),
        )
        found += [(row["root_id"], row["folder"], row["name"]) for row in rows]
    return list(dict.fromkeys(found))


def _file(row: Row) -> dict[str, Any]:
    return {
        "role": row["role"],
        "path": printable(os.path.join(row["folder"], row["name"])),
        "state": row["state"],
        "reason": row["reason"],
        "flags": json.loads(row["flags"]),
        "size_bytes": row["size"],
        "sha256": row["sha256"],
        "item": row["item_id"],
        "first_seen_ts": stamp(row["first_seen_us"]),
        "changed_ts": stamp(row["changed_us"]),
    }


def _job(row: Row) -> dict[str, Any]:
    return {
        "kind": row["kind"],
        "key": row["key"],
        "state": row["state"],
        "attempt": row["attempt"],
        "reason": row["reason"],
        "fix": row["fix"],
        "next_attempt_ts": stamp(row["due_us"]) if row["state"] == "waiting" else None,
        "waits_for": row["waits_for"],
        "created_ts": stamp(row["created_us"]),
        "changed_ts": stamp(row["changed_us"]),
    }


def _effects(read: Reader, job_id: int) -> list[dict[str, Any]]:
    rows = read.rows(
        "SELECT effect.* FROM job_effect JOIN effect ON effect.key = effect_key WHERE job_id = ? ORDER BY position",
        (job_id,),
    )
    return [
        {
            "type": row["type"],
            "dest": row["dest"],
            "state": row["state"],
            "sends": row["sends"],
            "failures": row["failures"],
            "refusals": row["refusals"],
            "reason": row["reason"],
            "http_status": row["http_status"],
            "changed_ts": stamp(row["changed_us"]),
        }
        for row in rows
    ]


def _one(read: Reader, sql: str) -> Any:
    rows = read.rows(sql)
    return rows[0][0] if rows else None

"""What may be compressed now: whose time has come, and whom nobody may touch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from daemon.contract import Reader
from handlers.records.compression import LIES, recording_of_copy
from handlers.records.holding import among, held_items
from handlers.records.rows import micros, moment

_OPEN_SET = (
    "EXISTS (SELECT 1 FROM pairing LEFT JOIN call USING (conversation_id) "
    "WHERE pairing.group_key = recording.group_key AND delivered_us IS NULL)"
)
_HELD = "recording.id IN (SELECT value FROM json_each(?))"
_AT_WORK = (
    "(EXISTS (SELECT 1 FROM pairing JOIN job ON job.key = CAST(conversation_id AS TEXT) WHERE "
    "pairing.group_key = recording.group_key AND (job.state IN ('ready', 'running') "
    "OR kind = 'store' AND job.state = 'waiting')) OR EXISTS (SELECT 1 FROM job WHERE kind = 'store_lone' "
    "AND key = CAST(recording.id AS TEXT) AND job.state NOT IN ('done', 'parked')))"
)

STANDING = (
    "(WITH RECURSIVE standing (root, id) AS (SELECT id, id FROM recording UNION ALL SELECT root, copy_id "
    "FROM standing JOIN compression ON recording_id = standing.id WHERE copy_id IS NOT NULL) "
    "SELECT root, id FROM standing)"
)
"""Every recording (``root``) with every item that is or was a file of it: itself, its copy, the copy's copy."""

_LYING = (
    "WITH RECURSIVE lying (id, root, made, beside) AS (SELECT id, id, NULL, 0 FROM recording {} UNION ALL "
    "SELECT copy_id, root, bitrate, state = 'verified' FROM lying JOIN compression ON recording_id = lying.id "
    "WHERE copy_id IS NOT NULL AND bitrate > 0 AND state IN ('replaced', 'verified')) "
)

_ROWS = (
    "SELECT * FROM (SELECT lying.id, root, item.name, item.size, made, beside, media_s, channels, paired, "
    "registered_us, container, recording.codec, audio_flags, "
    "iif(mine.state = 'left', mine.bitrate, NULL) AS small_for, "
    "coalesce(end_us, whole.mtime_ns / 1000) AS aged_us FROM lying JOIN recording ON recording.id = root "
    "JOIN item AS whole ON whole.id = root JOIN item ON item.id = lying.id "
    "LEFT JOIN compression AS mine ON mine.recording_id = lying.id "
    f"WHERE {LIES.format('lying.id')} "
    "AND (mine.state IS NULL OR mine.state = 'again' OR mine.state = 'left' AND mine.bitrate > 0) "
    f"AND NOT {_OPEN_SET} AND NOT {_HELD} AND NOT {_AT_WORK}) "
)


@dataclass(frozen=True, slots=True)
class Compressible:
    """A recording, or the copy that stands for it, whose age allows it: bytes, seconds, and what it is.

    ``made`` is the bitrate of a copy (bits a second), ``small_for`` that for which it was small already; ``beside``:
    what the copy was made of still lies beside it.
    """

    id: int
    name: str
    size: int
    media_s: float
    codec: str
    channels: int
    aged_at: datetime
    container: str = ""
    flags: tuple[str, ...] = ()
    made: int | None = None
    small_for: int | None = None
    beside: bool = False


def compressible(
    read: Reader, tiers: Mapping[int, datetime], settled_before: datetime, limit: int
) -> tuple[Compressible, ...]:
    """What ended before the moment of a tier (by its bitrate) that may still make it smaller, oldest first: known, on
    no hold, of no set that is yet to be delivered. Those that belong to no set at all must have come before
    ``settled_before``.
    """
    wanted = " OR ".join(
        "(aged_us <= ? AND (made IS NULL OR made > ?) AND (small_for IS NULL OR small_for > ?))" for _ in tiers
    )
    args = [value for rate, before in tiers.items() for value in (micros(before), rate, rate)]
    where = f"WHERE ({wanted}) AND (paired = 1 OR registered_us <= ?) ORDER BY aged_us, id LIMIT ?"
    return _found(read, "", (), where, (*args, micros(settled_before), limit))


def one_compressible(read: Reader, item_id: int) -> Compressible | None:
    """This recording or copy, if it is a known one that may be touched."""
    found = _found(read, "WHERE id = ?", (recording_of_copy(read, item_id),), "WHERE id = ?", (item_id,))
    return found[0] if found else None


def _found(
    read: Reader, which: str, begin: Sequence[object], where: str, args: Sequence[object]
) -> tuple[Compressible, ...]:
    """``which`` says where to begin (its values: ``begin``), ``where`` what of all that lies there is meant."""
    return tuple(
        Compressible(
            row["id"],
            row["name"],
            row["size"],
            row["media_s"],
            row["codec"] if row["made"] is None else "opus",
            row["channels"],
            moment(row["aged_us"]),
            row["container"] if row["made"] is None else "ogg",
            tuple(json.loads(row["audio_flags"])),
            row["made"],
            row["small_for"],
            bool(row["beside"]),
        )
        for row in read.rows(_LYING.format(which) + _ROWS + where, (*begin, among(held_items(read)), *args))
    )


Hindrance = Literal["", "at work", "held", "undelivered"]


def hindrance(read: Reader, item_id: int) -> Hindrance:
    """Why this recording, or the one that this copy stands for, may not be touched now; empty where it may."""
    rows = read.rows(
        f"SELECT {_HELD} AS held, {_OPEN_SET} AS open, {_AT_WORK} AS at_work FROM recording WHERE id = ?",
        (among(held_items(read)), recording_of_copy(read, item_id)),
    )
    if not rows:
        return ""
    row = rows[0]
    return "held" if row["held"] else "undelivered" if row["open"] else "at work" if row["at_work"] else ""


def compressing(read: Reader, but: int) -> tuple[int, int]:
    """How many recordings are to be compressed yet beside this one, and their bytes."""
    rows = read.rows(
        "SELECT count(*) AS n, coalesce(sum(size), 0) AS size FROM job JOIN item ON item.id = CAST(key AS INTEGER) "
        "WHERE job.kind = 'compress.file' AND job.state IN ('ready', 'running') AND item.id != ? "
        "AND NOT EXISTS (SELECT 1 FROM compression WHERE recording_id = item.id AND state IN ('verified', 'replaced'))",
        (but,),
    )
    return int(rows[0]["n"]), int(rows[0]["size"])


def past_grace(read: Reader, verified_before: datetime, limit: int) -> tuple[int, ...]:
    """What has a copy that was verified before a moment, and lies there still."""
    rows = read.rows(
        "SELECT recording_id FROM compression WHERE state = 'verified' AND verified_us <= ? ORDER BY 1 LIMIT ?",
        (micros(verified_before), limit),
    )
    return tuple(row["recording_id"] for row in rows)

"""What was compressed: the facts, and the figures of ``/api/storage-stats``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from daemon.contract import Reader, Tx
from handlers.records.rows import dumps, maybe_moment, micros, moment, places
from handlers.records.running import running

LIES = (
    "EXISTS (SELECT 1 FROM file WHERE item_id = {0} AND state = 'known' AND NOT EXISTS (SELECT 1 FROM compression "
    "AS went WHERE went.recording_id = {0} AND went.state = 'replaced' AND went.replaced_us >= file.changed_us))"
)
"""A file of the item lies there, and was not removed since it was last looked at."""

NOBODY_KNOWS = 0
"""The bitrate of a copy that was made before the ledger was."""


@dataclass(frozen=True, slots=True)
class Compressed:
    """What became of one recording, or of an earlier copy that stands for one; ``name`` and ``size`` are the copy's.

    ``source_id`` is the item that the copy is made of, ``tries`` how often a person had it looked at again.
    """

    recording_id: int
    state: Literal["made", "verified", "replaced", "refused", "left", "again"]
    name: str
    sha256: str
    size: int
    original_size: int
    bitrate: int
    source_id: int
    way: Literal["encode", "repack"]
    tries: int
    reason: str
    verified_at: datetime | None


@dataclass(frozen=True, slots=True)
class CopyMade:
    """A copy was encoded; from now on its content is known as this recording's."""

    recording_id: int
    name: str
    sha256: str
    size: int
    original_size: int
    bitrate: int
    source_id: int | None = None
    way: Literal["encode", "repack"] = "encode"

    def write(self, tx: Tx) -> None:
        """Put it down; a copy made again takes the place of the one before."""
        tx.execute(
            "INSERT INTO compression (recording_id, state, name, sha256, size, original_size, bitrate, source_id, way, "
            "made_us) VALUES (?, 'made', ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (recording_id) DO UPDATE SET "
            "state = 'made', name = excluded.name, sha256 = excluded.sha256, size = excluded.size, reason = '', "
            "bitrate = excluded.bitrate, source_id = excluded.source_id, way = excluded.way, "
            "made_us = excluded.made_us",
            (
                self.recording_id,
                self.name,
                self.sha256,
                self.size,
                self.original_size,
                self.bitrate,
                self.source_id,
                self.way,
                micros(tx.now),
            ),
        )


@dataclass(frozen=True, slots=True)
class CopyJudged:
    """The copy was compared with its source: ``reason`` says why it is refused, and is empty where it is good."""

    recording_id: int
    figures: dict[str, Any]
    reason: str

    def write(self, tx: Tx) -> None:
        """Put it down."""
        tx.execute(
            "UPDATE compression SET state = ?, figures = ?, reason = ?, verified_us = ? WHERE recording_id = ?",
            (
                "refused" if self.reason else "verified",
                dumps(self.figures),
                self.reason,
                None if self.reason else micros(tx.now),
                self.recording_id,
            ),
        )


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Nothing would be saved, or nothing can be made of it: looked at once, and not again every night.

    ``bitrate`` (bits a second) is that of the tier for which it is small already: a later one may still save.
    """

    recording_id: int
    size: int
    reason: str
    bitrate: int = 0

    def write(self, tx: Tx) -> None:
        """Put it down."""
        tx.execute(
            "INSERT INTO compression (recording_id, state, original_size, reason, bitrate, made_us) "
            "VALUES (?, 'left', ?, ?, ?, ?) ON CONFLICT (recording_id) DO UPDATE SET state = 'left', "
            "reason = excluded.reason, bitrate = excluded.bitrate",
            (self.recording_id, self.size, self.reason, self.bitrate, micros(tx.now)),
        )


@dataclass(frozen=True, slots=True)
class LookedAtAgain:
    """A person wants what was refused or left to be looked at again."""

    recording_id: int

    def write(self, tx: Tx) -> None:
        """Put it down; what has become a copy meanwhile stays one."""
        tx.execute(
            "UPDATE compression SET state = 'again', tries = tries + 1 WHERE recording_id = ? "
            "AND state IN ('refused', 'left')",
            (self.recording_id,),
        )


@dataclass(frozen=True, slots=True)
class DocumentKept:
    """The document beside the recording, before it is changed."""

    recording_id: int
    document: str

    def write(self, tx: Tx) -> None:
        """Keep the first: what was there before any change."""
        tx.execute(
            "UPDATE compression SET document = coalesce(document, ?) WHERE recording_id = ?",
            (self.document, self.recording_id),
        )


@dataclass(frozen=True, slots=True)
class OriginalGone:
    """The source was let go; its verified copy stands for it."""

    recording_id: int

    def write(self, tx: Tx) -> None:
        """Put it down."""
        tx.execute(
            "UPDATE compression SET state = 'replaced', replaced_us = ? WHERE recording_id = ?",
            (micros(tx.now), self.recording_id),
        )


@dataclass(frozen=True, slots=True)
class CopyArrived:
    """The watch took a copy in: the same recording, and never a new one."""

    copy_id: int
    sha256: str

    def write(self, tx: Tx) -> None:
        """Put it down at every recording that this content is the copy of."""
        tx.execute("UPDATE compression SET copy_id = ? WHERE sha256 = ?", (self.copy_id, self.sha256))


@dataclass(frozen=True, slots=True)
class CopyFound:
    """A copy of this recording lies there from before the ledger was made: with its source (``made``: to be compared
    yet), or in its place (``replaced``)."""

    recording_id: int
    state: Literal["made", "replaced"]
    copy_id: int
    name: str
    sha256: str
    size: int
    original_size: int

    def write(self, tx: Tx) -> None:
        """Put it down, unless something is known of the recording's copy already."""
        now_us = micros(tx.now)
        replaced_us = now_us if self.state == "replaced" else None
        tx.execute(
            "INSERT INTO compression (recording_id, state, copy_id, name, sha256, size, original_size, bitrate, "
            "made_us, verified_us, replaced_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (recording_id) DO NOTHING",
            (
                self.recording_id,
                self.state,
                self.copy_id,
                self.name,
                self.sha256,
                self.size,
                self.original_size,
                NOBODY_KNOWS,
                now_us,
                replaced_us,
                replaced_us,
            ),
        )


@dataclass(frozen=True, slots=True)
class SourceRemembered:
    """What a copy was made of, and what does not lie there any more: an item without a file, as it was before the
    ledger was lost. Name, path and evidence are those of the source."""

    copy_id: int
    sha256: str
    size: int
    name: str
    path: str
    evidence: str
    mtime_ns: int

    def write(self, tx: Tx) -> None:
        """Put it down once, beside the copy's own item."""
        tx.execute(
            "INSERT INTO item (host_id, role, kind, sha256, size, evidence, name, path, mtime_ns, first_seen_us) "
            "SELECT host_id, role, kind, ?, ?, ?, ?, ?, ?, first_seen_us FROM item WHERE id = ? "
            "ON CONFLICT (role, sha256, evidence) DO NOTHING",
            (self.sha256, self.size, self.evidence, self.name, self.path, self.mtime_ns, self.copy_id),
        )


def made_anew(read: Reader) -> datetime | None:
    """When this ledger was made anew out of folders and storage; None for one that never was lost."""
    rows = read.rows("SELECT value FROM meta WHERE key = 'rebuilt_us'")
    return moment(int(rows[0]["value"])) if rows else None


def item_of_source(read: Reader, sha256: str, evidence: str) -> int | None:
    """The recordings' item of this content whose name said this; any of that content where none said it."""
    rows = read.rows(
        "SELECT id FROM item WHERE role = 'recordings' AND sha256 = ? ORDER BY evidence != ?, id LIMIT 1",
        (sha256, evidence),
    )
    return int(rows[0]["id"]) if rows else None


def compressed(read: Reader, recording_id: int) -> Compressed | None:
    """What became of this recording or copy; None where nobody looked yet."""
    rows = read.rows(
        "SELECT recording_id, state, name, sha256, size, original_size, bitrate, reason, way, tries, verified_us, "
        "coalesce(source_id, recording_id) AS source_id FROM compression WHERE recording_id = ?",
        (recording_id,),
    )
    if not rows:
        return None
    found = dict(rows[0])
    return Compressed(verified_at=maybe_moment(found.pop("verified_us")), **found)


def standing_for(read: Reader, item_id: int) -> int:
    """The item that holds this recording's audio now: its own, or that of the copy its original made room for."""
    rows = read.rows(
        "SELECT copy_id FROM compression WHERE recording_id = ? AND state = 'replaced' AND copy_id IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM file WHERE item_id = recording_id AND state = 'known')",
        (item_id,),
    )
    return standing_for(read, int(rows[0]["copy_id"])) if rows else item_id


def recording_of_copy(read: Reader, item_id: int) -> int:
    """The recording that an item stands for: itself, or what its copy was made of, however often."""
    rows = read.rows("SELECT recording_id FROM compression WHERE copy_id = ? AND recording_id != ?", (item_id, item_id))
    return recording_of_copy(read, int(rows[0]["recording_id"])) if rows else item_id


def copies_made(read: Reader, recording_id: int) -> tuple[int, ...]:
    """A recording's item and those of the copies that were made of it, each from the one before it."""
    found = [recording_id]
    while True:
        rows = read.rows(
            "SELECT copy_id FROM compression WHERE recording_id = ? AND copy_id IS NOT NULL "
            "AND state IN ('verified', 'replaced')",
            (found[-1],),
        )
        if not rows or rows[0]["copy_id"] in found:
            return tuple(found)
        found.append(int(rows[0]["copy_id"]))


def is_shared(read: Reader, copy_id: int) -> bool:
    """Whether two recordings that sound the same have this one file as their copy."""
    (row,) = read.rows("SELECT count(*) AS n FROM compression WHERE copy_id = ?", (copy_id,))
    return int(row["n"]) > 1


def awaits_copy(read: Reader, recording_id: int, since: datetime) -> bool:
    """Whether a copy took an original's place after ``since``, and the watch has not seen yet that the one is gone and
    the other there."""
    chain = copies_made(read, recording_id)
    rows = read.rows(
        f"SELECT 1 FROM compression WHERE recording_id IN ({places(chain)}) AND state = 'replaced' "
        "AND replaced_us > ? AND replaced_us <= ? AND (copy_id IS NULL OR EXISTS (SELECT 1 FROM file "
        "WHERE item_id = recording_id AND state = 'known' AND changed_us <= replaced_us))",
        (*chain, micros(since), micros(read.now)),
    )
    return bool(rows)


def lies_there(read: Reader, item_id: int) -> bool:
    """Whether a file holds the item, and was not removed for a copy since it was last looked at."""
    return bool(read.rows(f"SELECT 1 WHERE {LIES.format('?1')}", (item_id,)))


def is_copy(read: Reader, sha256: str) -> bool:
    """Whether this content is a copy that callspool made of a recording it knows."""
    return bool(
        read.rows("SELECT 1 FROM compression WHERE sha256 = ? AND state IN ('made', 'verified', 'replaced')", (sha256,))
    )


def storage_figures(read: Reader) -> dict[str, float]:
    """The numbers of ``GET /api/storage-stats`` (formats, section 8), in bytes, of recordings that lie there now.

    ``total_size`` is all of them, ``compressed_size`` the copies that callspool made, ``original_size`` the rest,
    ``compression_ratio`` compressed over total; ``savings`` is what replaced originals took less what
    their copies take.
    """
    originals, copies = running(read, "lying")[""].size, running(read, "compressed")
    total = originals + copies["size"].size
    return {
        "total_size": total,
        "compressed_size": copies["size"].size,
        "original_size": originals,
        "savings": copies["savings"].size,
        "compression_ratio": round(copies["size"].size / total, 4) if total else 0,
    }


def compression_counts(read: Reader) -> dict[str, int]:
    """How many recordings are in which state."""
    rows = read.rows("SELECT state, count(*) AS n FROM compression GROUP BY state")
    return {row["state"]: row["n"] for row in rows}


def refused_copies(read: Reader) -> tuple[tuple[int, str], ...]:
    """Recordings whose copy was refused, with the reason."""
    rows = read.rows("SELECT recording_id, reason FROM compression WHERE state = 'refused' ORDER BY recording_id")
    return tuple((row["recording_id"], row["reason"]) for row in rows)


def compression_told(read: Reader, ids: Sequence[int]) -> tuple[dict[str, Any], ...]:
    """What became of these recordings, and of the copies that stand for them, as a person is told: bytes, bits a
    second, how close the copy is, and why it was refused or nothing was made."""
    rows = read.rows(
        "SELECT recording_id, state, name, size, original_size, bitrate, way, reason, figures, verified_us, "
        f"replaced_us FROM compression WHERE recording_id IN ({places(ids)}) ORDER BY recording_id",
        tuple(ids),
    )
    return tuple(
        {
            "item": f"r{row['recording_id']}",
            "state": row["state"],
            "reason": row["reason"],
            "copy": row["name"],
            "size": row["size"],
            "original_size": row["original_size"],
            "bitrate": row["bitrate"],
            "way": row["way"],
            "figures": json.loads(row["figures"]),
            "verified_at": _text(row["verified_us"]),
            "replaced_at": _text(row["replaced_us"]),
        }
        for row in rows
    )


def _text(us: int | None) -> str | None:
    return None if us is None else moment(us).isoformat()


def retriable(read: Reader) -> tuple[int, ...]:
    """What was refused, or left."""
    rows = read.rows("SELECT recording_id FROM compression WHERE state IN ('refused', 'left') ORDER BY recording_id")
    return tuple(row["recording_id"] for row in rows)


_PLACES = (
    "SELECT DISTINCT root.path AS root, folder.path AS folder, item_id FROM "
    "(SELECT folder_id, item_id FROM file UNION SELECT folder_id, item_id FROM former_file) AS place "
    "JOIN folder ON folder.id = folder_id JOIN root ON root.id = root_id WHERE item_id IN ({})"
)


def folders_of(read: Reader, ids: Sequence[int]) -> tuple[tuple[str, int], ...]:
    """The absolute folders in which these items lie or lay, each with the item."""
    rows = read.rows(_PLACES.format(places(ids)), tuple(ids))
    return tuple((os.fsdecode(os.path.join(row["root"], row["folder"])), row["item_id"]) for row in rows)


def copies_unseen(read: Reader, ids: Sequence[int]) -> tuple[tuple[str, str], ...]:
    """Of these items, the copies that the watch has not taken in: absolute folder and name."""
    rows = read.rows(
        "SELECT recording_id, name FROM compression WHERE copy_id IS NULL AND name != '' "
        f"AND state IN ('made', 'verified', 'replaced') AND recording_id IN ({places(ids)})",
        tuple(ids),
    )
    names = {row["recording_id"]: row["name"] for row in rows}
    return tuple((folder, names[item]) for folder, item in folders_of(read, tuple(names)))


def file_names(read: Reader, ids: Sequence[int]) -> tuple[str, ...]:
    """The names under which these items came, and those of their copies."""
    rows = read.rows(
        f"SELECT name FROM item WHERE id IN ({places(ids)}) UNION SELECT name FROM compression "
        f"WHERE name != '' AND recording_id IN ({places(ids)})",
        (*ids, *ids),
    )
    return tuple(row["name"] for row in rows)

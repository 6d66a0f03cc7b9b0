"""What was compressed: the facts, what may be compressed now, and the figures of ``/api/storage-stats``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from daemon.contract import Reader, Tx
from handlers.records.rows import dumps, maybe_moment, micros, moment

_OPEN_SET = (
    "EXISTS (SELECT 1 FROM pairing LEFT JOIN call USING (conversation_id) "
    "WHERE pairing.group_key = recording.group_key AND delivered_us IS NULL)"
)
_HELD = "EXISTS (SELECT 1 FROM hold WHERE item_id = recording.id)"
_AT_WORK = (
    "(EXISTS (SELECT 1 FROM pairing JOIN job ON job.key = CAST(conversation_id AS TEXT) WHERE "
    "pairing.group_key = recording.group_key AND (job.state IN ('ready', 'running') "
    "OR kind = 'store' AND job.state = 'waiting')) OR EXISTS (SELECT 1 FROM job WHERE kind = 'store_lone' "
    "AND key = CAST(recording.id AS TEXT) AND job.state NOT IN ('done', 'parked')))"
)


NOBODY_KNOWS = 0
"""The bitrate of a copy that was made before the ledger was."""


@dataclass(frozen=True, slots=True)
class Compressible:
    """A recording whose age allows it: bytes, seconds, and what it is."""

    id: int
    name: str
    size: int
    media_s: float
    codec: str
    channels: int
    aged_at: datetime


@dataclass(frozen=True, slots=True)
class Compressed:
    """What became of one recording; ``name`` and ``size`` are the copy's."""

    recording_id: int
    state: Literal["made", "verified", "replaced", "refused", "left"]
    name: str
    sha256: str
    size: int
    original_size: int
    bitrate: int
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

    def write(self, tx: Tx) -> None:
        """Put it down; a copy made again takes the place of the one before."""
        tx.execute(
            "INSERT INTO compression (recording_id, state, name, sha256, size, original_size, bitrate, made_us) "
            "VALUES (?, 'made', ?, ?, ?, ?, ?, ?) ON CONFLICT (recording_id) DO UPDATE SET state = 'made', "
            "name = excluded.name, sha256 = excluded.sha256, size = excluded.size, bitrate = excluded.bitrate, "
            "made_us = excluded.made_us",
            (self.recording_id, self.name, self.sha256, self.size, self.original_size, self.bitrate, micros(tx.now)),
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
    """Nothing would be saved, or nothing can be made of it: looked at once, and not again every night."""

    recording_id: int
    size: int
    reason: str

    def write(self, tx: Tx) -> None:
        """Put it down."""
        tx.execute(
            "INSERT INTO compression (recording_id, state, original_size, reason, made_us) VALUES (?, 'left', ?, ?, ?) "
            "ON CONFLICT (recording_id) DO UPDATE SET state = 'left', reason = excluded.reason",
            (self.recording_id, self.size, self.reason, micros(tx.now)),
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
    """What became of this recording; None where nobody looked yet."""
    rows = read.rows(
        "SELECT recording_id, state, name, sha256, size, original_size, bitrate, "
        "verified_us FROM compression WHERE recording_id = ?",
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
    return int(rows[0]["copy_id"]) if rows else item_id


def is_copy(read: Reader, sha256: str) -> bool:
    """Whether this content is a copy that callspool made of a recording it knows."""
    return bool(
        read.rows("SELECT 1 FROM compression WHERE sha256 = ? AND state IN ('made', 'verified', 'replaced')", (sha256,))
    )


def compressible(read: Reader, before: datetime, settled_before: datetime, limit: int) -> tuple[Compressible, ...]:
    """Recordings that ended before a moment, oldest first: known, looked at by nobody yet, on no hold, of no set that
    is yet to be delivered. Those that belong to no set at all must have come before ``settled_before``.
    """
    return _compressible(read, "ORDER BY aged_us, id LIMIT ?", (micros(before), micros(settled_before), limit))


def still_compressible(read: Reader, recording_id: int) -> bool:
    """Whether the recording may be touched now, whatever was done to it already."""
    where = f"SELECT 1 FROM recording WHERE id = ? AND NOT {_OPEN_SET} AND NOT {_HELD} AND NOT {_AT_WORK}"
    return bool(read.rows(where, (recording_id,)))


def one_compressible(read: Reader, recording_id: int) -> Compressible | None:
    """This recording, if it is a known one that nobody looked at yet and that may be touched."""
    found = _compressible(read, "AND id = ?", (micros(read.now), micros(read.now), recording_id))
    return found[0] if found else None


def _compressible(read: Reader, tail: str, args: Sequence[object]) -> tuple[Compressible, ...]:
    rows = read.rows(
        "SELECT * FROM (SELECT recording.id, recording.name, recording.size, media_s, codec, channels, paired, "
        "registered_us, coalesce(end_us, item.mtime_ns / 1000) AS aged_us FROM recording JOIN item USING (id) "
        "WHERE EXISTS (SELECT 1 FROM file WHERE item_id = recording.id AND state = 'known') "
        "AND NOT EXISTS (SELECT 1 FROM compression WHERE recording_id = recording.id) "
        f"AND NOT {_OPEN_SET} AND NOT {_HELD} AND NOT {_AT_WORK}) "
        f"WHERE aged_us <= ? AND (paired = 1 OR registered_us <= ?) {tail}",
        args,
    )
    return tuple(
        Compressible(
            row["id"],
            row["name"],
            row["size"],
            row["media_s"],
            row["codec"],
            row["channels"],
            moment(row["aged_us"]),
        )
        for row in rows
    )


def storage_figures(read: Reader) -> dict[str, float]:
    """The numbers of ``GET /api/storage-stats`` (formats, section 8), in bytes, of recordings that lie there now.

    ``total_size`` is all of them, ``compressed_size`` the copies that callspool made, ``original_size`` the rest,
    ``compression_ratio`` compressed over total; ``savings`` is what replaced originals took less what
    their copies take.
    """
    originals = read.rows(
        "SELECT coalesce(sum(recording.size), 0) AS n FROM recording "
        "WHERE EXISTS (SELECT 1 FROM file WHERE item_id = recording.id AND state = 'known')"
    )[0]["n"]
    row = read.rows(
        "SELECT coalesce(sum(size), 0) AS size, "
        "coalesce(sum(iif(state = 'replaced', original_size - size, 0)), 0) AS savings "
        "FROM compression WHERE state IN ('verified', 'replaced')"
    )[0]
    total = originals + row["size"]
    return {
        "total_size": total,
        "compressed_size": row["size"],
        "original_size": originals,
        "savings": row["savings"],
        "compression_ratio": round(row["size"] / total, 4) if total else 0,
    }


def compression_counts(read: Reader) -> dict[str, int]:
    """How many recordings are in which state."""
    rows = read.rows("SELECT state, count(*) AS n FROM compression GROUP BY state")
    return {row["state"]: row["n"] for row in rows}


def refused_copies(read: Reader) -> tuple[tuple[int, str], ...]:
    """Recordings whose copy was refused, with the reason."""
    rows = read.rows("SELECT recording_id, reason FROM compression WHERE state = 'refused' ORDER BY recording_id")
    return tuple((row["recording_id"], row["reason"]) for row in rows)

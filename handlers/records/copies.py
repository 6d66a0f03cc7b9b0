"""Where every copy of what belongs to a call lies: queries over the storage room's tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Row
from typing import Any, Literal

from daemon.contract import Reader
from handlers.records.compressible import STANDING
from handlers.records.rows import maybe_moment, micros, moment, places
from handlers.records.running import running

Place = Literal["local", "s3"]
CLASS_REFUSED = "refused "
"""What the ledger puts before a storage class that an object was refused."""
CopyState = Literal["intended", "verified", "conflict", "refused", "removed"]


@dataclass(frozen=True, slots=True)
class Placed:
    """One key in one place, and whose bytes are meant there. ``bucket`` is empty for the local store; ``item`` is the
    item whose very bytes they are."""

    place: Place
    bucket: str
    key: str
    subject: int
    role: str
    item: int | None
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Copy(Placed):
    """What the ledger knows of it.

    ``bound_for`` is the object that is to move from here to S3, None where the copy is at home. ``lost_at`` is when it
    was last found to be missing or to be something else; it is mended where it was verified since. ``changed_at`` is
    when the ledger last learned anything of it, or was told.
    """

    state: CopyState
    proof: str
    reason: str
    bound_for: dict[str, Any] | None
    intended_at: datetime
    verified_at: datetime | None
    lost_at: datetime | None
    changed_at: datetime
    round: int = 0
    """How often the content that belongs under the key became another."""

    storage_class: str = ""
    """What it was given in S3 since it was put, or what it was refused; empty: what it was put with."""

    @property
    def is_archived(self) -> bool:
        """Whether it was given another class since it was put."""
        return self.storage_class != "" and not self.storage_class.startswith(CLASS_REFUSED)


def storage_name(read: Reader, subject: int) -> tuple[str, str] | None:
    """The call's name in storage and its day (YYYY-MM-DD); None before the first intent."""
    rows = read.rows("SELECT name, day FROM storage_name WHERE subject_id = ?", (subject,))
    return (rows[0]["name"], rows[0]["day"]) if rows else None


def copies(read: Reader, subject: int) -> tuple[Copy, ...]:
    """Every copy of what belongs to a call, let go ones included."""
    rows = read.rows("SELECT * FROM copy WHERE subject_id = ? ORDER BY intended_us, place, key", (subject,))
    return tuple(_copy_of(row) for row in rows)


def is_witnessed(read: Reader, sha256: str) -> bool:
    """Whether a sidecar that outlived the ledger says that a recording of this content lies in storage."""
    return bool(read.rows("SELECT 1 FROM witnessed WHERE sha256 = ?", (sha256,)))


def calls_to_name(read: Reader) -> tuple[int, ...]:
    """Of the newest calls, those whose id in the CRM was fixed after their sidecar was meant to be written."""
    rows = read.rows(
        "SELECT conversation_id FROM call JOIN copy ON subject_id = conversation_id AND role = 'sidecar' "
        "WHERE conversation_id > (SELECT max(conversation_id) - 5000 FROM call) AND call_id IS NOT NULL "
        "AND copy.state = 'verified' AND fixed_us > intended_us ORDER BY conversation_id"
    )
    return tuple(row["conversation_id"] for row in rows)


def copies_of_item(read: Reader, item: int) -> tuple[Copy, ...]:
    """Every copy that holds an item's very bytes."""
    rows = read.rows("SELECT * FROM copy WHERE item_id = ? ORDER BY place, key", (item,))
    return tuple(_copy_of(row) for row in rows)


def waits_to_move(read: Reader, subjects: Sequence[int]) -> bool:
    """Whether anything of these calls or recordings is still to move to S3."""
    query = f"SELECT 1 FROM copy WHERE subject_id IN ({places(subjects)}) AND bound_for IS NOT NULL LIMIT 1"
    return bool(read.rows(query, tuple(subjects)))


def copy_at(read: Reader, place: Place, bucket: str, key: str) -> Copy | None:
    """What the ledger knows of a key."""
    rows = read.rows("SELECT * FROM copy WHERE place = ? AND bucket = ? AND key = ?", (place, bucket, key))
    return _copy_of(rows[0]) if rows else None


def all_copies(read: Reader) -> tuple[Copy, ...]:
    """Every copy that may be somewhere, by place and key."""
    rows = read.rows("SELECT * FROM copy WHERE state != 'removed' ORDER BY place, bucket, key")
    return tuple(_copy_of(row) for row in rows)


def bound_copies(read: Reader, limit: int) -> tuple[Copy, ...]:
    """The oldest copies that are to move to S3 and may, oldest first."""
    rows = read.rows(
        "SELECT * FROM copy INDEXED BY copy_bound WHERE bound_for IS NOT NULL AND state = 'verified' AND reason = '' "
        "ORDER BY intended_us, key LIMIT ?",
        (limit,),
    )
    return tuple(_copy_of(row) for row in rows)


_TROUBLED = (
    "SELECT * FROM copy INDEXED BY copy_troubled "
    "WHERE ((bound_for IS NOT NULL AND reason != '') OR state IN ('conflict', 'refused'))"
)


def troubled_copies(read: Reader) -> tuple[Copy, ...]:
    """Copies that wait for a person: stranded in the local store, or in conflict."""
    return tuple(_copy_of(row) for row in read.rows(f"{_TROUBLED} ORDER BY intended_us, key"))


def copies_stranded(read: Reader, reason: str, limit: int) -> tuple[Copy, ...]:
    """The oldest copies that were to move to S3 and cannot, for this reason."""
    rows = read.rows(
        f"{_TROUBLED} AND bound_for IS NOT NULL AND reason = ? ORDER BY intended_us, key LIMIT ?", (reason, limit)
    )
    return tuple(_copy_of(row) for row in rows)


@dataclass(frozen=True, slots=True)
class Unclassed:
    """Recordings in a bucket that have neither of these classes, whose call ended, or else whose file was written last,
    before that moment, of at least so many bytes."""

    bucket: str
    classes: tuple[str, str]
    before: datetime
    smallest: int

    @property
    def where(self) -> str:
        """What the query goes on with."""
        return (
            "FROM copy INDEXED BY copy_by_class JOIN item ON item.id = item_id "
            "LEFT JOIN recording ON recording.id = coalesce("
            "(SELECT recording_id FROM compression WHERE copy_id = item_id LIMIT 1), item_id) "
            "WHERE copy.place = 's3' AND copy.role = 'audio' AND copy.state = 'verified' "
            "AND storage_class NOT IN (?, ?) AND bucket = ? AND copy.size >= ? "
            "AND coalesce(end_us, mtime_ns / 1000) <= ?"
        )

    @property
    def args(self) -> tuple[object, ...]:
        """The query's arguments."""
        return (*self.classes, self.bucket, self.smallest, micros(self.before))


def copies_to_class(read: Reader, wanted: Unclassed, limit: int) -> tuple[int, ...]:
    """The items of such copies, the oldest first."""
    order = "ORDER BY coalesce(end_us, mtime_ns / 1000), item_id LIMIT ?"
    rows = read.rows(f"SELECT item_id {wanted.where} {order}", (*wanted.args, limit))
    return tuple(row["item_id"] for row in rows)


def count_to_class(read: Reader, wanted: Unclassed) -> tuple[int, int]:
    """How many such copies there are, and their bytes."""
    (row,) = read.rows(f"SELECT count(*) AS n, coalesce(sum(copy.size), 0) AS size {wanted.where}", wanted.args)
    return row["n"], row["size"]


def copy_counts(read: Reader) -> dict[str, Any]:
    """Objects and bytes that are verified, by place, and those that wait to move."""
    verified, waiting = running(read, "copy verified"), running(read, "copy bound")[""]
    return {
        **{place: {"objects": one.n, "bytes": one.size} for place, one in verified.items() if one.n},
        "waiting": {"objects": waiting.n, "bytes": waiting.size},
        "calls": running(read, "call stored")[""].n,
    }


def outgrown(read: Reader, place: Place, bucket: str, limit: int) -> tuple[int, ...]:
    """Recordings whose original made room on disk for its compressed copy, and lies in this place still."""
    rows = read.rows(
        "SELECT DISTINCT recording_id FROM compression JOIN copy ON item_id = recording_id "
        "WHERE compression.state = 'replaced' AND place = ? AND bucket = ? AND copy.state = 'verified' "
        "AND (EXISTS (SELECT 1 FROM file WHERE file.item_id = copy_id AND file.state = 'known') "
        "OR EXISTS (SELECT 1 FROM compression AS later WHERE later.recording_id = compression.copy_id)) "
        "AND (storage_class = '' OR storage_class LIKE ?) ORDER BY 1 LIMIT ?",
        (place, bucket, f"{CLASS_REFUSED}%", limit),
    )
    return tuple(row["recording_id"] for row in rows)


def nowhere(read: Reader) -> tuple[int, ...]:
    """Recordings of which no file, no compressed copy and no verified copy in storage is left."""
    rows = read.rows(
        f"SELECT root AS id FROM {STANDING} AS standing GROUP BY root HAVING NOT max("
        "EXISTS (SELECT 1 FROM file WHERE item_id = standing.id AND state = 'known') "
        "OR EXISTS (SELECT 1 FROM copy WHERE item_id = standing.id AND state = 'verified')) ORDER BY root"
    )
    return tuple(row["id"] for row in rows)


def lost_copies_under_way(read: Reader) -> int:
    """How many copies were lost and are not put again yet, while calls are being stored, or will be by themselves."""
    rows = read.rows(
        "SELECT count(*) AS n FROM copy WHERE state = 'intended' AND lost_us IS NOT NULL AND EXISTS (SELECT 1 FROM job "
        "WHERE kind IN ('store', 'store_lone') AND (job.state IN ('ready', 'running') "
        "OR (job.state = 'waiting' AND attempt BETWEEN 1 AND 2)))"
    )
    return int(rows[0]["n"])


def multiparts(read: Reader) -> tuple[tuple[str, str, str], ...]:
    """Bucket, key and upload id of every upload in parts that was begun and not ended."""
    return tuple((row["bucket"], row["key"], row["upload_id"]) for row in read.rows("SELECT * FROM multipart"))


def stale_multiparts(read: Reader, bucket: str, idle: datetime, old: datetime) -> tuple[tuple[str, str], ...]:
    """Key and id of uploads in parts that nobody goes on with: begun before ``idle`` for what is not meant to be put
    any more, or begun before ``old``."""
    rows = read.rows(
        "SELECT multipart.key, upload_id FROM multipart LEFT JOIN copy ON place = 's3' AND copy.bucket = "
        "multipart.bucket AND copy.key = multipart.key WHERE multipart.bucket = ? AND begun_us <= ? "
        "AND (copy.state IS NULL OR copy.state != 'intended' OR begun_us <= ?) ORDER BY 1",
        (bucket, micros(idle), micros(old)),
    )
    return tuple((row["key"], row["upload_id"]) for row in rows)


def multipart(read: Reader, bucket: str, key: str) -> str | None:
    """The id of the upload in parts that was begun for a key."""
    rows = read.rows("SELECT upload_id FROM multipart WHERE bucket = ? AND key = ?", (bucket, key))
    return rows[0]["upload_id"] if rows else None


def service_found(read: Reader, service: str) -> tuple[dict[str, Any], datetime] | None:
    """What a service was found to do, and when."""
    rows = read.rows("SELECT found, probed_us FROM storage_probe WHERE service = ?", (service,))
    return (json.loads(rows[0]["found"]), moment(rows[0]["probed_us"])) if rows else None


def lone_recordings(read: Reader, before: datetime, limit: int) -> tuple[int, ...]:
    """Recordings that no call claims though they are known since before this moment, and that storage does not know."""
    rows = read.rows(
        "SELECT id FROM recording INDEXED BY recording_open WHERE paired = 0 AND registered_us <= ? "
        "AND EXISTS (SELECT 1 FROM file WHERE item_id = recording.id AND state = 'known') "
        "AND NOT EXISTS (SELECT 1 FROM copy WHERE item_id = recording.id) "
        "AND NOT EXISTS (SELECT 1 FROM job WHERE kind = 'store_lone' AND key = CAST(recording.id AS TEXT)) "
        "ORDER BY registered_us LIMIT ?",
        (micros(before), limit),
    )
    return tuple(row["id"] for row in rows)


def host_id(read: Reader) -> str:
    """This ledger's own name."""
    rows = read.rows("SELECT value FROM meta WHERE key = 'host_id'")
    return str(rows[0]["value"]) if rows else ""


def _copy_of(row: Row) -> Copy:
    return Copy(
        row["place"],
        row["bucket"],
        row["key"],
        row["subject_id"],
        row["role"],
        row["item_id"],
        row["sha256"],
        row["size"],
        row["state"],
        row["proof"],
        row["reason"],
        None if row["bound_for"] is None else json.loads(row["bound_for"]),
        moment(row["intended_us"]),
        maybe_moment(row["verified_us"]),
        maybe_moment(row["lost_us"]),
        moment(row["changed_us"]),
        row["round"],
        row["storage_class"],
    )


def copies_about(read: Reader, ids: Sequence[int]) -> tuple[tuple[str, str, str], ...]:
    """Place, bucket and key of every copy of these items and of what was written about them, also of those let go."""
    marks = places(ids)
    rows = read.rows(
        f"SELECT place, bucket, key FROM copy WHERE subject_id IN ({marks}) OR item_id IN ({marks}) ORDER BY 1, 2, 3",
        (*ids, *ids),
    )
    return tuple((row["place"], row["bucket"], row["key"]) for row in rows)


def storage_names(read: Reader, ids: Sequence[int]) -> tuple[str, ...]:
    """By which names these calls go in storage."""
    marks = places(ids)
    rows = read.rows(f"SELECT name FROM storage_name WHERE subject_id IN ({marks})", tuple(ids))
    return tuple(row["name"] for row in rows)

"""Links by which a recording may be heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Row

from daemon.contract import Reader, Tx
from handlers.records.rows import maybe_micros, maybe_moment, micros, moment, places


@dataclass(frozen=True, slots=True)
class Link:
    """A link that was made. ``anyone``: whoever has it may hear; else it needs the token beside it."""

    id: int
    recording_id: int
    anyone: bool
    made_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    plays: int

    def holds(self, now: datetime) -> bool:
        """Whether it may still be used."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def links(read: Reader, recordings: Sequence[int] | None = None) -> tuple[Link, ...]:
    """Every link, newest first; of some recordings where those are named."""
    where, args = "", tuple[int, ...]()
    if recordings is not None:
        where, args = f" WHERE recording_id IN ({places(recordings)})", tuple(recordings)
    return tuple(_link(row) for row in read.rows(f"SELECT * FROM link{where} ORDER BY id DESC", args))


def link_of(read: Reader, sha256: str) -> Link | None:
    """The link whose secret has this hash."""
    rows = read.rows("SELECT * FROM link WHERE sha256 = ?", (sha256,))
    return _link(rows[0]) if rows else None


def recordings_of_call(read: Reader, conversation_id: int) -> tuple[int, ...]:
    """The recordings of a call, the longest first."""
    rows = read.rows(
        "SELECT r.id FROM pairing AS p JOIN recording AS r ON r.group_key = p.group_key WHERE p.conversation_id = ? "
        "ORDER BY r.media_s DESC, r.id",
        (conversation_id,),
    )
    return tuple(row["id"] for row in rows)


@dataclass(frozen=True, slots=True)
class LinkMade:
    """Somebody made a link; ``sha256`` is its secret's."""

    sha256: str
    recording_id: int
    anyone: bool
    expires_at: datetime | None

    def write(self, tx: Tx) -> None:
        """Put it down."""
        tx.execute(
            "INSERT INTO link (sha256, recording_id, anyone, made_us, expires_us) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (sha256) DO NOTHING",
            (self.sha256, self.recording_id, int(self.anyone), micros(tx.now), maybe_micros(self.expires_at)),
        )


@dataclass(frozen=True, slots=True)
class LinksRevoked:
    """These links may be used no more."""

    ids: tuple[int, ...]

    def write(self, tx: Tx) -> None:
        """Put it down."""
        tx.execute(
            f"UPDATE link SET revoked_us = ? WHERE revoked_us IS NULL AND id IN ({places(self.ids)})",
            (micros(tx.now), *self.ids),
        )


@dataclass(frozen=True, slots=True)
class LinkPlayed:
    """A recording was heard by this link."""

    id: int

    def write(self, tx: Tx) -> None:
        """Count it."""
        tx.execute("UPDATE link SET plays = plays + 1 WHERE id = ?", (self.id,))


def _link(row: Row) -> Link:
    return Link(
        id=row["id"],
        recording_id=row["recording_id"],
        anyone=bool(row["anyone"]),
        made_at=moment(row["made_us"]),
        expires_at=maybe_moment(row["expires_us"]),
        revoked_at=maybe_moment(row["revoked_us"]),
        plays=row["plays"],
    )

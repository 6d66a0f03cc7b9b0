"""What confident matches taught: distances between a recorder's clock and the conversations', and how long calls are.

Only the newest of each recorder are kept, so that reading them all costs the same after a year. A pairing that is
undone takes its lesson along (a trigger on ``pairing``); what a person decided teaches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from daemon.contract import Reader, Tx
from handlers.records.rows import micros

Anchor = Literal["field", "session", "item", "name"]
"""Which of a conversation's times a distance is measured from: a field, the session id's second, a line, the saved
stamp."""

KEPT = 300
"""Lessons kept of one recorder: an hour at five calls a minute, and a drifting clock is followed within a day at one
call in five minutes."""

KEPT_IN_ALL = 5_000
"""Lessons kept of all recorders together: names without a pattern make a recorder of every file."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one match teaches, in milliseconds; None where it says nothing. ``span_ms`` is the recording's length."""

    recorder: str
    by_mtime: bool
    start_anchor: Anchor | None
    end_anchor: Anchor | None
    start_ms: int | None
    end_ms: int | None
    length_ms: int | None
    skew_ms: int | None
    span_ms: int


@dataclass(frozen=True, slots=True)
class Taught:
    """A confident match of evidence, and what it teaches."""

    conversation_id: int
    lesson: Lesson

    def write(self, tx: Tx) -> None:
        """Add it as its recorder's newest, and drop what is too old to count."""
        said = self.lesson
        tx.execute(
            "INSERT OR REPLACE INTO lesson (conversation_id, recorder, nth, by_mtime, start_anchor, end_anchor, "
            "start_ms, end_ms, length_ms, skew_ms, span_ms) "
            "SELECT ?, ?, coalesce(max(nth), 0) + 1, ?, ?, ?, ?, ?, ?, ?, ? FROM lesson WHERE recorder = ?",
            (
                self.conversation_id,
                said.recorder,
                said.by_mtime,
                said.start_anchor,
                said.end_anchor,
                said.start_ms,
                said.end_ms,
                said.length_ms,
                said.skew_ms,
                said.span_ms,
                said.recorder,
            ),
        )
        tx.execute(
            "DELETE FROM lesson WHERE recorder = ? AND nth <= (SELECT max(nth) FROM lesson WHERE recorder = ?) - ?",
            (said.recorder, said.recorder, KEPT),
        )
        tx.execute(
            "DELETE FROM lesson WHERE conversation_id <= "
            "(SELECT conversation_id FROM lesson ORDER BY conversation_id DESC LIMIT 1 OFFSET ?)",
            (KEPT_IN_ALL,),
        )


def lessons_taken(read: Reader) -> dict[str, int]:
    """How many lessons each recorder has taught so far, those dropped since among them."""
    return {
        row["recorder"]: row["n"] for row in read.rows("SELECT recorder, max(nth) AS n FROM lesson GROUP BY recorder")
    }


def lessons(read: Reader) -> dict[str, tuple[Lesson, ...]]:
    """The lessons of each recorder, oldest first."""
    found: dict[str, list[Lesson]] = {}
    for row in read.rows("SELECT * FROM lesson ORDER BY recorder, nth"):
        found.setdefault(row["recorder"], []).append(
            Lesson(
                row["recorder"],
                bool(row["by_mtime"]),
                row["start_anchor"],
                row["end_anchor"],
                row["start_ms"],
                row["end_ms"],
                row["length_ms"],
                row["skew_ms"],
                row["span_ms"],
            )
        )
    return {recorder: tuple(said) for recorder, said in found.items()}


def partners_found(read: Reader, newest: int, until: datetime) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of the ``newest`` decided conversations, and of the newest recordings that were registered before ``until``: how
    many there are, and how many of them have no partner."""
    told = read.rows(  # the plus keeps SQLite from sorting all that an index on states finds: the newest are at the end
        "SELECT count(*) AS n, coalesce(sum(recording = 'alone'), 0) AS alone FROM (SELECT recording FROM verdict "
        "WHERE +recording IN ('matched', 'alone') ORDER BY conversation_id DESC LIMIT ?)",
        (newest,),
    )[0]
    heard = read.rows(
        "SELECT count(*) AS n, coalesce(sum(NOT paired), 0) AS alone FROM (SELECT paired FROM recording "
        "WHERE registered_us < ? ORDER BY id DESC LIMIT ?)",
        (micros(until), newest),
    )[0]
    return (told["n"], told["alone"]), (heard["n"], heard["alone"])


@dataclass(frozen=True, slots=True)
class SuspectedShift:
    """Recordings lie so many milliseconds after their conversations, in so many cases: a clock or a zone is wrong."""

    shift_ms: int
    calls: int


@dataclass(frozen=True, slots=True)
class ShiftSuspected:
    """A constant distance was noticed."""

    shift_ms: int
    calls: int

    def write(self, tx: Tx) -> None:
        """Keep the latest."""
        tx.execute(
            "INSERT OR REPLACE INTO suspected_shift (id, shift_ms, calls, noticed_us) VALUES (1, ?, ?, ?)",
            (self.shift_ms, self.calls, micros(tx.now)),
        )


@dataclass(frozen=True, slots=True)
class ShiftCleared:
    """Nothing speaks for a wrong clock any more."""

    def write(self, tx: Tx) -> None:
        """Forget it."""
        tx.execute("DELETE FROM suspected_shift")


def shift_suspected(read: Reader) -> SuspectedShift | None:
    """The constant distance that was noticed last; None where there is none."""
    rows = read.rows("SELECT shift_ms, calls FROM suspected_shift")
    return SuspectedShift(rows[0]["shift_ms"], rows[0]["calls"]) if rows else None


def unpartnered(read: Reader, newest: int, until: datetime) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Start and length in milliseconds of the newest recordings and conversations that have no partner, of those
    registered up to ``until``."""
    recordings = read.rows(
        "SELECT start_us / 1000 AS start, cast(span_s * 1000 AS INTEGER) AS length FROM recording "
        "WHERE paired = 0 AND start_us IS NOT NULL AND registered_us <= ? ORDER BY registered_us DESC LIMIT ?",
        (micros(until), newest),
    )
    conversations = read.rows(
        "SELECT start_us / 1000 AS start, (end_us - start_us) / 1000 AS length FROM conversation "
        "WHERE start_us IS NOT NULL AND end_us IS NOT NULL AND registered_us <= ? AND id IN "
        "(SELECT conversation_id FROM verdict WHERE recording IN ('waiting', 'ambiguous', 'alone') "
        "ORDER BY conversation_id DESC LIMIT ?)",
        (micros(until), newest),
    )
    return (
        [(row["start"], row["length"]) for row in recordings],
        [(row["start"], row["length"]) for row in conversations],
    )

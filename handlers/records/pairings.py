"""Who belongs together, and what the matcher thinks of each conversation now.

One to one is held by the tables themselves: a second conversation that claims a group breaks a UNIQUE constraint. A
decision that moves a partner therefore states ``Unpaired`` before ``Paired``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Row
from typing import Any, Literal

from daemon.contract import Reader, Tx
from handlers.records.rows import dumps, micros, moment, places

RecordingState = Literal["waiting", "matched", "ambiguous", "alone"]
LeadState = Literal["waiting", "matched", "ambiguous", "none"]
Judge = Literal["evidence", "person"]


@dataclass(frozen=True, slots=True)
class Pairing:
    """A conversation and the recording group that belongs to it. ``why`` is what the person who decided said."""

    conversation_id: int
    group: str
    probability: float
    reasons: tuple[str, ...]
    decided_by: Judge
    why: str
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class LeadPairing:
    """A conversation and the lead that belongs to it."""

    conversation_id: int
    lead_id: int
    probability: float
    reasons: tuple[str, ...]
    decided_by: Judge
    why: str
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a conversation stands with its partners.

    ``ready`` says whether it may be delivered as it stands. ``explanation`` holds the candidates with their terms,
    and what is waited for; it names files and ids, never a number or what was said.
    """

    conversation_id: int
    recording: RecordingState
    recording_until: datetime
    lead: LeadState
    lead_until: datetime
    ready: bool
    explanation: dict[str, Any]
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Paired:
    """This conversation and this group belong together."""

    conversation_id: int
    group: str
    probability: float
    reasons: tuple[str, ...]
    decided_by: Judge = "evidence"
    why: str = ""

    def write(self, tx: Tx) -> None:
        """Replace the conversation's pairing. A group that another conversation still holds is an IntegrityError."""
        tx.execute("DELETE FROM pairing WHERE conversation_id = ?", (self.conversation_id,))
        tx.execute(
            "INSERT INTO pairing (conversation_id, group_key, probability, reasons, decided_by, why, decided_us) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self.conversation_id,
                self.group,
                self.probability,
                dumps(self.reasons),
                self.decided_by,
                self.why,
                micros(tx.now),
            ),
        )


@dataclass(frozen=True, slots=True)
class Unpaired:
    """The conversation has no recording after all."""

    conversation_id: int

    def write(self, tx: Tx) -> None:
        """Remove its pairing, if it has one."""
        tx.execute("DELETE FROM pairing WHERE conversation_id = ?", (self.conversation_id,))


@dataclass(frozen=True, slots=True)
class LeadPaired:
    """This conversation and this lead belong together."""

    conversation_id: int
    lead_id: int
    probability: float
    reasons: tuple[str, ...]
    decided_by: Judge = "evidence"
    why: str = ""

    def write(self, tx: Tx) -> None:
        """Replace the conversation's lead. A lead that another conversation still holds is an IntegrityError."""
        tx.execute("DELETE FROM lead_pairing WHERE conversation_id = ?", (self.conversation_id,))
        tx.execute(
            "INSERT INTO lead_pairing (conversation_id, lead_id, probability, reasons, decided_by, why, decided_us) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self.conversation_id,
                self.lead_id,
                self.probability,
                dumps(self.reasons),
                self.decided_by,
                self.why,
                micros(tx.now),
            ),
        )


@dataclass(frozen=True, slots=True)
class LeadUnpaired:
    """The conversation has no lead after all."""

    conversation_id: int

    def write(self, tx: Tx) -> None:
        """Remove its lead pairing, if it has one."""
        tx.execute("DELETE FROM lead_pairing WHERE conversation_id = ?", (self.conversation_id,))


@dataclass(frozen=True, slots=True)
class Judged:
    """What the matcher thinks of a conversation now."""

    conversation_id: int
    recording: RecordingState
    recording_until: datetime
    lead: LeadState
    lead_until: datetime
    ready: bool
    explanation: dict[str, Any]

    def write(self, tx: Tx) -> None:
        """Replace the conversation's verdict."""
        tx.execute(
            "INSERT OR REPLACE INTO verdict (conversation_id, recording, recording_until_us, lead, lead_until_us, "
            "ready, explanation, disputed, decided_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.conversation_id,
                self.recording,
                micros(self.recording_until),
                self.lead,
                micros(self.lead_until),
                self.ready,
                dumps(self.explanation),
                "disputed" in self.explanation,
                micros(tx.now),
            ),
        )

    def says_the_same(self, verdict: Verdict | None) -> bool:
        """Whether writing it would change nothing but the moment."""
        return verdict is not None and (
            (self.recording, self.recording_until, self.lead, self.lead_until, self.ready, self.explanation)
            == (
                verdict.recording,
                verdict.recording_until,
                verdict.lead,
                verdict.lead_until,
                verdict.ready,
                verdict.explanation,
            )
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """A person said that these two do not belong together. ``partner`` is a group, or ``l<id>`` for a lead."""

    conversation_id: int
    partner: str
    why: str = ""

    def write(self, tx: Tx) -> None:
        """Remember it; said again, the newer reason stands."""
        tx.execute(
            "INSERT OR REPLACE INTO refusal (conversation_id, partner, why, decided_us) VALUES (?, ?, ?, ?)",
            (self.conversation_id, self.partner, self.why, micros(tx.now)),
        )


@dataclass(frozen=True, slots=True)
class Unrefused:
    """A person changed their mind about a pair."""

    conversation_id: int
    partner: str

    def write(self, tx: Tx) -> None:
        """Forget the refusal."""
        tx.execute(
            "DELETE FROM refusal WHERE conversation_id = ? AND partner = ?", (self.conversation_id, self.partner)
        )


@dataclass(frozen=True, slots=True)
class PersonSpoke:
    """A person decided about a conversation's partners just now: what follows from it is sent without asking again."""

    conversation_id: int

    def write(self, tx: Tx) -> None:
        """Remember when."""
        tx.execute(
            "INSERT OR REPLACE INTO person_spoke (conversation_id, at_us) VALUES (?, ?)",
            (self.conversation_id, micros(tx.now)),
        )


def person_spoke(read: Reader, conversation_id: int) -> datetime | None:
    """When a person last decided about a conversation's partners; None where nobody has."""
    rows = read.rows("SELECT at_us FROM person_spoke WHERE conversation_id = ?", (conversation_id,))
    return moment(rows[0]["at_us"]) if rows else None


def disputed(read: Reader, limit: int = 1000) -> tuple[int, ...]:
    """Conversations whose match was sent, and later evidence speaks against it."""
    rows = read.rows(
        "SELECT conversation_id FROM verdict WHERE disputed = 1 ORDER BY conversation_id LIMIT ?",
        (limit,),
    )
    return tuple(row["conversation_id"] for row in rows)


def verdict(read: Reader, conversation_id: int) -> Verdict | None:
    """What the matcher thinks of a conversation; None before it has looked."""
    rows = read.rows("SELECT * FROM verdict WHERE conversation_id = ?", (conversation_id,))
    return verdict_of(rows[0]) if rows else None


def pairing(read: Reader, conversation_id: int) -> Pairing | None:
    """The conversation's recording group."""
    rows = read.rows("SELECT * FROM pairing WHERE conversation_id = ?", (conversation_id,))
    return _pairing_of(rows[0]) if rows else None


def paired_among(read: Reader, conversation_ids: Sequence[int]) -> set[int]:
    """Those of the conversations that have a recording or a lead."""
    marks = places(conversation_ids)
    rows = read.rows(
        f"SELECT conversation_id FROM pairing WHERE conversation_id IN ({marks}) "
        f"UNION SELECT conversation_id FROM lead_pairing WHERE conversation_id IN ({marks})",
        (*conversation_ids, *conversation_ids),
    )
    return {row[0] for row in rows}


def holders_of_groups(read: Reader, group_keys: Sequence[str]) -> dict[str, int]:
    """The conversations that these groups are paired with."""
    sql = f"SELECT group_key, conversation_id FROM pairing WHERE group_key IN ({places(group_keys)})"
    return {row[0]: row[1] for row in read.rows(sql, group_keys)}


def holders_of_leads(read: Reader, lead_ids: Sequence[int]) -> dict[int, int]:
    """The conversations that these leads are paired with."""
    sql = f"SELECT lead_id, conversation_id FROM lead_pairing WHERE lead_id IN ({places(lead_ids)})"
    return {row[0]: row[1] for row in read.rows(sql, lead_ids)}


def pairing_of_group(read: Reader, group_key: str) -> Pairing | None:
    """The pairing that holds this group."""
    rows = read.rows("SELECT * FROM pairing WHERE group_key = ?", (group_key,))
    return _pairing_of(rows[0]) if rows else None


def lead_pairing(read: Reader, conversation_id: int) -> LeadPairing | None:
    """The conversation's lead."""
    rows = read.rows("SELECT * FROM lead_pairing WHERE conversation_id = ?", (conversation_id,))
    return _lead_pairing_of(rows[0]) if rows else None


def pairing_of_lead(read: Reader, lead_id: int) -> LeadPairing | None:
    """The pairing that holds this lead."""
    rows = read.rows("SELECT * FROM lead_pairing WHERE lead_id = ?", (lead_id,))
    return _lead_pairing_of(rows[0]) if rows else None


def refusals_among(read: Reader, conversation_ids: Sequence[int]) -> set[tuple[int, str]]:
    """Every pair of these conversations that a person said no to, as (conversation, partner)."""
    sql = f"SELECT conversation_id, partner FROM refusal WHERE conversation_id IN ({places(conversation_ids)})"
    return {(row[0], row[1]) for row in read.rows(sql, conversation_ids)}


def refusals(read: Reader, conversation_id: int) -> dict[str, str]:
    """What a person said does not belong to this conversation: partner → why."""
    rows = read.rows("SELECT partner, why FROM refusal WHERE conversation_id = ?", (conversation_id,))
    return {row["partner"]: row["why"] for row in rows}


def verdict_of(row: Row) -> Verdict:
    """The value of a row of ``verdict``."""
    return Verdict(
        conversation_id=row["conversation_id"],
        recording=row["recording"],
        recording_until=moment(row["recording_until_us"]),
        lead=row["lead"],
        lead_until=moment(row["lead_until_us"]),
        ready=bool(row["ready"]),
        explanation=json.loads(row["explanation"]),
        decided_at=moment(row["decided_us"]),
    )


def _pairing_of(row: Row) -> Pairing:
    return Pairing(
        row["conversation_id"],
        row["group_key"],
        row["probability"],
        tuple(json.loads(row["reasons"])),
        row["decided_by"],
        row["why"],
        moment(row["decided_us"]),
    )


def _lead_pairing_of(row: Row) -> LeadPairing:
    return LeadPairing(
        row["conversation_id"],
        row["lead_id"],
        row["probability"],
        tuple(json.loads(row["reasons"])),
        row["decided_by"],
        row["why"],
        moment(row["decided_us"]),
    )

"""The call as the CRM knows it, and what the system before us left behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Row
from typing import Any, Literal

from daemon.contract import Reader, Tx
from daemon.errors import Defect
from handlers.records.rows import dumps, maybe_micros, maybe_moment, micros
from handlers.records.running import running


@dataclass(frozen=True, slots=True)
class Call:
    """What the CRM knows of a conversation.

    ``call_id`` is fixed at the first intent to send. ``delivered`` says what was in the call the CRM accepted last,
    in the words of the room that sent it. ``spoken_for`` says who knows of its delivery: callspool itself, a marker of
    the system before us, or a person who adopted what lay there.
    """

    conversation_id: int
    call_id: str | None
    fixed_at: datetime | None
    delivered_at: datetime | None
    delivered: dict[str, Any] | None
    recording_url: str | None
    spoken_for: Literal["callspool", "marker", "person"]


@dataclass(frozen=True, slots=True)
class Marker:
    """A marker found at the first start. ``delivered``: the CRM has the call already."""

    transcript: str
    delivered: bool
    recording_url: str | None
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CallIdFixed:
    """From here on the CRM knows this conversation by this id, whatever is learned."""

    conversation_id: int
    call_id: str
    at: datetime

    def write(self, tx: Tx) -> None:
        """Fix it once. Raises Defect where another id stands; an id that another call has is an IntegrityError."""
        changed = tx.execute(
            "INSERT INTO call (conversation_id, call_id, fixed_us) VALUES (?, ?, ?) ON CONFLICT (conversation_id) "
            "DO UPDATE SET call_id = excluded.call_id, fixed_us = coalesce(fixed_us, excluded.fixed_us) "
            "WHERE call_id IS NULL OR call_id = excluded.call_id",
            (self.conversation_id, self.call_id, micros(self.at)),
        )
        if not changed:
            raise Defect(f"c{self.conversation_id} is known to the CRM under another id already")


@dataclass(frozen=True, slots=True)
class CallDelivered:
    """The CRM accepted the call; ``delivered`` says what was in it."""

    conversation_id: int
    at: datetime
    delivered: dict[str, Any]
    recording_url: str | None

    def write(self, tx: Tx) -> None:
        """Put it beside the id. A recording's URL, once known, stays."""
        tx.execute(
            "INSERT INTO call (conversation_id, delivered_us, delivered, recording_url) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (conversation_id) DO UPDATE SET delivered_us = excluded.delivered_us, "
            "delivered = excluded.delivered, recording_url = coalesce(excluded.recording_url, recording_url)",
            (self.conversation_id, micros(self.at), dumps(self.delivered), self.recording_url),
        )
        tx.execute("DELETE FROM delivered_recording WHERE conversation_id = ?", (self.conversation_id,))
        for number in {entry["id"] for entry in self.delivered.get("recordings", ())}:
            tx.execute("INSERT INTO delivered_recording VALUES (?, ?)", (self.conversation_id, number))


@dataclass(frozen=True, slots=True)
class SpokenForByMarker:
    """A marker says that the system before us delivered this conversation: it is never sent again.

    ``at`` is when that was, if the marker says so; ``delivered`` is what the marker says was in it.
    """

    conversation_id: int
    at: datetime | None
    delivered: dict[str, Any]
    recording_url: str | None

    def write(self, tx: Tx) -> None:
        """Put it down; a call of our own is left as it is."""
        tx.execute(
            "INSERT INTO call (conversation_id, delivered_us, delivered, recording_url, spoken_for) "
            "VALUES (?, ?, ?, ?, 'marker') ON CONFLICT (conversation_id) DO UPDATE SET "
            "delivered_us = excluded.delivered_us, delivered = excluded.delivered, "
            "recording_url = excluded.recording_url, spoken_for = 'marker' WHERE call_id IS NULL",
            (
                self.conversation_id,
                maybe_micros(self.at) or micros(tx.now),
                dumps(self.delivered),
                self.recording_url,
            ),
        )


@dataclass(frozen=True, slots=True)
class AllAdopted:
    """A person said that everything known so far counts as delivered: none of it is sent by itself any more."""

    def write(self, tx: Tx) -> None:
        """Put it down for every conversation that was not delivered yet."""
        now_us = micros(tx.now)
        tx.execute(
            "UPDATE call SET delivered_us = ?, delivered = '{}', spoken_for = 'person' WHERE delivered_us IS NULL",
            (now_us,),
        )
        tx.execute(
            "INSERT INTO call (conversation_id, delivered_us, delivered, spoken_for) "
            "SELECT id, ?, '{}', 'person' FROM conversation WHERE true ON CONFLICT (conversation_id) DO NOTHING",
            (now_us,),
        )


@dataclass(frozen=True, slots=True)
class KnownCall:
    """We delivered the call of this transcript (SHA-256) under this id (empty: nobody tells); ``delivered``: surely."""

    transcript: str
    call_id: str
    delivered: bool

    def write(self, tx: Tx) -> None:
        """Remember it for when the transcript is read again."""
        row = (self.transcript, self.call_id, self.delivered)
        tx.execute("INSERT OR REPLACE INTO known_call VALUES (?, ?, ?)", row)


def known_call(read: Reader, sha256: str) -> KnownCall | None:
    """What witnesses outside a lost ledger said of a transcript's call."""
    rows = read.rows("SELECT * FROM known_call WHERE transcript = ?", (sha256,))
    return KnownCall(rows[0]["transcript"], rows[0]["call_id"], bool(rows[0]["delivered"])) if rows else None


@dataclass(frozen=True, slots=True)
class OldMarker:
    """A marker lies beside a transcript of this name."""

    transcript: str
    delivered: bool
    recording_url: str | None
    document: dict[str, Any]

    def write(self, tx: Tx) -> None:
        """Remember it; read again, the newer words stand."""
        tx.execute(
            "INSERT OR REPLACE INTO old_marker (transcript, delivered, recording_url, document) VALUES (?, ?, ?, ?)",
            (self.transcript, self.delivered, self.recording_url, dumps(self.document)),
        )


def call(read: Reader, conversation_id: int) -> Call | None:
    """The conversation's call; None before anything was to be sent."""
    rows = read.rows("SELECT * FROM call WHERE conversation_id = ?", (conversation_id,))
    return _call_of(rows[0]) if rows else None


def call_id_taken(read: Reader, call_id: str) -> int | None:
    """The conversation whose call has this id."""
    rows = read.rows("SELECT conversation_id FROM call WHERE call_id = ?", (call_id,))
    return rows[0]["conversation_id"] if rows else None


def delivery_counts(read: Reader) -> dict[str, int]:
    """How many calls the CRM has by us, by the system before us and by a person's word, and how many are under way."""
    delivered = running(read, "call delivered")
    return {
        "delivered": delivered["callspool"].n,
        "under_way": running(read, "call open")["callspool"].n,
        "delivered_before_us": delivered["marker"].n,
        "adopted": delivered["person"].n,
    }


def old_marker(read: Reader, transcript: str) -> Marker | None:
    """The marker of the system before us for a transcript's file name."""
    rows = read.rows("SELECT * FROM old_marker WHERE transcript = ?", (transcript,))
    if not rows:
        return None
    row = rows[0]
    return Marker(row["transcript"], bool(row["delivered"]), row["recording_url"], json.loads(row["document"]))


def _call_of(row: Row) -> Call:
    return Call(
        row["conversation_id"],
        row["call_id"],
        maybe_moment(row["fixed_us"]),
        maybe_moment(row["delivered_us"]),
        None if row["delivered"] is None else json.loads(row["delivered"]),
        row["recording_url"],
        row["spoken_for"],
    )

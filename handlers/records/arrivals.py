"""What intake learned of a file: the facts it states, and the values read back.

Every fact is an upsert, since a replanned job states it again. What was learned first stays where it must:
``registered_us`` is the moment of the first statement, from which the matcher's waits run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from daemon.contract import Reader, Tx
from daemon.errors import UnknownSubject
from handlers.model import Conversation, Lead, Recording, Turn
from handlers.records.rows import (
    dumps,
    lead_of,
    maybe_micros,
    micros,
    moment,
    newest,
    places,
    recording_of,
    speech_out,
    times_of,
    turns_of,
    turns_out,
)


@dataclass(frozen=True, slots=True)
class RecordingKnown:
    """One audio file was understood."""

    recording: Recording

    def write(self, tx: Tx) -> None:
        """Put it into ``recording``; one that joins a group already paired is paired too."""
        known = self.recording
        _upsert(
            tx,
            "recording",
            {
                "id": known.id,
                "group_key": known.group,
                "side": known.side.value,
                "name": known.name,
                "size": known.size,
                "container": known.audio.container,
                "codec": known.audio.codec,
                "sample_rate": known.audio.sample_rate,
                "channels": known.audio.channels,
                "media_s": known.audio.media_s,
                "span_s": known.audio.span_s,
                "header_s": known.audio.header_s,
                "audio_start_us": maybe_micros(known.audio.start_at),
                "audio_flags": dumps(known.audio.flags),
                "speech": speech_out(known.audio.speech),
                "heard_s": known.audio.heard_s,
                "peaks": known.audio.peaks or None,
                "start_us": maybe_micros(known.start_at),
                "start_source": None if known.start_source is None else known.start_source.value,
                "end_us": maybe_micros(known.end_at),
                "number": known.number,
                "session_id": known.session_id,
                "call_ref": known.call_ref,
                "stamp_us": maybe_micros(known.stamp),
                "recorder": known.recorder,
                "flags": dumps(known.flags),
                "registered_us": micros(known.registered_at or tx.now),
            },
        )
        tx.execute(
            "UPDATE recording SET paired = 1 WHERE id = ? AND EXISTS (SELECT 1 FROM pairing WHERE group_key = ?)",
            (known.id, known.group),
        )


@dataclass(frozen=True, slots=True)
class ConversationKnown:
    """One transcript was understood."""

    conversation: Conversation

    def write(self, tx: Tx) -> None:
        """Put it into ``conversation``."""
        known = self.conversation
        _upsert(
            tx,
            "conversation",
            {
                "id": known.id,
                "name": known.name,
                "document": dumps(known.document),
                "session_id": known.session_id,
                "start_us": maybe_micros(known.start_at),
                "start_source": None if known.start_source is None else known.start_source.value,
                "end_us": maybe_micros(known.end_at),
                "end_source": None if known.end_source is None else known.end_source.value,
                "session_us": maybe_micros(known.session_at),
                "field_start_us": maybe_micros(known.field_start_at),
                "field_end_us": maybe_micros(known.field_end_at),
                "saved_us": maybe_micros(known.saved_at),
                "number": known.number,
                "call_ref": known.call_ref,
                "room": known.room,
                "lead_expected": known.lead_expected,
                "turns": turns_out(known.turns),
                "flags": dumps(known.flags),
                "registered_us": micros(known.registered_at or tx.now),
            },
        )


@dataclass(frozen=True, slots=True)
class LeadKnown:
    """One lead was understood."""

    lead: Lead

    def write(self, tx: Tx) -> None:
        """Put it into ``lead``."""
        known = self.lead
        _upsert(
            tx,
            "lead",
            {
                "id": known.id,
                "name": known.name,
                "document": dumps(known.document),
                "stamp_us": maybe_micros(known.stamp),
                "taken_us": maybe_micros(known.taken_at),
                "session_id": known.session_id,
                "number": known.number,
                "registered_us": micros(known.registered_at or tx.now),
            },
        )


@dataclass(frozen=True, slots=True)
class ChunkKnown:
    """A chunk of a browser session, kept for the room that will join it: never a call of its own."""

    item_id: int
    session: str
    index: int

    def write(self, tx: Tx) -> None:
        """Put it into ``chunk``."""
        _upsert(
            tx,
            "chunk",
            {"id": self.item_id, "session": self.session, "chunk_index": self.index, "registered_us": micros(tx.now)},
        )


@dataclass(frozen=True, slots=True)
class SidecarKnown:
    """The document that lies beside a recording. ``stem`` is its printable path without ``.json``."""

    item_id: int
    stem: str
    document: dict[str, Any]

    def write(self, tx: Tx) -> None:
        """Put it into ``sidecar``."""
        _upsert(
            tx,
            "sidecar",
            {
                "id": self.item_id,
                "stem": self.stem,
                "document": dumps(self.document),
                "registered_us": micros(tx.now),
            },
        )


def recording(read: Reader, recording_id: int) -> Recording:
    """The recording with this id; raises UnknownSubject."""
    rows = read.rows("SELECT * FROM recording WHERE id = ?", (recording_id,))
    if not rows:
        raise UnknownSubject(f"no recording r{recording_id}")
    return recording_of(rows[0])


def is_recording(read: Reader, item_id: int) -> bool:
    """Whether the item is a recording that was understood."""
    return bool(read.rows("SELECT 1 FROM recording WHERE id = ?", (item_id,)))


def lies_on_disk(read: Reader, item_id: int) -> bool:
    """Whether a file is known to hold the item's content."""
    return bool(read.rows("SELECT 1 FROM file WHERE item_id = ? AND state = 'known'", (item_id,)))


def recordings(read: Reader, group_key: str) -> tuple[Recording, ...]:
    """The recordings of one group by id, without those that a newer version of their file replaces."""
    rows = read.rows(
        f"SELECT * FROM recording WHERE group_key = ? AND {newest('recording', 'recording')} ORDER BY id",
        (group_key,),
    )
    return tuple(recording_of(row) for row in rows)


def understood_until(read: Reader, since: datetime) -> datetime:
    """The moment up to which all that came from ``since`` on was understood; where that is not ``now``, who is near
    somebody is not known for sure, and nobody has waited for longer than until then. While a person lets nothing be
    understood, nobody waits for that."""
    return read.now if _understanding_is_paused(read) else read.known_until("intake", since)


def _understanding_is_paused(read: Reader) -> bool:
    return bool(read.rows("SELECT 1 FROM pause WHERE what IN ('all', 'collect') LIMIT 1"))


def undecided_since(read: Reader, wait: timedelta) -> datetime:
    """Since when somebody is here who may still take a partner: a file that nobody has understood or that the matcher
    has not looked at, or a conversation that it looks at again. Who came ``wait`` before that, and has none, gets none.
    """
    lines = [_FIRST_SAID.format("ready"), _FIRST_SAID.format("waiting"), _FIRST_READY.format("match")]
    if not _understanding_is_paused(read):
        lines.append(_FIRST_READY.format("intake"))
    oldest = [row["us"] for row in read.rows(" UNION ALL ".join(lines)) if row["us"] is not None]
    return min([understood_until(read, read.now - wait), *map(moment, oldest)])


_FIRST_SAID = (
    "SELECT min(registered_us) AS us FROM job JOIN conversation "
    "ON conversation.id = CAST(substr(key, length('conversation:') + 1) AS INTEGER) "
    "WHERE lane = 'match' AND key LIKE 'conversation:%' AND state = '{}'"
)
_FIRST_READY = "SELECT min(due_us) AS us FROM job WHERE lane = '{}' AND state = 'ready'"


def recording_ids_of(read: Reader, group_keys: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """``recording_ids`` of many groups; those that have none are left out."""
    rows = read.rows(
        f"SELECT group_key, id FROM recording WHERE group_key IN ({places(group_keys)}) "
        f"AND {newest('recording', 'recording')} ORDER BY id",
        group_keys,
    )
    found: dict[str, tuple[int, ...]] = {}
    for row in rows:
        found[row["group_key"]] = (*found.get(row["group_key"], ()), row["id"])
    return found


def recording_ids(read: Reader, group_key: str) -> tuple[int, ...]:
    """The ids of ``recordings``, for a fraction of their price."""
    rows = read.rows(
        f"SELECT id FROM recording WHERE group_key = ? AND {newest('recording', 'recording')} ORDER BY id",
        (group_key,),
    )
    return tuple(row["id"] for row in rows)


def conversation(read: Reader, conversation_id: int) -> Conversation:
    """The whole conversation with this id; raises UnknownSubject."""
    rows = read.rows("SELECT * FROM conversation WHERE id = ?", (conversation_id,))
    if not rows:
        raise UnknownSubject(f"no call c{conversation_id}")
    row = rows[0]
    return replace(times_of(row), document=json.loads(row["document"]), turns=turns_of(row["turns"]))


def turns(read: Reader, conversation_id: int) -> tuple[Turn, ...]:
    """Who spoke when in a conversation; empty where there is none with this id."""
    rows = read.rows("SELECT turns FROM conversation WHERE id = ?", (conversation_id,))
    return turns_of(rows[0]["turns"]) if rows else ()


def lead(read: Reader, lead_id: int) -> Lead:
    """The lead with this id; raises UnknownSubject."""
    rows = read.rows("SELECT * FROM lead WHERE id = ?", (lead_id,))
    if not rows:
        raise UnknownSubject(f"no lead l{lead_id}")
    return lead_of(rows[0])


def sidecar(read: Reader, stem: str) -> dict[str, Any] | None:
    """The newest document that lies beside the recording with this stem; None where there is none."""
    rows = read.rows("SELECT document FROM sidecar WHERE stem = ? ORDER BY id DESC LIMIT 1", (stem,))
    document: dict[str, Any] | None = json.loads(rows[0]["document"]) if rows else None
    return document


def chunk_sessions(read: Reader) -> tuple[tuple[str, int], ...]:
    """Every session that lies here in chunks with how many of them: listed as waiting."""
    rows = read.rows("SELECT session, count(*) AS n FROM chunk GROUP BY session ORDER BY session")
    return tuple((row["session"], row["n"]) for row in rows)


def replaced_by(read: Reader, conversation_id: int) -> int | None:
    """The conversation whose file replaced this one's under the same name; None where it is the newest."""
    rows = read.rows(
        "SELECT newer.id FROM item AS newer JOIN conversation ON conversation.id = newer.id "
        "WHERE newer.replaces = ? ORDER BY newer.id DESC LIMIT 1",
        (conversation_id,),
    )
    return rows[0]["id"] if rows else None


def lead_replaced(read: Reader, lead_id: int) -> bool:
    """Whether a newer version of the lead's file speaks for it."""
    return bool(
        read.rows(
            "SELECT 1 FROM item AS newer JOIN lead ON lead.id = newer.id WHERE newer.replaces = ? LIMIT 1", (lead_id,)
        )
    )


def replaces(read: Reader, conversation_id: int) -> int | None:
    """The conversation that this one is the newer version of; None where it is the first."""
    rows = read.rows(
        "SELECT conversation.id FROM item JOIN conversation ON conversation.id = item.replaces WHERE item.id = ?",
        (conversation_id,),
    )
    return rows[0]["id"] if rows else None


def _upsert(tx: Tx, table: str, values: dict[str, object]) -> None:
    """Insert, or update all but the id and the moment of registration."""
    columns = list(values)
    kept: Sequence[str] = [c for c in columns if c not in ("id", "registered_us")]
    tx.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
        f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in kept)}",
        tuple(values.values()),
    )

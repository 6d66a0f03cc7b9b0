"""A transcript's document and name → Conversation.

Nothing in a transcript is certain: fields may be missing, naive, of the wrong type, or contradict each other. Whatever
is legible is kept as evidence beside what was chosen, and contradictions become flags.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from daemon.contract import Item
from handlers.intake import fields, phones, times
from handlers.intake.documents import Document
from handlers.intake.names import Evidence
from handlers.model import Conversation, TimeSource, Turn

DISAGREE = timedelta(hours=1)
"""Start field and session id apart by more than this: one of them is in another zone, or wrong."""

Chosen = tuple[datetime | None, TimeSource | None]


@dataclass(frozen=True, slots=True)
class Reading:
    """How this installation reads: the zone of naive times (None is the host's) and the region of bare numbers."""

    zone: times.Zone = None
    region: str = ""


def conversation(item: Item, document: Document, said: Evidence, reading: Reading) -> Conversation:
    """The conversation in a transcript; never raises for what the document holds."""
    body, zone = document.fields, reading.zone
    session_id = fields.identifier(body.get("session_id")) or said.session
    session_at = times.session_second(session_id, zone)
    field_start, field_end = times.parse(body.get("start_time"), zone), times.parse(body.get("end_time"), zone)
    saved_at = name_time(said.stamp, zone)
    turns = _turns(body.get("conversation_items"), zone)
    stamped = [turn.at for turn in turns if turn.at is not None]
    start = _first(
        (field_start, TimeSource.FIELD),
        (session_at, TimeSource.SESSION),
        (min(stamped, default=None), TimeSource.ITEM),
        (saved_at, TimeSource.NAME),
    )
    end = _end(start[0], field_end, max(stamped, default=None))
    return Conversation(
        id=item.id,
        name=item.name,
        document=body,
        session_id=session_id,
        start_at=start[0],
        start_source=start[1],
        end_at=end[0],
        end_source=end[1],
        session_at=session_at,
        field_start_at=field_start,
        field_end_at=field_end,
        saved_at=saved_at,
        number=caller(body, reading.region) or phones.e164(said.number, reading.region),
        call_ref=fields.find(body, fields.CALL_KEYS, fields.identifier) or said.call,
        room=fields.find(body, fields.ROOM_KEYS, fields.identifier) or said.room,
        lead_expected=_boolean(body.get("lead_generated")),
        turns=turns,
        registered_at=item.first_seen_at,
        flags=_flags(item, document, start[0], session_at, field_start, field_end),
    )


def caller(body: dict[str, Any], region: str) -> str | None:
    """The customer's number in E.164, wherever the document has it."""
    keys = fields.CALLED_KEYS if fields.outbound(body) else fields.CALLER_KEYS
    return fields.find(body, keys, lambda value: phones.e164(value, region))


def name_time(text: str | None, zone: times.Zone) -> datetime | None:
    """A time out of a name, as ``names`` normalised it."""
    return None if text is None else times.anchored(datetime.fromisoformat(text), zone)


def _first(*pieces: Chosen) -> Chosen:
    """The best piece there is."""
    return next((piece for piece in pieces if piece[0] is not None), (None, None))


def _end(start: datetime | None, field_end: datetime | None, last: datetime | None) -> Chosen:
    """``end_time``, else the last item; an end before the start is none."""
    pieces: tuple[Chosen, ...] = ((field_end, TimeSource.FIELD), (last, TimeSource.ITEM))
    return _first(*(piece for piece in pieces if piece[0] is not None and (start is None or piece[0] >= start)))


def _turns(items: object, zone: times.Zone) -> tuple[Turn, ...]:
    """Who spoke when; entries that are no objects are no turns."""
    if not isinstance(items, list):
        return ()
    return tuple(
        Turn(fields.identifier(entry.get("role")) or "", times.parse(entry.get("timestamp"), zone))
        for entry in items
        if isinstance(entry, dict)
    )


def _boolean(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _flags(
    item: Item,
    document: Document,
    start: datetime | None,
    session_at: datetime | None,
    field_start: datetime | None,
    field_end: datetime | None,
) -> tuple[str, ...]:
    flags = set(item.flags)
    if field_start is not None and session_at is not None and abs(field_start - session_at) > DISAGREE:
        flags.add("times_disagree")
    if start is not None and field_end is not None and field_end < start:
        flags.add("ends_before_start")
    if document.doubled:
        flags.add("doubled_keys")
    return tuple(sorted(flags))

"""Between the domain's rows and its values: the one place that knows both spellings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from sqlite3 import Row
from typing import Any, Generic, TypeVar

from handlers.model import AudioInfo, Conversation, Lead, Recording, Side, TimeSource, Turn

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(at: datetime) -> int:
    """Microseconds since the epoch of an aware datetime, exactly (no float in between)."""
    delta = at - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def maybe_micros(at: datetime | None) -> int | None:
    """``micros``, or None for None."""
    return None if at is None else micros(at)


def moment(us: int) -> datetime:
    """The aware UTC datetime of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=us)


def maybe_moment(us: int | None) -> datetime | None:
    """``moment``, or None for None."""
    return None if us is None else moment(us)


def dumps(value: object) -> str:
    """JSON as the ledger keeps it: compact, and pure ASCII so that lone surrogates survive."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


def newest(table: str, row: str) -> str:
    """The condition that no newer version of a row's file was understood; ``row`` is what the query calls the row."""
    return (
        f"NOT EXISTS (SELECT 1 FROM item AS newer JOIN {table} AS later ON later.id = newer.id "
        f"WHERE newer.replaces = {row}.id)"
    )


def places(values: Sequence[object]) -> str:
    """``?, ?, ?`` for an IN list."""
    return ", ".join("?" * len(values))


T = TypeVar("T")

MOST_KEPT = 20_000
"""Values kept: about 20 MB of conversations."""


class Kept(Generic[T]):
    """Values made of rows, used again as long as their rows stay as they were."""

    def __init__(self, make: Callable[[Row], T]) -> None:
        self._make = make
        self._known: dict[int, tuple[tuple[object, ...], T]] = {}

    def value(self, row: Row) -> T:
        """The value of a row that has an ``id`` in front: the very same object where nothing changed."""
        columns = tuple(row)
        known = self._known.get(row[0])
        if known is None or known[0] != columns:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            known = self._known[row[0]] = (columns, self._make(row))
        return known[1]


def recording_of(row: Row) -> Recording:
    """The value of a row of ``recording``."""
    audio = AudioInfo(
        container=row["container"],
        codec=row["codec"],
        sample_rate=row["sample_rate"],
        channels=row["channels"],
        media_s=row["media_s"],
        span_s=row["span_s"],
        header_s=row["header_s"],
        start_at=maybe_moment(row["audio_start_us"]),
        flags=tuple(json.loads(row["audio_flags"])),
        speech=speech_of(row["speech"]),
        heard_s=row["heard_s"],
        peaks=row["peaks"] or "",
    )
    return Recording(
        id=row["id"],
        name=row["name"],
        group=row["group_key"],
        side=Side(row["side"]),
        size=row["size"],
        audio=audio,
        start_at=maybe_moment(row["start_us"]),
        start_source=_source(row["start_source"]),
        number=row["number"],
        session_id=row["session_id"],
        call_ref=row["call_ref"],
        stamp=maybe_moment(row["stamp_us"]),
        registered_at=moment(row["registered_us"]),
        flags=tuple(json.loads(row["flags"])),
        recorder=row["recorder"],
    )


def speech_of(text: str | None) -> tuple[tuple[float, float], ...] | None:
    """The stretches of speech as ``speech_out`` wrote them."""
    return None if text is None else tuple((first, last) for first, last in json.loads(text))


def speech_out(speech: Sequence[tuple[float, float]] | None) -> str | None:
    """``[[first_s, last_s], …]``."""
    return None if speech is None else dumps(speech)


CONVERSATION_TIMES = (
    "id, name, session_id, start_us, start_source, end_us, end_source, session_us, field_start_us, field_end_us, "
    "saved_us, number, call_ref, room, lead_expected, flags, registered_us"
)
"""A conversation without what was said: all the matcher looks at, and a fraction of the bytes."""


def times_of(row: Row) -> Conversation:
    """The value of a row of ``CONVERSATION_TIMES``: ``document`` and ``turns`` are left empty."""
    expected = row["lead_expected"]
    return Conversation(
        id=row["id"],
        name=row["name"],
        document={},
        session_id=row["session_id"],
        start_at=maybe_moment(row["start_us"]),
        start_source=_source(row["start_source"]),
        end_at=maybe_moment(row["end_us"]),
        end_source=_source(row["end_source"]),
        session_at=maybe_moment(row["session_us"]),
        field_start_at=maybe_moment(row["field_start_us"]),
        field_end_at=maybe_moment(row["field_end_us"]),
        saved_at=maybe_moment(row["saved_us"]),
        number=row["number"],
        call_ref=row["call_ref"],
        room=row["room"],
        lead_expected=None if expected is None else bool(expected),
        registered_at=moment(row["registered_us"]),
        flags=tuple(json.loads(row["flags"])),
    )


def turns_of(text: str) -> tuple[Turn, ...]:
    """The lines of a conversation as ``turns_out`` wrote them."""
    return tuple(Turn(role, maybe_moment(us)) for role, us in json.loads(text))


def turns_out(turns: Sequence[Turn]) -> str:
    """``[[role, microseconds or null], …]``."""
    return dumps([[turn.role, maybe_micros(turn.at)] for turn in turns])


def lead_of(row: Row) -> Lead:
    """The value of a row of ``lead``."""
    return _lead(row, json.loads(row["document"]))


LEAD_TIMES = "id, name, stamp_us, taken_us, session_id, number, registered_us"
"""A lead without what it says: all the matcher looks at."""


def lead_times_of(row: Row) -> Lead:
    """The value of a row of ``LEAD_TIMES``: ``document`` is left empty."""
    return _lead(row, {})


def _lead(row: Row, document: dict[str, Any]) -> Lead:
    return Lead(
        id=row["id"],
        name=row["name"],
        document=document,
        stamp=maybe_moment(row["stamp_us"]),
        taken_at=maybe_moment(row["taken_us"]),
        session_id=row["session_id"],
        number=row["number"],
        registered_at=moment(row["registered_us"]),
    )


def _source(text: str | None) -> TimeSource | None:
    return None if text is None else TimeSource(text)

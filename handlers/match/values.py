"""What the matcher looks at: a call's recordings as one, and a conversation's times. Whole milliseconds since the
epoch, so that shifting every clock alike changes nothing, not even by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from handlers.match.turns import Heard, Line, role_of
from handlers.model import Conversation, Recording, Side, TimeSource, Turn
from handlers.records.lessons import Anchor

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)

CONTRADICTION_MS = 60_000
"""Times of one transcript that lie further apart cannot all be true."""

CUT_SHORT = frozenset({"truncated", "no_end"})
"""Flags of a file whose recorder did not end it."""


def ms_of(at: datetime) -> int:
    """Whole milliseconds since the epoch."""
    return (at - EPOCH) // MS


def maybe_ms(at: datetime | None) -> int | None:
    """``ms_of``, or None for None."""
    return None if at is None else (at - EPOCH) // MS


def moment_of(ms: int) -> datetime:
    """The moment of milliseconds since the epoch."""
    return EPOCH + ms * MS


@dataclass(slots=True)
class Group:
    """The recordings of one call as one: its sides share a key, a mixed file stands alone.

    ``start_ms`` is the earliest start its best clock names, ``length_ms`` from there to the latest end. ``by_mtime``:
    the start is a guess out of when the file was last written. ``cut_short``: a recorder did not end its file.
    """

    key: str
    recordings: tuple[Recording, ...]
    start_ms: int | None
    length_ms: int
    by_mtime: bool = False
    cut_short: bool = False
    recorder: str = ""
    number: str | None = None
    session_ids: frozenset[str] = frozenset()
    call_refs: frozenset[str] = frozenset()
    stamps: frozenset[datetime] = frozenset()
    registered_ms: int = 0
    _heard: Heard | None = None
    _listened: bool = False

    @classmethod
    def of(cls, recordings: Sequence[Recording]) -> Group:
        """The group of these recordings, which share one key."""
        timed = [r for r in recordings if r.start_at is not None and r.start_source is not TimeSource.FILE]
        by_mtime = not timed
        known = timed or [r for r in recordings if r.start_at is not None]
        starts = [(maybe_ms(r.start_at) or 0, r) for r in known]
        first = min(starts, key=lambda start: (start[0], start[1].id), default=None)
        ends = [start + round(r.audio.span_s * 1000) for start, r in starts]
        numbers = {r.number for r in recordings if r.number is not None}
        return cls(
            key=recordings[0].group,
            recordings=tuple(recordings),
            start_ms=None if first is None else first[0],
            length_ms=round(recordings[0].audio.span_s * 1000) if first is None else max(ends) - first[0],
            by_mtime=by_mtime,
            cut_short=any(CUT_SHORT & {*r.audio.flags, *r.flags} for r in recordings),
            recorder=recordings[0].recorder if first is None else first[1].recorder,
            number=numbers.pop() if len(numbers) == 1 else None,
            session_ids=frozenset(r.session_id for r in recordings if r.session_id is not None),
            call_refs=frozenset(r.call_ref for r in recordings if r.call_ref is not None),
            stamps=frozenset(r.stamp for r in recordings if r.stamp is not None),
            registered_ms=min((ms_of(r.registered_at) for r in recordings if r.registered_at is not None), default=0),
        )

    @property
    def whole(self) -> bool:
        """Whether no other side is to be expected."""
        sides = {recording.side for recording in self.recordings}
        return Side.MIXED in sides or sides >= {Side.AGENT, Side.CUSTOMER}

    @property
    def registered_at(self) -> datetime:
        """When its first file was registered."""
        return min(r.registered_at for r in self.recordings if r.registered_at is not None)

    def heard(self) -> Heard | None:
        """What is heard of either party, made when first asked for; None where nothing is to be told."""
        if not self._listened:
            self._listened = True
            self._heard = _heard(self)
        return self._heard


def _heard(group: Group) -> Heard | None:
    """The parties' speech on the group's clock: of a mixed recording both, of a side its own."""
    if group.start_ms is None:
        return None
    agent: list[tuple[int, int]] = []
    caller: list[tuple[int, int]] = []
    heard_ms = 0
    for recording in group.recordings:
        if recording.audio.speech is None:
            continue
        begun_ms = 0 if recording.start_at is None else ms_of(recording.start_at) - group.start_ms
        spans = [(begun_ms + round(a * 1000), begun_ms + round(b * 1000)) for a, b in recording.audio.speech]
        agent += spans if recording.side is not Side.CUSTOMER else []
        caller += spans if recording.side is not Side.AGENT else []
        heard_ms = max(heard_ms, begun_ms + round(recording.audio.heard_s * 1000))
    return Heard.of(sorted(agent), sorted(caller), heard_ms)


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a conversation's times, each with what it is."""

    start_ms: int | None
    start_anchor: Anchor
    end_ms: int | None
    end_anchor: Anchor


@dataclass(slots=True)
class Told:
    """What a conversation tells of itself. ``readings``: one, or two where its times contradict one another.

    ``lines`` are its stamped lines, in order; they are loaded when they are needed.
    """

    id: int
    readings: tuple[Reading, ...]
    doubtful: bool = False
    number: str | None = None
    call_ref: str | None = None
    session_id: str | None = None
    room: str | None = None
    saved_at: datetime | None = None
    lead_expected: bool | None = None
    registered_ms: int = 0
    lines: tuple[Line, ...] | None = field(default=None)

    @classmethod
    def of(cls, conversation: Conversation) -> Told:
        """What this conversation tells; its lines too, where it holds them."""
        doubtful = contradicts(conversation)
        return cls(
            id=conversation.id,
            readings=_readings(conversation, doubtful=doubtful),
            doubtful=doubtful,
            number=conversation.number,
            call_ref=conversation.call_ref,
            session_id=conversation.session_id,
            room=conversation.room,
            saved_at=conversation.saved_at,
            lead_expected=conversation.lead_expected,
            registered_ms=0 if conversation.registered_at is None else ms_of(conversation.registered_at),
            lines=lines_of(conversation.turns) if conversation.turns else None,
        )

    @property
    def refs(self) -> tuple[str, ...]:
        """Its ids. What one producer calls a session is another's call id or room, so they are compared together."""
        return tuple(ref for ref in (self.call_ref, self.session_id, self.room) if ref is not None)

    @property
    def about_ms(self) -> int | None:
        """The time it is looked for at: its start, else its end."""
        for reading in self.readings:
            if reading.start_ms is not None:
                return reading.start_ms
        return next((reading.end_ms for reading in self.readings if reading.end_ms is not None), None)


def lines_of(turns: Sequence[Turn]) -> tuple[Line, ...]:
    """The stamped lines of either party, in order of time."""
    told = [
        (role, ms_of(turn.at)) for turn in turns if turn.at is not None and (role := role_of(turn.role)) is not None
    ]
    return tuple(sorted(told, key=lambda line: line[1]))


def contradicts(conversation: Conversation) -> bool:
    """Whether the conversation's own times cannot all be true."""
    starts = [conversation.session_at, conversation.field_start_at]
    if conversation.start_source in (TimeSource.ITEM, TimeSource.FIELD, TimeSource.SESSION):
        starts.append(conversation.start_at)
    known = [ms_of(at) for at in starts if at is not None]
    if len(known) > 1 and max(known) - min(known) > CONTRADICTION_MS:
        return True
    end, saved = maybe_ms(conversation.end_at), maybe_ms(conversation.saved_at)
    if end is not None and saved is not None and end - saved > CONTRADICTION_MS:
        return True
    return bool(known) and end is not None and end < min(known)


_ANCHORS: dict[TimeSource | None, Anchor] = {
    TimeSource.FIELD: "field",
    TimeSource.SESSION: "session",
    TimeSource.ITEM: "item",
}


def _readings(conversation: Conversation, *, doubtful: bool) -> tuple[Reading, ...]:
    """One reading by the best pieces, or two where fields and lines come from one clock, names from another."""
    end = _end(conversation)
    if not doubtful:
        start_ms = maybe_ms(conversation.start_at) if conversation.start_source in _ANCHORS else None
        return (Reading(start_ms, _ANCHORS.get(conversation.start_source, "field"), *end),)
    item = conversation.start_at if conversation.start_source is TimeSource.ITEM else None
    told = Reading(
        maybe_ms(conversation.field_start_at or item),
        "item" if conversation.field_start_at is None else "field",
        maybe_ms(conversation.end_at),
        _ANCHORS.get(conversation.end_source, "field"),
    )
    named = Reading(maybe_ms(conversation.session_at), "session", maybe_ms(conversation.saved_at), "name")
    return tuple(reading for reading in (told, named) if reading.start_ms is not None)


def _end(conversation: Conversation) -> tuple[int | None, Anchor]:
    """When it ended: the field, else the last line, else when it was saved."""
    if conversation.end_at is not None:
        return ms_of(conversation.end_at), _ANCHORS.get(conversation.end_source, "field")
    return maybe_ms(conversation.saved_at), "name"

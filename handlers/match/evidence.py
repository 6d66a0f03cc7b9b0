"""What speaks for or against two files belonging to one call.

``weigh_recording`` and ``weigh_lead`` look at one pair and return an ``Evidence``: named terms that a person can read,
how strongly the pair may claim to belong together, and how strongly it stands in the way of others. Both are pure and
look at nothing but the pair; who wins is decided in ``assign``. Terms hold offsets in seconds and never a number,
a name or an id.

The tolerances are those of one deployment (recording from 06:48:22, session from 06:48:24, last word at 06:48:59,
saved at 06:49:07) widened to what recorders of the field are known to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Literal

from handlers.model import Conversation, Lead, Recording, Side, TimeSource

START_CLOSE_S = 5.0
"""A recorder starts with the session: seconds before it on the telephone line, seconds after it as a participant."""

START_LOOSE_S = 15.0
"""Recorders that wait for an answer, or start at the first ring, were seen this far off: good only without rivals."""

FIRST_LINE_S = 30.0
"""Where only the first line of a conversation is stamped, the recorder may have run this long before anybody spoke."""

END_EARLY_S = 5.0
"""A recorder stops at hang-up; a session is seen to end up to this much later."""

END_CLOSE_S = 30.0
"""A caller hangs up within half a minute after the agent's last word."""

END_LOOSE_S = 120.0
"""Recorders were seen to finish 1 to 120 s after the transcript was saved: good only without rivals."""

SAVE_LAG_S = 60.0
"""A transcript is saved seconds after the last word; used where nothing else says when that was."""

FLUSH_S = 30.0
"""A file's mtime is its last flush, later than its last sample."""

CONTRADICTION_S = 60.0
"""Times of one transcript that lie further apart cannot all be true."""

WILD_S = 26 * 3600.0
"""Two clocks in any two time zones differ by at most 26 h (UTC-12 to UTC+14): more is no mistake of zones."""

LEAD_EARLY_S = 120.0
"""A lead is taken near the end of the call, at the earliest this long before it."""

LEAD_LATE_S = 60.0
"""A lead is written at the latest this long after its transcript."""


class Strength(IntEnum):
    """How strongly a pair claims to belong together. Higher is decided first."""

    WEAK = 1  # start or end fits, or both nearly do: good enough only for a pair that stands alone
    TIME = 2  # start and end both fit closely
    NUMBER = 3  # the caller's number, and the two overlap
    NUMBER_AND_TIME = 4  # the caller's number (or a stamp of a whole second), and start and end fit
    ID = 5  # an id, or a stamp finer than a second, that both carry


Says = Literal["equal", "unequal", "unknown", "fits", "nearly fits", "misfits", "refused", "contradicts itself"]


@dataclass(frozen=True, slots=True)
class Term:
    """One piece of evidence. ``seconds`` is the offset seen: the partner's time less the conversation's."""

    name: str
    says: Says
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.says}" if self.seconds is None else f"{self.name} {self.seconds:+.1f} s"

    def out(self) -> dict[str, Any]:
        """The term as the explanation keeps it."""
        known = {"name": self.name, "says": self.says}
        return known if self.seconds is None else {**known, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is to be said of one pair.

    ``strength`` is what the pair may win as, None if the two cannot belong together. ``rivalry`` is what it counts as
    when others ask whether they are alone: doubt weakens a claim, not an objection, so it is never less.
    """

    terms: tuple[Term, ...]
    strength: Strength | None
    rivalry: Strength | None

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks for the pair, in words."""
        return tuple(str(term) for term in self.terms if term.says in ("equal", "fits", "nearly fits"))

    @property
    def distance_s(self) -> float:
        """Sum of the offsets, for listing the closest first. Never decides anything."""
        return sum(abs(term.seconds) for term in self.terms if term.seconds is not None)


@dataclass(frozen=True, slots=True)
class Group:
    """The recordings of one call as one: its sides share a key, a mixed file stands alone.

    ``start_at`` is the earliest start that is better than a file's mtime; ``end_at`` the latest end. ``by_mtime``:
    only mtimes are known, so that ``end_at`` is when the file was last written.
    """

    key: str
    recordings: tuple[Recording, ...]
    start_at: datetime | None
    end_at: datetime | None
    by_mtime: bool
    number: str | None
    session_ids: frozenset[str]
    call_refs: frozenset[str]
    stamps: frozenset[datetime]

    @classmethod
    def of(cls, recordings: Sequence[Recording]) -> Group:
        """The group of these recordings, which share one key."""
        timed = [r for r in recordings if r.start_at is not None and r.start_source is not TimeSource.FILE]
        by_mtime = not timed
        ends = [r.end_at for r in (timed or recordings) if r.end_at is not None]
        numbers = {r.number for r in recordings if r.number is not None}
        return cls(
            key=recordings[0].group,
            recordings=tuple(recordings),
            start_at=min((r.start_at for r in timed if r.start_at is not None), default=None),
            end_at=max(ends, default=None),
            by_mtime=by_mtime,
            number=numbers.pop() if len(numbers) == 1 else None,
            session_ids=frozenset(r.session_id for r in recordings if r.session_id is not None),
            call_refs=frozenset(r.call_ref for r in recordings if r.call_ref is not None),
            stamps=frozenset(r.stamp for r in recordings if r.stamp is not None),
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


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a conversation's times. Without contradictions there is one reading, with all of them.

    ``starts`` are (moment, true only for a first line); ``end`` is when it ended, ``saved`` when it was written.
    """

    starts: tuple[tuple[datetime, bool], ...]
    end: datetime | None
    saved: datetime | None

    @property
    def last(self) -> datetime | None:
        """The latest sign of life."""
        return max((at for at in (self.end, self.saved) if at is not None), default=None)


def readings(conversation: Conversation) -> tuple[Reading, ...]:
    """The ways to read a conversation's times: one, or two where they contradict one another."""
    field = [(conversation.field_start_at, False)]
    if conversation.start_source is TimeSource.ITEM:
        field.append((conversation.start_at, True))
    told = tuple((at, line) for at, line in field if at is not None)
    session = () if conversation.session_at is None else ((conversation.session_at, False),)
    if not contradicts(conversation):
        return (Reading(session + told, conversation.end_at, _saved(conversation)),)
    # Fields and lines come from one clock, the naive stamps of session id and file name from another.
    split = (Reading(told, conversation.end_at, None), Reading(session, None, conversation.saved_at))
    return tuple(reading for reading in split if reading.starts)


@dataclass(frozen=True, slots=True)
class Times:
    """A conversation's times, read once for all its pairs. ``doubtful``: they contradict one another."""

    readings: tuple[Reading, ...]
    doubtful: bool

    @classmethod
    def of(cls, conversation: Conversation) -> Times:
        """The times of this conversation."""
        return cls(readings(conversation), contradicts(conversation))


def _saved(conversation: Conversation) -> datetime | None:
    """The saved stamp as a sign of the end: one that came long after the end is none."""
    if conversation.saved_at is None or conversation.end_at is None:
        return conversation.saved_at
    return min(conversation.saved_at, conversation.end_at + timedelta(seconds=SAVE_LAG_S))


def contradicts(conversation: Conversation) -> bool:
    """Whether the conversation's own times cannot all be true."""
    starts = [conversation.session_at, conversation.field_start_at]
    if conversation.start_source in (TimeSource.ITEM, TimeSource.FIELD, TimeSource.SESSION):
        starts.append(conversation.start_at)
    known = [at for at in starts if at is not None]
    if len(known) > 1 and _seconds(max(known), min(known)) > CONTRADICTION_S:
        return True
    end, saved = conversation.end_at, conversation.saved_at
    if end is not None and saved is not None and _seconds(end, saved) > CONTRADICTION_S:
        return True
    return bool(known) and end is not None and end < min(known)


def weigh_recording(
    group: Group,
    conversation: Conversation,
    *,
    window: timedelta,
    offset: timedelta,
    refused: bool = False,
    times: Times | None = None,
) -> Evidence:
    """What is to be said of a recording group and a conversation.

    ``offset`` is added to the recording's times; offsets beyond ``window`` never fit. ``times`` are the
    conversation's, where they were read before.
    """
    told = times or Times.of(conversation)
    ids = _ids(
        group.call_refs,
        group.session_ids,
        conversation.call_ref,
        conversation.session_id,
        conversation.room,
    )
    stamp = _stamp(group.stamps, conversation.saved_at)
    number = _number(group.number, conversation.number)
    best = max(
        (_times(group, reading, window, offset) for reading in told.readings),
        key=lambda fit: (fit.both, fit.overlaps, fit.something, -fit.distance_s),
        default=_NO_TIMES,
    )
    terms = (*ids, stamp, number, *best.terms, *((_CONTRADICTS,) if told.doubtful else ()))
    if refused:
        return Evidence((*terms, Term("a person", "refused")), None, None)
    wild = _wild(group.start_at or group.end_at, offset, conversation)
    strength, rivalry = _strength(ids, stamp, number, best, doubtful=told.doubtful, wild=wild)
    return Evidence(terms, strength, rivalry)


def weigh_lead(
    lead: Lead, conversation: Conversation, *, refused: bool = False, times: Times | None = None
) -> Evidence:
    """What is to be said of a lead and a conversation; ``times`` as above."""
    told = times or Times.of(conversation)
    session_ids = frozenset(() if lead.session_id is None else (lead.session_id,))
    ids = _ids(frozenset(), session_ids, conversation.call_ref, conversation.session_id, conversation.room)
    stamp = _stamp(frozenset(() if lead.stamp is None else (lead.stamp,)), conversation.saved_at)
    number = _number(lead.number, conversation.number)
    taken_at = lead.taken_at or lead.stamp
    taken = min(
        (_taken(taken_at, reading) for reading in told.readings),
        key=_closeness,
        default=Term("taken", "unknown"),
    )
    terms = (*ids, stamp, number, taken, *((_CONTRADICTS,) if told.doubtful else ()))
    if refused:
        return Evidence((*terms, Term("a person", "refused")), None, None)
    promised = conversation.lead_expected is not False
    fits = taken.says == "fits" and (promised or number.says == "equal")
    during = any(_during(taken_at, reading) for reading in told.readings)
    fit = _Fit((taken,), both=fits, overlaps=during, something=False)
    wild = _wild(taken_at, timedelta(), conversation)
    strength, rivalry = _strength(ids, stamp, number, fit, doubtful=told.doubtful, wild=wild)
    return Evidence(terms, strength, rivalry)


_CONTRADICTS = Term("the transcript", "contradicts itself")
_SECOND = "stamp (whole second)"


@dataclass(frozen=True, slots=True)
class _Fit:
    """How two spans of time lie: ``both`` ends fit, they ``overlap`` for the most part, or ``something`` fits while
    nothing misfits."""

    terms: tuple[Term, ...]
    both: bool
    overlaps: bool
    something: bool

    @property
    def distance_s(self) -> float:
        return sum(abs(term.seconds) for term in self.terms if term.seconds is not None)


_NO_TIMES = _Fit((Term("start", "unknown"), Term("end", "unknown")), both=False, overlaps=False, something=False)


def _strength(
    ids: Sequence[Term], stamp: Term, number: Term, fit: _Fit, *, doubtful: bool, wild: bool
) -> tuple[Strength | None, Strength | None]:
    """What a pair may win as, and what it counts as for others."""
    same = any(term.says == "equal" for term in ids) or (stamp.says == "equal" and stamp.name != _SECOND)
    other = any(term.says == "unequal" for term in (*ids, number))
    if same:
        # An id outweighs anything, unless something as good speaks against it: then only if nobody else is there.
        return (Strength.WEAK if other or wild else Strength.ID), Strength.ID
    if other:
        return None, None
    strength = _by_time(number.says == "equal" or stamp.says == "equal", fit)
    if strength is not None and doubtful:
        lowered = {Strength.NUMBER_AND_TIME: Strength.NUMBER, Strength.TIME: Strength.WEAK}
        return lowered.get(strength, Strength.WEAK), strength
    return strength, strength


def _by_time(marked: bool, fit: _Fit) -> Strength | None:
    """The strength of a pair that no id decides. ``marked``: both carry one number, or one stamp."""
    if fit.both:
        return Strength.NUMBER_AND_TIME if marked else Strength.TIME
    if marked and (fit.overlaps or fit.something):
        return Strength.NUMBER
    return Strength.WEAK if fit.something else None


def _times(group: Group, reading: Reading, window: timedelta, offset: timedelta) -> _Fit:
    start = _start(group, reading, window, offset)
    end = _end(group, reading, window, offset)
    says = {start.says, end.says}
    return _Fit(
        (start, end),
        both=says == {"fits"},
        overlaps=_overlap(group, reading, window, offset),
        something=says not in ({"fits"}, {"unknown"}) and "misfits" not in says,
    )


def _start(group: Group, reading: Reading, window: timedelta, offset: timedelta) -> Term:
    if group.start_at is None or not reading.starts:
        return Term("start", "unknown")
    seen = []
    for at, first_line in reading.starts:
        seconds = _seconds(group.start_at + offset, at)
        # Whole seconds are floors: the truth lies up to a second later, on either side.
        low, high = seconds - _floor(at), seconds + _floor(group.start_at)
        close = (-FIRST_LINE_S if first_line else -START_CLOSE_S, START_CLOSE_S)
        loose = (-FIRST_LINE_S if first_line else -START_LOOSE_S, START_LOOSE_S)
        says = _graded(low, high, close, loose) if abs(seconds) <= window.total_seconds() else "misfits"
        seen.append(Term("start", says, seconds))
    return min(seen, key=_closeness)


def _end(group: Group, reading: Reading, window: timedelta, offset: timedelta) -> Term:
    if group.end_at is None or reading.last is None:
        return Term("end", "unknown")
    early, at = (SAVE_LAG_S, reading.last) if reading.end is None else (END_EARLY_S, reading.end)
    seconds = _seconds(group.end_at + offset, at)
    low, high = seconds - _floor(at), seconds + _floor(group.start_at)
    lag = _seconds(reading.last, at)
    flush = FLUSH_S if group.by_mtime else 0.0
    says = _graded(low, high, (-early, lag + END_CLOSE_S), (-early, lag + END_LOOSE_S + flush))
    return Term("end", says if abs(seconds) <= window.total_seconds() + lag else "misfits", seconds)


def _graded(low: float, high: float, close: tuple[float, float], loose: tuple[float, float]) -> Says:
    """How an offset between ``low`` and ``high`` seconds lies to what is usual, and to what has been seen."""
    if high >= close[0] and low <= close[1]:
        return "fits"
    return "nearly fits" if high >= loose[0] and low <= loose[1] else "misfits"


_ORDER: Mapping[Says, int] = {"fits": 0, "nearly fits": 1}


def _closeness(term: Term) -> tuple[int, float]:
    """The best of several terms comes first."""
    return _ORDER.get(term.says, 2), abs(term.seconds or 0.0)


def _overlap(group: Group, reading: Reading, window: timedelta, offset: timedelta) -> bool:
    """Whether the two share at least half of the shorter one: one caller is not in two calls at once."""
    last = reading.end or reading.saved
    if group.start_at is None or group.end_at is None or not reading.starts or last is None:
        return False
    start, begun, ended = min(at for at, _ in reading.starts), group.start_at + offset, group.end_at + offset
    if min(abs(begun - start), abs(ended - last)) > window:
        return False
    shared = _seconds(min(ended, last), max(begun, start))
    return shared > 0 and shared >= min(_seconds(ended, begun), _seconds(last, start)) / 2


def _taken(taken_at: datetime | None, reading: Reading) -> Term:
    if taken_at is None or reading.last is None:
        return Term("taken", "unknown")
    at = reading.end or reading.last
    seconds = _seconds(taken_at, at)
    fits = seconds >= -LEAD_EARLY_S and _during(taken_at, reading)
    return Term("taken", "fits" if fits else "misfits", seconds)


def _during(taken_at: datetime | None, reading: Reading) -> bool:
    """Whether a lead was taken between the start and shortly after the end."""
    if taken_at is None or reading.last is None:
        return False
    begun = not reading.starts or taken_at >= min(at for at, _ in reading.starts) - timedelta(seconds=1)
    return begun and _seconds(taken_at, reading.last) <= LEAD_LATE_S


def _ids(
    call_refs: frozenset[str],
    session_ids: frozenset[str],
    call_ref: str | None,
    session_id: str | None,
    room: str | None,
) -> tuple[Term, Term]:
    """Call id and session id. What one producer calls a session is another's call id or room, so all are compared."""
    theirs = [value for value in (call_ref, session_id, room) if value is not None]
    return (
        _id("call id", call_refs, call_ref, theirs),
        _id("session id", session_ids, session_id, theirs),
    )


def _id(name: str, ours: frozenset[str], its_own: str | None, theirs: Iterable[str]) -> Term:
    if not ours:
        return Term(name, "unknown")
    if any(value in ours for value in theirs):
        return Term(name, "equal")
    # Only ids of one make can contradict: a recorder's own numbering says nothing about somebody else's.
    if its_own is not None and any(_make(value) == _make(its_own) for value in ours):
        return Term(name, "unequal")
    return Term(name, "unknown")


_DIGITS = re.compile(r"[0-9a-f]+", re.IGNORECASE)


def _make(value: str) -> str:
    """The pattern of an id: its letters, dashes and lengths, without what changes from one call to the next."""
    return _DIGITS.sub(lambda run: str(len(run[0])), value)


def _stamp(stamps: frozenset[datetime], saved_at: datetime | None) -> Term:
    """A stamp in both names. A whole second may be shared by chance: it counts together with the times."""
    if not stamps or saved_at is None:
        return Term("stamp", "unknown")
    if saved_at not in stamps:
        return Term("stamp", "unknown")  # another stamp is another moment of perhaps the same call
    return Term(_SECOND if saved_at.microsecond == 0 else "stamp", "equal")


def _number(ours: str | None, theirs: str | None) -> Term:
    if ours is None or theirs is None:
        return Term("number", "unknown")
    return Term("number", "equal" if ours == theirs else "unequal")


def _wild(at: datetime | None, offset: timedelta, conversation: Conversation) -> bool:
    """Whether the times are so far apart that even wrong time zones cannot explain it."""
    moments = (conversation.start_at, conversation.session_at, conversation.end_at, conversation.saved_at)
    known = [moment for moment in moments if moment is not None]
    if at is None or not known:
        return False
    return min(abs(_seconds(at + offset, moment)) for moment in known) > WILD_S


def _seconds(later: datetime, earlier: datetime) -> float:
    return (later - earlier).total_seconds()


def _floor(at: datetime | None) -> float:
    """How much later the truth may lie: up to a second for a moment given in whole seconds."""
    return 1.0 if at is not None and at.microsecond == 0 else 0.0

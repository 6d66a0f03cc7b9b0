"""Neighbours out of the ledger: whom a file could belong to, of all files that are still in question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from daemon.contract import Reader
from handlers import records
from handlers.match.assign import Neighbourhood, Standing
from handlers.match.evidence import (
    CLOSE_S,
    LEAST_LOG_WEIGHT,
    TAKEN_FIRST_S,
    TAKEN_LAST_S,
    Evidence,
    Experience,
    heard_fit,
    lead_log_odds,
    listened,
    rate_of,
    weigh_lead,
    weigh_recording,
)
from handlers.match.fixed import fixed_group, fixed_lead
from handlers.match.neighbours import Source, Walked, walk
from handlers.match.offsets import NEAR_BY_MTIME_MS, NEAR_MS
from handlers.match.turns import Fit
from handlers.match.values import Group, Told, lines_of, moment_of
from handlers.model import Lead
from handlers.records import Near, Span

if TYPE_CHECKING:
    from handlers.settings import MatchSettings

MOST_KEPT = 40_000
"""Pairs whose fit is kept in memory: about 10 MB."""

LONGEST_CALL = timedelta(hours=12)
"""How long before it was taken a lead's call may have begun, where a number ties the two."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was found: the neighbourhood, and which conversations it suffices to decide, for each half of a verdict.

    ``sent_near``: somebody near has a partner that was sent with its call, and is left out of this for it.
    """

    near: Neighbourhood
    recording_judged: frozenset[int]
    lead_judged: frozenset[int]
    sent_near: bool = False


def surroundings(
    read: Reader,
    settings: MatchSettings,
    experience: Experience,
    *,
    conversation: int | None = None,
    group: str | None = None,
    lead: int | None = None,
    sent_too: bool = False,
    memory: Memory | None = None,
) -> Surroundings:
    """The surroundings of one subject: a conversation has both kinds of partner, a group or a lead is one kind.

    ``sent_too``: what was sent is in question like everything else, to see whether later evidence contradicts it.
    ``memory`` keeps what listening told from one time to the next.
    """
    book = Book(read, sent_too=sent_too)
    recordings, leads = Recordings(book, settings, experience, memory), Leads(book, settings)
    heard: Walked[str] = Walked()
    asked: Walked[int] = Walked()
    if conversation is not None:
        heard = walk(("call", conversation), recordings)
        asked = Walked() if sent_too else walk(("call", conversation), leads)
    if group is not None:
        heard = walk(("partner", group), recordings)
    if lead is not None:
        asked = walk(("partner", lead), leads)
    numbers = {number for _, number in (*heard.pairs, *asked.pairs)} | heard.judged | asked.judged
    standings = {number: book.standing(number) for number in numbers}
    for standing in standings.values():
        if standing.group is not None and standing.told.id in heard.judged | asked.judged:
            recordings.group(standing.group)
    near = Neighbourhood(
        standings,
        recordings.groups,
        leads.leads,
        heard.pairs,
        asked.pairs,
        heard.outside,
        asked.outside,
        heard.faint,
        asked.faint,
        unread=records.unread(read),
    )
    return Surroundings(near, heard.judged, asked.judged, recordings.sent_near)


@dataclass(slots=True)
class Memory:
    """What is dear to find out, kept from one job to the next: what is heard in a group, and how lines fit it.

    It holds for one ``Experience``; ``MOST_KEPT`` pairs are the neighbours of the last few thousand files.
    """

    fits: dict[tuple[str, tuple[int, ...], int], Fit | None] = field(default_factory=dict)
    groups: dict[str, tuple[tuple[int, ...], Group]] = field(default_factory=dict)

    def group(self, key: str, ids: tuple[int, ...]) -> Group | None:
        """A group that was kept, if it still has these recordings."""
        kept = self.groups.get(key)
        return kept[1] if kept is not None and kept[0] == ids else None

    def keep(self, group: Group, ids: tuple[int, ...]) -> Group:
        """Remember a group; what was kept before is dropped once it is too much."""
        if len(self.groups) >= MOST_KEPT // 20 or len(self.fits) >= MOST_KEPT:
            self.groups.clear()
            self.fits.clear()
        self.groups[group.key] = (ids, group)
        return group


@dataclass(slots=True)
class Book:
    """The conversations of the ledger, each read once. ``sent_too``: nothing sent is beyond question."""

    read: Reader
    sent_too: bool = False
    _standings: dict[int, Standing] = field(default_factory=dict)
    _refusals: dict[int, dict[str, str]] = field(default_factory=dict)

    def standing(self, number: int) -> Standing:
        """A conversation with what is beyond question about it."""
        return self._standings.get(number) or self.stand(Told.of(records.conversation_times(self.read, number)))

    def stand(self, told: Told) -> Standing:
        """The same for one that was read already."""
        found = self._standings.get(told.id)
        if found is None:
            group = fixed_group(self.read, told.id, sent_too=not self.sent_too)
            found = Standing(told, group, fixed_lead(self.read, told.id))
            self._standings[told.id] = found
        return found

    def told(self, number: int) -> Told:
        """A conversation with its lines."""
        told = self.standing(number).told
        if told.lines is None:
            told.lines = lines_of(records.turns(self.read, number))
        return told

    def refused(self, number: int, partner: str) -> bool:
        """Whether a person said no to the pair."""
        if number not in self._refusals:
            self._refusals[number] = records.refusals(self.read, number)
        return partner in self._refusals[number]


class Recordings(Source[str]):
    """Recording groups and conversations."""

    def __init__(
        self, book: Book, settings: MatchSettings, experience: Experience, memory: Memory | None = None
    ) -> None:
        self._memory = memory or Memory()
        self.groups: dict[str, Group] = {}
        self._book, self._settings, self._experience = book, settings, experience
        self._offset_ms = round(settings.offset.total_seconds() * 1000)
        self._taken: dict[str, bool] = {}
        self._rates: dict[int, float] = {}
        self._window_s = max(1.0, settings.window.total_seconds())
        self.sent_near = False

    def group(self, key: str) -> Group | None:
        """A group by its key; None where a newer version elsewhere replaces every recording of it."""
        if key not in self.groups:
            ids = records.recording_ids(self._book.read, key)
            if not ids:
                return None
            self.groups[key] = self._memory.group(key, ids) or self._memory.keep(
                Group.of(records.recordings(self._book.read, key)), ids
            )
        return self.groups[key]

    def partners(self, number: int) -> Sequence[str]:
        """Open groups around an open conversation, or with an id of its."""
        standing = self._book.standing(number)
        if standing.group is not None:
            return ()
        keys = records.groups_near(self._book.read, groups_near_call(standing.told, self._settings))
        return [key for key in keys if self._open(key)]

    def calls(self, ours: str) -> Sequence[int]:
        """Open conversations around an open group, or with an id of its."""
        group = self.group(ours)
        if group is None or not self._open(ours):
            return ()
        found = records.conversations_near(self._book.read, calls_near_group(group, self._settings))
        standings = [self._book.stand(Told.of(call)) for call in found]
        self.sent_near = self.sent_near or any(standing.group is not None for standing in standings)
        return [standing.told.id for standing in standings if standing.group is None]

    def weigh(self, ours: str, number: int) -> Evidence:
        """The evidence of one pair; only what time allows is listened to."""
        group, told = self.groups[ours], self._book.standing(number).told
        evidence = weigh_recording(
            group,
            told,
            self._experience,
            rate=self._rate(told),
            offset_ms=self._offset_ms,
            refused=self._book.refused(number, ours),
        )
        if evidence.log_share + self.log_odds(number) <= LEAST_LOG_WEIGHT or group.heard() is None:
            return evidence
        return listened(evidence, group, self._fit(group, number), self._experience)

    def _fit(self, group: Group, number: int) -> Fit | None:
        known, pair = self._memory.fits, (group.key, tuple(recording.id for recording in group.recordings), number)
        if pair not in known:
            told = self._book.told(number)
            known[pair] = heard_fit(group, told, self._experience, offset_ms=self._offset_ms)
        return known[pair]

    def log_odds(self, number: int) -> float:  # noqa: ARG002 the same for every conversation
        """As once nobody waits."""
        return self._experience.log_odds(told_waits=False, group_waits=False)

    def _rate(self, told: Told) -> float:
        """Calls a second around a conversation: close to it or in the whole window, whichever is denser."""
        if told.id not in self._rates:
            about_ms = told.about_ms
            close = 0 if about_ms is None else self._around(about_ms, CLOSE_S)
            wide = 0 if about_ms is None else self._around(about_ms, self._window_s)
            self._rates[told.id] = rate_of(close, wide, self._window_s)
        return self._rates[told.id]

    def _around(self, about_ms: int, reach_s: float) -> int:
        middle, reach, offset = moment_of(about_ms), timedelta(seconds=reach_s), self._settings.offset
        ours = Span(middle - offset - reach, middle - offset + reach)
        return records.most_around(self._book.read, Span(middle - reach, middle + reach), ours)

    def _open(self, key: str) -> bool:
        if key not in self._taken:
            held = records.pairing_of_group(self._book.read, key)
            fixed = held is not None and self._book.standing(held.conversation_id).group == key
            self.sent_near = self.sent_near or fixed
            self._taken[key] = fixed or self.group(key) is None
        return not self._taken[key]


class Leads(Source[int]):
    """Leads and conversations."""

    def __init__(self, book: Book, settings: MatchSettings) -> None:
        self.leads: dict[int, Lead] = {}
        self._book, self._settings = book, settings
        self._taken: dict[int, bool] = {}
        self._rates: dict[int, float] = {}

    def partners(self, number: int) -> Sequence[int]:
        """Open leads taken near the end of an open conversation, or with its stamp, an id or its number."""
        standing = self._book.standing(number)
        if standing.lead is not None:
            return ()
        found = records.leads_near(self._book.read, leads_near_call(standing.told))
        for lead in found:
            self.leads.setdefault(lead.id, lead)
        return [lead.id for lead in found if self._open(lead.id)]

    def calls(self, ours: int) -> Sequence[int]:
        """Open conversations that ended around an open lead, or with its stamp, an id or its number."""
        lead = self.leads.get(ours) or records.lead(self._book.read, ours)
        self.leads[ours] = lead
        if not self._open(ours) or records.lead_replaced(self._book.read, ours):
            return ()
        found = records.conversations_near(self._book.read, calls_near_lead(lead))
        return [call.id for call in found if self._book.stand(Told.of(call)).lead is None]

    def weigh(self, ours: int, number: int) -> Evidence:
        """The evidence of one pair."""
        told = self._book.standing(number).told
        refused = self._book.refused(number, f"l{ours}")
        return weigh_lead(self.leads[ours], told, rate=self._rate(told), refused=refused)

    def log_odds(self, number: int) -> float:
        """As once nobody waits."""
        return lead_log_odds(self._book.standing(number).told, told_waits=False, lead_waits=False)

    def _rate(self, told: Told) -> float:
        if told.id not in self._rates:
            end_ms = next((reading.end_ms for reading in told.readings if reading.end_ms is not None), told.about_ms)
            reach = self._settings.window
            count = 0
            if end_ms is not None:
                middle = moment_of(end_ms)
                count = records.leads_around(self._book.read, Span(middle - reach, middle + reach))
            self._rates[told.id] = rate_of(0, count, max(1.0, reach.total_seconds()))
        return self._rates[told.id]

    def _open(self, number: int) -> bool:
        if number not in self._taken:
            held = records.pairing_of_lead(self._book.read, number)
            self._taken[number] = held is not None and self._book.standing(held.conversation_id).lead == number
        return not self._taken[number]


def calls_near_group(group: Group, settings: MatchSettings) -> Near:
    """Where the conversation of a recording group is."""
    starts: tuple[Span, ...] = ()
    ends: tuple[Span, ...] = ()
    around: tuple[Span, ...] = ()
    if group.start_ms is not None:
        start_at = moment_of(group.start_ms) + settings.offset
        end_at = start_at + timedelta(milliseconds=group.length_ms)
        early, late = (timedelta(milliseconds=ms) for ms in (NEAR_BY_MTIME_MS if group.by_mtime else NEAR_MS))
        starts = (Span(start_at - late, start_at - early),)
        ends = (_around(end_at, settings.window),)
        around = (_around(start_at, settings.window), *ends)
    return Near(
        starts=starts,
        lone_ends=ends,
        number=group.number,
        around=around,
        refs=tuple(sorted(group.call_refs | group.session_ids)),
        stamps=tuple(sorted(group.stamps)),
    )


def groups_near_call(told: Told, settings: MatchSettings) -> Near:
    """Where the recordings of a conversation are: where it began; where it ended, if nothing says when it began."""
    offset, window = settings.offset, settings.window
    starts = [moment_of(reading.start_ms) - offset for reading in told.readings if reading.start_ms is not None]
    every = [moment_of(reading.end_ms) - offset for reading in told.readings if reading.end_ms is not None]
    lone = [reading for reading in told.readings if reading.start_ms is None and reading.end_ms is not None]
    return Near(
        starts=tuple(_within(at, NEAR_MS) for at in starts),
        guessed_starts=tuple(_within(at, NEAR_BY_MTIME_MS) for at in starts),
        ends=tuple(_around(moment_of(reading.end_ms or 0) - offset, window) for reading in lone),
        number=told.number,
        around=tuple(_around(at, window) for at in (*starts, *every)),
        refs=tuple(sorted(set(told.refs))),
        stamps=() if told.saved_at is None else (told.saved_at,),
    )


def calls_near_lead(lead: Lead) -> Near:
    """Where the conversation of a lead is."""
    taken_at = lead.taken_at or lead.stamp
    known = () if taken_at is None else (taken_at,)
    late, early = timedelta(seconds=-TAKEN_FIRST_S), timedelta(seconds=TAKEN_LAST_S)
    return Near(
        ends=tuple(Span(at - early, at + late) for at in known),
        number=lead.number,
        around=tuple(Span(at - LONGEST_CALL, at + timedelta(seconds=2)) for at in known),
        refs=() if lead.session_id is None else (lead.session_id,),
        stamps=() if lead.stamp is None else (lead.stamp,),
    )


def leads_near_call(told: Told) -> Near:
    """Where the lead of a conversation is."""
    ends = [moment_of(reading.end_ms) for reading in told.readings if reading.end_ms is not None]
    first, last = timedelta(seconds=TAKEN_FIRST_S), timedelta(seconds=TAKEN_LAST_S)
    spans = tuple(Span(at + first, at + last) for at in ends)
    return Near(
        ends=spans,
        number=told.number,
        around=tuple(Span(span.first - LONGEST_CALL, span.last) for span in spans),
        refs=tuple(sorted(set(told.refs))),
        stamps=() if told.saved_at is None else (told.saved_at,),
    )


def _within(at: datetime, bounds_ms: tuple[int, int]) -> Span:
    return Span(at + timedelta(milliseconds=bounds_ms[0]), at + timedelta(milliseconds=bounds_ms[1]))


def _around(at: datetime, reach: timedelta) -> Span:
    return Span(at - reach, at + reach)

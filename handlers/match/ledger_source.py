"""Neighbours out of the ledger: whom a file could belong to, of all files that are still in question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from daemon.contract import Reader
from handlers import records
from handlers.match.assign import Neighbourhood, Standing
from handlers.match.book import Book, Memory, Remembered, once
from handlers.match.evidence import (
    CLOSE_S,
    LEAST_LOG_WEIGHT,
    Evidence,
    Experience,
    heard_fit,
    listened,
    rate_of,
    times_share,
    weigh_recording,
)
from handlers.match.lead_evidence import TAKEN_FIRST_S, TAKEN_LAST_S, lead_log_odds, weigh_lead
from handlers.match.neighbours import Source, Walked, walk
from handlers.match.offsets import NEAR_BY_MTIME_MS, NEAR_MS
from handlers.match.turns import Fit
from handlers.match.values import Group, Told, moment_of
from handlers.model import Lead
from handlers.records import Near, Span

if TYPE_CHECKING:
    from handlers.settings import MatchSettings

LEAD_CALLS = 8
"""Conversations a walk for leads expands: minutes of a call may hold its lead, so that a crowd's walk would never end,
and what shares no stamp, id or number in a crowd is held anyway."""

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
    faint_too: bool = False,
    memory: Memory | None = None,
) -> Surroundings:
    """The surroundings of one subject: a conversation has both kinds of partner, a group or a lead is one kind.

    ``sent_too``: what was sent is in question like everything else, to see whether later evidence contradicts it.
    ``faint_too``: pairs of little weight beside others are followed as well.
    ``memory`` keeps what listening told from one time to the next.
    """
    memory = memory or Memory()
    memory.look(read)
    book = Book(read, memory, sent_too=sent_too)
    recordings, leads = Recordings(book, settings, experience), Leads(book, settings)
    heard: Walked[str] = Walked()
    asked: Walked[int] = Walked()
    if conversation is not None:
        heard = walk(("call", conversation), recordings, faint_too=faint_too)
        asked = Walked() if sent_too else walk(("call", conversation), leads, LEAD_CALLS, faint_too=faint_too)
    if group is not None:
        heard = walk(("partner", group), recordings, faint_too=faint_too)
    if lead is not None:
        asked = walk(("partner", lead), leads, LEAD_CALLS, faint_too=faint_too)
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
        understood_until=records.understood_until(read, _wanted_since(standings, recordings, leads, settings)),
    )
    return Surroundings(near, heard.judged, asked.judged, recordings.sent_near)


def _wanted_since(
    standings: Mapping[int, Standing], recordings: Recordings, leads: Leads, settings: MatchSettings
) -> datetime:
    """Since when partners of any of them may have come: the wait is as long the other way."""
    met = [moment_of(standing.told.registered_ms) for standing in standings.values()]
    met += [group.registered_at for group in recordings.groups.values()]
    met += [lead.registered_at for lead in leads.leads.values() if lead.registered_at is not None]
    return min(met, default=datetime.max.replace(tzinfo=UTC)) - settings.wait


class Recordings(Source[str]):
    """Recording groups and conversations."""

    def __init__(self, book: Book, settings: MatchSettings, experience: Experience) -> None:
        self._met: dict[str, Remembered] = {}
        self.sent_near = False
        self._memory, self._nearby = book.memory, book.memory.nearby
        self._book, self._settings, self._experience = book, settings, experience
        self._offset_ms = round(settings.offset.total_seconds() * 1000)
        self._open: dict[str, bool] = {}
        self._rates: dict[int, float] = {}
        self._window_s = max(1.0, settings.window.total_seconds())

    @property
    def groups(self) -> dict[str, Group]:
        """The groups that were met, by their keys."""
        return {key: kept.group for key, kept in self._met.items()}

    def group(self, key: str) -> Group | None:
        """A group by its key; None where a newer version elsewhere replaces every recording of it."""
        return self._load(key, records.recording_ids(self._book.read, key))

    def partners(self, number: int) -> Sequence[str]:
        """Open groups around an open conversation, or with an id of its."""
        standing = self._book.standing(number)
        if standing.group is not None:
            return ()
        near = partial(groups_near_call, standing.told, self._settings)
        keys = once(self._nearby.groups, number, lambda: records.groups_near(self._book.read, near()))
        self._look_into(keys)
        return [key for key in keys if self._open[key]]

    def calls(self, ours: str) -> Sequence[int]:
        """Open conversations around an open group, or with an id of its."""
        self._look_into([ours])
        if not self._open[ours]:
            return ()
        standings = self._book.near(ours, partial(calls_near_group, self._met[ours].group, self._settings))
        self.sent_near = self.sent_near or any(standing.group is not None for standing in standings)
        return [standing.told.id for standing in standings if standing.group is None]

    def weigh(self, ours: str, number: int) -> Evidence:
        """The evidence of one pair; only what time allows is listened to."""
        kept, told = self._met[ours], self._book.standing(number).told
        group = kept.group
        share = kept.shares.get(number)
        if share is None:
            share = kept.shares[number] = times_share(group, told, self._experience, self._offset_ms)
        evidence = weigh_recording(
            group,
            told,
            self._experience,
            rate=self._rate(told),
            offset_ms=self._offset_ms,
            refused=self._book.refused(number, ours),
            share=share,
        )
        if evidence.log_share + self.log_odds(number) <= LEAST_LOG_WEIGHT or group.heard() is None:
            return evidence
        return listened(evidence, group, self._fit(kept, number), self._experience)

    def _fit(self, kept: Remembered, number: int) -> Fit | None:
        if number not in kept.fits:
            told = self._book.told(number)
            kept.fits[number] = heard_fit(kept.group, told, self._experience, offset_ms=self._offset_ms)
        return kept.fits[number]

    def log_odds(self, number: int) -> float:  # noqa: ARG002 the same for every conversation
        """As once nobody waits."""
        return self._experience.last_log_odds

    def _rate(self, told: Told) -> float:
        """Calls a second around a conversation: close to it or in the whole window, whichever is denser."""
        found = self._rates.get(told.id)
        if found is None:
            about_ms = told.about_ms
            close = 0 if about_ms is None else self._around(about_ms, CLOSE_S)
            wide = 0 if about_ms is None else self._around(about_ms, self._window_s)
            found = self._rates[told.id] = rate_of(close, wide, self._window_s)
        return found

    def _around(self, about_ms: int, reach_s: float) -> int:
        """As many calls as conversations or recordings began in that stretch, whichever are more."""
        heard = self._nearby.heard.around(self._book.read, about_ms - self._offset_ms, reach_s)
        return max(self._nearby.begun.around(self._book.read, about_ms, reach_s), heard)

    def _load(self, key: str, ids: tuple[int, ...]) -> Group | None:
        """A group of these recordings, made or remembered."""
        if key not in self._met:
            if not ids:
                return None
            self._met[key] = self._memory.group(key, ids) or self._memory.keep(
                Group.of(records.recordings(self._book.read, key)), ids
            )
        return self._met[key].group

    def _look_into(self, keys: Sequence[str]) -> None:
        """Find out of these groups which are open: still there, and nobody's beyond question."""
        new = [key for key in keys if key not in self._open]
        if not new:
            return
        members = self._nearby.members
        unread = [key for key in new if key not in members]
        if unread:
            read = records.recording_ids_of(self._book.read, unread)
            members.update({key: read.get(key, ()) for key in unread})
        holders = records.holders_of_groups(self._book.read, new)
        for key in new:
            fixed = key in holders and self._book.standing(holders[key]).group == key
            self.sent_near = self.sent_near or fixed
            self._open[key] = not fixed and self._load(key, members[key]) is not None


class Leads(Source[int]):
    """Leads and conversations."""

    def __init__(self, book: Book, settings: MatchSettings) -> None:
        self.leads: dict[int, Lead] = {}
        self._book, self._settings = book, settings
        self._open: dict[int, bool] = {}
        self._rates: dict[int, float] = {}
        self._window_s = max(1.0, settings.window.total_seconds())
        self._nearby = book.memory.nearby

    def partners(self, number: int) -> Sequence[int]:
        """Open leads taken near the end of an open conversation, or with its stamp, an id or its number."""
        standing = self._book.standing(number)
        if standing.lead is not None:
            return ()
        near, kept = partial(leads_near_call, standing.told), self._book.memory.leads
        found = once(self._nearby.leads, number, lambda: records.leads_near(self._book.read, near(), kept))
        for lead in found:
            self.leads.setdefault(lead.id, lead)
        self._look_into([lead.id for lead in found])
        return [lead.id for lead in found if self._open[lead.id]]

    def calls(self, ours: int) -> Sequence[int]:
        """Open conversations that ended around an open lead, or with its stamp, an id or its number."""
        lead = self.leads.get(ours) or records.lead(self._book.read, ours)
        self.leads[ours] = lead
        self._look_into([ours])
        if not self._open[ours] or records.lead_replaced(self._book.read, ours):
            return ()
        standings = self._book.near(ours, partial(calls_near_lead, lead))
        return [standing.told.id for standing in standings if standing.lead is None]

    def weigh(self, ours: int, number: int) -> Evidence:
        """The evidence of one pair."""
        told = self._book.standing(number).told
        refused = self._book.refused(number, f"l{ours}")
        return weigh_lead(self.leads[ours], told, rate=self._rate(told), refused=refused)

    def log_odds(self, number: int) -> float:
        """As once nobody waits."""
        return lead_log_odds(self._book.standing(number).told.lead_expected, told_waits=False, lead_waits=False)

    def _rate(self, told: Told) -> float:
        found = self._rates.get(told.id)
        if found is None:
            end_ms = next((reading.end_ms for reading in told.readings if reading.end_ms is not None), told.about_ms)
            count = 0
            if end_ms is not None:
                count = self._nearby.taken.around(self._book.read, end_ms, self._window_s)
            found = self._rates[told.id] = rate_of(0, count, self._window_s)
        return found

    def _look_into(self, numbers: Sequence[int]) -> None:
        """Find out of these leads which are nobody's beyond question."""
        new = [number for number in numbers if number not in self._open]
        if new:
            holders = records.holders_of_leads(self._book.read, new)
            for number in new:
                fixed = number in holders and self._book.standing(holders[number]).lead == number
                self._open[number] = not fixed


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

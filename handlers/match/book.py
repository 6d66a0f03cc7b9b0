"""What the matcher reads of the ledger: each conversation once a job, many at once, and what is dear to find out kept
from one job to the next.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from daemon.contract import Reader
from handlers import records
from handlers.match.assign import Standing
from handlers.match.fixed import fixed_group, fixed_lead
from handlers.match.turns import Fit
from handlers.match.values import Group, Told, lines_of, moment_of
from handlers.model import Conversation, Lead
from handlers.records import Kept, Mark, Near, Span, lead_times_of, times_of

MOST_KEPT = 100_000
"""Pairs of which is kept how they fit: about 20 MB, the neighbours of the last few thousand files in a crowd."""

MOST_GROUPS, MOST_TOLD, MOST_NEARBY = 2_000, 10_000, 10_000
"""Groups and conversations kept, and files whose neighbours are."""

COUNTED = 32
"""How seldom it is counted how much is kept: every so many looks, which meet some thousand pairs each in a crowd."""


@dataclass(slots=True)
class Remembered:
    """A group, and what was found out of it beside each conversation, by number: what their times are worth
    (``times_share``), and how the lines fit."""

    group: Group
    ids: tuple[int, ...]
    shares: dict[int, float] = field(default_factory=dict)
    fits: dict[int, Fit | None] = field(default_factory=dict)

    def forget(self) -> None:
        """Nothing is known of any pair."""
        self.shares.clear()
        self.fits.clear()


SLACK = timedelta(minutes=2)
"""Read beyond what is asked for, since the next to be asked about is near."""

WIDEST = 4
"""Stretches of what is asked for at once that are kept: who is asked about next may be months away."""


class Moments:
    """What happened when, read a stretch at a time and counted from memory. ``load`` finds the moments of a stretch, in
    microseconds and in order."""

    def __init__(self, load: Callable[[Reader, Span], Sequence[int]]) -> None:
        self._load = load
        self._span: Span | None = None
        self._found: Sequence[int] = ()

    def forget(self) -> None:
        """Something may have happened since."""
        self._span = None

    def around(self, read: Reader, middle_ms: int, reach_s: float) -> int:
        """How many within ``reach_s`` seconds to either side, both ends included."""
        middle, reach = moment_of(middle_ms), timedelta(seconds=reach_s)
        self._cover(read, Span(middle - reach, middle + reach))
        reach_us = round(reach_s * 1e6)
        first = bisect_left(self._found, middle_ms * 1000 - reach_us)
        return bisect_right(self._found, middle_ms * 1000 + reach_us, first) - first

    def _cover(self, read: Reader, span: Span) -> None:
        known = self._span
        if known is not None and known.first <= span.first and span.last <= known.last:
            return
        wanted = Span(span.first - SLACK, span.last + SLACK)
        if known is not None:
            both = Span(min(wanted.first, known.first), max(wanted.last, known.last))
            wanted = both if both.last - both.first <= WIDEST * (wanted.last - wanted.first) else wanted
        self._found = self._load(read, wanted)
        self._span = wanted


K = TypeVar("K")
V = TypeVar("V")


def once(known: dict[K, V], key: K, find: Callable[[], V]) -> V:
    """What is known of a key, found out where it is not."""
    found = known.get(key)
    if found is None:
        found = known[key] = find()
    return found


@dataclass(slots=True)
class Nearby:
    """Who is near whom and how many there are, as long as nobody arrives."""

    groups: dict[int, list[str]] = field(default_factory=dict)
    """Of a conversation."""
    members: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """The recordings of a group."""
    leads: dict[int, list[Lead]] = field(default_factory=dict)
    """Of a conversation."""
    conversations: dict[str | int, list[Conversation]] = field(default_factory=dict)
    """Of a group by its key, of a lead by its id."""
    begun: Moments = field(default_factory=lambda: Moments(records.conversation_starts))
    heard: Moments = field(default_factory=lambda: Moments(records.group_starts))
    taken: Moments = field(default_factory=lambda: Moments(records.lead_moments))

    @property
    def files(self) -> int:
        """Of how many files something is kept."""
        return len(self.groups) + len(self.members) + len(self.leads) + len(self.conversations)

    def forget(self) -> None:
        """Somebody came."""
        for kept in (self.groups, self.members, self.leads, self.conversations):
            kept.clear()
        for moments in (self.begun, self.heard, self.taken):
            moments.forget()


@dataclass(slots=True)
class Memory:
    """What is dear to find out, kept from one job to the next. What is kept of pairs holds for one ``Experience``."""

    conversations: Kept[Conversation] = field(default_factory=lambda: Kept(times_of))
    leads: Kept[Lead] = field(default_factory=lambda: Kept(lead_times_of))
    nearby: Nearby = field(default_factory=Nearby)
    _mark: Mark | None = None
    _looks: int = 0
    _groups: dict[str, Remembered] = field(default_factory=dict)
    _tolds: dict[int, Told] = field(default_factory=dict)

    def look(self, read: Reader) -> None:
        """Before anybody is looked for: what may not hold any more is forgotten, and what is too much to keep."""
        mark = records.neighbours_mark(read)
        if self._mark is None or mark.rows != self._mark.rows:
            self._groups.clear()
            self._tolds.clear()
        if self._mark is None or mark.near != self._mark.near or self.nearby.files > MOST_NEARBY:
            self.nearby.forget()
        self._mark = mark
        self._looks += 1
        if self._looks % COUNTED == 0:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Of groups those that were met first, until it is no longer too much."""
        pairs = self.pairs
        while self._groups and (pairs > MOST_KEPT or len(self._groups) > MOST_GROUPS):
            pairs -= len(self._groups.pop(next(iter(self._groups))).shares)

    @property
    def pairs(self) -> int:
        """Of how many pairs something is kept."""
        return sum(len(kept.shares) for kept in self._groups.values())

    def forget_pairs(self) -> None:
        """Something else is expected from now on."""
        for kept in self._groups.values():
            kept.forget()

    def group(self, key: str, ids: tuple[int, ...]) -> Remembered | None:
        """A group that was kept, if it still has these recordings."""
        kept = self._groups.get(key)
        return kept if kept is not None and kept.ids == ids else None

    def keep(self, group: Group, ids: tuple[int, ...]) -> Remembered:
        """Remember a group."""
        kept = self._groups[group.key] = Remembered(group, ids)
        return kept

    def told(self, conversation: Conversation) -> Told:
        """What a conversation tells, made once: where its row changed since, ``look`` has forgotten it."""
        if len(self._tolds) >= MOST_TOLD:
            self._tolds.clear()
        return once(self._tolds, conversation.id, lambda: Told.of(conversation))


@dataclass(slots=True)
class Book:
    """The conversations of the ledger, each read once. ``sent_too``: nothing sent is beyond question."""

    read: Reader
    memory: Memory
    sent_too: bool = False
    _standings: dict[int, Standing] = field(default_factory=dict)
    _refusals: set[tuple[int, str]] = field(default_factory=set)

    def standing(self, number: int) -> Standing:
        """A conversation with what is beyond question about it."""
        found = self._standings.get(number)
        if found is None:
            conversation = records.conversation_times(self.read, number, self.memory.conversations)
            [found] = self.stand([conversation])
        return found

    def stand(self, conversations: Iterable[Conversation]) -> list[Standing]:
        """The same for several that were read already."""
        tolds = [self.memory.told(conversation) for conversation in conversations]
        new = {told.id: told for told in tolds if told.id not in self._standings}
        if new:
            paired = records.paired_among(self.read, list(new))
            self._refusals |= records.refusals_among(self.read, list(new))
            for number, told in new.items():
                self._standings[number] = self._stands(told) if number in paired else Standing(told)
        return [self._standings[told.id] for told in tolds]

    def near(self, partner: str | int, where: Callable[[], Near]) -> list[Standing]:
        """The conversations near a group, by its key, or a lead, by its id."""
        kept = self.memory.conversations
        found = once(
            self.memory.nearby.conversations, partner, lambda: records.conversations_near(self.read, where(), kept)
        )
        return self.stand(found)

    def _stands(self, told: Told) -> Standing:
        """One that has a partner."""
        group = fixed_group(self.read, told.id, sent_too=not self.sent_too)
        return Standing(told, group, fixed_lead(self.read, told.id))

    def told(self, number: int) -> Told:
        """A conversation with its lines."""
        told = self.standing(number).told
        if told.lines is None:
            told.lines = lines_of(records.turns(self.read, number))
        return told

    def refused(self, number: int, partner: str) -> bool:
        """Whether a person said no to the pair."""
        return (number, partner) in self._refusals

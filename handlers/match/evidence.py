"""What speaks for or against two files belonging to one call, each piece a named term with its weight.

A pair's *share* is how much more probable what is seen is if both are one call's than if they are strangers: the
density of their distances (``offsets``) over the density of strangers' at the rate of calls around them, times what
ids, stamps and numbers say, times how their lines fit what is heard (``turns``). It says nothing of who else is there:
that is ``posterior``'s. Terms hold distances and weights (decimal logarithms) and never a number, a name or an id.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, lru_cache, partial
from typing import Any, Literal, NamedTuple

from handlers.match.offsets import Offsets, Table
from handlers.match.turns import Fit, fit
from handlers.match.values import Group, Reading, Told
from handlers.records.lessons import Lesson

IMPOSSIBLE = float("-inf")

WILD_MS = 26 * 3_600_000
"""Two clocks in any two time zones differ by at most 26 h (UTC-12 to UTC+14): more is no mistake of zones."""

SAME_ID = math.log(1e9)
"""Ids of either side that are equal by chance: never seen; one in a thousand million keeps it arithmetic."""

OTHER_ID = math.log(1e-9)
SAME_STAMP = math.log(1e7)
"""A stamp finer than a second, shared: two transcripts saved in one microsecond, at any rate of calls."""

OTHER_STAMP = math.log(1e-9)
"""A lead that carries a transcript's stamp, finer than a second, belongs to that transcript, there or not."""

OTHER_NUMBER = math.log(1e-4)
REPEATS_S = 36_000.0
"""One caller's calls come this far apart, where they come at all: what an equal number is worth is the rate of
strangers' calls over the rate of this caller's own."""

CUT_SHARE = 0.02
"""Share of recordings whose recorder died early, by files that do not say so."""

CUT_SHARE_FLAGGED = 0.6

EARLIEST_MS = 15_000
"""How long before its conversation a recorder may have begun, and died before anything was said."""

FASTEST_RATE = 1 / 3_600.0
"""Calls a second where nobody else is near: never taken for less, since a count of one is not a rate."""

Says = Literal["equal", "unequal", "fits", "nearly fits", "misfits", "refused", "contradicts itself", "seen"]


class Term(NamedTuple):
    """One piece of evidence. ``seconds`` is the distance seen, ``expected_s`` and ``spread_s`` what is usual here,
    ``log_weight`` the natural logarithm of what it is worth."""

    name: str
    says: Says
    log_weight: float = 0.0
    seconds: float | None = None
    expected_s: float | None = None
    spread_s: float | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.says}" if self.seconds is None else f"{self.name} {self.seconds:+.1f} s"

    @property
    def weight(self) -> float:
        """Decimal logarithm: +2 is a hundred times more probable together than apart."""
        return max(-99.0, round(self.log_weight / math.log(10), 2))

    def out(self) -> dict[str, Any]:
        """The term as the explanation keeps it."""
        told: dict[str, Any] = {"name": self.name, "says": self.says, "weight": self.weight}
        for key in ("seconds", "expected_s", "spread_s"):
            value = getattr(self, key)
            if value is not None:
                told[key] = round(value, 3)
        return told


class Said(NamedTuple):
    """What a pair's evidence is made of. ``lesson`` is what the pair would teach if it is one, ``heard`` how its lines
    fit where that was looked at."""

    terms: tuple[Term, ...]
    lesson: Lesson | None = None
    heard: Fit | None = None


class Evidence:
    """What is to be said of one pair. ``log_share``: see above; ``IMPOSSIBLE`` where the two cannot belong together.

    What it is made of is told when somebody asks: of a crowd's pairs hardly one in a hundred is ever asked for.
    """

    __slots__ = ("_made_of", "_said", "log_share")

    def __init__(self, log_share: float, tell: Said | Callable[..., Said], *made_of: Any) -> None:
        self.log_share = log_share
        self._said, self._made_of = tell, made_of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Evidence) and (self.log_share, self.said) == (other.log_share, other.said)

    __hash__ = None  # type: ignore[assignment]

    @property
    def said(self) -> Said:
        """Terms, lesson and fit."""
        if not isinstance(self._said, Said):
            self._said, self._made_of = self._said(*self._made_of), ()
        return self._said

    @property
    def terms(self) -> tuple[Term, ...]:
        """Each piece with its weight."""
        return self.said.terms

    @property
    def lesson(self) -> Lesson | None:
        """What the pair would teach if it is one."""
        return self.said.lesson

    @property
    def heard(self) -> Fit | None:
        """How its lines fit what is heard."""
        return self.said.heard

    @property
    def possible(self) -> bool:
        """Whether the two may belong together at all."""
        return self.log_share > IMPOSSIBLE

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks for the pair, in words."""
        return tuple(str(term) for term in self.terms if term.says in ("equal", "fits", "nearly fits"))

    @property
    def distance_s(self) -> float:
        """Sum of the distances of start and end, for listing the closest first. Never decides anything."""
        return sum(abs(t.seconds) for t in self.terms if t.seconds is not None and t.name in ("start", "end", "taken"))


@dataclass(frozen=True)
class Experience:
    """What is expected here: the distances, how long calls are (mean and spread of the logarithm of seconds), how often
    a conversation has no recording, and a recording no conversation."""

    offsets: Offsets = field(default_factory=Offsets)
    length_mean: float = math.log(75.0)
    length_spread: float = 1.1
    no_recording: float = 0.04
    no_conversation: float = 0.04

    @cached_property
    def length_density(self) -> Callable[[int], float]:
        """How probable a call of so many milliseconds is, per second: log-normal, and a tenth for any length up to two
        hours. Kept for a while, since a recording is held against everybody near it."""
        return lru_cache(maxsize=4096)(partial(_length_density, self.length_mean, self.length_spread))

    def log_odds(self, *, told_waits: bool, group_waits: bool) -> float:
        """That both files of a call are here, over that either partner is missing, as a logarithm.

        The partner of a file that still waits may be on its way: it is missing as often as not, and of the calls around
        it half may not be seen yet.
        """
        missing = 0.5 if told_waits else self.no_recording
        unclaimed = 0.5 if group_waits else self.no_conversation
        unseen = 2.0 if told_waits or group_waits else 1.0
        return math.log((1 - self.no_recording) * (1 - self.no_conversation) / (missing * unclaimed * unseen))

    @cached_property
    def last_log_odds(self) -> float:
        """The same once nobody waits any more."""
        return self.log_odds(told_waits=False, group_waits=False)


def _length_density(mean: float, spread: float, length_ms: int) -> float:
    s = max(1.0, length_ms / 1000)
    z = (math.log(s) - mean) / spread
    usual = math.exp(-0.5 * z * z) / (s * spread * 2.5066282746310002)
    return 0.9 * usual + 0.1 / (s * 8.88)


CLOSE_S = 30.0
"""Seconds to either side in which calls are counted too: a burst is dense long before ``match.window`` is full."""


def rate_of(close: int, wide: int, wide_s: float) -> float:
    """Calls a second around a call, of which ``close`` were seen within ``CLOSE_S`` seconds to either side and ``wide``
    within ``wide_s``, itself among them: whichever is denser, and half a call more, since a count of few says little.
    """
    return max(max(0, close - 1) / (2 * CLOSE_S), (max(0, wide - 1) + 0.5) / (2 * wide_s))


def weigh_recording(
    group: Group,
    told: Told,
    experience: Experience,
    *,
    rate: float,
    offset_ms: int = 0,
    refused: bool = False,
    share: float | None = None,
) -> Evidence:
    """What is to be said of a recording group and a conversation, without listening (``listened`` adds that).

    ``rate`` is the number of calls a second around them; ``offset_ms`` is added to the recording's times. ``share`` is
    the pair's ``times_share``, where it is known already.
    """
    if rate < FASTEST_RATE:
        rate = FASTEST_RATE
    if refused or marked(group, told):
        return _weighed(group, told, experience, rate, offset_ms, refused=refused)
    if share is None:
        share = times_share(group, told, experience, offset_ms)
    return Evidence(share - math.log(rate), _told_of, group, told, experience, rate, offset_ms)


def _told_of(group: Group, told: Told, experience: Experience, rate: float, offset_ms: int) -> Said:
    return _weighed(group, told, experience, rate, offset_ms, refused=False).said


def _weighed(
    group: Group, told: Told, experience: Experience, rate: float, offset_ms: int, *, refused: bool
) -> Evidence:
    """``weigh_recording`` with every term."""
    marks, log_marks, same = _marks(group, told, rate)
    if refused:
        return Evidence(IMPOSSIBLE, Said((*marks, Term("a person", "refused", IMPOSSIBLE))))
    if log_marks == IMPOSSIBLE and not same:
        terms, _, _ = _best_times(group, told, experience, rate, offset_ms)
        return Evidence(IMPOSSIBLE, Said((*terms, *marks)))
    terms, log_times, lesson = _best_times(group, told, experience, rate, offset_ms)
    if any(term.name == "number" for term in marks):
        log_times = max(log_times, _anyhow(group, told, experience, rate, offset_ms))
    if told.doubtful:
        terms = (*terms, Term("the transcript", "contradicts itself"))
    if same:
        # Whoever shares an id belongs together whatever the clocks say, unless no mistake of clocks explains it.
        wild = _wild(group, told, offset_ms)
        log_times = max(log_times, OTHER_ID / 1.5 if wild else 0.0)
    return Evidence(log_marks + log_times, Said((*marks, *terms), lesson))


def marked(group: Group, told: Told) -> bool:
    """Whether ids, stamps or numbers are to be compared, and not times alone."""
    return bool(
        group.call_refs
        or group.session_ids
        or (group.number is not None and told.number is not None)
        or (group.stamps and told.saved_at is not None)
    )


def times_share(group: Group, told: Told, experience: Experience, offset_ms: int) -> float:
    """What the terms of the times add up to at a call a second, without making them: all that most pairs of a crowd are
    ever asked. The more calls there are around, the less it is worth: the logarithm of their rate is taken off."""
    if not told.readings or group.start_ms is None:
        return IMPOSSIBLE
    if len(told.readings) == 1:
        return _reading_share(group, told.readings[0], experience, offset_ms)
    shares = [_reading_share(group, reading, experience, offset_ms) for reading in told.readings]
    best = max(shares)
    if best == IMPOSSIBLE:
        return best
    return best + math.log(sum(math.exp(share - best) for share in shares) / len(shares))


def _reading_share(group: Group, reading: Reading, experience: Experience, offset_ms: int) -> float:
    """The share of one reading, as ``_times`` has it at a call a second."""
    by_mtime = group.by_mtime
    offsets = experience.offsets
    starts, ends = offsets.both(group.recorder, reading.start_anchor, reading.end_anchor, by_mtime=by_mtime)
    assert group.start_ms is not None
    start_ms, end_ms = reading.start_ms, reading.end_ms
    begun_ms = group.start_ms + offset_ms
    share, chance = 1.0, 1.0
    if start_ms is not None and not (by_mtime and end_ms is not None):
        share = starts.at(begun_ms - start_ms)
        if not share:
            return IMPOSSIBLE
        chance = 0.0
    if end_ms is not None:
        apart_ms = begun_ms + group.length_ms - end_ms
        density = ends.at(apart_ms)
        if start_ms is not None and apart_ms < 0 and not by_mtime:
            density = _cut_short(group, reading, apart_ms, density)
        share *= density / (chance or experience.length_density(group.length_ms))
        if by_mtime and start_ms is not None:
            length_ms = group.length_ms - (end_ms - start_ms)
            lengths = offsets.table(group.recorder, "length", "field", by_mtime=True)
            share *= lengths.at(length_ms) / experience.length_density(group.length_ms)
    elif chance:
        return IMPOSSIBLE
    return math.log(share) if share > 0 else IMPOSSIBLE


LEAST_LOG_WEIGHT = math.log(1e-3)
"""Pairs that are less probable than this even if nobody else were there are left out: they change no other
probability by more than their own, times that of both being free."""


def heard_fit(group: Group, told: Told, experience: Experience, *, offset_ms: int = 0) -> Fit | None:
    """How the conversation's lines fit what is heard in the group; None where there is nothing to hold against one
    another."""
    heard = group.heard()
    if heard is None or not told.lines or group.start_ms is None:
        return None
    skews = experience.offsets.table(group.recorder, "skew", "field", by_mtime=group.by_mtime)
    shift_ms = _lines_off(group, told, experience, offset_ms)
    return fit(heard, told.lines, group.start_ms + offset_ms - shift_ms, skews)


def listened(evidence: Evidence, group: Group, found: Fit | None, experience: Experience) -> Evidence:
    """The same with what listening says."""
    if found is None:
        return evidence
    return Evidence(evidence.log_share + found.log_share, _heard, evidence, group, found, experience)


def _heard(evidence: Evidence, group: Group, found: Fit, experience: Experience) -> Said:
    """The terms with what listening says."""
    skews = experience.offsets.table(group.recorder, "skew", "field", by_mtime=group.by_mtime)
    says: Says = "fits" if found.log_share > 0.7 else "nearly fits" if found.log_share > -0.7 else "misfits"
    term = Term("turns", says, found.log_share, found.skew_ms / 1000, skews.usual_s, skews.spread_s)
    lesson = evidence.lesson
    if lesson is not None and found.sharp and says == "fits":
        lesson = replace(lesson, skew_ms=found.skew_ms)
    return Said((*evidence.terms, term), lesson, found)


ANYHOW = 1e-2
"""Share of calls whose recorder began or ended at no usual time: a caller on hold, a recorder restarted."""


def _anyhow(group: Group, told: Told, experience: Experience, rate: float, offset_ms: int) -> float:
    """What times are worth where one caller's recording and conversation overlap and fit in nothing else: one caller is
    not in two calls at once."""
    reach_s = experience.offsets.reach_ms / 1000
    best = IMPOSSIBLE
    for reading in told.readings:
        if group.start_ms is None or reading.start_ms is None or reading.end_ms is None:
            continue
        begun_ms = group.start_ms + offset_ms
        ended_ms = begun_ms + group.length_ms
        apart_s = min(abs(begun_ms - reading.start_ms), abs(ended_ms - reading.end_ms)) / 1000
        shared_ms = min(ended_ms, reading.end_ms) - max(begun_ms, reading.start_ms)
        if (
            apart_s <= reach_s
            and shared_ms > 0
            and 2 * shared_ms >= min(group.length_ms, reading.end_ms - reading.start_ms)
        ):
            best = math.log(ANYHOW / (2 * reach_s * rate))
    return best


def _lines_off(group: Group, told: Told, experience: Experience, offset_ms: int) -> int:
    """By how much the lines' clock is off, in milliseconds: where a transcript's times contradict one another and those
    of its names fit better, the lines are as wrong as the fields they stand beside."""
    if len(told.readings) < 2 or told.readings[0].start_ms is None or told.readings[1].start_ms is None:
        return 0
    fields, named = (_times(group, reading, experience, FASTEST_RATE, offset_ms)[1] for reading in told.readings)
    return 0 if fields >= named else told.readings[1].start_ms - told.readings[0].start_ms


def _best_times(
    group: Group, told: Told, experience: Experience, rate: float, offset_ms: int
) -> tuple[tuple[Term, ...], float, Lesson | None]:
    """The terms of the reading that fits best, and the share of all readings, each as probable as the others."""
    if not told.readings or group.start_ms is None:
        return (), IMPOSSIBLE, None
    readings = [_times(group, reading, experience, rate, offset_ms) for reading in told.readings]
    if len(readings) == 1:
        return readings[0]
    terms, best, _ = max(readings, key=lambda reading: reading[1])
    if best == IMPOSSIBLE:
        return terms, best, None
    share = sum(math.exp(log_share - best) for _, log_share, _ in readings) / len(readings)
    return terms, best + math.log(share), None


def _times(
    group: Group, reading: Reading, experience: Experience, rate: float, offset_ms: int
) -> tuple[tuple[Term, ...], float, Lesson | None]:
    """Start and end (or length) of one reading: terms, their share, and what they would teach."""
    offsets, recorder, by_mtime = experience.offsets, group.recorder, group.by_mtime
    assert group.start_ms is not None
    begun_ms = group.start_ms + offset_ms
    start_ms = end_ms = length_ms = None
    terms: list[Term] = []
    chance = rate  # of the first term; the second is held against how long calls are
    if reading.start_ms is not None and not (by_mtime and reading.end_ms is not None):
        start_ms = begun_ms - reading.start_ms
        table = offsets.table(recorder, "start", reading.start_anchor, by_mtime=by_mtime)
        terms.append(_term("start", start_ms, table, table.at(start_ms), chance))
        chance = experience.length_density(group.length_ms)
    if reading.end_ms is not None:
        end_ms = begun_ms + group.length_ms - reading.end_ms
        table = offsets.table(recorder, "end", reading.end_anchor, by_mtime=by_mtime)
        density = table.at(end_ms)
        if reading.start_ms is not None and end_ms < 0 and not by_mtime:
            density = _cut_short(group, reading, end_ms, density)
        terms.append(_term("end", end_ms, table, density, chance))
        chance = experience.length_density(group.length_ms)
        if by_mtime and reading.start_ms is not None:
            length_ms = group.length_ms - (reading.end_ms - reading.start_ms)
            table = offsets.table(recorder, "length", "field", by_mtime=True)
            terms.append(_term("length", length_ms, table, table.at(length_ms), chance))
    if not terms:
        return (), IMPOSSIBLE, None
    lesson = Lesson(
        recorder,
        by_mtime,
        reading.start_anchor if start_ms is not None else None,
        reading.end_anchor if end_ms is not None else None,
        start_ms,
        end_ms,
        length_ms,
        None,
        group.length_ms,
    )
    return tuple(terms), sum(term.log_weight for term in terms), lesson


def _cut_short(group: Group, reading: Reading, end_ms: int, density: float) -> float:
    """The density of an end, where the recorder may have died at any moment of the call."""
    assert reading.start_ms is not None
    assert reading.end_ms is not None
    call_ms = reading.end_ms - reading.start_ms + EARLIEST_MS
    share = CUT_SHARE_FLAGGED if group.cut_short else CUT_SHARE
    anywhere = 1000 / call_ms if 0 < -end_ms <= call_ms else 0.0
    return (1 - share) * density + share * anywhere


def _term(name: str, distance_ms: int, table: Table, density: float, chance: float) -> Term:
    """A distance with what it is worth: its density over that of strangers."""
    log_weight = math.log(density / chance) if density > 0 else IMPOSSIBLE
    says: Says = "fits" if log_weight > 0 else "nearly fits" if log_weight > -4.6 else "misfits"
    return Term(name, says, log_weight, distance_ms / 1000, table.usual_s, table.spread_s)


def _marks(group: Group, told: Told, rate: float) -> tuple[tuple[Term, ...], float, bool]:
    """Ids, stamp and number: terms, what they are worth together, and whether an id (or as good as one) is shared."""
    if not (group.call_refs or group.session_ids or group.stamps or group.number):
        return (), 0.0, False
    terms = [
        *same_id("call id", group.call_refs, told.call_ref, told.refs),
        *same_id("session id", group.session_ids, told.session_id, told.refs),
        *same_stamp(group.stamps, told.saved_at, rate),
    ]
    same = any(term.says == "equal" and term.log_weight >= SAME_STAMP for term in terms)
    number = same_number(group.number, told.number, rate, same=same)
    terms += number
    if not same and any(term.says == "unequal" for term in terms):
        return tuple(terms), IMPOSSIBLE, False
    return tuple(terms), sum(term.log_weight for term in terms), same


def same_id(name: str, ours: frozenset[str], its_own: str | None, theirs: Collection[str]) -> list[Term]:
    """What the ids of one file (``ours``) and those of a conversation say; ``its_own`` is its id of that kind."""
    if not ours:
        return []
    if any(value in ours for value in theirs):
        return [Term(name, "equal", SAME_ID)]
    # Only ids of one make can contradict: a recorder's own numbering says nothing about somebody else's.
    if its_own is not None and any(_make(value) == _make(its_own) for value in ours):
        return [Term(name, "unequal", OTHER_ID)]
    return []


_DIGITS = re.compile(r"[0-9a-f]+", re.IGNORECASE)


def _make(value: str) -> str:
    """The pattern of an id: its letters, dashes and lengths, without what changes from one call to the next."""
    return _DIGITS.sub(lambda run: str(len(run[0])), value)


def same_stamp(stamps: Collection[datetime], saved_at: datetime | None, rate: float) -> list[Term]:
    """A stamp in both names. A whole second may be shared by chance; another stamp is another moment of perhaps the
    same call."""
    if saved_at is None or saved_at not in stamps:
        return []
    if saved_at.microsecond:
        return [Term("stamp", "equal", SAME_STAMP)]
    return [Term("stamp (whole second)", "equal", math.log(max(1.0, 0.5 / rate)))]


def same_number(ours: str | None, theirs: str | None, rate: float, *, same: bool) -> list[Term]:
    """What two numbers in E.164 say; ``same``: an id says already that the two belong together."""
    if ours is None or theirs is None:
        return []
    if ours == theirs:
        return [Term("number", "equal", math.log(max(1.0, 0.9 * rate * REPEATS_S)))]
    return [Term("number", "unequal", OTHER_NUMBER if same else IMPOSSIBLE)]


def _wild(group: Group, told: Told, offset_ms: int) -> bool:
    """Whether the times are so far apart that even wrong time zones cannot explain it."""
    if group.start_ms is None:
        return False
    known = [ms for reading in told.readings for ms in (reading.start_ms, reading.end_ms) if ms is not None]
    return bool(known) and min(abs(group.start_ms + offset_ms - ms) for ms in known) > WILD_MS

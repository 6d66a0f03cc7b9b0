"""What this installation taught, out of the ledger: read again only when there is something new to learn.

A match teaches when evidence made it and left next to no doubt. Lessons are taken in by ``TAUGHT_IN`` at once: of two
neighbours that arrive together neither decides by what the other taught.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from daemon.contract import Reader
from handlers import records
from handlers.match.assign import RecordingDecision
from handlers.match.evidence import Evidence, Experience
from handlers.match.offsets import Offsets
from handlers.records import Lesson, Taught

if TYPE_CHECKING:
    from handlers.settings import MatchSettings

TAUGHT_IN = 25
"""Lessons of one recorder that are taken in at once."""

LEAST_DOUBT = 1e-3
"""A match that leaves more doubt than this teaches nothing."""

FEW = 100
"""Lessons of a recorder below which what is merely likely teaches too."""

LIKELY = 0.8
"""Share of all that a likely pair must outweigh, counting whoever else wants either of its files."""

NEWEST = 300
"""Decided conversations and recordings by which is learned how often a partner is missing."""

PRIOR_COUNT = 40.0
"""How many conversations what is assumed beforehand counts as."""

RAREST, OFTENEST = 0.01, 0.3
"""Bounds for how often a partner is missing: below is luck, above is a broken installation and not a habit."""


class Learner:
    """Keeps what was learned last. One for each process that decides."""

    def __init__(self, settings: MatchSettings) -> None:
        self._settings = settings
        self._taken: dict[str, int] | None = None
        self._experience = Experience()

    def experience(self, read: Reader) -> Experience:
        """What is expected here, as of the last whole ``TAUGHT_IN`` lessons of each recorder."""
        taken = {recorder: n - n % TAUGHT_IN for recorder, n in records.lessons_taken(read).items()}
        taken = {recorder: n for recorder, n in taken.items() if n}
        if taken != self._taken:
            self._taken = taken
            self._experience = self._learned(read, taken)
        return self._experience

    def begins(self, read: Reader, recorder: str) -> bool:
        """Whether so little is known of a recorder that what is likely teaches too."""
        return records.lessons_taken(read).get(recorder, 0) < FEW

    def _learned(self, read: Reader, taken: dict[str, int]) -> Experience:
        reach_ms = round(self._settings.window.total_seconds() * 1000)
        lessons = {}
        for recorder, said in records.lessons(read).items():
            # Numbered from the newest back: what came after the last whole batch is left for the next.
            newer = records.lessons_taken(read)[recorder] - taken.get(recorder, 0)
            if taken.get(recorder):
                lessons[recorder] = said[: len(said) - newer]
        wait = self._settings.wait
        until = records.understood_until(read, read.now - 2 * wait) - wait - timedelta(seconds=1)
        told, heard = records.partners_found(read, NEWEST, until)
        return experienced(reach_ms, lessons, missing=(share(*told), share(*heard)))


def experienced(
    reach_ms: int, lessons: dict[str, tuple[Lesson, ...]], *, missing: tuple[float, float] | None = None
) -> Experience:
    """What lessons amount to; ``missing``: the shares of conversations and of recordings without a partner."""
    assumed = Experience()
    no_recording, no_conversation = missing or (assumed.no_recording, assumed.no_conversation)
    mean, spread = lengths(lesson.span_ms / 1000 for said in lessons.values() for lesson in said)
    return Experience(Offsets(reach_ms, lessons), mean, spread, no_recording, no_conversation)


def share(count: int, missing: int) -> float:
    """How often a partner is missing, where ``missing`` of ``count`` had none."""
    assumed = Experience().no_recording
    return min(OFTENEST, max(RAREST, (missing + assumed * PRIOR_COUNT) / (count + PRIOR_COUNT)))


def lengths(seconds: Iterable[float]) -> tuple[float, float]:
    """Mean and spread of the logarithm of calls' lengths, with what is assumed beforehand counting as a few calls."""
    assumed = Experience()
    logs = [math.log(max(1.0, s)) for s in seconds]
    weight = len(logs) / (len(logs) + 10.0)
    mean = weight * (sum(logs) / len(logs)) + (1 - weight) * assumed.length_mean if logs else assumed.length_mean
    square = sum((log - mean) ** 2 for log in logs) / len(logs) if logs else 0.0
    return mean, math.sqrt(weight * square + (1 - weight) * assumed.length_spread**2)


def lesson_of(number: int, decision: RecordingDecision, pairs: Mapping[tuple[str, int], Evidence]) -> Taught | None:
    """What a decision teaches: one of evidence that leaves next to no doubt."""
    if decision.group is None or (decision.group, number) not in pairs:
        return None
    return taught(number, pairs[decision.group, number], decision.doubt)


def likely(
    number: int, weights: Mapping[tuple[str, int], float], pairs: Mapping[tuple[str, int], Evidence]
) -> Taught | None:
    """What a conversation's most probable pair would teach, where it outweighs all that speaks against it.

    This is for a beginning in a crowd: with broad priors hardly a pair is beyond doubt, and nothing would be learned.
    Now and then such a lesson is wrong; wrong ones lie anywhere, and the true ones in one place.
    """
    mine = {key: weight for (key, other), weight in weights.items() if other == number}
    best = max(mine, key=lambda key: (mine[key], key), default=None)
    if best is None:
        return None
    rivals = sum(weight for (key, other), weight in weights.items() if (key == best) != (other == number))
    if mine[best] < LIKELY * (1 + rivals + mine[best]):
        return None
    return taught(number, pairs[best, number], 0.0)


def taught(number: int, evidence: Evidence, doubt: float) -> Taught | None:
    """What a match of evidence teaches; None where it leaves doubt or says nothing."""
    if doubt > LEAST_DOUBT or evidence.lesson is None:
        return None
    return Taught(number, evidence.lesson)

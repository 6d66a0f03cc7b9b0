"""A source of neighbours over plain values: for whoever has all files in hand and no ledger.

Everything is kept sorted by time, so that finding a file's neighbours costs a bisection and the neighbours.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from handlers.match.evidence import (
    CLOSE_S,
    LEAST_LOG_WEIGHT,
    Evidence,
    Experience,
    heard_fit,
    listened,
    rate_of,
    weigh_recording,
)
from handlers.match.neighbours import Source
from handlers.match.offsets import NEAR_MS
from handlers.match.values import Group, Told

K = TypeVar("K", str, int)

WINDOW_MS = 300_000
"""``match.window``: the stretch to either side in which calls are counted."""


CLOSE_MS = round(CLOSE_S * 1000)


class Plain(Source[str]):
    """Groups and conversations that are all in memory; ``listen`` holds lines against what is heard too."""

    def __init__(
        self,
        groups: Iterable[Group],
        tolds: Iterable[Told],
        experience: Experience,
        *,
        listen: bool = True,
        offset_ms: int = 0,
    ) -> None:
        self.groups = {group.key: group for group in groups}
        self.tolds = {told.id: told for told in tolds}
        self.experience = experience
        self._listen, self._offset_ms = listen, offset_ms
        self._groups_by_start = ByStart((g.start_ms, g.key) for g in self.groups.values() if g.start_ms is not None)
        self._tolds_by_start = ByStart((ms, told.id) for told in self.tolds.values() for ms in _starts(told))
        self._rates: dict[int, float] = {}
        self._weighed: dict[tuple[str, int], Evidence] = {}
        self._settled: set[str | int] = set()

    def learn(self, experience: Experience) -> None:
        """Weigh by this from now on."""
        self.experience = experience
        self._weighed.clear()

    def settle(self, ours: str, number: int) -> None:
        """These two belong together and are in question no more."""
        self._settled |= {ours, number}

    def partners(self, number: int) -> Sequence[str]:
        """Open groups whose start lies within reach."""
        if number in self._settled:
            return ()
        middles = [ms - self._offset_ms for ms in _starts(self.tolds[number])]
        near = self._groups_by_start.near(middles, NEAR_MS[0], NEAR_MS[1])
        return [key for key in near if key not in self._settled] if self._settled else near

    def calls(self, ours: str) -> Sequence[int]:
        """Open conversations whose start lies within reach."""
        start_ms = self.groups[ours].start_ms
        if start_ms is None or ours in self._settled:
            return ()
        near = self._tolds_by_start.near([start_ms + self._offset_ms], -NEAR_MS[1], -NEAR_MS[0])
        return [number for number in near if number not in self._settled] if self._settled else near

    def weigh(self, ours: str, number: int) -> Evidence:
        """The evidence of one pair."""
        found = self._weighed.get((ours, number))
        if found is None:
            group, told = self.groups[ours], self.tolds[number]
            found = weigh_recording(group, told, self.experience, rate=self.rate(number), offset_ms=self._offset_ms)
            if self._listen and found.log_share + self.log_odds(number) > LEAST_LOG_WEIGHT:
                heard = heard_fit(group, told, self.experience, offset_ms=self._offset_ms)
                found = listened(found, group, heard, self.experience)
            self._weighed[ours, number] = found
        return found

    def log_odds(self, number: int) -> float:
        """As once nobody waits."""
        return self.experience.last_log_odds

    def rate(self, number: int) -> float:
        """Calls a second around a conversation."""
        found = self._rates.get(number)
        if found is None:
            ms = self.tolds[number].about_ms
            close = wide = 0
            if ms is not None:
                close, wide = self._around(ms, CLOSE_MS), self._around(ms, WINDOW_MS)
            found = self._rates[number] = rate_of(close, wide, WINDOW_MS / 1000)
        return found

    def _around(self, ms: int, reach_ms: int) -> int:
        ours = self._groups_by_start.count(ms - self._offset_ms, reach_ms)
        return max(ours, self._tolds_by_start.count(ms, reach_ms))


def _starts(told: Told) -> list[int]:
    """Where its recording is looked for: each reading's start, else its end."""
    looked = (reading.start_ms if reading.start_ms is not None else reading.end_ms for reading in told.readings)
    return [ms for ms in looked if ms is not None]


class ByStart(Generic[K]):
    """Keys in the order of their starts (milliseconds), of one key perhaps several."""

    def __init__(self, pairs: Iterable[tuple[int, K]]) -> None:
        in_order = sorted(pairs)
        self._starts = [ms for ms, _ in in_order]
        self._keys: list[K] = [key for _, key in in_order]
        self._once = len(set(self._keys)) == len(self._keys)

    def near(self, middles: Sequence[int], first_ms: int, last_ms: int) -> list[K]:
        """The keys from so long before (negative) to so long after any of these moments, each once."""
        found: list[K] = []
        starts = self._starts
        for middle in middles:
            first = bisect_left(starts, middle + first_ms)
            found += self._keys[first : bisect_right(starts, middle + last_ms, first)]
        return found if self._once and len(middles) == 1 else list(dict.fromkeys(found))

    def count(self, middle: int, reach_ms: int) -> int:
        """How many starts lie within this reach of a moment."""
        first = bisect_left(self._starts, middle - reach_ms)
        return bisect_right(self._starts, middle + reach_ms, first) - first

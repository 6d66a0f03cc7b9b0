"""How far apart the times of one call's files lie: broad priors, sharpened by what this installation taught.

Four distances, each the recording's time less the conversation's, in whole milliseconds:

=========  =======================================================================================================
start      start of the recording (as its name, container or file says) - start of the conversation
end        start of the recording + exact length - end of the conversation
length     exact length - length of the conversation: used where the start is a guess out of the file's mtime
skew       where the conversation's lines fit what is heard - start of the recording as its name says
=========  =======================================================================================================

The density of a distance is a table of bins. What is not known is a mixture of what recorders of the field do (a
recorder starts seconds before the session on the telephone line, seconds after it as a participant; it stops at
hang-up, or seconds to two minutes later, or never properly). What confident matches taught is a kernel estimate over
the latest of them, so that two clocks behind one name pattern are two peaks and a drifting clock is followed; the prior
keeps the weight of ``PRIOR_COUNT`` matches beside it, so that a few wrong lessons never make the truth impossible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from handlers.records.lessons import Anchor, Lesson

Quantity = Literal["start", "end", "length", "skew"]
BIN_MS = 125
"""Width of a bin. Names carry whole seconds, so that finer would be noise; an eighth keeps skews apart."""

PRIOR_COUNT = 6.0
"""How many matches the prior counts as beside those that taught."""

NEAR_MS = (-60_000, 60_000)
"""How far apart starts may lie where times alone are to tell: earliest and latest recording."""

NEAR_BY_MTIME_MS = (-180_000, 240_000)
"""The same where a start is a guess out of when the file was last written: minutes after its last sample, at worst."""

TWO_FIFTHS = 0.4
NORMAL_TWO_FIFTHS = 1.0488
"""Length of the shortest stretch that holds two fifths of a bell, in its standard deviations."""

NARROWEST_MS = 120.0
"""Least width of a kernel: clocks of one machine agree to this."""


@dataclass(frozen=True, slots=True)
class Table:
    """A density over distances in milliseconds: per second, 0 outside. ``usual`` and ``spread`` are for explanations:
    median and half the width of the middle 68 %, in seconds. ``taught`` is how many matches it was learned from."""

    first_ms: int
    density: tuple[float, ...]
    usual_s: float
    spread_s: float
    taught: int = 0

    def at(self, distance_ms: int) -> float:
        """The density at a distance, per second."""
        place = (distance_ms - self.first_ms) // BIN_MS
        return self.density[place] if 0 <= place < len(self.density) else 0.0

    @property
    def last_ms(self) -> int:
        """Where the table ends."""
        return self.first_ms + BIN_MS * len(self.density)


Shape = Callable[[float], float]


def normal(mean_s: float, sd_s: float) -> Shape:
    """A bell."""
    return lambda x: math.exp(-0.5 * ((x - mean_s) / sd_s) ** 2) / (sd_s * math.sqrt(2 * math.pi))


def late(from_s: float, mean_s: float) -> Shape:
    """From a moment on, ever less probable."""
    return lambda x: math.exp(-(x - from_s) / mean_s) / mean_s if x >= from_s else 0.0


def early(from_s: float, mean_s: float) -> Shape:
    """Up to a moment, ever less probable before it."""
    return lambda x: math.exp((x - from_s) / mean_s) / mean_s if x <= from_s else 0.0


def even(first_s: float, last_s: float) -> Shape:
    """Anywhere between two moments."""
    return lambda x: 1 / (last_s - first_s) if first_s <= x <= last_s else 0.0


Mixture = tuple[tuple[float, Shape], ...]

_START: Mixture = (
    (0.72, normal(-1.5, 1.5)),  # the telephone line: the field's sample is 2 s before, a name's floor up to 1 s more
    (0.20, normal(0.5, 3.0)),  # a participant that joins
    (0.07, normal(0.0, 10.0)),  # from the first ring, or once somebody answered
    (0.01, even(-60.0, 60.0)),
)
_FROM_FIRST_LINE: Mixture = (
    (0.65, normal(-3.0, 2.5)),
    (0.30, early(2.0, 8.0)),
    (0.05, even(-60.0, 60.0)),
)
_END: Mixture = (
    (0.60, late(-0.8, 2.5)),  # hang-up follows the last word
    (0.20, normal(0.5, 2.5)),
    (0.18, late(-1.0, 25.0)),  # seen 1 to 120 s after the transcript was saved
    (0.02, even(-120.0, 300.0)),
)
_FROM_LAST_LINE: Mixture = (
    (0.6, late(-1.0, 5.0)),
    (0.2, normal(3.0, 4.0)),
    (0.17, late(-1.0, 30.0)),
    (0.03, even(-60.0, 180.0)),
)
_FROM_SAVED: Mixture = (
    (0.55, normal(-6.0, 6.0)),
    (0.27, late(-10.0, 30.0)),
    (0.15, early(0.0, 20.0)),
    (0.03, even(-120.0, 180.0)),
)
_LENGTH: Mixture = (
    (0.55, normal(3.0, 2.5)),
    (0.30, late(-2.0, 8.0)),
    (0.12, normal(0.0, 15.0)),
    (0.03, even(-120.0, 180.0)),
)
_SKEW: Mixture = ((0.72, normal(0.5, 0.4)), (0.2, normal(0.4, 1.5)), (0.08, normal(0.0, 5.0)))
"""Of a name's whole second the truth lies up to a second later; clocks set by the network agree to a fraction."""

_FILE_START: Mixture = ((0.5, normal(0.0, 6.0)), (0.4, late(-10.0, 40.0)), (0.1, even(-180.0, 240.0)))
_FILE_END: Mixture = ((0.5, late(-2.0, 8.0)), (0.4, late(-5.0, 45.0)), (0.1, even(-120.0, 240.0)))
_FILE_SKEW: Mixture = ((0.5, early(1.0, 10.0)), (0.5, normal(0.0, 20.0)))


def _prior(quantity: Quantity, anchor: Anchor, *, by_mtime: bool) -> Mixture:
    if quantity == "length":
        return _LENGTH
    if quantity == "skew":
        return _FILE_SKEW if by_mtime else _SKEW
    if quantity == "start":
        if by_mtime:
            return _FILE_START
        return _FROM_FIRST_LINE if anchor == "item" else _START
    if by_mtime:
        return _FILE_END
    return {"item": _FROM_LAST_LINE, "name": _FROM_SAVED}.get(anchor, _END)


@dataclass(frozen=True, slots=True)
class Key:
    """Whose distances they are: one recorder's, measured from one kind of time."""

    recorder: str
    quantity: Quantity
    anchor: Anchor
    by_mtime: bool = False


@dataclass(frozen=True)
class Offsets:
    """What is expected of distances here. Tables are made when first asked for.

    ``reach_ms`` bounds every table: files further apart never belong together by their times alone.
    """

    reach_ms: int = 300_000
    lessons: Mapping[str, Sequence[Lesson]] = field(default_factory=dict)

    @cached_property
    def _tables(self) -> dict[tuple[str, Quantity, Anchor, bool], Table]:
        return {}

    def table(self, recorder: str, quantity: Quantity, anchor: Anchor, *, by_mtime: bool = False) -> Table:
        """The density of one distance for one recorder."""
        asked = (recorder, quantity, anchor, by_mtime)
        found = self._tables.get(asked)
        if found is None:
            key = Key(recorder if recorder in self.lessons else "", quantity, anchor, by_mtime)
            found = self._tables[asked] = self._made(key)
        return found

    @cached_property
    def _pairs(self) -> dict[tuple[str, Anchor, Anchor, bool], tuple[Table, Table]]:
        return {}

    def both(self, recorder: str, start_anchor: Anchor, end_anchor: Anchor, *, by_mtime: bool) -> tuple[Table, Table]:
        """The densities of start and end for one recorder, asked for at once."""
        asked = (recorder, start_anchor, end_anchor, by_mtime)
        found = self._pairs.get(asked)
        if found is None:
            found = self._pairs[asked] = (
                self.table(recorder, "start", start_anchor, by_mtime=by_mtime),
                self.table(recorder, "end", end_anchor, by_mtime=by_mtime),
            )
        return found

    def _made(self, key: Key) -> Table:
        prior = _prior_table(key.quantity, key.anchor, by_mtime=key.by_mtime, reach_ms=self.reach_ms)
        taught = [ms for lesson in self.lessons.get(key.recorder, ()) if (ms := _taught(lesson, key)) is not None]
        return learned(prior, taught) if taught else prior


def _taught(lesson: Lesson, key: Key) -> int | None:
    """What a lesson says of one distance."""
    if lesson.by_mtime != key.by_mtime:
        return None
    if key.quantity == "start":
        return lesson.start_ms if lesson.start_anchor == key.anchor else None
    if key.quantity == "end":
        return lesson.end_ms if lesson.end_anchor == key.anchor else None
    return lesson.length_ms if key.quantity == "length" else lesson.skew_ms


_PRIORS: dict[tuple[Quantity, Anchor, bool, int], Table] = {}


def _prior_table(quantity: Quantity, anchor: Anchor, *, by_mtime: bool, reach_ms: int) -> Table:
    """The prior, made once for a process: it is the same for everybody."""
    key = (quantity, anchor, by_mtime, reach_ms)
    if key not in _PRIORS:
        bound = min(reach_ms, 60_000) if quantity == "skew" else reach_ms
        first_ms = -(bound // BIN_MS) * BIN_MS
        mixture = _prior(quantity, anchor, by_mtime=by_mtime)
        middles = [(first_ms + BIN_MS * (place + 0.5)) / 1000 for place in range(-2 * first_ms // BIN_MS)]
        _PRIORS[key] = _table(first_ms, [sum(share * shape(x) for share, shape in mixture) for x in middles], 0)
    return _PRIORS[key]


def _table(first_ms: int, heights: Sequence[float], taught: int) -> Table:
    """A table of these heights, scaled to a density."""
    whole = sum(heights) * BIN_MS / 1000
    if whole <= 0:
        return Table(first_ms, (0.0,) * len(heights), 0.0, 0.0, taught)
    density = tuple(height / whole for height in heights)
    low, middle, high = (_quantile(first_ms, density, share) for share in (0.16, 0.5, 0.84))
    return Table(first_ms, density, middle, (high - low) / 2, taught)


def _quantile(first_ms: int, density: Sequence[float], share: float) -> float:
    """Where so much of the probability lies below, in seconds."""
    below = 0.0
    for place, height in enumerate(density):
        below += height * BIN_MS / 1000
        if below >= share:
            return (first_ms + BIN_MS * (place + 0.5)) / 1000
    return (first_ms + BIN_MS * len(density)) / 1000


def learned(prior: Table, taught_ms: Sequence[int]) -> Table:
    """The prior together with a kernel estimate over what was taught.

    The kernel's width follows Silverman's rule (Density Estimation, 1986, section 3.4.2) with a spread that a few wild
    lessons do not blur; a tenth of it is four times as wide, since tails are longer than a few hundred matches show.
    """
    count = len(taught_ms)
    width_ms = max(NARROWEST_MS, _width(taught_ms))
    heights = [0.0] * len(prior.density)
    for share, spread_ms in ((0.9, width_ms), (0.1, 4 * width_ms)):
        kernel = _kernel(spread_ms)
        middle = len(kernel) // 2
        for ms, times in _counted(taught_ms, prior.first_ms, len(heights)):
            for place in range(max(0, ms - middle), min(len(heights), ms + middle + 1)):
                heights[place] += share * times * kernel[place - ms + middle]
    whole = sum(heights) * BIN_MS / 1000 or 1.0
    weight = count / (count + PRIOR_COUNT)
    mixed = [
        weight * height / whole + (1 - weight) * before for height, before in zip(heights, prior.density, strict=True)
    ]
    return _table(prior.first_ms, mixed, count)


def _counted(taught_ms: Iterable[int], first_ms: int, bins: int) -> Iterable[tuple[int, int]]:
    """The bins that were taught, with how often."""
    counts: dict[int, int] = {}
    for ms in taught_ms:
        place = (ms - first_ms) // BIN_MS
        if 0 <= place < bins:
            counts[place] = counts.get(place, 0) + 1
    return counts.items()


def _kernel(spread_ms: float) -> list[float]:
    """A bell in bins, three spreads to either side, its sum one."""
    half = max(1, round(3 * spread_ms / BIN_MS))
    heights = [math.exp(-0.5 * (nth * BIN_MS / spread_ms) ** 2) for nth in range(-half, half + 1)]
    whole = sum(heights)
    return [height / whole for height in heights]


def _width(taught_ms: Sequence[int]) -> float:
    """The width of a kernel. The spread is that of the shortest stretch that holds two fifths of all lessons (a
    relative of the shorth, Andrews et al. 1972), so that a second peak far away does not blur the first."""
    ordered = sorted(taught_ms)
    count = len(ordered)
    held = max(1, round(TWO_FIFTHS * count))
    shortest = min(last - first for first, last in zip(ordered, ordered[held:], strict=False)) if held < count else 0
    return 0.9 * shortest / NORMAL_TWO_FIFTHS * math.exp(-0.2 * math.log(count))

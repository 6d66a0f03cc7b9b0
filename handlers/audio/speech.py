"""Where somebody speaks, told from how loud each channel is.

The matcher compares a transcript's times with beginnings and ends of speech. It needs those to a few hundredths of a
second, and can do without knowing speech from any other sound that comes and goes. So this is a gate and no voice
detector: a stretch counts from where its level leaves the noise to where it sinks back into it.

Levels are power in dB below full scale, one for each window of about 20 ms; ``LOST`` stands for time of which the file
holds no samples. For each channel:

* The *noise floor* at a moment is the level that a tenth of the 12 s before it, or of the 12 s after it, stays below,
  whichever is higher. Pauses make up a tenth of any talk; and since both ways are looked, the noise that begins where
  a party joins and ends where it leaves is the floor from its first to its last moment.
* *Loud* is the level of the channel's loudest moments. What lies 56 dB below is silence, whatever the floor.
* Speech must rise above ``enter`` and reaches as far as it stays above ``stay``, both a share of the way from the
  floor to loud.

Channels are judged each by itself and their stretches united: noise on one party's line hides nothing of the other's,
and channels in opposite phase do not cancel each other.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

Span = tuple[float, float]
"""First and last second of a stretch."""

LOST = -math.inf
"""Level of a window without samples: quiet, and no evidence of what the noise is like."""

QUIETEST = -96.0
"""Decibels. Digital silence, and all that is below the last bit of 16."""

WINDOW_S = 12.0
"""With 20, the floor did not follow noise that swells by 6 dB within 10 s; much less, and talk becomes the floor."""

FLOOR_SHARE = 0.1
HOP_S = 1.0

PAUSE_S = 0.3
"""Seconds. A shorter silence belongs to the utterance: stops and breaths stay below, turns seldom do."""

SHORTEST_S = 0.08
"""Seconds that a stretch must be loud for: a spoken "yes" has 0.15, a click has 0.02."""

EDGE_S = 0.2
"""How far a soft beginning or end may reach beyond the loud part: an f or an s is shorter."""

DEPTH_DB = 56.0
"""A party 25 dB softer than the other keeps its soft ends; deeper, encoders smear edges into digital silence."""
SMALLEST_RANGE_DB = 8.0
"""Steady noise moves within 5 dB; speech less than 8 dB above the noise is not told from it reliably."""

FAINTEST_DB = -65.0
"""A channel that never gets louder is a line without a party."""


class _Gate(NamedTuple):
    """The two levels of one moment."""

    enter: float
    stay: float


def speech(channels: Sequence[Sequence[float]], step_s: float) -> tuple[Span, ...] | None:
    """Stretches of speech in seconds from the first window, in order and apart; ``step_s`` seconds lie between levels.

    None where the levels do not tell: silence, or one sound without a pause.
    """
    spans = united([span for levels in channels for span in _stretches(levels, step_s)])
    quiet_s = max(map(len, channels), default=0) * step_s - sum(last - first for first, last in spans)
    return tuple(spans) if spans and quiet_s >= PAUSE_S else None


def united(spans: Sequence[Span]) -> list[Span]:
    """The spans in order, overlapping and touching ones as one."""
    apart: list[Span] = []
    for first, last in sorted(spans):
        if apart and first <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(apart[-1][1], last))
        else:
            apart.append((first, last))
    return apart


def _stretches(levels: Sequence[float], step_s: float) -> list[Span]:
    """The stretches of one channel."""
    smooth = _without_spikes(levels)
    gates = _gates(smooth, step_s)
    if not gates:
        return []
    hop = _windows(HOP_S, step_s)
    loud = [level > gates[place // hop].enter for place, level in enumerate(smooth)]
    soft = [level > gates[place // hop].stay for place, level in enumerate(smooth)]
    islands = _bridged(_widened(_runs(loud), soft, _windows(EDGE_S, step_s)), _windows(PAUSE_S, step_s))
    shortest = _windows(SHORTEST_S, step_s)
    return [(first * step_s, last * step_s) for first, last in islands if sum(loud[first:last]) >= shortest]


def _windows(seconds: float, step_s: float) -> int:
    return max(1, round(seconds / step_s))


def _without_spikes(levels: Sequence[float]) -> list[float]:
    """Each level as the middle one of itself and its neighbours: edges stay where they are, single clicks go."""
    clipped = [level if level == LOST else max(QUIETEST, level) for level in levels]
    padded = [*clipped[:1], *clipped, *clipped[-1:]]
    return [sorted(padded[place : place + 3])[1] for place in range(len(clipped))]


def _gates(levels: Sequence[float], step_s: float) -> list[_Gate]:
    """The gate of each hop; none where the channel is too faint or too even to tell anything."""
    known = sorted(level for level in levels if level != LOST)
    rank = max(_windows(SHORTEST_S, step_s), len(known) // 1000)
    if len(known) < rank or (loud := known[-rank]) < FAINTEST_DB:
        return []
    floors = [max(floor, loud - DEPTH_DB) for floor in _floors(levels, step_s)]
    if loud - min(floors) < SMALLEST_RANGE_DB:
        return []
    return [_gate(floor, loud) for floor in floors]


def _gate(floor: float, loud: float) -> _Gate:
    """Between floor and loud, so far above the floor as its own ripple asks for: a tenth of noise is up to 2 dB below
    its middle. Where a sound lasts so long that it became the floor, the gate lies below it."""
    rise = loud - floor
    enter = min(floor + min(max(0.3 * rise, 5.0), 8.0), loud - 6.0)
    return _Gate(enter, min(floor + min(max(0.2 * rise, 3.0), 5.0), enter))


def _floors(levels: Sequence[float], step_s: float) -> list[float]:
    """The noise floor of each hop."""
    hop, window = _windows(HOP_S, step_s), _windows(WINDOW_S, step_s)
    begins = range(0, max(1, len(levels) - window + hop), hop)
    lows = [_low(levels[begin : begin + window]) for begin in begins]
    back, newest = window // hop, len(lows) - 1
    hops = range(math.ceil(len(levels) / hop))
    return [max(lows[min(max(place - back, 0), newest) : place + 1]) for place in hops]


def _low(levels: Sequence[float]) -> float:
    """The level that a tenth of the known ones stays below."""
    ordered = sorted(levels)
    known = ordered[bisect_left(ordered, QUIETEST) :]
    return known[int(FLOOR_SHARE * len(known))] if known else QUIETEST


def _runs(loud: Sequence[bool]) -> list[tuple[int, int]]:
    """Where it is loud without a break: first window, and the one after the last."""
    edges = [place for place, (was, now) in enumerate(pairwise([False, *loud, False])) if was != now]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _widened(runs: Sequence[tuple[int, int]], soft: Sequence[bool], reach: int) -> list[tuple[int, int]]:
    """The runs with the soft windows around them, at most ``reach`` on each side."""
    wide = []
    for first, last in runs:
        begin, end = first, last
        while begin > max(0, first - reach) and soft[begin - 1]:
            begin -= 1
        while end < min(len(soft), last + reach) and soft[end]:
            end += 1
        wide.append((begin, end))
    return wide


def _bridged(runs: Sequence[tuple[int, int]], pause: int) -> list[tuple[int, int]]:
    """The runs with everything shorter than ``pause`` between them filled."""
    joined: list[tuple[int, int]] = []
    for first, last in runs:
        if joined and first - joined[-1][1] < pause:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined

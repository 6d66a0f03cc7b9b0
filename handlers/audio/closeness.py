"""How close a copy is to its source: lengths, levels window by window, spectrum. Pure: two sides in, figures out.

A copy is judged by seven figures, each blind to something another sees: a lost second keeps the spectrum, noise in the
shape of speech keeps the levels, another call of the same length keeps both counts. ``dropout_s`` is for gaps too short
to stand out in the worst second: the longest stretch that is heard in the source and all but gone in the copy.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import mul

WINDOWS_A_SECOND = 50
BANDS = 8
FLOOR_DB = -60.0
_FULL = 32768.0
_HEARD_DB = -50.0
_GONE_DB = 15.0
"""In a good copy at 16 kbit/s and more no 60 ms that are heard are so much softer than their source."""

_STEADY_DB = 1.0
"""Deviation of levels below which there is nothing to correlate: silence, or one long tone."""


@dataclass(slots=True)
class Side:
    """What was heard of one recording: samples of a channel at 48 kHz, levels of 20 ms windows (root mean square, 16
    bits) of each channel, and powers summed over the seconds that were looked at."""

    samples: int = 0
    levels: list[list[int]] = field(default_factory=list)
    bands: list[float] = field(default_factory=lambda: [0.0] * BANDS)
    heard_for_bands: int = 0


@dataclass(frozen=True, slots=True)
class Closeness:
    """The figures: samples the copy has more, correlation of levels (None where they are steady), decibels and
    seconds."""

    channels_differ: bool
    samples_more: int
    correlation: float | None
    level_db: float
    mean_db: float
    worst_second_db: float
    spectrum_db: float
    dropout_s: float
    silent: bool


def compare(source: Side, copy: Side) -> Closeness:
    """The figures of all channels together, the worst of each."""
    if len(source.levels) != len(copy.levels) or not source.levels:
        return Closeness(True, copy.samples - source.samples, None, 0.0, 0.0, 0.0, 0.0, 0.0, silent=False)
    pairs = [(_decibels(a), _decibels(b)) for a, b in zip(source.levels, copy.levels, strict=True)]
    pairs = [(a[: min(len(a), len(b))], b[: min(len(a), len(b))]) for a, b in pairs]
    silent = all(max(a, default=FLOOR_DB) <= FLOOR_DB for a, _ in pairs)
    known = [_correlation(a, b) for a, b in pairs]
    correlations = [value for value in known if value is not None]
    return Closeness(
        channels_differ=False,
        samples_more=copy.samples - source.samples,
        correlation=min(correlations) if correlations else None,
        level_db=max((_level(a, b) for a, b in pairs), key=abs),
        mean_db=max(_mean(a, b) for a, b in pairs),
        worst_second_db=max(_worst_second(a, b) for a, b in pairs),
        spectrum_db=_spectrum(source, copy),
        dropout_s=max(_dropout(a, b) for a, b in pairs) / WINDOWS_A_SECOND,
        silent=silent,
    )


def _decibels(levels: Sequence[int]) -> list[float]:
    return [max(FLOOR_DB, 20 * math.log10(level / _FULL)) if level else FLOOR_DB for level in levels]


def _correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Pearson's; None where the source is too steady for it to say anything, 0 where only the copy is."""
    if len(a) < 2:
        return None
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    off_a, off_b = [value - mean_a for value in a], [value - mean_b for value in b]
    square_a, square_b = sum(map(mul, off_a, off_a)), sum(map(mul, off_b, off_b))
    if square_a < _STEADY_DB**2 * len(a):
        return None
    return sum(map(mul, off_a, off_b)) / math.sqrt(square_a * square_b) if square_b else 0.0


def _level(a: Sequence[float], b: Sequence[float]) -> float:
    """The middle difference where the source is heard; where it never is, of all."""
    apart = [y - x for x, y in zip(a, b, strict=True) if x > FLOOR_DB] or [y - x for x, y in zip(a, b, strict=True)]
    return statistics.median(apart) if apart else 0.0


def _mean(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(abs(y - x) for x, y in zip(a, b, strict=True)) / len(a) if a else 0.0


def _worst_second(a: Sequence[float], b: Sequence[float]) -> float:
    apart = [abs(y - x) for x, y in zip(a, b, strict=True)]
    wide = min(WINDOWS_A_SECOND, len(apart))
    if not wide:
        return 0.0
    total = worst = sum(apart[:wide])
    for at in range(wide, len(apart)):
        total += apart[at] - apart[at - wide]
        worst = max(worst, total)
    return worst / wide


def _dropout(a: Sequence[float], b: Sequence[float]) -> int:
    """The longest run of windows that are heard in the source and all but gone in the copy."""
    longest = run = 0
    for x, y in zip(a, b, strict=True):
        run = run + 1 if x > _HEARD_DB and x - y > _GONE_DB else 0
        longest = max(longest, run)
    return longest


def _spectrum(source: Side, copy: Side) -> float:
    """Mean difference of the octaves' powers, those below the floor raised to it."""
    if not source.heard_for_bands or source.heard_for_bands != copy.heard_for_bands:
        return 0.0
    full = _FULL**2 * source.heard_for_bands
    pairs = [(_band(a / full), _band(b / full)) for a, b in zip(source.bands, copy.bands, strict=True)]
    return sum(abs(a - b) for a, b in pairs) / len(pairs)


def _band(power: float) -> float:
    return max(FLOOR_DB, 10 * math.log10(power)) if power > 0 else FLOOR_DB

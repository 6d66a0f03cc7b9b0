"""Whether a recording is fit to be listened to: doubts told by the levels of its windows, as flags.

=============  ===========================================================================================
flag           meaning
=============  ===========================================================================================
silent         nothing in it is louder than ``silent`` decibels
dead_side      one channel is silent and another is not
too_quiet      somebody is there, but even the loud moments stay below ``quiet`` decibels
clipped        a share of ``clipped`` of its windows lies at full scale: the microphone was overdriven
too_short      it holds less than ``short_s`` seconds
decode_errors  some of it could not be decoded
=============  ===========================================================================================

Levels are powers of windows of 20 ms in decibels of full scale; loud moments are the loudest twentieth of
those that are not silent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.audio.speech import LOST

LOUD_SHARE = 0.05
"""Of what is heard in a call far more than a twentieth is speech, and clicks and dial tones are less."""

UNSCALED_DB = 6.0
"""Floating point samples this loud do not count from -1 to 1, and nobody knows where they are cut off."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a recording is doubted: decibels of full scale, a share of windows, seconds."""

    silent_db: float = -60.0
    quiet_db: float = -40.0
    clipped: float = 0.01
    short_s: float = 1.0

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Limits:
        """The limits a request carries; those it does not name are the defaults."""
        return cls(**{name: float(value) for name, value in given.items()})


def loud_db(levels: Sequence[float]) -> float:
    """The level that the loudest twentieth of the windows reaches; the least there is where there are none."""
    ordered = sorted(levels)
    return ordered[int(len(ordered) * (1 - LOUD_SHARE))] if ordered else -100.0


def doubts(
    channels: Sequence[Sequence[float]], clipped: int, media_s: float, limits: Limits, *, errors: bool = False
) -> set[str]:
    """The flags of a recording by its channels' levels; ``clipped`` counts windows of all channels at full scale."""
    flags = {"decode_errors"} if errors else set()
    if media_s < limits.short_s:
        flags.add("too_short")
    channels = [[level for level in levels if level > LOST] for levels in channels]
    windows = sum(map(len, channels))
    if not windows:
        return flags
    loudest = [max(levels, default=-100.0) for levels in channels]
    if max(loudest) <= limits.silent_db:
        flags.add("silent")
    else:
        if len(loudest) > 1 and min(loudest) <= limits.silent_db:
            flags.add("dead_side")
        heard = [[level for level in levels if level > limits.silent_db] for levels in channels]
        if max(map(loud_db, heard)) <= limits.quiet_db:
            flags.add("too_quiet")
    if clipped and max(loudest) < UNSCALED_DB and clipped >= limits.clipped * windows:
        flags.add("clipped")
    return flags

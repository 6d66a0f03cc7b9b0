"""What to do with a recording, out of its figures alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from handlers.records import Compressible
from handlers.settings import CompressSettings, Tier

OVERHEAD_BYTES = 500
"""The headers and the first page of an Ogg file."""

OVERSHOOT = 1.03
"""What an encoder's variable rate, with the pages around it, takes of the bytes it was asked for, at most by so much:
measured 0.97 to 1.03 for one voice."""

MOST_CHANNELS = 2


@dataclass(frozen=True, slots=True)
class Encode:
    """Worth it: Opus at ``bitrate`` (bits a second), about ``expected`` bytes."""

    bitrate: int
    expected: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Not worth it, and why."""

    reason: str


def tier_of(tiers: Sequence[Tier], aged_at: datetime, now: datetime) -> Tier | None:
    """The last tier whose time has come; None where none has."""
    due = [tier for tier in tiers if now - aged_at >= tier.after]
    return max(due, key=lambda tier: tier.after) if due else None


def decide(found: Compressible, settings: CompressSettings, now: datetime) -> Encode | Leave | None:
    """What to do with it; None while it is too young.

    The rate is that of all channels together, and whether it saves is measured against the file's own bytes, whatever
    its header says: Opus at 96 kbit/s makes a browser's 64 kbit/s bigger.
    """
    tier = tier_of(settings.tiers, found.aged_at, now)
    if tier is None:
        return None
    if found.media_s <= 0:
        return Leave("there is no audio in it")
    if found.channels > MOST_CHANNELS:
        return Leave("it has more than two channels, which are never mixed")
    expected = round(tier.bitrate * found.media_s / 8 * OVERSHOOT) + OVERHEAD_BYTES
    if expected > largest(found.size, settings):
        return Leave("it is small already")
    return Encode(tier.bitrate, expected)


def largest(size: int, settings: CompressSettings) -> int:
    """How many bytes a copy of ``size`` bytes may have at most."""
    return int(size * (1 - settings.min_saving))

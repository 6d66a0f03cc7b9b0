"""What to do with a recording, out of its figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from handlers.records import Compressible
from handlers.settings import CompressSettings, Tier

OVERHEAD_BYTES = 500
"""The headers and the first page of an Ogg file."""

OVERSHOOT = 1.03
"""What an encoder's variable rate, with the pages around it, takes of the bytes it was asked for, at most by so much:
measured 0.97 to 1.03 for one voice."""

MOST_CHANNELS = 2

DOUBTFUL = frozenset(
    {"truncated", "damaged", "gaps", "overlaps", "clock_jump", "many_streams", "no_audio", "chained", "unheard"}
)
"""Flags of files whose packets stay where they are: the container tells something that Ogg would not."""


@dataclass(frozen=True, slots=True)
class Encode:
    """Worth it: Opus at ``bitrate`` (bits a second), about ``expected`` bytes."""

    bitrate: int
    expected: int


@dataclass(frozen=True, slots=True)
class Repack:
    """Encoding would save too little; the same packets in Ogg are exact and a little smaller, ``expected`` bytes at
    most. ``bitrate`` is what they have (bits a second)."""

    bitrate: int
    expected: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Not worth it, and why; ``bitrate`` is that of the tier for which it is small already."""

    reason: str
    bitrate: int = 0


Decision: TypeAlias = Encode | Repack | Leave


def tier_of(tiers: Sequence[Tier], aged_at: datetime, now: datetime) -> Tier | None:
    """The last tier whose time has come; None where none has."""
    due = [tier for tier in tiers if now - aged_at >= tier.after]
    return max(due, key=lambda tier: tier.after) if due else None


def moments(tiers: Sequence[Tier], now: datetime) -> Mapping[int, datetime]:
    """Of each tier's bitrate, the moment before which a recording must have ended."""
    return {tier.bitrate: now - tier.after for tier in sorted(tiers, key=lambda tier: tier.after, reverse=True)}


def decide(found: Compressible, settings: CompressSettings, now: datetime) -> Decision | None:
    """What to do with it; None while it is too young, or where its tier asks for no less than it has.

    The rate is that of all channels together, and whether it saves is measured against the file's own bytes, whatever
    its header says: Opus at 96 kbit/s makes a browser's 64 kbit/s bigger.
    """
    tier = tier_of(settings.tiers, found.aged_at, now)
    known = [rate for rate in (found.made, found.small_for) if rate is not None]
    if tier is None or (known and tier.bitrate >= min(known)):
        return None
    if found.beside and settings.delete_originals:
        return None  # first its grace ends
    if found.media_s <= 0:
        return Leave("there is no audio in it")
    if found.channels > MOST_CHANNELS:
        return Leave("it has more than two channels, which are never mixed")
    expected = round(tier.bitrate * found.media_s / 8 * OVERSHOOT) + OVERHEAD_BYTES
    if expected <= largest(found.size, settings):
        return Encode(tier.bitrate, expected)
    if settings.copy_packets and not known and may_repack(found):
        return Repack(round(found.size * 8 / found.media_s), found.size - 1)
    return Leave("it is small already", tier.bitrate)


def may_repack(found: Compressible) -> bool:
    """Whether its packets can be taken over as they are, with nothing lost."""
    return found.codec == "opus" and found.container in ("webm", "matroska") and not DOUBTFUL.intersection(found.flags)


def largest(size: int, settings: CompressSettings) -> int:
    """How many bytes a copy of ``size`` bytes may have at most."""
    return int(size * (1 - settings.min_saving))

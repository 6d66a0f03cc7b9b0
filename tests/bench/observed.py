"""What a matcher gets to see of a traffic, and apart from it the truth.

The values are made by the product's own intake out of the names and documents that the producers wrote; only what the
audio room would say of the samples is made here. Ids are dealt out at random over all files, and files are listed by
id: neither tells who belongs to whom.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from daemon.contract import Item
from handlers.intake.conversation import Reading, conversation
from handlers.intake.documents import Document
from handlers.intake.lead import lead
from handlers.intake.names import Names
from handlers.intake.recording import recording
from handlers.model import AudioInfo, Conversation, Lead, Recording
from tests.bench.producers import Kind, Written, written
from tests.bench.talk import Stretch
from tests.bench.traffic import Recorded, SimCall, Traffic, calls

BYTES_A_SECOND = 4000
"""Opus at 32 kbit/s."""

NAMES = Names()
UTC_READING = Reading(zone=UTC)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that is finished ``at`` this moment."""

    at: datetime
    kind: Kind
    value: Recording | Conversation | Lead


@dataclass(frozen=True, slots=True)
class Observed:
    """All a matcher may know. ``arrivals`` are the same values in the order in which their files are finished."""

    recordings: Sequence[Recording]
    conversations: Sequence[Conversation]
    leads: Sequence[Lead]
    arrivals: Sequence[Arrival]


@dataclass(frozen=True, slots=True)
class Truth:
    """Who belongs to whom: a conversation's recording, None where it was lost; a lead's conversation, alike."""

    recording: Mapping[int, int | None]
    conversation: Mapping[int, int | None]


def simulate(traffic: Traffic, seed: int) -> tuple[Observed, Truth]:
    """A traffic as it is seen, and its truth; the same for the same seed."""
    rng = random.Random(seed)
    files = written(traffic, calls(traffic, rng), rng)
    ids = random.Random(f"ids of {seed}").sample(range(1, len(files) + 1), len(files))
    arrivals = [
        Arrival(file.arrives_at, file.kind, _value(traffic, file, number, rng))
        for file, number in zip(files, ids, strict=True)
    ]
    return _observed(arrivals), _truth(files, ids)


def speech(traffic: Traffic, call: SimCall, recorded: Recorded, rng: random.Random) -> tuple[Stretch, ...] | None:
    """Where a detector hears somebody in the recording, in seconds of it; None where it cannot tell."""
    length = recorded.ends - recorded.begins
    true = [(a - recorded.begins, b - recorded.begins) for line in call.lines for a, b in line.phrases]
    true = [(max(a, 0.0), min(b, length)) for a, b in true if b > 0.0 and a < length]
    if not true or rng.random() < traffic.unheard:
        return None
    heard = [_smeared(traffic, stretch, rng) for stretch in true if rng.random() >= traffic.missed_speech]
    for _ in true:
        if rng.random() < traffic.spurious_speech:
            at = rng.uniform(0.0, length)
            heard.append((at, at + rng.uniform(0.1, 0.6)))
    inside = [(max(a, 0.0), min(b, length)) for a, b in heard]
    return _merged(sorted((a, b) for a, b in inside if b > a), traffic.merged_below_s)


def _smeared(traffic: Traffic, stretch: Stretch, rng: random.Random) -> Stretch:
    return rng.gauss(stretch[0], traffic.edge_sd_s), rng.gauss(stretch[1], traffic.edge_sd_s)


def _merged(stretches: Sequence[Stretch], below: float) -> tuple[Stretch, ...]:
    apart: list[Stretch] = []
    for begins, ends in stretches:
        if apart and begins - apart[-1][1] < below:
            apart[-1] = (apart[-1][0], max(apart[-1][1], ends))
        else:
            apart.append((begins, ends))
    return tuple(apart)


def _value(traffic: Traffic, file: Written, number: int, rng: random.Random) -> Recording | Conversation | Lead:
    said = NAMES.read(file.name)
    if file.document is not None:
        read = conversation if file.kind == "conversations" else lead
        return read(_item(file, number, 0), Document(file.document), said, UTC_READING)
    recorded = file.call.recorded
    assert recorded is not None
    audio = _audio(traffic, file.call, recorded, rng)
    size = math.ceil(audio.media_s * BYTES_A_SECOND * rng.uniform(0.95, 1.05))
    return recording(_item(file, number, size), audio, said, UTC_READING)


def _audio(traffic: Traffic, call: SimCall, recorded: Recorded, rng: random.Random) -> AudioInfo:
    length = recorded.ends - recorded.begins
    heard = speech(traffic, call, recorded, rng)
    return AudioInfo(
        container="ogg",
        codec="opus",
        sample_rate=48_000,
        channels=1,
        media_s=length,
        span_s=length,
        speech=heard,
        heard_s=0.0 if heard is None else length,
    )


def _item(file: Written, number: int, size: int) -> Item:
    return Item(
        id=number,
        role=file.kind,
        kind=file.kind,
        sha256=f"{number:064x}",
        size=size,
        evidence="",
        name=file.name,
        path=file.name,
        mtime_ns=int(file.arrives_at.timestamp() * 1e9),
        first_seen_at=file.arrives_at,
    )


def _observed(arrivals: Sequence[Arrival]) -> Observed:
    values = sorted((arrival.value for arrival in arrivals), key=lambda value: value.id)
    return Observed(
        [value for value in values if isinstance(value, Recording)],
        [value for value in values if isinstance(value, Conversation)],
        [value for value in values if isinstance(value, Lead)],
        arrivals,
    )


def _truth(files: Sequence[Written], ids: Sequence[int]) -> Truth:
    by_call: dict[tuple[Kind, int], int] = {
        (file.kind, file.call.nth): number for file, number in zip(files, ids, strict=True)
    }
    recordings: dict[int, int | None] = {}
    conversations: dict[int, int | None] = {}
    for (kind, nth), number in by_call.items():
        if kind == "conversations":
            recordings[number] = by_call.get(("recordings", nth))
        elif kind == "leads":
            conversations[number] = by_call.get(("conversations", nth))
    return Truth(recordings, conversations)

"""What an MP4's index and the packets at its ends tell is what all its packets tell, or the packets are asked."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from handlers.audio import scan
from handlers.model import AudioInfo, AudioUnreadable
from tests.fuzz.targets import mutated
from tests.support import audio

SAMPLES = 3 * audio.RATE + 1234


def told(data: bytes, way: scan.Way) -> AudioInfo | str | None:
    try:
        return scan._measured(io.BytesIO(data), "mp4", "mov", way, claims=True)
    except AudioUnreadable as refusal:
        return refusal.reason


@pytest.mark.parametrize("front", [False, True])
def test_an_index_tells_what_all_packets_do(front: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    audio.make_m4a(path, SAMPLES, faststart=front)
    data = path.read_bytes()
    assert told(data, scan._by_index) == told(data, scan._sum)


def test_what_is_fragmented_short_or_cut_is_asked_packet_by_packet(tmp_path: Path) -> None:
    whole, short, fragmented = (tmp_path / name for name in ("whole", "short", "fragmented"))
    audio.make_m4a(whole, SAMPLES, faststart=True)
    audio.make_m4a(short, 5000)
    audio.make_m4a(fragmented, SAMPLES, codec="libopus", fragmented=True)
    cut = whole.read_bytes()[:-500]
    assert [told(data, scan._by_index) for data in (short.read_bytes(), fragmented.read_bytes(), cut)] == [None] * 3


def test_a_damaged_one_is_told_as_by_its_packets(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    audio.make_m4a(path, SAMPLES)
    data, chance = path.read_bytes(), random.Random(14496)
    index, by_index = data.rindex(b"moov"), 0
    for number in range(400):
        broken = mutated(data, chance.random) if number % 2 else data[:index] + mutated(data[index:], chance.random)
        found = told(broken, scan._by_index)
        if isinstance(found, AudioInfo):
            by_index += 1
            assert found == told(broken, scan._sum)
    assert by_index > 20, "so few that nothing was shown"

"""Our own walk over WebM tells what libav tells, or leaves the file to it."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from handlers.audio import ebml, scan, webm
from handlers.model import AudioInfo, AudioUnreadable
from tests.fuzz.targets import mutated
from tests.support import audio

SAMPLES = audio.RATE + 1234

LIVE = {"live": "1"}
SHORT_CLUSTERS = {"cluster_time_limit": "200"}

KINDS: dict[str, tuple[dict[str, str], str, int]] = {
    "as a browser streams it": (LIVE, "60", 1),
    "20 ms packets": (LIVE, "20", 1),
    "two channels": (LIVE, "20", 2),
    "many clusters without a size": (LIVE | SHORT_CLUSTERS, "20", 1),
    "with Duration, sizes and an index": ({}, "20", 1),
    "many clusters with a size": (SHORT_CLUSTERS, "60", 1),
    "120 ms packets": ({}, "120", 1),
    "2.5 ms packets": ({}, "2.5", 1),
}


def recorded(path: Path, kind: str, *, times: int = 1) -> bytes:
    """A recording of that kind."""
    muxing, packet_ms, channels = KINDS[kind]
    sound = audio.tone(SAMPLES)
    audio.encode(
        path,
        audio.together(sound, sound) if channels == 2 else sound,
        container="webm",
        codec="libopus",
        channels=channels,
        codec_options={"frame_duration": packet_ms},
        options=muxing,
        times=times,
    )
    return path.read_bytes()


def walked(data: bytes) -> AudioInfo | None:
    return webm.measure(io.BytesIO(data), "webm")


def scanned(data: bytes) -> AudioInfo | str:
    try:
        return scan.measure(io.BytesIO(data), "webm", "matroska", claims=True)
    except AudioUnreadable as refusal:
        return refusal.reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_is_walked_and_as_long_as_libav_says(kind: str, tmp_path: Path) -> None:
    data = recorded(tmp_path / "a.webm", kind)
    assert walked(data) == scanned(data)


@pytest.mark.parametrize("kind", ["20 ms packets", "many clusters with a size"])
def test_one_that_is_larger_than_what_is_read_at_once_too(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = recorded(tmp_path / "a.webm", kind, times=4)
    monkeypatch.setattr(ebml, "CHUNK", 1000)
    assert walked(data) == scanned(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_one_is_left_to_libav_or_told_as_by_it(kind: str, tmp_path: Path) -> None:
    data, chance = recorded(tmp_path / "a.webm", kind), random.Random(kind)
    told = 0
    for _ in range(200):
        broken = mutated(data, chance.random)
        found = walked(broken)
        if found is not None:
            told += 1
            assert found == scanned(broken)
    assert told > 10, "so few that nothing was shown"


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_one_that_ends_inside_something_is_left_to_libav(cut: int, tmp_path: Path) -> None:
    data = recorded(tmp_path / "a.webm", "20 ms packets")
    assert walked(data[:-cut]) is None


def test_one_that_something_follows_is_left_to_libav(tmp_path: Path) -> None:
    data = recorded(tmp_path / "a.webm", "with Duration, sizes and an index")
    assert walked(data + data) is None

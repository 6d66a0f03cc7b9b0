"""Copies made by real encoders are told from damaged ones: every good one passes, every damage is refused."""

from __future__ import annotations

import functools
import random
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from handlers.audio.pool import Prober
from handlers.compress.verdict import refusal
from handlers.settings import VerifySettings
from tests.support import audio

SECONDS = 20
SPANS = ((0.5, 2.8), (3.4, 5.0), (5.9, 9.7), (10.2, 11.0), (12.0, 15.5), (16.1, 19.6))
AT = 6.5
"""A moment at which somebody speaks."""

Sound: TypeAlias = "array[int]"


@functools.cache
def _spoken() -> bytes:
    return audio.talk(SPANS, SECONDS, rate=audio.RATE, noise_db=-58).tobytes()


def spoken() -> Sound:
    return array("h", _spoken())


def silenced(seconds: float) -> Callable[[Sound], Sound]:
    def damage(sound: Sound) -> Sound:
        begin, end = int(AT * audio.RATE), int((AT + seconds) * audio.RATE)
        sound[begin:end] = array("h", bytes(2 * (end - begin)))
        return sound

    return damage


def dropped_and_padded(sound: Sound) -> Sound:
    begin = int(AT * audio.RATE)
    return sound[:begin] + sound[begin + audio.RATE :] + array("h", bytes(2 * audio.RATE))


def noise_of_the_same_shape(sound: Sound) -> Sound:
    chance, step = random.Random(3), audio.RATE // 50
    made = array("h")
    for begin in range(0, len(sound), step):
        piece = sound[begin : begin + step]
        loud = (sum(value * value for value in piece) / len(piece)) ** 0.5
        made.extend(max(-32768, min(32767, round(chance.gauss(0, loud)))) for _ in piece)
    return made


def clipped(sound: Sound) -> Sound:
    return array("h", (max(-32768, min(32767, 8 * value)) for value in sound))


def swapped(sound: Sound) -> Sound:
    sound.byteswap()
    return sound


DAMAGES: dict[str, Callable[[Sound], Sound]] = {
    "a second silenced": silenced(1.0),
    "0.2 s silenced": silenced(0.2),
    "0.1 s silenced": silenced(0.1),
    "the end silent": lambda sound: sound[: -10 * audio.RATE] + array("h", bytes(2 * 10 * audio.RATE)),
    "a second dropped and padded": dropped_and_padded,
    "shifted": lambda sound: array("h", bytes(audio.RATE)) + sound[: -audio.RATE // 2],
    "reversed": lambda sound: sound[::-1],
    "silence": lambda sound: array("h", bytes(2 * len(sound))),
    "6 dB softer": lambda sound: array("h", (value // 2 for value in sound)),
    "3 dB louder": lambda sound: array("h", (max(-32768, min(32767, round(1.41 * value))) for value in sound)),
    "clipped": clipped,
    "noise": noise_of_the_same_shape,
    "bytes swapped": swapped,
    "the end missing": lambda sound: sound[: -audio.RATE],
}


def compared(prober: Prober, source: Path, copy: Path) -> dict[str, Any]:
    with source.open("rb") as one, copy.open("rb") as other:
        return dict(prober.do({"do": "compare"}, one.fileno(), other.fileno(), SECONDS)["closeness"])


def encoded(prober: Prober, source: Path, copy: Path, bitrate: int, application: str = "audio") -> int:
    request = {"do": "encode", "bitrate": bitrate, "largest": 10**7, "application": application, "complexity": 5}
    with source.open("rb") as one, copy.open("wb+") as other:
        return int(prober.do(request, one.fileno(), other.fileno(), SECONDS)["samples"])


@pytest.mark.parametrize("application", ["audio", "voip"])
def test_good_copies_at_every_rate_pass_with_every_sample(application: str, tmp_path: Path) -> None:
    source, copy = tmp_path / "s.wav", tmp_path / "c.opus"
    audio.encode(source, spoken(), container="wav", codec="pcm_s16le")
    with Prober(1) as prober:
        for bitrate in (24_000, 64_000, 96_000):
            assert encoded(prober, source, copy, bitrate, application) == SECONDS * audio.RATE
            figures = compared(prober, source, copy)
            assert figures["samples_more"] == 0
            assert refusal(figures, VerifySettings()) == "", figures
            assert audio.decoded_samples(copy) == SECONDS * audio.RATE


def test_every_damage_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "s.wav"
    audio.encode(source, spoken(), container="wav", codec="pcm_s16le")
    passed = []
    with Prober(1) as prober:
        for name, damage in DAMAGES.items():
            copy = tmp_path / "c.opus"
            audio.encode(copy, damage(spoken()), container="ogg", codec="libopus", bit_rate=64_000)
            if not refusal(compared(prober, source, copy), VerifySettings()):
                passed.append(name)
    assert passed == []


def test_bytes_flipped_in_the_copy_are_refused_though_it_opens_and_says_its_old_length(tmp_path: Path) -> None:
    source, copy = tmp_path / "s.wav", tmp_path / "c.opus"
    audio.encode(source, spoken(), container="wav", codec="pcm_s16le")
    with Prober(1) as prober:
        encoded(prober, source, copy, 64_000)
        raw = bytearray(copy.read_bytes())
        raw[len(raw) // 2] ^= 1
        copy.write_bytes(raw)
        assert "samples" in refusal(compared(prober, source, copy), VerifySettings())


@pytest.mark.parametrize("kind", ["webm", "mp3", "m4a", "stereo", "8 kHz"])
def test_copies_of_every_kind_of_source_pass(kind: str, tmp_path: Path) -> None:
    source, copy = tmp_path / "s", tmp_path / "c.opus"
    if kind == "webm":
        audio.encode(source, spoken(), container="webm", codec="libopus", bit_rate=128_000)
    elif kind == "mp3":
        audio.encode(source, spoken(), container="mp3", codec="libmp3lame", bit_rate=128_000)
    elif kind == "m4a":
        audio.encode(source, spoken(), container="mp4", codec="aac", bit_rate=128_000)
    elif kind == "stereo":
        other = audio.talk([(1, 2), (9.8, 10.1), (15, 16)], SECONDS, rate=audio.RATE, noise_db=-58)
        audio.encode(source, audio.together(spoken(), other), container="wav", codec="pcm_s16le", channels=2)
    else:
        low = audio.talk(SPANS, SECONDS, rate=8000, noise_db=-58)
        audio.encode(source, low, container="wav", codec="pcm_s16le", rate=8000)
    with Prober(1) as prober:
        encoded(prober, source, copy, 48_000)
        figures = compared(prober, source, copy)
        info = prober.probe(bytes(copy))
    assert refusal(figures, VerifySettings()) == "", figures
    assert info.channels == (2 if kind == "stereo" else 1)


def test_silence_and_one_long_tone_have_nothing_to_correlate_and_pass(tmp_path: Path) -> None:
    source, copy = tmp_path / "s.wav", tmp_path / "c.opus"
    with Prober(1) as prober:
        for sound in (array("h", bytes(2 * SECONDS * audio.RATE)), audio.tone(SECONDS * audio.RATE)):
            audio.encode(source, sound, container="wav", codec="pcm_s16le")
            encoded(prober, source, copy, 32_000)
            figures = compared(prober, source, copy)
            assert figures["correlation"] is None
            assert refusal(figures, VerifySettings()) == ""


def test_a_copy_that_grows_beyond_its_limit_is_stopped(tmp_path: Path) -> None:
    source, copy = tmp_path / "s.wav", tmp_path / "c.opus"
    audio.encode(source, spoken(), container="wav", codec="pcm_s16le")
    request = {"do": "encode", "bitrate": 96_000, "largest": 50_000, "application": "audio", "complexity": 0}
    with Prober(1) as prober:
        with source.open("rb") as one, copy.open("wb+") as other:
            answer = prober.do(request, one.fileno(), other.fileno(), SECONDS)
        assert set(answer) == {"errno"}
        assert copy.stat().st_size <= 50_000
        assert prober.probe(bytes(source)).media_s == SECONDS  # the worker is none the worse for it

"""One short file of every container that callspool reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support import audio

RATE = 48_000


def make_all(folder: Path) -> list[tuple[str, bytes]]:
    """Name and content of each."""
    made: dict[str, Callable[[Path], None]] = {
        "a.ogg": lambda path: audio.make_ogg_opus(path, 1.0),
        "v.ogg": lambda path: audio.make_ogg_vorbis(path, RATE),
        "f.ogg": lambda path: audio.make_ogg_flac(path, RATE),
        "a.webm": lambda path: audio.make_webm(path, RATE),
        "a.mp3": lambda path: audio.make_mp3(path, RATE),
        "a.m4a": lambda path: audio.make_m4a(path, RATE),
        "a.flac": lambda path: audio.make_flac(path, RATE),
        "a.wav": lambda path: audio.make_wav(path, RATE),
        "s.wav": lambda path: audio.make_wav_streamed(path, RATE),
        "a.amr": lambda path: audio.make_amr(path, 50),
    }
    found = []
    for name, make in made.items():
        path = folder / name
        make(path)
        found.append((name, path.read_bytes()))
    return found

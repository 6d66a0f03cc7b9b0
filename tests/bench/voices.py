"""Sound of a call at little cost: two voices of different pitch over a quiet line, as Ogg/Opus.

A voice is a row of harmonics that swells and fades as syllables do, four times a second; it says nothing. It is made
once and then cut into phrases, so that a minute of sound costs little more than its encoding.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from tests.bench.talk import AGENT, CALLER, Line

RATE = 16_000
"""Samples a second."""

BYTES = 2
"""Bytes a sample: 16-bit, mono."""

PITCH_HZ: Mapping[str, float] = {AGENT: 205.0, CALLER: 115.0}

LOUD, FLOOR = 9000.0, 12.0
"""Highest and, of the quiet line, usual amplitude, of 32,767."""

VOICE_S, LONGEST_S = 4, 24
"""A voice repeats after the former; no phrase is longer than the latter less the former."""

BLOCK = RATE
"""Samples encoded at a time."""


def voice(pitch_hz: float) -> bytes:
    """One voice, ``LONGEST_S`` seconds of it."""
    harmonics = [(pitch_hz * nth, 1.0 / nth if nth < 4 else 2.0 / nth**2) for nth in range(1, 9)]
    scale = LOUD / sum(weight for _, weight in harmonics)
    samples = array("h")
    for n in range(VOICE_S * RATE):
        t = n / RATE
        syllable = 0.25 + 0.75 * math.sin(math.pi * 4 * t) ** 2
        wave = sum(weight * math.sin(2 * math.pi * hertz * t) for hertz, weight in harmonics)
        samples.append(int(scale * syllable * wave))
    return samples.tobytes() * (LONGEST_S // VOICE_S)


def quiet(seconds: int, rng: random.Random) -> bytes:
    """A line on which nobody speaks."""
    return array("h", (int(rng.gauss(0.0, FLOOR)) for _ in range(seconds * RATE))).tobytes()


class Studio:
    """Makes recordings; no two of them are alike."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._voices = {role: voice(hertz) for role, hertz in PITCH_HZ.items()}
        self._quiet = quiet(VOICE_S, rng)

    def sound(self, lines: Iterable[Line], begins: float, ends: float) -> bytes:
        """What is heard of these lines from ``begins`` to ``ends``, on the lines' clock, as samples."""
        size = round((ends - begins) * RATE) * BYTES
        skip = self._rng.randrange(VOICE_S * RATE) * BYTES
        whole = bytearray((self._quiet * (size // len(self._quiet) + 2))[skip : skip + size])
        for line in lines:
            for first, last in line.phrases:
                start, stop = (min(size, max(0, round((at - begins) * RATE) * BYTES)) for at in (first, last))
                at = self._rng.randrange(VOICE_S * RATE) * BYTES
                whole[start:stop] = self._voices[line.role][at : at + stop - start]
        return bytes(whole)

    def write(self, path: Path, sound: bytes) -> None:
        """These samples as Ogg/Opus, with a mark of chance in its comments so that no content is there twice."""
        options = {"compression_level": "0", "application": "voip", "frame_duration": "60"}
        with av.open(str(path), "w", format="ogg") as out:
            out.metadata["comment"] = f"{self._rng.getrandbits(64):016x}"
            stream: Any = out.add_stream("libopus", rate=RATE, options=options)
            stream.layout = "mono"
            stream.bit_rate = 16_000
            for frame in _frames(sound):
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))


def _frames(sound: bytes) -> Iterator[av.AudioFrame]:
    for start in range(0, len(sound), BLOCK * BYTES):
        piece = sound[start : start + BLOCK * BYTES]
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(piece) // BYTES)
        frame.planes[0].update(piece.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate = RATE
        frame.pts = start // BYTES
        frame.time_base = Fraction(1, RATE)
        yield frame

"""Encoding a recording as Opus in Ogg, and comparing two recordings by ear.

Encoding keeps 48 kHz and every channel, and numbers the samples itself: left to the encoder, it would lie 6.5 ms off.
Comparing decodes both sides from the beginning to the end, since a damaged Ogg file says nothing of what it lost:
one flipped bit drops a second without an error, and header and last granule still tell the old length.

This module imports libav and may only be used by the worker process.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.error
import av.logging

from handlers.audio.closeness import BANDS, WINDOWS_A_SECOND, Side
from handlers.audio.decode import Coded, frames, with_end
from handlers.audio.ogg import MADE_OF

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # gone in Python 3.13, where audioop-lts takes its place
    import audioop

av.logging.set_level(av.logging.PANIC)

RATE = 48_000
_WINDOW = RATE // WINDOWS_A_SECOND
_WIDTH = 2
_SPECTRUM_EVERY = 8
"""One second of so many is looked at for its spectrum."""


def encode(
    source: BinaryIO, demuxer: str, out: BinaryIO, *, bitrate: int, application: str, complexity: int, about: str
) -> int:
    """Write the first audio stream of ``source`` to ``out``; returns the samples of each channel at 48 kHz.

    ``about``, where it says anything, becomes a comment of the copy: what it was made of, for whoever finds it without
    a ledger.

    Raises what writing raises (OSError), ValueError where nothing can be decoded.
    """
    options = {"application": application, "compression_level": str(complexity), "vbr": "on"}
    stream: Any = None
    written = 0
    with av.open(source, format=demuxer, metadata_errors="replace") as given, av.open(out, "w", format="ogg") as made:
        resampler: Any = None
        for frame in with_end(frames(given, Coded())):
            if resampler is None:
                if frame is None:
                    raise ValueError("not one sample can be decoded")
                layout = "stereo" if frame.layout.nb_channels == 2 else "mono"
                resampler = av.AudioResampler(format="flt", layout=layout, rate=RATE)
                stream = made.add_stream("libopus", rate=RATE, options=options)
                stream.bit_rate = bitrate
                stream.layout = layout
                if about:
                    stream.metadata[MADE_OF] = about
            for piece in resampler.resample(frame):
                piece.pts, piece.time_base = written, Fraction(1, RATE)
                written += piece.samples
                made.mux(stream.encode(piece))
        made.mux(stream.encode(None))
    return written


@dataclass(slots=True)
class _Listening:
    """One side under way: what of each channel waits for a whole window or second."""

    side: Side = field(default_factory=Side)
    waiting: list[bytearray] = field(default_factory=list)
    second: list[bytearray] = field(default_factory=list)
    seconds: int = 0

    def hear(self, planes: Sequence[bytes | bytearray]) -> None:
        if not self.waiting:
            self.waiting = [bytearray() for _ in planes]
            self.second = [bytearray() for _ in planes]
            self.side.levels.extend([] for _ in planes)
        self.side.samples += len(planes[0]) // _WIDTH
        for place, plane in enumerate(planes):
            waiting = self.waiting[place]
            waiting += plane
            whole = len(waiting) - len(waiting) % (_WINDOW * _WIDTH)
            view = bytes(waiting[:whole])
            del waiting[:whole]
            levels = self.side.levels[place]
            for at in range(0, whole, _WINDOW * _WIDTH):
                levels.append(audioop.rms(view[at : at + _WINDOW * _WIDTH], _WIDTH))
            self._spectrum(place, view)

    def _spectrum(self, place: int, plane: bytes) -> None:
        second = self.second[place]
        second += plane
        while len(second) >= RATE * _WIDTH:
            if (self.seconds // len(self.second)) % _SPECTRUM_EVERY == 0:
                self.side.heard_for_bands += 1
                for number, power in enumerate(bands(bytes(second[: RATE * _WIDTH]))):
                    self.side.bands[number] += power
            del second[: RATE * _WIDTH]
            self.seconds += 1


def bands(plane: bytes) -> list[float]:
    """Power in each octave, the highest first: halving the band by sums and differences of neighbours (Haar)."""
    powers = []
    for _ in range(BANDS):
        half = audioop.mul(plane, _WIDTH, 0.5)
        later = half[_WIDTH:] + half[-_WIDTH:]
        powers.append(float(audioop.rms(audioop.add(half, audioop.mul(later, _WIDTH, -1), _WIDTH), _WIDTH)) ** 2)
        low = audioop.add(half, later, _WIDTH)
        plane = memoryview(low[: len(low) - len(low) % (2 * _WIDTH)]).cast("h")[::2].tobytes()
    return powers


def heard(file: BinaryIO, demuxer: str) -> Side:
    """All of a recording, as it is compared with another."""
    listening = _Listening()
    planes: list[bytearray] = []
    with av.open(file, format=demuxer, metadata_errors="replace") as source:
        resampler: Any = av.AudioResampler(format="s16p", rate=RATE)
        for frame in with_end(frames(source, Coded())):
            for piece in resampler.resample(frame):
                size = piece.samples * _WIDTH
                planes = planes or [bytearray() for _ in piece.planes]
                for plane, more in zip(planes, piece.planes, strict=True):
                    plane += memoryview(more)[:size]  # noqa: PLW2901 it grows in place
                if len(planes[0]) >= RATE * _WIDTH:
                    listening.hear(planes)  # a second at once: a frame of 20 ms is hardly worth the call
                    planes = []
    if planes:
        listening.hear(planes)
    return listening.side

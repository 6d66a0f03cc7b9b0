"""Two recordings of one call, the agent's and the customer's, as one stereo Opus file: agent left, customer right.

Each side is decoded to 48 kHz and aligned by where it begins; where one is silent because it began later or ended
earlier, its channel is. Memory does not grow with the length.

This module imports libav and may only be used by the worker process.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import av

from handlers.audio.decode import Coded, frames, with_end
from handlers.audio.encode import RATE
from handlers.audio.probe import sniff

BLOCK = RATE
"""Samples of each side that are written at once."""


def stereo(agent: BinaryIO, customer: BinaryIO, out: BinaryIO, *, customer_later_s: float, bitrate: int) -> int:
    """Write both to ``out``; returns the samples of each channel at 48 kHz. ``customer_later_s`` is by how much the
    customer's recording begins later (seconds; negative: earlier), ``bitrate`` that of both channels together.

    Raises what writing raises (OSError), ValueError where a side holds nothing that can be decoded.
    """
    later = round(customer_later_s * RATE)
    left, right = _Side(agent, max(0, -later)), _Side(customer, max(0, later))
    options = {"application": "audio", "compression_level": "10", "vbr": "on"}
    written = 0
    with av.open(out, "w", format="ogg") as made:
        stream: Any = made.add_stream("libopus", rate=RATE, options=options)
        stream.bit_rate, stream.layout = bitrate, "stereo"
        while True:
            one, two = left.take(BLOCK), right.take(BLOCK)
            count = max(len(one), len(two))
            if not count:
                break
            frame = av.AudioFrame(format="flt", layout="stereo", samples=count)
            frame.planes[0].update(_woven(one, two, count))
            frame.sample_rate, frame.pts, frame.time_base = RATE, written, Fraction(1, RATE)
            made.mux(stream.encode(frame))
            written += count
        made.mux(stream.encode(None))
    if not (left.heard and right.heard):
        raise ValueError("not one sample of a side can be decoded")
    return written


class _Side:
    """One side, from which samples are taken; ``silence`` of them before it begins."""

    def __init__(self, file: BinaryIO, silence: int) -> None:
        self._pieces, self._silence = mono(file), silence
        self._waiting = array("f")
        self.heard = False

    def take(self, count: int) -> array[float]:
        """The next ``count`` samples; fewer at its end, then none."""
        silent = min(count, self._silence)
        self._silence -= silent
        while len(self._waiting) < count - silent and (piece := next(self._pieces, None)) is not None:
            self._waiting += piece
            self.heard = True
        taken, self._waiting = self._waiting[: count - silent], self._waiting[count - silent :]
        return array("f", bytes(4 * silent)) + taken


def mono(file: BinaryIO) -> Iterator[array[float]]:
    """A recording's samples at 48 kHz; of several channels their mean, which keeps the level of what is in all."""
    demuxer = sniff(file).demuxer
    file.seek(0)
    with av.open(file, format=demuxer, metadata_errors="replace") as source:
        resampler: Any = av.AudioResampler(format="fltp", rate=RATE)
        for frame in with_end(frames(source, Coded())):
            for piece in resampler.resample(frame):
                yield _mean([array("f", bytes(plane)[: 4 * piece.samples]) for plane in piece.planes])


def _mean(planes: list[array[float]]) -> array[float]:
    if len(planes) == 1:
        return planes[0]
    return array("f", (sum(samples) / len(planes) for samples in zip(*planes, strict=True)))


def _woven(one: array[float], two: array[float], count: int) -> bytes:
    """Both channels' samples in turn, as long as the longer."""
    both = array("f", bytes(8 * count))
    both[0::2] = one + array("f", bytes(4 * (count - len(one))))
    both[1::2] = two + array("f", bytes(4 * (count - len(two))))
    return both.tobytes()

"""The samples of a recording's beginning, as libav decodes them.

This module imports libav and may only be used by the worker process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import av
import av.error
import av.logging

from handlers.audio.listen import Ear

av.logging.set_level(av.logging.PANIC)

PATIENCE_S = 0.04
"""Seconds that the container's clock may run ahead of the samples: two windows, and more than any rounding."""


def hear(file: BinaryIO, demuxer: str, upto_s: float) -> Ear | None:
    """An ear that has heard the file's first ``upto_s`` seconds; None where not one sample could be decoded.

    Packets that cannot be decoded are missed. Listening ends where the clock leaps beyond that, and where rate
    or channels change, as they may between the links of a chained Ogg file.
    """
    ear, origin, coded = None, None, Coded()
    with av.open(file, format=demuxer, metadata_errors="replace") as source:
        to_floats = av.AudioResampler(format="fltp")
        for frame in frames(source, coded):
            if ear is None:
                ear, origin = Ear(frame.sample_rate, frame.layout.nb_channels, 1.0), frame.time
            ear.coded_bytes, ear.failed = coded.size, coded.failed
            if (frame.sample_rate, frame.layout.nb_channels) != (ear.rate, ear.channels):
                return ear
            behind_s = 0.0 if frame.time is None or origin is None else frame.time - origin - ear.heard_s
            if ear.heard_s + max(0.0, behind_s) >= upto_s:
                return ear
            if behind_s > PATIENCE_S:
                ear.miss(behind_s)
            for floats in [frame] if frame.format.name == "fltp" else to_floats.resample(frame):
                ear.hear([memoryview(plane).cast("f")[: floats.samples] for plane in floats.planes])
    return ear


@dataclass(slots=True)
class Coded:
    """What the packets taken so far were: bytes, and whether some of them failed."""

    size: int = 0
    failed: bool = False


def frames(source: Any, coded: Coded) -> Iterator[Any]:
    """What the first audio stream decodes to; packets that fail give nothing, a broken end ends it."""
    stream = source.streams.audio[0]
    try:
        for packet in source.demux(stream):
            coded.size += packet.size
            try:
                yield from stream.codec_context.decode(packet if packet.size else None)
            except (av.error.InvalidDataError, ValueError):
                coded.failed = True
    except (av.error.FFmpegError, ValueError, OverflowError):
        return


def with_end(found: Iterator[Any]) -> Iterator[Any]:
    """The frames, and then None, which has a resampler or an encoder give what it still holds."""
    yield from found
    yield None

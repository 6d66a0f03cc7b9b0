"""Taking the packets of an Opus recording over into Ogg as they are: exact, for nothing is encoded again.

Packets are numbered anew from minus the pre-skip on, each by what it holds: the container's own milliseconds would
leave an Ogg file whose length disagrees with its audio, and lose the trimming at its end.

This module imports libav and may only be used by the worker process.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.logging

from handlers.audio.failure import Unreadable
from handlers.audio.ogg import MADE_OF
from handlers.audio.opus import opus_samples

av.logging.set_level(av.logging.PANIC)

RATE = 48_000


def repack(source: BinaryIO, demuxer: str, out: BinaryIO, *, about: str) -> int:
    """Write the packets of the first audio stream to ``out``; returns the samples of each channel at 48 kHz.

    ``about`` becomes a comment of the copy. Raises what writing raises (OSError), Unreadable where it is no Opus or a
    packet is broken.
    """
    opened: Any = av.open(source, format=demuxer, metadata_errors="replace")
    with opened as given, av.open(out, "w", format="ogg") as made:
        taken = given.streams.audio[0]
        head = bytes(taken.codec_context.extradata or b"")
        if taken.codec_context.name != "opus" or not head.startswith(b"OpusHead") or len(head) < 12:
            raise Unreadable("its packets are no Opus")
        stream: Any = made.add_stream_from_template(taken)
        if about:
            stream.metadata[MADE_OF] = about
        at = -int.from_bytes(head[10:12], "little")  # the pre-skip
        for packet in given.demux(taken):
            if not packet.size:
                continue
            held, discarded = opus_samples(bytes(packet)[:2]), _discarded(packet)
            if packet.is_corrupt or not held or discarded > held:
                raise Unreadable("one of its packets is broken")
            packet.stream = stream
            packet.time_base = Fraction(1, RATE)
            packet.pts = packet.dts = at
            packet.duration = held - discarded
            at += held - discarded
            made.mux(packet)
    return at


def _discarded(packet: Any) -> int:
    """Samples at the end of the packet that the container says are no audio (libavcodec: the second of two u32)."""
    if packet.has_sidedata("skip_samples"):
        for side in packet.iter_sidedata():
            if side.data_type == "skip_samples":
                return int(struct.unpack("<II", bytes(side)[:8])[1])
    return 0

"""The exact length of WebM, MP3, MP4, FLAC, AAC and AMR files: the sum of what their packets hold.

    length = packet durations - samples skipped at the start - samples discarded at the end

libav attaches the last two to the packets (encoder delay from a LAME header, an edit list or OpusHead; DiscardPadding
of Matroska). This gave the true count, to the sample, for every container here, with and without headers that lie;
the header's Duration gave it for none reliably. Packets that the file's end cut through are marked corrupt and do not
count. In Matroska times are whole milliseconds, so Opus packets are asked themselves (RFC 6716 section 3.1) and other
codecs are decoded and counted.

This module imports libav and may only be used by the worker process.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from itertools import islice
from typing import Any, BinaryIO, TypeAlias

import av
import av.error
import av.logging

from handlers.audio.ebml import CLOCK_TICK_S
from handlers.audio.failure import Unreadable, Unsupported
from handlers.audio.opus import OPUS_RATE, opus_held
from handlers.model import AudioInfo

av.logging.set_level(av.logging.PANIC)

NO_CLAIM = frozenset({"mp3", "aac", "amr"})
"""Containers that claim no length (MP3 only in a Xing or VBRI header): libav's is a guess from the bit rate."""


@dataclass(slots=True)
class _Sum:
    """What the packets add up to; ``counted`` and the trims count at the codec's rate, ``opus`` at 48 kHz, times in the
    stream's unit. Whole numbers: ten thousand packets of fractions take longer than libav needs to read them."""

    counted: int = 0
    opus: int = 0
    durations: int = 0
    skipped: int = 0
    discarded: int = 0
    first: int | None = None
    end: int | None = None
    newest: Any = None
    flags: set[str] = field(default_factory=set)


def measure(file: BinaryIO, container: str, demuxer: str, *, claims: bool) -> AudioInfo:
    """The length of the file as libav's ``demuxer`` cuts it into packets; ``claims``: its header names a length.

    The demuxer is given, never guessed: libav's own guess would let a file that is really a playlist name others.
    Raises Unsupported for a codec libav cannot name, Unreadable where the file cannot be opened.
    """
    if container == "mp4":
        found = _measured(file, container, demuxer, _by_index, claims=claims)
        if found is not None:
            return found
        file.seek(0)
    found = _measured(file, container, demuxer, _sum, claims=claims)
    assert found is not None
    return found


Way: TypeAlias = Callable[[BinaryIO, Any, Any, str], "_Sum | None"]
"""How an opened file's packets are summed up; None where it is not for files like this."""


def _measured(file: BinaryIO, container: str, demuxer: str, way: Way, *, claims: bool) -> AudioInfo | None:
    try:
        opened = av.open(file, format=demuxer, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        raise Unreadable(f"its {container} headers cannot be read ({type(error).__name__})") from error
    with opened as source:
        if not source.streams.audio:
            raise Unsupported(f"{container} without an audio stream")
        stream = source.streams.audio[0]
        context: Any = stream.codec_context
        if context is None or not context.sample_rate:
            raise Unsupported(f"{container} with an audio codec that cannot be decoded here")
        total = way(file, source, stream, container)
        if total is None:
            return None
        if len(source.streams.audio) > 1:
            total.flags.add("many_streams")
        return _info(source, stream, context, container, total, claims=claims)


def _sum(file: BinaryIO, source: Any, stream: Any, container: str) -> _Sum:
    """Every packet looked at."""
    del file
    total, context = _Sum(), stream.codec_context
    opus, matroska = context.name == "opus", container in {"webm", "matroska"}
    counted = matroska and not opus
    if opus and matroska:
        _walk(_packets(source, stream, total.flags), total, _opus_held(total, stream.time_base))
    elif counted:
        _walk(_packets(source, stream, total.flags), total, _decoding(context, total))
        total.counted += _decoded(context, None, total.flags)
        total.skipped = total.discarded = 0
    else:
        total.durations = _walk(_packets(source, stream, total.flags), total, _stated)
    if opus and not total.skipped:
        total.skipped = _pre_skip(context)
    if context.name == "flac" and total.newest is not None:
        _check_last(context, total)
    return total


Held: TypeAlias = Callable[[Any], int]
"""What a packet holds, in the stream's unit."""


def _walk(packets: Iterable[Any], total: _Sum, held: Held) -> int:
    """Look at every packet once: what it holds, and where the container's own clock puts it. An hour has hundreds of
    thousands of them, so this is one plain loop."""
    first, end = total.first, total.end
    last: int | None = None
    durations = 0
    for packet in packets:
        if packet.is_corrupt:
            total.flags.add("truncated")
            continue
        for side in packet.iter_sidedata():
            _trim(side, total)
        duration = held(packet)
        durations += duration
        total.newest = packet
        pts = packet.pts
        if pts is None:
            continue
        if last is not None and pts < last:
            total.flags.add("clock_jump")
        if first is None or pts < first:
            first = pts
        last = pts
        if end is None or pts + duration > end:
            end = pts + duration
    total.first, total.end = first, end
    return durations


ENDS = 16
"""Packets at either end of a file that are looked at where its index tells of the others: the encoder's delay is taken
from the first ones, its padding from the last."""


def _by_index(file: BinaryIO, source: Any, stream: Any, container: str) -> _Sum | None:
    """An AAC file's sum by its index, the packets at its ends looked at; None where that is not whole and plain: it is
    fragmented, edited in the middle, out of order, or names what lies behind the file's end."""
    del container
    entries = stream.index_entries
    count = len(entries)
    plain = stream.codec_context.name == "aac" and count == stream.frames and count >= 4 * ENDS
    if not plain or not _is_plain(entries, _size(file)):
        return None
    total = _Sum()
    total.durations = _walk(islice(_packets(source, stream, total.flags), ENDS), total, _stated)
    before, after = entries[ENDS - 1].timestamp, entries[count - ENDS].timestamp
    if total.newest is None or total.newest.pts != before or total.flags:
        return None
    between = after - before - (total.newest.duration or 0)
    source.seek(after, stream=stream)
    packets = list(_packets(source, stream, total.flags))
    if between < 0 or len(packets) != ENDS or packets[0].pts != after:
        return None
    total.durations += between + _walk(packets, total, _stated)
    return None if total.flags else total


def _is_plain(entries: Any, size: int) -> bool:
    """Whether every entry lies in the file and is later than the one before it, and none but the first are left out."""
    last: int | None = None
    for place, entry in enumerate(entries):
        time = entry.timestamp
        if (last is not None and time <= last) or entry.pos + entry.size > size or not entry.size:
            return False
        if place >= ENDS and entry.flags != KEY:
            return False
        last = time
    return True


KEY = 1
"""AVINDEX_KEYFRAME, and not AVINDEX_DISCARD_FRAME."""


def _size(file: BinaryIO) -> int:
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    return size


def _stated(packet: Any) -> int:
    return packet.duration or 0


def _decoding(context: Any, total: _Sum) -> Held:
    """Samples are counted by decoding; the clock is the container's."""

    def held(packet: Any) -> int:
        total.counted += _decoded(context, packet, total.flags)
        return packet.duration or 0

    return held


def _opus_held(total: _Sum, unit: Fraction) -> Held:
    """Opus packets say themselves what they hold, in their first two bytes; there are few different ones."""
    known: dict[bytes, tuple[int, int]] = {}

    def held(packet: Any) -> int:
        start = bytes(memoryview(packet)[:2])
        found = known.get(start)
        if found is None:
            found = known[start] = opus_held(start, unit)
        total.opus += found[0]
        return found[1]

    return held


def _packets(source: Any, stream: Any, flags: set[str]) -> Iterator[Any]:
    """The packets with content; a broken end ends them."""
    try:
        for packet in source.demux(stream):
            if packet.size:
                yield packet
    except (av.error.FFmpegError, ValueError, OverflowError):
        flags.add("truncated")


def _trim(side: Any, total: _Sum) -> None:
    """Add the samples that the container says are no audio (libavcodec AV_PKT_DATA_SKIP_SAMPLES: two u32)."""
    if side.data_type == "skip_samples":
        start, end = struct.unpack("<II", bytes(side)[:8])
        total.skipped += start
        total.discarded += end


def _decoded(context: Any, packet: Any, flags: set[str]) -> int:
    """Samples that the decoder gives out for a packet; None flushes it."""
    try:
        return sum(int(frame.samples) for frame in context.decode(packet))
    except (av.error.FFmpegError, ValueError):
        flags.add("damaged")
        return 0


def _pre_skip(context: Any) -> int:
    """OpusHead's pre-skip, for containers that carry the head and no trim."""
    head = bytes(context.extradata or b"")
    return struct.unpack_from("<H", head, 10)[0] if head.startswith(b"OpusHead") and len(head) >= 12 else 0


def _check_last(context: Any, total: _Sum) -> None:
    """A FLAC frame that the end of the file cut through looks whole to the demuxer; decoding it shows."""
    trouble: set[str] = set()
    expected = total.newest.duration or 0
    if expected and not _decoded(context, total.newest, trouble) + _decoded(context, None, trouble):
        total.durations -= expected
        total.end = None if total.end is None else total.end - expected
        total.flags.add("truncated")


def _info(source: Any, stream: Any, context: Any, container: str, total: _Sum, *, claims: bool) -> AudioInfo:
    rate = int(context.sample_rate)
    trimmed = total.skipped + total.discarded
    samples = total.counted + Fraction(total.opus * rate, OPUS_RATE) + total.durations * stream.time_base * rate
    media_s = float(max(Fraction(0), samples - trimmed) / rate)
    span_s = media_s
    if total.first is not None and total.end is not None:
        span_s = max(0.0, float((total.end - total.first) * stream.time_base - Fraction(trimmed, rate)))
    if abs(span_s - media_s) <= CLOCK_TICK_S:
        span_s = media_s
    return AudioInfo(
        container=container,
        codec=context.codec.canonical_name,
        sample_rate=rate,
        channels=int(context.channels),
        media_s=media_s,
        span_s=span_s,
        header_s=source.duration / av.time_base if claims and source.duration and source.duration > 0 else None,
        start_at=_start(source.metadata),
        flags=tuple(sorted(total.flags)),
    )


def _start(metadata: dict[str, str]) -> datetime | None:
    """When the container says it was made (Matroska DateUTC, MP4 creation time); an unset clock says 1904 or 1970."""
    try:
        made = datetime.fromisoformat(metadata.get("creation_time", ""))
    except ValueError:
        return None
    return made if made.tzinfo is not None and 2000 <= made.year < 2100 else None

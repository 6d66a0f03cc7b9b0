"""What a recording's samples say: container by its first bytes, length by its packets, doubts as flags.

=============  ===========================================================================================
flag           meaning
=============  ===========================================================================================
truncated      the file ends inside a page, a packet or its data
no_end         an Ogg stream without its end-of-stream page: the recorder did not close it
damaged        pages or packets are missing or fail their check; decoders skip them silently
chained        several Ogg files one after the other; the time between them is unknown
gaps           the container's clock covers more time than the samples do: audio was lost
overlaps       the samples cover more time than the container's clock: something is there twice
clock_jump     the container's clock runs backwards or is absurd; ``span_s`` may then be the samples' length
many_streams   more than one audio stream; the first (Ogg: the longest) was measured
no_audio       headers and not one sample
unheard        listening to it failed, so nothing is known of speech in it
duration_mismatch   the header's length is more than 1 % off
=============  ===========================================================================================
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, NamedTuple

from handlers.audio import ogg, wav, webm
from handlers.audio.failure import Unreadable, Unsupported
from handlers.model import AudioInfo

GAP_S = 0.1
"""Difference of span and media from which audio counts as lost or doubled. Jitter of real recorders stays below."""

HEADER_TOLERANCE = 0.01
"""Share by which a header may be off before it is said so. Browsers leave out the last packet: 60 ms."""

LONGEST_S = 31 * 86_400.0
"""A longer recording is a broken clock."""

HEAD_BYTES = 4096


class Kind(NamedTuple):
    """How a container is read by libav's demuxer of that name, and measured: by that too, or by a walk of our own,
    which answers None where only libav can tell."""

    container: str
    demuxer: str
    walk: Callable[[BinaryIO], AudioInfo | None] | None = None


_OGG = Kind("ogg", "ogg", walk=ogg.measure)
_WAV = Kind("wav", "wav", walk=wav.measure)
_MP4_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"sidx"})
_FOREIGN = {
    b"FORM": "AIFF",
    b".snd": "AU",
    b"caff": "CAF",
    b"RIFX": "big-endian WAV",
    b"riff": "Wave64",
    b"\x30\x26\xb2\x75": "WMA (ASF)",
    b"MThd": "MIDI",
    b"FLV\x01": "Flash video",
    b"PK\x03\x04": "ZIP",
    b"%PDF": "PDF",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio",
    b".RMF": "RealMedia",
}


def probe(file: BinaryIO) -> AudioInfo:
    """Measure an open, seekable file.

    Raises Unsupported for another kind of file, Unreadable for a broken one; both are AudioUnreadable.
    """
    kind = sniff(file)
    file.seek(0)
    walked = None if kind.walk is None else kind.walk(file)
    if walked is not None:
        return _judged(walked)
    from handlers.audio import scan  # 0.13 s of import that Ogg, WAV and plain WebM need not wait for

    claims = kind.container not in scan.NO_CLAIM or (kind.container == "mp3" and _has_xing(file))
    file.seek(0)
    return _judged(scan.measure(file, kind.container, kind.demuxer, claims=claims))


def sniff(file: BinaryIO) -> Kind:
    """The container by its first bytes; its name's suffix counts for nothing. Raises Unsupported."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    skip = _id3_size(head)
    if skip:
        file.seek(skip)
        head = file.read(HEAD_BYTES)
    kind = _framed(head) or _bare(head)
    if kind is None:
        name = next((name for magic, name in _FOREIGN.items() if head.startswith(magic)), "unknown container")
        raise Unsupported(f"no audio that callspool reads ({'empty file' if not head else name})")
    return kind


def _framed(head: bytes) -> Kind | None:
    """Containers with a magic number."""
    if head.startswith(b"OggS"):
        return _OGG
    if head[:4] in {b"RIFF", b"RF64", b"BW64"}:
        return _WAV if head[8:12] == b"WAVE" else None
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        container = "webm" if b"webm" in head[:64] else "matroska"
        return Kind(container, "matroska", walk=partial(webm.measure, container=container))
    if head[4:8] in _MP4_BOXES:
        return Kind("mp4", "mov")
    if head.startswith(b"fLaC"):
        return Kind("flac", "flac")
    if head.startswith((b"#!AMR\n", b"#!AMR-WB\n")):
        return Kind("amr", "amr")
    return None


def _bare(head: bytes) -> Kind | None:
    """Containers that are only frames, each with eleven or twelve sync bits: ADTS (layer 0) and MPEG audio."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return Kind("aac", "aac")
    layer, version, rate, bits = head[1] >> 1 & 3, head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    return Kind("mp3", "mp3") if layer != 0 and version != 1 and rate != 3 and bits not in {0, 15} else None


def _id3_size(head: bytes) -> int:
    """Bytes of an ID3v2 tag in front: ten of header and a size of four times seven bits."""
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _has_xing(file: BinaryIO) -> bool:
    """Whether the first MP3 frame is a header that names a length."""
    file.seek(0)
    file.seek(_id3_size(file.read(10)), os.SEEK_SET)
    frame = file.read(256)
    return any(name in frame for name in (b"Xing", b"Info", b"VBRI"))


def _judged(info: AudioInfo) -> AudioInfo:
    """The measurement with the doubts that follow from its own numbers."""
    if not (math.isfinite(info.media_s) and 0 <= info.media_s <= LONGEST_S):
        raise Unreadable("its length is absurd")
    flags, span_s = set(info.flags), info.span_s
    if not (math.isfinite(span_s) and 0 <= span_s <= LONGEST_S):
        flags.add("clock_jump")
        span_s = info.media_s
    if info.media_s == 0:
        flags.add("no_audio")
    if span_s - info.media_s > GAP_S:
        flags.add("gaps")
    elif info.media_s - span_s > GAP_S:
        flags.add("overlaps")
    header_s = info.header_s
    if header_s is not None and abs(header_s - span_s) > HEADER_TOLERANCE * span_s:
        flags.add("duration_mismatch")
    return dataclasses.replace(info, span_s=span_s, flags=tuple(sorted(flags)))

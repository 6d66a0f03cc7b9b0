"""The exact length of a WAV file: the bytes of audio that lie on the disk, divided by the bytes of one block.

Headers of WAV files are written before the length is known. A recorder that was killed, or that wrote to a pipe,
leaves 0, 0xFFFFFFFF or the size at its last flush; a file cut short claims more than it holds. So the data chunk's
size counts only where what follows it is again a chunk, or the end of the file.

soundfile agrees with this on whole, streamed and shortened files and takes the header's word where data lies beyond it.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from handlers.audio.failure import Unreadable, Unsupported
from handlers.model import AudioInfo

MAX_CHUNKS = 4096
"""Chunks looked at; a hostile file could hold millions of empty ones."""

UNKNOWN_SIZE = 0xFFFFFFFF
_CODECS = {1: "pcm", 3: "pcm_float", 6: "pcm_alaw", 7: "pcm_mulaw", 2: "adpcm_ms", 0x11: "adpcm_ima", 0x31: "gsm_ms"}
_BLOCK_CODECS = frozenset({2, 0x11, 0x31})
_EXTENSIBLE = 0xFFFE
_AFTER_DATA = frozenset(
    {b"LIST", b"id3 ", b"ID3 ", b"fact", b"cue ", b"bext", b"iXML", b"smpl", b"JUNK", b"PEAK", b"cart"}
)
_OTHER_TAGS = {0x50: "MPEG", 0x55: "MP3", 0x64: "G.726", 0x65: "G.722", 0x83: "G.729", 0xFF: "AAC", 0x161: "WMA"}


class Form(NamedTuple):
    """The fmt chunk: how many samples a block of how many bytes holds."""

    codec: str
    channels: int
    rate: int
    block_bytes: int
    block_samples: int


@dataclass(slots=True)
class _Chunks:
    form: Form | None = None
    data_at: int | None = None
    data_claimed: int = 0
    data_wide: int | None = None
    fact: int | None = None


class Data(NamedTuple):
    """The samples: ``held`` bytes from byte ``at`` of the file on. ``claimed`` is what the header says, if anything."""

    form: Form
    at: int
    held: int
    claimed: int | None
    fact: int | None
    truncated: bool


def data(file: BinaryIO) -> Data:
    """Where the samples of the RIFF, RF64 or BW64 file lie.

    Raises Unreadable where the form or the data is missing, Unsupported for codecs of unknown block length.
    """
    end = file.seek(0, os.SEEK_END)
    found = _walk(file, end)
    if found.form is None or found.data_at is None:
        raise Unreadable("its WAV header has no fmt or no data chunk")
    on_disk = end - found.data_at
    claimed = found.data_claimed if found.data_wide is None else found.data_wide
    believed = claimed != UNKNOWN_SIZE and _ends_in_chunks(file, found.data_at + claimed, end)
    streamed = claimed == UNKNOWN_SIZE or (claimed == 0 and not believed)
    return Data(
        form=found.form,
        at=found.data_at,
        held=min(claimed, on_disk) if believed else on_disk,
        claimed=None if streamed else claimed,
        fact=found.fact,
        truncated=not streamed and claimed > on_disk,
    )


def measure(file: BinaryIO) -> AudioInfo:
    """The length of the RIFF, RF64 or BW64 file; raises what ``data`` raises."""
    form, _, held, claimed, fact, truncated = data(file)
    samples = _samples(form, held, fact)
    return AudioInfo(
        container="wav",
        codec=form.codec,
        sample_rate=form.rate,
        channels=form.channels,
        media_s=samples / form.rate,
        span_s=samples / form.rate,
        header_s=None if claimed is None else _samples(form, claimed, fact) / form.rate,
        flags=("truncated",) if truncated else (),
    )


def _walk(file: BinaryIO, end: int) -> _Chunks:
    """Read the chunks up to the data chunk."""
    found, at = _Chunks(), 12
    for _ in range(MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return found
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            found.data_at, found.data_claimed = at + 8, size
            if size != UNKNOWN_SIZE:
                found.data_wide = None
            return found
        if name == b"fmt ":
            found.form = _form(file.read(min(size, 64)))
        elif name == b"fact" and size >= 4:
            found.fact = int.from_bytes(file.read(4), "little")
        elif name == b"ds64" and size >= 24:
            found.data_wide = struct.unpack("<QQQ", file.read(24).ljust(24, b"\0"))[1]
        at += 8 + size + (size & 1)
        if at > end:
            return found
    raise Unreadable(f"it has more than {MAX_CHUNKS} WAV chunks before its data")


def _form(raw: bytes) -> Form:
    """What the fmt chunk says."""
    if len(raw) < 16:
        raise Unreadable("its WAV fmt chunk is cut short")
    tag, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", raw)
    if tag == _EXTENSIBLE and len(raw) >= 26:
        tag = int.from_bytes(raw[24:26], "little")
    codec = _CODECS.get(tag)
    if codec is None:
        raise Unsupported(f"WAV with codec {_OTHER_TAGS.get(tag, f'0x{tag:04x}')}")
    if not rate or not channels or not align:
        raise Unreadable("its WAV header names no sample rate, no channels or no block size")
    if tag not in _BLOCK_CODECS:
        return Form(_pcm(bits) if codec == "pcm" else codec, channels, rate, align, 1)
    samples = int.from_bytes(raw[18:20], "little")
    if not samples:
        raise Unreadable("its WAV header does not say how many samples a block holds")
    return Form(codec, channels, rate, align, samples)


def _pcm(bits: int) -> str:
    """The usual name of plain samples: 8 bits are unsigned, more are signed and little-endian."""
    return f"pcm_s{bits}le" if bits > 8 else "pcm_u8"


def _samples(form: Form, held: int, fact: int | None) -> int:
    """Samples for each channel in ``held`` bytes; ``fact`` cuts the padding of the last block and nothing more."""
    samples = held // form.block_bytes * form.block_samples
    if form.block_samples > 1 and fact is not None and 0 <= samples - fact < form.block_samples:
        return fact
    return samples


def _ends_in_chunks(file: BinaryIO, at: int, end: int) -> bool:
    """Whether chunks follow one another from ``at`` to the end of the file; a few bytes of padding are forgiven."""
    for _ in range(MAX_CHUNKS):
        at += at & 1
        if at > end + 1:
            return False
        if end - at < 8:
            return True
        file.seek(at)
        head = file.read(8)
        if head[:4] in _AFTER_DATA:
            return True
        if not all(32 <= byte < 127 for byte in head[:4]):
            return False
        at += 8 + int.from_bytes(head[4:], "little")
    return False

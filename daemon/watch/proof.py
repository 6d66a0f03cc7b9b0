"""The two proofs that a file is finished, taken from an open descriptor.

Writers
    Linux grants a read lease (fcntl(2), F_SETLEASE with F_RDLCK) only while nobody has the file open for writing, a
    writable mapping included, and answers EAGAIN otherwise. It wants the file's owner or CAP_LEASE, and a local file
    system; any other answer means that writers cannot be known. The lease is given back at once: a writer that opens
    meanwhile waits those microseconds, or fails if it opens non-blocking, which is why it is tried on files that
    stand still only.

Container
    What the format itself says, by content and never by name. Reads are few and small whatever the file's size, and
    no bytes make them raise. A length that a recorder writes last (RIFF, Segment, ``moov``) or a mark it writes last
    (Ogg's end-of-stream page, ``mfra``) is proof. MP3 and FLAC have neither; nor has a browser's WebM.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import struct
from collections.abc import Callable, Iterator

from daemon.watch.settle import Container, Writers

JSON_LIMIT = 4 << 20
"""Bytes of JSON parsed for a proof. Parsed, hostile JSON takes some twenty times its size; longer files wait out
their window."""

OGG_PAGE_MAX = 27 + 255 + 255 * 255
"""Bytes of the longest Ogg page (RFC 3533, section 6)."""

MAX_STEPS = 4096
"""Chunks or boxes looked at before giving up on a file."""

UNSET_SIZES = (0, 0xFFFFFFFF)
"""What recorders leave in a length field until they close the file."""

_MP4_FIRST = frozenset((b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx"))


def writers(fd: int) -> Writers:
    """Whether some process holds the file open for writing. ``fd`` is open for reading only, on a regular file."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return Writers.UNKNOWN
    try:
        # A writer that opens while we hold the lease makes the kernel signal us; SIGIO would end the process, SIGURG
        # is ignored by default.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return Writers.SEEN if error.errno == errno.EAGAIN else Writers.UNKNOWN
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return Writers.NONE


def container(fd: int, size: int) -> Container:
    """Whether the content of ``size`` bytes is whole, as far as its format tells."""
    try:
        head = os.pread(fd, 64, 0)
        judge = _judge(head)
        return Container.UNKNOWN if judge is None else judge(fd, size)
    except OSError:  # it cannot be read now; hashing will say so with the errno
        return Container.UNKNOWN
    except (IndexError, struct.error):  # a header that ends before it has said its lengths
        return Container.INCOMPLETE


def _judge(head: bytes) -> Callable[[int, int], Container] | None:
    """The function that knows the format a file begins with."""
    if head[:4] == b"OggS":
        return _ogg
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _wav if head[8:12] in (b"WAVE", b"") else None
    if head[4:8] in _MP4_FIRST:
        return _mp4
    if head[:4] == b"\x1aE\xdf\xa3":
        return _webm
    if head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")[:1] in (b"{", b"[") or not head.strip(b" \t\r\n"):
        return _json
    return None


# ------------------------------------------------------------------------------------------------- formats


def _ogg(fd: int, size: int) -> Container:
    """Complete when the last page ends with the file and ends its stream (RFC 3533: header type flag 4)."""
    start = max(0, size - OGG_PAGE_MAX)
    tail = os.pread(fd, OGG_PAGE_MAX, start)
    at = tail.rfind(b"OggS")
    while at >= 0:
        if _page_end(tail, at) == len(tail):
            return Container.COMPLETE if tail[at + 5] & 4 and start + len(tail) == size else Container.INCOMPLETE
        at = tail.rfind(b"OggS", 0, at)
    return Container.INCOMPLETE


def _page_end(data: bytes, at: int) -> int:
    """Where the Ogg page at ``at`` ends; -1 where its header is cut off or of another version."""
    if at + 27 > len(data) or data[at + 4] != 0:
        return -1
    segments = data[at + 26]
    lacing = data[at + 27 : at + 27 + segments]
    return at + 27 + segments + sum(lacing) if len(lacing) == segments else -1


def _wav(fd: int, size: int) -> Container:
    """Complete when RIFF (or ds64) and data lengths are set and agree with the file's size."""
    magic, declared = os.pread(fd, 4, 0), _u32le(fd, 4)
    long_data: int | None = None
    if magic != b"RIFF":
        if os.pread(fd, 4, 12) != b"ds64":
            return Container.INCOMPLETE
        declared, long_data = struct.unpack("<QQ", os.pread(fd, 16, 20))
    if declared in UNSET_SIZES or declared + 8 not in (size, size - 1):
        return Container.INCOMPLETE
    for name, length, body in _chunks(fd, size):
        if name == b"data":
            data = long_data if length == 0xFFFFFFFF and long_data is not None else length
            return Container.INCOMPLETE if data in UNSET_SIZES or body + data > size else Container.COMPLETE
    return Container.INCOMPLETE


def _chunks(fd: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, length and start of the body of each RIFF chunk, up to the first that runs past the end."""
    at = 12
    for _ in range(MAX_STEPS):
        if at + 8 > size:
            return
        name, length = struct.unpack("<4sI", os.pread(fd, 8, at))
        yield name, length, at + 8
        at += 8 + length + (length & 1)


def _mp4(fd: int, size: int) -> Container:
    """Complete when ``moov`` is there and the top-level boxes cover the file exactly (ISO/IEC 14496-12, 4.2).

    A fragmented file has its ``moov`` in front and may always get another fragment: only its closing ``mfra`` proves
    the end.
    """
    names: set[bytes] = set()
    last, at = b"", 0
    for _ in range(MAX_STEPS):
        if at == size:
            break
        last, length = _box(fd, at)
        names.add(last)
        if length == 0:  # reaches to the end of the file, wherever that will be
            return Container.UNKNOWN if names >= {b"moov", b"mdat"} and last == b"mdat" else Container.INCOMPLETE
        if length < 8 or at + length > size:
            return Container.INCOMPLETE
        at += length
    if at != size:
        return Container.UNKNOWN
    if b"moof" in names and last != b"mfra":
        return Container.UNKNOWN
    return Container.COMPLETE if b"moov" in names else Container.INCOMPLETE


def _box(fd: int, at: int) -> tuple[bytes, int]:
    """Type and length, header included, of the box at ``at``."""
    length, name = struct.unpack(">I4s", os.pread(fd, 8, at))
    if length == 1:
        (length,) = struct.unpack(">Q", os.pread(fd, 8, at + 8))
        length = length if length >= 16 else 1
    return name, length


def _webm(fd: int, size: int) -> Container:
    """Where the Segment's length is known (RFC 8794, 6.2) it must reach the end of the file; where not, nothing
    tells."""
    head = os.pread(fd, 256, 0)
    at, length = _vint(head, 4)
    if length is None:
        return Container.UNKNOWN
    at += length
    head = os.pread(fd, 16, at)
    if len(head) == 16 and head[:4] != b"\x18\x53\x80\x67":
        return Container.UNKNOWN
    past, length = _vint(head, 4)
    if length is None:
        return Container.UNKNOWN
    end = at + past + length
    if end == size:
        return Container.COMPLETE
    return Container.INCOMPLETE if end > size else Container.UNKNOWN


def _vint(data: bytes, at: int) -> tuple[int, int | None]:
    """Where the variable-length integer at ``at`` ends, and its value: None for "unknown". IndexError where cut off."""
    width = 9 - data[at].bit_length()
    if width > 8 or at + width > len(data):
        raise IndexError("cut off")
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return at + width, None if value == (1 << 7 * width) - 1 else value


def _json(fd: int, size: int) -> Container:
    """Complete when it parses as one object in UTF-8, with or without a byte order mark."""
    if size > JSON_LIMIT:
        return Container.UNKNOWN
    try:
        value = json.loads(_all(fd, size).decode("utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return Container.INCOMPLETE
    except (ValueError, RecursionError):  # numbers or nesting beyond what Python reads: intake says so
        return Container.UNKNOWN
    return Container.COMPLETE if isinstance(value, dict) else Container.INCOMPLETE


def _all(fd: int, size: int) -> bytes:
    parts, at = [], 0
    while at < size and (part := os.pread(fd, size - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _u32le(fd: int, at: int) -> int:
    return int(struct.unpack("<I", os.pread(fd, 4, at))[0])

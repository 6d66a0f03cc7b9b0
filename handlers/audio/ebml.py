"""EBML as WebM uses it (RFC 8794): elements read one after the other in flat memory."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from handlers.audio.failure import NotPlain

CHUNK = 1 << 20
"""Bytes read at once. An element that has to be whole and is larger is not plain: a block of audio has some hundred."""

NUMBER = 8
"""Bytes a number may have."""

CLOCK_TICK_S = 0.005
"""Timelines that agree this well with the samples agree: Matroska's clock has milliseconds."""

VOID, CRC = 0xEC, 0xBF
NOTHING = frozenset({VOID, CRC})
"""Elements that may stand anywhere, and say nothing."""


class Window:
    """The file's bytes, some at a time, and the place in them that is looked at."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self._at = 0
        self.data = b""
        self.place = 0

    @property
    def here(self) -> int:
        """The place in the file."""
        return self._at + self.place

    def fill(self, size: int) -> None:
        """Have so many bytes of what follows at hand, or all that follows. Raises NotPlain where the file changes."""
        if len(self.data) - self.place >= size or self._at + len(self.data) >= self.size:
            return
        rest = self.data[self.place :]
        more = self._file.read(max(CHUNK, size))
        if not more:
            raise NotPlain
        self._at, self.data, self.place = self.here, rest + more, 0

    def element(self) -> tuple[int, int | None]:
        """The id and size of the element that begins here, and go to its content; the size is None where it is not
        said."""
        self.fill(HEAD)
        head = self.data[self.place : self.place + HEAD]
        name, width = number_at(head, 0, marked=True)
        size, end = number_at(head, width)
        self.place += end
        return name, None if size == (1 << 7 * (end - width)) - 1 else size

    def content(self, size: int) -> bytes:
        """The next bytes, and go behind them. Raises NotPlain where there are fewer, or too many."""
        if size > CHUNK:
            raise NotPlain
        self.fill(size)
        found = self.data[self.place : self.place + size]
        if len(found) < size:
            raise NotPlain
        self.place += size
        return found

    def skip(self, size: int) -> None:
        """Go behind the next bytes. Raises NotPlain where there are fewer."""
        there = self.here + size
        if there > self.size:
            raise NotPlain
        self.place += size
        if self.place > len(self.data):
            self._file.seek(there)
            self._at, self.data, self.place = there, b"", 0


HEAD = 12
"""Bytes of the longest id and size."""


def number_at(data: bytes, at: int, *, marked: bool = False) -> tuple[int, int]:
    """A number that says its own width in its first byte, and where it ends; ids keep the mark of the width."""
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    if not first or at + width > len(data) or (marked and width > 4):
        raise NotPlain
    found = int.from_bytes(data[at : at + width], "big")
    return found if marked else found & ((1 << 7 * width) - 1), at + width


def sized(data: bytes, at: int) -> tuple[int, int, int]:
    """The id of the element at ``at``, and where its content begins and ends. Raises NotPlain where that is not said,
    or not in ``data``."""
    name, at = number_at(data, at, marked=True)
    size, begin = number_at(data, at)
    if size == (1 << 7 * (begin - at)) - 1 or begin + size > len(data):
        raise NotPlain
    return name, begin, begin + size


def children(data: bytes) -> dict[int, bytes]:
    """What an element consists of, each at most once but for what is skipped anyhow."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        name, begin, at = sized(data, at)
        if name in found and name not in NOTHING:
            raise NotPlain
        found[name] = data[begin:at]
    return found


def whole(data: bytes) -> int:
    """A whole number; of none, zero."""
    if len(data) > NUMBER:
        raise NotPlain
    return int.from_bytes(data, "big")


def real(data: bytes) -> float:
    """A number with a point of four or eight bytes; of none, zero."""
    if len(data) not in (0, 4, 8):
        raise NotPlain
    return 0.0 if not data else float(struct.unpack(">f" if len(data) == 4 else ">d", data)[0])

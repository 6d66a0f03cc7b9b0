"""Where the bytes of an object come from: an item's file, a text that the plan holds, or a copy in another store."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from daemon.contract import Contents
from daemon.errors import ContentGone, ContentMoved
from handlers.storage.store import KeyMissing, Store

BLOCK = 1 << 20
"""Bytes read at once."""


@dataclass(frozen=True, slots=True)
class OfItem:
    """A settled file's bytes; once no file holds them, those of a copy. Whoever reads them holds them against the hash.

    ``copies`` are stores and keys where one of ``size`` bytes may lie.
    """

    contents: Contents
    item: int
    size: int
    copies: Sequence[tuple[Store, str]] = ()

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """As ``Contents.open``."""
        with ExitStack() as held:
            try:
                file = held.enter_context(self.contents.open(self.item))
            except ContentGone:
                copy = self._copy()
                if copy is None:
                    raise
                file = held.enter_context(copy)
            yield file

    def _copy(self) -> AbstractContextManager[BinaryIO] | None:
        """A copy that is as large."""
        for store, key in self.copies:
            found = store.find(key)
            if found is not None and found.size == self.size:
                return store.open(key)
        return None


@dataclass(frozen=True, slots=True)
class OfText:
    """A text, in UTF-8."""

    text: str

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The text's bytes."""
        yield io.BytesIO(self.text.encode("utf-8"))


@dataclass(frozen=True, slots=True)
class OfCopy:
    """What lies in a store."""

    store: Store
    key: str

    def open(self) -> AbstractContextManager[BinaryIO]:
        """The object's bytes."""
        return self.store.open(self.key)


def read_exactly(file: BinaryIO, size: int) -> bytes:
    """The next ``size`` bytes. Raises ContentMoved where the file ends before, or cannot be read."""
    try:
        data = file.read(size)
        while len(data) < size:
            more = file.read(size - len(data))
            if not more:
                raise ContentMoved("the file became shorter while it was stored")
            data += more
    except OSError as error:
        raise ContentMoved(f"the file cannot be read ({os.strerror(error.errno or 0)})") from error
    return data


def read_into(file: BinaryIO, buffer: memoryview) -> None:
    """Fill the buffer with the next bytes. Raises ContentMoved where the file ends before, or cannot be read."""
    filled = 0
    try:
        while filled < len(buffer):
            more = file.readinto(buffer[filled:])  # type: ignore[attr-defined] # every binary file has it
            if not more:
                raise ContentMoved("the file became shorter while it was stored")
            filled += more
    except OSError as error:
        raise ContentMoved(f"the file cannot be read ({os.strerror(error.errno or 0)})") from error


def digest_of(file: BinaryIO) -> str:
    """SHA-256 in hex of all that follows, in flat memory."""
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def shows(store: Store, key: str, sha256: str, size: int) -> bool:
    """Whether this content lies there: by what the object says of itself, and where the store keeps no such word by
    its bytes."""
    found = store.find(key)
    if found is None or found.size != size:
        return False
    if found.sha256 is not None:
        return found.sha256 == sha256
    try:
        with store.open(key) as file:
            return digest_of(file) == sha256
    except KeyMissing:
        return False

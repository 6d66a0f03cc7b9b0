"""What is written about compression beside the audio: the master index and the log file, where they are configured."""

from __future__ import annotations

import os
import threading
from datetime import datetime
from typing import Any, Literal

from daemon.contract import Effect, Receipt, sync_folder
from daemon.errors import Unacceptable
from handlers.compress import files
from handlers.compress.document import Change, NoIndex, indexed, without

INDEX = "compress.index"
LOG = "compress.log"
LARGEST_INDEX = 256 << 20
TAIL = 1 << 16
"""Bytes of the log's end in which a line is looked for that may have been written before."""

_WRITING = threading.Lock()
"""One change of these files at a time: each reads what the last one wrote."""


class IndexPerformer:
    """Lets the entries of the master index follow. It is read anew each time: others write it too."""

    def find(self, _effect: Effect, /) -> Receipt | None:
        """Doing it again is as good as knowing."""
        return None

    def perform(self, effect: Effect, /) -> Receipt:
        """Change what there is to change; raises Unacceptable for a file that is no index, NotSent where the disk says
        no."""
        given: Any = effect.payload
        names = (given["original"], given["copy"], given["original_size"], given["size"])
        change = Change(*names, datetime.fromisoformat(given["at"]), given["path"])
        with _WRITING:
            raw = read_index(given["index"])
            try:
                written = indexed(raw, change)
            except NoIndex as error:
                raise Unacceptable(f"the master index (compress.index) stays as it is: {error}") from error
            if written is not None:
                write_index(given["index"], written)
        return Receipt({"written": written is not None})

    def doubt(self, _effect: Effect, /) -> Literal["resend", "hold"]:
        """Doing it twice changes nothing."""
        return "resend"


class LogPerformer:
    """Appends a line to the log file."""

    def find(self, effect: Effect, /) -> Receipt | None:
        """Whether it stands there already."""
        given: Any = effect.payload
        try:
            with open(given["file"], "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
                return Receipt({}) if given["line"].encode() + b"\n" in file.read() else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise files.refused("read", error) from error

    def perform(self, effect: Effect, /) -> Receipt:
        """Append it; NotSent where the disk says no."""
        given: Any = effect.payload
        try:
            with _WRITING, open(given["file"], "ab") as file:
                file.write(given["line"].encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise files.refused("written", error) from error
        return Receipt({})

    def doubt(self, _effect: Effect, /) -> Literal["resend", "hold"]:
        """It is looked up."""
        return "resend"


def read_index(path: str) -> bytes:
    """What the index holds; nothing where there is none yet."""
    try:
        with open(path, "rb") as file:
            raw = file.read(LARGEST_INDEX + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise files.refused("read", error) from error
    if len(raw) > LARGEST_INDEX:
        raise Unacceptable("the master index (compress.index) is larger than 256 MB")
    return raw


def write_index(path: str, content: bytes) -> None:
    """Put the index in the old one's place, or where there was none."""
    name = os.fsencode(path)
    if os.path.exists(name):
        files.replace(name, content)
        return
    try:
        os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(os.path.dirname(name))
    except OSError as error:
        raise files.refused("written", error) from error


def purge_index(path: str, names: frozenset[str]) -> None:
    """Take the entries of these files out of the index."""
    with _WRITING:
        left = without(read_index(path), names)
        if left is not None:
            write_index(path, left)


def names_in_index(path: str, names: frozenset[str]) -> bool:
    """Whether the index speaks of one of these files."""
    return os.path.exists(path) and without(read_index(path), names) is not None

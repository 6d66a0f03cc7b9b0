"""The local store: a folder. Every object is written beside, fsynced, renamed, and its folder fsynced.

A file system that can share blocks (btrfs, xfs) is asked to, which costs neither time nor space and is a copy all the
same: writing to one of the two changes nothing in the other. A hard link is no copy, so none is ever made, and a key
that turns out to be a link to its source is replaced by a copy. The disk is never filled below ``min_free``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from daemon.contract import sync_folder
from daemon.errors import NotSent
from handlers.storage.content import BLOCK, digest_of, read_exactly
from handlers.storage.store import Content, Described, Found, KeyConflict, KeyMissing, Stored

TEMPORARY = ".callspool-"
"""What a file that is being written begins with: it is no object yet."""

NOT_HERE = "it is not in the local store"
"""Why a copy that was to move cannot."""

MOST_VANISHED = 5
"""How often a folder may be let go of as empty just when something is to be put into it."""

_FICLONE = 0x40049409
_NO_CLONE = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM})


class LocalStore:
    """Keys are paths below ``folder``, which is made when it is first needed. ``min_free`` is bytes."""

    place = "local"
    bucket = ""

    def __init__(self, folder: str, min_free: int) -> None:
        self._folder = folder
        self._min_free = min_free
        self._turns = _Turns()

    @property
    def folder(self) -> str:
        """Where the store lies."""
        return self._folder

    def find(self, key: str) -> Found | None:
        """A regular file of that name; its content says its own hash only when it is read."""
        try:
            found = os.lstat(self._path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _refused("looked at", error) from error
        return Found(key, found.st_size) if stat.S_ISREG(found.st_mode) else Found(key, -1)

    def put(self, key: str, content: Content, described: Described, *, over: bool = False) -> Stored:
        """Write it, and read back what was written."""
        path = self._path(key)
        with self._turns.of(path), content.open() as source:
            if not self._linked(path, source):
                standing = self._digest(key, described.size)
                if standing == described.sha256:
                    return Stored("read back", fresh=False)
                if standing is not None and not over:
                    raise KeyConflict("another file lies in the local store under that name")
            self._reserve(described.size)
            try:
                beside = self._beside(path)
                try:
                    self._write(beside, source, described)
                    os.rename(beside, path)
                except BaseException:
                    if os.path.lexists(beside):
                        os.unlink(beside)
                    raise
                self._sync_folders(path)
            except OSError as error:
                raise _refused("written", error) from error
        return Stored("read back", fresh=True)

    @contextmanager
    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[BinaryIO]:
        """The file itself, or as much of it as was asked for."""
        try:
            fd = os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise KeyMissing(NOT_HERE) from None
        except OSError as error:
            raise _refused("opened", error) from error
        with os.fdopen(fd, "rb") as file:
            file.seek(start)
            yield file if length is None else cast("BinaryIO", _Part(file, length))

    def delete(self, key: str) -> None:
        """Unlink it, and the folders that are empty then."""
        path = self._path(key)
        self._let_go(path, path)

    def _let_go(self, path: str, name: str) -> bool:
        """Unlink what a path holds or what is written beside it, and the folders that are empty then; whether there was
        something."""
        parent = os.path.dirname(name)
        with self._turns.of(path):
            try:
                os.unlink(name)
                sync_folder(parent)
            except (FileNotFoundError, NotADirectoryError):
                return False
            except OSError as error:
                raise _refused("deleted", error) from error
        self._drop_empty(parent)
        return True

    def _drop_empty(self, parent: str) -> None:
        """Remove the folder and those above it, as far as they are empty."""
        while parent != self._folder:
            try:
                os.rmdir(parent)
            except OSError:  # not empty, or somebody was quicker: it stays
                return
            parent = os.path.dirname(parent)

    def list(self, prefix: str) -> Iterator[Found]:
        """Every regular file below the folder; links are not followed, and what is being written is left out."""
        if not os.path.isdir(self._folder):
            return
        found = []
        for folder, folders, names in os.walk(self._folder):
            folders.sort()
            for name in names:
                path = os.path.join(folder, name)
                key = os.path.relpath(path, self._folder)
                if key.startswith(prefix) and not name.startswith(TEMPORARY):
                    status = os.lstat(path)
                    if stat.S_ISREG(status.st_mode):
                        found.append(Found(key, status.st_size))
        yield from sorted(found, key=lambda one: one.key)

    def drop_part(self, key: str) -> bool:
        """Let go of what a write of this key left beside it when it was killed; whether there was something."""
        path = self._path(key)
        return self._let_go(path, self._beside(path))

    def begun(self, prefix: str) -> Iterator[tuple[str, str]]:
        """There are no uploads in parts here."""
        del prefix
        yield from ()

    def is_same_file(self, key: str, path: bytes) -> bool:
        """Whether the key and the path are two names of one file: then there is only one copy."""
        try:
            mine, theirs = os.lstat(self._path(key)), os.lstat(path)
        except OSError as error:
            raise _refused("looked at", error) from error
        return (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino)

    def free(self) -> int:
        """Bytes that may still be written before ``min_free`` is reached; below zero where it is passed."""
        folder = self._folder
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder) or "/"
        status = os.statvfs(folder)
        return status.f_bavail * status.f_frsize - self._min_free

    def _reserve(self, size: int) -> None:
        try:
            enough = self.free() >= size
        except OSError as error:
            raise _refused("measured", error) from error
        if not enough:
            raise NotSent("the local store's disk would fall below storage.min_free")

    def _path(self, key: str) -> str:
        path = os.path.normpath(os.path.join(self._folder, key))
        if not path.startswith(os.path.join(self._folder, "")):
            raise KeyConflict("a key that leads out of the local store")
        return path

    def _digest(self, key: str, size: int) -> str | None:
        """The hash of what lies there; None where nothing does. What is not of that size is not read."""
        found = self.find(key)
        if found is None or found.size != size:
            return None if found is None else ""
        with self.open(key) as file:
            return digest_of(file)

    def _linked(self, path: str, source: BinaryIO) -> bool:
        """Whether the key is but another name of its source."""
        try:
            mine, theirs = os.lstat(path), os.fstat(source.fileno())
        except OSError:  # nothing lies there, or the source is no file
            return False
        return (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino)

    def _beside(self, path: str) -> str:
        """The same at every try, so that a kill leaves one at most."""
        short = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return os.path.join(os.path.dirname(path), f"{TEMPORARY}{short}.part")

    def _write(self, beside: str, source: BinaryIO, described: Described) -> None:
        """Fill it, fsync it, and read it back. Raises ContentMoved where the source is no longer what was hashed."""
        with os.fdopen(_begun(beside), "r+b") as file:
            if not _cloned(file, source):
                left = described.size
                while left:
                    block = read_exactly(source, min(BLOCK, left))
                    file.write(block)
                    left -= len(block)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            if os.fstat(file.fileno()).st_size != described.size or digest_of(file) != described.sha256:
                raise _Differs

    def _sync_folders(self, path: str) -> None:
        """The folder, and those above it up to the store's: they may be new."""
        folder = os.path.dirname(path)
        while True:
            sync_folder(folder)
            if folder in (self._folder, "/"):
                return
            folder = os.path.dirname(folder)


class _Turns:
    """Whoever writes a path or lets go of it, one after the other: what is written beside it has one name."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken: set[str] = set()

    @contextmanager
    def of(self, path: str) -> Iterator[None]:
        """Wait for the path, and have it alone."""
        with self._changed:
            self._changed.wait_for(lambda: path not in self._taken)
            self._taken.add(path)
        try:
            yield
        finally:
            with self._changed:
                self._taken.remove(path)
                self._changed.notify_all()


class _Differs(OSError):
    """What was written is not what was hashed: the source moved, or the disk lies."""

    def __init__(self) -> None:
        super().__init__(errno.EIO, "what was written differs from what was hashed")


class _Part:
    """The first bytes of a file from where it stands."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file, self._left = file, length

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def _begun(beside: str) -> int:
    """A new file, open, in folders that are made where they are not there: again, where somebody lets go of them as
    empty in between."""
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    vanished = 0
    while True:
        try:
            os.makedirs(os.path.dirname(beside), exist_ok=True)
            return os.open(beside, flags, 0o666)
        except FileNotFoundError:
            vanished += 1
            if vanished == MOST_VANISHED:
                raise


def _cloned(file: BinaryIO, source: BinaryIO) -> bool:
    """Whether the file system gave the new file its source's blocks."""
    try:
        import fcntl

        fcntl.ioctl(file.fileno(), _FICLONE, source.fileno())
    except (OSError, ValueError) as error:  # ValueError: the source is no file
        if isinstance(error, OSError) and error.errno not in _NO_CLONE and error.errno is not None:
            raise
        return False
    return True


def _refused(what: str, error: OSError) -> NotSent:
    reason = "what was written differs from what was hashed" if isinstance(error, _Differs) else ""
    return NotSent(f"the local store cannot be {what}: {reason or os.strerror(error.errno or 0)}")

"""Opening files that somebody else puts there.

No link is followed, neither in the name nor in a folder on the way to it: whoever may write below a root could
otherwise have us read any file that we can. Nothing blocks on a pipe, and only regular files are opened for reading.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat as modes
from collections.abc import Callable
from dataclasses import dataclass

from daemon.catalogue import Stat
from daemon.watch.names import join

CHUNK = 1 << 20
"""Bytes read at once while hashing."""

WAIT_ERRNOS = frozenset((errno.EBUSY, errno.ETXTBSY, errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE))
"""Not now: somebody holds the file, or we are short of descriptors. Never a failure."""

GONE_ERRNOS = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
"""The name, or a folder on the way to it, is no longer what it was."""


def stat_of(found: os.stat_result) -> Stat:
    """What of lstat's answer tells one version of a file from the next."""
    return Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def lstat(root: bytes, folder: bytes, name: bytes) -> os.stat_result:
    """What lies under the name; raises OSError."""
    return os.lstat(join(root, folder, name))


def open_regular(root: bytes, folder: bytes, name: bytes) -> int:
    """A descriptor for reading a regular file below the root; raises OSError (EINVAL where it is no regular file)."""
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folder.split(b"/") if folder else ():
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            at, above = os.open(part, flags, dir_fd=at), at
            os.close(above)
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)
    if not modes.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file")
    return fd


@dataclass(frozen=True, slots=True)
class Hashed:
    """What reading a file once gave: its digest, or ``moved`` where it changed meanwhile. ``size`` is what was read."""

    stat: Stat
    sha256: str
    moved: bool


def hash_file(
    root: bytes, folder: bytes, name: bytes, expected: Stat, stopping: Callable[[], bool] = lambda: False
) -> Hashed:
    """SHA-256 of the file, read once; raises OSError, InterruptedError among them where ``stopping`` says so.

    Size, mtime and inode must be ``expected`` before and after, on the descriptor and under the name.
    """
    fd = open_regular(root, folder, name)
    try:
        before = stat_of(os.fstat(fd))
        if not same(before, expected):
            return Hashed(before, "", moved=True)
        digest, read = hashlib.sha256(), 0
        buffer = bytearray(min(CHUNK, expected.size + 1))
        view = memoryview(buffer)
        while read <= expected.size and (count := os.readv(fd, (buffer,))):
            digest.update(view[:count])
            read += count
            if stopping():
                raise InterruptedError(errno.EINTR, "stopping")
        after = stat_of(os.fstat(fd))
    finally:
        os.close(fd)
    current = stat_of(lstat(root, folder, name))
    moved = not same(after, expected) or not same(current, expected) or read != expected.size
    return Hashed(current, digest.hexdigest(), moved=moved)


def same(one: Stat, other: Stat) -> bool:
    """Whether the content may be trusted to be the same. A change of ctime alone is a new mode, owner or link."""
    return (one.size, one.mtime_ns, one.ino) == (other.size, other.mtime_ns, other.ino)

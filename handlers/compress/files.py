"""Changes of a folder that last: written beside, synced, named, and the folder synced."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat

from daemon.contract import sync_folder
from daemon.errors import NotSent, Unacceptable

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What file systems without hard links answer (exFAT, some network mounts)."""


def digest(path: bytes) -> str | None:
    """The SHA-256 of a regular file; None where there is none of that name. Raises NotSent where it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise refused("read", error) from error
    with os.fdopen(fd, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if stat.S_ISREG(os.fstat(fd).st_mode) else None


def name_it(temporary: bytes, final: bytes, sha256: str) -> None:
    """Give a finished file its name, never over another; raises Unacceptable where the name is taken meanwhile."""
    try:
        try:
            os.link(temporary, final)
        except FileExistsError:
            if digest(final) != sha256:
                raise Unacceptable("another file took the copy's name") from None
        except OSError as error:
            if error.errno not in _NO_LINKS or os.path.lexists(final):
                raise
            os.rename(temporary, final)
        sync_folder(os.path.dirname(final))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        sync_folder(os.path.dirname(final))
    except OSError as error:
        raise refused("named", error) from error


def remove(path: bytes) -> None:
    """Remove a file for good; one that is gone is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise refused("removed", error) from error
    sync_folder(os.path.dirname(path))


def replace(path: bytes, content: bytes) -> None:
    """Write new content in a file's place, with its mode, so that at every instant one of the two lies there whole."""
    folder, name = os.path.split(path)
    beside = os.path.join(folder, b".callspool-" + hashlib.sha256(name).hexdigest()[:12].encode() + b".tmp")
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
        with open(beside, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, path)
        sync_folder(os.path.dirname(path))
    except OSError as error:
        raise refused("written", error) from error


def refused(what: str, error: OSError) -> NotSent:
    """The disk said no: nothing was lost, and it is tried again."""
    return NotSent(f"it cannot be {what} ({os.strerror(error.errno or 0)})")

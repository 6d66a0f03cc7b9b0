"""One process to a ledger: a kernel lock beside it, which dies with its holder and so is never stale."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from daemon.errors import AnotherInstance


class LedgerLock:
    """Held from construction to ``release`` or the end of the process.

    The file's content, the holder's pid, is for people and for the error below; the lock is the kernel's.
    Raises AnotherInstance (exit 11) with the holder's pid.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _locked(self._fd):
            pid = _pid(os.read(self._fd, 32))
            os.close(self._fd)
            raise AnotherInstance(
                f"another callspool (pid {pid or 'unknown'}) works on the ledger in {path.parent}",
                pid=pid,
                fix="callspool status shows what it does; stop it first, or use another state.dir",
            )
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process in. The file stays: removing it would race with the next holder."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def holder(path: Path) -> int | None:
    """The pid of the process that holds the lock at ``path``; None when nobody does."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(os.read(fd, 32)) or 0
    else:
        return None
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    """Take the lock. A few quick tries: ``holder`` holds it for microseconds while it looks."""
    for pause_s in (0.01, 0.05, 0.2, 0.0):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause_s)
        else:
            return True
    return False


def _pid(content: bytes) -> int | None:
    text = content.strip()
    return int(text) if text.isdigit() else None

"""The health of a watched root.

A root is a folder that may be missing at start, be deleted and made again, be renamed away, or have a file system
mounted over it and taken off again. Each look compares its identity (device, inode) with the one whose events are
armed; what differs is degraded first and armed anew, with backoff. **Absence is never deletion**: files count as gone
only below a root that is healthy, whose guard is there, and that has shown at least one file we know since it got its
present identity: an empty mount point has not.

    waiting_for_root ──there──> watching | polling ──missing, replaced, no guard──> degraded ──there──> watching |
    polling
"""

from __future__ import annotations

import errno
import os
import re
import stat as modes
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from daemon.catalogue import RootState
from daemon.filesystem import filesystem_of
from daemon.watch import proof
from daemon.watch.names import join
from daemon.watch.opening import open_regular
from daemon.watch.options import Poll
from daemon.watch.settle import Writers

BACKOFF_MAX_S = 60.0
"""Longest pause between two attempts to arm a root again."""

WATCH_LIMIT = "sysctl fs.inotify.max_user_watches"

HEALTHY = (RootState.WATCHING, RootState.POLLING)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a root's path saw: its identity (device, inode), or why there is none."""

    identity: tuple[int, int] | None
    reason: str = ""


def look_at(path: bytes, guard: str = "") -> Look:
    """Look at a root now. The path itself may be a link; a guard must be a name inside it."""
    try:
        found = os.stat(path)
        if not modes.S_ISDIR(found.st_mode):
            return Look(None, "not a folder")
        if not os.access(path, os.R_OK | os.X_OK):
            return Look(None, "EACCES")
    except OSError as error:
        return Look(None, errno_name(error))
    try:
        if guard:
            os.lstat(join(path, os.fsencode(guard)))
    except OSError as error:
        return Look(None, f"guard file: {errno_name(error)}")
    return Look((found.st_dev, found.st_ino))


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a root stands: its state and why, the identity that is armed, and when it may be armed again."""

    state: RootState = RootState.WAITING
    reason: str = "not looked at yet"
    identity: tuple[int, int] | None = None
    failures: int = 0
    retry_at: float = 0.0

    @property
    def healthy(self) -> bool:
        """Whether files below it can be believed."""
        return self.state in HEALTHY


Step = Literal["stay", "arm", "lost"]


def step(standing: Standing, look: Look, now: float) -> Step:
    """What a look means: nothing new, arm (or try again), or the root was lost."""
    if standing.healthy:
        return "stay" if look.identity == standing.identity else "lost"
    return "arm" if look.identity is not None and now >= standing.retry_at else "stay"


def lost(standing: Standing, look: Look, now: float) -> Standing:
    """The standing of a root that is no longer what was armed. It may be armed again a second later, then ever more
    slowly."""
    reason = look.reason or "another folder took its place"
    return Standing(RootState.DEGRADED, reason, None, standing.failures + 1, now + backoff_s(standing.failures))


def absent(standing: Standing, look: Look) -> Standing:
    """The standing of an unhealthy root that is still not there: it keeps its state, the reason is today's."""
    return replace(standing, reason=look.reason) if look.identity is None else standing


@dataclass(frozen=True, slots=True)
class Polled:
    """Why a root is polled. ``wanting``: events were wanted and could not be had, and are tried again."""

    reason: str
    wanting: bool = False


def armed(look: Look, polled: Polled | None) -> Standing:
    """The standing of a root that was just armed, with events or without."""
    if polled is None:
        return Standing(RootState.WATCHING, "", look.identity)
    return Standing(RootState.POLLING, polled.reason, look.identity)


def backoff_s(failures: int) -> float:
    """1 s, 2 s, 4 s, … up to a minute."""
    return min(BACKOFF_MAX_S, 2.0 ** min(failures, 6))


def errno_name(error: OSError) -> str:
    """The errno's name, such as EACCES; for reasons, which hold no path."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


# ------------------------------------------------------------------------------------------------- file systems


def why_polled(path: bytes, poll: Poll) -> str | None:
    """Why the root's events are not to be relied on; None where they are.

    A network file system mounted anywhere below the root counts: the kernel tells nothing of what another machine does.
    """
    if poll != "auto":
        return "configured" if poll == "always" else None
    for mount in (path, *_mounts_below(path)):
        found = filesystem_of(mount)
        if found.network or found.type.startswith("fuse."):
            return f"{found.type} brings no events"
    return None


def _mounts_below(path: bytes) -> list[bytes]:
    """The mount points below a folder, from /proc/self/mountinfo; none where there is no /proc."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return []
    inside = os.path.realpath(path).rstrip(b"/") + b"/"
    mounts = (re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), line.split(b" ")[4]) for line in lines)
    return [mount for mount in mounts if mount.startswith(inside)]


@dataclass(frozen=True, slots=True)
class Survey:
    """Facts about a root for ``doctor``. ``lease`` is None where no file was there to try it on."""

    path: bytes
    exists: bool
    readable: bool
    filesystem: str
    network: bool
    lease: bool | None
    proof: str
    folders: int
    folders_counted: bool
    watches_allowed: int | None


def survey(path: bytes, *, most_folders: int = 100_000) -> Survey:
    """Look at a root without writing to it: which proof of writers it gives, and whether its folders can be watched."""
    kind = filesystem_of(path)
    exists, readable = os.path.isdir(path), os.access(path, os.R_OK | os.X_OK)
    lease, why = _lease_of(path) if exists and readable else (None, "the folder cannot be read")
    folders, whole = _count_folders(path, most_folders) if exists else (0, True)
    return Survey(path, exists, readable, kind.type, kind.network, lease, why, folders, whole, watches_allowed())


def watches_allowed() -> int | None:
    """The kernel's limit of watched folders for each user; None where it has none."""
    try:
        return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    except (OSError, ValueError):
        return None


def _lease_of(path: bytes) -> tuple[bool | None, str]:
    """Whether a read lease can be had on a file below the path, tried on one that is there."""
    foreign = False
    for folder, name, uid in _some_files(path, 200):
        try:
            fd = open_regular(path, folder, name)
        except OSError:
            continue
        try:
            seen = proof.writers(fd)
        finally:
            os.close(fd)
        if seen is not Writers.UNKNOWN:
            return True, "read lease"
        foreign = uid != os.geteuid()
        break
    else:
        return (
            (True, "read lease, by capability") if has_cap_lease() else (None, "no file there to try a read lease on")
        )
    if foreign and not has_cap_lease():
        return False, "the files belong to another user and CAP_LEASE is not granted"
    return False, "the file system grants no read lease"


def has_cap_lease() -> bool:
    """Whether the process holds CAP_LEASE (bit 28 of the effective set in /proc/self/status)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return False
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> 28 & 1)


def _some_files(root: bytes, most: int) -> Iterator[tuple[bytes, bytes, int]]:
    """Folder, name and owner of up to ``most`` regular files."""
    left = most
    for folder in _folders(root):
        try:
            with os.scandir(join(root, folder)) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return
                    if entry.is_file(follow_symlinks=False):
                        yield folder, entry.name, entry.stat(follow_symlinks=False).st_uid
        except OSError:
            continue


def _folders(root: bytes) -> Iterator[bytes]:
    """Every folder below the root that can be read, the root (``b""``) first."""
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        yield folder
        try:
            with os.scandir(join(root, folder)) as entries:
                waiting += [join(folder, entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue


def _count_folders(root: bytes, most: int) -> tuple[int, bool]:
    """How many folders there are, and whether all were counted."""
    for count, _ in enumerate(_folders(root), start=1):
        if count >= most:
            return count, False
    return count, True

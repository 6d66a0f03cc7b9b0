"""The truth: what lies below a root, compared folder by folder with what the ledger has.

A folder's files become tuples, and sets of tuples are subtracted: a million known files cost no Python code beyond
reading them. Only differences are looked at one by one. Nothing is kept of a folder once it was compared; of the
whole tree only the names of its folders are remembered, until the scan ends.
"""

from __future__ import annotations

import os
import stat as modes
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from daemon.catalogue import Catalogue, Entry, Stat
from daemon.states import FileState
from daemon.watch.names import Names, join
from daemon.watch.opening import GONE_ERRNOS, lstat, stat_of
from daemon.watch.roots import errno_name
from daemon.watch.settle import as_old

KNOWN = FileState.KNOWN.value

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

FOLDER = "folder"

SETTLED_STATES = frozenset((FileState.OLD.value, FileState.EMPTY.value, FileState.IRREGULAR.value))
"""States whose files are passed over while they stay as they are."""


class Listing(NamedTuple):
    """One folder as it lies there.

    ``files`` are regular files as rows of a known file would be, ``others`` the names of links, pipes, sockets and
    devices, ``folders`` the names of folders.
    """

    files: set[tuple[bytes, int, int, int, int, str]]
    others: list[bytes]
    folders: list[bytes]


@dataclass(slots=True)
class Difference:
    """What differs in a folder: names to look at, and names that the ledger has and the folder has not.

    ``matched`` files are as the ledger has them.
    """

    folder: bytes
    changed: list[bytes]
    missing: list[bytes]
    matched: int = 0


@dataclass(slots=True)
class Walk:
    """What a walk met. ``shut`` are folders that could not be read, with the errno's name; nothing below them is
    gone."""

    folders: set[bytes] = field(default_factory=set)
    shut: dict[bytes, str] = field(default_factory=dict)
    files: int = 0
    matched: int = 0

    def hides(self, folder: bytes) -> bool:
        """Whether the folder is, or lies below, one that could not be read."""
        return any(folder == shut or not shut or folder.startswith(shut + b"/") for shut in self.shut)


def list_folder(path: bytes, *, top: bool = False) -> Listing:
    """Read one folder; raises OSError. Names that disappear meanwhile are left out.

    Only the ``top`` of a walk may itself be a link. Reading through a descriptor spares the kernel the way to every
    single file, which is a sixth of the time.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if top else os.O_NOFOLLOW))
    rows, others, folders = [], [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name.encode(_ENCODING, _ERRORS)
                if entry.is_file(follow_symlinks=False):
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    rows.append((name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, KNOWN))
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                else:
                    others.append(name)
    finally:
        os.close(folder)
    return Listing(set(rows), others, folders)


def compare(folder: bytes, listing: Listing, entries: list[Entry], names: Names) -> Difference:
    """What of a listing the ledger does not have as known and unchanged."""
    known = set(entries)
    new = listing.files - known
    stale = known - listing.files
    matched = len(listing.files) - len(new)
    if not new and not stale and not listing.others:
        return Difference(folder, [], [], matched)
    before = {entry[0]: entry for entry in stale}
    moved = [row for row in new if not _as_before(row, before.get(row[0]))]
    odd = [name for name in listing.others if name not in before or before[name].state != FileState.IRREGULAR]
    changed = [name for name in (*(row[0] for row in moved), *odd) if not names.ignores(name)]
    here = {row[0] for row in new}.union(listing.others)
    missing = [name for name in before if name not in here]
    return Difference(folder, changed, missing, matched + len(new) - len(moved))


def _as_before(row: tuple[bytes, int, int, int, int, str], entry: Entry | None) -> bool:
    """Whether a file stands where it stood before, in a state that only a change ends."""
    if entry is None or entry.state not in SETTLED_STATES:
        return False
    if entry.state == FileState.OLD:
        return as_old(entry, Stat(*row[1:5]))
    return row[1:3] == entry[1:3] and entry.state != FileState.IRREGULAR


class Scan:
    """Walks a root. ``between`` is called after each folder, and may raise to end the walk."""

    def __init__(
        self, root: bytes, root_id: int, catalogue: Catalogue, names: Names, between: Callable[[], None]
    ) -> None:
        self._root = root
        self._root_id = root_id
        self._catalogue = catalogue
        self._names = names
        self._between = between

    def differences(self, start: bytes, walk: Walk) -> Iterator[Difference]:
        """The folders from ``start`` down that differ, while ``walk`` is filled."""
        waiting = [start]
        while waiting:
            folder = waiting.pop()
            try:
                listing = list_folder(join(self._root, folder), top=not folder)
            except OSError as error:
                if error.errno not in GONE_ERRNOS:  # gone: what was in it shows at the end
                    walk.shut[folder] = errno_name(error)
                continue
            walk.folders.add(folder)
            waiting += [join(folder, name) for name in listing.folders if not self._names.ignores(name)]
            difference = compare(folder, listing, self._catalogue.entries(self._root_id, folder), self._names)
            walk.files += len(listing.files)
            walk.matched += difference.matched
            if difference.changed or difference.missing:
                yield difference
            self._between()

    def vanished_folders(self, walk: Walk) -> Iterator[Difference]:
        """After a walk of the whole root: the files of folders that the ledger has and the walk did not meet."""
        unmet = [folder for folder in self._catalogue.folders(self._root_id) if folder not in walk.folders]
        for folder in unmet:
            if not walk.hides(folder):
                names = [entry.name for entry in self._catalogue.entries(self._root_id, folder)]
                yield Difference(folder, [], names)
            self._between()


def gone(root: bytes, folder: bytes, name: bytes) -> bool:
    """Whether no file lies under the name now."""
    try:
        return modes.S_ISDIR(lstat(root, folder, name).st_mode)
    except OSError as error:
        return error.errno in GONE_ERRNOS


def kind_of(found: os.stat_result) -> str:
    """What is not a regular file, in words."""
    for test, word in (
        (modes.S_ISLNK, "symbolic link"),
        (modes.S_ISFIFO, "pipe"),
        (modes.S_ISSOCK, "socket"),
        (modes.S_ISDIR, FOLDER),
    ):
        if test(found.st_mode):
            return word
    return "device"


def seen(root: bytes, folder: bytes, name: bytes) -> tuple[Stat, str | None]:
    """The stat of a name, and what it is where it is no regular file; raises OSError."""
    found = lstat(root, folder, name)
    return stat_of(found), None if modes.S_ISREG(found.st_mode) else kind_of(found)

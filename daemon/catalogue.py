"""What the watch asks of the ledger about files, and tells it.

Leaf: the ledger implements ``Catalogue``, the watch uses it, and neither imports the other. Names and folders are
bytes, as the file system has them; a folder is relative to its root, without leading or trailing slash, ``b""`` for
the root itself. Reads see what is committed. Writes are queued in order, and shared commits make many of them
cheap: the returned future is done once its commit is durable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from daemon.states import FileState


def printable(name: bytes) -> str:
    """A name as people may see it: UTF-8 where it is, every other byte and every control character escaped."""
    text = name.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class RootState(StrEnum):
    """Health of a watched root. Only ``watching`` and ``polling`` let absence mean disappearance."""

    WAITING = "waiting_for_root"
    WATCHING = "watching"
    POLLING = "polling"
    DEGRADED = "degraded"


class Stat(NamedTuple):
    """What lstat says of a file, reduced to what tells one version from the next."""

    size: int
    mtime_ns: int
    ctime_ns: int
    ino: int


class Entry(NamedTuple):
    """One current file of a folder, as the ledger has it."""

    name: bytes
    size: int
    mtime_ns: int
    ctime_ns: int
    ino: int
    state: str


@dataclass(frozen=True, slots=True)
class RootRow:
    """A root as the ledger knows it. ``registered_ns`` is the wall clock of its first registration, in nanoseconds,
    ``adopted_ns`` that at which a person said that all below it was delivered: 0 where nobody did."""

    id: int
    role: str
    path: bytes
    registered_ns: int
    adopted_ns: int = 0


@dataclass(frozen=True, slots=True)
class Sighting:
    """A file seen in a new state: settling, empty, unreadable, irregular, old or attention.

    ``reason`` says why in a few words (the errno's name, the kind of file, which writer was seen).
    """

    root_id: int
    folder: bytes
    name: bytes
    stat: Stat
    state: FileState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """A finished file with its content's hash.

    ``evidence`` is what the inlet reads out of the name; ``proof`` says how it settled, for ``explain``; ``flags``
    are the doubts left (``weak_settle``, ``incomplete``); ``waited_s`` is how long it took from first sight.
    """

    root_id: int
    folder: bytes
    name: bytes
    stat: Stat
    sha256: str
    role: str
    kind: str
    evidence: str
    proof: str
    flags: tuple[str, ...] = ()
    waited_s: float = 0.0


class Catalogue(Protocol):
    """The ledger's files."""

    def register_root(self, role: str, path: bytes, now_ns: int) -> RootRow:
        """The root's row, made at its first registration; waits for the commit."""
        ...

    def entries(self, root_id: int, folder: bytes) -> list[Entry]:
        """The current files directly in one folder: all states but replaced and gone."""
        ...

    def entry(self, root_id: int, folder: bytes, name: bytes) -> Entry | None:
        """One current file."""
        ...

    def was_old(self, root_id: int, stat: Stat) -> bool:
        """Whether a file found old below this root, there still or gone, was this very one under another name: it had
        the same inode, size and mtime."""
        ...

    def folders(self, root_id: int) -> Iterator[bytes]:
        """Every folder that has current files, in byte order, streamed."""
        ...

    def saw(self, sightings: Sequence[Sighting]) -> Future[None]:
        """Record files in their new states. A known file that changed is kept as replaced beside the new row."""
        ...

    def settle(self, settled: Settled) -> Future[None]:
        """Record a finished file and start the job for its content, unless that is known already."""
        ...

    def vanish(self, root_id: int, folder: bytes, names: Iterable[bytes]) -> Future[None]:
        """Files that disappeared below a healthy root."""
        ...

    def caught_up(self) -> Future[None]:
        """All that lay below the roots at the start has been seen, and what was finished of it is settled."""
        ...

    def root_moved(self, root_id: int, state: RootState, reason: str) -> Future[None]:
        """A root's health changed: journal it, so that status and readiness can say so."""
        ...

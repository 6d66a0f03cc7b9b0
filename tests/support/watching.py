"""What tests of the watch share: a catalogue in memory, clocks, and a watch over temporary folders."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from daemon.catalogue import Entry, RootRow, RootState, Settled, Sighting, Stat
from daemon.contract import Event, Inlet
from daemon.states import FileState
from daemon.watch.options import WatchOptions
from daemon.watch.watch import Watch

QUICK = WatchOptions(scan_every_s=0.25, quiet_audio_s=0.3, quiet_json_s=0.15, unproved_s=0.5)
"""Windows short enough for tests; the order of their lengths is the real one."""


class RealClock:
    """The system's time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class MovableClock(RealClock):
    """The system's time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


@dataclass
class MemoryCatalogue:
    """``Catalogue`` over dictionaries, which keeps a story of all it was told.

    Commits at once; while ``refuse`` is true never, while ``held`` is a list at ``release``.
    """

    rows: dict[tuple[int, bytes], dict[bytes, Entry]] = field(default_factory=dict)
    settled: list[Settled] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    vanished: list[bytes] = field(default_factory=list)
    gone: list[Entry] = field(default_factory=list)
    roots: list[RootRow] = field(default_factory=list)
    root_states: list[tuple[int, RootState, str]] = field(default_factory=list)
    caught_up_with: int | None = None
    """How many files were settled when all that lay there had been seen."""
    refuse: bool = False
    held: list[Callable[[], None]] | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def register_root(self, role: str, path: bytes, now_ns: int) -> RootRow:
        with self.changed:
            for row in self.roots:
                if (row.role, row.path) == (role, path):
                    return row
            self.roots.append(RootRow(len(self.roots) + 1, role, path, now_ns))
            return self.roots[-1]

    def entries(self, root_id: int, folder: bytes) -> list[Entry]:
        with self.changed:
            return list(self.rows.get((root_id, folder), {}).values())

    def entry(self, root_id: int, folder: bytes, name: bytes) -> Entry | None:
        with self.changed:
            return self.rows.get((root_id, folder), {}).get(name)

    def was_old(self, root_id: int, stat: Stat) -> bool:
        with self.changed:
            rows = [row for (root, _), rows in self.rows.items() if root == root_id for row in rows.values()]
            return any(_is_old(row, stat) for row in (*rows, *self.gone))

    def folders(self, root_id: int) -> Iterator[bytes]:
        with self.changed:
            return iter(sorted(folder for root, folder in self.rows if root == root_id and self.rows[root, folder]))

    def saw(self, sightings: Sequence[Sighting]) -> Future[None]:
        def write() -> None:
            for one in sightings:
                self.sightings.append(one)
                self._put(one.root_id, one.folder, Entry(one.name, *one.stat, one.state))

        return self._commit(write)

    def settle(self, settled: Settled) -> Future[None]:
        def write() -> None:
            self.settled.append(settled)
            self._put(settled.root_id, settled.folder, Entry(settled.name, *settled.stat, FileState.KNOWN))

        return self._commit(write)

    def vanish(self, root_id: int, folder: bytes, names: Iterable[bytes]) -> Future[None]:
        def write() -> None:
            for name in names:
                entry = self.rows.get((root_id, folder), {}).pop(name, None)
                if entry is not None:
                    self.gone.append(entry)
                    self.vanished.append(folder + b"/" + name if folder else name)

        return self._commit(write)

    def caught_up(self) -> Future[None]:
        def write() -> None:
            self.caught_up_with = len(self.settled)

        return self._commit(write)

    def root_moved(self, root_id: int, state: RootState, reason: str) -> Future[None]:
        return self._commit(lambda: self.root_states.append((root_id, state, reason)))

    def _put(self, root_id: int, folder: bytes, entry: Entry) -> None:
        self.rows.setdefault((root_id, folder), {})[entry.name] = entry

    def _commit(self, write: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()

        def commit() -> None:
            with self.changed:
                write()
                self.changed.notify_all()
            future.set_result(None)

        if self.refuse:
            future.set_exception(OSError("no space left"))
        elif self.held is not None:
            self.held.append(commit)
        else:
            commit()
        return future

    def release(self) -> None:
        """Commit what was held back, in order."""
        held, self.held = self.held or [], None
        for commit in held:
            commit()

    # ------------------------------------------------------------------------------------------ for tests

    def until(self, true: Callable[[], bool], what: str, timeout_s: float = 8.0) -> None:
        """Wait until a condition on the catalogue holds; fails with what was missing."""
        with self.changed:
            assert self.changed.wait_for(true, timeout_s), f"never: {what}; {self.told()}"

    def told(self) -> str:
        """What the catalogue was told, for messages of failed tests."""
        seen = [(s.name, str(s.state), s.reason) for s in self.sightings[-8:]]
        return f"settled {[s.name for s in self.settled[-8:]]}, seen {seen}, roots {self.root_states[-4:]}"

    def names(self) -> set[bytes]:
        """The paths of all files that were taken."""
        return {s.folder + b"/" + s.name if s.folder else s.name for s in self.settled}

    def states(self, name: bytes) -> list[str]:
        """The states in which a name was seen."""
        return [str(s.state) for s in self.sightings if s.name == name]

    def until_taken(self, *names: bytes, timeout_s: float = 8.0) -> None:
        """Wait until these paths have been taken."""
        self.until(lambda: set(names) <= self.names(), f"taken {names!r}", timeout_s)

    def until_seen(self, name: bytes, state: FileState) -> None:
        """Wait until a name was seen in a state."""
        self.until(lambda: state in self.states(name), f"{name!r} {state}")

    def was(self, state: RootState) -> bool:
        """Whether a root ever was in this state."""
        return any(one is state for _, one, _ in self.root_states)

    def until_root(self, state: RootState, timeout_s: float = 8.0) -> None:
        """Wait until the last state of a root is this one."""
        self.until(lambda: bool(self.root_states) and self.root_states[-1][1] is state, f"root {state}", timeout_s)


def _is_old(row: Entry, stat: Stat) -> bool:
    return row.state == FileState.OLD and (row.size, row.mtime_ns, row.ino) == (stat.size, stat.mtime_ns, stat.ino)


def inlet(folder: Path, role: str = "recordings") -> Inlet:
    """An inlet over a folder whose evidence is the path itself."""
    return Inlet(role, "recording", str(folder), lambda path: path)


@dataclass
class Watched:
    """A running watch with what it was given."""

    watch: Watch
    catalogue: MemoryCatalogue
    events: list[Event]
    root: Path


@contextmanager
def watching(
    root: Path,
    options: WatchOptions = QUICK,
    catalogue: MemoryCatalogue | None = None,
    clock: RealClock | None = None,
) -> Iterator[Watched]:
    """A watch over one root, running until the block ends."""
    catalogue = catalogue or MemoryCatalogue()
    events: list[Event] = []
    watch = Watch([inlet(root)], options, catalogue, clock or RealClock(), on_event=events.append)
    watch.start()
    try:
        yield Watched(watch, catalogue, events, root)
        assert [event for event in events if event.name == "watch.failed"] == []
    finally:
        watch.stop(5.0)


# ---------------------------------------------------------------------------------------------- finished content


def ogg_page(flags: int, body: bytes, *, serial: int = 1, number: int = 0) -> bytes:
    """One Ogg page (without a checksum: completeness is not validity)."""
    lacing = bytes([255] * (len(body) // 255) + [len(body) % 255])
    head = b"OggS" + bytes([0, flags]) + bytes(8) + serial.to_bytes(4, "little") + number.to_bytes(4, "little")
    return head + bytes(4) + bytes([len(lacing)]) + lacing + body


def ogg(body: bytes = b"speech", *, ended: bool = True) -> bytes:
    """A small Ogg file, with or without its end-of-stream page."""
    return ogg_page(2, b"OpusHead") + ogg_page(4 if ended else 0, body, number=1)

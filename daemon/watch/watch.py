"""The watch: every root's keeper, and what may be asked of all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from datetime import datetime
from threading import Event as Flag
from threading import Lock, Thread

from daemon.catalogue import Catalogue, Entry
from daemon.contract import Clock, Event, Inlet
from daemon.errors import BadRequest
from daemon.states import FileState
from daemon.watch.catching_up import CatchingUp
from daemon.watch.keeper import Keeper, nanoseconds
from daemon.watch.options import RootHealth, WatchOptions
from daemon.watch.settling import Key

SUPERVISE_S = 1.0

STAMP_LAG_NS = 10_000_000
"""How far the time stamps of files lag behind the clock: they are the kernel's last tick, at most 10 ms old
(HZ=100)."""

LOOK_S, LOOK_AGAIN_S = 0.02, 0.2
"""Seconds between two questions whether all has been taken, or all that lay there has been seen; where that takes long,
between those."""


class Watch:
    """Watches the folders of the inlets, and tells the catalogue of every file and every root.

    ``catalogue`` is called from several threads. ``on_event`` gets what is no single file's: lost events, rebuilt
    watches, unreadable folders; it may be called from any thread.
    """

    def __init__(
        self,
        inlets: Sequence[Inlet],
        options: WatchOptions,
        catalogue: Catalogue,
        clock: Clock,
        *,
        on_event: Callable[[Event], None],
    ) -> None:
        self._inlets = tuple(inlets)
        self._options = options
        self._catalogue = catalogue
        self._clock = clock
        self._on_event = on_event
        self._keepers: list[Keeper] = []
        self._lock = Lock()
        self._behind: list[CatchingUp] = []
        self._behind_since = 0.0
        self._told: Future[None] | None = None
        self._ended = Flag()
        self._supervisor = Thread(target=self._supervise, name="watch-supervisor", daemon=True)

    def start(self) -> None:
        """Register the roots and start watching them: events first, then the scan of what lies there."""
        now_ns = nanoseconds(self._clock.now()) - STAMP_LAG_NS
        for inlet in self._inlets:
            row = self._catalogue.register_root(inlet.role, os.fsencode(inlet.folder), now_ns)
            self._keepers.append(Keeper(inlet, row, self._options, self._catalogue, self._clock, self._on_event))
        self.catch_up()
        for keeper in self._keepers:
            keeper.start()
        self._supervisor.start()

    def stop(self, timeout_s: float) -> None:
        """Stop watching. Files on their way are found again at the next start."""
        self._ended.set()
        for keeper in self._keepers:
            keeper.stop(timeout_s)
        if self._supervisor.ident is not None:
            self._supervisor.join(timeout_s)

    def scan_now(self) -> Future[None]:
        """A full scan of every healthy root. Done when all have ended and what they found is in work."""
        return _all_of([keeper.scan_now() for keeper in self._keepers])

    def catch_up(self) -> None:
        """Scan everything, and tell the catalogue once all that is there by then has been seen."""
        with self._lock:
            self._behind = [CatchingUp(keeper, self._clock, was_there=keeper.had_files) for keeper in self._keepers]
            self._behind_since, self._told = self._clock.monotonic(), None

    def health(self) -> Sequence[RootHealth]:
        """How each root stands, in the order of the inlets."""
        return [keeper.health() for keeper in self._keepers]

    def drain(self, timeout_s: float) -> bool:
        """Scan everything now, then wait until every file is taken or surely cannot be now.

        A file that a writer holds, whose producer's signal is missing, that is empty or cannot be read cannot be
        taken now. False where ``timeout_s`` (monotonic seconds) was not enough.
        """
        deadline = self._clock.monotonic() + timeout_s
        scan = self.scan_now()
        while not (scan.done() and self._is_caught_up()) or self._undecided():
            if self._clock.monotonic() >= deadline or self._ended.wait(LOOK_S):
                return False
        return True

    def take(
        self,
        paths: Sequence[bytes] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> int:
        """Scan, then take files that were found old, and return how many.

        Those given by absolute path (a folder stands for all below it), or all; of these, those whose inode changed
        from ``since`` until before ``until`` (aware). Raises BadRequest for a path below no watched root.
        """
        wanted_of = list(self._wanted(paths))
        self._let_ledger_know()
        taken = 0
        for keeper, wanted in wanted_of:
            batch: list[Key] = []
            for folder, entry in self._old(keeper, wanted):
                if _within(entry, since, until):
                    batch.append((folder, entry.name))
            taken += keeper.adopt(batch)
        return taken

    # ------------------------------------------------------------------------------------------------- within

    def _let_ledger_know(self) -> None:
        """Let the ledger know all that lies there now."""
        scan = self.scan_now()
        while not scan.done():
            if self._ended.wait(LOOK_S):
                return
        for keeper in self._keepers:
            keeper.settling.call(keeper.settling.tell).result()
        self._catalogue.saw([]).result()  # committed after all that was sent before

    def _undecided(self) -> int:
        answers = [keeper.settling.call(keeper.settling.undecided) for keeper in self._keepers]
        done, _ = wait_for(answers, timeout=1.0)
        return sum(answer.result() for answer in done) + len(answers) - len(done)

    def _wanted(self, paths: Sequence[bytes] | None) -> Iterator[tuple[Keeper, list[bytes] | None]]:
        """The roots concerned, and for each the wanted paths relative to it; None is everything."""
        if paths is None:
            yield from ((keeper, None) for keeper in self._keepers)
            return
        wanted: dict[int, list[bytes]] = {}
        for path in paths:
            place = os.path.abspath(path)
            roots = [index for index, keeper in enumerate(self._keepers) if _below(keeper.row.path, place) is not None]
            if not roots:
                raise BadRequest("the path lies below no watched folder")
            for index in roots:
                wanted.setdefault(index, []).append(_below(self._keepers[index].row.path, place) or b"")
        yield from ((self._keepers[index], below) for index, below in wanted.items())

    def _old(self, keeper: Keeper, wanted: list[bytes] | None) -> Iterator[tuple[bytes, Entry]]:
        for folder in list(self._catalogue.folders(keeper.row.id)):
            for entry in self._catalogue.entries(keeper.row.id, folder):
                path = folder + b"/" + entry.name if folder else entry.name
                if entry.state == FileState.OLD and (wanted is None or any(_covers(one, path) for one in wanted)):
                    yield folder, entry

    def _supervise(self) -> None:
        while not self._ended.wait(self._pause_s()):
            for keeper in self._keepers:
                keeper.supervise()
            self._tell_caught_up()

    def _tell_caught_up(self) -> None:
        """Once all has been seen; again where that could not be committed."""
        with self._lock:
            behind, told = self._behind, self._told
        left = [one for one in behind if not one.done()]
        answer = self._catalogue.caught_up() if not left and (told is None or _has_failed(told)) else told
        with self._lock:
            if self._behind is behind:  # nobody has asked to look at all once more
                self._behind, self._told = left, answer

    def _pause_s(self) -> float:
        """Short at first, since what lies there mostly is little."""
        if self._is_caught_up():
            return SUPERVISE_S
        return LOOK_S if self._clock.monotonic() - self._behind_since < SUPERVISE_S else LOOK_AGAIN_S

    def _is_caught_up(self) -> bool:
        with self._lock:
            return self._told is not None and self._told.done() and not _has_failed(self._told)


def _has_failed(future: Future[None]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


def _all_of(futures: list[Future[None]]) -> Future[None]:
    """A future that is done when all are."""
    every: Future[None] = Future()
    left = set(futures)
    lock = Lock()

    def one_done(future: Future[None]) -> None:
        with lock:
            left.remove(future)
            last = not left
        if last:
            every.set_result(None)

    if not futures:
        every.set_result(None)
    for future in futures:
        future.add_done_callback(one_done)
    return every


def _below(root: bytes, path: bytes) -> bytes | None:
    """The path relative to the root (``b""`` for the root itself); None where it lies elsewhere."""
    root = os.path.abspath(root)
    if path == root:
        return b""
    return path[len(root) + 1 :] if path.startswith(root + b"/") else None


def _covers(wanted: bytes, path: bytes) -> bool:
    return not wanted or path == wanted or path.startswith(wanted + b"/")


def _within(entry: Entry, since: datetime | None, until: datetime | None) -> bool:
    after = since is None or entry.ctime_ns >= nanoseconds(since)
    return after and (until is None or entry.ctime_ns < nanoseconds(until))

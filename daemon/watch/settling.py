"""The files on their way: from a name that was seen to a content that the ledger knows.

One thread for each root owns the table of pending files, so nothing in it is locked. Hints, differences found by the
scan and hashes that are done reach it through one queue, in order. What was sent to the ledger and is not committed
yet is remembered, so that a scan which reads committed rows starts nothing twice.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeAlias, TypeVar

from daemon import trace
from daemon.catalogue import Catalogue, Entry, RootRow, Settled, Sighting, Stat, printable
from daemon.contract import Clock, Inlet
from daemon.states import FileState
from daemon.watch import proof
from daemon.watch.names import Names, join
from daemon.watch.opening import GONE_ERRNOS, WAIT_ERRNOS, Hashed, hash_file, lstat, open_regular, same, stat_of
from daemon.watch.roots import errno_name
from daemon.watch.scan import FOLDER, Difference, gone, seen
from daemon.watch.settle import (
    LOOK_AGAIN_S,
    STILL_S,
    Attention,
    Container,
    Observation,
    Sight,
    Signal,
    Take,
    Wait,
    Windows,
    Writers,
    decide,
    sight,
)

HASHERS = 2
"""Threads that hash, for each root."""

WAKE_S = 0.5
"""Longest sleep of the thread, in real seconds: a clock that was moved is noticed that soon."""

BATCH = 1000
"""Messages handled between two rounds of looking at what is due."""

FLOOD = 50_000
"""Messages waiting beyond which a hint is dropped and a scan asked for instead."""

CROWD = 10_000
"""Files on their way to the ledger beyond which the scan pauses."""

SHOWN_AFTER_S = 1.0
"""Seconds after which a file that never stands still is shown as settling."""

EMPTY_AFTER_S = 0.5
"""Seconds without content after which a file is shown as empty."""

Key: TypeAlias = tuple[bytes, bytes]
T = TypeVar("T")


@dataclass(slots=True)
class Pending:
    """A file on its way. Times are monotonic seconds.

    ``again``: the ledger knows it, and only its times moved. ``shown``: the reason the ledger was last told.
    ``blocked``: no window runs, somebody else must end the wait. ``nudged``: a hint came while it was hashed.
    """

    key: Key
    stat: Stat
    first_seen: float
    changed: float
    due: float
    again: bool
    shown: str | None = None
    overdue: bool = False
    blocked: bool = False
    hashing: bool = False
    nudged: bool = False
    container: Container = Container.UNKNOWN
    judged: Stat | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What the settling of one root needs to know of it. ``believed``: whether absence below it counts now."""

    inlet: Inlet
    row: RootRow
    old_before_ns: int
    believed: Callable[[], bool]


class Settling:
    """The pending files of one root."""

    def __init__(
        self,
        place: Place,
        windows: Windows,
        names: Names,
        catalogue: Catalogue,
        clock: Clock,
        *,
        on_flood: Callable[[], None],
        on_taken: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._place = place
        self._root = place.row.path
        self._windows = windows
        self._names = names
        self._catalogue = catalogue
        self._clock = clock
        self._on_flood = on_flood
        self._on_taken = on_taken
        self._on_failure = on_failure
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._pending: dict[Key, Pending] = {}
        self._due: list[tuple[float, int, Key]] = []
        self._sent: dict[Key, tuple[Entry | None, int]] = {}
        self._refused: set[Key] = set()
        self._sightings: list[Sighting] = []
        self._numbers = count()
        self._arrivals = 0
        self._hashing = 0
        self._stopping = False
        self._pool = ThreadPoolExecutor(HASHERS, f"hash-{place.inlet.role}")
        self._thread = Thread(target=self._run, name=f"settle-{place.inlet.role}", daemon=True)

    # --------------------------------------------------------------------------------------------- from other threads

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread; files on their way are found again by the next scan."""
        self._stopping = True
        self._inbox.put(_nothing)
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def pending(self) -> int:
        """How many files are on their way."""
        return len(self._pending)

    @property
    def crowded(self) -> bool:
        """Whether the scan should pause until the ledger and the hashing have caught up."""
        return self._arrivals + self._hashing + len(self._sent) > CROWD

    def hint(self, folder: bytes, name: bytes) -> None:
        """Something happened to this file."""
        if self._inbox.qsize() > FLOOD:
            self._on_flood()
            return
        self._inbox.put(partial(self._consider, (folder, self._names.announces(name) or name)))

    def found(self, difference: Difference) -> None:
        """The scan found these names other than the ledger has them."""
        self._arrivals += len(difference.changed)
        self._inbox.put(partial(self._take_in, difference))

    def call(self, ask: Callable[[], T]) -> Future[T]:
        """Run ``ask`` in the thread, after all that was posted before."""
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(ask())
            except Exception as error:  # noqa: BLE001 - it reaches whoever waits for the answer
                answer.set_exception(error)

        self._inbox.put(run)
        return answer

    def undecided(self) -> int:
        """How many files may yet be taken without anybody else acting. In the thread only: see ``call``."""
        waiting = sum(1 for pending in self._pending.values() if not (pending.blocked or pending.overdue))
        return waiting + len(self._sent) + len(self._sightings) + len(self._refused)

    def lying(self, before: float) -> int:
        """How many files first seen before that moment (monotonic seconds) may yet be taken as they lay there then.

        One that has changed since is written just now: it comes, it does not lie there. Nor does one that the ledger
        knows, but for its times. In the thread only.
        """
        return len(self._refused) + sum(
            1
            for pending in self._pending.values()
            if pending.first_seen <= before
            and pending.changed == pending.first_seen
            and not (pending.again or pending.blocked or pending.overdue)
        )

    def adopt(self, keys: Iterable[Key]) -> int:
        """Take files that were found old; returns how many are on their way now. In the thread only: see ``call``."""
        adopted = 0
        for key in keys:
            entry = self._entry(key)
            if key in self._pending or entry is None or entry.state != FileState.OLD:
                continue
            try:
                stat, kind = seen(self._root, *key)
            except OSError:
                continue  # gone or out of reach: the scan says which
            if kind is None and stat.size:
                self._begin(key, stat, again=False)
                adopted += 1
        return adopted

    # --------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._receive()
                self._look_at_due()
                self.tell()
            except Exception as error:  # noqa: BLE001 - one file's trouble must not end the others' watch
                if not self._stopping:
                    self._on_failure(error)

    def _receive(self) -> None:
        pause = WAKE_S
        if self._due:
            pause = min(pause, max(0.0, self._due[0][0] - self._clock.monotonic()))
        try:
            task = self._inbox.get(timeout=pause) if pause else self._inbox.get_nowait()
            for _ in range(BATCH):
                task()
                task = self._inbox.get_nowait()
            task()
        except Empty:
            return

    def _look_at_due(self) -> None:
        now = self._clock.monotonic()
        for _ in range(BATCH):
            if not self._due or self._due[0][0] > now:
                return
            due, _, key = heapq.heappop(self._due)
            pending = self._pending.get(key)
            if key in self._refused:
                self._refused.discard(key)
                self._consider(key)
            elif pending is not None and pending.due == due and not pending.hashing:
                self._look(pending)

    def _later(self, key: Key, seconds: float) -> float:
        due = self._clock.monotonic() + seconds
        heapq.heappush(self._due, (due, next(self._numbers), key))
        return due

    def _take_in(self, difference: Difference) -> None:
        self._arrivals -= len(difference.changed)
        for name in difference.changed:
            self._consider((difference.folder, name))
        self._forget(difference.folder, difference.missing)

    # --------------------------------------------------------------------------------------------- first sight

    def _consider(self, key: Key) -> None:
        """Look at a name that may or may not be on its way."""
        pending = self._pending.get(key)
        if pending is not None:
            pending.nudged = True
            if not pending.hashing:
                self._look(pending)
            return
        if self._names.ignores(key[1]):
            return
        try:
            stat, kind = seen(self._root, *key)
        except OSError as error:
            if error.errno in GONE_ERRNOS:
                self._forget(key[0], [key[1]])
            return
        if kind == FOLDER:
            self._forget(key[0], [key[1]])
            return
        self._judge(key, stat, kind, self._entry(key))

    def _judge(self, key: Key, stat: Stat, kind: str | None, entry: Entry | None) -> None:
        what = sight(entry, stat, regular=kind is None, old_before_ns=self._place.old_before_ns)
        if what is Sight.IRREGULAR:
            self._saw(key, stat, FileState.IRREGULAR, kind or "")
        elif what is Sight.OLD or (entry is None and what is Sight.NEW and self._was_old(stat)):
            self._saw(key, stat, FileState.OLD, "older than the watch")
        elif what is not Sight.NOTHING and not self._still_unreadable(key, entry):
            self._begin(key, stat, again=what is Sight.AGAIN)

    def _was_old(self, stat: Stat) -> bool:
        """Whether it is an old file under another name: a rename renews ctime, and archiving must send nothing."""
        return self._catalogue.was_old(self._place.row.id, stat)

    def _still_unreadable(self, key: Key, entry: Entry | None) -> bool:
        """Whether a file that could not be read cannot be read now either: then there is nothing new to say."""
        if entry is None or entry.state != FileState.UNREADABLE:
            return False
        try:
            os.close(open_regular(self._root, *key))
        except OSError:
            return True
        return False

    def _begin(self, key: Key, stat: Stat, *, again: bool) -> None:
        now = self._clock.monotonic()
        self._pending[key] = Pending(key, stat, now, now, self._later(key, STILL_S), again)

    # --------------------------------------------------------------------------------------------- looking

    def _look(self, pending: Pending) -> None:
        """One look at a pending file, and what follows from it."""
        now = self._clock.monotonic()
        try:
            if not self._refresh(pending, now):
                return
            observation = self._observe(pending, now)
        except OSError as error:
            self._denied(pending, error)
            return
        verdict = decide(observation, self._windows, now)
        if isinstance(verdict, Take):
            self._hash(pending, verdict)
            return
        pending.blocked = isinstance(verdict, Wait) and verdict.blocked
        pending.due = self._later(pending.key, verdict.seconds)
        if isinstance(verdict, Attention):
            self._show_overdue(pending, verdict)
        else:
            self._show(pending, verdict, now)

    def _refresh(self, pending: Pending, now: float) -> bool:
        """Read the file's stat again; False where it is nothing to settle any more."""
        stat, kind = seen(self._root, *pending.key)
        if kind is not None:
            self._drop(pending)
            if kind == FOLDER:
                self._forget(pending.key[0], [pending.key[1]])
            else:
                self._judge(pending.key, stat, kind, self._entry(pending.key))
            return False
        if not same(stat, pending.stat):
            pending.changed = now
            if stat.size != pending.stat.size:
                pending.again = False
        pending.stat = stat
        if stat.size == 0:
            self._look_at_empty(pending, now)
        return stat.size > 0

    def _look_at_empty(self, pending: Pending, now: float) -> None:
        """Every file is empty for a moment while it is written; one that stays so is shown."""
        left = pending.changed + EMPTY_AFTER_S - now
        if left > 0:
            pending.due = self._later(pending.key, left)
        else:
            self._drop(pending)
            self._saw(pending.key, pending.stat, FileState.EMPTY, "no content yet")

    def _observe(self, pending: Pending, now: float) -> Observation:
        """Take the proofs, once the file stands still; raises OSError."""
        writers = Writers.UNKNOWN
        if now - pending.changed >= STILL_S:
            fd = open_regular(self._root, *pending.key)
            try:
                stat = stat_of(os.fstat(fd))
                if same(stat, pending.stat):
                    writers = self._prove(pending, fd)
                else:
                    pending.changed, pending.stat = now, stat
            finally:
                os.close(fd)
        return Observation(
            pending.key[1], pending.first_seen, pending.changed, writers, pending.container, self._signal(pending.key)
        )

    def _prove(self, pending: Pending, fd: int) -> Writers:
        writers = proof.writers(fd)
        if writers is not Writers.SEEN and (pending.judged is None or not same(pending.judged, pending.stat)):
            pending.container = proof.container(fd, pending.stat.size)
            pending.judged = pending.stat
        return writers

    def _signal(self, key: Key) -> Signal:
        marker = self._names.marker(key[1])
        if marker is None:
            return Signal.NOT_USED
        try:
            lstat(self._root, key[0], marker)
        except FileNotFoundError:
            return Signal.AWAITED
        return Signal.GIVEN

    def _denied(self, pending: Pending, error: OSError) -> None:
        """The file could not be opened or read."""
        if error.errno in GONE_ERRNOS:
            self._drop(pending)
            self._forget(pending.key[0], [pending.key[1]])
        elif error.errno in WAIT_ERRNOS:
            pending.blocked = True
            pending.due = self._later(pending.key, LOOK_AGAIN_S)
            self._show(pending, Wait(LOOK_AGAIN_S, errno_name(error)), self._clock.monotonic())
        else:
            self._drop(pending)
            self._saw(pending.key, pending.stat, FileState.UNREADABLE, errno_name(error))

    def _show(self, pending: Pending, verdict: Wait, now: float) -> None:
        """Tell the ledger why a file waits. Most are taken at their second look and never need it."""
        passing = now - pending.changed < STILL_S
        if (
            pending.again
            or pending.overdue
            or (passing and (pending.shown or now - pending.first_seen < SHOWN_AFTER_S))
        ):
            return
        if pending.shown != verdict.reason:
            pending.shown = verdict.reason
            self._saw(pending.key, pending.stat, FileState.SETTLING, verdict.reason)

    def _show_overdue(self, pending: Pending, verdict: Attention) -> None:
        if not pending.overdue:
            pending.overdue = True
            self._saw(pending.key, pending.stat, FileState.ATTENTION, verdict.reason)

    def _drop(self, pending: Pending) -> None:
        del self._pending[pending.key]

    # --------------------------------------------------------------------------------------------- taking

    def _hash(self, pending: Pending, take: Take) -> None:
        pending.hashing, pending.nudged, pending.blocked = True, False, False
        self._hashing += 1
        self._pool.submit(self._read, pending.key, pending.stat, take)

    def _read(self, key: Key, stat: Stat, take: Take) -> None:
        """In the pool."""
        try:
            outcome: Hashed | Exception = hash_file(self._root, *key, stat, lambda: self._stopping)
        except Exception as error:  # noqa: BLE001 - handed to the thread, which decides
            outcome = error
        self._inbox.put(partial(self._hashed, key, take, outcome))

    def _hashed(self, key: Key, take: Take, outcome: Hashed | Exception) -> None:
        self._hashing -= 1
        pending = self._pending[key]
        pending.hashing = False
        if isinstance(outcome, OSError):
            self._denied(pending, outcome)
        elif isinstance(outcome, Exception):
            self._drop(pending)
            raise outcome
        elif outcome.moved:
            pending.stat, pending.changed = outcome.stat, self._clock.monotonic()
            pending.due = self._later(key, STILL_S)
        else:
            self._drop(pending)
            self._settle(pending, take, outcome)

    def _settle(self, pending: Pending, take: Take, hashed: Hashed) -> None:
        folder, name = pending.key
        place = self._place
        settled = Settled(
            root_id=place.row.id,
            folder=folder,
            name=name,
            stat=hashed.stat,
            sha256=hashed.sha256,
            role=place.inlet.role,
            kind=place.inlet.kind,
            evidence=place.inlet.evidence(printable(join(folder, name))),
            proof=take.proof,
            flags=take.flags,
            waited_s=self._clock.monotonic() - pending.first_seen,
        )
        trace.point("file.hashed")
        self.tell()
        self._on_taken()
        self._remember([(pending.key, Entry(name, *hashed.stat, FileState.KNOWN))], self._catalogue.settle(settled))
        if pending.nudged:
            self._consider(pending.key)

    # --------------------------------------------------------------------------------------------- the ledger

    def _entry(self, key: Key) -> Entry | None:
        """What the ledger has under the name, or will have once it has committed what was sent."""
        sent = self._sent.get(key)
        return self._catalogue.entry(self._place.row.id, *key) if sent is None else sent[0]

    def _saw(self, key: Key, stat: Stat, state: FileState, reason: str) -> None:
        self._sightings.append(Sighting(self._place.row.id, *key, stat, state, reason))
        self._sent[key] = (Entry(key[1], *stat, state), next(self._numbers))

    def tell(self) -> None:
        """Send the sightings gathered, before whatever is sent next. In the thread only: see ``call``."""
        if self._sightings:
            sightings, self._sightings = self._sightings, []
            entries: list[tuple[Key, Entry | None]] = [
                ((s.folder, s.name), Entry(s.name, *s.stat, s.state)) for s in sightings
            ]
            self._remember(entries, self._catalogue.saw(sightings))

    def _forget(self, folder: bytes, names: Iterable[bytes]) -> None:
        """Names that seem to be gone: look once more, and tell the ledger where absence counts."""
        missing = [
            name
            for name in names
            if (folder, name) not in self._pending
            and gone(self._root, folder, name)
            and self._entry((folder, name)) is not None
        ]
        if missing and self._place.believed():
            self.tell()
            left = self._catalogue.vanish(self._place.row.id, folder, missing)
            self._remember([((folder, name), None) for name in missing], left)

    def _remember(self, entries: list[tuple[Key, Entry | None]], future: Future[None]) -> None:
        number = next(self._numbers)
        for key, entry in entries:
            self._sent[key] = (entry, number)
        keys = [key for key, _ in entries]
        future.add_done_callback(lambda done: self._inbox.put(partial(self._committed, keys, number, done)))

    def _committed(self, keys: list[Key], number: int, future: Future[None]) -> None:
        """What was sent is committed, or was refused: then the files are looked at once more."""
        failed = future.cancelled() or future.exception() is not None
        for key in keys:
            if self._sent.get(key, (None, -1))[1] != number:
                continue  # something newer was sent meanwhile
            del self._sent[key]
            if failed:
                self._again_later(key)

    def _again_later(self, key: Key) -> None:
        pending = self._pending.get(key)
        if pending is None:
            self._refused.add(key)
            self._later(key, LOOK_AGAIN_S)
        else:
            pending.shown, pending.overdue = None, False


def _nothing() -> None:
    return None

"""One watched root: keeps its events armed, scans it, and tells the ledger how it stands.

Each root has a thread of its own, because a look at a network file system may never return: the other roots go on.
Events are armed before the first scan, so nothing created between the two is missed.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event as Flag
from threading import Lock, Thread

from daemon.catalogue import Catalogue, RootRow, RootState
from daemon.contract import Clock, Event, Inlet
from daemon.watch.events import Events
from daemon.watch.names import Names, join
from daemon.watch.options import RootHealth, WatchOptions
from daemon.watch.roots import (
    WATCH_LIMIT,
    Look,
    Polled,
    Standing,
    absent,
    armed,
    errno_name,
    look_at,
    lost,
    step,
    why_polled,
)
from daemon.watch.scan import Difference, Scan, Walk
from daemon.watch.settling import Key, Place, Settling

CHECK_S = 1.0
"""Seconds between two looks at the root."""

GATHER_S = 0.1
"""Seconds that folders to scan are gathered: a tree that is moved in brings many hints at once."""

OVERFLOW_PAUSE_S = 0.5
"""Seconds between lost events and the scan: watchdog registers its folders again meanwhile."""

CPU_SHARE = 0.015
"""The share of one core that a root's scans may use while events are healthy. With all else that a daemon with nothing
to do needs (0.3 %), it stays below 2 %."""

LONGEST_PAUSE_S = 3600.0
"""Longest pause between two scans, however long one takes."""

REARM_S = 600.0
"""Seconds until events are tried again on a root that has to be polled for want of them."""

RETRY_S = 2.0
"""Seconds until a scan that failed is tried again."""

COVERAGE_PAUSE_S = 0.3
"""Seconds that a folder without a watch is given to get one."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

STUCK_S = 30.0
"""Seconds without a sign of life from a root's thread after which its file system does not answer."""


class _Ended(Exception):
    """The scan must end: we are stopping, or the root is not what it was."""


class Keeper:
    """The thread of one root. Public methods may be called from any thread."""

    def __init__(
        self,
        inlet: Inlet,
        row: RootRow,
        options: WatchOptions,
        catalogue: Catalogue,
        clock: Clock,
        on_event: Callable[[Event], None],
        *,
        thread_time: Callable[[], float] = time.thread_time,
    ) -> None:
        self._inlet = inlet
        self._row = row
        self._options = options
        self._catalogue = catalogue
        self._clock = clock
        self._on_event = on_event
        self._thread_time = thread_time
        self._names = Names((*options.ignore, options.guard) if options.guard else options.ignore, options.ready_suffix)
        place = Place(inlet, row, _old_before(row, options), self._believed)
        self.settling = Settling(
            place,
            options.windows,
            self._names,
            catalogue,
            clock,
            on_flood=self._lose_events,
            on_taken=self._trust,
            on_failure=self._failed,
        )
        self._standing = Standing()
        self._told: tuple[RootState, str] | None = None
        self._had_files = next(iter(catalogue.folders(row.id)), None) is not None
        self._events: Events | None = None
        self._polled: Polled | None = None
        self._rearm_at = 0.0
        self._trusted = False
        self._shut: dict[bytes, str] = {}
        self._overflows = 0
        self._overflows_told = 0
        self._scan_at = 0.0
        self._pause_s = options.scan_every_s
        self._last_scan: tuple[float, datetime] | None = None
        self._lock = Lock()
        self._wanted: list[Future[None]] = []
        self._subtrees: dict[bytes, float] = {}
        self._wake = Flag()
        self._stopping = False
        self._ticked = clock.monotonic()
        self._checked = self._ticked
        self._stuck = False
        self._thread = Thread(target=self._run, name=f"root-{inlet.role}", daemon=True)

    # --------------------------------------------------------------------------------------------- from other threads

    @property
    def row(self) -> RootRow:
        """The root in the ledger."""
        return self._row

    @property
    def had_files(self) -> bool:
        """Whether the ledger knew of files below it when we began."""
        return self._had_files

    def start(self) -> None:
        """Start the root's threads."""
        self.settling.start()
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the root's threads, waiting at most ``timeout_s`` for each."""
        with self._lock:
            self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self.settling.stop(timeout_s)
        for future in self._taken_requests():
            future.cancel()

    def scan_now(self) -> Future[None]:
        """Ask for a full scan. Done once it ended and its findings are in work, or when the root is not healthy."""
        future: Future[None] = Future()
        with self._lock:
            if self._stopping:
                future.cancel()
            else:
                self._wanted.append(future)
        self._wake.set()
        return future

    def health(self) -> RootHealth:
        """How the root stands now."""
        standing, scanned = self._standing, self._last_scan
        return RootHealth(
            role=self._inlet.role,
            path=self._row.path,
            state=RootState.DEGRADED if self._stuck else standing.state,
            reason="the file system does not answer" if self._stuck else standing.reason,
            polling=standing.state is RootState.POLLING,
            last_scan_ended=scanned[0] if scanned else None,
            last_scan_ended_at=scanned[1] if scanned else None,
            scan_every_s=self._pause_s,
            settling=self.settling.pending,
            overflows=self._overflows,
            unreadable_folders=len(self._shut),
            alive=self._thread.is_alive() and self.settling.alive,
        )

    def supervise(self) -> None:
        """Notice a thread that hangs in its file system. For the supervisor, every second or so."""
        stuck = self._clock.monotonic() - self._ticked > STUCK_S
        if stuck != self._stuck:
            self._stuck = stuck
            health = self.health()
            self._catalogue.root_moved(self._row.id, health.state, health.reason)

    def adopt(self, keys: list[Key]) -> int:
        """Take files found old; returns how many."""
        return self.settling.call(lambda: self.settling.adopt(keys)).result()

    # --------------------------------------------------------------------------------------------- hints

    def _hint(self, path: bytes, is_folder: bool) -> None:
        """From watchdog's threads."""
        events = self._events
        if events is None or not path.startswith(events.path + b"/"):
            return
        folder, _, name = path[len(events.path) + 1 :].rpartition(b"/")
        if folder and any(self._names.ignores(part) for part in folder.split(b"/")):
            return
        if not is_folder:
            self.settling.hint(folder, name)
        elif not self._names.ignores(name):
            with self._lock:
                self._subtrees.setdefault(join(folder, name), self._clock.monotonic())
            self._wake.set()

    def _lose_events(self) -> None:
        """From any thread: events were lost, so the scan must tell."""
        with self._lock:
            self._overflows = self._overflows_told + 1  # one, however many lines and hints told of it
        self._wake.set()

    def _trust(self) -> None:
        self._trusted = True

    def _believed(self) -> bool:
        """Whether absence below the root counts, looked at just now."""
        standing = self._standing
        return self._trusted and standing.healthy and self._look().identity == standing.identity

    def _failed(self, error: Exception) -> None:
        self._say("watch.failed", type(error).__name__, "error")

    # --------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                self._check()
                self._scan_if_due()
            except _Ended:
                continue
            except Exception as error:  # noqa: BLE001 - said, and tried again: a root is never given up
                self._failed(error)
            self._wake.wait(self._sleep_s())
        if self._events is not None:
            self._events.stop()

    def _sleep_s(self) -> float:
        """Real seconds until something is due; short, since the clock may be moved under us."""
        with self._lock:
            if self._subtrees:
                return GATHER_S
        left = self._scan_at - self._clock.monotonic() if self._standing.healthy else CHECK_S
        return min(CHECK_S / 2, max(0.01, left))

    def _tick(self) -> float:
        self._ticked = self._clock.monotonic()
        return self._ticked

    def _look(self) -> Look:
        return look_at(self._row.path, self._options.guard)

    def _check(self) -> None:
        """Look at the root, and follow what became of it and of its events."""
        now = self._tick()
        self._checked = now
        look = self._look()
        self._tick()
        match step(self._standing, look, now):
            case "lost":
                self._lose(look, now)
            case "arm":
                self._arm(look, now)
            case "stay" if self._standing.healthy:
                self._tend_events(now)
            case "stay":
                self._standing = absent(self._standing, look)
        self._tell()

    def _lose(self, look: Look, now: float) -> None:
        if self._events is not None:
            self._events.stop()
            self._events = None
        self._trusted = False
        self._standing = lost(self._standing, look, now)

    def _arm(self, look: Look, now: float) -> None:
        """Arm the events, then believe the root, then scan it."""
        self._polled = self._start_events()
        if self._look().identity != look.identity:
            self._lose(self._look(), now)
            return
        self._standing = armed(look, self._polled)
        self._trusted = False
        self._rearm_at = now + REARM_S
        self._scan_at = now

    def _start_events(self) -> Polled | None:
        """Start the root's events; returns why it must be polled instead, or None."""
        if self._events is not None:
            self._events.stop()
            self._events = None
        if not self._options.events:
            return Polled("events are switched off")
        reason = why_polled(self._row.path, self._options.poll.get(self._inlet.role, "auto"))
        if reason is not None:
            return Polled(reason)
        self._events = Events(self._row.path, self._hint, self._lose_events)
        try:
            self._events.start()
        except OSError as error:
            self._events = None
            limit = error.errno in (errno.ENOSPC, errno.EMFILE)
            reason = f"no watches left: {WATCH_LIMIT}" if limit else f"events: {errno_name(error)}"
            self._say("watch.limited", reason, "warning")
            return Polled(reason, wanting=True)
        return None

    def _tend_events(self, now: float) -> None:
        """Rebuild events whose threads ended; try again what is polled for want of events."""
        fault = self._events.fault() if self._events is not None else None
        again = self._polled is not None and self._polled.wanting and now >= self._rearm_at
        if fault is None and not again:
            return
        if fault is not None:
            self._say("watch.rebuilt", fault, "warning")
        self._polled = self._start_events()
        self._rearm_at = now + REARM_S
        self._scan_at = now
        self._stand()

    def _stand(self) -> None:
        """Let the standing say whether the root is polled, and why."""
        self._standing = armed(Look(self._standing.identity), self._polled)
        self._tell()

    def _tell(self) -> None:
        standing = self._standing
        if (standing.state, standing.reason) != self._told:
            self._told = (standing.state, standing.reason)
            self._catalogue.root_moved(self._row.id, standing.state, standing.reason)

    def _say(self, name: str, reason: str, level: str) -> None:
        fields = {"role": self._inlet.role, "reason": reason}
        self._on_event(Event(name, fields, level))  # type: ignore[arg-type]

    # --------------------------------------------------------------------------------------------- scanning

    def _scan_if_due(self) -> None:
        now = self._clock.monotonic()
        overflowed = self._note_overflows()
        if overflowed:
            self._wake.wait(OVERFLOW_PAUSE_S)
        wanted = self._taken_requests()
        if self._standing.healthy and (wanted or overflowed or now >= self._scan_at):
            try:
                self._scan_root(stretch=not overflowed)
            except BaseException:
                self._scan_at = now + RETRY_S
                _finish(wanted)
                raise
        elif self._standing.healthy:
            self._scan_subtrees(now)
        _finish(wanted)

    def _note_overflows(self) -> bool:
        with self._lock:
            fresh = self._overflows - self._overflows_told
            self._overflows_told = self._overflows
        if fresh:
            self._say("watch.overflowed", "events were lost: scanning", "warning")
        return fresh > 0

    def _taken_requests(self) -> list[Future[None]]:
        with self._lock:
            wanted, self._wanted = self._wanted, []
        return wanted

    def _between(self) -> None:
        """Between two folders: end where we must, wait where the ledger has to catch up."""
        while True:
            now = self._tick()
            if self._stopping:
                raise _Ended
            if now - self._checked >= CHECK_S:
                self._checked = now
                if self._look().identity != self._standing.identity:
                    raise _Ended
            if not self.settling.crowded:
                return
            time.sleep(0.02)

    def _scan_root(self, *, stretch: bool) -> None:
        """Compare the whole root with the ledger."""
        began = self._thread_time()
        with self._lock:
            self._subtrees.clear()
        walk = Walk()
        scan = self._scan()
        absent_files = self._post_changes(scan.differences(b"", walk), walk)
        absent_files += scan.vanished_folders(walk)
        self._post_absences(absent_files)
        self._await_settling()
        self._note_shut(walk)
        if stretch:  # after lost events watchdog may still be registering its folders again
            self._check_coverage(walk)
        self._plan_next(self._thread_time() - began, stretch=stretch)

    def _scan_subtrees(self, now: float) -> None:
        """Scan the folders that hints named, once no more of them come in."""
        with self._lock:
            if not self._subtrees or now - max(self._subtrees.values()) < GATHER_S:
                return
            folders, self._subtrees = set(self._subtrees), {}
        scan, walk = self._scan(), Walk()
        for folder in sorted(folders):
            if folder not in walk.folders:  # met below one that came before
                self._post_absences(self._post_changes(scan.differences(folder, walk), walk))

    def _scan(self) -> Scan:
        return Scan(self._row.path, self._row.id, self._catalogue, self._names, self._between)

    def _post_changes(self, differences: Iterable[Difference], walk: Walk) -> list[Difference]:
        """Hand what changed to the settling; returns what seems to be gone, which waits until the root is believed."""
        absences = []
        for difference in differences:
            if difference.changed:
                self.settling.found(replace(difference, missing=[]))
            if difference.missing:
                absences.append(replace(difference, changed=[]))
            self._trusted = self._trusted or walk.matched > 0
        self._trusted = self._trusted or walk.matched > 0
        return absences

    def _post_absences(self, absences: Iterable[Difference]) -> None:
        for difference in absences if self._trusted else ():
            self.settling.found(difference)

    def _await_settling(self) -> None:
        """Wait until the settling has seen all that was posted."""
        seen_all = self.settling.call(_nothing)
        while not self._stopping:
            self._tick()
            try:
                return seen_all.result(timeout=0.1)
            except TimeoutError:
                continue
        raise _Ended

    def _note_shut(self, walk: Walk) -> None:
        """Say once which kind of trouble keeps folders from being read."""
        for reason in sorted({why for folder, why in walk.shut.items() if folder not in self._shut}):
            self._say("folder.unreadable", reason, "warning")
        self._shut = walk.shut

    def _check_coverage(self, walk: Walk) -> None:
        """Poll a root whose folders could not all be watched; watchdog passes over those in silence."""
        if self._events is None or (self._polled is not None and not self._polled.wanting):
            return
        missing = self._events.unwatched(walk.folders)
        if missing:
            time.sleep(COVERAGE_PAUSE_S)  # a new folder is watched a moment after it appears
            missing = self._events.unwatched(walk.folders)
        if not missing:
            self._polled = None
        elif self._polled is None:
            self._polled = Polled(
                f"{missing} of {len(walk.folders)} folders are not watched: {WATCH_LIMIT}", wanting=True
            )
            self._say("watch.limited", self._polled.reason, "warning")
        self._stand()

    def _plan_next(self, cpu_s: float, *, stretch: bool) -> None:
        """The next scan: as configured, or later where events are healthy and this one took long."""
        every = self._options.scan_every_s
        if stretch and self._standing.state is RootState.WATCHING:
            every = max(every, min(LONGEST_PAUSE_S, cpu_s / CPU_SHARE))
        now = self._tick()
        self._pause_s, self._scan_at = every, now + every
        self._last_scan = (now, self._clock.now())


def _old_before(row: RootRow, options: WatchOptions) -> int:
    """Nanoseconds of the wall clock: files whose inode changed before are old when first seen.

    What a person adopted is delivered, whatever the configuration says of old files.
    """
    if isinstance(options.since, datetime):
        return max(nanoseconds(options.since), row.adopted_ns)
    return row.registered_ns if options.since == "install" else row.adopted_ns


def nanoseconds(moment: datetime) -> int:
    """Nanoseconds since the epoch of an aware moment, exactly."""
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def _finish(wanted: list[Future[None]]) -> None:
    for future in wanted:
        if not future.done():
            future.set_result(None)


def _nothing() -> None:
    return None

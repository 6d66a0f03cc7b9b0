"""The ledger, opened: lock, check, migrations, writer, readers."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from daemon.contract import Act, Acted, Clock, Event, JobSpec, Json
from daemon.errors import CallspoolError, ConfigInvalid, Defect, LedgerDamaged, LedgerMissing
from daemon.ledger import catching_up, jobs, upkeep
from daemon.ledger.connection import (
    APPLICATION_ID,
    BUSY_TIMEOUT_S,
    open_for_reading,
    open_for_writing,
    translate,
)
from daemon.ledger.files import LedgerFiles
from daemon.ledger.lock import LedgerLock
from daemon.ledger.migrate import apply, migrations_of, pending
from daemon.ledger.paths import StatePaths
from daemon.ledger.reading import Readers, View, moment
from daemon.ledger.writer import RETRY_S, Writer, WriteTx, micros

T = TypeVar("T")

MACHINE_MIGRATIONS = "daemon.ledger.migrations"


class Ledger:
    """Opened for writing: this process is the only one that works on it.

    ``is_new`` until ``begin``. ``on_woken`` is told which lanes have something new to do, ``on_fatal`` what makes it
    impossible to go on; whoever runs the jobs sets both.
    """

    def __init__(
        self,
        paths: StatePaths,
        clock: Clock,
        *,
        readers: Readers,
        sources: Sequence[str],
        lanes: Mapping[str, str],
        on_event: Callable[[Event], None],
        on_woken: Callable[[frozenset[str]], None] = lambda _lanes: None,
        on_fatal: Callable[[Exception], None] = lambda _error: None,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        retry_s: float = RETRY_S,
    ) -> None:
        """Take the lock, check, restore if need be, migrate, open.

        ``sources`` are the packages whose migrations apply after the machine's; ``lanes`` names the lane of each
        kind of job. ``busy_timeout_s`` is how long a commit waits for another program's lock, ``retry_s`` the pause
        before one that failed is tried again. Raises AnotherInstance, LedgerMissing (newer), ConfigInvalid (network
        disk, no permission), LedgerBusy, DiskFull.
        """
        try:
            paths.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigInvalid(
                f"state.dir cannot be made ({error.strerror})", fix="check owner and mode of the folder above it"
            ) from error
        self.paths = paths
        self.clock = clock
        self.lanes = lanes
        self._on_event = on_event
        self.on_woken = on_woken
        self.on_fatal = on_fatal
        self._lock = LedgerLock(paths.lock)
        try:
            held = upkeep.mend(paths.ledger, paths.copies, clock.now())
            connection = self._open(sources, busy_timeout_s)
            held = held or self._set_back(connection)
        except BaseException as error:
            self._lock.release()
            if isinstance(error, sqlite3.Error):
                raise translate(error) from error
            raise
        self.writer = Writer(
            connection,
            self.host_id,
            clock,
            on_commit=self._committed,
            on_pause=self._paused,
            on_fatal=self._cannot_go_on,
            retry_s=retry_s,
        )
        self.readers = readers
        self.files = LedgerFiles(self.writer, self.readers, lanes)
        if held is not None:
            self._enter_hold(held)

    @property
    def hold(self) -> str | None:
        """Why nothing is discovered and delivered; None when all is well."""
        with self.view() as view:
            rows = view.rows("SELECT value FROM meta WHERE key = 'hold'")
        return rows[0]["value"] if rows else None

    @contextmanager
    def view(self) -> Iterator[View]:
        """A read-only view of one moment."""
        with self.readers.view() as view:
            yield view

    def write(self, name: str, run: Callable[[WriteTx], T]) -> T:
        """Run a transaction and wait until it is durable."""
        return self.writer.write(name, run)

    def act(self, name: str, act: Act, args: Mapping[str, object], *, dry_run: bool = False) -> Json:
        """Do a person's command: look, decide and commit in one transaction. A dry run only looks and decides."""
        if dry_run:
            with self.view() as view:
                return act(args, view).answer

        def run(tx: WriteTx) -> Json:
            acted = act(args, View(tx, tx.now))
            self.apply(tx, acted)
            return acted.answer

        return self.write(f"act.{name}", run)

    def apply(self, tx: WriteTx, acted: Acted) -> None:
        """Write what a command or a first start changes."""
        for fact in acted.facts:
            fact.write(tx)
        for event in acted.events:
            tx.journal(event)
        for spec in acted.then:
            jobs.add_job(tx, spec, self.lanes)

    def begin(self, acted: Sequence[Acted]) -> None:
        """Once in a ledger's life: what every room made of what lay there before, all of it in one commit."""

        def run(tx: WriteTx) -> None:
            for one in acted:
                self.apply(tx, one)
            tx.execute("INSERT INTO meta VALUES ('begun_us', ?)", (str(tx.now_us),))

        self.write("ledger.begun", run)
        self.is_new = False

    def recover(self) -> None:
        """Once, before anything runs: what the last process left in the middle."""
        self.write("ledger.recovered", jobs.recover)

    def beat(self) -> Future[int]:
        """Commit that the ledger is alive and count how often it was; ``keep_beat`` is told the number afterwards."""

        def run(tx: WriteTx) -> int:
            beats = _beats(tx.rows("SELECT value FROM meta WHERE key = 'beats'")) + 1
            tx.execute("INSERT OR REPLACE INTO meta VALUES ('beats', ?)", (str(beats),))
            return beats

        return self.writer.submit("health.probed", run)

    def keep_beat(self, beats: int) -> None:
        """Put the number beside the ledger. A disk that takes no more writes costs no more than this."""
        part = self.paths.beat.with_name(self.paths.beat.name + ".part")
        with suppress(OSError):
            part.write_text(f"{beats}\n")
            part.replace(self.paths.beat)

    def add_jobs_later(self, specs: Sequence[JobSpec]) -> None:
        """``add_jobs`` without waiting for the commit: for the thread that commits. Lost if the process dies first."""

        def run(tx: WriteTx) -> None:
            for spec in specs:
                jobs.add_job(tx, spec, self.lanes)

        with suppress(Defect):  # the ledger closes: whoever starts next looks for itself
            self.writer.submit("jobs.woken", run)

    def add_jobs(self, specs: Sequence[JobSpec]) -> None:
        """Add or wake jobs from outside a decision."""

        def run(tx: WriteTx) -> None:
            for spec in specs:
                jobs.add_job(tx, spec, self.lanes)

        self.write("jobs.added", run)

    def last_run(self, job: JobSpec) -> datetime:
        """When this job was last added by the clock; now, and kept, where it never was."""
        key = f"scheduled_us {job.kind} {job.key}"
        with self.view() as view:
            rows = view.rows("SELECT value FROM meta WHERE key = ?", (key,))
        if rows:
            return moment(int(rows[0]["value"]))

        def run(tx: WriteTx) -> datetime:
            tx.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, str(tx.now_us)))
            return tx.now

        return self.write("schedule.begun", run)

    def run_scheduled(self, job: JobSpec) -> None:
        """Add a job that the clock asks for, and remember when, in one commit."""

        def run(tx: WriteTx) -> None:
            jobs.add_job(tx, job, self.lanes)
            key = f"scheduled_us {job.kind} {job.key}"
            tx.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(tx.now_us)))

        self.write("schedule.run", run)

    def daily_copy(self) -> Path | None:
        """Today's copy, unless it is there already; older ones are pruned."""
        target = self.paths.copies / upkeep.daily_name(self.clock.now())
        if target.exists():
            return None
        self.copy(target)
        upkeep.prune(self.paths.copies)
        return target

    def copy(self, target: Path) -> None:
        """A whole, checked copy at ``target``."""
        try:
            with closing(open_for_reading(self.paths.ledger)) as connection:
                upkeep.copy_to(connection, target)
        except LedgerDamaged:
            upkeep.suspect(self.paths.ledger)
            raise
        size = target.stat().st_size
        self.write("ledger.copied", lambda tx: tx.journal(Event("ledger.copied", {"size_bytes": size})))

    def close(self) -> None:
        """Commit what is queued, close everything, let another process in.

        The writer closes last: the last connection takes the WAL into the file and removes it, which a reader cannot.
        """
        self.readers.close()
        self.writer.close()
        self._lock.release()

    def _open(self, sources: Sequence[str], busy_timeout_s: float) -> sqlite3.Connection:
        connection = open_for_writing(self.paths.ledger, busy_timeout_s=busy_timeout_s)
        try:
            self._migrate(connection, sources)
            self.host_id = _meta(connection, "host_id", upkeep.read_host(self.paths.host) or secrets.token_hex(8))
            with suppress(OSError):  # a full disk: the next start keeps it
                upkeep.keep_host(self.paths.host, self.host_id)
            self.is_new = not connection.execute("SELECT 1 FROM meta WHERE key = 'begun_us'").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection, sources: Sequence[str]) -> None:
        todo = pending(connection, migrations_of([MACHINE_MIGRATIONS, *sources]))
        now = self.clock.now()
        if not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        elif todo:
            target = self.paths.copies / f"before-migration-{now:%Y%m%dT%H%M%SZ}.db"
            upkeep.copy_to(connection, target, upkeep.every_page)  # a supervisor waits for it, and it was looked at
        for migration in todo:
            apply(connection, migration, micros(now))

    def _set_back(self, connection: sqlite3.Connection) -> str | None:
        """Why to hold where somebody put an older copy in the ledger's place: what was delivered since is not in it."""
        ours = _beats(connection.execute("SELECT value FROM meta WHERE key = 'beats'").fetchall())
        if self.is_new or ours >= upkeep.read_beat(self.paths.beat):
            return None
        return "the ledger is older than the one that worked here last; a copy was put in its place"

    def _enter_hold(self, reason: str) -> None:
        def hold(tx: WriteTx) -> None:
            catching_up.begin(tx)
            beats = upkeep.read_beat(self.paths.beat)
            tx.execute("INSERT OR REPLACE INTO meta VALUES ('beats', ?)", (str(beats),))
            tx.execute("INSERT OR REPLACE INTO meta VALUES ('hold', ?)", (reason,))
            tx.journal(Event("ledger.held", {"reason": reason}, "error"))

        self.write("ledger.held", hold)
        upkeep.forget(self.paths.ledger)

    def _committed(self, events: Sequence[Event], woken: frozenset[str]) -> None:
        for event in events:
            self._on_event(event)
        if woken:
            self.on_woken(woken)

    def _cannot_go_on(self, error: Exception) -> None:
        self.on_fatal(error)

    def _paused(self, error: CallspoolError | None) -> None:
        if error is None:
            self._on_event(Event("ledger.resumed", {}))
        else:
            self._on_event(Event("ledger.paused", {"reason": str(error)}, "error"))


def read_only(paths: StatePaths, clock: Clock) -> Readers:
    """Views of a ledger beside a running daemon or without one. Raises LedgerMissing, LedgerDamaged."""
    readers = Readers(paths.ledger, clock)
    try:
        readers.connection().execute("SELECT count(*) FROM meta").fetchone()
    except sqlite3.DatabaseError as error:
        raise LedgerDamaged(f"the ledger cannot be read: {error}", fix="callspool run  (restores a copy)") from error
    return readers


def refuse_older(readers: Readers, sources: Sequence[str]) -> None:
    """Raises LedgerMissing where the ledger lacks migrations that this program would apply at its start: what could not
    be read may be among them. Where it is newer than the program it says so too."""
    lacking = pending(readers.connection(), migrations_of([MACHINE_MIGRATIONS, *sources]))
    if lacking:
        raise LedgerMissing(
            f"the ledger was written by an older callspool (it lacks migration {lacking[0].source} "
            f"{lacking[0].number:04d}), and this cannot be read from it yet",
            fix="start the daemon, again where one runs (or callspool once): it brings the ledger up to date",
        )


def copy_age(paths: StatePaths, clock: Clock) -> timedelta | None:
    """How old the newest daily copy is; None where there is none."""
    copies = upkeep.daily_copies(paths.copies)
    return None if not copies else timedelta(seconds=clock.now().timestamp() - copies[0].stat().st_mtime)


def _beats(rows: Sequence[sqlite3.Row]) -> int:
    return int(rows[0]["value"]) if rows else 0


def _meta(connection: sqlite3.Connection, key: str, default: str) -> str:
    connection.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, default))
    return str(connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])

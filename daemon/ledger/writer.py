"""The one writer: transactions queue here, share commits, and survive a full disk by waiting.

Each transaction is a function of a ``WriteTx``. The thread takes whatever is queued, runs every function under its
own savepoint inside one BEGIN IMMEDIATE, commits once, and only then resolves the futures: independent transactions
share an fsync, and nobody acts on what is not yet durable. A function that raises is rolled back to its savepoint
and harms no other.

When the disk is full or another program holds the file, nothing is lost and nobody is told: the whole batch is rolled
back and run again until it commits. Everything upstream simply waits, which is what "pause" means here. Functions
must therefore be repeatable: all they change is the ledger.

A damaged ledger ends it: nothing more is written, every waiting function gets LedgerDamaged, and the process is told
to end, so that the next start can put a sound copy in its place.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from string import ascii_letters
from typing import Any, TypeVar

from daemon.contract import Clock, Event
from daemon.errors import CallspoolError, Defect, DiskFull, LedgerBusy, LedgerDamaged, StaleRow
from daemon.ledger.connection import translate
from daemon.masking import masked
from daemon.trace import point

T = TypeVar("T")

BATCH = 256
"""Transactions that share a commit at most: keeps one commit, and so everybody's wait, in the milliseconds."""

RETRY_S = 1.0
"""Pause before a batch that met a full disk or a lock is tried again."""

REPORT_S = 60.0
"""How often a pause that lasts is reported again."""

CLOSING_BUSY_MS = 1000
"""How long the last checkpoint waits for readers: what it leaves in the WAL, the next start takes from there."""


def micros(at: datetime) -> int:
    """Microseconds since the epoch of an aware datetime, exactly (no float in between)."""
    delta = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


class WriteTx:
    """An open transaction: the contract's ``Tx`` and what the machine's own tables need."""

    def __init__(self, connection: sqlite3.Connection, host_id: str, now: datetime) -> None:
        self._connection = connection
        self.host_id = host_id
        self.now = now
        self.now_us = micros(now)
        self.events: list[Event] = []
        self.woken: set[str] = set()
        """Lanes that have something new to do once this is committed."""

    def execute(self, sql: str, args: Sequence[object] = ()) -> int:
        """Run one statement; returns how many rows it changed."""
        return self._connection.execute(sql, args).rowcount

    def rows(self, sql: str, args: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Rows as this transaction sees them, its own changes included."""
        try:
            return self._connection.execute(sql, args).fetchall()
        except sqlite3.OperationalError as error:
            raise _damage_or(error, sql) from error

    def row(self, sql: str, args: Sequence[object] = ()) -> sqlite3.Row | None:
        """The first row, or None."""
        try:
            found: sqlite3.Row | None = self._connection.execute(sql, args).fetchone()
        except sqlite3.OperationalError as error:
            raise _damage_or(error, sql) from error
        return found

    def insert(self, sql: str, args: Sequence[object] = ()) -> int:
        """Run one INSERT; returns the new row's id."""
        return self._connection.execute(sql, args).lastrowid or 0

    def expect(self, sql: str, args: Sequence[object], *, rows: int = 1) -> None:
        """Run an update that names the state it expects; raises StaleRow when it changed another number of rows."""
        changed = self.execute(sql, args)
        if changed != rows:
            raise StaleRow(f"expected {rows} row(s), changed {changed}: {sql.partition(' WHERE ')[0]}")

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A part of this transaction that is undone whole where it raises; what came before it stands.

        Some errors (a full disk) make SQLite roll back the whole transaction: then there is nothing left to undo, and
        ``lost`` says so.
        """
        events, woken = len(self.events), set(self.woken)
        self.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            if not self.lost:
                self.execute("ROLLBACK TO part")
                self.execute("RELEASE part")
            del self.events[events:]
            self.woken = woken
            raise
        self.execute("RELEASE part")

    @property
    def lost(self) -> bool:
        """True once SQLite has rolled the whole transaction back: whoever caught the error must raise it on."""
        return not self._connection.in_transaction

    def journal(self, event: Event, *, item_id: int | None = None) -> None:
        """Append one line, masked: it can never be taken back. It is logged after the commit."""
        call_id = event.fields.get("call_id")
        if item_id is None:
            digits = str(event.fields.get("item", "")).lstrip(ascii_letters)  # a room may write r13 for 13
            item_id = int(digits) if digits.isdecimal() else None
        self.execute(
            "INSERT INTO journal (host_id, at_us, event, level, call_id, item_id, fields) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self.host_id, self.now_us, event.name, event.level, call_id, item_id, dumps(masked(event.fields))),
        )
        self.events.append(event)


def dumps(value: object) -> str:
    """JSON as the ledger keeps it: compact, and pure ASCII so that any string survives."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


@dataclass(slots=True)
class _Queued:
    name: str
    run: Callable[[WriteTx], Any]
    future: Future[Any]
    result: Any = None
    tx: WriteTx | None = None


@dataclass(slots=True)
class _Alone:
    """Something that must stand between transactions, such as VACUUM."""

    run: Callable[[sqlite3.Connection], None]
    future: Future[None]


class Writer:
    """The thread that owns the writing connection.

    ``on_commit`` gets each transaction's events and woken lanes after its commit, in order; ``on_pause`` is told when
    commits stop (with the error, again every minute) and None when they go on; ``on_fatal`` what makes it impossible
    to go on. All are called on this thread and must not wait for it.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        host_id: str,
        clock: Clock,
        *,
        on_commit: Callable[[Sequence[Event], frozenset[str]], None],
        on_pause: Callable[[CallspoolError | None], None],
        on_fatal: Callable[[Exception], None],
        retry_s: float = RETRY_S,
    ) -> None:
        self._connection = connection
        self._host_id = host_id
        self._clock = clock
        self._on_commit = on_commit
        self._on_pause = on_pause
        self._on_fatal = on_fatal
        self._retry_s = retry_s
        self._queue: queue.SimpleQueue[_Queued | _Alone | None] = queue.SimpleQueue()
        self._door = threading.Lock()
        self._closing = threading.Event()
        self._damage: LedgerDamaged | None = None
        self._reported_at: float | None = None
        self._thread = threading.Thread(target=self._loop, name="ledger-writer", daemon=True)
        self._thread.start()

    def submit(self, name: str, run: Callable[[WriteTx], T]) -> Future[T]:
        """Queue a transaction; ``name`` is its trace point. The future is done once it is durable.

        The future cannot be cancelled. Raises Defect once the ledger is closed.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        with self._door:
            if self._closing.is_set():
                raise Defect(f"transaction {name} after the ledger was closed")
            self._queue.put(_Queued(name, run, future))
        return future

    def write(self, name: str, run: Callable[[WriteTx], T]) -> T:
        """Queue a transaction and wait until it is durable."""
        return self.submit(name, run).result()

    def alone(self, run: Callable[[sqlite3.Connection], None]) -> None:
        """Run something between two transactions that cannot be inside one, and wait for it."""
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        with self._door:
            if self._closing.is_set():
                raise Defect("the ledger was closed")
            self._queue.put(_Alone(run, future))
        future.result()

    @property
    def paused(self) -> bool:
        """True while commits fail: disk full, or the file held by another program."""
        return self._reported_at is not None

    def close(self) -> None:
        """Commit what is queued and close the connection. A batch that cannot commit now is given up."""
        with self._door:
            self._closing.set()
            self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        last = False
        while not last:
            batch, alone, last = self._next_batch()
            if batch:
                self._commit(batch)
            if alone is not None:
                self._run_alone(alone)
        if self._damage is None:
            with suppress(sqlite3.Error):  # only tidies up: the next start reads the WAL as well
                self._connection.execute(f"PRAGMA busy_timeout = {CLOSING_BUSY_MS}")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def _next_batch(self) -> tuple[list[_Queued], _Alone | None, bool]:
        """What is queued, up to what must stand alone; and whether that was the last."""
        batch: list[_Queued] = []
        entry = self._queue.get()
        while entry is not None:
            if isinstance(entry, _Alone):
                return batch, entry, False
            batch.append(entry)
            if len(batch) == BATCH:
                return batch, None, False
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return batch, None, False
        return batch, None, True

    def _run_alone(self, entry: _Alone) -> None:
        try:
            entry.run(self._connection)
        except Exception as error:  # noqa: BLE001 - whoever asked for it is told
            ours = translate(error) if isinstance(error, sqlite3.Error) else error
            entry.future.set_exception(ours)
        else:
            entry.future.set_result(None)

    def _commit(self, batch: list[_Queued]) -> None:
        """Run and commit a batch, again and again until the disk takes it; resolve its futures."""
        while True:
            try:
                self._run(batch)
            except (DiskFull, LedgerBusy) as error:
                if self._closing.is_set():
                    _refuse(batch, error)
                    return
                self._pause(error)
            except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the transaction that caused it
                self._give_up(batch, error)
                return
            else:
                break
        if self.paused:
            self._reported_at = None
            self._on_pause(None)
        for entry in batch:
            self._resolve(entry)

    def _give_up(self, batch: list[_Queued], error: Exception) -> None:
        """One transaction broke the whole batch: each alone, so that it harms no other. Damage is everybody's."""
        if isinstance(error, LedgerDamaged):
            if self._damage is None:
                self._damage = error
                self._on_fatal(error)
            _refuse(batch, error)
        elif len(batch) == 1:
            _refuse(batch, error)
        else:
            for entry in batch:
                self._commit([entry])

    def _pause(self, error: CallspoolError) -> None:
        now = self._clock.monotonic()
        if self._reported_at is None or now - self._reported_at >= REPORT_S:
            self._reported_at = now
            self._on_pause(error)
        self._closing.wait(self._retry_s)

    def _run(self, batch: list[_Queued]) -> None:
        if self._damage is not None:
            raise self._damage
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            for entry in batch:
                self._run_one(entry)
            for entry in batch:
                point(f"{entry.name}.committing")
            execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise translate(error) from error
            raise
        for entry in batch:
            point(f"{entry.name}.committed")

    def _run_one(self, entry: _Queued) -> None:
        """Run one function under its savepoint. Only what concerns the whole batch is raised."""
        execute = self._connection.execute
        tx = entry.tx = WriteTx(self._connection, self._host_id, self._clock.now())
        execute("SAVEPOINT one")
        try:
            entry.result = entry.run(tx)
        except Exception as error:
            if tx.lost or stops_everything(error):
                raise
            execute("ROLLBACK TO one")
            entry.tx, entry.result = None, error
        execute("RELEASE one")

    def _resolve(self, entry: _Queued) -> None:
        if entry.tx is None:
            entry.future.set_exception(entry.result)
            return
        if entry.tx.events or entry.tx.woken:
            try:
                self._on_commit(entry.tx.events, frozenset(entry.tx.woken))
            except Exception as error:  # noqa: BLE001 - durable all the same; without a log nobody should go on
                self._on_fatal(error)
        entry.future.set_result(entry.result)


def stops_everything(error: Exception) -> bool:
    """Whether an error inside a transaction is the ledger's own trouble rather than the transaction's."""
    return isinstance(error, LedgerDamaged) or (
        isinstance(error, sqlite3.Error) and isinstance(translate(error), (DiskFull, LedgerBusy, LedgerDamaged))
    )


def _damage_or(error: sqlite3.OperationalError, sql: str) -> Exception:
    """What is damage by what was read; the other errors are SQLite's still, for whoever commits."""
    ours = translate(error, sql)
    return ours if isinstance(ours, LedgerDamaged) else error


def _refuse(batch: Sequence[_Queued], error: Exception) -> None:
    for entry in batch:
        entry.future.set_exception(error)

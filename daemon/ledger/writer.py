"""The one writer: transactions queue here, share commits, and survive a full disk by waiting.

Each transaction is a function of a ``WriteTx``. The thread takes whatever is queued, runs every function under its
own savepoint inside one BEGIN IMMEDIATE, commits once, and only then resolves the futures: independent transactions
share an fsync, and nobody acts on what is not yet durable. A function that raises is rolled back to its savepoint
and harms no other.

When the disk is full or another program holds the file, nothing is lost and nobody is told: the whole batch is rolled
back and run again until it commits. Everything upstream simply waits, which is what "pause" means here. Functions
must therefore be repeatable: all they change is the ledger.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from daemon.contract import Clock, Event
from daemon.errors import CallspoolError, Defect, DiskFull, LedgerBusy, StaleRow
from daemon.ledger.connection import translate
from daemon.trace import point

T = TypeVar("T")

BATCH = 256
"""Transactions that share a commit at most: keeps one commit, and so everybody's wait, in the milliseconds."""

RETRY_S = 1.0
"""Pause before a batch that met a full disk or a lock is tried again."""


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
        return self._connection.execute(sql, args).fetchall()

    def row(self, sql: str, args: Sequence[object] = ()) -> sqlite3.Row | None:
        """The first row, or None."""
        found: sqlite3.Row | None = self._connection.execute(sql, args).fetchone()
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
        """A part of this transaction that is undone whole where it raises; what came before it stands."""
        events, woken = len(self.events), set(self.woken)
        self.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK TO part")
            self.execute("RELEASE part")
            del self.events[events:]
            self.woken = woken
            raise
        self.execute("RELEASE part")

    def journal(self, event: Event, *, item_id: int | None = None) -> None:
        """Append one line; it is logged after the commit."""
        call_id = event.fields.get("call_id")
        if item_id is None and isinstance(event.fields.get("item"), int):
            item_id = int(event.fields["item"])  # type: ignore[arg-type]
        self.execute(
            "INSERT INTO journal (host_id, at_us, event, level, call_id, item_id, fields) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self.host_id, self.now_us, event.name, event.level, call_id, item_id, dumps(event.fields)),
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


class Writer:
    """The thread that owns the writing connection.

    ``on_commit`` gets each transaction's events and woken lanes after its commit, in order; ``on_pause`` is told when
    commits stop (with the error) and None when they go on. Neither may raise.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        host_id: str,
        clock: Clock,
        *,
        on_commit: Callable[[Sequence[Event], frozenset[str]], None],
        on_pause: Callable[[CallspoolError | None], None],
    ) -> None:
        self._connection = connection
        self._host_id = host_id
        self._clock = clock
        self._on_commit = on_commit
        self._on_pause = on_pause
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._paused = False
        self._thread = threading.Thread(target=self._loop, name="ledger-writer", daemon=True)
        self._thread.start()

    def submit(self, name: str, run: Callable[[WriteTx], T]) -> Future[T]:
        """Queue a transaction; ``name`` is its trace point. The future is done once it is durable."""
        if self._closing.is_set():
            raise Defect(f"transaction {name} after the ledger was closed")
        future: Future[T] = Future()
        self._queue.put(_Queued(name, run, future))
        return future

    def write(self, name: str, run: Callable[[WriteTx], T]) -> T:
        """Queue a transaction and wait until it is durable."""
        return self.submit(name, run).result()

    @property
    def paused(self) -> bool:
        """True while commits fail: disk full, or the file held by another program."""
        return self._paused

    def close(self) -> None:
        """Commit what is queued and close the connection. A batch that cannot commit now is given up."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        last = False
        while not last:
            batch, last = self._next_batch()
            if batch:
                self._commit(batch)
        self._connection.close()

    def _next_batch(self) -> tuple[list[_Queued], bool]:
        first = self._queue.get()
        if first is None:
            return [], True
        batch = [first]
        while len(batch) < BATCH:
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                break
            if entry is None:
                return batch, True
            batch.append(entry)
        return batch, False

    def _commit(self, batch: list[_Queued]) -> None:
        """Run and commit a batch, again and again until the disk takes it."""
        while True:
            try:
                self._run(batch)
                break
            except (DiskFull, LedgerBusy) as error:
                if self._closing.is_set():
                    for entry in batch:
                        entry.future.set_exception(error)
                    return
                self._paused = True
                self._on_pause(error)
                self._closing.wait(RETRY_S)
            except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for these transactions
                for entry in batch:
                    entry.future.set_exception(error)
                return
        if self._paused:
            self._paused = False
            self._on_pause(None)
        for entry in batch:
            self._resolve(entry)

    def _run(self, batch: list[_Queued]) -> None:
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            for entry in batch:
                self._run_one(entry)
            for entry in batch:
                point(f"{entry.name}.committing")
            execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise translate(error) from error
        for entry in batch:
            point(f"{entry.name}.committed")

    def _run_one(self, entry: _Queued) -> None:
        execute = self._connection.execute
        tx = entry.tx = WriteTx(self._connection, self._host_id, self._clock.now())
        execute("SAVEPOINT one")
        try:
            entry.result = entry.run(tx)
        except sqlite3.OperationalError as error:
            if isinstance(translate(error), (DiskFull, LedgerBusy)):
                raise
            self._give_up(entry, error)
        except Exception as error:  # noqa: BLE001 - it is the caller's, and reaches it through the future
            self._give_up(entry, error)
        execute("RELEASE one")

    def _give_up(self, entry: _Queued, error: Exception) -> None:
        self._connection.execute("ROLLBACK TO one")
        entry.tx, entry.result = None, error

    def _resolve(self, entry: _Queued) -> None:
        if entry.tx is None:
            entry.future.set_exception(entry.result)
            return
        if entry.tx.events or entry.tx.woken:
            self._on_commit(entry.tx.events, frozenset(entry.tx.woken))
        entry.future.set_result(entry.result)

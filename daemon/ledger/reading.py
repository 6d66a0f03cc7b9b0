"""Read-only views of the ledger: the contract's ``Reader`` and ``Contents``."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

from daemon.catalogue import Stat
from daemon.contract import Clock, Item, Receipt
from daemon.errors import ContentGone, ContentMoved, UnknownSubject
from daemon.ledger.connection import open_for_reading, translate
from daemon.states import FileState

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)

CATCHING_UP, CAUGHT_UP = "catching_up", "caught_up"
"""The keys in ``meta`` of what is said below."""

FIRST, LAST = 16, 64
"""Jobs at both ends of a lane's line that are asked how old they are; the newest are taken up first."""

HUNG_US = 600_000_000
"""Microseconds after which a job at work keeps nobody waiting: reading the largest file takes less."""


class Unseen(NamedTuple):
    """What came from ``since_us`` to ``began_us``, while nobody looked, is not seen yet."""

    since_us: int
    began_us: int


class Seen(NamedTuple):
    """When all that came since ``since_us``, while nobody looked, had been seen: the newest job's number, and when."""

    job: int
    at_us: int
    since_us: int


Mark = TypeVar("Mark", Unseen, Seen)


def mark_of(kind: type[Mark], rows: Sequence[sqlite3.Row]) -> Mark | None:
    """A mark out of its row in ``meta``, if there is one."""
    said = rows[0]["value"].split() if rows else []
    return kind(*map(int, said)) if len(said) == len(kind._fields) else None


def mark_text(mark: Unseen | Seen) -> str:
    """A mark as ``meta`` keeps it."""
    return " ".join(map(str, mark))


def moment(us: int) -> datetime:
    """The aware UTC datetime of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=us)


class _Rows(Protocol):
    def rows(self, sql: str, args: Sequence[object] = ()) -> list[sqlite3.Row]: ...


class View:
    """A ``Reader`` over anything that can run a SELECT: a reading connection, or a transaction that is still open."""

    def __init__(self, source: _Rows, now: datetime) -> None:
        self._source = source
        self._now = now

    @property
    def now(self) -> datetime:
        """The moment of the decision."""
        return self._now

    def rows(self, sql: str, args: Sequence[object] = ()) -> list[sqlite3.Row]:
        """The rows of a SELECT."""
        return self._source.rows(sql, args)

    def item(self, item_id: int) -> Item:
        """The item with this id; raises UnknownSubject."""
        found = self.rows("SELECT * FROM item WHERE id = ?", (item_id,))
        if not found:
            raise UnknownSubject(f"no item {item_id}")
        return item_of(found[0])

    def receipt(self, key: str) -> Receipt | None:
        """The receipt of a done effect."""
        found = self.rows("SELECT receipt FROM effect WHERE key = ? AND state = 'done'", (key,))
        return Receipt(json.loads(found[0]["receipt"])) if found else None

    def known_until(self, lane: str, since: datetime) -> datetime:
        """When the oldest content came, from ``since`` on, that is not through the lane; jobs that wait for a time or a
        person are.

        Content that came while nobody looked may have come at any time then; which it was is told by its job's number
        too, since a clock may be set. Of a long line only both ends are looked at.
        """
        since_us, now_us = (since - EPOCH) // _US, (self._now - EPOCH) // _US
        ready = "SELECT id, due_us FROM job WHERE lane = ? AND state = 'ready' ORDER BY id"
        first, last = self.rows(f"{ready} LIMIT ?", (lane, FIRST)), self.rows(f"{ready} DESC LIMIT ?", (lane, LAST))
        running = self.rows(
            "SELECT id, due_us FROM job WHERE lane = ? AND state = 'running' AND changed_us >= ?",
            (lane, now_us - HUNG_US),
        )
        seen = mark_of(Seen, self.rows("SELECT value FROM meta WHERE key = ?", (CAUGHT_UP,)))
        came = [_came(row, seen) for row in (*first, *last, *running)]
        unseen = mark_of(Unseen, self.rows("SELECT value FROM meta WHERE key = ?", (CATCHING_UP,)))
        came += [unseen] if unseen is not None else []
        oldest = [came_us for came_us, latest_us in came if latest_us >= since_us]
        if len(last) == LAST and last[-1]["id"] > first[-1]["id"] and last[-1]["due_us"] >= since_us:
            oldest.append(since_us)  # it lies between the two ends
        return min(self._now, moment(min(oldest))) if oldest else self._now


def _came(row: sqlite3.Row, seen: Seen | None) -> tuple[int, int]:
    """Between which two moments a job's content came (microseconds)."""
    if seen is not None and row["id"] <= seen.job and row["due_us"] <= seen.at_us:
        return min(seen.since_us, row["due_us"]), seen.at_us
    return row["due_us"], row["due_us"]


def item_of(row: sqlite3.Row) -> Item:
    """The value of a row of ``item``."""
    return Item(
        id=row["id"],
        role=row["role"],
        kind=row["kind"],
        sha256=row["sha256"],
        size=row["size"],
        evidence=row["evidence"],
        name=row["name"],
        path=row["path"],
        mtime_ns=row["mtime_ns"],
        first_seen_at=moment(row["first_seen_us"]),
        flags=tuple(json.loads(row["flags"])),
        replaces=row["replaces"],
    )


class _Connection:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        weakref.finalize(self, connection.close).atexit = False

    def rows(self, sql: str, args: Sequence[object] = ()) -> list[sqlite3.Row]:
        try:
            return self.connection.execute(sql, args).fetchall()
        except sqlite3.Error as error:
            ours = translate(error, sql)
            if ours is error:
                raise
            raise ours from error


class Readers:
    """Reading connections, one to a thread, opened when first needed and closed with their thread."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._local = threading.local()
        self._opened: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._lock = threading.Lock()

    def connection(self) -> sqlite3.Connection:
        """This thread's connection; raises LedgerMissing where there is no ledger."""
        return self._mine().connection

    def _mine(self) -> _Connection:
        mine: _Connection | None = getattr(self._local, "mine", None)
        if mine is None:
            mine = self._local.mine = _Connection(open_for_reading(self._path))
            with self._lock:
                self._opened.add(mine)
        return mine

    def rows(self, sql: str, args: Sequence[object] = ()) -> list[sqlite3.Row]:
        """The rows a SELECT returns now."""
        return self._mine().rows(sql, args)

    @contextmanager
    def view(self) -> Iterator[View]:
        """A view of one moment: all its queries see the same commits. One within another of the same thread sees the
        moment of the outer one."""
        mine = self._mine()
        if mine.connection.in_transaction:
            yield View(mine, self._clock.now())
            return
        mine.rows("BEGIN")
        try:
            yield View(mine, self._clock.now())
        finally:
            mine.rows("COMMIT")

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            for mine in self._opened:
                mine.connection.close()
            self._opened.clear()


class LedgerContents:
    """``Contents`` over the files the ledger knows. Checks what it opens against what was hashed, on both ends, and
    hashes again what lies there with other times or another inode."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    @contextmanager
    def open(self, item_id: int) -> Iterator[BinaryIO]:
        """As the contract says: never follows links, raises ContentGone or ContentMoved."""
        path, expected = self._find(item_id)
        fd = _open(path, item_id)
        with os.fdopen(fd, "rb", buffering=0) as handle:
            _check(fd, expected, item_id)
            try:
                yield handle
            finally:  # whatever was made of the bytes, an error included, counts only if they stood still
                _check(fd, expected, item_id)

    def path(self, item_id: int) -> bytes:
        """A path that holds the content at this moment."""
        path, expected = self._find(item_id)
        fd = _open(path, item_id)
        try:
            _check(fd, expected, item_id)
        finally:
            os.close(fd)
        return path

    def _find(self, item_id: int) -> tuple[bytes, Stat]:
        rows = self._readers.rows(
            "SELECT root.path AS root, folder.path AS folder, file.name, file.state, file.size, file.mtime_ns, "
            "ctime_ns, ino, sha256 FROM file JOIN folder ON folder.id = file.folder_id "
            "JOIN root ON root.id = folder.root_id JOIN item ON item.id = item_id WHERE item_id = ?",
            (item_id,),
        )
        moved = False
        for row in rows:
            path = os.path.join(row["root"], row["folder"], row["name"])
            expected = Stat(row["size"], row["mtime_ns"], row["ctime_ns"], row["ino"])
            try:
                found = _stat_of(os.lstat(path))
                if row["state"] == FileState.KNOWN and (
                    found == expected or (found.size == expected.size and _holds(path, found, row["sha256"], item_id))
                ):
                    return path, found
                moved = moved or row["state"] != FileState.OLD  # an old one settles when a person says so
            except (FileNotFoundError, NotADirectoryError, ContentGone):
                continue
            except (OSError, ContentMoved):  # the folder cannot be searched now: that is not disappearance
                moved = True
        if moved:
            raise ContentMoved("the file changed after it was hashed", item_id)
        raise ContentGone("no file holds this content any more", item_id)


def _open(path: bytes, item_id: int) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise ContentGone("the file disappeared", item_id) from None
    except OSError as error:
        raise ContentMoved(f"the file cannot be opened ({os.strerror(error.errno or 0)})", item_id) from None


def _holds(path: bytes, found: Stat, sha256: str, item_id: int) -> bool:
    """Whether a file whose times or inode moved holds the content still: the hash says so, the rest only caches it.

    A new mode, owner or link renews ctime, and the watch may learn of it as late as by its next scan.
    """
    fd = _open(path, item_id)
    with os.fdopen(fd, "rb", buffering=0) as handle:
        _check(fd, found, item_id)
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        _check(fd, found, item_id)
    return digest == sha256


def _check(fd: int, expected: Stat, item_id: int) -> None:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or _stat_of(found) != expected:
        raise ContentMoved("the file changed after it was hashed", item_id)


def _stat_of(found: os.stat_result) -> Stat:
    return Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

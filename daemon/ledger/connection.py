"""How a connection to the ledger is opened: pragmas, types, and the refusal of disks that cannot keep the promise."""

from __future__ import annotations

import os
import sqlite3
import urllib.parse
from pathlib import Path

from daemon.errors import ConfigInvalid, DiskFull, LedgerBusy, LedgerDamaged, LedgerMissing
from daemon.filesystem import Filesystem, filesystem_of

BUSY_TIMEOUT_S = 10.0
"""How long a statement waits for another program's lock (a backup tool, a person's sqlite3) before it gives up."""

APPLICATION_ID = 0x63616C6C
"""'call', so that file(1) and a person can tell the ledger from any other SQLite file."""

NO_TEXT = "Could not decode to UTF-8 column"
"""How Python's sqlite3 begins to tell of a text that is none. The bytes follow, so its words are never passed on."""


def open_for_writing(path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
    """The one writing connection: WAL, every commit on the disk before it returns, foreign keys on.

    The file is made 0600 where it is missing. Raises ConfigInvalid on a network file system: SQLite's WAL needs shared
    memory, and its locks lie over NFS and SMB.
    """
    refuse_network(filesystem_of(os.fsencode(path.parent)))
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = _connect(path, "rw", busy_timeout_s)
    try:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise ConfigInvalid(
                f"the disk below state.dir cannot hold a ledger: SQLite's journal mode there is {mode!r}, not WAL",
                fix="set state.dir to a folder on a local disk",
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA recursive_triggers = ON")  # or INSERT OR REPLACE deletes past the journal's trigger
    except BaseException:
        connection.close()
        raise
    return connection


def refuse_network(kind: Filesystem) -> None:
    """Raises ConfigInvalid where the ledger's folder lies on another machine's disk."""
    if kind.network:
        raise ConfigInvalid(
            f"state.dir lies on {kind.type}, a network file system; a ledger there is lost sooner or later",
            fix="set state.dir to a folder on a local disk",
        )


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, for one thread. Raises LedgerMissing where there is no ledger."""
    if not path.exists():
        raise LedgerMissing(f"there is no ledger at {path}", fix="callspool run  (or callspool once) makes one")
    connection = _connect(path, "ro", BUSY_TIMEOUT_S)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path, mode: str, busy_timeout_s: float) -> sqlite3.Connection:
    uri = f"file:{urllib.parse.quote(str(path.absolute()))}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA temp_store = MEMORY")  # no copy of what was said in /tmp, which may not even be writable
    return connection


def translate(error: sqlite3.Error, sql: str | None = None) -> Exception:
    """Our error for SQLite's, where ours says who must act; else the error itself. A text that is none is damage where
    ``sql`` reads it from a column; out of JSON SQLite makes one of any half of a surrogate pair."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LedgerBusy("another program holds the ledger")
    if sql is not None and "json" not in sql and str(error).startswith(NO_TEXT):
        return _damaged()
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):  # the shared memory beside the WAL fails with IOERR
        return DiskFull(f"the disk under the ledger takes no more writes ({error})", fix="free space below state.dir")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damaged()
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY):
        return ConfigInvalid(
            f"the ledger cannot be opened for writing ({error})", fix="check owner and mode of state.dir"
        )
    return error


def _damaged() -> LedgerDamaged:
    return LedgerDamaged("the ledger's pages are damaged", fix="callspool run  (restores the newest daily copy)")

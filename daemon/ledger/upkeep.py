"""Copies of the ledger, the check at start, and what happens to a damaged one."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from daemon.errors import BadRequest, DiskFull, LedgerDamaged
from daemon.ledger.connection import open_for_reading, translate

KEEP_DAILY = 7
"""Daily copies kept; a week covers a long weekend nobody looked."""


CHECKED_AT_START = 1_000_000_000
"""Bytes up to which a ledger is checked whole at every start. The check reads every page, and a start that takes
minutes is one that a supervisor breaks off: a larger one is checked whole with its daily copy, and at the start after
damage was met."""

ROWS_AT_ONCE = 1000


Check = Callable[[sqlite3.Connection], str]
"""What is found wrong with a ledger; ``ok`` when nothing is."""


def every_page(connection: sqlite3.Connection) -> str:
    """Whether the pages hang together: the quickest look at all of them."""
    return _answer(connection, "PRAGMA quick_check(1)")


def everything(connection: sqlite3.Connection) -> str:
    """Whether the pages hang together, each index says what its table says, and each text is one. SQLite keeps no
    checksums: bytes that became others of the same kind are not seen."""
    found = _answer(connection, "PRAGMA integrity_check(1)")
    if found == "ok":
        for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            rows = connection.execute(f'SELECT * FROM "{row["name"]}"')
            while rows.fetchmany(ROWS_AT_ONCE):
                pass
    return found


def _opening(connection: sqlite3.Connection) -> str:
    return _answer(connection, "PRAGMA quick_check(meta)")


def _answer(connection: sqlite3.Connection, pragma: str) -> str:
    rows = connection.execute(pragma).fetchall()
    return str(rows[0][0]) if rows else "no answer"


def trouble_with(path: Path, check: Check = everything) -> str | None:
    """What a check finds wrong with a ledger; None when nothing is."""
    try:
        with closing(open_for_reading(path)) as connection:
            found = check(connection)
    except UnicodeDecodeError:  # SQLite repeats in its words what it found instead of a name
        return "malformed, in words that are no text"
    except sqlite3.DatabaseError as error:
        ours = translate(error, "")
        if isinstance(ours, LedgerDamaged):
            return str(ours)
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_ERROR:  # a schema that it cannot make out
            return str(error)
        raise
    return None if found == "ok" else found


def trouble_at_start(path: Path) -> str | None:
    """What a start finds wrong with a ledger: everything, but of a large one that nobody suspects its opening alone."""
    large = path.stat().st_size > CHECKED_AT_START and not _suspicion(path).exists()
    return trouble_with(path, _opening if large else everything)


def copy_to(source: sqlite3.Connection, target: Path, check: Check = everything) -> None:
    """A whole, checked copy of the ledger at ``target``: written beside, fsynced, renamed.

    Uses SQLite's online backup in one step, so that it sees one moment and runs beside a busy writer (in several steps
    every commit in between would start it over). Raises LedgerDamaged when the copy fails its check, DiskFull, and
    BadRequest where ``target`` cannot be written.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        _fill(source, part, check)
        part.replace(target)
        _fsync(target.parent)
    except sqlite3.Error as error:
        part.unlink(missing_ok=True)
        raise translate(error) from error
    except OSError as error:
        reason = f"the copy cannot be written ({error.strerror})"
        if error.errno == errno.ENOSPC:
            raise DiskFull(reason, fix="free space there, or name another place") from error
        raise BadRequest(reason, fix="name a place that can be written") from error


def _fill(source: sqlite3.Connection, part: Path, check: Check) -> None:
    with closing(sqlite3.connect(part, isolation_level=None)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    found = trouble_with(part, check)
    if found is not None:
        part.unlink()
        raise LedgerDamaged(f"a copy of the ledger fails its check: {found}", fix="callspool ledger check")
    _fsync(part)


def daily_name(day: datetime) -> str:
    """The file name of a day's copy."""
    return f"ledger-{day:%Y-%m-%d}.db"


def daily_copies(folder: Path) -> list[Path]:
    """The daily copies, newest first."""
    return sorted(folder.glob("ledger-????-??-??.db"), reverse=True)


def prune(folder: Path) -> None:
    """Remove all but the newest daily copies."""
    for old in daily_copies(folder)[KEEP_DAILY:]:
        old.unlink()


def mend(path: Path, copies: Path, now: datetime) -> str | None:
    """Check the ledger and put the newest sound copy in the place of a damaged or lost one.

    Returns why the daemon must hold, None when all is well. The note beside the ledger says so from before the first
    file is moved until ``forget``: a crash at any instruction in between still ends in hold.
    """
    found = _trouble(path, copies)
    if found is not None:
        _restore(path, copies, now, found)
    note = _note(path)
    return note.read_text("utf-8") if note.exists() else None


def forget(path: Path) -> None:
    """The ledger itself knows now that it is on hold."""
    _note(path).unlink(missing_ok=True)
    _fsync(path.parent)


def read_beat(path: Path) -> int:
    """How often the ledger that worked here last was found alive; 0 where nobody wrote it down."""
    text = _word(path)
    return int(text) if text.isdecimal() else 0


def read_host(path: Path) -> str | None:
    """The host id of the ledger that worked here last; None where none was kept."""
    text = _word(path)
    return text if re.fullmatch(r"[0-9a-f]{16}", text) else None


def _word(path: Path) -> str:
    """What was put beside the ledger; empty where that cannot be read."""
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def keep_host(path: Path, host_id: str) -> None:
    """Put the host id beside the ledger, whose own word it is."""
    if read_host(path) != host_id:
        _write(path, f"{host_id}\n".encode())


def _trouble(path: Path, copies: Path) -> str | None:
    """What is wrong with the ledger; an absent or empty one is a new one, unless there are copies of it."""
    if path.exists() and path.stat().st_size > 0:
        if trouble_at_start(path) is not None:
            return "damaged"
        _suspicion(path).unlink(missing_ok=True)
        return None
    return "lost" if daily_copies(copies) else None


def _restore(path: Path, copies: Path, now: datetime, found: str) -> None:
    """Move the ledger aside, whole with its journal files, and put the newest sound copy in its place."""
    aside = path.with_name(f"{path.name}.damaged-{now:%Y%m%dT%H%M%SZ}")
    copy = next((c for c in daily_copies(copies) if trouble_with(c) is None), None)
    outcome = "no copy to restore" if copy is None else f"restored {copy.name}"
    _write(_note(path), f"the ledger was {found} and set aside as {aside.name}; {outcome}".encode())
    for suffix in ("-shm", "-wal", ""):  # a WAL must never meet another ledger than its own
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    _fsync(path.parent)
    if copy is not None:
        fresh = path.with_name(path.name + ".restored")
        shutil.copyfile(copy, fresh)
        fresh.chmod(0o600)
        _fsync(fresh)
        fresh.replace(path)
        _fsync(path.parent)


def suspect(path: Path) -> None:
    """Damage was met: the next start checks the whole ledger."""
    with suppress(OSError):  # a disk that takes nothing more: what was met is met again
        _write(_suspicion(path), b"")


def _suspicion(path: Path) -> Path:
    return path.with_name(path.name + ".suspect")


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".hold")


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    _fsync(part)
    part.replace(path)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

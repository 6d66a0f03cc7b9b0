"""Copies of the ledger, the check at start, and what happens to a damaged one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daemon.errors import LedgerDamaged
from daemon.ledger.connection import open_for_reading, translate

KEEP_DAILY = 7
"""Daily copies kept; a week covers a long weekend nobody looked."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What stands where the damaged ledger stood: ``copy`` is None when there was none to restore."""

    set_aside: Path
    copy: Path | None


def quick_check(path: Path) -> str | None:
    """What SQLite's own check finds wrong with the ledger at ``path``; None when nothing is."""
    try:
        with closing(open_for_reading(path)) as connection:
            rows = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.DatabaseError as error:
        if isinstance(translate(error), LedgerDamaged):
            return str(error)
        raise
    found = str(rows[0][0]) if rows else "no answer"
    return None if found == "ok" else found


def copy_to(source: sqlite3.Connection, target: Path) -> None:
    """A whole, checked copy of the ledger at ``target``: written beside, fsynced, renamed.

    Uses SQLite's online backup, so that it may run beside a busy writer. Raises LedgerDamaged when the copy fails
    its check.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(part, isolation_level=None)) as copy:
        source.backup(copy, pages=1024, sleep=0.005)
        copy.execute("PRAGMA journal_mode = DELETE")
    found = quick_check(part)
    if found is not None:
        part.unlink()
        raise LedgerDamaged(f"a copy of the ledger fails its check: {found}", fix="callspool ledger check")
    _fsync(part)
    part.replace(target)
    _fsync(target.parent)


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


def restore(path: Path, copies: Path, now: datetime) -> Restored:
    """Move a damaged ledger aside, whole with its journal files, and put the newest sound copy in its place."""
    aside = path.with_name(f"{path.name}.damaged-{now:%Y%m%dT%H%M%SZ}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    for copy in daily_copies(copies):
        if quick_check(copy) is None:
            fresh = path.with_name(path.name + ".restored")
            fresh.write_bytes(copy.read_bytes())
            fresh.chmod(0o600)
            _fsync(fresh)
            fresh.replace(path)
            _fsync(path.parent)
            return Restored(aside, copy)
    _fsync(path.parent)
    return Restored(aside, None)


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

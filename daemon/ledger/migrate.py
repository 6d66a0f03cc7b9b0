"""Numbered SQL files, applied once each, forward only, each committed whole together with its record.

Every package that owns tables has a folder of migrations; its name is the ``source`` in the record, so that rooms
number theirs without minding one another. A file that was changed after it was applied, or a record this program
has no file for (a newer ledger), is refused before anything is touched.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from daemon.errors import Defect, LedgerMissing

NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: ``source`` is the package that holds it, ``number`` its place there."""

    source: str
    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Digest of the SQL, kept in the record."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations_of(sources: Sequence[str]) -> tuple[Migration, ...]:
    """The migrations of these packages, in order. Raises Defect on a gap or a stray name."""
    found = []
    for source in sources:
        entries = sorted(e.name for e in files(source).iterdir() if e.name.endswith(".sql"))
        for place, entry in enumerate(entries, start=1):
            match = NAME.fullmatch(entry)
            if match is None or int(match[1]) != place:
                raise Defect(f"{source}: {entry} is not migration {place:04d}_name.sql")
            found.append(Migration(source, place, match[2], files(source).joinpath(entry).read_text("utf-8")))
    return tuple(found)


def pending(connection: sqlite3.Connection, known: Sequence[Migration]) -> tuple[Migration, ...]:
    """What has yet to be applied; writes nothing. Raises LedgerMissing where the ledger is newer than the program."""
    applied = _applied(connection)
    by_place = {(m.source, m.number): m for m in known}
    for place, digest in applied.items():
        if place not in by_place:
            raise LedgerMissing(
                f"the ledger was written by a newer callspool (it has migration {place[0]} {place[1]:04d})",
                fix="install that version or a newer one; callspool version",
            )
        if by_place[place].sha256 != digest:
            raise Defect(f"migration {place[0]} {place[1]:04d} was changed after it had been applied")
    return tuple(m for m in known if (m.source, m.number) not in applied)


def apply(connection: sqlite3.Connection, migration: Migration, at_us: int) -> None:
    """Run one migration and record it in the same transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migration (source TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, "
            "sha256 TEXT NOT NULL, applied_us INTEGER NOT NULL, PRIMARY KEY (source, number)) STRICT, WITHOUT ROWID"
        )
        for statement in statements(migration.sql):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO migration (source, number, name, sha256, applied_us) VALUES (?, ?, ?, ?, ?)",
            (migration.source, migration.number, migration.name, migration.sha256, at_us),
        )
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def statements(sql: str) -> list[str]:
    """The statements of a script, triggers whole. ``executescript`` would commit the transaction it runs in."""
    found, current = [], ""
    for line in sql.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    if current.strip():
        raise Defect("a migration ends in the middle of a statement")
    return found


def _applied(connection: sqlite3.Connection) -> dict[tuple[str, int], str]:
    exists = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migration'").fetchone()
    if not exists:
        return {}
    rows = connection.execute("SELECT source, number, sha256 FROM migration")
    return {(row["source"], row["number"]): row["sha256"] for row in rows}

"""Erasing items from the ledger: every row that belongs to them, every word that names them, every copy that remembers.

The order is what makes it safe to be killed at any instruction. First the intent, with a keyed hash of each content, so
that nothing is taken in again; then the files; then the rows; then the free pages, the WAL and the copies. ``meta``
says how far it came, and the next start goes on from there.

Rows are found by the schema itself: whatever refers to an item, or to a row that does, or has a column named like one
that would, goes with it. So a table that a room adds later needs no line here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from daemon.contract import Event, Fact
from daemon.errors import BadRequest
from daemon.ledger.writer import WriteTx

KEY = "tombstone_key"
INTENT = "erasing"

LOOSE = {("item", "replaces"), ("job", "lacks")}
"""References that do not make a row part of what they point at: emptied instead."""

OWNING = ("conversation_id", "recording_id", "lead_id", "item_id", "subject_id")
"""Columns that hold an item's id, also where no foreign key says so."""

SPOKEN = ("fields", "explanation", "reason", "reasons", "why", "fix", "payload", "receipt", "body", "settings")
"""Columns in which rows of others may speak of an item; words are taken out of these alone."""

NAMING = frozenset({"transcript", "key"})
"""Columns whose value is the very name of what a row is about."""

KEPT = ("journal", "meta", "migration", "tombstone", "item", "folder", "root")
"""Tables whose rows stay: the journal and the folders lose words, the others hold none of anybody."""

SHORTEST = 6
"""Characters of a word that names somebody; shorter ones would strike at random."""


# ------------------------------------------------------------------------------------------------ tombstones


def digest(key: str, role: str, sha256: str) -> str:
    """What a tombstone says of a content: nothing to whoever lacks the key."""
    return hmac.new(bytes.fromhex(key), f"{role}\0{sha256}".encode(), hashlib.sha256).hexdigest()


def is_erased(tx: WriteTx, role: str, sha256: str) -> bool:
    """Whether this content was erased from this ledger."""
    row = tx.row("SELECT value FROM meta WHERE key = ?", (KEY,))
    if row is None:
        return False
    return tx.row("SELECT 1 FROM tombstone WHERE digest = ?", (digest(row["value"], role, sha256),)) is not None


def _bury(tx: WriteTx, ids: Sequence[int], contents: Sequence[tuple[str, str]]) -> None:
    tx.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (KEY, secrets.token_hex(32)))
    found = tx.row("SELECT value FROM meta WHERE key = ?", (KEY,))
    assert found is not None
    items = tx.rows(f"SELECT role, sha256 FROM item WHERE id IN ({_list(ids)})")
    for role, sha256 in (*((row["role"], row["sha256"]) for row in items), *contents):
        tomb = digest(found["value"], role, sha256)
        tx.execute("INSERT OR REPLACE INTO tombstone VALUES (?, ?)", (tomb, tx.now_us))


# ------------------------------------------------------------------------------------------------ the steps


def intend(tx: WriteTx, ids: Sequence[int], contents: Sequence[tuple[str, str]] = ()) -> None:
    """From here on it will be done; ``contents`` (role, SHA-256) are never taken in, as the items' own. Raises
    BadRequest while one of the items is in work."""
    if tx.rows(f"SELECT 1 FROM job WHERE state = 'running' AND ({_job_of(ids)})"):
        raise BadRequest("it is being worked on now", fix="the same command again, in a minute")
    _bury(tx, ids, contents)
    tx.execute(f"UPDATE job SET state = 'done', waits_for = NULL WHERE state != 'done' AND ({_job_of(ids)})")
    tx.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (INTENT, json.dumps(sorted(ids))))
    tx.journal(Event("erasure.begun", {"items": len(ids)}, "warning"))


def intended(rows: Sequence[sqlite3.Row]) -> list[int] | None:
    """The items of an erasure that was begun and not ended: an empty list once only copies are left; None without."""
    return [int(number) for number in json.loads(rows[0]["value"])] if rows else None


def paths(tx_rows: Sequence[sqlite3.Row]) -> list[tuple[bytes, bytes, bytes, str]]:
    """Root, folder, name and digest of files, out of the rows of ``FILES``."""
    return [(row["root"], row["folder"], row["name"], row["sha256"]) for row in tx_rows]


FILES = (
    "SELECT root.path AS root, folder.path AS folder, f.name AS name, item.sha256 AS sha256 FROM "
    "(SELECT folder_id, name, item_id FROM file UNION SELECT folder_id, name, item_id FROM former_file) AS f "
    "JOIN folder ON folder.id = f.folder_id JOIN root ON root.id = folder.root_id JOIN item ON item.id = f.item_id "
    "WHERE item.id IN ({})"
)


def files_of(ids: Sequence[int]) -> str:
    """The query for every place at which these items lie or lay."""
    return FILES.format(_list(ids))


def strike(tx: WriteTx, ids: Sequence[int], words: Sequence[str], files: int, facts: Sequence[Fact] = ()) -> None:
    """Take every row and every word out of the ledger; ``facts`` take those that no item owns."""
    tx.execute("PRAGMA defer_foreign_keys = ON")
    known = sorted({word for word in words if len(word) >= SHORTEST}, key=len, reverse=True)
    _strike_work(tx, ids, known)
    tables = _tables(tx)
    for table, columns in tables.items():
        for column in OWNING:
            if table not in KEPT and column in columns:
                _delete(tx, tables, table, column, ids)
    _delete(tx, tables, "item", "id", ids)
    for fact in facts:
        fact.write(tx)
    with _journal_open(tx):
        for table, columns in tables.items():
            _strike_words(tx, table, columns, known)
    tx.execute("INSERT OR REPLACE INTO meta VALUES (?, '[]')", (INTENT,))
    tx.journal(Event("erasure.done", {"items": len(ids), "files": files}, "warning"))


def _strike_work(tx: WriteTx, ids: Sequence[int], words: Sequence[str]) -> None:
    """Jobs of these items, the effects that only they wanted, and what destinations answered to those."""
    doomed = f"SELECT effect_key FROM job_effect JOIN job ON job.id = job_id WHERE {_job_of(ids)}"
    keys = {row["effect_key"] for row in tx.rows(doomed)}
    tx.execute(f"DELETE FROM job_effect WHERE job_id IN (SELECT id FROM job WHERE {_job_of(ids)})")
    tx.execute(f"DELETE FROM job WHERE {_job_of(ids)}")
    if words:
        named = " OR ".join("instr(identity || payload, ?)" for _ in words)
        keys |= {row["key"] for row in tx.rows(f"SELECT key FROM effect WHERE {named}", words)}
    for key in keys:
        if not tx.rows("SELECT 1 FROM job_effect WHERE effect_key = ?", (key,)):
            tx.execute("DELETE FROM answer WHERE effect_key = ?", (key,))
            tx.execute("DELETE FROM effect WHERE key = ?", (key,))


def _delete(tx: WriteTx, tables: _Tables, table: str, column: str, ids: Sequence[int]) -> None:
    """The rows whose ``column`` is one of ``ids``, after all that refers to them by it."""
    for child, columns in tables.items():
        for name, (parent, target) in columns.items():
            if parent != table or target != column:
                continue
            if (child, name) in LOOSE:
                tx.execute(f'UPDATE "{child}" SET "{name}" = NULL WHERE "{name}" IN ({_list(ids)})')
            elif (child, name) != (table, column):
                _delete(tx, tables, child, name, ids)
    tx.execute(f'DELETE FROM "{table}" WHERE "{column}" IN ({_list(ids)})')


def _strike_words(tx: WriteTx, table: str, columns: dict[str, tuple[str, str]], words: Sequence[str]) -> None:
    for column in NAMING.intersection(columns) if table not in KEPT else ():
        for word in words:
            tx.execute(f'DELETE FROM "{table}" WHERE "{column}" = ?', (word,))
    for column in (name for name in columns if name in SPOKEN):
        for word in words:
            tx.execute(
                f'UPDATE OR IGNORE "{table}" SET "{column}" = replace("{column}", ?1, \'…\') '
                f'WHERE typeof("{column}") = \'text\' AND instr("{column}", ?1)',
                (word,),
            )


class _journal_open:  # noqa: N801 - used as a statement
    """The journal takes changes: for taking words out of it, and for nothing else."""

    def __init__(self, tx: WriteTx) -> None:
        self._tx = tx
        self._triggers: list[sqlite3.Row] = []

    def __enter__(self) -> None:
        query = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'journal'"
        self._triggers = self._tx.rows(query)
        for trigger in self._triggers:
            self._tx.execute(f'DROP TRIGGER "{trigger["name"]}"')

    def __exit__(self, *_error: object) -> None:
        for trigger in self._triggers:
            self._tx.execute(trigger["sql"])


_Tables = dict[str, dict[str, tuple[str, str]]]
"""Every table with its columns, and for each what it refers to: table and column, or two empty words."""


def _tables(tx: WriteTx) -> _Tables:
    names = [row["name"] for row in tx.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found: _Tables = {}
    for table in names:
        if table.startswith("sqlite_"):
            continue
        columns = {row["name"]: ("", "") for row in tx.rows(f'PRAGMA table_info("{table}")')}
        for row in tx.rows(f'PRAGMA foreign_key_list("{table}")'):
            columns[row["from"]] = (row["table"], row["to"])
        found[table] = columns
    return found


def _job_of(ids: Sequence[int]) -> str:
    """Jobs whose key is an item's id, alone or after a kind and a colon."""
    keys = ", ".join(f"'{number}'" for number in ids)
    return f"key IN ({keys}) OR (instr(key, ':') AND substr(key, instr(key, ':') + 1) IN ({keys}))"


def _list(ids: Sequence[int]) -> str:
    return ", ".join(str(int(number)) for number in ids)


# ------------------------------------------------------------------------------------------------ what remembers


def scour(connection: sqlite3.Connection) -> None:
    """Rewrite the ledger without what lay in free pages, and empty the WAL. Between transactions only."""
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def remembering(folder: Path, copies: Path) -> Iterator[Path]:
    """Copies of the ledger and ledgers set aside: each remembers what the ledger has forgotten."""
    if copies.is_dir():
        yield from sorted(path for path in copies.iterdir() if path.is_file())
    for pattern in ("ledger.db.damaged-*", "ledger.db.restored*", "*.part"):
        yield from sorted(folder.glob(pattern))


def left(path: Path, words: Sequence[str]) -> int:
    """How many of the words a file still holds somewhere in its bytes."""
    found: set[bytes] = set()
    wanted = [word.encode() for word in words if len(word) >= SHORTEST]
    longest = max(map(len, wanted), default=1)
    tail = b""
    with closing(path.open("rb")) as file:
        while chunk := file.read(1 << 20):
            found |= {word for word in wanted if word in tail + chunk}
            tail = chunk[-longest:]
    return len(found)

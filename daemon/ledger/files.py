"""The ledger's files: what lies below the roots, which content it holds, and the jobs that new content starts."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future

from daemon.catalogue import Entry, RootRow, RootState, Settled, Sighting, Stat, printable
from daemon.contract import Event, JobSpec, Json
from daemon.ledger import catching_up
from daemon.ledger.erasing import is_erased
from daemon.ledger.jobs import add_job, wake_for
from daemon.ledger.reading import Readers
from daemon.ledger.writer import Writer, WriteTx, dumps
from daemon.states import FileState

ROOT_EVENTS: Mapping[RootState, tuple[str, str]] = {
    RootState.WAITING: ("root.missed", "warning"),
    RootState.WATCHING: ("root.watched", "info"),
    RootState.POLLING: ("root.polled", "info"),
    RootState.DEGRADED: ("root.degraded", "warning"),
}
"""The journal's line, and its level, for each state a root may enter."""


class LedgerFiles:
    """``Catalogue`` over the ledger. ``lanes`` names the lane of each kind of job."""

    def __init__(self, writer: Writer, readers: Readers, lanes: Mapping[str, str]) -> None:
        self._writer = writer
        self._readers = readers
        self._lanes = lanes

    def register_root(self, role: str, path: bytes, now_ns: int) -> RootRow:
        """The root's row, made at its first registration."""

        def register(tx: WriteTx) -> RootRow:
            # A person who ended hold mode on an empty ledger has said what the first roots count from.
            told = {
                row["key"]: int(row["value"]) for row in tx.rows("SELECT key, value FROM meta WHERE key LIKE '%_ns'")
            }
            registered_ns, adopted_ns = told.get("registered_ns", now_ns), told.get("adopted_ns", 0)
            tx.execute(
                "INSERT INTO root (host_id, role, path, registered_ns, adopted_ns, changed_us) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (role, path) DO NOTHING",
                (tx.host_id, role, path, registered_ns, adopted_ns, tx.now_us),
            )
            row = tx.rows("SELECT id, registered_ns, adopted_ns FROM root WHERE role = ? AND path = ?", (role, path))[0]
            return RootRow(row["id"], role, path, row["registered_ns"], row["adopted_ns"])

        return self._writer.write("root.registered", register)

    def entries(self, root_id: int, folder: bytes) -> list[Entry]:
        """The current files directly in one folder."""
        cursor = self._cursor()
        cursor.execute(
            "SELECT name, size, mtime_ns, ctime_ns, ino, state FROM file "
            "WHERE folder_id = (SELECT id FROM folder WHERE root_id = ? AND path = ?)",
            (root_id, folder),
        )
        return [Entry._make(row) for row in cursor]

    def entry(self, root_id: int, folder: bytes, name: bytes) -> Entry | None:
        """One current file."""
        cursor = self._cursor()
        cursor.execute(
            "SELECT name, size, mtime_ns, ctime_ns, ino, state FROM file "
            "WHERE folder_id = (SELECT id FROM folder WHERE root_id = ? AND path = ?) AND name = ?",
            (root_id, folder, name),
        )
        row = cursor.fetchone()
        return None if row is None else Entry._make(row)

    def was_old(self, root_id: int, stat: Stat) -> bool:
        """Whether a file with this inode, size and mtime was found old below this root."""
        what = (root_id, stat.ino, stat.size, stat.mtime_ns)
        cursor = self._cursor()
        cursor.execute(
            "SELECT 1 FROM file JOIN folder ON folder.id = folder_id "
            "WHERE state = 'old' AND root_id = ? AND ino = ? AND size = ? AND mtime_ns = ? UNION ALL "
            "SELECT 1 FROM former_file JOIN folder ON folder.id = folder_id "
            "WHERE root_id = ? AND old_ino = ? AND size = ? AND old_mtime_ns = ? LIMIT 1",
            (*what, *what),
        )
        return cursor.fetchone() is not None

    def folders(self, root_id: int) -> Iterator[bytes]:
        """Every folder that has current files, in byte order."""
        cursor = self._cursor()
        cursor.execute(
            "SELECT path FROM folder WHERE root_id = ? AND EXISTS (SELECT 1 FROM file WHERE folder_id = folder.id) "
            "ORDER BY path",
            (root_id,),
        )
        return (row[0] for row in cursor)

    def saw(self, sightings: Sequence[Sighting]) -> Future[None]:
        """Record files in their new states."""

        def record(tx: WriteTx) -> None:
            for sighting in sightings:
                _saw(tx, sighting)

        return self._writer.submit("files.seen", record)

    def settle(self, settled: Settled) -> Future[None]:
        """Record a finished file; new content starts its job."""
        return self._writer.submit("file.settled", lambda tx: self._settle(tx, settled))

    def begin_catching_up(self) -> None:
        """Nobody knows what came since somebody looked last, until ``caught_up``; waits for the commit."""
        self._writer.write("files.catching_up", catching_up.begin)

    def caught_up(self) -> Future[None]:
        """All that lay there is in the ledger."""
        return self._writer.submit("files.caught_up", catching_up.end)

    def vanish(self, root_id: int, folder: bytes, names: Iterable[bytes]) -> Future[None]:
        """Files that disappeared below a healthy root."""
        wanted = list(names)

        def vanished(tx: WriteTx) -> None:
            folder_id = _folder_id(tx, root_id, folder)
            for name in wanted:
                _retire(tx, folder_id, name, FileState.GONE, "disappeared")

        return self._writer.submit("files.vanished", vanished)

    def root_moved(self, root_id: int, state: RootState, reason: str) -> Future[None]:
        """A root's health changed."""

        def moved(tx: WriteTx) -> None:
            changed = tx.execute(
                "UPDATE root SET state = ?, reason = ?, changed_us = ? WHERE id = ? AND (state, reason) != (?, ?)",
                (state, reason, tx.now_us, root_id, state, reason),
            )
            if changed:
                role = tx.rows("SELECT role FROM root WHERE id = ?", (root_id,))[0]["role"]
                name, level = ROOT_EVENTS[state]
                tx.journal(Event(name, {"role": role, "reason": reason}, level))  # type: ignore[arg-type]

        return self._writer.submit("root.moved", moved)

    def _settle(self, tx: WriteTx, settled: Settled) -> None:
        if is_erased(tx, settled.role, settled.sha256):
            place = (settled.root_id, settled.folder, settled.name, settled.stat)
            _saw(tx, Sighting(*place, FileState.ATTENTION, "was erased and came back; delete it, it is not taken"))
            return
        folder_id = _folder_id(tx, settled.root_id, settled.folder)
        before = tx.row(
            "SELECT item_id, first_seen_us FROM file WHERE folder_id = ? AND name = ?", (folder_id, settled.name)
        )
        old_item = before["item_id"] if before else None
        replaced = _replaced(tx, old_item, folder_id, settled.name)
        item_id, is_new = _item(tx, settled, replaced)
        if old_item is not None and old_item != item_id:
            _retire(tx, folder_id, settled.name, FileState.REPLACED, "other content under the same name")
        tx.execute(
            "INSERT INTO file (folder_id, name, size, mtime_ns, ctime_ns, ino, state, item_id, reason, flags, "
            "first_seen_us, changed_us) VALUES (?, ?, ?, ?, ?, ?, 'known', ?, ?, ?, ?, ?) "
            "ON CONFLICT (folder_id, name) DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns, "
            "ctime_ns = excluded.ctime_ns, ino = excluded.ino, state = 'known', item_id = excluded.item_id, "
            "reason = excluded.reason, flags = excluded.flags, changed_us = excluded.changed_us",
            (
                folder_id,
                settled.name,
                *settled.stat,
                item_id,
                settled.proof,
                dumps(settled.flags),
                before["first_seen_us"] if before else tx.now_us,
                tx.now_us,
            ),
        )
        _old_no_more(tx, settled)
        wake_for(tx, item_id, self._lanes)
        if old_item == item_id:
            return
        self._journal(tx, settled, item_id, "file.settled" if is_new else "file.duplicated")
        returned = not is_new and replaced is not None
        if returned:
            _make_newest(tx, item_id, replaced)
        if is_new or returned:
            add_job(tx, JobSpec(settled.kind, str(item_id)), self._lanes)

    def _journal(self, tx: WriteTx, settled: Settled, item_id: int, name: str) -> None:
        fields: dict[str, Json] = {
            "item": item_id,
            "role": settled.role,
            "path": printable(os.path.join(settled.folder, settled.name)),
            "sha256": settled.sha256[:12],
            "size_bytes": settled.stat.size,
            "reason": settled.proof,
            "flags": list(settled.flags),
            "elapsed_s": round(settled.waited_s, 3),
        }
        tx.journal(Event(name, fields), item_id=item_id)

    def _cursor(self) -> sqlite3.Cursor:
        cursor = self._readers.connection().cursor()
        cursor.row_factory = None
        return cursor


def _old_no_more(tx: WriteTx, settled: Settled) -> None:
    """A file that was taken is not old under another name either, nor is what its inode was before."""
    tx.execute(
        "UPDATE former_file SET old_ino = NULL WHERE old_ino = ? "
        "AND EXISTS (SELECT 1 FROM folder WHERE folder.id = folder_id AND root_id = ?)",
        (settled.stat.ino, settled.root_id),
    )


def _folder_id(tx: WriteTx, root_id: int, folder: bytes) -> int:
    row = tx.row("SELECT id FROM folder WHERE root_id = ? AND path = ?", (root_id, folder))
    if row is not None:
        return int(row["id"])
    return tx.insert("INSERT INTO folder (root_id, path) VALUES (?, ?)", (root_id, folder))


def _saw(tx: WriteTx, sighting: Sighting) -> None:
    """Upsert; a known file that changed keeps its old item until its new content is known."""
    tx.execute(
        "INSERT INTO file (folder_id, name, size, mtime_ns, ctime_ns, ino, state, reason, first_seen_us, changed_us) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (folder_id, name) DO UPDATE SET size = excluded.size, "
        "mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, ino = excluded.ino, state = excluded.state, "
        "reason = excluded.reason, changed_us = excluded.changed_us",
        (
            _folder_id(tx, sighting.root_id, sighting.folder),
            sighting.name,
            *sighting.stat,
            sighting.state,
            sighting.reason,
            tx.now_us,
            tx.now_us,
        ),
    )
    if sighting.state in (FileState.ATTENTION, FileState.UNREADABLE):
        path = printable(os.path.join(sighting.folder, sighting.name))
        name = "file.overdue" if sighting.state is FileState.ATTENTION else "file.unreadable"
        tx.journal(Event(name, {"path": path, "reason": sighting.reason}, "warning"))


def _item(tx: WriteTx, settled: Settled, old_item: int | None) -> tuple[int, bool]:
    """The item of this content, and whether it is new. Same content with the same evidence is the same item."""
    key = (settled.role, settled.sha256, settled.evidence)
    row = tx.row("SELECT id FROM item WHERE role = ? AND sha256 = ? AND evidence = ?", key)
    if row is not None:
        return int(row["id"]), False
    path = printable(os.path.join(settled.folder, settled.name))
    item_id = tx.insert(
        "INSERT INTO item (host_id, role, kind, sha256, size, evidence, name, path, mtime_ns, first_seen_us, flags, "
        "replaces) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            tx.host_id,
            settled.role,
            settled.kind,
            settled.sha256,
            settled.stat.size,
            settled.evidence,
            printable(settled.name),
            path,
            settled.stat.mtime_ns,
            tx.now_us,
            dumps(settled.flags),
            old_item,
        ),
    )
    return item_id, True


def _replaced(tx: WriteTx, old_item: int | None, folder_id: int, name: bytes) -> int | None:
    """The old item, unless another file still holds its content: then nothing was replaced."""
    others = tx.rows(
        "SELECT 1 FROM file WHERE item_id = ? AND state = 'known' AND (folder_id, name) != (?, ?) LIMIT 1",
        (old_item, folder_id, name),
    )
    return None if others else old_item


def _make_newest(tx: WriteTx, item_id: int, replaced: int | None) -> None:
    """A name holds an earlier content again: that one is the newest version now. Its place among the others closes, so
    that each but the newest has one that replaces it."""
    tx.execute("UPDATE item SET replaces = (SELECT replaces FROM item WHERE id = ?1) WHERE replaces = ?1", (item_id,))
    tx.execute("UPDATE item SET replaces = ? WHERE id = ?", (replaced, item_id))


def _retire(tx: WriteTx, folder_id: int, name: bytes, state: FileState, reason: str) -> None:
    """Move a current row to the former ones."""
    tx.execute(
        "INSERT INTO former_file (folder_id, name, size, state, item_id, reason, first_seen_us, changed_us, old_ino, "
        "old_mtime_ns) SELECT folder_id, name, size, ?, item_id, ?, first_seen_us, ?, iif(state = 'old', ino, NULL), "
        "iif(state = 'old', mtime_ns, NULL) FROM file WHERE folder_id = ? AND name = ?",
        (state, reason, tx.now_us, folder_id, name),
    )
    tx.execute("DELETE FROM file WHERE folder_id = ? AND name = ?", (folder_id, name))

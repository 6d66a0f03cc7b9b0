"""Erasing what callspool holds about somebody: the steps of ``ledger.erasing`` in their order, over files and ledger.

A room says which items are meant (its act ``erase.find``), every room says what it knows of them; the rest is here.
Whoever kills the process in the middle finds it done by the next start.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from daemon.catalogue import printable
from daemon.contract import Act, Json, Reader, Room, Traces
from daemon.errors import DeliveryError, OperatorError
from daemon.ledger import erasing
from daemon.ledger.ledger import Ledger
from daemon.ledger.writer import WriteTx
from daemon.masking import mask

FIND = "erase.find"
"""The act by which a room tells the items of a request; it changes nothing."""


@dataclass
class Found:
    """All that will go."""

    ids: list[int]
    sources: list[tuple[bytes, bytes, bytes, str]] = field(default_factory=list)
    traces: Traces = field(default_factory=Traces)

    @property
    def words(self) -> tuple[str, ...]:
        """Everything by which rows and bytes may name them."""
        names = [printable(name) for _root, _folder, name, _sha in self.sources]
        digests = [sha256 for *_place, sha256 in self.sources]
        plain = (*self.traces.words, *names, *digests, *(sha256[:12] for sha256 in digests))
        return tuple(dict.fromkeys((*plain, *map(mask, plain))))  # the journal has them masked


def look(read: Reader, rooms: Sequence[Room], ids: Sequence[int]) -> Found:
    """What there is about these items."""
    heard = [room.traces(read, ids) for room in rooms if room.traces is not None] if ids else []
    traces = Traces(
        words=tuple(word for one in heard for word in one.words),
        files=tuple(file for one in heard for file in one.files),
        removals=tuple(removal for one in heard for removal in one.removals),
        todo=tuple(line for one in heard for line in one.todo),
        contents=tuple(content for one in heard for content in one.contents),
        facts=tuple(fact for one in heard for fact in one.facts),
    )
    return Found(list(ids), erasing.paths(read.rows(erasing.files_of(ids))) if ids else [], traces)


def erase(ledger: Ledger, rooms: Sequence[Room], args: Mapping[str, Any], find: Act, *, dry_run: bool) -> Json:
    """Erase what ``args`` mean, or say what would go. Raises UnknownSubject, and BadRequest for what is on hold."""
    with ledger.view() as view:
        meant = find(args, view)
        ids: Any = meant.answer
        found = look(view, rooms, ids)
    answer: dict[str, Json] = {
        "items": len(found.ids),
        "rows": len(found.traces.facts) + len(meant.facts),
        "files": [*(printable(path) for path in _there(found)), *(removal.what for removal in found.traces.removals)],
        "copies": [path.name for path in _copies(ledger)],
        "todo": list(found.traces.todo),
    }
    if dry_run:
        return answer

    def begin(tx: WriteTx) -> None:
        erasing.intend(tx, found.ids, found.traces.contents)
        for fact in meant.facts:
            fact.write(tx)

    ledger.write("erase.begun", begin)
    return {**answer, **_go_on(ledger, found)}


def resume(ledger: Ledger, rooms: Sequence[Room]) -> OperatorError | None:
    """At a start: end what an earlier process began. Returns why it cannot be ended yet."""
    with ledger.view() as view:
        ids = erasing.intended(view.rows("SELECT value FROM meta WHERE key = ?", (erasing.INTENT,)))
        found = None if ids is None else look(view, rooms, ids)
    if found is None:
        return None
    try:
        _go_on(ledger, found)
    except OperatorError as error:
        return error
    return None


def _go_on(ledger: Ledger, found: Found) -> dict[str, Json]:
    """Elsewhere first: what cannot be reached now must not be forgotten by the ledger. Raises OperatorError then."""
    for removal in found.traces.removals:
        try:
            removal.do()
        except DeliveryError as error:
            raise OperatorError(
                f"{len(found.traces.removals)} object(s) in storage are to be erased; one is not gone: {error.reason}",
                fix="mend that, then the same command again; a restart goes on as well",
            ) from error
    kept = [printable(os.path.join(*place)) for *place, sha256 in found.sources if not _remove(place, sha256)]
    for folder, name in found.traces.files:
        _unlink(os.fsencode(folder), b"", os.fsencode(name))
    if found.ids:
        gone = len(found.sources) - len(kept)
        ledger.write("erase.struck", lambda tx: erasing.strike(tx, found.ids, found.words, gone, found.traces.facts))
    ledger.writer.alone(erasing.scour)
    for path in _copies(ledger):
        path.unlink(missing_ok=True)
    ledger.daily_copy()
    ledger.write("erase.ended", lambda tx: tx.execute("DELETE FROM meta WHERE key = ?", (erasing.INTENT,)))
    ledger.writer.alone(lambda connection: cast("None", connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")))
    kept_words = sum(erasing.left(path, found.words) for path in _bytes_of(ledger))
    return {"kept": list(kept), "words_left": kept_words}


def _bytes_of(ledger: Ledger) -> list[Path]:
    wal = ledger.paths.ledger.with_name("ledger.db-wal")
    return [path for path in (ledger.paths.ledger, wal, *_copies(ledger)) if path.exists()]


def _copies(ledger: Ledger) -> list[Path]:
    return list(erasing.remembering(ledger.paths.folder, ledger.paths.copies))


def _there(found: Found) -> list[bytes]:
    sources = [os.path.join(*place) for *place, _sha in found.sources]
    written = [os.path.join(os.fsencode(folder), os.fsencode(name)) for folder, name in found.traces.files]
    return [path for path in dict.fromkeys((*sources, *written)) if os.path.lexists(path)]


def _remove(place: Sequence[bytes], sha256: str) -> bool:
    """Remove a source if it still holds the content that is meant. False where another content lies there now."""
    root, folder, name = place
    parent = _open_folder(root, folder)
    if parent is None:
        return True
    try:
        return _remove_in(parent, name, sha256)
    finally:
        os.close(parent)


def _remove_in(parent: int, name: bytes, sha256: str) -> bool:
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # a link, or what may not be read: not what was hashed
    with os.fdopen(file, "rb") as content:
        meant = stat.S_ISREG(os.fstat(file).st_mode) and hashlib.file_digest(content, "sha256").hexdigest() == sha256
        if meant:
            os.unlink(name, dir_fd=parent)
            os.fsync(parent)
    return meant


def _unlink(root: bytes, folder: bytes, name: bytes) -> None:
    parent = _open_folder(root, folder)
    if parent is not None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        os.close(parent)


def _open_folder(root: bytes, folder: bytes) -> int | None:
    """The folder, opened step by step below its root without following a link; None where it is not there so."""
    try:
        opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    for part in filter(None, folder.split(b"/")):
        try:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=opened)
        except OSError:
            return None
        finally:
            os.close(opened)
        opened = inner
    return opened

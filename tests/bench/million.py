"""A tree of very many files that a ledger knows, for the benches of the scan and of the idle daemon.

The files hold one byte; the ledger is the real one, its rows those that settling would have left: a file, its item, a
job that is done, and the journal's line. They are put in directly, since taking a million files in takes minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from daemon.clock import SystemClock
from daemon.house import SOURCES
from daemon.ledger.ledger import Ledger
from daemon.ledger.paths import StatePaths
from daemon.ledger.reading import Readers
from daemon.ledger.writer import WriteTx
from tests.bench.figures import kept_or_made, options

A_FOLDER = 1000
"""Files in a folder."""


@dataclass(frozen=True, slots=True)
class Known:
    """A tree and the state folder whose ledger knows it. ``root_id`` is the tree's."""

    tree: Path
    state: Path
    root_id: int


def make_folder(path: str, files: int) -> None:
    """A folder of recordings with names as in the field."""
    os.mkdir(path)
    at = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number in range(files):
            name = f"number-_12025550{100 + number % 100}-{1761635651 + number}.ogg"
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=at)
            os.write(fd, b"O")
            os.close(fd)
    finally:
        os.close(at)


def make_tree(tree: Path, files: int) -> None:
    """``files`` files in folders of a thousand."""
    tree.mkdir()
    counts = [min(A_FOLDER, files - first) for first in range(0, files, A_FOLDER)]
    paths = [str(tree / f"{place:06d}") for place in range(len(counts))]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        list(pool.map(make_folder, paths, counts, chunksize=16))


def open_ledger(state: Path) -> Ledger:
    """The real ledger, with all its migrations."""
    clock, paths = SystemClock(), StatePaths(state)
    return Ledger(
        paths,
        clock,
        readers=Readers(paths.ledger, clock),
        sources=SOURCES,
        lanes={"recording": "intake"},
        on_event=lambda _event: None,
    )


def make_known(folder: Path, files: int) -> Known:
    """A tree of so many files, made where there is none yet, and a new ledger that knows every one of them."""
    tree, state = folder / "tree", folder / "state"
    if not tree.exists():
        make_tree(tree, files)
    ledger = open_ledger(state)
    try:
        root = ledger.files.register_root("recordings", os.fsencode(tree), 0)
        ledger.begin(())
        for path in sorted(tree.iterdir()):
            ledger.write("bench.filled", _filling(root.id, path))
    finally:
        ledger.close()
    return Known(tree, state, root.id)


def _filling(root_id: int, path: Path) -> Callable[[WriteTx], None]:
    def fill(tx: WriteTx) -> None:
        folder_id = tx.insert("INSERT INTO folder (root_id, path) VALUES (?, ?)", (root_id, os.fsencode(path.name)))
        for entry in os.scandir(path):
            found = entry.stat(follow_symlinks=False)
            stat = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
            _know(tx, folder_id, f"{path.name}/{entry.name}", stat)

    return fill


def _know(tx: WriteTx, folder_id: int, path: str, stat: tuple[int, int, int, int]) -> None:
    name, sha256 = path.rpartition("/")[2], hashlib.sha256(path.encode()).hexdigest()
    fields = {"role": "recordings", "path": path, "sha256": sha256[:12], "size_bytes": 1, "reason": "both proofs"}
    item_id = tx.insert(
        "INSERT INTO item (host_id, role, kind, sha256, size, evidence, name, path, mtime_ns, first_seen_us) "
        "VALUES (?, 'recordings', 'recording', ?, 1, ?, ?, ?, ?, ?)",
        (tx.host_id, sha256, name, name, path, stat[1], tx.now_us),
    )
    tx.execute(
        "INSERT INTO file (folder_id, name, size, mtime_ns, ctime_ns, ino, state, item_id, reason, first_seen_us, "
        "changed_us) VALUES (?, ?, ?, ?, ?, ?, 'known', ?, 'both proofs', ?, ?)",
        (folder_id, os.fsencode(name), *stat, item_id, tx.now_us, tx.now_us),
    )
    tx.execute(
        "INSERT INTO job (host_id, lane, kind, key, state, due_us, attempt, created_us, changed_us) "
        "VALUES (?, 'intake', 'recording', ?, 'done', ?, 1, ?, ?)",
        (tx.host_id, str(item_id), tx.now_us, tx.now_us, tx.now_us),
    )
    tx.execute(
        "INSERT INTO journal (host_id, at_us, event, level, item_id, fields) "
        "VALUES (?, ?, 'file.settled', 'info', ?, ?)",
        (tx.host_id, tx.now_us, item_id, json.dumps(fields)),
    )


@contextmanager
def known(folder: Path, files: int, kept: Path | None) -> Iterator[Known]:
    """A tree and its ledger, as ``kept_or_made`` has them."""
    with kept_or_made(folder, kept, lambda made: make_known(made, files)) as there:
        yield Known(there / "tree", there / "state", 1)


def million_options(doc: str) -> argparse.ArgumentParser:
    """The words of a bench of so many files."""
    parser = options(doc)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--kept", type=Path, help="keep tree and ledger in this folder, and use them if they are there")
    return parser

"""What came while nobody looked: from when that may be, and when all of it has been seen.

Nobody looks while the daemon is down, or while the machine sleeps. A wait that ran out meanwhile is not over yet: what
it waited for may lie there.
"""

from __future__ import annotations

from daemon.ledger.reading import CATCHING_UP, CAUGHT_UP, CaughtUp
from daemon.ledger.writer import WriteTx


def begin(tx: WriteTx) -> None:
    """From here on only what came until the journal's last line is known, until ``end``.

    Where what came before an earlier stop is not through yet, that one counts on.
    """
    if tx.row("SELECT 1 FROM meta WHERE key = ?", (CATCHING_UP,)) is not None:
        return
    last = tx.row("SELECT at_us FROM journal ORDER BY id DESC LIMIT 1")
    since_us = tx.now_us if last is None else int(last["at_us"])
    before = CaughtUp.of(tx.rows("SELECT value FROM meta WHERE key = ?", (CAUGHT_UP,)))
    if before is not None and tx.row(
        "SELECT 1 FROM job WHERE state IN ('ready', 'running') AND id <= ? AND due_us <= ? LIMIT 1",
        (before.job, before.at_us),
    ):
        since_us = min(since_us, before.since_us)
    tx.execute("INSERT INTO meta VALUES (?, ?)", (CATCHING_UP, str(since_us)))


def end(tx: WriteTx) -> None:
    """All that lay there is in the ledger; what it starts are the jobs there are now."""
    began = tx.row("SELECT value FROM meta WHERE key = ?", (CATCHING_UP,))
    if began is None:
        return
    newest = tx.rows("SELECT coalesce(max(id), 0) AS id FROM job")[0]["id"]
    caught_up = CaughtUp(newest, tx.now_us, int(began["value"]))
    tx.execute("DELETE FROM meta WHERE key = ?", (CATCHING_UP,))
    tx.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (CAUGHT_UP, str(caught_up)))

"""What came while nobody looked: from when that may be, and when all of it has been seen.

Nobody looks while the daemon is down, or while the machine sleeps. A wait that ran out meanwhile is not over yet: what
it waited for may lie there. So this is put down before anything else is, by whoever opens the ledger.
"""

from __future__ import annotations

from datetime import timedelta

from daemon.ledger.reading import CATCHING_UP, CAUGHT_UP, Seen, Unseen, mark_of, mark_text
from daemon.ledger.writer import WriteTx

LONGEST_US = timedelta(days=1) // timedelta(microseconds=1)
"""How far an earlier stop counts on, so that a job that never goes on, or starts that never end, do not keep it for
ever."""


def begin(tx: WriteTx, slept_us: int = 0) -> None:
    """From here on only what came until the journal's last line, or until the machine slept, is known, until ``end``.

    Where what came before an earlier stop is not seen, or not through yet, that one counts on.
    """
    still = mark_of(Unseen, tx.rows("SELECT value FROM meta WHERE key = ?", (CATCHING_UP,)))
    since_us = _last_known(tx, slept_us) if still is None else max(still.since_us, tx.now_us - LONGEST_US)
    tx.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (CATCHING_UP, mark_text(Unseen(since_us, tx.now_us))))


def _last_known(tx: WriteTx, slept_us: int) -> int:
    last = tx.row("SELECT at_us FROM journal ORDER BY id DESC LIMIT 1")
    since_us = tx.now_us if last is None else min(int(last["at_us"]), tx.now_us - slept_us)
    before = mark_of(Seen, tx.rows("SELECT value FROM meta WHERE key = ?", (CAUGHT_UP,)))
    if before is not None and since_us - LONGEST_US < before.since_us < since_us and _left(tx, before):
        since_us = before.since_us
    return since_us


def end(tx: WriteTx) -> None:
    """All that lay there is in the ledger; what it starts are the jobs there are now."""
    began = mark_of(Unseen, tx.rows("SELECT value FROM meta WHERE key = ?", (CATCHING_UP,)))
    if began is None:
        return
    newest = tx.rows("SELECT coalesce(max(id), 0) AS id FROM job")[0]["id"]
    seen = Seen(newest, tx.now_us, began.since_us)
    tx.execute("DELETE FROM meta WHERE key = ?", (CATCHING_UP,))
    tx.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (CAUGHT_UP, mark_text(seen)))


def _left(tx: WriteTx, before: Seen) -> bool:
    """Whether jobs for what came before then are still to run."""
    args = (before.job, before.at_us)
    ready = "SELECT 1 FROM job INDEXED BY job_ready WHERE state = 'ready' AND id <= ? AND due_us <= ? LIMIT 1"
    running = "SELECT 1 FROM job INDEXED BY job_running WHERE state = 'running' AND id <= ? AND due_us <= ? LIMIT 1"
    return tx.row(ready, args) is not None or tx.row(running, args) is not None

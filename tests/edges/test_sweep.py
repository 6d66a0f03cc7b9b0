"""The sweep of storage: what nobody woke is found by the clock."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from daemon.contract import Job, JobSpec
from daemon.ledger import catching_up
from daemon.ledger.writer import WriteTx
from handlers.storage.handler import LONE, SWEEP, SweepHandler
from tests.support.storing import Site

WAIT = timedelta(minutes=15)


@pytest.mark.parametrize("lane", ["intake", "match"])
def test_a_recording_is_stored_alone_once_all_that_came_while_it_waited_was_looked_at(
    tmp_path: Path, lane: str
) -> None:
    site = Site(tmp_path, "http://127.0.0.1:9")
    sweep = Job(1, SWEEP, "all", 1, site.clock.now())

    def found() -> tuple[JobSpec, ...]:
        with site.ledger.view() as view:
            return tuple(job for job in SweepHandler(WAIT).plan(sweep, view).then if job.kind == LONE)

    def behind(tx: WriteTx) -> None:
        tx.execute(
            "INSERT INTO job (host_id, lane, kind, key, state, due_us, created_us, changed_us) "
            "VALUES ('h', ?, 'look', '1', 'ready', ?, 0, 0)",
            (lane, tx.now_us),
        )

    with site.at_work():
        site.runner.stop(10)
        site.ledger.write("test.seen", catching_up.end)
        item = site.known(1)
        assert found() == ()
        site.clock.advance(WAIT / 2)
        site.ledger.write("test.behind", behind)
        site.clock.advance(WAIT)
        assert found() == ()
        site.ledger.write("test.caught_up", lambda tx: tx.execute("UPDATE job SET state = 'done' WHERE kind = 'look'"))
        assert found() == (JobSpec(LONE, str(item)),)

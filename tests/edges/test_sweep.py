"""The sweep of storage: what nobody woke is found by the clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.contract import Job, JobSpec
from daemon.ledger import catching_up
from daemon.ledger.writer import WriteTx
from handlers.records import ConversationKnown
from handlers.storage.handler import LONE, SWEEP, SweepHandler
from tests.support.records import conversation
from tests.support.storing import Site

WAIT = timedelta(minutes=15)


@pytest.mark.parametrize(
    ("lane", "key", "state"),
    [
        ("intake", "9", "ready"),
        ("match", "group:r9", "ready"),
        ("match", "conversation", "ready"),
        ("match", "conversation", "waiting"),
    ],
)
def test_a_recording_is_stored_alone_once_nobody_who_came_while_it_waited_can_take_it(
    tmp_path: Path, lane: str, key: str, state: str
) -> None:
    site = Site(tmp_path, "http://127.0.0.1:9")
    sweep = Job(1, SWEEP, "all", 1, site.clock.now())

    def found() -> tuple[JobSpec, ...]:
        with site.ledger.view() as view:
            return tuple(job for job in SweepHandler(WAIT).plan(sweep, view).then if job.kind == LONE)

    def behind(tx: WriteTx) -> None:
        named = f"conversation:{said}" if key == "conversation" else key
        tx.execute(
            "INSERT INTO job (host_id, lane, kind, key, state, due_us, created_us, changed_us) "
            "VALUES ('h', ?, ?, ?, ?, ?, 0, 0)",
            (lane, lane, named, state, tx.now_us),
        )

    with site.at_work():
        site.runner.stop(10)
        site.ledger.write("test.seen", catching_up.end)
        item = site.known(1)
        assert found() == ()
        site.clock.advance(WAIT / 2)
        said = site.settle("said.json", b"{}")
        known = replace(conversation(said), registered_at=site.clock.now())
        site.ledger.write("test.said", ConversationKnown(known).write)
        site.clock.advance(WAIT)
        assert found() == (JobSpec(LONE, str(item)),)
        site.clock.advance(-WAIT)
        site.ledger.write("test.behind", behind)
        site.clock.advance(WAIT)
        assert found() == ()


def test_a_long_line_of_what_came_later_keeps_no_recording_from_being_stored(tmp_path: Path) -> None:
    site = Site(tmp_path, "http://127.0.0.1:9")
    with site.at_work():
        site.runner.stop(10)
        site.ledger.write("test.seen", catching_up.end)
        item = site.known(1)
        site.clock.advance(3 * WAIT)
        line = "INSERT INTO job (host_id, lane, kind, key, state, due_us, created_us, changed_us) "
        line += "SELECT 'h', 'intake', 'look', value, 'ready', {0}, 0, 0 FROM json_each('[{1}]')"
        many = ",".join(map(str, range(300)))
        site.ledger.write("test.line", lambda tx: tx.execute(line.format(tx.now_us, many)))
        with site.ledger.view() as view:
            then = SweepHandler(WAIT).plan(Job(1, SWEEP, "all", 1, site.clock.now()), view).then
        assert JobSpec(LONE, str(item)) in then

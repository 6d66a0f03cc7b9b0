"""A ledger that is lost with all its copies: folders, markers and sidecars give back hours and ids."""

from __future__ import annotations

import os
import shutil

from handlers.demo.crm import LoopbackCrm
from tests.flow.steps import at_work, delivered, requests
from tests.support.calls import FieldCall
from tests.support.process import Site, eventually

CALLS = "SELECT c.name, call_id FROM call JOIN conversation AS c ON c.id = conversation_id ORDER BY 1"
HOURS = "SELECT count(*), round(sum(media_s), 6) FROM recording"


def test_a_rebuilt_ledger_knows_the_same_hours_and_ids_and_sends_nothing_again(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site) as daemon:
        for nth in range(3):
            FieldCall(nth, lead=nth == 1).drop(site)
        delivered(daemon, site, 3)
        written = "SELECT count(*) FROM copy WHERE role = 'sidecar' AND state = 'verified'"
        eventually(lambda: site.rows(written)[0][0] == 3, "every sidecar is written")
        eventually(lambda: len(os.listdir(site.folder / "processed_uploads")) == 3, "every marker is written")
        refused = site.command("ledger", "rebuild")
        assert refused.returncode == 11
        assert site.ask("ledger", "rebuild", "--dry-run")["sidecars"] == 3
    calls, hours = list(map(tuple, site.rows(CALLS))), tuple(site.rows(HOURS)[0])
    sent = len(requests(crm, "call"))
    shutil.rmtree(site.folder / "state")

    answer = site.ask("ledger", "rebuild")
    assert (answer["sidecars"], answer["markers"], answer["set_aside"]) == (3, 3, None)
    with at_work(site):
        eventually(lambda: tuple(site.rows(HOURS)[0]) == hours, "the same hours")
        eventually(lambda: list(map(tuple, site.rows(CALLS))) == calls, "the same calls under the same ids")
        eventually(site.idle, "nothing is open")
        FieldCall(5).drop(site)
        eventually(lambda: crm.records == 4, "what is new is delivered")
    assert len(requests(crm, "call")) == sent + 1

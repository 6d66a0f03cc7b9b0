"""The short form of ``python -m tests.destruction``: what it destroys and holds is told there. And an older ledger put
in the place of the one that worked."""

from __future__ import annotations

import shutil

import pytest

from handlers.demo.crm import LoopbackCrm
from tests.destruction.__main__ import destroy
from tests.flow.steps import at_work, delivered, requests
from tests.support.calls import FieldCall
from tests.support.process import Site


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whatever_is_done_to_it_nothing_is_lost_and_nothing_is_known_twice() -> None:
    verdict, figures = destroy(15, seed=4, every_s=0.6, pause_s=1)
    assert verdict.holds, (verdict, figures)
    assert figures["calls"] > 5
    assert sum(figures["faults"].values()) > 3


def test_an_older_ledger_in_its_place_is_noticed_and_nothing_is_sent_twice(site: Site, crm: LoopbackCrm) -> None:
    state = site.folder / "state"
    with at_work(site) as daemon:
        FieldCall(0).drop(site)
        delivered(daemon, site)
        site.ask("ledger", "backup", str(site.folder / "older.db"))
        FieldCall(1).drop(site)
        delivered(daemon, site, 2)
    with at_work(site):
        pass
    before = len(requests(crm, "call"))
    shutil.copyfile(site.folder / "older.db", state / "ledger.db")
    with at_work(site) as daemon:
        assert "older than the one" in daemon.wait_for("daemon.held")["reason"]
        FieldCall(2).drop(site)
        site.ask("ledger", "redeliver")
        delivered(daemon, site)
        assert daemon.wait_for("call.spoken_for")  # its marker tells what the ledger has forgotten
    assert len(requests(crm, "call")) == before + 1
    assert (len(crm.calls), crm.records) == (3, 3)
    with at_work(site) as daemon:
        site.rest()
        assert not [line for line in daemon.lines if line["event"] == "daemon.held"]

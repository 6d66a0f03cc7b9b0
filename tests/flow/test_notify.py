"""The whole daemon tells people what is wrong and that it is over, through the real Apprise; it looks once a minute."""

from __future__ import annotations

import json

import pytest

from tests.flow.steps import at_work, delivered
from tests.support.calls import FieldCall
from tests.support.listener import Listener
from tests.support.process import Site, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MINUTES_S = 200.0
"""Three looks."""


def test_what_needs_a_person_is_told_once_and_its_end_once(site: Site) -> None:
    inbox, call = Listener(), FieldCall(1, lead=True)
    settings = {"NOTIFY_URLS": f"json://{inbox.address}/", "CALLSPOOL_NOTIFY__AFTER": "1s"}
    with at_work(site, CALLSPOOL_MATCH__LEAD_WAIT="300ms", **settings) as daemon:
        call.drop_recording(site)
        call.drop_transcript(site)
        delivered(daemon, site)
        call.drop_lead(site)
        parked = daemon.wait_for("job.parked")
        eventually(lambda: len(inbox.asked) == 1, "people are told", MINUTES_S)
        assert site.command("retry", parked["call_id"]).returncode == 0
        delivered(daemon, site, 2)
        eventually(lambda: len(inbox.asked) == 2, "that it is over too", MINUTES_S)
    wrong, over = (json.loads(asked.body) for asked in inbox.asked)
    inbox.close()
    assert wrong["title"] == "callspool: 1 to look at"
    assert parked["reason"] in wrong["message"]
    assert (over["title"], over["message"].startswith("- over: ")) == ("callspool: all is well again", True)
    assert call.phone not in json.dumps([wrong, over])
    assert inbox.address not in json.dumps(list(daemon.lines))

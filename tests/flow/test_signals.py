"""What signals do to a working daemon: a stop in time, a second one at once, a configuration read anew."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import httpx
import yaml

from handlers.demo.crm import LoopbackCrm
from tests.flow.steps import at_work, delivered
from tests.support.calls import FieldCall
from tests.support.process import Site, eventually

PROMISED_S = 20.0


def configure(site: Site, **sections: object) -> None:
    (site.folder / "config.yaml").write_text(yaml.safe_dump(sections))


def test_a_stop_ends_what_is_under_way_within_its_time_and_another_at_once(site: Site, crm: LoopbackCrm) -> None:
    crm.misbehave("hang", on="upload", times=9)
    with site.daemon(CALLSPOOL_CRM__TIMEOUT="60s") as daemon:
        daemon.wait_for("daemon.started")
        FieldCall().drop(site)
        eventually(lambda: crm.requests, "the upload is under way")
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == 0
        assert time.monotonic() - began < PROMISED_S
    with site.daemon(CALLSPOOL_CRM__TIMEOUT="60s") as daemon:
        daemon.wait_for("daemon.started")
        eventually(lambda: len(crm.requests) > 1, "the upload is under way again")
        daemon.signal(signal.SIGTERM)
        time.sleep(0.2)  # signals of one kind do not queue
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == 128 + signal.SIGTERM
        assert time.monotonic() - began < 2


def test_a_reload_works_by_the_new_settings_and_delivers_on(site: Site, crm: LoopbackCrm) -> None:
    other = site.folder / "elsewhere"
    other.mkdir()
    configure(site, crm={"campaign_id": "one"})
    del site.environ["DEFAULT_CAMPAIGN_ID"]
    with at_work(site) as daemon:
        FieldCall().drop(site)
        delivered(daemon, site)
        configure(site, crm={"campaign_id": "two"}, watch={"leads": "elsewhere"}, state={"dir": "state2"})
        daemon.signal(signal.SIGHUP)
        told = daemon.wait_for("config.reloaded")
        assert told["changed"] == ["watch.leads", "state.dir", "crm.campaign_id"]
        assert told["needs_restart"] == ["state.dir"]
        FieldCall(1).drop(site)
        delivered(daemon, site, 2)
    campaigns = [call.bodies[-1]["campaignId"] for call in crm.calls.values()]
    assert campaigns == ["one", "two"]
    assert not (site.folder / "state2").exists()


def test_http_answers_by_the_new_settings_too(site: Site) -> None:
    site.environ["CALLSPOOL_HTTP__LISTEN"] = "127.0.0.1:0"
    configure(site, collect={"target_hours": 100})
    with at_work(site) as daemon, httpx.Client() as http:
        address = f"http://{daemon.wait_for('http.opened')['reason']}/statistics"
        assert http.get(address).json()["progress"]["target_hours"] == 100
        configure(site, collect={"target_hours": 200})
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("config.reloaded")
        assert http.get(address).json()["progress"]["target_hours"] == 200


def test_an_invalid_configuration_is_refused_with_an_event_and_the_old_one_kept(site: Site, crm: LoopbackCrm) -> None:
    configure(site, crm={"batch": 4})
    with at_work(site) as daemon:
        configure(site, crm={"batsh": 4})
        daemon.signal(signal.SIGHUP)
        told = daemon.wait_for("config.refused")
        assert "did you mean crm.batch?" in told["reason"]
        assert told["fix"]
        FieldCall().drop(site)
        delivered(daemon, site)


def test_a_supervisor_hears_of_readiness_life_reload_and_the_end(site: Site, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(20)
        heard: list[str] = []

        def hear(word: str) -> None:
            while word not in heard:
                heard.extend(ear.recv(4096).decode().split("\n"))

        with at_work(site, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="600000") as daemon:
            hear("READY=1")
            hear("WATCHDOG=1")
            hear("STATUS=working")
            heard.clear()
            os.kill(daemon.pid, signal.SIGHUP)
            hear("RELOADING=1")
            hear("READY=1")
        hear("STOPPING=1")

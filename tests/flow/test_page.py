"""The operator's page as a browser gets it: totals for all on loopback, the rest for who signed in, and buttons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.audio import RATE, make_wav
from tests.support.process import DaemonProcess, Site

TOKEN = "a-token-of-sixteen"


@pytest.fixture
def browser(site: Site) -> Iterator[tuple[Site, DaemonProcess, httpx.Client]]:
    with site.daemon(CALLSPOOL_HTTP__LISTEN="127.0.0.1:0", HTTP_TOKEN=TOKEN) as daemon:
        daemon.wait_for("daemon.started")
        base = f"http://{daemon.wait_for('http.opened')['reason']}"
        with httpx.Client(base_url=base, timeout=20, headers={"Origin": base}) as http:
            yield site, daemon, http
        assert daemon.stop() == 0


def hours_on(page: str) -> dict[str, str]:
    return dict(re.findall(r'data-kind="(\w+)">([\d.,]+) h', page))


def test_the_page_shows_totals_to_all_and_the_rest_to_who_signed_in_and_its_buttons_act(
    browser: tuple[Site, DaemonProcess, httpx.Client],
) -> None:
    site, daemon, http = browser
    make_wav(site.recordings / "number-_12025550123-1761720502.wav", round(72 * RATE))
    taken = daemon.wait_for("recording.understood")
    stranger = http.get("/")
    assert stranger.status_code == 200
    assert 'action="/login"' in stranger.text
    assert "Events" not in stranger.text
    assert http.post("/do/pause", data={"what": "all"}).status_code == 401
    assert http.get("/events").status_code == 401

    http.post("/login", data={"token": TOKEN})
    said: Any = site.ask("hours")
    shown = http.get("/").text
    assert {kind: float(value) for kind, value in hours_on(shown).items()} == said["hours"]
    assert "recording.understood" in shown
    assert "12025550123" not in shown

    number = taken.get("subject", "r1").lstrip("r")
    part = http.get(f"/recordings/r{number}", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"RIFF")
    daemon.wait_for("recording.played")
    assert http.get("/recordings/r999").status_code == 404

    answer = http.post("/do/pause", data={"what": "all"})
    assert answer.status_code == 303
    assert site.ask("status")["paused"]
    told = http.get(answer.headers["location"]).text
    assert "Done: pause." in told
    assert "Paused: all" in told
    assert http.post("/do/scan").status_code == 303
    daemon.wait_for("scan.requested")
    hostile = http.post("/do/pause", data={"what": "all"}, headers={"Origin": "http://elsewhere.example"})
    assert hostile.status_code == 403

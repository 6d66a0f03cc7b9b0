"""Links by which somebody may hear one recording: made once, used in parts, revoked; from wherever it lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.calls import FieldCall
from tests.support.process import DaemonProcess, Site, eventually

TOKEN = "a-token-of-sixteen"
CALL = FieldCall(0, seconds=3)


@pytest.fixture
def house(site: Site) -> Iterator[tuple[Site, DaemonProcess, httpx.Client]]:
    with site.daemon(CALLSPOOL_HTTP__LISTEN="127.0.0.1:0", HTTP_TOKEN=TOKEN) as daemon:
        daemon.wait_for("daemon.started")
        with httpx.Client(base_url=f"http://{daemon.wait_for('http.opened')['reason']}", timeout=20) as http:
            yield site, daemon, http
        assert daemon.stop() == 0


def path_of(made: Any) -> str:
    return "/r/" + str(made["url"]).rpartition("/r/")[2]


def plays(daemon: DaemonProcess) -> int:
    return sum(line["event"] == "recording.played" for line in daemon.lines)


def test_a_recording_is_heard_by_a_link_from_wherever_it_lies_until_it_is_revoked(
    house: tuple[Site, DaemonProcess, httpx.Client],
) -> None:
    site, daemon, http = house
    CALL.drop(site)
    daemon.wait_for("call.matched")
    daemon.wait_for("storage.stored")
    recording = site.recordings / CALL.recording_name
    content = recording.read_bytes()

    for_all = path_of(site.ask("link", "add", CALL.transcript_name, "--anyone"))
    for_some = path_of(site.ask("link", "add", CALL.session_id))
    assert len(for_all) >= len("/r/") + 22
    whole = http.get(for_all)
    assert (whole.status_code, whole.content) == (200, content)
    part = http.get(for_all, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, content[4:8])
    assert http.get(for_some).status_code == 401
    assert http.get(for_some, headers={"Authorization": f"Bearer {TOKEN}"}).content == content
    assert http.get("/r/AAAAAAAAAAAAAAAAAAAAAA").status_code == 404
    eventually(lambda: plays(daemon) == 2, "two plays in the journal; a part from the middle is none")

    recording.unlink()
    stored = http.get(for_all, headers={"Range": "bytes=0-9"})
    assert (stored.status_code, stored.content) == (206, content[:10])
    assert stored.headers["Content-Range"] == f"bytes 0-9/{len(content)}"
    assert http.get(for_all).content == content
    assert http.get(for_all, headers={"Range": f"bytes={len(content)}-"}).status_code == 416

    listed: Any = site.ask("link", "list")
    assert [(one["link"], one["state"], one["anyone"]) for one in listed] == [(2, "open", False), (1, "open", True)]
    assert sum(one["plays"] for one in listed) == 4
    assert not any(for_all.removeprefix("/r/") in str(line) for line in daemon.lines)
    assert site.ask("link", "revoke", "1") == {"revoked": [1]}
    assert http.get(for_all).status_code == 404
    assert site.ask("link", "list")[1]["state"] == "revoked"


def test_links_are_made_over_http_with_the_token_alone(house: tuple[Site, DaemonProcess, httpx.Client]) -> None:
    site, daemon, http = house
    CALL.drop(site)
    daemon.wait_for("call.matched")
    assert http.post("/api/v1/links", json={"subject": CALL.session_id}).status_code == 401
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    made = http.post(
        "/api/v1/links", json={"subject": CALL.session_id, "anyone": True, "expires": "1h"}, headers=bearer
    ).json()
    assert http.get(made["path"]).status_code == 200
    assert http.get("/api/v1/links", headers=bearer).json()[0]["expires"] is not None
    assert http.post("/api/v1/links/revoke", json={"subject": CALL.session_id}, headers=bearer).json() == {
        "revoked": [1]
    }
    assert http.get(made["path"]).status_code == 404
    wrong = http.post(
        "/api/v1/links", json={"subject": CALL.session_id, "anyone": True, "expires": "9000d"}, headers=bearer
    )
    assert wrong.status_code == 409

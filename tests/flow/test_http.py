"""The daemon on HTTP as a client sees it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.audio import RATE, make_wav
from tests.support.process import DaemonProcess, Site, eventually

TOKEN = "a-token-of-sixteen"


class Client:
    """Asks one daemon."""

    def __init__(self, daemon: DaemonProcess) -> None:
        opened = daemon.wait_for("http.opened")
        self.base = f"http://{opened['reason']}"
        self.http = httpx.Client(base_url=self.base, timeout=20)

    def get(self, path: str, *, token: bool = True, **headers: str) -> httpx.Response:
        return self.http.get(path, headers={**self._token(token), **headers})

    def post(self, path: str, body: Any, *, token: bool = True, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers={**self._token(token), **headers})

    def _token(self, wanted: bool) -> dict[str, str]:
        return {"Authorization": f"Bearer {TOKEN}"} if wanted else {}


@pytest.fixture
def client(site: Site) -> Iterator[tuple[Site, DaemonProcess, Client]]:
    with site.daemon(CALLSPOOL_HTTP__LISTEN="127.0.0.1:0", HTTP_TOKEN=TOKEN) as daemon:
        daemon.wait_for("daemon.started")
        made = Client(daemon)
        yield site, daemon, made
        made.http.close()
        assert daemon.stop() == 0


def test_what_is_open_what_needs_the_token_and_what_the_command_line_says(
    client: tuple[Site, DaemonProcess, Client],
) -> None:
    site, daemon, http = client
    recorded = site.folder / "recordings" / "number-_12025550123-1761720502.wav"
    make_wav(recorded, round(12.5 * RATE))
    daemon.wait_for("recording.understood")
    assert http.get("/healthz", token=False).text == "ok\n"
    eventually(lambda: http.get("/readyz", token=False).status_code == 200, "ready")
    said = http.get("/statistics?target_hours=100", token=False).json()
    assert said["summary"]["total_conversations"] == 1
    assert said["summary"]["total_minutes"] == 0.21
    assert said["progress"]["estimated_conversations_needed"] == 28_799
    assert http.get("/statistics?target_hours=5e-324", token=False).status_code == 422
    assert site.command("hours", "--target", "5e-324").returncode == 2
    assert site.ask("hours", "--target", "100")["summary"] == said["summary"]
    assert 'callspool_audio_seconds{kind="usable"} 12.5' in http.get("/metrics", token=False).text
    for path in ("/api/v1/status", "/api/v1/calls", "/api/v1/journal", "/openapi.json"):
        assert http.get(path, token=False).status_code in (401, 403), path
    assert http.get("/api/v1/status").json()["hours"]["usable"] == pytest.approx(0.0)
    assert [entry["event"] for entry in http.get("/api/v1/journal?limit=1000").json()["entries"]].count(
        "recording.understood"
    ) == 1
    assert http.get("/api/v1/calls/nobody").status_code == 404
    assert http.get("/api/v1/match").status_code == 200
    assert "2025550123" not in "".join(map(json.dumps, daemon.lines))


def test_a_person_pauses_and_resumes_over_http_and_the_journal_says_so(
    client: tuple[Site, DaemonProcess, Client],
) -> None:
    site, daemon, http = client
    assert http.post("/api/v1/pause", {"what": "deliver", "why": "a look"}, token=False).status_code == 401
    assert http.post("/api/v1/pause", {"what": "deliver", "why": "a look"}).json() == {"paused": "deliver"}
    daemon.wait_for("work.paused", what="deliver")
    assert [entry["what"] for entry in site.ask("status")["paused"]] == ["deliver"]
    assert http.post("/api/v1/pause", {"what": "nothing"}).status_code == 409
    assert http.post("/api/v1/resume", {"what": "deliver"}).json() == {"resumed": ["deliver"]}
    assert http.post("/api/v1/scan", {}).json() == {"scanning": True}


def test_a_browser_logs_in_with_the_token_and_keeps_a_session(client: tuple[Site, DaemonProcess, Client]) -> None:
    _, _, http = client
    assert http.http.post("/login", data={"token": "wrong"}).status_code == 401
    entered = http.http.post("/login", data={"token": TOKEN})
    assert entered.status_code == 303
    assert "HttpOnly" in entered.headers["set-cookie"]
    assert "samesite=strict" in entered.headers["set-cookie"].lower()
    assert http.http.get("/api/v1/status").status_code == 200
    refused = http.http.post("/api/v1/pause", json={"what": "all"}, headers={"Origin": "http://evil.example"})
    assert refused.status_code == 403


def test_a_body_that_is_too_long_is_refused(client: tuple[Site, DaemonProcess, Client]) -> None:
    _, _, http = client
    assert http.post("/api/v1/pause", {"what": "x" * 2_000_000}).status_code == 413


def test_a_body_that_is_none_of_its_kind_gets_an_answer_that_the_api_declares(
    client: tuple[Site, DaemonProcess, Client],
) -> None:
    _, _, http = client
    paths: Any = http.get("/openapi.json").json()["paths"]
    acts = {path: verbs["post"]["responses"] for path, verbs in paths.items() if "post" in verbs}
    assert {"/api/v1/retry", "/api/v1/match/accept", "/audio/process"} <= set(acts)
    form: Any = paths["/audio/process"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file"]
    for path, declared in acts.items():
        for content in (b"\x80\xff", b"[]", b"{", b""):
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
            answer = http.http.post(path, content=content, headers=headers)
            assert answer.status_code < 500, (path, content)
            assert str(answer.status_code) in declared, (path, content, answer.status_code)


def test_an_address_that_is_taken_costs_nothing_but_the_page(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with site.daemon(CALLSPOOL_HTTP__LISTEN=address) as daemon:
            assert daemon.wait_for("http.failed")["reason"].startswith(address)
            daemon.wait_for("daemon.started")
            assert daemon.stop() == 0


def test_another_address_than_loopback_without_a_token_does_not_start(site: Site) -> None:
    with site.daemon(CALLSPOOL_HTTP__LISTEN="0.0.0.0:0") as daemon:
        assert daemon.ended() == 78
    assert any("needs a token" in line for line in daemon.other_output)


def test_pauses_outlive_the_process(site: Site) -> None:
    with site.daemon() as daemon:
        daemon.wait_for("daemon.started")
        site.ask("pause", "collect", "--why", "night")
        daemon.kill()
    make_wav(site.folder / "recordings" / "a.wav", RATE)
    with site.daemon() as daemon:
        daemon.wait_for("file.settled")
        assert site.ask("status")["jobs"]["intake"]["ready"] == 1
        site.ask("resume")
        daemon.wait_for("recording.understood")
        assert daemon.stop() == 0

"""The loopback CRM itself: as a process, driven over HTTP, remembering across its own end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from handlers.demo.crm import LoopbackCrm

CALL = {"callDetails": {"callId": "CALL-20251029-121530-66243"}}


@contextmanager
def running(*words: str) -> Iterator[dict[str, str]]:
    command = [sys.executable, "-m", "handlers.demo.crm", "--port", "0", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            rest = process.stdout.read()
    assert rest == ""


def post(url: str, key: str, body: Any = CALL) -> httpx.Response:
    return httpx.post(url, json=body, headers={"Idempotency-Key": key})


def upload(url: str, key: str, content: bytes = b"OggS", name: str = "r.ogg") -> httpx.Response:
    return httpx.post(url, files={"file": (name, content)}, headers={"Idempotency-Key": key})


def test_it_answers_as_the_formats_say() -> None:
    with LoopbackCrm() as crm:
        answer = upload(crm.upload_url, "1", b"x" * 1000, "number-_918655048643-1761635651.ogg").json()
        data = answer["data"]
        assert answer["success"] is True
        assert set(data) == {"filename", "originalName", "size", "url", "relativeUrl"}
        assert (data["originalName"], data["size"]) == ("number-_918655048643-1761635651.ogg", 1000)
        assert data["url"] == f"{crm.upload_url}/{data['filename']}"


def test_a_process_tells_all_it_knows_and_takes_commands() -> None:
    with running() as at:
        control = at["url"] + "/_control"
        httpx.post(control, json={"misbehave": [{"on": "call", "fault": "503"}]})
        assert post(at["calls_url"], "1").status_code == 503
        assert post(at["calls_url"], "1").status_code == 200
        upload(at["upload_url"], "2")
        state = httpx.get(control).json()
        assert state["records"] == len(state["uploads"]) == 1
        assert [(r["step"], r["status"], r["accepted"]) for r in state["requests"]] == [
            ("call", 503, False),
            ("call", 200, True),
            ("upload", 200, True),
        ]
        assert all(r["ended_mono"] >= r["began_mono"] for r in state["requests"])


def test_what_was_accepted_outlives_the_process(tmp_path: Path) -> None:
    journal = str(tmp_path / "journal.jsonl")
    with running("--journal", journal) as at:
        before = upload(at["upload_url"], "1").json()
        post(at["calls_url"], "2")
    with running("--journal", journal) as at:
        assert upload(at["upload_url"], "1").json()["data"]["filename"] == before["data"]["filename"]
        post(at["calls_url"], "2")
        state = httpx.get(at["url"] + "/_control").json()
        assert (len(state["uploads"]), state["records"]) == (1, 1)


def test_a_forgetful_one_doubles_what_is_sent_twice() -> None:
    with running("--forgetful") as at:
        for _ in range(2):
            upload(at["upload_url"], "1")
            post(at["calls_url"], "2")
        state = httpx.get(at["url"] + "/_control").json()
        assert (len(state["uploads"]), state["records"], len(state["calls"])) == (2, 2, 1)


def test_a_key_used_for_something_else_is_refused() -> None:
    with LoopbackCrm() as crm:
        upload(crm.upload_url, "1", b"one")
        assert upload(crm.upload_url, "1", b"two").status_code == 422
        assert len(crm.uploads) == 1


@pytest.mark.parametrize(
    "request_",
    [
        {"files": {"audio": ("r.ogg", b"x")}},
        {"files": [("file", ("a.ogg", b"x")), ("file", ("b.ogg", b"y"))]},
        {"files": {"file": ("a.ogg", b"x")}, "data": {"more": "1"}},
        {"content": b"OggS", "headers": {"Content-Type": "audio/ogg"}},
        {"data": {"file": "text"}},
    ],
)
def test_anything_but_one_part_called_file_is_a_bad_request(request_: dict[str, Any]) -> None:
    with LoopbackCrm() as crm:
        assert httpx.post(crm.upload_url, **request_).status_code == 400
        assert crm.uploads == []


def test_it_refuses_connections_and_comes_back_at_the_same_address() -> None:
    with LoopbackCrm() as crm:
        assert post(crm.calls_url, "1").status_code == 200
        crm.refuse()
        with pytest.raises(httpx.ConnectError):
            post(crm.calls_url, "1")
        crm.listen()
        assert post(crm.calls_url, "1").status_code == 200
        assert crm.records == 1

"""The daemon's door for commands: a real socket, and whatever may come through it."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from daemon.contract import Json
from daemon.errors import BadRequest, LedgerBusy, UnknownSubject
from daemon.run.asking import RemoteRefusal, act, ask, short_name
from daemon.run.control import ControlServer


class Desk:
    """What the daemon does with a command."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Mapping[str, Any], bool]] = []
        self.hang = threading.Event()

    def do(self, act: str, args: Mapping[str, Any], dry_run: bool) -> Json:
        self.done.append((act, args, dry_run))
        match act:
            case "unknown":
                raise UnknownSubject("no such call", fix="callspool failures")
            case "wrong":
                raise BadRequest("both at once")
            case "busy":
                raise LedgerBusy("another program holds the ledger")
            case "defect":
                raise ZeroDivisionError("what the customer said")
            case "hang":
                assert self.hang.wait(10)
        return {"did": act}

    def answer(self, question: str, args: Mapping[str, Any]) -> Json:
        return self.do(question, args, True) if question != "large" else "x" * 3_000_000


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk()
    server = ControlServer(tmp_path / "control.sock", desk.do, desk.answer)
    yield desk
    desk.hang.set()
    server.close()


def test_a_command_is_done_and_answered(desk: Desk, tmp_path: Path) -> None:
    door = tmp_path / "control.sock"
    assert act(door, "retry", {"jobs": [["toy", "1"]], "why": "müde"}, dry_run=True) == {"did": "retry"}
    assert desk.done == [("retry", {"jobs": [["toy", "1"]], "why": "müde"}, True)]
    assert door.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "message", "fix", "code"),
    [
        ("unknown", "no such call", "callspool failures", 1),
        ("wrong", "both at once", "", 2),
        ("busy", "another program holds the ledger", "callspool status", 1),
        ("defect", "a defect of callspool's own: ZeroDivisionError", "report it", 1),
    ],
)
def test_an_error_comes_back_with_its_exit_code(
    desk: Desk, tmp_path: Path, name: str, message: str, fix: str, code: int
) -> None:
    with pytest.raises(RemoteRefusal) as caught:
        act(tmp_path / "control.sock", name, {}, dry_run=False)
    assert (str(caught.value), caught.value.fix, caught.value.exit_code) == (message, fix, code)
    assert act(tmp_path / "control.sock", "next", {}, dry_run=False) == {"did": "next"}


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b"[]\n",
        b"{}\n",
        b'{"ask": "x"}\n',
        b'{"act": "x", "args": {}}\n',
        b'{"act": "x", "args": 1, "dry_run": 0}\n',
        b"x" * 100,
    ],
)
def test_nonsense_is_answered_and_does_nothing(desk: Desk, tmp_path: Path, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(str(tmp_path / "control.sock"))
        raw.sendall(line)
        raw.shutdown(socket.SHUT_WR)
        answer = json.loads(raw.makefile("rb").readline())
    assert answer["exit_code"] == 2
    assert desk.done == []


def test_one_slow_command_does_not_keep_others_out(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(RemoteRefusal, match="did not answer"):
        act(tmp_path / "control.sock", "hang", {}, dry_run=False, patience_s=0.05)
    assert act(tmp_path / "control.sock", "next", {}, dry_run=False) == {"did": "next"}


def test_a_question_is_answered_however_large_the_answer_and_an_error_comes_back(desk: Desk, tmp_path: Path) -> None:
    door = tmp_path / "control.sock"
    assert ask(door, "status", {"of": "müde"}, patience_s=10) == {"did": "status"}
    assert desk.done == [("status", {"of": "müde"}, True)]
    assert ask(door, "large", {}, patience_s=10) == "x" * 3_000_000
    with pytest.raises(RemoteRefusal, match="no such call"):
        ask(door, "unknown", {}, patience_s=10)
    with pytest.raises(TimeoutError):
        ask(door, "hang", {}, patience_s=0.05)


def test_where_the_daemon_has_no_answer_whoever_asks_is_to_look_for_himself(desk: Desk, tmp_path: Path) -> None:
    door = tmp_path / "control.sock"
    with pytest.raises(OSError, match="no answer"):
        ask(door, "defect", {}, patience_s=5)
    with socketserver.UnixStreamServer(str(tmp_path / "older.sock"), _OlderDaemon) as older:
        answering = threading.Thread(target=older.handle_request)
        answering.start()
        with pytest.raises(OSError, match="no answer"):
            ask(tmp_path / "older.sock", "status", {}, patience_s=5)
        answering.join()


class _OlderDaemon(socketserver.StreamRequestHandler):
    """Answers as version 0.1.0 did before there were questions."""

    def handle(self) -> None:
        assert b'"act"' not in self.rfile.readline()
        error = {"error": "not a command this daemon understands", "fix": "callspool version", "exit_code": 2}
        self.wfile.write(json.dumps(error).encode() + b"\n")


def test_somebody_who_goes_away_harms_nobody(desk: Desk, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(tmp_path / "control.sock"))
    assert act(tmp_path / "control.sock", "next", {}, dry_run=False) == {"did": "next"}


def test_nobody_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        act(tmp_path / "control.sock", "retry", {}, dry_run=False)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.bind(str(tmp_path / "control.sock"))
    with pytest.raises(ConnectionRefusedError):
        act(tmp_path / "control.sock", "retry", {}, dry_run=False)


def test_a_socket_left_by_a_dead_daemon_is_replaced_and_a_closed_one_removed(tmp_path: Path) -> None:
    door = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(door))
    server = ControlServer(door, Desk().do, Desk().answer)
    assert act(door, "next", {}, dry_run=False) == {"did": "next"}
    server.close()
    assert not door.exists()


def test_a_state_folder_however_deep_has_its_door(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 8)
    deep.mkdir(parents=True)
    server = ControlServer(deep / "control.sock", Desk().do, Desk().answer)
    try:
        assert act(deep / "control.sock", "next", {}, dry_run=False) == {"did": "next"}
        with short_name(deep / "control.sock") as name:
            assert len(os.fsencode(name)) <= 100
    finally:
        server.close()
    assert not (deep / "control.sock").exists()

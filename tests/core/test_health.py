"""What counts as health, from signs alone; what a restart may mend; what a supervisor is told."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from daemon.health import Health, LaneSign, Problem, RootSign, Signs, judge
from daemon.notify import Pulse, beat_s, notify

ROOT = RootSign("recordings", usable=True, reason="", alive=True, scanned_s=30, scan_every_s=60)
LANE = LaneSign("crm", due=True, moved_s=3)


def test_all_that_moves_is_ready_and_alive() -> None:
    found = judge(Signs(roots=[ROOT], lanes=[LANE]))
    assert (found.ready, found.alive, found.line()) == (True, True, "working")


@pytest.mark.parametrize(
    ("signs", "says"),
    [
        (Signs(roots=[RootSign("leads", False, "not there", True, 5, 60)]), "leads: not there"),
        (Signs(paused=True), "ledger: takes no writes now"),
        (Signs(hold="damaged"), "ledger: on hold until a person decides"),
        (Signs(shut=[("crm", "resting", 900.0)]), "crm: resting, no success for 15 min"),
        (Signs(roots=[RootSign("leads", True, "", True, 1000, 60)]), "leads: not scanned for 17 min"),
        (Signs(unanswered_s=20), "ledger: a commit is under way for 20 s"),
        (Signs(lanes=[LaneSign("crm", True, 700)]), "crm: nothing moves for 12 min"),
    ],
)
def test_what_a_restart_cannot_mend_is_not_ready_but_feeds_the_watchdog(signs: Signs, says: str) -> None:
    found = judge(signs)
    assert (found.ready, found.alive, found.line()) == (False, True, says)


@pytest.mark.parametrize(
    "signs",
    [
        Signs(roots=[RootSign("recordings", True, "", False, 5, 60)]),
        Signs(roots=[RootSign("recordings", True, "", True, 5000, 60)]),
        Signs(unanswered_s=61),
        Signs(lanes=[LaneSign("crm", True, 3601)]),
    ],
)
def test_what_hangs_starves_the_watchdog(signs: Signs) -> None:
    assert not judge(signs).alive


def test_a_lane_without_work_and_a_passing_refusal_are_no_problem() -> None:
    assert judge(Signs(lanes=[LaneSign("crm", False, 9999)], shut=[("crm", "asked", 20.0)])).ready


@pytest.fixture
def ear(tmp_path: Path) -> socket.socket:
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(str(tmp_path / "notify"))
    ear.settimeout(10)
    return ear


def test_the_pulse_says_ready_feeds_while_alive_and_says_when_it_stops(tmp_path: Path, ear: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000"}
    sick = threading.Event()
    health = lambda: Health((Problem("crm", "hangs", restart=True),) if sick.is_set() else ())  # noqa: E731
    pulse = Pulse(environ, health)
    with ear:
        pulse.start()
        assert ear.recv(4096) == b"READY=1\nSTATUS=working"
        assert ear.recv(4096) == b"STATUS=working\nWATCHDOG=1"
        sick.set()
        said = [ear.recv(4096) for _ in range(3)]
        assert said[-1] == b"STATUS=crm: hangs"
        pulse.stop()
        while (last := ear.recv(4096)) != b"STOPPING=1\nSTATUS=stopping":
            assert last == b"STATUS=crm: hangs"


def test_the_beat_is_a_third_of_the_watchdogs_patience_and_only_ours() -> None:
    assert beat_s({"WATCHDOG_USEC": "30000000"}) == 10
    assert beat_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}) == 10
    assert beat_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) == 20


def test_nobody_who_listens_is_no_error(tmp_path: Path) -> None:
    assert not notify({}, "READY=1")
    assert not notify({"NOTIFY_SOCKET": str(tmp_path / "gone")}, "READY=1")

"""Killed anywhere, restarted, and the world has seen everything exactly once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from daemon.ledger.connection import open_for_reading
from tests.support.ledger import ROOT


def work(folder: Path, **environ: str) -> int:
    """Run the toy's fixed piece of work; the exit code."""
    command = [sys.executable, "-m", "tests.support.ledger", str(folder), str(folder / "world")]
    env: Mapping[str, str] = {**os.environ, **environ}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def accepted(folder: Path) -> list[str]:
    """What the world saw, repetitions included, in alphabetical order."""
    lines = (folder / "world" / "accepted").read_text().splitlines()
    return sorted(json.loads(line)["identity"] for line in lines)


def test_killed_after_send_is_found_not_repeated(tmp_path: Path) -> None:
    assert work(tmp_path, CALLSPOOL_TRACE_KILL="put.performed:1") == -signal.SIGKILL
    first = accepted(tmp_path)
    assert len(first) == 1
    assert work(tmp_path) == 0
    assert accepted(tmp_path) == ["shared", "x", "y"]
    with closing(open_for_reading(tmp_path / "state" / "ledger.db")) as ledger:
        found = ledger.execute("SELECT receipt, sends FROM effect WHERE identity = ?", first).fetchone()
        times = {row["name"]: row["times"] for row in ledger.execute("SELECT * FROM toy")}
    assert (json.loads(found["receipt"])["found"], found["sends"]) == (True, 1)
    assert times[first[0]] == 1, "the receipt's facts were written once, when it was found"


def test_killed_at_every_point_and_visit_everything_arrives_once(tmp_path: Path) -> None:
    assert work(tmp_path / "whole", CALLSPOOL_TRACE=str(tmp_path / "trace")) == 0
    points = [line.replace(" ", ":") for line in (tmp_path / "trace").read_text().splitlines()]
    steps = ("job.claimed", "job.accepted", "put.started", "put.perform", "put.confirmed", "job.decided")
    assert all(any(point.startswith(step) for point in points) for step in steps)
    assert len(points) > 30

    def killed(point: str) -> int:
        folder = tmp_path / point
        code = work(folder, CALLSPOOL_TRACE_KILL=point)
        if code != 0:
            assert work(folder) == 0, point
        assert accepted(folder) == ["shared", "x", "y"], point
        with closing(open_for_reading(folder / "state" / "ledger.db")) as ledger:
            left = ledger.execute("SELECT kind, key, state FROM job WHERE state != 'done'").fetchall()
            facts = {row["name"]: row["times"] for row in ledger.execute("SELECT * FROM toy WHERE name NOT LIKE 'i%'")}
        assert left == [], point
        assert facts == {"x": 1, "shared": 1, "y": 1}, point
        return code

    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(killed, points))
    # How often an idle worker looks for work depends on the moment: such a visit may not come again.
    assert codes.count(-signal.SIGKILL) > len(points) * 0.8

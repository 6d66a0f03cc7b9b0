"""``callspool demo`` as a newcomer runs it: nothing configured, a hostile environment, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import eventually

HOSTILE = {
    "CRM_UPLOAD_URL": "http://127.0.0.1:9/nowhere",
    "CRM_CALL_DATA_URL": "http://127.0.0.1:9/nowhere",
    "CALLSPOOL_MATCH__WAIT": "not a duration",
    "RECORDINGS_DIR": "/nowhere",
    "CALLSPOOL_TRACE_KILL": "crm.call.performed:1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "all_proxy": "socks5://127.0.0.1:9",
    "SSL_CERT_FILE": "/nowhere",
    "PATH": "/nowhere",
    "TZ": "Asia/Kolkata",
}
"""Settings that would spoil a demo that listened to them."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A short folder for temporary files: sockets lie in it, and their paths may not be long."""
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:
        yield Path(folder)


def command(place: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    clean = {name: value for name, value in os.environ.items() if name in ("LANG", "HOME", "PYTHONPATH")}
    return [sys.executable, "-m", "daemon", "demo", *words], {**clean, **HOSTILE, "TMPDIR": str(place)}


def demo(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv, environ = command(place, *words)
    return subprocess.run(argv, env=environ, cwd=place, capture_output=True, text=True, timeout=90, check=False)


def events(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_call_arrives_once_and_nothing_is_left_behind(place: Path) -> None:
    begun = time.monotonic()
    done = demo(place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exactly once, right to the millisecond" in done.stdout
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert not re.search(r"1202555", done.stdout)
    assert list(place.iterdir()) == []
    assert time.monotonic() - begun < 60  # under 20 s on a machine with nothing else to do


def test_the_story_is_told_to_programs_too_and_the_kept_folder_can_be_asked(place: Path) -> None:
    done = demo(place, "--json", "--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    story = events(done)
    whole = story[-1]
    assert whole["event"] == "demo.finished"
    assert whole["exactly_once"] is True
    assert [call["records"] for call in whole["calls"]] == [1] * 6
    assert sum(call["posts"] for call in whole["calls"]) == 7  # one answer was lost, and that post repeated
    assert [call["uploads"] for call in whole["calls"]] == [1, 1, 1, 1, 1, 0]
    for call in whole["calls"][:5]:
        assert call["measured_s"] == pytest.approx(call["written_s"], abs=0.0006)
    names = [event["event"] for event in story]
    assert "destination.throttled" in names
    assert "file.duplicated" in names
    assert not re.search(r"1202555", done.stdout)
    folder = Path(whole["folder"])
    assert len(list((folder / "processed_uploads").glob("*.uploaded"))) == 6
    argv, environ = command(place)
    asked = subprocess.run(
        [*argv[:-1], "status", "--json", "--config", str(folder / "config.yaml")],
        env={"TMPDIR": environ["TMPDIR"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == 0, asked.stdout + asked.stderr


def test_a_forgetful_crm_has_a_call_twice_and_the_demo_says_so(place: Path) -> None:
    done = demo(place, "--json", "--forgetful")
    assert done.returncode == 1, done.stdout + done.stderr
    whole = events(done)[-1]
    assert sorted(call["records"] for call in whole["calls"]) == [1, 1, 1, 1, 1, 2]
    assert whole["exactly_once"] is False
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_nothing_behind(place: Path, number: int, code: int) -> None:
    argv, environ = command(place, "--json")
    with subprocess.Popen(
        argv, env=environ, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if json.loads(line)["event"] == "demo.opened":
                break
        run.send_signal(number)
        out, err = run.communicate(timeout=60)
    assert run.returncode == code, out + err
    assert "Traceback" not in err
    eventually(lambda: list(place.iterdir()) == [], "the folder is gone")

"""What people are told is the same whether the running daemon answers or the verb reads the ledger by itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.cli import quick
from handlers.demo.crm import LoopbackCrm
from tests.support.calls import FieldCall
from tests.support.process import Site, eventually

QUESTIONS = [
    ("status",),
    ("failures",),
    ("explain", FieldCall(1).recording_name),
    ("hours", "--target", "1", "--by", "day"),
    ("hours", "--by", "campaign", "--since", "2020-01-01"),
    ("summary",),
    ("report", "--target", "0.5", "--target", "100"),
]

BY_ITSELF = ("--set", "log.level=info")
"""Settings on its line keep a verb from asking: the daemon works by others."""

MADE_ANEW = {"generated_at", "timestamp"}


@pytest.fixture
def site(tmp_path: Path, crm: LoopbackCrm) -> Site:
    return Site(tmp_path, CRM_UPLOAD_URL=crm.upload_url, CRM_CALL_DATA_URL=crm.calls_url)


def test_the_daemon_answers_as_the_ledger_read_without_it_does(site: Site) -> None:
    with site.daemon() as daemon:
        daemon.wait_for("daemon.started")
        (site.recordings / "2025-10-29 10-20-30.wav").write_bytes(b"no audio at all")
        (site.recordings / "nothing.ogg").touch()
        for nth in range(3):
            FieldCall(nth, lead=nth == 0).drop(site)
        daemon.wait_until(lambda lines: sum(line["event"] == "crm.accepted" for line in lines) >= 3, "three calls")
        site.rest()
        assert site.command("pause", "all", "--why", "nothing is to move between two answers").returncode == 0
        for words in QUESTIONS:
            asked, read = site.ask(*words), site.ask(*words, *BY_ITSELF)
            for name in MADE_ANEW & asked.keys():
                del asked[name], read[name]
            assert asked == read, words
        eventually(lambda: site.rows("SELECT 1 FROM file WHERE name = CAST('nothing.ogg' AS BLOB)"), "it is known")
        from_elsewhere = {**site.environ, "CALLSPOOL_STATE__DIR": str(site.folder / "state")}
        for how in ((), BY_ITSELF):
            argv = [sys.executable, "-m", "daemon", "explain", "../recordings/nothing.ogg", *how]
            done = subprocess.run(argv, cwd=site.leads, env=from_elsewhere, capture_output=True, check=False)
            assert done.returncode == 0, "a path is relative to the folder of who asks"
        unknown = [site.command("explain", "c99", *how) for how in ((), BY_ITSELF)]
        assert [done.returncode for done in unknown] == [1, 1]
        assert unknown[0].stderr == unknown[1].stderr


def test_a_plain_question_is_asked_before_anything_else_is_loaded(site: Site) -> None:
    plain = [("status",), ("failures",), ("hours",), ("explain", FieldCall(1).recording_name)]
    with site.daemon() as daemon:
        daemon.wait_for("daemon.started")
        FieldCall(1).drop(site)
        daemon.wait_for("crm.accepted")
        site.rest()
        site.command("pause", "all", "--why", "nothing is to move between two answers")
        for words in plain:
            said = quick.answer(words, site.environ, site.folder)
            assert said is not None, words
            assert f"{said}\n" == site.command(*words).stdout == site.command(*words, *BY_ITSELF).stdout
        assert quick.answer(("explain", "c99"), site.environ, site.folder) is None
        argv = [sys.executable, "-X", "importtime", "-m", "daemon", "status"]
        loaded = subprocess.run(argv, cwd=site.folder, env=site.environ, capture_output=True, text=True, check=True)
        assert not {"pydantic", "typer", "yaml"} & {
            line.rpartition("|")[2].strip() for line in loaded.stderr.splitlines()
        }
    assert quick.answer(("status",), site.environ, site.folder) is None, "nobody is there"


def test_a_daemon_that_hangs_keeps_nobody_from_seeing_how_it_is(site: Site) -> None:
    with site.daemon() as daemon:
        daemon.wait_for("daemon.started")
        daemon.signal(signal.SIGSTOP)
        try:
            found = json.loads(site.command("status", "--json").stdout)
        finally:
            daemon.signal(signal.SIGCONT)
        assert (found["running"], found["pid"]) == (True, daemon.pid)

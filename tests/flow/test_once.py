"""``callspool once`` as cron and people run it: it ends, and tells the truth about how."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

from handlers.demo.crm import LoopbackCrm
from tests.support.calls import FieldCall
from tests.support.process import Site, eventually


def test_a_pass_ends_while_the_crm_is_down_however_short_the_retries(site: Site, crm: LoopbackCrm) -> None:
    site.command("once")
    crm.refuse()
    FieldCall().drop(site)
    done = site.command("once", CALLSPOOL_CRM__RETRY="[1s]")
    assert done.returncode == 20, done.stderr
    assert "to be tried again: 1" in done.stderr


def test_an_interrupted_pass_says_so(site: Site, crm: LoopbackCrm) -> None:
    site.command("once")
    (site.recordings / "unfinished.mp3").write_bytes(b"ID3" + bytes(400))
    running = subprocess.Popen(
        [sys.executable, "-m", "daemon", "once"],
        cwd=site.folder,
        env={**site.environ, "CALLSPOOL_WATCH__QUIET__AUDIO": "60s"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert running.stdout is not None
    with running.stdout as lines:
        assert any(json.loads(line)["event"] == "daemon.started" for line in lines)
        running.send_signal(signal.SIGINT)
        lines.read()
    assert running.wait(20) == 130


def test_a_wait_that_ran_out_between_two_passes_is_over_in_the_second(site: Site, crm: LoopbackCrm) -> None:
    site.command("once")
    call, other = FieldCall(1), FieldCall(2)
    call.drop_transcript(site)
    wait = {"CALLSPOOL_MATCH__WAIT": "7s"}
    assert "waiting: 1" in site.command("once", **wait).stderr
    over = "SELECT 1 FROM verdict WHERE recording = 'waiting' AND max(recording_until_us, lead_until_us) < ?"
    eventually(lambda: site.rows(over, (time.time_ns() // 1000,)), "the wait is over")
    other.drop_recording(site)
    done = site.command("once", **wait)
    assert "waits for its recording" not in done.stderr
    assert len(crm.calls) == 1


def test_what_waits_for_a_crm_is_said(site: Site) -> None:
    unconfigured = {"CRM_UPLOAD_URL": "", "CRM_CALL_DATA_URL": ""}
    site.command("once", **unconfigured)
    FieldCall().drop(site)
    done = site.command("once", **unconfigured)
    assert done.returncode == 0
    assert "waiting: 1 (no CRM configured)" in done.stderr


def test_a_dry_run_tells_what_a_backfill_would_take_before_there_is_a_ledger(site: Site) -> None:
    call = FieldCall()
    call.drop(site)
    told = site.ask("once", "--since", "all", "--dry-run")
    assert told["count"] == 2
    assert any(path.endswith(call.recording_name) for path in told["files"])
    assert not (site.folder / "state" / "ledger.db").exists()
    assert site.command("once", "/etc/hostname", "--dry-run").returncode == 2


def test_a_refused_file_is_explained_by_the_name_that_failures_gives_it(site: Site) -> None:
    site.command("once")
    (site.conversations / "broken.json").write_text('{"session_id": nope}')
    (site.recordings / "sub").mkdir()
    with (site.recordings / "sub" / "live.ogg").open("wb") as held:
        held.write(b"OggS")
        held.flush()
        with site.daemon() as daemon:
            daemon.wait_for("job.parked")
            eventually(lambda: site.command("explain", "live.ogg").returncode == 0, "a settling file found by its name")
    (failure,) = site.ask("failures")["failures"]
    assert failure["path"] == "broken.json"
    verb, subject = failure["fix"].split()[1:3]
    story = site.ask(verb, subject)
    assert story["files"][0]["path"] == "broken.json"
    assert any(job["state"] == "parked" for job in story["jobs"])

"""How callspool starts and stops: on full folders, beside another one, over a damaged ledger, under a signal."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from handlers.demo.crm import LoopbackCrm
from tests.flow.steps import at_work, delivered, known, requests
from tests.support.calls import FieldCall, put_json
from tests.support.process import Site, eventually

BEFORE = (FieldCall(0, lead=True), FieldCall(1, seconds=4))
AFTER = FieldCall(2, seconds=5)
PATIENT = {"CALLSPOOL_CRM__RETRY": "[1h]"}


def sessions(crm: LoopbackCrm) -> list[str]:
    """The sessions of all calls in the CRM's books, sorted."""
    return sorted(body["transcription"]["session_id"] for call in crm.calls.values() for body in call.bodies[-1:])


def once(site: Site, *words: str, **settings: str) -> tuple[int, str]:
    """Run ``once``; returns its exit code and what it told the person."""
    done = site.command("once", *words, **settings)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def marker(site: Site, call: FieldCall, document: dict[str, Any]) -> None:
    folder = site.folder / "processed_uploads"
    folder.mkdir(exist_ok=True)
    put_json(folder / f"{call.transcript_name}.uploaded", document)


# ------------------------------------------------------------------------------------------------ the first start


def test_a_first_start_on_full_folders_lists_what_is_older_and_sends_nothing_of_it(
    site: Site, crm: LoopbackCrm
) -> None:
    for call in BEFORE:
        call.drop(site)
    with at_work(site) as daemon:
        eventually(lambda: len(site.rows("SELECT 1 FROM file WHERE state = 'old'")) == 5, "five older files")
        for folder in (site.recordings, site.conversations, site.leads):
            for path in folder.iterdir():
                path.chmod(0o600)
                os.utime(path, ns=(1, path.stat().st_mtime_ns))
        assert site.ask("status")["files"]["old"] == 5
        assert "callspool once --since all" in site.command("status").stdout
        AFTER.drop(site)
        delivered(daemon, site)
    assert sessions(crm) == [AFTER.session_id]
    assert len(crm.requests) == 2


@pytest.mark.parametrize("started_before", [True, False])
def test_once_since_all_is_the_backfill(site: Site, crm: LoopbackCrm, started_before: bool) -> None:
    for call in BEFORE:
        call.drop(site)
    if started_before:
        code, said = once(site)
        assert code == 0
        assert "5 file(s) lay there before the install" in said
        assert crm.requests == []
        assert json.loads(site.command("once", "--since", "all", "--dry-run", "--json").stdout)["count"] == 5
    assert once(site, "--since", "all")[0] == 0
    assert sessions(crm) == sorted(call.session_id for call in BEFORE)
    assert (len(crm.uploads), crm.records) == (2, 2)
    sent = len(crm.requests)
    assert once(site, "--since", "all")[0] == 0
    assert len(crm.requests) == sent


def test_once_with_files_takes_these_alone(site: Site, crm: LoopbackCrm) -> None:
    for call in BEFORE:
        call.drop(site)
    chosen = BEFORE[1]
    code, _ = once(site, f"recordings/{chosen.recording_name}", f"conversations/{chosen.transcript_name}")
    assert code == 0
    assert sessions(crm) == [chosen.session_id]
    assert [upload.original_name for upload in crm.uploads] == [chosen.recording_name]


def test_markers_of_the_system_before_are_honoured(site: Site, crm: LoopbackCrm) -> None:
    done, half, moved, fresh = (FieldCall(nth, seconds=3 + nth) for nth in range(4))
    url = "http://crm.example/apis/uploads/recordings/1.ogg"
    for call in (done, half, moved, fresh):
        call.drop(site)
    marker(site, done, {"recording_uploaded": True, "recording_url": url, "call_data_uploaded": True})
    marker(site, half, {"recording_uploaded": True, "recording_url": url, "call_data_uploaded": False})
    shutil.copy(site.conversations / moved.transcript_name, site.folder / "processed_uploads")
    assert once(site, "--since", "all")[0] == 0
    assert sessions(crm) == sorted(call.session_id for call in (half, fresh))
    assert [upload.original_name for upload in crm.uploads] == [fresh.recording_name]
    urls = {
        body["transcription"]["session_id"]: body["callDetails"]["recordingUrl"]
        for call in crm.calls.values()
        for body in call.bodies
    }
    assert urls[half.session_id] == url


# ------------------------------------------------------------------------------------------------ exit codes


def test_once_says_by_its_exit_code_how_it_went(site: Site, crm: LoopbackCrm) -> None:
    assert once(site)[0] == 0
    crm.misbehave("413", on="upload")
    FieldCall(0).drop(site)
    code, said = once(site)
    assert (code, "-> callspool failures" in said) == (3, True)
    crm.token = "another"
    FieldCall(1, seconds=4).drop(site)
    assert once(site, **PATIENT)[0] == 21
    crm.token = None


def test_once_says_that_the_crm_is_not_there(site: Site, crm: LoopbackCrm) -> None:
    assert once(site)[0] == 0
    crm.refuse()
    FieldCall().drop(site)
    assert once(site, **PATIENT)[0] == 20
    assert crm.requests == []


def test_a_second_daemon_and_a_once_beside_it_leave_with_the_pid(site: Site) -> None:
    with at_work(site) as daemon:
        for verb in ("run", "once"):
            second = site.command(verb)
            assert second.returncode == 11
            assert re.search(rf"\bpid {daemon.pid}\b", second.stderr), second.stderr
        assert site.ask("status")["pid"] == daemon.pid


def test_a_killed_daemons_lock_blocks_nobody(site: Site, crm: LoopbackCrm) -> None:
    with site.daemon() as first:
        first.wait_for("daemon.started")
        first.kill()
    with at_work(site) as second:
        FieldCall().drop(site)
        delivered(second, site)
    assert crm.records == 1


def test_an_invalid_configuration_names_key_and_exit_code(site: Site) -> None:
    done = site.command("run", CALLSPOOL_CRM__TIMEOUT="soon")
    assert done.returncode == 78
    assert "crm.timeout" in done.stderr
    assert not (site.folder / "state").exists()


def test_without_a_ledger_there_is_no_status(site: Site) -> None:
    done = site.command("status")
    assert done.returncode == 12
    assert "callspool run" in done.stderr


def test_a_newer_ledger_is_left_alone(site: Site) -> None:
    assert once(site)[0] == 0
    with closing(sqlite3.connect(site.folder / "state" / "ledger.db", isolation_level=None)) as ledger:
        ledger.execute("INSERT INTO migration VALUES ('handlers.migrations', 99, 'later', '', 1)")
    done = site.command("run")
    assert done.returncode == 12
    assert "newer callspool" in done.stderr


def test_what_an_older_ledger_cannot_answer_yet_is_said_and_mended_by_a_start(site: Site) -> None:
    FieldCall(0).drop(site)
    assert once(site, "--since", "all")[0] == 0
    call = f"c{site.rows('SELECT id FROM conversation')[0]['id']}"
    with closing(sqlite3.connect(site.folder / "state" / "ledger.db", isolation_level=None)) as ledger:
        older = ledger.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND sql LIKE '%neighbours_mark%'")
        for (trigger,) in older.fetchall():
            ledger.execute(f"DROP TRIGGER {trigger}")
        ledger.execute("DROP TABLE neighbours_mark")
        ledger.execute("DELETE FROM migration WHERE source = 'handlers.migrations' AND number >= 6")
    done = site.command("explain", call)
    assert (done.returncode, "older callspool" in done.stderr, "callspool once" in done.stderr) == (12, True, True)
    assert site.command("status").returncode == 0
    assert once(site)[0] == 0
    assert site.command("explain", call).returncode == 0


# ------------------------------------------------------------------------------------------------ a damaged ledger


def damaged(site: Site, crm: LoopbackCrm) -> None:
    """A site whose ledger was copied after its first call and damaged after its second."""
    ledger = site.folder / "state" / "ledger.db"
    with at_work(site) as daemon:
        FieldCall(0).drop(site)
        delivered(daemon, site)
        copy = ledger.parent / "copies" / f"ledger-{datetime.now(UTC):%Y-%m-%d}.db"
        assert site.command("ledger", "backup", str(copy)).returncode == 0
        FieldCall(1, seconds=4).drop(site)
        delivered(daemon, site, 2)
    for suffix in ("-wal", "-shm"):
        Path(f"{ledger}{suffix}").unlink(missing_ok=True)
    with ledger.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


def test_over_a_damaged_ledger_nothing_is_sent_until_adopt(site: Site, crm: LoopbackCrm) -> None:
    damaged(site, crm)
    sent = len(crm.requests)
    FieldCall(2, seconds=5).drop(site)
    with at_work(site) as daemon:
        held = daemon.wait_for("daemon.held")
        assert "callspool ledger adopt" in held["fix"]
        assert "restored ledger-" in site.ask("status")["hold"]
        assert site.command("ledger", "adopt").returncode == 0
        FieldCall(3, seconds=6).drop(site)
        delivered(daemon, site)
        assert site.ask("status")["hold"] is None
    assert sessions(crm) == sorted(FieldCall(nth).session_id for nth in (0, 1, 3))
    assert len(crm.requests) == sent + 2
    assert list((site.folder / "state").glob("ledger.db.damaged-*"))


def test_over_a_damaged_ledger_redeliver_sends_what_it_does_not_know_under_the_same_id(
    site: Site, crm: LoopbackCrm
) -> None:
    damaged(site, crm)
    ids = set(crm.calls)
    for marker in (site.folder / "processed_uploads").iterdir():
        marker.unlink()  # nobody is left who knows what was delivered since the copy
    with at_work(site) as daemon:
        daemon.wait_for("daemon.held")
        assert site.command("ledger", "redeliver").returncode == 0
        delivered(daemon, site)
    assert (set(crm.calls), crm.records) == (ids, 2)
    assert sorted(len(call.bodies) for call in crm.calls.values()) == [1, 2]


def test_over_a_damaged_ledger_redeliver_sends_nothing_again_that_a_marker_speaks_for(
    site: Site, crm: LoopbackCrm
) -> None:
    damaged(site, crm)
    with at_work(site) as daemon:
        daemon.wait_for("daemon.held")
        assert site.command("ledger", "redeliver").returncode == 0
        daemon.wait_for("call.matched")
        daemon.wait_for("call.spoken_for")
    assert (len(crm.calls), crm.records) == (2, 2)
    assert [len(call.bodies) for call in crm.calls.values()] == [1, 1]


# ------------------------------------------------------------------------------------------------ stopping


def test_told_to_stop_it_lets_go_quickly_and_goes_on_after_a_restart(site: Site, crm: LoopbackCrm) -> None:
    crm.misbehave("hang", on="upload")
    with site.daemon(CALLSPOOL_CRM__TIMEOUT="1s") as daemon:
        daemon.wait_for("daemon.started")
        FieldCall().drop(site)
        crm.wait(lambda books: bool(books.uploads))
        assert daemon.stop(15.0) == 0
        assert daemon.lines[-1]["event"] == "daemon.stopped"
    with at_work(site) as daemon:
        delivered(daemon, site)
    assert (len(crm.uploads), crm.records) == (1, 1)
    assert len({request.idempotency_key for request in requests(crm, "upload")}) == 1


def test_told_twice_it_leaves_at_once(site: Site, crm: LoopbackCrm) -> None:
    crm.misbehave("hang", on="upload")
    with site.daemon() as daemon:
        daemon.wait_for("daemon.started")
        FieldCall().drop(site)
        crm.wait(lambda books: bool(books.uploads))
        daemon.signal(signal.SIGTERM)
        again = time.monotonic() + 10

        def left() -> bool:
            if not daemon.has_ended:
                daemon.signal(signal.SIGTERM)
            return daemon.has_ended

        eventually(left, "it leaves", 10)
        assert daemon.ended() == 128 + signal.SIGTERM
        assert time.monotonic() < again
    with at_work(site) as daemon:
        delivered(daemon, site)
    assert (len(crm.uploads), crm.records) == (1, 1)


def test_what_was_dropped_while_it_was_stopped_is_delivered_at_the_next_start(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site):
        pass
    FieldCall(lead=True).drop(site)
    with at_work(site) as daemon:
        delivered(daemon, site)
        known(site, 3)
    assert crm.records == 1

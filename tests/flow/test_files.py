"""Folders and files as they are in the field, seen from outside the daemon: nothing missed, nothing taken early."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from handlers.demo.crm import LoopbackCrm
from tests.flow.steps import at_work, delivered, events, failures, file_of, known
from tests.support.audio import make_ogg_opus
from tests.support.calls import FieldCall, put_json
from tests.support.process import Site, eventually

NEVER = {"CALLSPOOL_WATCH__SCAN_EVERY": "1h"}
"""No scan after the first comes by itself: what is found, events or their loss have found."""

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify, leases and capabilities are Linux's")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")


# ------------------------------------------------------------------------------------------------ folders


@linux
def test_9000_files_during_a_stall_are_all_in_the_ledger_within_one_scan(site: Site) -> None:
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with site.daemon(**NEVER) as daemon:
        daemon.wait_for("root.watched", role="leads")
        daemon.wait_for("daemon.started")
        daemon.signal(signal.SIGSTOP)
        for number in range(9000):
            (site.leads / f"note-{number}.json").write_text(f'{{"n": {number}}}')
        daemon.signal(signal.SIGCONT)
        if queue < 18_000:  # two events a file
            daemon.wait_for("watch.overflowed", role="leads")
        known(site, 9000, 90)
        assert len(events(daemon, "watch.overflowed")) == (queue < 18_000)


@linux
def test_a_tree_of_nested_folders_moved_in_is_found_whole_and_watched(site: Site) -> None:
    with at_work(site, **NEVER) as daemon:
        daemon.wait_for("root.watched", role="leads")
        aside = site.folder / "aside"
        for number in range(300):
            folder = aside / f"day-{number}" / "b" / "c"
            folder.mkdir(parents=True)
            (folder / "note.json").write_text(f'{{"n": {number}}}')
        aside.rename(site.leads / "moved")
        known(site, 300)
        (site.leads / "moved" / "day-299" / "b" / "c" / "later.json").write_text('{"n": 300}')
        (site.leads / "moved" / "day-0" / "b" / "later.json").write_text('{"n": 301}')
        known(site, 302)


def test_a_root_deleted_and_made_again_is_degraded_at_once_and_heals_by_itself(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site) as daemon:
        daemon.wait_for("root.watched", role="recordings")
        shutil.rmtree(site.recordings)
        daemon.wait_for("root.degraded", 5.0, role="recordings")
        roots = {root["role"]: root for root in site.ask("status")["roots"]}
        assert (roots["recordings"]["state"], roots["leads"]["state"]) == ("degraded", "watching")
        site.recordings.mkdir()
        daemon.wait_until(
            lambda lines: sum(e["event"] == "root.watched" and e["role"] == "recordings" for e in lines) == 2, "healed"
        )
        FieldCall().drop(site)
        delivered(daemon, site)
    assert (len(crm.uploads), crm.records) == (1, 1)


def test_a_root_missing_at_start_is_waited_for_while_the_others_work(site: Site, crm: LoopbackCrm) -> None:
    site.recordings.rmdir()
    with at_work(site) as daemon:
        daemon.wait_for("root.missed", role="recordings")
        FieldCall().drop_transcript(site)
        delivered(daemon, site)
        site.recordings.mkdir()
        daemon.wait_for("root.watched", role="recordings")
        FieldCall(1, seconds=4).drop(site)
        delivered(daemon, site, 2)
    assert (len(crm.uploads), crm.records) == (1, 2)


def test_a_root_renamed_away_and_back_loses_nothing_and_sends_nothing_again(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site) as daemon:
        call = FieldCall()
        call.drop(site)
        delivered(daemon, site)
        sent = len(crm.requests)
        away = site.folder / "away"
        site.recordings.rename(away)
        daemon.wait_for("root.degraded", 5.0, role="recordings")
        assert file_of(site, site.recordings / call.recording_name)["state"] == "known"  # absence here proves nothing
        away.rename(site.recordings)
        daemon.wait_until(
            lambda lines: sum(e["event"] == "root.watched" and e["role"] == "recordings" for e in lines) == 2, "healed"
        )
        FieldCall(1, seconds=4).drop(site)
        delivered(daemon, site, 2)
        assert file_of(site, site.recordings / call.recording_name)["state"] == "known"
    assert len(crm.requests) == sent + 2


def test_without_file_events_everything_is_delivered_all_the_same(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site, "--no-watch") as daemon:
        daemon.wait_for("root.polled", role="recordings")
        FieldCall(lead=True).drop(site)
        delivered(daemon, site)
    assert (len(crm.uploads), crm.records) == (1, 1)


# ------------------------------------------------------------------------------------------------ live recorders


@contextmanager
def recorder(path: Path, content: bytes) -> Iterator[Any]:
    """A recorder that holds its file open and writes through a buffer of 64 KiB; closes it at the end."""
    with open(path, "wb", buffering=65536) as file:
        for place in range(0, len(content), 960):
            file.write(content[place : place + 960])
        yield file


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("audio") / "long.ogg"
    make_ogg_opus(path, 30)
    return path.read_bytes()


LIVE = FieldCall(seconds=30)
PAUSED = {"CALLSPOOL_MATCH__WAIT": "1m"}


def stays_open(site: Site, path: Path, seconds: float) -> None:
    """For so long the recorder says nothing, and the file is seen, and not taken."""
    eventually(lambda: site.rows("SELECT 1 FROM file WHERE state = 'settling' AND reason LIKE 'open%'"), "it is seen")
    threading.Event().wait(seconds)  # the pause itself is what is tried
    assert file_of(site, path)["state"] == "settling"


def live_recording(site: Site, crm: LoopbackCrm, content: bytes, pause_s: float, **settings: str) -> None:
    with at_work(site, **{**PAUSED, **settings}) as daemon:
        LIVE.drop_transcript(site)
        path = site.recordings / LIVE.recording_name
        with recorder(path, content):
            assert 0 < path.stat().st_size < len(content)
            stays_open(site, path, pause_s)
            assert crm.requests == []
        delivered(daemon, site)
    assert [(upload.size, upload.posts) for upload in crm.uploads] == [(len(content), 1)]
    assert crm.records == 1


@linux
def test_a_live_recorder_that_pauses_is_never_taken_early(site: Site, crm: LoopbackCrm, long_recording: bytes) -> None:
    live_recording(site, crm, long_recording, 3.0)  # six times the quiet window of these tests


@linux
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_live_recorder_that_pauses_for_90_s_is_never_taken_early(
    site: Site, crm: LoopbackCrm, long_recording: bytes
) -> None:
    real = {
        "CALLSPOOL_WATCH__QUIET": "{audio: 10s, json: 2s, unproved: 3m}",
        "CALLSPOOL_WATCH__SCAN_EVERY": "60s",
        "CALLSPOOL_MATCH__WAIT": "15m",
    }
    live_recording(site, crm, long_recording, 90.0, **real)


@linux
def test_a_restart_in_the_middle_of_a_recording_takes_nothing_early(
    site: Site, crm: LoopbackCrm, long_recording: bytes
) -> None:
    path = site.recordings / LIVE.recording_name
    with site.daemon(**PAUSED) as before:
        before.wait_for("daemon.started")
        LIVE.drop_transcript(site)
        with recorder(path, long_recording):
            stays_open(site, path, 0)
            before.kill()
            with site.daemon(**PAUSED) as after:
                after.wait_for("daemon.started")
                stays_open(site, path, 1.5)
                assert crm.requests == []
                after.kill()
        with at_work(site, **PAUSED) as last:
            delivered(last, site)
    assert [(upload.size, upload.posts) for upload in crm.uploads] == [(len(long_recording), 1)]


# ------------------------------------------------------------------------------------------------ what is no file


def was_seen(site: Site, path: Path) -> bool:
    """Whether callspool can tell of a file."""
    return site.command("explain", str(path)).returncode == 0


def test_what_is_empty_or_junk_or_no_file_is_never_sent_and_says_why(site: Site, crm: LoopbackCrm) -> None:
    folder = site.conversations
    with at_work(site) as daemon:
        (folder / "empty.json").touch()
        os.mkfifo(folder / "pipe.json")
        (site.folder / "elsewhere.json").write_text('{"session_id": "x"}')
        (folder / "link.json").symlink_to(site.folder / "elsewhere.json")
        junk = [".hidden.json", "half.json.part", "upload.filepart", "Thumbs.db", "x.json.tmp", "._mac.json", "a~"]
        for name in junk:
            (folder / name).write_text('{"session_id": "x"}')
        (folder / "broken.json").write_text('{"session_id": ')
        FieldCall().drop(site)
        delivered(daemon, site)
        daemon.wait_for("job.parked")
        names = ("empty.json", "pipe.json", "link.json")
        for name in names:
            eventually(partial(was_seen, site, folder / name), f"{name} was seen")
        states = {name: file_of(site, folder / name)["state"] for name in names}
        assert states == {"empty.json": "empty", "pipe.json": "irregular", "link.json": "irregular"}
        (broken,) = failures(site).values()
        assert "JSON" in broken["reason"]
        for name in junk:
            assert site.command("explain", str(folder / name)).returncode == 1
        (folder / "empty.json").write_text("{}")  # what was empty and grows is a file like any other
        eventually(lambda: file_of(site, folder / "empty.json")["state"] == "known", "the grown file is taken")
    assert len(crm.calls) <= 2


HELL = (b"new\nline.json", b"bytes-\xff\xfe.json", b"n" * 250 + b".json", "\u202egnol.json".encode(), b"-rf.json")


def test_names_from_hell_are_delivered_like_any_other(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site) as daemon:
        for nth, name in enumerate(HELL):
            part = site.folder / "part"
            put_json(part, FieldCall(nth, document={"lead_generated": False}).transcript())
            os.rename(part, os.path.join(os.fsencode(site.conversations), name))
        delivered(daemon, site, len(HELL))
        assert failures(site) == {}
        daemon.wait_for("marker.skipped")  # that of the longest name cannot exist
        for name in HELL:
            assert file_of(site, os.fsdecode(os.path.join(os.fsencode(site.conversations), name)))["state"] == "known"
    assert crm.records == len(HELL)
    assert len(os.listdir(site.folder / "processed_uploads")) == len(HELL) - 1


# ------------------------------------------------------------------------------------------------ the same file again


def test_a_name_rewritten_before_delivery_sends_the_new_content_alone(site: Site, crm: LoopbackCrm) -> None:
    call = FieldCall()
    newer = FieldCall(document={"total_items": 7})
    with at_work(site, CALLSPOOL_MATCH__WAIT="1m") as daemon:
        call.drop_transcript(site)
        daemon.wait_for("conversation.understood")
        newer.drop_transcript(site)
        daemon.wait_for("call.replaced")
        call.drop_recording(site)
        delivered(daemon, site)
        files = site.ask("explain", str(site.conversations / call.transcript_name))["files"]
        assert sorted(file["state"] for file in files) == ["known", "replaced"]
    ((_, posted),) = crm.calls.items()
    assert [body["transcription"]["total_items"] for body in posted.bodies] == [7]


def test_a_name_rewritten_after_delivery_is_a_question_for_a_person(site: Site, crm: LoopbackCrm) -> None:
    call = FieldCall()
    with at_work(site) as daemon:
        call.drop(site)
        delivered(daemon, site)
        FieldCall(document={"total_items": 7}).drop_transcript(site)
        parked = daemon.wait_for("job.parked")
        assert "newer transcript" in failures(site)[parked["call_id"]]["reason"]
        assert crm.records == len(crm.calls) == 1
        assert site.command("retry", parked["call_id"]).returncode == 0
        delivered(daemon, site, 2)
    ((_, posted),) = crm.calls.items()
    assert [body["transcription"]["total_items"] for body in posted.bodies] == [2, 7]


def test_delivered_files_that_are_touched_moved_or_copied_cause_no_request(site: Site, crm: LoopbackCrm) -> None:
    call = FieldCall(lead=True)
    with at_work(site) as daemon:
        call.drop(site)
        delivered(daemon, site)
        sent = len(crm.requests)
        for folder in (site.recordings, site.conversations, site.leads):
            (path,) = folder.iterdir()
            os.utime(path)
            os.chmod(path, 0o600)
            (folder / "deep").mkdir()
            shutil.copy(path, folder / "deep" / path.name)
            path.rename(folder / "deep" / f"moved-{path.name}")
        daemon.wait_until(lambda lines: sum(e["event"] == "file.duplicated" for e in lines) >= 3, "the copies")
        other = FieldCall(1, seconds=4)
        other.drop(site)  # behind all of that in every queue
        delivered(daemon, site, 2)
        eventually(lambda: len(site.rows("SELECT 1 FROM file WHERE state = 'settling'")) == 0, "all looked at")
        site.rest()
    assert len(crm.requests) == sent + 2
    assert crm.records == 2


@pytest.mark.parametrize("how", ["rename", "link"])
def test_files_that_appear_without_being_written_are_taken(site: Site, crm: LoopbackCrm, how: str) -> None:
    call = FieldCall()
    aside = Site(site.folder / "aside")
    call.drop(aside)
    arrive = os.rename if how == "rename" else os.link
    with at_work(site, **NEVER) as daemon:
        daemon.wait_for("root.watched", role="recordings")
        daemon.wait_for("root.watched", role="conversations")
        arrive(aside.recordings / call.recording_name, site.recordings / call.recording_name)
        arrive(aside.conversations / call.transcript_name, site.conversations / call.transcript_name)
        delivered(daemon, site)
    assert (len(crm.uploads), crm.records) == (1, 1)


# ------------------------------------------------------------------------------------------------ a stranger's files

NO_POWERS = ("setpriv", "--inh-caps=-all", "--bounding-set=-all", "--")
"""Still uid 0, since its Python may lie where no other user may look, but without any capability."""

NOBODY = 65534


def powerless() -> bool:
    try:
        return subprocess.run([*NO_POWERS, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@linux
@as_root
@pytest.mark.skipif(not powerless(), reason="setpriv is not there, or may not drop capabilities here")
def test_a_stranger_to_the_files_takes_them_by_the_lower_rows(site: Site, crm: LoopbackCrm) -> None:
    call = FieldCall()
    with at_work(site, under=NO_POWERS, CALLSPOOL_MATCH__WAIT="1m") as daemon:
        mine = Site(site.folder / "theirs")
        call.drop_recording(mine)
        torn = mine.recordings / "torn.mp3"
        torn.write_bytes(b"ID3" + bytes(200))
        shut = mine.recordings / "shut.ogg"
        shutil.copy(mine.recordings / call.recording_name, shut)
        for path in mine.recordings.iterdir():
            os.chown(path, NOBODY, NOBODY)
            path.chmod(0o000 if path == shut else 0o644)
            path.rename(site.recordings / path.name)
        call.drop_transcript(site)
        delivered(daemon, site)
        told = {name: file_of(site, site.recordings / name) for name in (call.recording_name, "torn.mp3", "shut.ogg")}
        assert told[call.recording_name]["reason"] == "complete, unchanged for 2 s"
        assert told["torn.mp3"]["flags"] == ["weak_settle"]
        assert (told["shut.ogg"]["state"], told["shut.ogg"]["reason"]) == ("unreadable", "EACCES")
        (site.recordings / "shut.ogg").chmod(0o644)
        eventually(lambda: file_of(site, site.recordings / "shut.ogg")["state"] == "known", "it is read at last")
    assert [upload.original_name for upload in crm.uploads] == [call.recording_name]

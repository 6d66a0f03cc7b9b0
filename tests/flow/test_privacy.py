"""Erasing, holding and letting go, on a working daemon with real files: what is gone is gone from everywhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from daemon.masking import mask
from handlers.demo.crm import LoopbackCrm
from tests.flow.steps import at_work, delivered
from tests.support import audio
from tests.support.calls import FieldCall
from tests.support.process import Site, eventually

SAID = "my-spoken-secret"
OPEN = "SELECT 1 FROM job WHERE state IN ('ready', 'running') LIMIT 1"
MAILED = "caller-to-erase@crm.example"


def doomed() -> FieldCall:
    call = FieldCall(1, lead=True)
    document = call.transcript()
    document["conversation_items"][-1]["content"] = f"Please, {SAID}, call {call.phone}."
    return FieldCall(1, lead=True, document=document)


def drop(site: Site, call: FieldCall) -> None:
    call.drop(site)
    if call.nth == doomed().nth:
        path = site.leads / call.lead_name
        document = json.loads(path.read_text()) | {"email": MAILED, "phone": call.phone}
        part = site.leads / ".part"
        part.write_text(json.dumps(document))
        part.rename(path)


def words(call: FieldCall) -> list[str]:
    """Everything that may not be found anywhere afterwards."""
    names = [call.recording_name, call.transcript_name, call.lead_name]
    return [call.phone, call.phone.lstrip("+"), call.session_id, SAID, MAILED, *names, *map(mask, names)]


def found(folder: Path, wanted: list[str]) -> list[tuple[str, str]]:
    """Where any of the words still stands: in names and in bytes of everything below the folder."""
    hits = []
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        hits += [(str(path), word) for word in wanted if word in path.name or word.encode() in content]
    return hits


def shelve(site: Site) -> None:
    """What remembers: a daily copy, one before a migration, a damaged ledger set aside."""
    copies = site.folder / "state" / "copies"
    site.ask("ledger", "backup", str(copies / "ledger-2025-01-01.db"))
    shutil.copy(copies / "ledger-2025-01-01.db", copies / "before-migration-20250101T000000Z.db")
    shutil.copy(copies / "ledger-2025-01-01.db", site.folder / "state" / "ledger.db.damaged-20250101T000000Z")


slow = pytest.mark.slow


@pytest.mark.parametrize("by", ["--number", pytest.param("--call", marks=slow), pytest.param("--lead", marks=slow)])
def test_what_is_erased_is_in_no_file_row_copy_marker_or_free_page_and_never_comes_back(
    site: Site, crm: LoopbackCrm, by: str
) -> None:
    call, other = doomed(), FieldCall(2, lead=True)
    with at_work(site) as daemon:
        drop(site, call)
        drop(site, other)
        delivered(daemon, site, 2)
        (conversation,) = site.rows("SELECT id FROM conversation WHERE name = ?", (call.transcript_name,))
        eventually(lambda: len(os.listdir(site.folder / "processed_uploads")) == 2, "both markers")
        stored = "SELECT count(*) FROM copy WHERE state = 'verified'"
        eventually(lambda: site.rows(stored)[0][0] >= 8 and not site.rows(OPEN), "all is in the store")
        kept = {path: path.read_bytes() for path in _files(site)}
        shelve(site)
        (site.folder / "reports").mkdir(exist_ok=True)
        (site.folder / "reports" / "export.csv").write_text(f"a,{call.phone}\n")
        (site.folder / "reports" / "other.csv").write_text("a,b\n")
        subject = {"--number": call.phone, "--call": f"c{conversation[0]}", "--lead": call.lead_name}[by]
        call_id = next(name for name, call_ in crm.calls.items() if SAID in str(call_.bodies))

        told = site.ask("erase", by, subject, "--dry-run")
        assert (told["items"], len(told["files"]) > 6) == (3, True)
        assert any(line.startswith("local store: ") for line in told["files"])
        assert {path: path.read_bytes() for path in _files(site)} == kept

        answer = site.ask("erase", by, subject, "--yes")
        assert (answer["items"], answer["kept"], answer["words_left"]) == (3, [], 0)
        assert any(call_id in line and "http" in line for line in answer["todo"])
        assert found(site.folder, words(call)) == []
        assert (site.folder / "reports" / "other.csv").exists()
        assert len(_files(site)) == 4  # the other call's, with its marker

        backup = kept[next(path for path in kept if path.name == call.recording_name)]
        (site.recordings / "from-a-backup.ogg").write_bytes(backup)
        eventually(lambda: site.rows("SELECT 1 FROM file WHERE state = 'attention'"), "it is noticed")
        assert site.rows("SELECT count(*) FROM item")[0][0] == 3
        assert "was erased" in site.ask("failures")["failures"][0]["reason"]
    assert crm.records == 2
    assert found(site.folder, words(call)[:5]) == []
    for line in daemon.lines:
        assert not [word for word in words(call)[:5] if word in json.dumps(line)]
    with at_work(site) as daemon:
        site.rest()
    assert crm.records == 2


def _files(site: Site) -> list[Path]:
    folders = (site.recordings, site.conversations, site.leads, site.folder / "processed_uploads")
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "point",
    [
        "erase.begun.committed",
        pytest.param("erase.struck.committing", marks=slow),
        pytest.param("erase.struck.committed", marks=slow),
    ],
)
def test_killed_in_the_middle_it_is_ended_by_the_next_start(site: Site, crm: LoopbackCrm, point: str) -> None:
    call = doomed()
    with at_work(site) as daemon:
        drop(site, call)
        delivered(daemon, site)
        eventually(lambda: os.listdir(site.folder / "processed_uploads"), "the marker")
        shelve(site)
    with site.daemon(CALLSPOOL_TRACE_KILL=f"{point}:1") as daemon:
        daemon.wait_for("daemon.started")
        site.command("erase", "--number", call.phone, "--yes")
        assert daemon.ended() == -signal.SIGKILL
    with at_work(site):
        assert site.rows("SELECT count(*) FROM item")[0][0] == 0
    assert found(site.folder, words(call)) == []


def test_without_a_daemon_it_is_done_under_the_ledgers_lock(site: Site, crm: LoopbackCrm) -> None:
    call = doomed()
    with at_work(site) as daemon:
        drop(site, call)
        delivered(daemon, site)
    assert site.command("erase", "--number", call.phone).returncode == 2  # not without --yes
    assert site.ask("erase", "--number", call.phone, "--yes")["words_left"] == 0
    assert found(site.folder, words(call)) == []
    again = site.command("erase", "--number", call.phone, "--yes")
    assert again.returncode == 1
    assert call.phone not in again.stdout + again.stderr


def test_a_name_that_holds_other_content_now_is_left_alone_and_said(site: Site, crm: LoopbackCrm) -> None:
    call = doomed()
    with at_work(site) as daemon:
        drop(site, call)
        delivered(daemon, site)
    (site.recordings / call.recording_name).write_bytes(b"somebody else's")
    done = site.command("erase", "--number", call.phone, "--yes", "--json")
    assert done.returncode == 3
    assert [os.path.basename(path) for path in json.loads(done.stdout)["kept"]] == [call.recording_name]
    assert (site.recordings / call.recording_name).read_bytes() == b"somebody else's"


def test_a_folder_swapped_for_a_link_gets_nothing_else_erased(site: Site, crm: LoopbackCrm, tmp_path: Path) -> None:
    call = doomed()
    inner = site.recordings / "today"
    inner.mkdir()
    with at_work(site) as daemon:
        drop(site, call)
        delivered(daemon, site)
        (site.recordings / call.recording_name).rename(inner / call.recording_name)
        eventually(lambda: len(site.rows("SELECT 1 FROM folder WHERE path = 'today' OR path = x'746f646179'")), "seen")
    elsewhere = tmp_path / "elsewhere"
    inner.rename(elsewhere)
    inner.symlink_to(elsewhere)
    site.command("erase", "--number", call.phone, "--yes")
    assert (elsewhere / call.recording_name).exists()


def test_a_hold_beats_erasure_and_retention_and_covers_the_whole_call(site: Site, crm: LoopbackCrm) -> None:
    call = FieldCall(1, lead=True)
    rules = "[{after: 1d, remove: [recordings, conversations, leads]}]"
    with at_work(site) as daemon:
        call.drop(site)
        delivered(daemon, site)
    site.environ["CALLSPOOL_RETENTION__RULES"] = rules
    _age(site, days=3)
    assert site.ask("retention")["due"] == 3
    assert len(site.ask("hold", "add", call.recording_name, "--why", "court")["held"]) == 3
    assert [row["why"] for row in site.ask("hold", "list")] == ["court"] * 3
    assert site.ask("retention")["due"] == 0
    refused = site.command("erase", "--number", call.phone, "--yes")
    assert refused.returncode == 2
    assert "-> callspool hold list; callspool hold remove" in refused.stderr
    assert len(site.ask("hold", "remove", call.transcript_name)["released"]) == 3
    assert site.ask("retention")["due"] == 3


def test_retention_removes_what_was_delivered_long_ago_and_nothing_else(site: Site, crm: LoopbackCrm) -> None:
    old, parked = FieldCall(1), FieldCall(2)
    with at_work(site) as daemon:
        old.drop(site)
        delivered(daemon, site)
        crm.misbehave("413", on="call")
        parked.drop(site)
        daemon.wait_for("job.parked")
    _age(site, days=100)
    site.environ["CALLSPOOL_RETENTION__RULES"] = "[{after: 90d, remove: [recordings]}]"
    assert site.ask("retention", "--run", "--dry-run")["due"] == 1
    assert (site.recordings / old.recording_name).exists()
    with at_work(site) as daemon:
        site.ask("retention", "--run")
        daemon.wait_for("retention.applied")
        eventually(lambda: not (site.recordings / old.recording_name).exists(), "it is removed")
    assert (site.conversations / old.transcript_name).exists()
    assert (site.recordings / parked.recording_name).exists()
    assert site.command("config", "check", CALLSPOOL_RETENTION__RULES="[{after: 1h, remove: [leads]}]").returncode == 78


def test_a_rule_for_what_is_stored_counts_from_the_proof_and_asks_for_the_whole_call(
    site: Site, crm: LoopbackCrm
) -> None:
    with at_work(site) as daemon:
        FieldCall(1).drop(site)
        delivered(daemon, site)
        sidecar = "SELECT 1 FROM copy WHERE role = 'sidecar' AND state = 'verified'"
        eventually(lambda: site.rows(sidecar) and not site.rows(OPEN), "all is in the store")
    site.environ["CALLSPOOL_RETENTION__RULES"] = "[{after: 90d, state: stored, remove: [recordings, conversations]}]"
    _age(site, days=100)
    assert site.ask("retention")["due"] == 0  # delivered long ago, proved today
    _change(site, "UPDATE copy SET verified_us = verified_us - 100 * 86400000000")
    assert site.ask("retention")["due"] == 2
    _change(site, "UPDATE copy SET lost_us = verified_us + 1 WHERE role = 'audio'")
    assert site.ask("retention")["due"] == 0
    _change(site, "UPDATE copy SET lost_us = NULL, state = iif(role = 'audio', 'intended', state)")
    assert site.ask("retention")["due"] == 0
    site.environ["CALLSPOOL_RETENTION__RULES"] = "[{after: 90d, remove: [recordings, conversations]}]"
    assert site.ask("retention")["due"] == 2


def _age(site: Site, days: int) -> None:
    """As if every call had been delivered so long ago."""
    _change(site, f"UPDATE call SET delivered_us = delivered_us - {days} * 86400000000")


def _change(site: Site, sql: str) -> None:
    """Change the ledger of a daemon that is stopped."""
    with closing(sqlite3.connect(site.folder / "state" / "ledger.db", isolation_level=None)) as ledger:
        ledger.execute(sql)


@slow
def test_a_compressed_copy_that_nobody_has_taken_in_goes_with_its_recording(site: Site, crm: LoopbackCrm) -> None:
    call = doomed()
    settings = {"CALLSPOOL_COMPRESS__TIERS": "[{after: 0s, bitrate: 32k}]", "CALLSPOOL_COMPRESS__WORKERS": "1"}
    with site.daemon(CALLSPOOL_TRACE_KILL="compress.name.performed:1", **settings) as daemon:
        daemon.wait_for("daemon.started")
        spoken = audio.talk([(0.4, 1.9)], 3, rate=audio.RATE, noise_db=-60)
        recording = site.recordings / call.recording_name.replace(".ogg", ".wav")
        audio.encode(recording, spoken, container="wav", codec="pcm_s16le")
        daemon.wait_for("recording.unmatched")
        site.command("compress")
        assert daemon.ended() == -signal.SIGKILL
    copy = recording.with_suffix(".opus")
    voice = copy.read_bytes()
    left_by_an_encoder = site.recordings / ".callspool-r1.opus.part"
    left_by_an_encoder.write_bytes(voice)

    told = site.ask("erase", "--number", call.phone, "--dry-run")
    assert [str(copy) in told["files"], str(left_by_an_encoder) in told["files"]] == [True, True]
    assert copy.exists()
    assert site.ask("erase", "--number", call.phone, "--yes")["words_left"] == 0
    assert list(site.recordings.iterdir()) == []
    assert found(site.folder, [call.phone.lstrip("+")]) == []
    with at_work(site) as daemon:
        copy.with_name("from-a-backup.opus").write_bytes(voice)
        eventually(lambda: site.rows("SELECT 1 FROM file WHERE state = 'attention'"), "it is not taken in again")


def test_what_came_from_an_older_collection_is_erased_with_its_call_and_also_alone(
    site: Site, crm: LoopbackCrm
) -> None:
    call, other = doomed(), FieldCall(2)
    entries = [
        {
            "conversation_id": f"conv-{name}",
            "timestamp": "2025-01-01T00:00:00+00:00",
            "total": {"duration_seconds": 5, "size_mb": 0.1},
            "mixed": {"filepath": f"old/{phone.lstrip('+')}-{name}.wav"},
            "caller": phone,
        }
        for name, phone in (("doomed", call.phone), ("other", other.phone), ("alone", "+12025550177"))
    ]
    older = site.folder / "older.json"
    older.write_text(json.dumps(entries))
    with at_work(site, CALLSPOOL_COLLECT__METADATA="collected.json") as daemon:
        site.ask("import", str(older))
        older.unlink()
        call.drop(site)
        delivered(daemon, site)
        eventually((site.folder / "collected.json").exists, "the metadata")
        told = site.ask("erase", "--number", call.phone, "--dry-run")
        assert (told["items"], told["rows"] > 0) == (3, True)
        assert site.ask("erase", "--number", call.phone, "--yes")["words_left"] == 0
        assert found(site.folder, [*words(call), "conv-doomed"]) == []
        assert site.ask("erase", "--number", "+12025550177", "--yes")["items"] == 0
    rows = site.rows("SELECT conversation_id FROM collect_import")
    assert [row[0] for row in rows] == ["conv-other"]
    assert found(site.folder / "state", ["12025550177", "conv-alone"]) == []

"""What comes late, in parts, or cannot be told apart."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from handlers.demo.crm import LoopbackCrm
from tests.flow.steps import at_work, delivered, failures
from tests.support.audio import RATE, decoded_samples, make_wav
from tests.support.calls import FieldCall, put_json
from tests.support.process import DaemonProcess, Site, eventually

CALL = FieldCall(document={"lead_generated": True})
SHORT = {"CALLSPOOL_MATCH__WAIT": "500ms", "CALLSPOOL_MATCH__LEAD_WAIT": "300ms"}
"""What is late is so after half a second."""


def bodies(crm: LoopbackCrm) -> list[dict[str, Any]]:
    """Every accepted post of the one call there is."""
    ((_, call),) = crm.calls.items()
    return call.bodies


def drop_late(site: Site, what: str) -> Path:
    return CALL.drop_recording(site) if what == "recording" else CALL.drop_lead(site)


def first_without(site: Site, daemon: DaemonProcess, what: str) -> None:
    """Deliver the call without its recording or its lead."""
    if what == "lead":
        CALL.drop_recording(site)
    CALL.drop_transcript(site)
    delivered(daemon, site)


def has(body: dict[str, Any], what: str) -> bool:
    return "recordingUrl" in body["callDetails"] if what == "recording" else "lead" in body


@pytest.mark.parametrize("what", ["recording", "lead"])
def test_what_comes_late_is_sent_under_the_same_id_where_the_crm_takes_updates(
    site: Site, crm: LoopbackCrm, what: str
) -> None:
    with at_work(site, CALLSPOOL_CRM__UPDATES="repost", **SHORT) as daemon:
        first_without(site, daemon, what)
        drop_late(site, what)
        delivered(daemon, site, 2)
    assert [has(body, what) for body in bodies(crm)] == [False, True]
    assert crm.records == 1


@pytest.mark.parametrize("what", ["recording", "lead"])
def test_what_comes_late_waits_for_a_person_where_it_does_not(site: Site, crm: LoopbackCrm, what: str) -> None:
    with at_work(site, CALLSPOOL_CRM__UPDATES="off", **SHORT) as daemon:
        first_without(site, daemon, what)
        sent = len(crm.requests)
        drop_late(site, what)
        parked = daemon.wait_for("job.parked")
        entry = failures(site)[parked["call_id"]]
        assert entry["reason"] == f"its {what} came after the call was sent"
        assert entry["fix"] == f"callspool retry {parked['call_id']}"
        assert len(crm.requests) == sent
        assert site.command(*entry["fix"].split()[1:]).returncode == 0
        delivered(daemon, site, 2)
        assert failures(site) == {}
    assert [has(body, what) for body in bodies(crm)] == [False, True]
    assert crm.records == 1


@pytest.mark.parametrize("ends", ["killed", "stopped"])
def test_a_call_whose_wait_ran_out_while_the_daemon_was_down_goes_with_what_came_meanwhile(
    site: Site, crm: LoopbackCrm, ends: str
) -> None:
    waits = {"CALLSPOOL_MATCH__WAIT": "2s", "CALLSPOOL_MATCH__LEAD_WAIT": "2s"}
    with site.daemon(**waits) as daemon:
        daemon.wait_for("daemon.started")
        CALL.drop_transcript(site)
        eventually(lambda: site.rows("SELECT 1 FROM job WHERE kind = 'match' AND state = 'waiting'"), "the call waits")
        daemon.kill() if ends == "killed" else daemon.stop()
    drop_late(site, "recording")
    drop_late(site, "lead")
    over = "SELECT 1 FROM verdict WHERE recording = 'waiting' AND max(recording_until_us, lead_until_us) < ?"
    eventually(lambda: site.rows(over, (time.time_ns() // 1000,)), "both waits are over")
    with at_work(site, **waits) as daemon:
        delivered(daemon, site)
    assert [(has(body, "recording"), has(body, "lead")) for body in bodies(crm)] == [(True, True)]


def test_a_recording_without_a_call_is_kept_and_listed(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site, **SHORT) as daemon:
        path = CALL.drop_recording(site)
        daemon.wait_for("recording.understood")
        eventually(lambda: failures(site), "it is listed")
        (subject,) = failures(site)
        assert site.ask("explain", subject)["files"][0]["path"] == path.name
    assert crm.requests == []
    assert path.exists()


UUID = "e587124c-02b6-49c5-b3bf-2610015da46a"


def test_two_sides_of_one_conversation_are_one_call(site: Site, crm: LoopbackCrm) -> None:
    call = FieldCall(document={"metadata": {"call_id": UUID}})
    with at_work(site) as daemon:
        for side in ("agent", "customer"):
            part = site.folder / f"{side}.part"
            make_wav(part, 3 * RATE)
            part.rename(site.recordings / f"{UUID}_{side}.wav")
        call.drop_transcript(site)
        delivered(daemon, site)
        assert len(site.ask("explain", f"recordings/{UUID}_customer.wav")["match"]["recordings"]) == 2
    urls = {upload.original_name: upload.url for upload in crm.uploads}
    assert set(urls) == {f"{UUID}_agent.wav", f"{UUID}_customer.wav"}
    (body,) = bodies(crm)
    assert body["callDetails"]["recordingUrl"] == urls[f"{UUID}_agent.wav"]
    assert body["callDetails"]["recordingDuration"] == 3
    fetched = site.folder / "fetched"
    told = site.ask("storage", "fetch", call.session_id, "--to", str(fetched), "--stereo")[-1]
    assert told["media_s"] == pytest.approx(3.0 + abs(told["customer_later_s"]), abs=1e-4)
    assert told["file"] == str(fetched / f"{call.session_id}_stereo.opus")
    assert told["size"] == os.path.getsize(told["file"])
    assert decoded_samples(Path(told["file"])) == round(told["media_s"] * RATE)
    assert sorted(path.suffix for path in fetched.iterdir()) == [".json"] * 4 + [".opus", ".txt"] + [".wav"] * 2


def drop_twins(site: Site, daemon: DaemonProcess) -> None:
    """Two calls at the very same time, and two recordings that fit both alike and are there before the calls' wait of
    half a second, which is shorter than a busy machine needs to measure them."""
    CALL.drop_recording(site)
    twin = site.recordings / CALL.recording_name.replace("0100", "0177")
    part = site.folder / "part"
    part.write_bytes((site.recordings / CALL.recording_name).read_bytes())
    part.rename(twin)
    eventually(lambda: sum(line["event"] == "recording.understood" for line in daemon.lines) == 2, "both are measured")
    for mark in ("a", "b"):
        document = {**CALL.transcript(), "session_id": f"session_20251029_064824_{mark}", "lead_generated": False}
        put_json(site.conversations / f"twin-{mark}.json", document)


def questions(site: Site) -> set[str]:
    """Calls that wait for a person. Their candidates are listed beside them once their own wait is over."""
    return {subject for subject in failures(site) if subject.startswith("c")}


def test_what_evidence_cannot_tell_apart_is_held_until_a_person_says(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site, CALLSPOOL_MATCH__HELD="hold", **SHORT) as daemon:
        drop_twins(site, daemon)
        eventually(lambda: len(questions(site)) == 2, "both are held")
        assert crm.requests == []
        (crowd,) = site.ask("match", "list")
        first, second = crowd["calls"]
        assert first["recording"] == second["recording"] == "ambiguous"
        assert sorted(first["candidates"]) == sorted(second["candidates"])
        ours, theirs = sorted(first["candidates"])
        listed = failures(site)[first["call_id"]]["fix"]
        assert f"callspool match accept {first['call_id']} " in listed
        assert site.command("match", "accept", first["call_id"], ours, "--why", "I heard it").returncode == 0
        delivered(daemon, site, 2)  # with one of them gone the other is beyond doubt
        story = {subject: site.ask("match", "show", subject) for subject in (first["call_id"], second["call_id"])}
        assert [entry["recording"]["partner"] for entry in story.values()] == [ours, theirs]
        assert site.ask("match", "list") == []
        assert failures(site) == {}
    assert (len(crm.uploads), crm.records) == (2, 2)


def test_what_a_person_rejects_is_never_paired(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site, CALLSPOOL_MATCH__HELD="hold", **SHORT) as daemon:
        drop_twins(site, daemon)
        eventually(lambda: len(questions(site)) == 2, "both are held")
        first, second = site.ask("match", "list")[0]["calls"]
        refused, other = sorted(first["candidates"])
        assert site.command("match", "reject", first["call_id"], refused).returncode == 0
        delivered(daemon, site, 2)  # the other one is its own, and then the refused one the other call's
        story = {subject: site.ask("match", "show", subject) for subject in (first["call_id"], second["call_id"])}
        assert [entry["recording"]["partner"] for entry in story.values()] == [other, refused]
        assert failures(site) == {}
    assert (len(crm.uploads), crm.records) == (2, 2)

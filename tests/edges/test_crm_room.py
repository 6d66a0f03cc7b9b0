"""The room at work in the machine: a real ledger, the real runner, the CRM on loopback."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.catalogue import Settled, Stat
from daemon.contract import Event, JobSpec, Machine, Room
from daemon.house import SOURCES
from daemon.ledger.ledger import Ledger
from daemon.ledger.paths import StatePaths
from daemon.ledger.reading import LedgerContents, Readers
from daemon.run.runner import Runner
from handlers.crm.room import room
from handlers.demo.crm import LoopbackCrm
from handlers.records import ConversationKnown, Judged, Paired, RecordingKnown, call
from tests.support.crm import NAME, crm_settings
from tests.support.process import eventually
from tests.support.records import NOON, conversation, recording
from tests.support.watching import RealClock

LANES = {"recording": "none", "conversation": "none", "call": "crm"}
TRANSCRIPT = "transcript_session_2025-10-29T06-49-07.351452.json"


class House:
    """One ready call with its recording, and the room that delivers it."""

    def __init__(self, folder: Path, crm: LoopbackCrm, **settings: Any) -> None:
        self.folder, self.clock, self.events = folder, RealClock(), list[Event]()
        paths = StatePaths(folder / "state")
        readers = Readers(paths.ledger, self.clock)
        self.ledger = Ledger(
            paths,
            self.clock,
            readers=readers,
            sources=SOURCES,
            lanes=LANES,
            on_event=self.events.append,
        )
        self.room: Room = room(
            crm_settings(crm, **({"retry": (timedelta(milliseconds=50),)} | settings)),
            str(folder / "processed_uploads"),
            None,
            Machine(LedgerContents(readers), self.clock, readers.view),
        )
        self.call_id = self._know()
        self.runner = Runner(self.ledger, [self.room], self.clock, on_event=self.events.append, on_fatal=print)
        self.runner.start()

    def _know(self) -> int:
        recorded = self._settle("recording", NAME, b"OggS" * 10_000)
        spoken = self._settle("conversation", TRANSCRIPT, b'{"session_id": "s"}')
        heard = replace(recording(recorded, name=NAME), size=40_000)
        facts = (
            RecordingKnown(heard),
            ConversationKnown(conversation(spoken, name=TRANSCRIPT)),
            Paired(spoken, heard.group, 1.0, ()),
            Judged(spoken, "matched", NOON, "none", NOON, True, {}),
        )
        self.ledger.write("known", lambda tx: [fact.write(tx) for fact in facts])
        return spoken

    def _settle(self, role: str, name: str, content: bytes) -> int:
        folder = self.folder / f"{role}s"
        folder.mkdir()
        (folder / name).write_bytes(content)
        found, sha256 = (folder / name).stat(), hashlib.sha256(content).hexdigest()
        root = self.ledger.files.register_root(role, os.fsencode(folder), 0)
        stat = Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        settled = Settled(root.id, b"", os.fsencode(name), stat, sha256, role, role, "", "test")
        self.ledger.files.settle(settled).result()
        with self.ledger.view() as view:
            item: int = view.rows("SELECT id FROM item WHERE sha256 = ?", (sha256,))[0]["id"]
        return item

    def deliver(self) -> None:
        """Wake the call's job and wait until it is done."""
        self.ledger.add_jobs([JobSpec("call", str(self.call_id))])
        eventually(lambda: self.state() in ("done", "parked"), "the call to be done or parked")

    def state(self) -> str:
        """Where the call's job stands."""
        with self.ledger.view() as view:
            return str(view.rows("SELECT state FROM job WHERE kind = 'call'")[0]["state"])

    def marker(self) -> dict[str, Any]:
        """The marker that other tools find."""
        path = self.folder / "processed_uploads" / f"{TRANSCRIPT}.uploaded"
        said: dict[str, Any] = json.loads(path.read_bytes())
        return said

    def close(self) -> None:
        """Stop everything."""
        self.runner.stop(5)
        self.room.close()
        self.ledger.close()


@pytest.fixture
def crm() -> Iterator[LoopbackCrm]:
    with LoopbackCrm() as crm:
        yield crm


@pytest.fixture
def house(tmp_path: Path, crm: LoopbackCrm) -> Iterator[House]:
    made = House(tmp_path, crm)
    yield made
    made.close()


def test_a_call_is_delivered_recorded_and_marked(house: House, crm: LoopbackCrm) -> None:
    house.deliver()
    [delivered] = crm.calls.values()
    assert delivered.bodies[0]["callDetails"]["recordingUrl"] == crm.uploads[0].url
    with house.ledger.view() as view:
        known = call(view, house.call_id)
    assert known is not None
    assert known.delivered_at is not None
    assert known.recording_url == crm.uploads[0].url
    marker = house.marker()
    assert (marker["recording_url"], marker["upload_attempts"]) == (crm.uploads[0].url, 1)
    assert marker["original_path"] == f"conversations/{TRANSCRIPT}"
    told = {event.name: event.fields for event in house.events}
    house.deliver()  # woken again, there is nothing left to do
    assert len(crm.requests) == 2
    assert told["crm.uploaded"]["call_id"] == told["crm.accepted"]["call_id"] == f"c{house.call_id}"
    assert "CALL-" not in repr(house.events)


def test_accepted_then_dropped_is_sent_again_under_the_same_key_and_becomes_no_double(
    house: House, crm: LoopbackCrm
) -> None:
    crm.misbehave("drop", on="upload")
    crm.misbehave("drop", on="call")
    house.deliver()
    assert (crm.records, len(crm.uploads)) == (1, 1)
    assert len({request.idempotency_key for request in crm.requests}) == 2
    assert house.marker()["upload_attempts"] == 2


def test_when_call_data_fails_the_recording_is_not_uploaded_again(house: House, crm: LoopbackCrm) -> None:
    crm.misbehave("500", "503", "says_no", "html", on="call")
    house.deliver()
    assert [upload.posts for upload in crm.uploads] == [1]
    assert crm.records == 1


def test_refused_as_often_as_allowed_is_parked_and_delivered_when_told(house: House, crm: LoopbackCrm) -> None:
    crm.misbehave("says_no", on="call", times=3)
    house.deliver()
    assert house.state() == "parked"
    assert crm.records == 0


def test_a_call_in_doubt_is_held_for_a_person_where_the_operator_said_so(tmp_path: Path, crm: LoopbackCrm) -> None:
    crm.forgetful = True
    house = House(tmp_path, crm, in_doubt="hold")
    crm.misbehave("drop", on="call")
    house.deliver()
    assert (house.state(), crm.records) == ("parked", 1)
    house.close()


def test_a_forgetful_crm_that_can_be_asked_has_no_double(tmp_path: Path, crm: LoopbackCrm) -> None:
    crm.forgetful = True
    house = House(tmp_path, crm, lookup_url=crm.lookup_url)
    crm.misbehave("drop", on="call")
    crm.misbehave("500", on="lookup")
    house.deliver()
    assert (house.state(), crm.records) == ("done", 1)
    house.close()


def test_status_counts_and_explain_names_the_call_in_the_crm(house: House, crm: LoopbackCrm) -> None:
    assert house.room.status is not None
    assert house.room.explain is not None
    house.deliver()
    with house.ledger.view() as view:
        assert house.room.status(view) == {"delivered": 1, "under_way": 0, "delivered_before_us": 0, "adopted": 0}
        told = house.room.explain(view, f"c{house.call_id}")
        assert house.room.explain(view, TRANSCRIPT) == told
        assert house.room.explain(view, "c999") is None
    assert told is not None
    assert [told["crm_call_id"]] == list(crm.calls)


def test_doctor_reaches_the_crm_without_creating_anything(house: House, crm: LoopbackCrm) -> None:
    [check] = house.room.checks
    assert [finding.status for finding in check(None)] == ["ok", "ok"]
    crm.token = "s3cret"
    assert [(finding.status, finding.exit_code) for finding in check(None)] == [("fail", 21)] * 2
    crm.refuse()
    assert [(finding.status, finding.exit_code) for finding in check(None)] == [("fail", 20)] * 2
    assert (crm.uploads, crm.calls) == ([], {})

"""The demo's verdict finds what it is there to find: a double, a loss, a wrong partner, a wrong length."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from daemon.clock import SystemClock
from daemon.contract import Event
from handlers.demo.calls import Call, compose
from handlers.demo.chronicle import Cast, Chronicle
from handlers.demo.crm import LoopbackCrm
from handlers.demo.verdict import judge, taken_while_open

CALLS = compose(datetime(2025, 10, 29, 7, tzinfo=UTC))


def body(call: Call, url: str | None) -> dict[str, Any]:
    """The call data that a right delivery posts."""
    details: dict[str, Any] = {"callId": f"CALL-{call.number}"}
    if url is not None:
        details |= {
            "recordingUrl": url,
            "recordingSize": len(call.recording),
            "recordingDuration": int(call.seconds + 0.5),
        }
    lead = {"lead": json.loads(call.lead)} if call.lead else {}
    return {"callDetails": details, "transcription": json.loads(call.transcript), **lead}


class Scene:
    """A CRM and a chronicle, as a right delivery of every call leaves them."""

    def __init__(self, crm: LoopbackCrm) -> None:
        self.crm = crm
        self.chronicle = Chronicle(SystemClock(), Cast(CALLS), lambda _at, _event: None)

    def upload(self, call: Call) -> str:
        sha256 = hashlib.sha256(call.recording).hexdigest()
        answer = self.crm.accept_upload(call.recording_name, len(call.recording), sha256, f"u{call.number}", None)
        return str(answer.document["data"]["url"])

    def measure(self, call: Call, seconds: float) -> None:
        path = f"somewhere/{call.recording_name}"
        self.chronicle.add(Event("file.settled", {"item": call.number, "role": "recordings", "path": path}))
        self.chronicle.add(Event("recording.understood", {"item": f"r{call.number}", "duration_s": round(seconds, 3)}))

    def deliver(self, *calls: Call) -> None:
        for call in calls:
            url = self.upload(call) if call.recording else None
            if call.recording:
                self.measure(call, call.seconds)
            self.crm.accept_call(body(call, url), f"c{call.number}", None)

    def wrong(self) -> dict[int, tuple[str, ...]]:
        verdict = judge(CALLS, self.crm, self.chronicle)
        return {line.call.number: line.wrong for line in verdict.lines if line.wrong}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with LoopbackCrm() as crm:
        yield Scene(crm)


def test_every_call_once_and_right_is_good(scene: Scene) -> None:
    scene.deliver(*CALLS)
    assert judge(CALLS, scene.crm, scene.chronicle).good
    assert not scene.wrong()


def test_a_post_repeated_under_its_key_is_still_once(scene: Scene) -> None:
    scene.deliver(*CALLS)
    scene.crm.accept_call(scene.crm.calls["CALL-1"].bodies[0], "c1", None)
    verdict = judge(CALLS, scene.crm, scene.chronicle)
    assert verdict.good
    assert verdict.lines[0].posts == 2


def test_a_doubled_call_is_found(scene: Scene) -> None:
    scene.crm.forgetful = True
    scene.deliver(*CALLS)
    scene.crm.accept_call(scene.crm.calls["CALL-1"].bodies[0], "c1", None)
    assert scene.wrong() == {1: ("2 times in the CRM",)}


def test_one_call_under_two_ids_is_found(scene: Scene) -> None:
    scene.deliver(*CALLS)
    again = json.loads(json.dumps(scene.crm.calls["CALL-2"].bodies[0]))
    again["callDetails"]["callId"] = "CALL-2-1234"
    scene.crm.accept_call(again, "other", None)
    assert scene.wrong() == {2: ("2 times in the CRM",)}


def test_a_missing_call_is_found(scene: Scene) -> None:
    scene.deliver(*CALLS[:5])
    assert scene.wrong() == {6: ("not in the CRM",)}


def test_another_calls_recording_is_found(scene: Scene) -> None:
    scene.deliver(*CALLS[2:])
    first, second = (scene.upload(call) for call in CALLS[:2])
    for call, url in zip(CALLS[:2], (second, first), strict=True):
        scene.measure(call, call.seconds)
        scene.crm.accept_call(body(call, url), f"c{call.number}", None)
    assert scene.wrong() == {1: ("without its own recording",), 2: ("without its own recording",)}


def test_a_length_from_a_header_is_found(scene: Scene) -> None:
    scene.deliver(*CALLS[1:])
    url = scene.upload(CALLS[0])
    scene.measure(CALLS[0], CALLS[0].seconds + 0.0065)  # what forgetting the pre-skip makes of it
    scene.crm.accept_call(body(CALLS[0], url), "c1", None)
    assert scene.wrong() == {1: ("measured wrongly",)}


def test_a_lead_left_behind_is_found(scene: Scene) -> None:
    with_lead = next(call for call in CALLS if call.lead)
    scene.deliver(*(call for call in CALLS if call is not with_lead))
    url = scene.upload(with_lead)
    scene.measure(with_lead, with_lead.seconds)
    given = body(with_lead, url)
    del given["lead"]
    scene.crm.accept_call(given, "c", None)
    assert scene.wrong() == {with_lead.number: ("another lead",)}


def test_a_recording_stored_twice_is_found(scene: Scene) -> None:
    scene.crm.forgetful = True
    scene.deliver(*CALLS)
    scene.upload(CALLS[3])
    assert judge(CALLS, scene.crm, scene.chronicle).wrong == ("a recording stands twice in the CRM",)


def test_a_recording_taken_before_its_recorder_closed_it_is_found(scene: Scene) -> None:
    scene.measure(CALLS[1], CALLS[1].seconds)
    scene.chronicle.add(Event("demo.recording_closed", {"call": 2}))
    assert taken_while_open(CALLS[1], scene.chronicle)
    closed_first = Chronicle(SystemClock(), Cast(CALLS), lambda _at, _event: None)
    scene.chronicle = closed_first
    closed_first.add(Event("demo.recording_closed", {"call": 2}))
    scene.measure(CALLS[1], CALLS[1].seconds)
    assert not taken_while_open(CALLS[1], closed_first)

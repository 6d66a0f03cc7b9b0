"""What is decided about a call: job and ledger in, outcome out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.contract import Planned, Postponed, Rejected
from handlers.crm.handler import UNCONFIGURED
from handlers.model import Side
from handlers.records import (
    AllAdopted,
    CallIdFixed,
    ConversationKnown,
    Judged,
    LeadKnown,
    LeadPaired,
    OldMarker,
    Paired,
    RecordingKnown,
    call,
)
from handlers.settings import CrmSettings
from tests.support.crm import Desk, body_of, effects_of
from tests.support.records import NOON, at, conversation, lead, recording

SETTINGS: dict[str, Any] = {"upload_url": "https://crm.example/u", "call_data_url": "https://crm.example/c"}
NUMBER = "+918655066243"
CALL_ID = "CALL-20251029-120000-66243"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, CrmSettings(**SETTINGS))
    yield made
    made.records.close()


def judged(id_: int = 12, *, ready: bool = True) -> Judged:
    return Judged(id_, "alone", NOON, "none", NOON, ready, {})


def know_conversation(
    desk: Desk, id_: int = 12, *, ready: bool = True, replaces: int | None = None, **given: Any
) -> None:
    given.setdefault("number", NUMBER)
    desk.records.item(id_, "conversation", f"transcript-{id_}.json", replaces=replaces)
    desk.know(ConversationKnown(conversation(id_, **given)), judged(id_, ready=ready))


def know_recording(desk: Desk, id_: int = 13, *, call_of: int = 12, **given: Any) -> None:
    desk.records.item(id_, "recording", f"recording-{id_}.ogg")
    known = recording(id_, **given)
    desk.know(RecordingKnown(known), Paired(call_of, known.group, 1.0, ()))


def know_lead(desk: Desk, id_: int = 14, *, call_of: int = 12) -> None:
    desk.records.item(id_, "lead", f"lead-{id_}.json")
    desk.know(LeadKnown(lead(id_)), LeadPaired(call_of, id_, 1.0, ()))


def kinds(outcome: Any) -> list[str]:
    return [effect.type for effect in effects_of(outcome)]


# ------------------------------------------------------------------------------------------------- sending


def test_a_whole_call_is_uploaded_posted_and_marked_in_that_order(desk: Desk, tmp_path: Path) -> None:
    know_conversation(desk)
    know_recording(desk)
    know_lead(desk)
    outcome = desk.decide(12)
    upload, post, marker = effects_of(outcome)
    assert kinds(outcome) == ["crm.upload", "crm.call", "marker.write"]
    assert (upload.dest, post.dest, marker.dest) == ("crm", "crm", "disk")
    assert upload.identity == f"{13:064d}:recording-13.ogg"
    assert post.identity == CALL_ID
    assert marker.identity == str(tmp_path / "markers" / "transcript-12.json.uploaded")
    assert body_of(outcome)["lead"] == lead(14).document
    payload: Any = marker.payload
    assert payload["original_path"] == "conversations/conversations/transcript-12.json"


def test_a_call_whose_recording_is_missing_for_good_goes_without(desk: Desk) -> None:
    know_conversation(desk)
    outcome = desk.decide(12)
    assert kinds(outcome) == ["crm.call", "marker.write"]
    assert not {"recordingDuration", "recordingSize"} & set(body_of(outcome)["callDetails"])


def test_both_sides_are_uploaded_and_the_agents_is_named(desk: Desk) -> None:
    know_conversation(desk)
    know_recording(desk, 13, group="pair", side=Side.CUSTOMER)
    know_recording(desk, 15, group="pair", side=Side.AGENT)
    outcome = desk.decide(12)
    assert kinds(outcome) == ["crm.upload", "crm.upload", "crm.call", "marker.write"]
    payload: Any = effects_of(outcome)[2].payload
    assert payload["upload"] == effects_of(outcome)[0].identity == f"{15:064d}:recording-15.ogg"


def test_a_plan_made_again_has_the_very_same_effects(desk: Desk) -> None:
    know_conversation(desk)
    know_recording(desk)
    first = desk.decide(12)
    desk.records.clock.moment = at(3600)
    assert [e.key for e in effects_of(desk.decide(12))] == [e.key for e in effects_of(first)]


@pytest.mark.parametrize("other", ["https://files.example/u", "http://crm.example/u", "https://crm.example:8443/u"])
def test_two_origins_are_two_destinations(tmp_path: Path, other: str) -> None:
    desk = Desk(tmp_path, CrmSettings(**(SETTINGS | {"upload_url": other})))
    know_conversation(desk)
    know_recording(desk)
    assert [effect.dest for effect in effects_of(desk.decide(12))] == ["crm.upload", "crm.call", "disk"]
    desk.records.close()


# ------------------------------------------------------------------------------------------------- not yet, or never


def test_nothing_is_sent_before_the_matcher_is_done(desk: Desk) -> None:
    know_conversation(desk, ready=False)
    assert desk.decide(12) == Planned()


def test_without_a_crm_the_call_waits_visibly(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CrmSettings(upload_url="https://crm.example/u"))
    know_conversation(desk)
    outcome = desk.decide(12)
    assert isinstance(outcome, Postponed)
    assert outcome.reason == UNCONFIGURED
    assert outcome.until >= NOON + timedelta(minutes=30)
    with desk.records.view() as read:
        assert call(read, 12) is None  # its id is not fixed before it can be sent
    desk.records.close()


# ------------------------------------------------------------------------------------------------- the id


def test_the_id_never_changes_whatever_is_learned(desk: Desk) -> None:
    know_conversation(desk, number=None)
    before = body_of(desk.decide(12))["callDetails"]["callId"]
    know_recording(desk, number=NUMBER)
    after = body_of(desk.decide(12))
    assert after["callDetails"]["callId"] == before
    assert not before.endswith("66243")
    assert after["caller"] == {"phoneNumber": NUMBER}


def test_two_calls_of_one_second_and_one_number_have_two_ids(desk: Desk) -> None:
    know_conversation(desk, 12)
    know_conversation(desk, 20)
    ids = [body_of(desk.decide(id_))["callDetails"]["callId"] for id_ in (12, 20)]
    assert ids == [CALL_ID, f"{CALL_ID}-{int(f'{20:064d}', 16) % 10_000:04d}"]


def test_the_start_is_the_recordings_where_the_transcript_has_none(desk: Desk) -> None:
    know_conversation(desk, start=None)
    know_recording(desk, start=90.0)
    assert body_of(desk.decide(12))["callDetails"]["callId"] == "CALL-20251029-120130-66243"


# ------------------------------------------------------------------------------------------------- late


def test_a_call_that_was_delivered_is_not_sent_again(desk: Desk) -> None:
    know_conversation(desk)
    know_recording(desk)
    desk.accept(desk.decide(12))
    assert kinds(desk.decide(12)) == kinds(desk.decide(12, told=True)) == ["marker.write"]


def test_a_marker_still_missing_is_written_from_what_the_ledger_knows(desk: Desk) -> None:
    know_conversation(desk)
    know_lead(desk)
    desk.accept(desk.decide(12))
    [marker] = effects_of(desk.decide(12))
    payload: Any = marker.payload
    assert payload["lead"] is True
    assert payload["accepted"] == {"accepted_at": "2025-10-29T12:00:00.000Z", "url": None, "attempts": 1}
    assert [effect.key for effect in effects_of(desk.decide(12))] == [marker.key]


def test_what_comes_late_waits_for_a_person(desk: Desk) -> None:
    know_conversation(desk)
    desk.accept(desk.decide(12))
    know_recording(desk)
    assert desk.decide(12) == Rejected("its recording came after the call was sent", fix="callspool retry c12")
    know_lead(desk)
    outcome = desk.decide(12)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "its recording and lead came after the call was sent"


@pytest.mark.parametrize(("updates", "told"), [("repost", False), ("off", True)])
def test_what_comes_late_is_sent_under_the_same_id_when_that_is_known_to_be_safe_or_told(
    tmp_path: Path, updates: str, told: bool
) -> None:
    desk = Desk(tmp_path, CrmSettings(**(SETTINGS | {"updates": updates})))
    know_conversation(desk)
    first = desk.decide(12)
    desk.accept(first)
    know_recording(desk)
    again = desk.decide(12, told=told)
    assert kinds(again) == ["crm.upload", "crm.call", "marker.write"]
    assert body_of(again)["callDetails"]["callId"] == body_of(first)["callDetails"]["callId"]
    desk.accept(again)
    assert kinds(desk.decide(12)) == ["marker.write"]
    desk.records.close()


def test_a_newer_version_of_a_transcript_is_the_same_call(desk: Desk) -> None:
    know_conversation(desk)
    desk.decide(12)
    know_conversation(desk, 20, replaces=12)
    assert desk.decide(12) == Planned()
    outcome = desk.decide(20)
    assert body_of(outcome)["callDetails"]["callId"] == CALL_ID
    desk.accept(outcome)
    assert kinds(desk.decide(20)) == ["marker.write"]


def test_a_newer_version_after_delivery_waits_for_a_person_once(desk: Desk) -> None:
    know_conversation(desk)
    desk.accept(desk.decide(12))
    know_conversation(desk, 20, replaces=12)
    outcome = desk.decide(20)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "its newer transcript came after the call was sent"
    told = desk.decide(20, told=True)
    assert body_of(told)["callDetails"]["callId"] == CALL_ID
    desk.accept(told)
    assert kinds(desk.decide(20)) == ["marker.write"]


# ------------------------------------------------------------------------------------------------- old markers


def test_a_marker_of_the_system_before_speaks_for_the_call(desk: Desk) -> None:
    know_conversation(desk)
    desk.know(OldMarker("transcript-12.json", True, None, {"uploaded_at": "2025-10-29T12:30:15.123Z"}))
    outcome = desk.decide(12)
    assert isinstance(outcome, Planned)
    assert outcome.effects == ()
    assert [event.name for event in outcome.events] == ["call.spoken_for"]
    know_recording(desk)
    assert desk.decide(12) == Planned()
    with desk.records.view() as read:
        known = call(read, 12)
    assert known is not None
    assert known.spoken_for == "marker"


def test_what_a_person_adopted_is_never_sent_also_not_when_something_comes_late(desk: Desk) -> None:
    know_conversation(desk)
    desk.know(AllAdopted())
    assert desk.decide(12) == Planned()
    know_recording(desk)
    assert desk.decide(12) == Planned()


def test_a_marker_with_a_url_only_goes_on_from_step_two(desk: Desk) -> None:
    know_conversation(desk)
    know_recording(desk)
    desk.know(OldMarker("transcript-12.json", False, "https://crm.example/1.ogg", {}))
    for _ in range(2):  # and does so again when it is planned again
        outcome = desk.decide(12)
        assert kinds(outcome) == ["crm.call", "marker.write"]
        payload: Any = effects_of(outcome)[0].payload
        assert (payload["upload"], payload["url"]) == (None, "https://crm.example/1.ogg")


def test_an_id_that_another_call_took_meanwhile_is_an_error_of_the_ledger_and_no_double(desk: Desk) -> None:
    know_conversation(desk, 12)
    know_conversation(desk, 20)
    desk.decide(12)
    with pytest.raises(sqlite3.IntegrityError):
        desk.know(CallIdFixed(20, CALL_ID, NOON))

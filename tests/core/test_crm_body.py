"""The call data: formats, section 4, to the letter."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.crm.body import Campaign, call_body, caller_number, timestamp, whole_seconds, with_url
from handlers.model import AudioInfo, Conversation, Lead, Recording, Side, TimeSource
from tests.support import records

START = datetime(2025, 10, 29, 12, 15, 30, 123_000, UTC)
END = datetime(2025, 10, 29, 12, 16, 5, 456_000, UTC)
NUMBER = "+918655066243"
CAMPAIGN = Campaign("campaign", "agent", "client")
DOCUMENT: dict[str, Any] = {"session_id": "s", "conversation_items": [], "unknown": {"kept": [1, None, "é"]}}


def conversation(**changed: Any) -> Conversation:
    made = Conversation(12, "t.json", DOCUMENT, "s", START, TimeSource.FIELD, END, TimeSource.FIELD)
    return replace(made, **changed)


def recording(seconds: float = 35.4, *, side: Side = Side.MIXED, size: int = 1_406_083, **changed: Any) -> Recording:
    audio = AudioInfo("ogg", "opus", 48_000, 1, seconds, seconds)
    made = Recording(13, "r.ogg", "r13", side, size, audio, START, TimeSource.NAME, number=NUMBER)
    return replace(made, **changed)


def body(
    conversation: Conversation, recordings: tuple[Recording, ...] = (), lead: Lead | None = None
) -> dict[str, Any]:
    return call_body(CAMPAIGN, "CALL-20251029-121530-66243", START, conversation, recordings, lead)


def test_the_field_example_comes_out_to_the_letter() -> None:
    lead = records.lead(14)
    made = with_url(body(conversation(), (recording(),), lead), "http://crm.example/1.ogg")
    assert made == {
        "campaignId": "campaign",
        "voiceAgentId": "agent",
        "client": "client",
        "callDetails": {
            "callId": "CALL-20251029-121530-66243",
            "direction": "inbound",
            "startTime": "2025-10-29T12:15:30.123Z",
            "endTime": "2025-10-29T12:16:05.456Z",
            "duration": 35,
            "status": "completed",
            "callerNumber": NUMBER,
            "recordingUrl": "http://crm.example/1.ogg",
            "recordingDuration": 35,
            "recordingSize": 1_406_083,
        },
        "caller": {"phoneNumber": NUMBER},
        "transcription": DOCUMENT,
        "lead": lead.document,
    }


def test_what_is_not_known_is_left_out() -> None:
    made = call_body(Campaign(None, None, None), "CALL-1", START, conversation(), (), None)
    assert set(made) == {"callDetails", "transcription"}
    assert set(made["callDetails"]) == {"callId", "direction", "startTime", "endTime", "duration", "status"}


def test_the_whole_transcript_is_passed_on_with_fields_nobody_knows() -> None:
    assert body(conversation())["transcription"] is DOCUMENT


def test_two_sides_name_the_agents_file_and_the_longer_ones_length() -> None:
    sides = (recording(41.0, side=Side.CUSTOMER, size=7), recording(35.0, side=Side.AGENT, size=5))
    details = body(conversation(), sides)["callDetails"]
    assert (details["recordingSize"], details["recordingDuration"]) == (5, 41)


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (None, "inbound"),
        ({}, "inbound"),
        ({"direction": "outbound"}, "outbound"),
        ({"direction": " Outgoing "}, "outbound"),
        ({"direction": "incoming"}, "inbound"),
        ({"direction": 7}, "inbound"),
        ("outbound", "inbound"),
    ],
)
def test_direction_is_inbound_unless_metadata_says_otherwise(said: Any, sent: str) -> None:
    assert body(conversation(document={"metadata": said}))["callDetails"]["direction"] == sent


def test_without_an_end_the_recordings_end_is_the_calls() -> None:
    details = body(conversation(end_at=None), (recording(61.5),))["callDetails"]
    assert (details["endTime"], details["duration"]) == ("2025-10-29T12:16:31.623Z", 62)


def test_an_end_before_the_start_is_no_evidence() -> None:
    early = conversation(end_at=START - timedelta(hours=6))
    assert body(early, (recording(61.5),))["callDetails"]["duration"] == 62
    assert "endTime" not in body(early)["callDetails"]


def test_the_transcripts_own_duration_counts_when_nothing_else_tells_the_end() -> None:
    told = conversation(end_at=None, document={"duration_seconds": 35.5})
    assert body(told)["callDetails"]["duration"] == 36
    for nonsense in ("35", -1, True, 1e12, None):
        assert "duration" not in body(conversation(end_at=None, document={"duration_seconds": nonsense}))["callDetails"]


def test_the_number_in_the_recordings_name_is_trusted_most_and_the_leads_least() -> None:
    named, told, said = "+15550100", "+15550101", "+15550102"
    call, lead = conversation(number=told), records.lead(14, number=said)
    assert caller_number((recording(number=named),), call, lead) == named
    assert caller_number((recording(number=None),), call, lead) == told
    assert caller_number((), conversation(), lead) == said
    assert caller_number((), conversation(), None) is None


def test_a_number_that_is_not_e164_is_unknown() -> None:
    made = body(conversation(number="8655066243"))
    assert "caller" not in made
    assert "callerNumber" not in made["callDetails"]


@given(st.floats(0, 1e6))
def test_seconds_are_rounded_half_up(seconds: float) -> None:
    assert seconds - 0.5 <= whole_seconds(seconds) <= seconds + 0.5
    assert whole_seconds(int(seconds) + 0.5) == int(seconds) + 1


def test_times_have_milliseconds_and_z() -> None:
    assert timestamp(START.replace(microsecond=0)) == "2025-10-29T12:15:30.000Z"
    assert timestamp(START.replace(microsecond=999_999)) == "2025-10-29T12:15:30.999Z"


def test_lone_surrogates_survive_as_json() -> None:
    text = json.dumps(body(conversation(document={"said": "\ud800"})))
    assert json.loads(text)["transcription"]["said"] == "\ud800"

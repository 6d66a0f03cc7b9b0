"""The demo's calls are what producers in the field write, and their lengths are known to the sample."""

from __future__ import annotations

import io
import json
import re
from array import array
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import soundfile

from handlers.demo import sound
from handlers.demo.calls import Call, compose
from handlers.demo.lines import lines

NOW = datetime(2025, 10, 29, 7, 0, 0, 250_000, tzinfo=UTC)


@pytest.fixture(scope="module")
def calls() -> tuple[Call, ...]:
    return compose(NOW)


def items(call: Call) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(call.transcript)["conversation_items"]
    return found


def loudness(audio: array[int], starts_s: float, ends_s: float) -> float:
    part = audio[round(starts_s * sound.RATE) : round(ends_s * sound.RATE)]
    return sum(map(abs, part)) / len(part)


def test_the_carried_speech_is_small_and_complete() -> None:
    assert sum(len(line.samples()) for line in lines().values()) / sound.RATE > 50
    for line in lines().values():
        assert len(line.samples()) > sound.RATE, line.name
        assert max(map(abs, line.samples())) > 8000, line.name


def test_a_recording_holds_exactly_the_samples_written(calls: tuple[Call, ...]) -> None:
    for call in calls[:-1]:
        assert len(sound.decode(io.BytesIO(call.recording))) == call.samples
        assert soundfile.info(io.BytesIO(call.recording)).frames == call.samples
        assert 20 < call.seconds < 35


def test_speech_lies_where_the_transcript_says(calls: tuple[Call, ...]) -> None:
    for call in calls[:-1]:
        audio = sound.decode(io.BytesIO(call.recording))
        assert loudness(audio, 0.0, call.turns[0].starts_s - 0.1) < 20
        for turn, item in zip(call.turns, items(call), strict=True):
            assert loudness(audio, turn.starts_s, turn.ends_s) > 400
            stamped = (datetime.fromisoformat(item["timestamp"]) - call.began_at).total_seconds()
            if item["role"] == "assistant":
                assert stamped == pytest.approx(turn.starts_s, abs=0.001)
            else:
                assert 0.1 < stamped - turn.ends_s < 1.0


def test_lines_are_stamped_in_the_order_they_are_spoken(calls: tuple[Call, ...]) -> None:
    for call in calls:
        stamps = [item["timestamp"] for item in items(call)]
        assert stamps == sorted(stamps)


def test_names_are_those_of_the_field(calls: tuple[Call, ...]) -> None:
    for call in calls:
        document = json.loads(call.transcript)
        number = f"_{call.caller[1:]}"
        assert re.fullmatch(r"\+120255501\d\d", call.caller)
        assert call.recording_name == f"number-{number}-{int(call.began_at.timestamp())}.ogg"
        saved = datetime.strptime(call.transcript_name, "transcript_session_%Y-%m-%dT%H-%M-%S.%f.json")
        assert saved.replace(tzinfo=UTC) > datetime.fromisoformat(document["end_time"])
        begun = datetime.strptime(document["session_id"][:23], "session_%Y%m%d_%H%M%S").replace(tzinfo=UTC)
        started = datetime.fromisoformat(document["start_time"])
        assert begun <= started < begun + timedelta(seconds=1)
        assert call.caller[1:] not in call.masked_name


def test_a_lead_carries_the_stamp_of_its_transcript_or_the_second_it_was_taken(calls: tuple[Call, ...]) -> None:
    by_stamp, by_second = (call for call in calls if call.lead)
    assert by_stamp.lead_name == by_stamp.transcript_name.replace("transcript_", "leads_")
    assert re.fullmatch(r"lead_\d{8}_\d{6}\.json", by_second.lead_name)
    for call in calls:
        assert json.loads(call.transcript)["lead_generated"] is (call.lead is not None)


def test_every_call_has_ended_before_the_demo_begins(calls: tuple[Call, ...]) -> None:
    for call in calls:
        assert call.began_at + timedelta(seconds=call.seconds) < NOW
        assert json.loads(call.transcript)["end_time"] < NOW.isoformat()


def test_one_moment_gives_the_same_bytes_twice(calls: tuple[Call, ...]) -> None:
    assert compose(NOW) == calls

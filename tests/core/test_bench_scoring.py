"""The rules do what they say, and scores count what they say."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from handlers.model import Conversation, Recording
from tests.bench.delivered import CrmScore, score_crm
from tests.bench.drop_traffic import SHORT, drop
from tests.bench.observed import simulate
from tests.bench.rules import RULES, WINDOW_S, Answer, nearest
from tests.bench.scoring import (
    Score,
    calibration,
    decisions,
    outcome,
    poisson_limit,
    score,
    share_limits,
)
from tests.bench.traffic import Traffic

OBSERVED, TRUTH = simulate(Traffic(conversations=3, lost_recordings=0.0, lost_transcripts=0.0), 1)


def begun(recording_starts: list[int], conversation_starts: list[int]) -> tuple[list[Recording], list[Conversation]]:
    """Recordings and conversations that began at these seconds of an hour."""
    epoch = 1_761_717_600
    return (
        [
            replace(OBSERVED.recordings[0], id=number, start_at=datetime.fromtimestamp(epoch + at, UTC))
            for number, at in enumerate(recording_starts)
        ],
        [
            replace(OBSERVED.conversations[0], id=number, start_at=datetime.fromtimestamp(epoch + at, UTC))
            for number, at in enumerate(conversation_starts)
        ],
    )


def distances(answers: Mapping[int, Answer], recordings: list[int], conversations: list[int]) -> list[int]:
    """How far apart the pairs' starts are."""
    return sorted(
        abs(recordings[answer.recording] - conversations[number])
        for number, answer in answers.items()
        if answer.recording is not None
    )


def greedy(recordings: list[int], conversations: list[int]) -> list[int]:
    """The same, comparing everything with everything."""
    left = sorted((abs(r - c), i, k) for i, r in enumerate(recordings) for k, c in enumerate(conversations))
    found = []
    while left and left[0][0] <= WINDOW_S:
        apart, one, other = left[0]
        found.append(apart)
        left = [entry for entry in left if entry[1] != one and entry[2] != other]
    return found


SECONDS = st.lists(st.integers(0, 3600), max_size=8, unique=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(SECONDS, SECONDS)
def test_nearest_takes_the_closest_of_all_first(recordings: list[int], conversations: list[int]) -> None:
    # With equal distances there is more than one answer.
    assume(len({abs(r - c) for r in recordings for c in conversations}) == len(recordings) * len(conversations))
    assert distances(nearest(*begun(recordings, conversations)), recordings, conversations) == greedy(
        recordings, conversations
    )


@pytest.mark.parametrize("name", RULES)
def test_a_rule_gives_no_recording_away_twice_and_is_right_where_calls_are_alone(name: str) -> None:
    observed, truth = simulate(Traffic(conversations=60, rate=0.02, lost_transcripts=0.0, contradictory=0.0), 2)
    short = [c for c in observed.conversations if c.saved_at and c.start_at and (c.saved_at - c.start_at).seconds < 280]
    answers = RULES[name](observed.recordings, short)
    given = [answer.recording for answer in answers.values() if answer.recording is not None]
    assert len(given) == len(set(given))
    right = sum(answers[c.id].recording == truth.recording[c.id] for c in short)
    assert right >= 0.9 * len(short)


@pytest.mark.parametrize(
    ("answer", "recording", "expected"),
    [
        (Answer("matched", 7, 0.995), 7, "right"),
        (Answer("matched", 8, 0.995), 7, "wrong"),
        (Answer("matched", 8, 0.995), None, "wrong"),
        (Answer("alone", None, 0.995), None, "right_alone"),
        (Answer("alone", None, 0.995), 7, "wrong_alone"),
        (Answer("alone", None, 0.5), 7, "missed"),
        (Answer("alone", None, 0.5), None, "held"),
        (Answer("held", 7, 0.5), 7, "held"),
        (None, 7, "held"),
    ],
)
def test_every_answer_has_its_outcome(answer: Answer | None, recording: int | None, expected: str) -> None:
    assert outcome(answer, recording) == expected


def test_a_score_counts_outcomes_and_what_they_foretold() -> None:
    answers = {1: Answer("matched", 11, 0.99), 2: Answer("matched", 13, 0.98), 3: Answer("held", None, 0.6)}
    total = score(answers, {1: 11, 2: 12, 3: 13})
    assert (total.right, total.wrong, total.held, total.decided, total.false) == (1, 1, 1, 2, 1)
    assert total.expected_wrong == pytest.approx(0.03)
    assert total.foretold_at_most == 0
    assert (total + total).total == 6
    with pytest.raises(ValueError, match="two conversations"):
        score({1: Answer("matched", 11), 2: Answer("matched", 11)}, {1: 11, 2: 12})


def test_limits_are_the_ones_in_the_tables() -> None:
    assert poisson_limit(0) == pytest.approx(2.996, abs=0.001)
    assert poisson_limit(3) == pytest.approx(7.754, abs=0.001)
    assert share_limits(0, 100) == pytest.approx((0.0, 0.0362), abs=0.0001)
    assert share_limits(5, 100) == pytest.approx((0.0164, 0.1128), abs=0.0001)
    assert Score(right=1, expected_wrong=3.0).foretold_at_most == 6


def test_a_calibration_finds_out_who_claims_too_much() -> None:
    answers = {number: Answer("matched", number, 0.9995) for number in range(1000)}
    modest = calibration(decisions(answers, {number: number for number in range(1000)}))
    boastful = calibration(decisions(answers, {number: number if number % 50 else None for number in range(1000)}))
    assert [(one.low, one.high, one.count, one.false, one.honest) for one in modest] == [(0.999, 0.9999, 1000, 0, True)]
    assert [(one.false, one.honest) for one in boastful] == [(20, False)]


def body(session: str, call_id: str, url: str | None, lead: str | None = None) -> dict[str, object]:
    """Call data as a CRM accepts it."""
    details = {"callId": call_id} | ({} if url is None else {"recordingUrl": url})
    whole: dict[str, object] = {"callDetails": details, "transcription": {"session_id": session}}
    return whole if lead is None else {**whole, "lead": {"reference": lead}}


def test_a_crm_is_judged_by_what_it_received_last_of_each_call() -> None:
    truth = {
        "calls": {
            "s1": {"recording": "a.ogg", "lead": "l1"},
            "s2": {"recording": "b.ogg", "lead": None},
            "s3": {"recording": None, "lead": None},
            "s4": {"recording": "d.ogg", "lead": "l4"},
            "s5": {"recording": "e.ogg", "lead": None},
        }
    }
    uploads = {"http://crm.example/1": "a.ogg", "http://crm.example/2": "b.ogg"}
    bodies = [
        body("s1", "CALL-1", None),
        body("s1", "CALL-1", "http://crm.example/1", "l1"),
        body("s2", "CALL-2", "http://crm.example/1", "l4"),
        body("s3", "CALL-2", None),
        body("s4", "CALL-4", None),
        body("s9", "CALL-9", None),
    ]
    assert score_crm(truth, bodies, uploads) == CrmScore(
        right=2,
        wrong_recordings=1,
        without_recording=1,
        wrong_leads=1,
        without_lead=1,
        missing=1,
        unknown=1,
        shared_ids=1,
    )


def test_dropped_files_are_what_the_truth_names_and_as_long_as_their_calls(tmp_path: Path) -> None:
    traffic = Traffic(conversations=6, rate=60.0, talk_s=replace(SHORT, most=12.0), leads=1.0, lost_recordings=0.0)
    truth = drop(traffic, tmp_path, 1)
    assert sorted(os.listdir(tmp_path)) == ["conversations", "leads", "recordings"]
    contents = set()
    for session, call in truth["calls"].items():
        transcript = json.loads((tmp_path / "conversations" / call["transcript"]).read_text())
        assert transcript["session_id"] == session
        path = tmp_path / "recordings" / call["recording"]
        contents.add(path.read_bytes())
        with av.open(str(path)) as file:
            seconds = sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))
        if "start_time" in transcript and "end_time" in transcript:
            start, end = (datetime.fromisoformat(transcript[name]) for name in ("start_time", "end_time"))
            assert 0.0 < seconds - (end - start).total_seconds() < 15.0
    assert len(contents) == len(truth["calls"])
    leads = {json.loads(path.read_text())["reference"] for path in (tmp_path / "leads").iterdir()}
    assert leads >= {call["lead"] for call in truth["calls"].values()}

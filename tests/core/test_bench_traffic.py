"""The simulated traffic is what its parameters say, and shows a matcher nothing of its truth."""

from __future__ import annotations

import ast
import itertools
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from handlers.model import Conversation, Recording, TimeSource
from tests.bench.observed import Observed, Truth, simulate
from tests.bench.producers import OTHER_ZONE, written
from tests.bench.talk import AGENT
from tests.bench.traffic import SimCall, Traffic, calls

ROOT = Path(__file__).parents[2]

PLAIN = Traffic(
    conversations=600,
    truncated=0.0,
    missing_start=0.0,
    missing_end=0.0,
    contradictory=0.0,
    unheard=0.0,
)
"""The field's traffic without what goes wrong in it, but for files that are lost."""


def pairs(observed: Observed, truth: Truth) -> Iterator[tuple[Conversation, Recording]]:
    """Every conversation with its own recording."""
    recordings = {recording.id: recording for recording in observed.recordings}
    for conversation in observed.conversations:
        own = truth.recording[conversation.id]
        if own is not None:
            yield conversation, recordings[own]


def test_the_same_seed_makes_the_same_traffic_and_another_one_another() -> None:
    traffic = replace(PLAIN, conversations=40)
    assert simulate(traffic, 5) == simulate(traffic, 5)
    assert simulate(traffic, 5) != simulate(traffic, 6)


def test_truth_is_one_to_one_and_complete() -> None:
    observed, truth = simulate(replace(PLAIN, lost_recordings=0.2, lost_transcripts=0.2), 1)
    assert truth.recording.keys() == {conversation.id for conversation in observed.conversations}
    assert truth.conversation.keys() == {lead.id for lead in observed.leads}
    for partners, side in ((truth.recording, observed.recordings), (truth.conversation, observed.conversations)):
        given = [partner for partner in partners.values() if partner is not None]
        assert len(given) == len(set(given))
        assert set(given) <= {value.id for value in side}
    lost = sum(partner is None for partner in truth.recording.values()) / len(truth.recording)
    assert lost == pytest.approx(0.2, abs=0.05)
    assert len(observed.conversations) == pytest.approx(0.8 * 600, abs=30)


def test_recordings_begin_and_end_as_far_from_their_sessions_as_the_parameters_say() -> None:
    observed, truth = simulate(PLAIN, 2)
    starts, ends, saved = [], [], []
    for conversation, recording in pairs(observed, truth):
        assert recording.start_at
        assert conversation.field_start_at
        assert conversation.field_end_at
        assert recording.end_at
        assert conversation.saved_at
        assert recording.start_source is TimeSource.NAME
        assert recording.start_at.microsecond == 0
        starts.append((recording.start_at - conversation.field_start_at).total_seconds())
        ends.append((recording.end_at - conversation.field_end_at).total_seconds())
        saved.append((conversation.saved_at - conversation.field_end_at).total_seconds())
        assert conversation.session_at == conversation.field_start_at.replace(microsecond=0)
    # A name's second is a floor: on average half a second before the recording.
    assert statistics.mean(starts) == pytest.approx(-2.5, abs=0.1)
    assert statistics.stdev(starts) == pytest.approx((0.7**2 + 1 / 12) ** 0.5, abs=0.08)
    assert statistics.median(ends) == pytest.approx(1.5 - 0.5, abs=0.2)
    assert min(ends) > -1.0
    assert statistics.median(saved) == pytest.approx(6.0, abs=0.4)


def test_calls_arrive_at_the_rate_and_last_as_long_as_the_parameters_say() -> None:
    made = calls(replace(PLAIN, rate=10.0, conversations=2000), random.Random(3))
    gaps = [(b.started_at - a.started_at).total_seconds() for a, b in itertools.pairwise(made)]
    assert statistics.mean(gaps) == pytest.approx(6.0, rel=0.1)
    assert statistics.stdev(gaps) == pytest.approx(6.0, rel=0.1)
    talks = [call.talk_s for call in made]
    assert statistics.median(talks) == pytest.approx(90.0, rel=0.1)
    assert min(talks) >= 8.0


def test_both_take_turns_until_the_end_and_nobody_is_interrupted() -> None:
    for call in calls(replace(PLAIN, conversations=100), random.Random(4)):
        edges = [edge for line in call.lines for phrase in line.phrases for edge in phrase]
        assert edges == sorted(edges)
        assert edges[-1] < call.talk_s
        assert [line.role == AGENT for line in call.lines] == [nth % 2 == 0 for nth in range(len(call.lines))]


def test_agents_are_stamped_when_they_begin_and_callers_once_they_have_ended() -> None:
    traffic = replace(PLAIN, lost_transcripts=0.0)
    rng = random.Random(5)
    made = calls(traffic, rng)
    read = {file.call.nth: file.document for file in written(traffic, made, rng) if file.kind == "conversations"}
    observed, _ = simulate(traffic, 5)
    by_session = {conversation.session_id: conversation for conversation in observed.conversations}
    early, late = [], []
    for call in made:
        document = read[call.nth]
        assert document is not None
        for line, turn in zip(call.lines[:-1], by_session[document["session_id"]].turns, strict=False):
            assert turn.at is not None
            at = (turn.at - call.started_at).total_seconds()
            if line.role == AGENT:
                early.append(at - line.begins)
            else:
                late.append(at - line.ends)
    assert statistics.mean(early) == pytest.approx(0.0, abs=0.02)
    assert statistics.stdev(early) == pytest.approx(0.15, abs=0.02)
    assert statistics.mean(late) == pytest.approx(0.6, abs=0.05)
    assert min(late) > -0.01


def test_speech_is_detected_near_where_it_is_in_stretches_that_are_apart() -> None:
    for recording in simulate(replace(PLAIN, conversations=100), 6)[0].recordings:
        speech = recording.audio.speech
        assert speech is not None
        assert recording.audio.heard_s == recording.audio.media_s == recording.audio.span_s
        assert all(0.0 <= a < b <= recording.audio.media_s for a, b in speech)
        assert all(b[0] - a[1] >= 0.3 for a, b in itertools.pairwise(speech))


def test_a_detector_without_faults_hears_the_greeting_exactly_where_it_is() -> None:
    exact = replace(PLAIN, edge_sd_s=0.0, missed_speech=0.0, spurious_speech=0.0, scripted=True, recorder_start_sd_s=0)
    for recording in simulate(exact, 7)[0].recordings:
        assert recording.audio.speech
        assert recording.audio.speech[0][0] == pytest.approx(4.0)


def test_a_script_is_said_alike_in_every_call() -> None:
    made = calls(replace(PLAIN, scripted=True, conversations=50), random.Random(8))
    greetings = {tuple(round(edge, 6) for edge in call.lines[0].phrases[0]) for call in made}
    assert len(greetings) == 1
    assert len({round(call.lines[0].ends, 6) for call in calls(PLAIN, random.Random(8))}) > 500


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ids_and_order_tell_nothing_of_who_belongs_to_whom(seed: int) -> None:
    observed, truth = simulate(PLAIN, seed)
    together = [(conversation.id, recording.id) for conversation, recording in pairs(observed, truth)]
    # Independent ranks of some 570 pairs correlate by less than 0.14 in 999 of 1,000 cases.
    assert abs(statistics.correlation(*zip(*together, strict=True))) < 0.14
    begun = [(r.id, r.start_at.timestamp()) for r in observed.recordings if r.start_at is not None]
    assert abs(statistics.correlation(*zip(*begun, strict=True))) < 0.14
    for side in (observed.recordings, observed.conversations, observed.leads):
        ids = [value.id for value in side]
        assert ids == sorted(ids)


def test_names_are_distinct_and_share_nothing_that_ties_files_to_a_call() -> None:
    observed, truth = simulate(replace(PLAIN, rate=300.0), 9)
    names = [arrival.value.name for arrival in observed.arrivals]
    assert len(names) == len(set(names))
    for conversation, recording in pairs(observed, truth):
        assert conversation.session_id
        assert conversation.session_id[-8:] not in recording.name
        assert recording.session_id is recording.call_ref is recording.number is conversation.number is None


def test_files_arrive_in_another_order_than_the_calls_came() -> None:
    observed, truth = simulate(replace(PLAIN, rate=60.0), 10)
    moments = [arrival.at for arrival in observed.arrivals]
    assert moments == sorted(moments)
    assert len(observed.arrivals) == len(observed.recordings) + len(observed.conversations) + len(observed.leads)
    recordings = [a.value.start_at for a in observed.arrivals if isinstance(a.value, Recording) and a.value.start_at]
    assert recordings != sorted(recordings)
    first = [
        c.registered_at > r.registered_at for c, r in pairs(observed, truth) if c.registered_at and r.registered_at
    ]
    assert statistics.mean(first) == pytest.approx(PLAIN.recorder_first, abs=0.07)


def test_numbers_are_there_where_the_parameters_put_them() -> None:
    observed, truth = simulate(replace(PLAIN, number_in_metadata=1.0, number_in_name=1.0, repeat_callers=0.3), 11)
    assert all(c.number is not None and c.number == r.number for c, r in pairs(observed, truth))
    numbers = [conversation.number for conversation in observed.conversations]
    assert all(number and number[5:10] == "55501" for number in numbers)
    assert 1 - len(set(numbers)) / len(numbers) == pytest.approx(0.3, abs=0.06)


def test_a_second_recorder_has_its_own_clock_and_pattern() -> None:
    observed, truth = simulate(replace(PLAIN, second_recorder=0.4, second_clock_s=45.0), 12)
    offsets: dict[str, list[float]] = {}
    for conversation, recording in pairs(observed, truth):
        assert recording.start_at
        assert conversation.field_start_at
        late = (recording.start_at - conversation.field_start_at).total_seconds()
        offsets.setdefault(recording.recorder, []).append(late)
    first, second = sorted(offsets, key=lambda name: statistics.mean(offsets[name]))
    assert statistics.mean(offsets[second]) - statistics.mean(offsets[first]) == pytest.approx(45.0, abs=0.2)
    assert len(offsets[second]) / len(observed.recordings) == pytest.approx(0.4, abs=0.07)


def test_a_shift_of_clocks_moves_all_of_the_conversations_and_nothing_of_the_recordings() -> None:
    plain, _ = simulate(replace(PLAIN, conversations=30), 13)
    moved, _ = simulate(replace(PLAIN, conversations=30, clock_shift_s=19_800.0), 13)
    assert [recording.name for recording in plain.recordings] == [recording.name for recording in moved.recordings]
    for was, now in zip(plain.conversations, moved.conversations, strict=True):
        for name in ("start_at", "end_at", "session_at", "saved_at"):
            assert getattr(now, name) - getattr(was, name) == timedelta(hours=5.5)


def test_transcripts_lack_and_contradict_what_the_parameters_say() -> None:
    observed, _ = simulate(replace(PLAIN, missing_start=1.0, missing_end=1.0, unstamped_items=1.0), 14)
    for conversation in observed.conversations:
        assert conversation.start_source is TimeSource.SESSION
        assert conversation.field_end_at is None
        assert not any(turn.at for turn in conversation.turns)
    for conversation in simulate(replace(PLAIN, contradictory=1.0), 14)[0].conversations:
        assert conversation.field_start_at
        assert conversation.session_at
        assert "times_disagree" in conversation.flags
        assert timedelta() <= conversation.field_start_at - conversation.session_at - OTHER_ZONE < timedelta(seconds=1)


def test_truncated_recordings_end_within_their_call() -> None:
    made = calls(replace(PLAIN, truncated=1.0, lost_recordings=0.0), random.Random(15))
    assert statistics.mean(_kept(call) for call in made) == pytest.approx(0.5, abs=0.05)


def _kept(call: SimCall) -> float:
    """The share of a call that its recording holds, more or less: hang-up counts as 1.5 s after the end."""
    assert call.recorded is not None
    return (call.recorded.ends - call.recorded.begins) / (call.talk_s + 1.5 - call.recorded.begins)


def test_leads_named_after_a_transcript_carry_its_stamp() -> None:
    observed, truth = simulate(replace(PLAIN, leads=1.0, lead_unsaid=0.0), 16)
    conversations = {conversation.id: conversation for conversation in observed.conversations}
    by_stamp = 0
    for lead in observed.leads:
        own = truth.conversation[lead.id]
        if own is None:
            continue
        end = conversations[own].end_at
        assert conversations[own].lead_expected is True
        if lead.stamp is not None:
            by_stamp += 1
            assert lead.stamp == conversations[own].saved_at
        else:
            assert lead.taken_at
            assert end
            assert -17.0 < (lead.taken_at - end).total_seconds() < 0.0
    assert by_stamp / len(observed.leads) == pytest.approx(0.6, abs=0.07)


def test_parameters_change_in_words() -> None:
    changed = Traffic().changed(
        ["rate=60", "talk_s=20:0.5:8", "scripted=yes", "leads=1", "begins_at=2025-01-01T00:00+00:00"]
    )
    assert (changed.rate, changed.talk_s.median, changed.talk_s.least, changed.scripted) == (60.0, 20.0, 8.0, True)
    assert changed.begins_at.astimezone(UTC).year == 2025
    with pytest.raises(ValueError, match="no parameter"):
        Traffic().changed(["pace=1"])


def test_the_product_cannot_know_the_truth() -> None:
    for package in ("daemon", "handlers"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
                assert not any(name.split(".")[0] == "tests" for name in names), path


def test_who_drops_the_files_knows_nothing_of_the_product() -> None:
    words = (
        "import sys, tests.bench.drop_traffic; print(*(m for m in sys.modules if m.startswith(('daemon', 'handlers'))))"
    )
    done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

"""What speaks for or against a pair: what each piece of evidence is worth, and what no evidence can do."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.match.evidence import (
    OTHER_ID,
    SAME_ID,
    Evidence,
    Experience,
    Term,
    heard_fit,
    listened,
    weigh_recording,
)
from handlers.match.lead_evidence import lead_log_odds, weigh_lead
from handlers.match.values import Group, Reading, Told, ms_of
from handlers.model import AudioInfo, Conversation, Lead, Recording, Side, TimeSource, Turn
from tests.support.records import at, conversation, lead, recording

A, B = "+15550100", "+15550101"
NOON_MS = ms_of(at(0))
HOPELESS = -20.0
"""What no odds of a partner being there can outweigh."""

SPARSE, DENSE = 1 / 600, 1.0
"""Calls a second: one in ten minutes, and sixty a minute."""


def weigh(*heard: Recording, call: Conversation, rate: float = SPARSE, offset_s: float = 0.0) -> Evidence:
    return weigh_recording(Group.of(heard), Told.of(call), Experience(), rate=rate, offset_ms=round(offset_s * 1000))


def weigh_the(asked: Lead, call: Conversation, rate: float = SPARSE) -> Evidence:
    return weigh_lead(asked, Told.of(call), rate=rate)


def names(evidence: Evidence) -> dict[str, str]:
    return {term.name: term.says for term in evidence.terms}


def test_the_fields_own_sample_fits_in_start_and_end() -> None:
    """Recording from 2 s before the session, some seconds longer than it."""
    found = weigh(recording(2, -2, 65), call=conversation(1))
    assert names(found) == {"start": "fits", "end": "fits"}
    assert found.log_share > math.log(100)


def test_what_a_fitting_start_is_worth_depends_on_how_many_calls_there_are() -> None:
    quiet, busy = (weigh(recording(2, -2, 63), call=conversation(1), rate=rate) for rate in (SPARSE, DENSE))
    assert quiet.log_share - busy.log_share == pytest.approx(math.log(600), rel=1e-6)


@pytest.mark.parametrize(("start", "length"), [(-2, 63), (1, 60), (8, 60), (-2, 100)])
def test_closer_is_worth_more(start: float, length: float) -> None:
    near = weigh(recording(2, start, length), call=conversation(1))
    far = weigh(recording(2, start + 40, length), call=conversation(1))
    assert near.log_share > far.log_share + 3


def test_times_beyond_reach_never_fit() -> None:
    assert weigh(recording(2, 120), call=conversation(1)).log_share < HOPELESS
    assert weigh(recording(2, 120), call=conversation(1), offset_s=-121).log_share > 0
    assert not weigh(recording(2, 400), call=conversation(1)).possible


def test_a_recorder_that_died_early_is_a_hypothesis_of_its_own() -> None:
    whole = weigh(recording(2, -2, 62), call=conversation(1))
    cut = weigh(recording(2, -2, 20), call=conversation(1))
    flagged = weigh(replace(recording(2, -2, 20), flags=("truncated",)), call=conversation(1))
    assert whole.log_share > flagged.log_share > cut.log_share
    assert cut.possible
    assert weigh(recording(2, -2.9, 0.5), call=conversation(1)).possible  # before anything was said


def test_an_equal_number_is_worth_more_the_more_strangers_there_are() -> None:
    def gain(rate: float) -> float:
        with_it = weigh(recording(2, -2, 63, number=A), call=conversation(1, number=A), rate=rate)
        return with_it.log_share - weigh(recording(2, -2, 63), call=conversation(1), rate=rate).log_share

    assert gain(DENSE) > gain(SPARSE) > 0


def test_a_number_that_differs_excludes_and_a_missing_one_says_nothing() -> None:
    assert not weigh(recording(2, number=A), call=conversation(1, number=B)).possible
    one = weigh(recording(2, number=A), call=conversation(1))
    assert one.log_share == weigh(recording(2), call=conversation(1)).log_share


def test_one_callers_overlapping_files_are_possible_at_unusual_times() -> None:
    call = conversation(1, 0, 200, number=A)
    assert weigh(recording(2, 100, 200, number=A), call=call).log_share > HOPELESS
    assert weigh(recording(2, 100, 200), call=conversation(1, 0, 200)).log_share < HOPELESS
    assert weigh(recording(2, 400, 60, number=A), call=call).log_share < HOPELESS


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"session_id": "s_1"}, {"session_id": "s_1"}),
        ({"call_ref": "abc"}, {"session_id": "abc"}),
        ({"call_ref": "abc"}, {"room": "abc"}),
    ],
)
def test_an_id_in_common_outweighs_clocks_that_are_hours_off(ours: dict[str, str], theirs: dict[str, str]) -> None:
    found = weigh(recording(2, 19_800, 60, **ours), call=conversation(1, **theirs))  # type: ignore[arg-type]
    assert found.log_share > math.log(1e6)
    weird = weigh(recording(2, 30 * 86_400, 60, **ours), call=conversation(1, **theirs))  # type: ignore[arg-type]
    assert weird.log_share < found.log_share - 5  # no mistake of zones explains a month


def test_ids_of_one_make_exclude_each_other_and_others_do_not() -> None:
    call = conversation(1, session_id="session_20251029_064824_2e0aa754")
    assert not weigh(recording(2, session_id="session_20251029_064900_aaaa0000"), call=call).possible
    assert weigh(recording(2, call_ref="rec-77"), call=call).possible


def test_an_id_in_common_against_a_number_that_differs_is_weak() -> None:
    both = weigh(recording(2, session_id="k", number=A), call=conversation(1, session_id="k", number=B))
    plain = weigh(recording(2, session_id="k"), call=conversation(1, session_id="k"))
    assert both.possible
    assert both.log_share < plain.log_share - 9


def test_a_stamp_finer_than_a_second_is_as_good_as_an_id_and_a_whole_second_is_not() -> None:
    fine = at(63) + timedelta(microseconds=351_452)
    exact = weigh(recording(2, stamp=fine), call=replace(conversation(1), saved_at=fine))
    whole = weigh(recording(2, stamp=at(63)), call=replace(conversation(1), saved_at=at(63)))
    assert names(exact)["stamp"] == names(whole)["stamp (whole second)"] == "equal"
    assert exact.log_share > whole.log_share + 5


def test_a_recording_dated_by_mtime_is_held_against_end_and_length() -> None:
    found = weigh(recording(2, 5, 62, source=TimeSource.FILE), call=conversation(1))
    assert set(names(found)) == {"end", "length"}
    assert found.log_share < weigh(recording(2, -2, 62), call=conversation(1)).log_share


def test_sides_are_weighed_as_one() -> None:
    agent = recording(2, 0, 30, side=Side.AGENT, group="g")
    customer = recording(3, -2, 63, side=Side.CUSTOMER, group="g")
    assert weigh(agent, customer, call=conversation(1)).log_share == pytest.approx(
        weigh(recording(4, -2, 63), call=conversation(1)).log_share
    )


def test_a_transcript_that_contradicts_itself_is_half_as_good_in_either_reading() -> None:
    doubtful = conversation(1, 20_000, 60, session=1, saved=63)
    found = weigh(recording(2, -1, 62), call=doubtful)
    assert names(found)["the transcript"] == "contradicts itself"
    assert found.possible
    assert found.lesson is None  # which clock to learn from is not known


def test_a_refused_pair_is_impossible_and_says_so() -> None:
    found = weigh_recording(Group.of([recording(2)]), Told.of(conversation(1)), Experience(), rate=SPARSE, refused=True)
    assert not found.possible
    assert names(found) == {"a person": "refused"}


def test_leads_are_tied_by_stamp_session_number_and_at_last_by_time() -> None:
    fine = at(63) + timedelta(microseconds=5)
    saved = replace(conversation(1, lead_expected=True), saved_at=fine)
    by_stamp = weigh_the(replace(lead(3), stamp=fine), saved)
    by_session = weigh_the(lead(3, 500, session_id="k"), conversation(1, session_id="k"))
    by_number = weigh_the(lead(3, 55, number=A), conversation(1, number=A), DENSE)
    by_time = weigh_the(lead(3, 55), conversation(1), DENSE)
    assert min(by_stamp.log_share, by_session.log_share) > by_number.log_share > by_time.log_share
    assert not weigh_the(lead(3, 55, number=A), conversation(1, number=B)).possible
    assert weigh_the(lead(3, 900), conversation(1)).log_share < HOPELESS


def test_a_lead_with_another_transcripts_stamp_is_hardly_this_ones() -> None:
    stamped = replace(lead(3), stamp=at(60) + timedelta(microseconds=1), taken_at=at(60))
    other = replace(conversation(1), saved_at=at(63) + timedelta(microseconds=2))
    assert weigh_the(stamped, other).log_share < weigh_the(lead(3, 60), conversation(1)).log_share - 4


AGENT_S, CALLER_S = (2.0, 14.0, 30.0), (10.5, 25.5, 45.5)
"""Three lines of either: where the agent's begin, and half a second after the caller's end."""


def spoken(call: Conversation, shift_s: float = 0.0, pace: float = 1.0) -> Conversation:
    assert call.start_at is not None
    told = [*(("assistant", s) for s in AGENT_S), *(("user", s) for s in CALLER_S)]
    turns = tuple(Turn(role, call.start_at + timedelta(seconds=s * pace + shift_s)) for role, s in told)
    return replace(call, turns=turns)


SPEECH = ((4.0, 7.0), (8.0, 12.0), (16.0, 22.0), (23.0, 27.0), (32.0, 40.0), (42.0, 47.0))
"""The same lines in a recording that began two seconds before."""


def heard_in(one: Recording, speech: tuple[tuple[float, float], ...] | None) -> Recording:
    audio: AudioInfo = replace(one.audio, speech=speech, heard_s=one.audio.span_s)
    return replace(one, audio=audio)


def turned(one: Recording, call: Conversation) -> Evidence:
    group, told = Group.of([one]), Told.of(call)
    evidence = weigh_recording(group, told, Experience(), rate=DENSE)
    return listened(evidence, group, heard_fit(group, told, Experience()), Experience())


def test_lines_that_fall_on_speech_speak_for_a_pair_and_others_against_it() -> None:
    one = heard_in(recording(2, -2, 64), SPEECH)
    plain = weigh(one, call=conversation(1), rate=DENSE)
    own, strange = turned(one, spoken(conversation(1))), turned(one, spoken(conversation(1), pace=1.2))
    assert own.log_share > plain.log_share + math.log(100)
    assert strange.log_share < plain.log_share
    assert names(own)["turns"] == "fits"
    assert own.lesson is not None
    assert own.lesson.skew_ms == pytest.approx(0, abs=300)


def test_a_recorders_clock_a_second_off_is_found_and_learned() -> None:
    own = turned(heard_in(recording(2, -2, 64), SPEECH), spoken(conversation(1), 1.0))
    assert names(own)["turns"] == "fits"
    assert own.heard is not None
    assert own.heard.skew_ms == pytest.approx(1000, abs=300)


@pytest.mark.parametrize("speech", [None, ((0.0, 60.0),), ()])
def test_where_nothing_is_heard_nothing_is_said(speech: tuple[tuple[float, float], ...] | None) -> None:
    one = heard_in(recording(2, -2, 64), speech)
    assert turned(one, spoken(conversation(1))) == weigh(one, call=conversation(1), rate=DENSE)


def test_each_party_is_looked_for_on_its_own_side() -> None:
    agents, callers = SPEECH[::2], SPEECH[1::2]
    right = [
        heard_in(recording(2, -2, 64, side=Side.AGENT, group="g"), agents),
        heard_in(recording(3, -2, 64, side=Side.CUSTOMER, group="g"), callers),
    ]
    swapped = [
        heard_in(recording(2, -2, 64, side=Side.AGENT, group="g"), callers),
        heard_in(recording(3, -2, 64, side=Side.CUSTOMER, group="g"), agents),
    ]
    told = Told.of(spoken(conversation(1)))
    fits = [heard_fit(Group.of(sides), told, Experience()) for sides in (right, swapped)]
    assert fits[0] is not None
    assert fits[1] is not None
    assert fits[0].log_share > 5 > fits[1].log_share


def test_terms_never_quote_a_number_or_an_id() -> None:
    found = weigh(recording(2, number=A, session_id="k77"), call=conversation(1, number=A, session_id="k77"))
    told = str([term.out() for term in found.terms]) + str(found.reasons)
    assert A not in told
    assert "k77" not in told


def field_sample() -> Conversation:
    """The sample of the field: session id and save agree with the recording, ``start_time`` is hours off."""
    return Conversation(
        id=1,
        name="transcript_session_2025-10-29T06-49-07.351452.json",
        document={},
        session_id="session_20251029_064824_2e0aa754",
        start_at=datetime(2025, 10, 29, 12, 15, 30, 123000, UTC),
        start_source=TimeSource.FIELD,
        end_at=datetime(2025, 10, 29, 12, 16, 5, 456000, UTC),
        end_source=TimeSource.FIELD,
        session_at=datetime(2025, 10, 29, 6, 48, 24, tzinfo=UTC),
        field_start_at=datetime(2025, 10, 29, 12, 15, 30, 123000, UTC),
        field_end_at=datetime(2025, 10, 29, 12, 16, 5, 456000, UTC),
        saved_at=datetime(2025, 10, 29, 6, 49, 7, 351452, UTC),
        registered_at=at(0),
    )


def test_a_conversation_with_no_start_is_weighed_by_its_end() -> None:
    found = weigh(recording(2, 0, 60), call=conversation(1, None, saved=66))
    assert names(found) == {"end": "fits"}


def test_the_offset_moves_the_recordings_clock() -> None:
    heard, call = recording(2, -3602, 63), conversation(1)
    assert not weigh(heard, call=call).possible
    assert weigh(heard, call=call, offset_s=3600) == weigh(recording(2, -2, 63), call=call)


def test_what_a_pair_would_teach_are_its_own_distances() -> None:
    found = weigh(replace(recording(2, -2, 63), recorder="number-*"), call=conversation(1))
    assert found.lesson is not None
    assert found.lesson.recorder == "number-*"
    assert (found.lesson.start_ms, found.lesson.end_ms, found.lesson.span_ms) == (-2000, 1000, 63_000)
    assert (found.lesson.start_anchor, found.lesson.end_anchor) == ("field", "field")
    assert (found.lesson.skew_ms, found.lesson.length_ms) == (None, None)


FIELD_RECORDING = recording(2, datetime(2025, 10, 29, 6, 48, 22, tzinfo=UTC), 41.0)


def test_a_transcript_that_contradicts_itself_is_weak_evidence_by_either_clock() -> None:
    found = weigh(FIELD_RECORDING, call=field_sample())
    assert names(found)["the transcript"] == "contradicts itself"
    assert found.possible
    assert found.lesson is None
    clear = replace(
        field_sample(),
        start_at=field_sample().session_at,
        start_source=TimeSource.SESSION,
        field_start_at=None,
        end_at=None,
        end_source=None,
    )
    sure = weigh(FIELD_RECORDING, call=clear)
    assert sure.log_share - found.log_share == pytest.approx(math.log(2))
    by_its_fields = weigh(recording(2, datetime(2025, 10, 29, 12, 15, 28, tzinfo=UTC), 38.0), call=field_sample())
    assert by_its_fields.possible


def test_a_number_lends_weight_to_a_transcript_that_contradicts_itself() -> None:
    without = weigh(FIELD_RECORDING, call=field_sample())
    numbered = weigh(replace(FIELD_RECORDING, number=A), call=replace(field_sample(), number=A))
    assert numbered.log_share > without.log_share + math.log(10)


def test_an_id_under_a_clock_no_time_zone_explains_is_worth_no_more_than_good_times() -> None:
    call = conversation(1, session_id="k")
    within, beyond = (
        weigh(recording(2, hours * 3600, 63, session_id="k"), call=call).log_share for hours in (25.9, 26.1)
    )
    assert within == pytest.approx(SAME_ID)
    assert beyond == pytest.approx(SAME_ID + OTHER_ID / 1.5)
    assert beyond < weigh(recording(3, -2, 63), call=call).log_share


def test_an_id_of_a_recording_that_knows_no_time_still_ties() -> None:
    found = weigh(recording(2, None, 60, session_id="k"), call=conversation(1, session_id="k"))
    assert found.log_share == pytest.approx(SAME_ID)
    assert not weigh(recording(2, None, 60), call=conversation(1)).possible


def test_a_lead_of_another_number_or_session_or_of_no_time_is_never_taken() -> None:
    call = conversation(1, session_id="session_1", number=A, lead_expected=True)
    assert not weigh_the(lead(2, 55, number=B), call).possible
    assert not weigh_the(lead(2, 55, session_id="session_2"), call).possible
    assert not weigh_the(lead(2), call).possible
    assert not weigh_the(lead(2, number=A), call).possible
    assert weigh_the(lead(2, 55, session_id="crm 7"), call).possible


def test_a_lead_is_taken_during_its_call_or_shortly_after() -> None:
    call = conversation(1, 0, 600, lead_expected=True)
    at_the_end, early, long_after = (weigh_the(lead(2, taken), call).log_share for taken in (593, 200, 750))
    assert at_the_end > early > -math.inf
    assert at_the_end > math.log(10)
    assert long_after < 0
    assert not weigh_the(lead(2, -20), call).possible


def test_a_lead_with_the_whole_second_of_a_transcript_is_worth_a_coincidence() -> None:
    call = conversation(1, saved=68, lead_expected=True)
    shared = weigh_the(lead(2, 55, stamp=at(68)), call)
    term = next(term for term in shared.terms if term.name == "stamp (whole second)")
    assert 0 < term.log_weight < math.log(1e4)


def test_what_a_transcript_says_of_a_lead_makes_it_likely_or_not() -> None:
    odds = [lead_log_odds(said, told_waits=False, lead_waits=False) for said in (False, None, True)]
    assert odds == sorted(odds)
    assert odds[2] - odds[0] > math.log(1000)
    waiting = lead_log_odds(True, told_waits=True, lead_waits=True)
    assert waiting < odds[2]


def test_terms_hold_distances_and_weights_and_never_a_number_an_id_or_a_name() -> None:
    call = conversation(1, number=A, session_id="secret-session", saved=68.351452, lead_expected=True)
    for number in (A, B):
        heard = recording(2, -2, 63, number=number, session_id="secret-session", name="number-_15550100-1.ogg")
        told = [
            weigh(heard, call=call),
            weigh_the(lead(3, 55, number=number, session_id="secret-session", stamp=at(68.351452)), call),
        ]
        for found in told:
            text = str([term.out() for term in found.terms]) + str(found.reasons)
            assert found.terms
            assert not [word for word in ("555", "secret", "ogg", "351452") if word in text]


def test_a_term_says_its_worth_as_a_power_of_ten_with_what_is_usual_beside_it() -> None:
    term = Term("start", "fits", math.log(100), -2.0, -1.5, 1.25)
    assert term.out() == {
        "name": "start",
        "says": "fits",
        "weight": 2.0,
        "seconds": -2.0,
        "expected_s": -1.5,
        "spread_s": 1.25,
    }
    assert str(term) == "start -2.0 s"
    assert Term("number", "unequal", -math.inf).out() == {"name": "number", "says": "unequal", "weight": -99.0}


def test_listening_keeps_to_the_clock_that_the_offset_names() -> None:
    told = Told.of(spoken(conversation(1)))
    plain = heard_fit(Group.of([heard_in(recording(2, -2, 64), SPEECH)]), told, Experience())
    behind = Group.of([heard_in(recording(2, -3602, 64), SPEECH)])
    assert heard_fit(behind, told, Experience(), offset_ms=3_600_000) == plain
    assert plain is not None
    assert plain.log_share > math.log(100)


def test_lines_are_as_wrong_as_the_fields_beside_them_where_the_names_fit() -> None:
    """Fields and lines hours off, session id and save right: the lines are moved along with the fields."""
    call = spoken(conversation(1, 19_800, 60, session=0, saved=66))
    own = turned(heard_in(recording(2, -2, 64), SPEECH), call)
    assert names(own)["turns"] == "fits"
    assert own.heard is not None
    assert own.heard.log_share > math.log(100)


@given(
    begins=st.integers(-90, 90),
    length=st.integers(1, 400),
    told_length=st.none() | st.integers(1, 400),
    source=st.sampled_from([TimeSource.NAME, TimeSource.CONTAINER, TimeSource.FILE]),
    start=st.none() | st.just(0.0),
    saved=st.none() | st.integers(0, 500),
    rate=st.floats(1 / 3600, 5.0),
)
def test_what_is_added_up_is_the_sum_of_what_is_told(
    begins: int,
    length: int,
    told_length: int | None,
    source: TimeSource,
    start: float | None,
    saved: int | None,
    rate: float,
) -> None:
    call = conversation(1, start, told_length, saved=saved, name="t.json")
    found = weigh(recording(2, begins, length, source=source), call=call, rate=rate)
    told = sum(term.log_weight for term in found.terms)
    assert found.log_share == pytest.approx(told, abs=1e-9) if found.terms else found.log_share == -math.inf


@given(taken=st.integers(-700, 200), length=st.integers(1, 400), rate=st.floats(1 / 3600, 5.0))
def test_the_same_for_leads(taken: int, length: int, rate: float) -> None:
    found = weigh_the(lead(2, taken), conversation(1, 0.0, length), rate)
    assert found.log_share == pytest.approx(sum(term.log_weight for term in found.terms), abs=1e-9)


@given(readings=st.lists(st.tuples(st.integers(-60, 60), st.integers(1, 300)), min_size=2, max_size=2))
def test_two_readings_are_as_probable_as_either(readings: list[tuple[int, int]]) -> None:
    """A transcript that contradicts itself may be right in either half; what both say is their mean."""
    (begins, length), (begins_too, length_too) = readings
    heard = Group.of([recording(2, -2, 63)])
    one = Reading(begins * 1000 + NOON_MS, "field", (begins + length) * 1000 + NOON_MS, "field")
    other = Reading(begins_too * 1000 + NOON_MS, "session", (begins_too + length_too) * 1000 + NOON_MS, "name")
    both, first, second = (
        weigh_recording(heard, Told(1, said), Experience(), rate=SPARSE).log_share
        for said in ((one, other), (one,), (other,))
    )
    assert math.exp(both) == pytest.approx((math.exp(first) + math.exp(second)) / 2, rel=1e-9)

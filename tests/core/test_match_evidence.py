"""What one pair of files says: terms, strength, and what it counts as for others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from handlers.match.evidence import Evidence, Group, Strength, weigh_lead, weigh_recording
from handlers.model import Conversation, Recording, Side, TimeSource
from tests.support.records import at, conversation, lead, recording

WINDOW = timedelta(minutes=5)
OURS, THEIRS = "+15550100", "+15550101"


def weigh(*members: Recording, call: Conversation, offset_s: float = 0.0) -> Evidence:
    return weigh_recording(Group.of(members), call, window=WINDOW, offset=timedelta(seconds=offset_s))


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


def test_start_and_end_that_fit_make_a_pair_by_time() -> None:
    found = weigh(recording(2, -2, 63), call=conversation(1, 0, 60))
    assert (found.strength, found.rivalry) == (Strength.TIME, Strength.TIME)
    assert found.reasons == ("start -2.0 s", "end +1.0 s")


@pytest.mark.parametrize(
    ("start", "length", "strength"),
    [
        (-5, 65, Strength.TIME),  # a floor: the truth lies up to a second later
        (-6, 66, Strength.WEAK),
        (-15, 75, Strength.WEAK),
        (-16, 76, None),
        (5, 55, Strength.TIME),
        (6, 54, Strength.WEAK),
        (15, 45, Strength.WEAK),
        (16, 44, None),
        (0, 53.75, Strength.TIME),
        (0, 53.5, None),
        (0, 89.75, Strength.TIME),
        (0, 90, Strength.WEAK),
        (0, 179.75, Strength.WEAK),
        (0, 180, None),
    ],
)
def test_tolerances_end_where_they_say(start: float, length: float, strength: Strength | None) -> None:
    found = weigh(recording(2, start, length), call=conversation(1, 0.5, 59.25))
    assert found.strength is strength


def test_one_clock_that_misfits_outweighs_the_other() -> None:
    assert weigh(recording(2, 0, 400), call=conversation(1, 0, 60)).rivalry is None
    assert weigh(recording(2, -100, 160), call=conversation(1, 0, 60)).rivalry is None


def test_the_fields_own_sample_is_weak_but_in_the_way() -> None:
    heard = recording(2, datetime(2025, 10, 29, 6, 48, 22, tzinfo=UTC), 41.0)
    found = weigh(heard, call=field_sample())
    assert (found.strength, found.rivalry) == (Strength.WEAK, Strength.TIME)
    assert "the transcript contradicts itself" in [str(term) for term in found.terms]


def test_a_number_on_both_sides_decides_for_or_against() -> None:
    call = conversation(1, 0, 60, number=OURS)
    assert weigh(recording(2, -2, 63, number=OURS), call=call).strength is Strength.NUMBER_AND_TIME
    against = weigh(recording(2, -2, 63, number=THEIRS), call=call)
    assert (against.strength, against.rivalry) == (None, None)


def test_a_number_alone_is_separated_by_time() -> None:
    call = conversation(1, 0, 60, number=OURS)
    assert weigh(recording(2, 0, 40, number=OURS), call=call).strength is Strength.NUMBER  # the recorder died early
    assert weigh(recording(2, 75, 60, number=OURS), call=call).strength is None  # the next call of the same caller


def test_a_number_lends_strength_to_a_transcript_that_contradicts_itself() -> None:
    heard = recording(2, datetime(2025, 10, 29, 6, 48, 22, tzinfo=UTC), 41.0, number=OURS)
    found = weigh(heard, call=replace(field_sample(), number=OURS))
    assert (found.strength, found.rivalry) == (Strength.NUMBER, Strength.NUMBER_AND_TIME)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"call_ref": "k"}, {"call_ref": "k"}),
        ({"session_id": "k"}, {"session_id": "k"}),
        ({"call_ref": "k"}, {"room": "k"}),
        ({"session_id": "k"}, {"call_ref": "k"}),
    ],
)
def test_an_id_in_common_decides_whatever_the_clocks_say(ours: dict[str, str], theirs: dict[str, str]) -> None:
    call = conversation(1, 0, 60, session_id=theirs.get("session_id"), call_ref=theirs.get("call_ref"))
    call = replace(call, room=theirs.get("room"))
    heard = recording(2, 5.5 * 3600, 63, session_id=ours.get("session_id"), call_ref=ours.get("call_ref"))
    assert weigh(heard, call=call).strength is Strength.ID
    days_off = replace(heard, start_at=at(3 * 86_400))
    assert weigh(days_off, call=call).strength is Strength.WEAK


def test_ids_of_one_make_exclude_each_other_and_others_do_not() -> None:
    call = conversation(1, 0, 60, session_id="session_20251029_120000_2e0aa754")
    other = recording(2, 0, 60, session_id="session_20251029_120003_aaaa0000")
    foreign = recording(2, 0, 60, session_id="line 7")
    assert weigh(other, call=call).rivalry is None
    assert weigh(foreign, call=call).strength is Strength.TIME


def test_an_id_against_a_number_is_a_question() -> None:
    call = conversation(1, 0, 60, call_ref="k", number=OURS)
    found = weigh(recording(2, 0, 60, call_ref="k", number=THEIRS), call=call)
    assert (found.strength, found.rivalry) == (Strength.WEAK, Strength.ID)


def test_a_stamp_finer_than_a_second_is_an_id_and_a_whole_second_is_not() -> None:
    fine, whole = at(68.351452), at(68)
    call = replace(conversation(1, 0, 60), saved_at=fine)
    assert weigh(recording(2, 68.351452, 63, stamp=fine), call=call).strength is Strength.ID
    coincidence = replace(conversation(1, 0, 60), saved_at=whole)
    assert weigh(recording(2, 68, 63, stamp=whole), call=coincidence).strength is None
    assert weigh(recording(2, 0, 63, stamp=whole), call=coincidence).strength is Strength.NUMBER_AND_TIME


def test_a_recording_dated_by_its_mtime_is_weak() -> None:
    heard = recording(2, 70, 60, source=TimeSource.FILE)
    assert weigh(heard, call=conversation(1, 0, 60)).strength is Strength.WEAK
    assert weigh(replace(heard, number=OURS), call=conversation(1, 0, 60, number=OURS)).strength is Strength.NUMBER
    assert weigh(replace(heard, start_at=at(170)), call=conversation(1, 0, 60)).strength is None


def test_sides_are_weighed_as_one() -> None:
    agent = recording(2, 1, 50, group="g", side=Side.AGENT)
    customer = recording(3, -2, 63, group="g", side=Side.CUSTOMER, number=OURS)
    group = Group.of((agent, customer))
    assert (group.start_at, group.end_at, group.number, group.whole) == (at(-2), at(61), OURS, True)
    assert not Group.of((agent,)).whole


def test_the_offset_moves_the_recordings_clock() -> None:
    heard, call = recording(2, -3600, 63), conversation(1, 0, 60)
    assert weigh(heard, call=call).strength is None
    assert weigh(heard, call=call, offset_s=3600).strength is Strength.TIME


def test_the_window_bounds_what_may_fit() -> None:
    found = weigh_recording(
        Group.of((recording(2, -4, 70),)), conversation(1, 0, 60), window=timedelta(seconds=3), offset=timedelta()
    )
    assert found.strength is None


def test_a_refused_pair_is_neither_a_claim_nor_in_the_way() -> None:
    found = weigh_recording(
        Group.of((recording(2, 0, 60),)), conversation(1), window=WINDOW, offset=timedelta(), refused=True
    )
    assert (found.strength, found.rivalry) == (None, None)


def test_leads_are_tied_by_stamp_session_number_and_at_last_by_time() -> None:
    stamp = at(68.351452)
    call = conversation(1, 0, 60, session_id="k", number=OURS, lead_expected=True)
    call = replace(call, saved_at=stamp)
    assert weigh_lead(lead(2, stamp=stamp), call).strength is Strength.ID
    assert weigh_lead(lead(2, session_id="k"), call).strength is Strength.ID
    assert weigh_lead(lead(2, 55, number=OURS), call).strength is Strength.NUMBER_AND_TIME
    assert weigh_lead(lead(2, 55), call).strength is Strength.TIME
    assert weigh_lead(lead(2, 55, number=THEIRS), call).strength is None
    assert weigh_lead(lead(2, number=OURS), call).strength is None
    assert weigh_lead(lead(2, 140), call).strength is None
    assert weigh_lead(lead(2, -20), call).strength is None
    long = replace(call, field_end_at=at(600), end_at=at(600), saved_at=at(605))
    assert weigh_lead(lead(2, 100, number=OURS), long).strength is Strength.NUMBER
    assert weigh_lead(lead(2, 100), long).strength is None


def test_a_transcript_that_promises_no_lead_gets_none_by_time() -> None:
    call = conversation(1, 0, 60, session_id="k", lead_expected=False)
    assert weigh_lead(lead(2, 55), call).rivalry is None
    assert weigh_lead(lead(2, 55, session_id="k"), call).strength is Strength.ID


def test_terms_never_quote_a_number() -> None:
    call = conversation(1, 0, 60, number=OURS)
    for number in (OURS, THEIRS):
        assert "555" not in str(weigh(recording(2, 0, 60, number=number), call=call))

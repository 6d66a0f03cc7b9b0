"""Who belongs to whom: the rule's cases, and properties that hold for any traffic."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from handlers.model import Conversation, Lead, Recording, Side, TimeSource
from handlers.settings import MatchSettings
from tests.support.deciding import SETTINGS, decide, lead_pairs, pairs
from tests.support.records import at, conversation, lead, recording

A, B = "+15550100", "+15550101"


# ------------------------------------------------------------------------------------------------- recordings


def test_an_isolated_pair_goes_at_once() -> None:
    found = decide([conversation(1)], [recording(2, -2, 63)])[1]
    assert (found.recording.state, found.recording.settled, found.recording.group) == ("matched", True, "r2")
    assert found.recording.explanation["separated_by"] == "nothing else is near"


def test_two_recordings_that_fit_one_call_are_held() -> None:
    found = decide([conversation(1)], [recording(2, -2, 63), recording(3, 1, 65)])[1].recording
    assert (found.state, found.settled, found.group) == ("ambiguous", False, None)
    assert [one["recording"] for one in found.explanation["candidates"]] == ["r2", "r3"]


def test_two_calls_that_fit_one_recording_are_both_held() -> None:
    found = decide([conversation(1), conversation(2, 3)], [recording(3, 0, 63)])
    assert {d.recording.state for d in found.values()} == {"ambiguous"}
    assert found[1].recording.explanation["candidates"][0]["also_fits"] == ["c2"]


def test_a_chain_of_candidates_is_not_guessed_by_elimination() -> None:
    apart = [conversation(1), conversation(2, 30)], [recording(3, -2, 63), recording(4, 28, 63)]
    assert pairs(decide(*apart)) == {1: "r3", 2: "r4"}
    found = decide([conversation(1), conversation(2, 12)], [recording(3, -5, 63), recording(4, 5, 70)])
    assert pairs(found) == {}  # r3 fits c1 alone, but r4 fits both: r3 may be nobody's


def test_a_crowded_pair_goes_once_its_wait_is_over_and_an_isolated_one_at_once() -> None:
    """Before that either partner may still be on its way; an isolated call cannot be confused with anybody."""
    calls = [conversation(n, 2 * n, 60 + 9 * n) for n in range(1, 8)]
    heard = [recording(10 + n, 2 * n - 2, 65 + 9 * n) for n in range(1, 8)]
    assert pairs(decide(calls[:1], heard[:1])) == {1: "r11"}
    early = decide(calls, heard)
    assert pairs(early) == {}
    late = decide(calls, heard, now=SETTINGS.wait.total_seconds())
    assert pairs(late) == {n: f"r{10 + n}" for n in range(1, 8)}


def test_the_number_wins_over_a_numberless_candidate() -> None:
    found = decide([conversation(1, number=A)], [recording(2, -2, 63, number=A), recording(3, -2, 63)])
    assert pairs(found) == {1: "r2"}
    assert found[1].recording.explanation["separated_by"].startswith("number: ")


def test_a_recording_taken_by_an_id_is_not_in_the_way_of_others() -> None:
    calls = [conversation(1, session_id="k"), conversation(2)]
    found = decide(calls, [recording(3, 0, 60, session_id="k"), recording(4, 0, 60)])
    assert pairs(found) == {1: "r3", 2: "r4"}


def test_a_repeat_callers_calls_are_told_apart_by_time() -> None:
    calls = [conversation(1, 0, 60, number=A), conversation(2, 75, 60, number=A)]
    heard = [recording(3, -2, 62, number=A), recording(4, 73, 62, number=A)]
    assert pairs(decide(calls, heard)) == {1: "r3", 2: "r4"}
    assert pairs(decide(calls, heard[1:])) == {2: "r4"}
    assert pairs(decide(calls[:1], heard[1:])) == {}


def test_two_recordings_under_one_id_are_held_and_not_matched_by_time() -> None:
    calls = [conversation(1, session_id="k"), conversation(2, 3)]
    heard = [recording(3, 0, 60, session_id="k"), recording(4, 500, 60, session_id="k")]
    assert pairs(decide(calls, heard)) == {}


def test_a_recording_dated_by_mtime_is_matched_only_alone() -> None:
    weak = recording(3, 8, 60, source=TimeSource.FILE)
    assert pairs(decide([conversation(1)], [weak])) == {1: "r3"}
    assert pairs(decide([conversation(1), conversation(2, 20)], [weak])) == {}
    assert pairs(decide([conversation(1)], [weak, recording(4, -1, 62)])) == {}


def test_who_is_surely_anothers_is_in_nobodys_way() -> None:
    calls = [conversation(1), conversation(2, 40)]
    heard = [recording(3, -1, 62), recording(4, 45, 60, source=TimeSource.FILE)]
    after = SETTINGS.wait.total_seconds()
    assert pairs(decide(calls, heard, now=after)) == {1: "r3", 2: "r4"}


def test_a_transcript_that_contradicts_itself_wins_only_alone_but_is_in_the_way() -> None:
    doubtful = conversation(2, 20_000, 60, session=1, saved=63)  # its session id fits, its fields are hours off
    assert pairs(decide([doubtful], [recording(3, 0, 60)])) == {2: "r3"}
    assert pairs(decide([doubtful], [recording(3, 0, 60), recording(4, 1, 60)])) == {}
    assert pairs(decide([conversation(1), doubtful], [recording(3, 0, 60)])) == {}


def test_below_the_required_confidence_nothing_is_matched() -> None:
    strict = MatchSettings(confidence=0.9999)
    assert pairs(decide([conversation(1)], [recording(2)], settings=strict)) == {}
    numbered = decide([conversation(1, number=A)], [recording(2, number=A)], settings=strict)
    assert pairs(numbered) == {1: "r2"}


def test_waiting_ends_alone_and_held_ends_as_configured() -> None:
    wait_s = SETTINGS.wait.total_seconds()
    call, rivals = conversation(1, registered=100), [recording(2, 0), recording(3, 1)]
    before, after = 100 + wait_s - 1, 100 + wait_s
    assert decide([call], now=before)[1].recording.state == "waiting"
    alone = decide([call], now=after)[1].recording
    assert (alone.state, alone.settled) == ("alone", True)
    assert not decide([call], rivals, now=before)[1].recording.settled
    held = decide([call], rivals, now=after)[1].recording
    assert (held.state, held.settled) == ("ambiguous", True)
    forever = decide([call], rivals, now=after, settings=MatchSettings(held="hold"))[1].recording
    assert (forever.state, forever.settled) == ("ambiguous", False)


def test_the_wait_runs_from_registration_and_not_from_the_calls_own_times() -> None:
    old = conversation(1, -1_000_000, registered=0)
    assert decide([old], now=1)[1].recording.state == "waiting"


def test_one_side_waits_for_the_other() -> None:
    agent = recording(2, side=Side.AGENT, group="g", registered=5)
    wait_s = SETTINGS.wait.total_seconds()
    found = decide([conversation(1)], [agent], now=4 + wait_s)[1].recording
    assert (found.state, found.settled, found.until) == ("matched", False, at(5 + wait_s))
    assert found.explanation["missing_side"] == "customer"
    assert decide([conversation(1)], [agent], now=5 + wait_s)[1].recording.settled
    customer = recording(3, side=Side.CUSTOMER, group="g", registered=7)
    assert decide([conversation(1)], [agent, customer], now=8)[1].recording.settled


# ------------------------------------------------------------------------------------------------- leads


def test_a_lead_is_waited_for_as_promised() -> None:
    lead_wait_s = SETTINGS.lead_wait.total_seconds()
    for expected in (True, None):
        call = conversation(1, lead_expected=expected)
        assert decide([call], now=lead_wait_s - 1)[1].lead.state == "waiting"
        over = decide([call], now=lead_wait_s)[1].lead
        assert (over.state, over.settled) == ("none", True)
        assert over.explanation.get("flags", []) == (["lead_missing"] if expected else [])
    never = decide([conversation(1, lead_expected=False)], now=0)[1].lead
    assert (never.state, never.settled) == ("none", True)
    short = MatchSettings(wait=timedelta(seconds=30))
    assert decide([conversation(1, lead_expected=True)], now=30, settings=short)[1].lead.settled


def test_an_ambiguous_lead_is_held_and_never_attached() -> None:
    calls = [conversation(1, lead_expected=True), conversation(2, 10, lead_expected=True)]
    found = decide(calls, leads=[lead(3, 58)])
    assert {d.lead.state for d in found.values()} == {"ambiguous"}
    told = decide(calls, leads=[lead(3, 58)], now=1000)[1].lead
    assert (told.state, told.settled, told.lead) == ("ambiguous", True, None)
    assert lead_pairs(decide([calls[0], replace(calls[1], lead_expected=False)], leads=[lead(3, 58)])) == {1: 3}
    assert lead_pairs(decide([replace(calls[0], session_id="k"), calls[1]], leads=[lead(3, 58, session_id="k")])) == {
        1: 3
    }


# ------------------------------------------------------------------------------------------------- properties

_NUMBERS = st.sampled_from([None, None, A, B])
_IDS = st.sampled_from([None, None, None, "session_a", "session_b"])


@st.composite
def traffic(draw: st.DrawFn) -> tuple[list[Conversation], list[Recording], list[Lead]]:
    """Crowded traffic: up to five of each within a minute, with some numbers, ids, mtimes and contradictions."""
    whole = st.integers(0, 50)
    calls = [
        conversation(
            100 + n,
            draw(whole),
            draw(st.integers(20, 60)),
            number=draw(_NUMBERS),
            session_id=draw(_IDS),
            session=draw(st.sampled_from([None, None, 20_000])),
            lead_expected=draw(st.sampled_from([True, False, None])),
        )
        for n in range(draw(st.integers(0, 5)))
    ]
    heard = [
        recording(
            200 + n,
            draw(whole),
            draw(st.integers(20, 60)),
            number=draw(_NUMBERS),
            session_id=draw(_IDS),
            source=draw(st.sampled_from([TimeSource.NAME, TimeSource.NAME, TimeSource.FILE])),
        )
        for n in range(draw(st.integers(0, 5)))
    ]
    asked = [
        lead(300 + n, draw(st.integers(0, 120)), number=draw(_NUMBERS), session_id=draw(_IDS))
        for n in range(draw(st.integers(0, 4)))
    ]
    return calls, heard, asked


@given(traffic())
def test_nobody_is_used_twice(given_: tuple[list[Conversation], list[Recording], list[Lead]]) -> None:
    found = decide(*given_)
    assert len(set(pairs(found).values())) == len(pairs(found))
    assert len(set(lead_pairs(found).values())) == len(lead_pairs(found))


@given(traffic(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing(
    given_: tuple[list[Conversation], list[Recording], list[Lead]], random: object
) -> None:
    mixed = [list(some) for some in given_]
    for some in mixed:
        random.shuffle(some)  # type: ignore[attr-defined]
    assert decide(*mixed) == decide(*given_)  # type: ignore[arg-type]


@given(traffic())
def test_an_unrelated_call_far_away_changes_nothing(
    given_: tuple[list[Conversation], list[Recording], list[Lead]],
) -> None:
    calls, heard, asked = given_
    before = decide(calls, heard, asked)
    after = decide([*calls, conversation(900, 90_000)], [*heard, recording(901, 90_000)], [*asked, lead(902, 90_050)])
    assert {n: d for n, d in after.items() if n != 900} == before


@given(traffic(), st.integers(-40_000_000, 40_000_000))
def test_moving_all_clocks_together_changes_nothing(
    given_: tuple[list[Conversation], list[Recording], list[Lead]], seconds: int
) -> None:
    def moved(call: Conversation) -> Conversation:
        names = ("start_at", "end_at", "session_at", "field_start_at", "field_end_at", "saved_at")
        known = {name: getattr(call, name) for name in names}
        return replace(call, **{name: when and when + by for name, when in known.items()})

    calls, heard, asked = given_
    by = timedelta(seconds=seconds)
    after = decide(
        [moved(call) for call in calls],
        [replace(one, start_at=one.start_at and one.start_at + by) for one in heard],
        [replace(one, taken_at=one.taken_at and one.taken_at + by) for one in asked],
    )
    assert after == decide(calls, heard, asked)


@given(traffic(), st.integers(0, 50), st.integers(20, 60))
def test_a_worse_candidate_turns_a_pair_into_a_question_at_most(
    given_: tuple[list[Conversation], list[Recording], list[Lead]], start: int, length: int
) -> None:
    calls, heard, _ = given_
    before = pairs(decide(calls, heard))
    worse = recording(999, start, length, source=TimeSource.FILE)  # no evidence is weaker than a file's mtime
    after = pairs(decide(calls, [*heard, worse]))
    for call, group in before.items():
        assert after.get(call) in (group, None)


@given(traffic())
def test_a_candidate_as_good_as_the_winner_is_a_question(
    given_: tuple[list[Conversation], list[Recording], list[Lead]],
) -> None:
    calls, heard, _ = given_
    before = pairs(decide(calls, heard))
    for call, group in before.items():
        winner = next(one for one in heard if one.group == group)
        after = decide(calls, [*heard, replace(winner, id=999, group="r999")])
        assert after[call].recording.state == "ambiguous"

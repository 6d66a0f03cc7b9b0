"""Who belongs to whom: the rule's cases, and properties that hold for any traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.match.assign import Neighbourhood, RecordingDecision, Standing, assign, rounded
from handlers.match.evidence import IMPOSSIBLE, Evidence, Experience, Said
from handlers.match.values import Told
from handlers.model import Conversation, Lead, Recording, Side, TimeSource
from handlers.settings import MatchSettings
from tests.support.deciding import SETTINGS, decide, lead_pairs, neighbourhood, pairs
from tests.support.records import at, conversation, lead, recording

EXPERIENCE = Experience()
A, B = "+15550100", "+15550101"
WAIT_S = SETTINGS.wait.total_seconds()
LEAD_WAIT_S = SETTINGS.lead_wait.total_seconds()


def one(
    calls: Sequence[Conversation],
    recordings: Sequence[Recording] = (),
    *,
    now: float = 10.0,
    settings: MatchSettings = SETTINGS,
) -> RecordingDecision:
    """The first conversation's recording."""
    return decide(calls, recordings, now=now, settings=settings)[calls[0].id].recording


# ------------------------------------------------------------------------------------------------- recordings


def test_an_isolated_pair_goes_at_once() -> None:
    found = decide([conversation(1)], [recording(2, -2, 63)])[1]
    assert (found.recording.state, found.recording.settled, found.recording.group) == ("matched", True, "r2")
    assert found.recording.explanation["separated_by"] == "nothing else is near"


def test_a_caller_on_hold_is_known_by_the_number_alone() -> None:
    """One caller is not in two calls at once, whatever else is unusual."""
    found = one([conversation(1, 0, 300, number=A)], [recording(2, 90, 170, number=A)], now=WAIT_S)
    assert (found.state, found.group) == ("matched", "r2")


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


def test_a_wait_that_is_over_for_one_file_counts_for_that_file() -> None:
    """The later two are known to be complete only once their own wait is over."""
    late = 600.0
    calls = [conversation(1, 0), conversation(2, 12, registered=late)]
    heard = [recording(11, -5, 66), recording(12, 7, 66, registered=late)]
    before, between, after = (decide(calls, heard, now=now) for now in (late, WAIT_S, WAIT_S + late))
    likely = [found[2].recording.explanation["candidates"][0]["probability"] for found in (before, between, after)]
    assert likely[0] < likely[1] < likely[2]
    assert pairs(after) == {1: "r11", 2: "r12"}


def test_unequal_numbers_never_pair_however_well_times_fit() -> None:
    found = one([conversation(1, number=A)], [recording(2, -2, 63, number=B)], now=WAIT_S)
    assert (found.state, found.group) == ("alone", None)


def test_a_refused_pair_never_pairs() -> None:
    near = neighbourhood([conversation(1, session_id="k")], [recording(2, -2, 63, session_id="k")])
    refused = replace(near, recording_pairs={("r2", 1): Evidence(IMPOSSIBLE, Said(()))})
    found = assign(refused, at(WAIT_S), SETTINGS, EXPERIENCE)[1].recording
    assert (found.state, found.group, found.explanation["candidates"]) == ("alone", None, [])


def test_an_id_outranks_times() -> None:
    call = conversation(1, session_id="k")
    rivals = [recording(2, 5.5 * 3600, 63, session_id="k"), recording(3, -2, 63)]
    found = one([call], rivals, now=WAIT_S)
    assert found.group == "r2"
    assert found.explanation["separated_by"].startswith("session id: 10^9")


def test_ids_of_another_make_do_not_contradict() -> None:
    call = conversation(1, session_id="session_20251029_120000_2e0aa754")
    assert one([call], [recording(2, -2, 63, session_id="line 7")]).group == "r2"
    other = recording(2, -2, 63, session_id="session_20251029_120003_aaaa0000")
    assert one([call], [other], now=WAIT_S).state == "alone"


@pytest.mark.parametrize("busy", [0, 20, 60])
def test_a_wild_clock_does_not_pair_by_id_against_a_rival(busy: int) -> None:
    wild = recording(2, 3 * 86_400, 63, session_id="k")
    strangers = [recording(100 + n, 100 + 3 * n, 5) for n in range(busy)]
    call = conversation(1, session_id="k")
    assert one([call], [wild, recording(3, -2, 63), *strangers], now=WAIT_S).state == "ambiguous"
    assert one([call], [wild], now=WAIT_S).group == "r2"


@pytest.mark.parametrize("hours", [-1, 1])
def test_of_two_calls_with_one_id_the_one_whose_times_fit_is_its_own(hours: int) -> None:
    """Whichever of the two comes first: a claim by an id alone never outweighs the same id with times that fit."""
    calls = [conversation(1, hours * 3600, session_id="k"), conversation(2, session_id="k")]
    found = decide(calls, [recording(3, -2, 63, session_id="k")], now=WAIT_S)
    assert pairs(found) == {2: "r3"}


def test_a_recording_that_is_another_calls_does_not_keep_a_call_from_going_alone() -> None:
    found = decide([conversation(1), conversation(2, 20)], [recording(3, 18, 63)], now=WAIT_S)
    assert (found[1].recording.state, found[1].recording.settled, found[2].recording.group) == ("alone", True, "r3")
    assert 0.99 <= found[1].recording.probability < 1


def test_what_is_beyond_question_stays_and_is_not_weighed() -> None:
    near = neighbourhood([conversation(1)], [recording(2, 500, 63)], [lead(3, 5000)])
    told = near.standings[1].told
    fixed = replace(near, standings={1: Standing(told, "r2", 3)}, recording_pairs={}, lead_pairs={})
    found = assign(fixed, at(10), SETTINGS, EXPERIENCE)[1]
    assert (found.recording.state, found.recording.group, found.recording.probability) == ("matched", "r2", 1.0)
    assert (found.lead.state, found.lead.lead, found.lead.settled) == ("matched", 3, True)
    assert "candidates" not in found.recording.explanation


def test_nobody_is_decided_who_was_not_asked_for() -> None:
    near = neighbourhood([conversation(1), conversation(2, 300)], [recording(3, -2, 63)])
    assert set(assign(near, at(10), SETTINGS, EXPERIENCE, wanted=[2])) == {2}
    assert assign(Neighbourhood(), at(10), SETTINGS, EXPERIENCE) == {}


def test_a_rival_of_whom_nothing_is_known_makes_a_question_of_a_pair() -> None:
    """A conversation outside could want the recording, whatever else it may have: only bounds are known."""
    calls, heard = [conversation(1), conversation(2, 1)], [recording(3, -2, 63), recording(4, -1, 64)]
    near = replace(neighbourhood(calls, heard), recording_outside=frozenset({2}))
    found = assign(near, at(WAIT_S), SETTINGS, EXPERIENCE, wanted=[1])[1].recording
    assert found.state == "ambiguous"
    assert found.explanation["at_least"] is True


def test_a_question_says_what_would_settle_it() -> None:
    plain = one([conversation(1)], [recording(2, -2, 63), recording(3, -1, 62)]).explanation
    best = plain["candidates"][0]["recording"]
    assert plain["would_settle"].startswith(f"callspool match accept c1 {best}; or ")
    assert "the caller's number in both" in plain["would_settle"]
    assert "time stamps on its lines" in plain["would_settle"]
    assert "when the conversation" not in plain["would_settle"]
    numbered = one(
        [conversation(1, number=A)], [recording(2, -2, 63, number=A), recording(3, -1, 62, number=A)]
    ).explanation
    assert "number" not in numbered["would_settle"]
    endless = one([conversation(1, length=None)], [recording(2, -2, 63), recording(3, -1, 62)]).explanation
    assert "when the conversation ended" in endless["would_settle"]


def test_what_separated_the_winner_is_the_term_that_weighs_most() -> None:
    calls = [conversation(1, 0), conversation(2, 30)]
    found = decide(calls, [recording(3, -2, 63), recording(4, 28, 63)], now=WAIT_S)
    assert found[1].recording.explanation["separated_by"].startswith("start: 10^")
    only = decide([*calls], [recording(4, 28, 63)], now=WAIT_S)
    assert only[2].recording.explanation["separated_by"] == "it has no other candidate"


def test_explanations_name_candidates_with_terms_and_probability_and_hold_no_number_name_or_id() -> None:
    calls = [
        conversation(1, number=A, session_id="secret", saved=68.351452, lead_expected=True),
        conversation(2, 3, number=A, session_id="secret", lead_expected=True),
    ]
    heard = [
        recording(3, -2, 63, number=A, session_id="secret", name="number-_15550100-1.ogg"),
        recording(4, -1, 62, number=A, session_id="secret"),
    ]
    found = decide(calls, heard, [lead(5, 58, number=A, session_id="secret", stamp=at(68.351452))])
    text = str(found)
    assert not [word for word in ("555", "secret", "ogg", "351452") if word in text]
    candidate: dict[str, Any] = found[1].recording.explanation["candidates"][0]
    assert candidate["recording"] in ("r3", "r4")
    assert 0 < candidate["probability"] < 1
    assert {"name", "says", "weight"} <= set(candidate["terms"][0])
    assert {term["name"] for term in candidate["terms"]} == {"session id", "number", "start", "end"}
    assert found[1].lead.explanation["candidates"][0]["lead"] == "l5"


@pytest.mark.parametrize(
    ("probability", "kept"), [(0.123456, 0.123), (0.99987654, 0.999877), (0.582, 0.582), (1 - 1e-12, 1 - 1e-12), (1, 1)]
)
def test_a_probability_is_kept_with_three_digits_of_what_is_missing_to_one(probability: float, kept: float) -> None:
    assert rounded(probability) == pytest.approx(kept, abs=0, rel=1e-15)


def test_a_probability_of_three_digits_is_shown_as_it_is() -> None:
    assert [n for n in range(1, 1000) if rounded(n / 1000) != n / 1000] == []


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


def test_a_lead_with_a_stamp_a_session_or_a_number_is_taken_at_once() -> None:
    call = conversation(1, session_id="k", number=A, saved=68.351452, lead_expected=True)
    for tied in (lead(3, stamp=at(68.351452)), lead(3, session_id="k"), lead(3, 55, number=A)):
        assert lead_pairs(decide([call], leads=[tied])) == {1: 3}


def test_a_transcript_that_promises_no_lead_gets_one_only_by_a_mark() -> None:
    call = conversation(1, session_id="k", saved=68.351452, lead_expected=False)
    assert lead_pairs(decide([call], leads=[lead(3, 55)], now=WAIT_S)) == {}
    assert lead_pairs(decide([call], leads=[lead(3, 55, session_id="k")])) == {1: 3}
    assert lead_pairs(decide([call], leads=[lead(3, stamp=at(68.351452))])) == {1: 3}


@pytest.mark.parametrize("taken", [55, None])
def test_a_lead_of_another_transcripts_stamp_is_not_taken(taken: float | None) -> None:
    """Not even where that transcript is not there (yet), and nothing else is near."""
    call = conversation(1, saved=68.351452, lead_expected=True)
    assert lead_pairs(decide([call], leads=[lead(3, taken, stamp=at(69.123456))], now=WAIT_S)) == {}


def test_the_lead_waits_no_longer_than_the_recording_may() -> None:
    told = Told.of(conversation(1, lead_expected=True, registered=7))
    found = assign(Neighbourhood(standings={1: Standing(told)}), at(7), SETTINGS, EXPERIENCE)[1]
    assert (found.lead.until, found.recording.until) == (at(7 + LEAD_WAIT_S), at(7 + WAIT_S))


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

"""What holds for any traffic: small crowds out of the simulator, with what is said and heard, and drawn ones with ids,
numbers, guessed starts and transcripts that contradict themselves.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from handlers.match.assign import in_time, recording_weights
from handlers.match.evidence import Experience
from handlers.match.neighbours import walk
from handlers.match.posterior import beliefs
from handlers.match.values import Group, Told
from handlers.model import Conversation, Recording, TimeSource
from handlers.settings import MatchSettings
from tests.bench.observed import simulate
from tests.bench.traffic import Traffic
from tests.support.plain import Plain
from tests.support.records import conversation, recording

CONFIDENCE = MatchSettings().confidence
EXPERIENCE = Experience()
A, B = "+15550100", "+15550101"

proving = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@dataclass(frozen=True)
class Files:
    """A traffic's files."""

    recordings: Sequence[Recording]
    conversations: Sequence[Conversation]

    def shuffled(self, rng: random.Random) -> Files:
        """The same in another order."""
        mixed = list(self.recordings), list(self.conversations)
        for some in mixed:
            rng.shuffle(some)
        return Files(*mixed)

    def plus(self, *more: Recording | Conversation) -> Files:
        """With more files."""
        return Files(
            [*self.recordings, *(one for one in more if isinstance(one, Recording))],
            [*self.conversations, *(one for one in more if isinstance(one, Conversation))],
        )


Answers = dict[int, tuple[str | None, float]]
"""The recording of each conversation where one is decided, and how probable the most probable one is."""


def plain(files: Files) -> Plain:
    """A source of neighbours over them."""
    groups = [Group.of([one]) for one in files.recordings]
    return Plain(groups, [Told.of(one) for one in files.conversations], EXPERIENCE)


def decide(files: Files) -> Answers:
    """What is decided for everybody, each out of its own neighbourhood, once nobody waits any more."""
    source = plain(files)
    answers: Answers = {}
    for number, told in source.tolds.items():
        walked = walk(("call", number), source)
        near = {other: source.tolds[other] for _, other in walked.pairs} | {number: told}
        weights = recording_weights(walked.pairs, near, source.groups, EXPERIENCE, wait_ms=0, now_ms=None)
        belief = beliefs(weights, in_time(near.values()), outside=walked.outside, wanted=[number])[number]
        best = max(belief.pairs, key=lambda key: (belief.pairs[key], key), default=None)
        probability = 0.0 if best is None else belief.pairs[best]
        answers[number] = (best if probability >= CONFIDENCE else None, probability)
    return answers


def matched(answers: Answers) -> dict[int, str]:
    """The decided pairs."""
    return {number: key for number, (key, _) in answers.items() if key is not None}


@cache
def simulated(seed: int, rate: float) -> Files:
    """Seven calls of the simulator."""
    seen, _ = simulate(Traffic(rate=rate, conversations=7, number_in_name=0.3, contradictory=0.1), seed)
    return Files(seen.recordings, seen.conversations)


@st.composite
def drawn(draw: st.DrawFn) -> Files:
    """Up to five conversations within a minute, and recordings that lie about as one of theirs would, or anywhere."""
    numbers = st.sampled_from([None, None, A, B])
    ids = st.sampled_from([None, None, None, "session_a", "session_b", "line 7"])
    calls = [
        conversation(
            100 + n,
            draw(st.integers(0, 50)),
            draw(st.integers(20, 60)),
            number=draw(numbers),
            session_id=draw(ids),
            session=draw(st.sampled_from([None, None, None, 20_000])),
        )
        for n in range(draw(st.integers(0, 5)))
    ]
    heard = [
        recording(
            200 + n,
            draw(st.integers(-4, 50)),
            draw(st.integers(20, 66)),
            number=draw(numbers),
            session_id=draw(ids),
            source=draw(st.sampled_from([TimeSource.NAME, TimeSource.NAME, TimeSource.FILE])),
        )
        for n in range(draw(st.integers(0, 2)))
    ]
    for call in calls[: draw(st.integers(0, 5))]:
        assert call.field_start_at is not None
        assert call.end_at is not None
        begun = call.field_start_at + timedelta(seconds=draw(st.sampled_from([-2, -2, -1, 0, -8])))
        length = (call.end_at - begun).total_seconds() + draw(st.sampled_from([0, 1, 2, 9]))
        heard.append(recording(300 + call.id, begun, length, number=draw(st.sampled_from([None, call.number]))))
    return Files(heard, calls)


files_of = st.one_of(
    st.builds(simulated, st.integers(0, 14), st.sampled_from([2.0, 15.0, 60.0])),
    drawn(),
)


def test_the_simulators_crowds_are_neither_trivial_nor_hopeless() -> None:
    """Otherwise the properties below would say little."""
    decided = [len(matched(decide(simulated(seed, rate)))) for seed in range(15) for rate in (2.0, 15.0, 60.0)]
    assert sum(decided) > 100
    asked = [len(simulated(seed, rate).conversations) for seed in range(15) for rate in (2.0, 15.0, 60.0)]
    assert sum(asked) - sum(decided) > 15


@proving
@given(files_of)
def test_nobody_is_used_twice(files: Files) -> None:
    pairs = matched(decide(files))
    assert len(set(pairs.values())) == len(pairs)


@proving
@given(files_of)
def test_unequal_numbers_are_paired_only_by_an_id(files: Files) -> None:
    heard = {one.group: one for one in files.recordings}
    calls = {one.id: one for one in files.conversations}
    for number, key in matched(decide(files)).items():
        ours, theirs = heard[key], calls[number]
        assert None in (ours.number, theirs.number) or ours.number == theirs.number or ours.session_id is not None


@proving
@given(files_of, st.integers(0, 10**6))
def test_the_order_of_arrival_changes_nothing(files: Files, seed: int) -> None:
    before, after = decide(files), decide(files.shuffled(random.Random(seed)))
    assert matched(after) == matched(before)
    assert {n: p for n, (_, p) in after.items()} == pytest.approx({n: p for n, (_, p) in before.items()}, abs=1e-9)


@proving
@given(files_of, st.integers(0, 10**6))
def test_which_ids_the_files_were_given_changes_nothing(files: Files, seed: int) -> None:
    """Ids are dealt out as files arrive."""
    rng = random.Random(seed)
    dealt = rng.sample(range(1000, 1100), len(files.conversations))
    named = {one.id: number for one, number in zip(files.conversations, dealt, strict=True)}
    keyed = {
        one.group: f"r{number}"
        for one, number in zip(files.recordings, rng.sample(range(2000, 2100), len(files.recordings)), strict=True)
    }
    after = decide(
        Files(
            [replace(one, group=keyed[one.group]) for one in files.recordings],
            [replace(one, id=named[one.id]) for one in files.conversations],
        )
    )
    before = decide(files)
    assert {number: key and keyed[key] for number, (key, _) in before.items()} == {
        number: after[named[number]][0] for number in before
    }
    for number, (_, probability) in before.items():
        assert after[named[number]][1] == pytest.approx(probability, abs=1e-9)


@proving
@given(files_of, st.integers(3, 2000), st.booleans())
def test_an_unrelated_call_hours_away_changes_nothing(files: Files, hours: int, earlier: bool) -> None:
    starts = [one.start_at for one in files.conversations if one.start_at is not None]
    assume(starts)
    away = timedelta(hours=-hours if earlier else hours)
    begun = (min(starts) if earlier else max(starts)) + away
    call = replace(conversation(9000), start_at=begun, field_start_at=begun, end_at=begun + timedelta(seconds=60))
    assume(
        not [one for one in files.conversations if one.session_at is not None and abs(one.session_at - begun) < away]
    )
    answers = decide(files.plus(call, recording(9001, begun, 63.0)))
    assert {number: said for number, said in answers.items() if number != 9000} == decide(files)


def moved(one: Conversation, by: timedelta) -> Conversation:
    """The conversation by clocks that are off by so much."""
    names = ("start_at", "end_at", "session_at", "field_start_at", "field_end_at", "saved_at")
    known = {name: getattr(one, name) for name in names}
    turns = tuple(replace(turn, at=turn.at and turn.at + by) for turn in one.turns)
    return replace(one, turns=turns, **{name: when and when + by for name, when in known.items()})


@proving
@given(files_of, st.integers(-40_000_000_000, 40_000_000_000))
def test_moving_all_clocks_together_by_whole_milliseconds_changes_nothing(files: Files, by_ms: int) -> None:
    by = timedelta(milliseconds=by_ms)
    after = Files(
        [
            replace(one, start_at=one.start_at and one.start_at + by, stamp=one.stamp and one.stamp + by)
            for one in files.recordings
        ],
        [moved(one, by) for one in files.conversations],
    )
    assert decide(after) == decide(files)


@proving
@given(files_of, st.integers(0, 6), st.integers(-40, 40), st.integers(0, 30))
def test_a_worse_candidate_turns_a_pair_into_a_question_at_most(
    files: Files, nth: int, off_s: int, longer_s: int
) -> None:
    """A recording that fits nobody better than the one it has: some other's copy, with other times and no marks."""
    before = matched(decide(files))
    assume(before)
    model = next(one for one in files.recordings if one.group == sorted(before.values())[nth % len(before)])
    assert model.start_at is not None
    worse = recording(9001, model.start_at + timedelta(seconds=off_s), model.audio.span_s + longer_s)
    with_it = files.plus(worse)
    source = plain(with_it)
    assume(all(source.weigh("r9001", n).log_share <= source.weigh(key, n).log_share for n, key in before.items()))
    after = matched(decide(with_it))
    assert {number: after.get(number) for number in before if after.get(number) not in (before[number], None)} == {}


@proving
@given(files_of)
def test_a_candidate_as_good_as_the_winner_makes_a_question(files: Files) -> None:
    for number, key in matched(decide(files)).items():
        winner = next(one for one in files.recordings if one.group == key)
        twin = replace(winner, id=9001, group="r9001")
        assert decide(files.plus(twin))[number][0] is None


@proving
@given(files_of)
def test_a_pair_without_its_recording_is_not_made_with_one_that_was_impossible(files: Files) -> None:
    """Taking the winner away leaves its conversation what others could give it, and never a pair of no weight."""
    before = decide(files)
    source = plain(files)
    for number, key in matched(before).items():
        left = Files([one for one in files.recordings if one.group != key], files.conversations)
        second = decide(left)[number][0]
        assert second is None or source.weigh(second, number).possible

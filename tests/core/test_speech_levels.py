"""From levels to stretches of speech: what holds for any levels, and what for levels that are a call's."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.audio.speech import LOST, PAUSE_S, QUIETEST, SHORTEST_S, speech, united

STEP_S = 0.02
FIRST, LAST = 0, 1

whole = st.integers(-60, 0).map(float)
channel = st.lists(
    st.tuples(whole | st.just(LOST), st.integers(1, 80)).map(lambda run: [run[0]] * run[1]), max_size=40
).map(lambda runs: [level for run in runs for level in run])


@given(st.lists(channel, max_size=3))
def test_stretches_are_in_order_apart_and_within_what_was_heard(channels: list[list[float]]) -> None:
    told = speech(channels, STEP_S)
    if told is None:
        return
    assert told
    assert all(first < last for first, last in told)
    assert all(before[LAST] < after[FIRST] for before, after in pairwise(told))
    assert told[0][FIRST] >= 0
    assert told[-1][LAST] <= max(map(len, channels)) * STEP_S + 1e-9


@given(channel)
def test_stretches_of_one_channel_are_long_enough_and_so_are_the_pauses(levels: list[float]) -> None:
    told = speech([levels], STEP_S) or ()
    assert all(last - first >= SHORTEST_S - 1e-9 for first, last in told)
    assert all(after[FIRST] - before[LAST] >= PAUSE_S - 1e-9 for before, after in pairwise(told))


@given(channel, st.integers(-4, 40))
def test_louder_recording_tells_the_same(levels: list[float], gain_db: int) -> None:
    assert speech([[level + gain_db for level in levels]], STEP_S) == speech([levels], STEP_S)


@given(st.lists(channel, min_size=2, max_size=3))
def test_order_of_the_channels_does_not_matter(channels: list[list[float]]) -> None:
    assert speech(channels, STEP_S) == speech(channels[::-1], STEP_S)


@given(channel, channel)
def test_channel_hides_nothing_of_another(one: list[float], other: list[float]) -> None:
    both = speech([one, other], STEP_S)
    for first, last in speech([one], STEP_S) or ():
        assert both is None or any(begin <= first and last <= end for begin, end in both)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=12))
def test_union_covers_what_its_parts_cover(parts: list[tuple[int, int]]) -> None:
    spans = [(float(first), float(first + length)) for first, length in parts]
    covered = {moment for first, last in spans for moment in range(int(first), int(last))}
    apart = united(spans)
    assert {moment for first, last in apart for moment in range(int(first), int(last))} == covered
    assert all(before[LAST] < after[FIRST] for before, after in pairwise(apart))


@given(st.integers(10, 400), st.integers(10, 100), st.integers(20, 400), st.integers(-45, -10), st.integers(12, 80))
def test_burst_is_found_to_the_window(before: int, length: int, after: int, loud: int, rise: int) -> None:
    levels = [float(loud - rise)] * before + [float(loud)] * length + [float(loud - rise)] * after
    assert speech([levels], STEP_S) == ((before * STEP_S, (before + length) * STEP_S),)


@pytest.mark.parametrize("lost", [1, 50, 2000])
def test_lost_time_is_quiet_and_no_evidence_of_what_quiet_is_like(lost: int) -> None:
    noise, voice = [-40.0] * 100, [-15.0] * 50
    levels = noise + voice + noise + [LOST] * lost + noise + voice + noise
    later = (350 + lost) * STEP_S
    assert speech([levels], STEP_S) == ((2.0, 3.0), (later, later + 1.0))


def test_steps_of_noise_are_taken_at_once() -> None:
    silence, noise, voice = [QUIETEST] * 700, [-45.0] * 400, [-20.0] * 50
    levels = silence + noise + voice + noise + silence
    assert speech([levels], STEP_S) == ((22.0, 23.0),)


def test_monologue_longer_than_the_floor_looks_is_speech() -> None:
    assert speech([[QUIETEST] * 500 + [-20.0] * 1500 + [QUIETEST] * 500], STEP_S) == ((10.0, 40.0),)


@pytest.mark.parametrize(
    "levels",
    [[], [-20.0], [-20.0] * 1000, [QUIETEST] * 1000, [-70.0] * 500 + [-66.0] * 500, [-30.0, -24.0] * 500, [LOST] * 9],
)
def test_nothing_is_told_where_levels_do_not_part(levels: list[float]) -> None:
    assert speech([levels], STEP_S) is None


def test_no_channel_tells_nothing() -> None:
    assert speech([], STEP_S) is None

"""A wrong clock or time zone: one distance that half of those without a partner agree on."""

from __future__ import annotations

import random

import pytest

from handlers.match.shift import AGREE_MS, FEWEST, LEAST_MS, MOST_MS, Stretch, constant_shift, fix, said

HALF_PAST_FIVE_MS = 19_800_000


def traffic(seed: int, calls: int, every_s: float = 120.0) -> list[Stretch]:
    """Calls as start and length in milliseconds."""
    rng = random.Random(seed)
    start = 1_700_000_000_000
    made = []
    for _ in range(calls):
        start += round(rng.expovariate(1 / every_s) * 1000)
        made.append((start, round(min(600.0, max(8.0, rng.lognormvariate(4.5, 0.8))) * 1000)))
    return made


def recorded(calls: list[Stretch], shift_ms: int, seed: int = 0) -> list[Stretch]:
    """What was recorded of them by a clock that is off, give or take a second and a half."""
    rng = random.Random(seed)
    return [(start + shift_ms + rng.randint(-1500, 1500), length + rng.randint(0, 3000)) for start, length in calls]


@pytest.mark.parametrize("shift_ms", [HALF_PAST_FIVE_MS, -HALF_PAST_FIVE_MS, 3_600_000, -7_200_000, 300_000])
@pytest.mark.parametrize("calls", [FEWEST, 12, 100])
def test_a_time_zone_between_recorder_and_conversations_is_found(shift_ms: int, calls: int) -> None:
    made = traffic(calls, calls)
    found = constant_shift(recorded(made, shift_ms), made)
    assert found is not None
    assert found.shift_ms == pytest.approx(shift_ms, abs=AGREE_MS)
    assert found.calls >= max(FEWEST, calls // 2)


@pytest.mark.parametrize("seed", range(40))
def test_there_is_no_alarm_on_traffic_that_has_nothing_in_common(seed: int) -> None:
    rng = random.Random(seed)
    ours, theirs = traffic(seed, rng.randint(1, 60)), traffic(seed + 1000, rng.randint(1, 60))
    assert constant_shift(ours, theirs) is None


def test_there_is_no_alarm_on_calls_all_of_one_length_at_random_times() -> None:
    rng = random.Random(4)
    ours, theirs = ([(rng.randint(0, 40_000_000), 60_000) for _ in range(30)] for _ in range(2))
    assert constant_shift(ours, theirs) is None


def test_few_pairs_are_chance_and_most_must_agree() -> None:
    made = traffic(1, FEWEST - 1)
    assert constant_shift(recorded(made, HALF_PAST_FIVE_MS), made) is None
    many = traffic(2, 20)
    half = recorded(many[:12], HALF_PAST_FIVE_MS)
    assert constant_shift([*half, *traffic(77, 8)], many) is not None
    few = recorded(many[:5], HALF_PAST_FIVE_MS)
    assert constant_shift([*few, *traffic(77, 15)], many) is None
    assert constant_shift([], many) is None
    assert constant_shift(many, []) is None


@pytest.mark.parametrize("beyond_ms", [0, 1, AGREE_MS // 2, AGREE_MS - 1, -1])
def test_a_distance_on_the_border_of_two_bins_is_one_distance(beyond_ms: int) -> None:
    border = HALF_PAST_FIVE_MS // AGREE_MS * AGREE_MS + beyond_ms
    made = traffic(3, 10)
    ours = [(start + border + (-1 if nth % 2 else 1), length) for nth, (start, length) in enumerate(made)]
    found = constant_shift(ours, made)
    assert found is not None
    assert found.calls == 10
    assert found.shift_ms == pytest.approx(border, abs=AGREE_MS / 2 + 1)


def test_what_a_recorder_does_every_time_and_what_no_zone_explains_is_no_shift() -> None:
    made = traffic(5, 10)
    assert constant_shift(recorded(made, 20_000), made) is None
    assert constant_shift(recorded(made, -LEAST_MS + 3 * AGREE_MS), made) is None
    assert constant_shift(recorded(made, LEAST_MS + 3 * AGREE_MS), made) is not None
    assert constant_shift(recorded(made, MOST_MS + 3 * AGREE_MS), made) is None
    assert constant_shift(recorded(made, MOST_MS - 3 * AGREE_MS), made) is not None


def test_recordings_of_another_length_are_no_pair() -> None:
    made = traffic(6, 10)
    longer = [(start + HALF_PAST_FIVE_MS, length + 20_000) for start, length in made]
    shorter = [(start + HALF_PAST_FIVE_MS, length - 6_000) for start, length in made]
    assert constant_shift(longer, made) is None
    assert constant_shift(shorter, made) is None


def test_the_finding_names_the_distance_and_what_to_set() -> None:
    assert said(HALF_PAST_FIVE_MS, 7).startswith("7 recordings lie +5:30:00 after")
    assert "time zones" in said(HALF_PAST_FIVE_MS, 7)
    assert said(-3_725_000, 4).startswith("4 recordings lie -1:02:05 after")
    assert "time zones" not in said(-3_725_000, 4)
    assert "match.offset to -19800s" in fix(HALF_PAST_FIVE_MS)

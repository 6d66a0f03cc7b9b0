"""How far apart a call's files lie: what is assumed, and what matches teach."""

from __future__ import annotations

import random
from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.match.offsets import BIN_MS, PRIOR_COUNT, Offsets, Quantity, Table, learned
from handlers.records.lessons import Anchor, Lesson

PRIOR = Offsets().table("", "start", "field")


def whole(table: Table) -> float:
    """All of a table's probability."""
    return sum(table.density) * BIN_MS / 1000


def around(table: Table, from_s: float, to_s: float) -> float:
    """The probability of a distance between two, in seconds."""
    places = range(round(from_s * 1000), round(to_s * 1000), BIN_MS)
    return sum(table.at(ms) for ms in places) * BIN_MS / 1000


def lesson(start_ms: int | None, end_ms: int | None = 0, *, anchor: Anchor = "field", by_mtime: bool = False) -> Lesson:
    """What one match of the recorder ``ours`` taught."""
    return Lesson("ours", by_mtime, anchor, "field", start_ms, end_ms, None, None, 60_000)


@pytest.mark.parametrize(
    ("quantity", "anchor", "by_mtime"), [*product(get_args(Quantity), get_args(Anchor), (False, True))]
)
def test_every_density_sums_to_one_and_ends_at_its_reach(quantity: Quantity, anchor: Anchor, by_mtime: bool) -> None:
    table = Offsets(reach_ms=120_000).table("", quantity, anchor, by_mtime=by_mtime)
    assert whole(table) == pytest.approx(1.0)
    assert table.at(table.first_ms) >= 0
    assert table.at(table.first_ms - 1) == table.at(table.last_ms) == 0.0
    assert -table.first_ms == table.last_ms == (60_000 if quantity == "skew" else 120_000)
    assert table.taught == 0


@given(st.lists(st.integers(-400_000, 400_000), min_size=1, max_size=40))
def test_whatever_is_taught_the_density_sums_to_one_and_rules_nothing_out(taught_ms: list[int]) -> None:
    """Inside its reach: the prior keeps its share, so that wrong lessons never make the truth impossible."""
    found = learned(PRIOR, taught_ms)
    assert whole(found) == pytest.approx(1.0)
    least = PRIOR_COUNT / (len(taught_ms) + PRIOR_COUNT)
    assert all(
        now >= 0.99 * least * before for now, before in zip(found.density[::50], PRIOR.density[::50], strict=True)
    )
    assert found.taught == len(taught_ms)


def test_a_recorder_begins_about_the_session_until_something_else_is_taught() -> None:
    assert around(PRIOR, -6, 3) > 0.85
    assert around(PRIOR, -60, 60) > 0.99
    assert PRIOR.usual_s == pytest.approx(-1.5, abs=0.5)


def test_a_table_moves_to_what_was_taught_and_grows_narrow_with_it() -> None:
    rng = random.Random(1)
    offsets = Offsets(lessons={"ours": [lesson(round(rng.gauss(4000, 300))) for _ in range(50)]})
    found = offsets.table("ours", "start", "field")
    assert found.usual_s == pytest.approx(4.0, abs=0.3)
    assert found.spread_s < 0.6 < PRIOR.spread_s
    assert around(found, 3, 5) > 0.8 > 0.2 > around(PRIOR, 3, 5)
    assert (found.taught, PRIOR.taught) == (50, 0)


def test_a_single_lesson_only_begins_to_move_a_table() -> None:
    found = learned(PRIOR, [20_000])
    assert around(found, 19, 21) > 10 * around(PRIOR, 19, 21)
    assert around(found, -6, 3) > 0.7


def test_one_recorder_teaches_nothing_about_another_and_one_anchor_nothing_about_another() -> None:
    offsets = Offsets(lessons={"ours": [lesson(9_000) for _ in range(40)]})
    assert offsets.table("another", "start", "field") == PRIOR
    assert offsets.table("ours", "start", "session") == PRIOR
    mtime = Offsets().table("", "start", "field", by_mtime=True)
    assert offsets.table("ours", "start", "field", by_mtime=True) == mtime != PRIOR
    assert offsets.table("ours", "start", "field") != PRIOR
    silent = Offsets(lessons={"ours": [lesson(None)]})
    assert silent.table("ours", "start", "field") == PRIOR


def test_each_distance_learns_from_its_own_part_of_a_lesson() -> None:
    offsets = Offsets(lessons={"ours": [Lesson("ours", True, None, "item", None, 7_000, 5_000, -3_000, 60_000)] * 40})
    assert offsets.table("ours", "end", "item", by_mtime=True).usual_s == pytest.approx(7, abs=0.5)
    assert offsets.table("ours", "length", "field", by_mtime=True).usual_s == pytest.approx(5, abs=0.5)
    assert offsets.table("ours", "skew", "field", by_mtime=True).usual_s == pytest.approx(-3, abs=0.5)


def test_two_clocks_behind_one_name_are_two_peaks_with_a_valley_between() -> None:
    rng = random.Random(2)
    taught = [round(rng.gauss(middle, 200)) for middle in (-8000, 8000) for _ in range(40)]
    found = learned(PRIOR, taught)
    peaks = [max(found.at(ms) for ms in range(middle - 1000, middle + 1000, BIN_MS)) for middle in (-8000, 8000)]
    assert min(peaks) > 3 * found.at(0)
    assert min(peaks) > 3 * max(found.at(-16_000), found.at(16_000))
    assert around(found, -12, -4) > 0.3
    assert around(found, 4, 12) > 0.3


def test_few_wild_lessons_do_not_blur_what_the_others_taught() -> None:
    rng = random.Random(3)
    good = [round(rng.gauss(-2000, 200)) for _ in range(60)]
    clean, soiled = learned(PRIOR, good), learned(PRIOR, [*good, 150_000, -200_000, 90_000])
    assert soiled.at(-2000) > 0.8 * clean.at(-2000)
    assert soiled.usual_s == pytest.approx(clean.usual_s, abs=0.25)
    assert soiled.spread_s < 2 * clean.spread_s
    outside = learned(PRIOR, [*good, 10_000_000])
    assert around(outside, -3, -1) > 0.8 * around(clean, -3, -1)


def test_a_thousand_equal_lessons_keep_a_width_and_leave_the_rest_possible() -> None:
    found = learned(PRIOR, [-2000] * 1000)
    assert whole(found) == pytest.approx(1.0)
    assert found.at(-2000) > 1
    assert found.at(-2400) > 0.01
    assert found.at(30_000) > 0

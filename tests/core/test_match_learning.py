"""How slowly habits are learned: how long calls are, and how often a partner is missing."""

from __future__ import annotations

import math

import pytest

from handlers.match.learning import experienced, lengths, share
from handlers.records.lessons import Lesson


def lesson(span_ms: int) -> Lesson:
    return Lesson("x", False, "field", "field", -2000, 1000, None, 300, span_ms)


def test_how_long_calls_are_is_learned_from_matches() -> None:
    mean, spread = lengths([20.0] * 500)
    assert math.exp(mean) == pytest.approx(20, rel=0.1)
    assert spread < 0.3
    assert experienced(300_000, {"x": (lesson(20_000),) * 500}).length_mean == pytest.approx(mean)
    assert lengths([]) == lengths(iter(()))


def test_a_broken_installation_is_not_taken_for_a_habit() -> None:
    assert share(0, 0) == pytest.approx(0.04)
    assert share(300, 30) == pytest.approx(0.093, abs=0.01)
    assert share(300, 300) == 0.3

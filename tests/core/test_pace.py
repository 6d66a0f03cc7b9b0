"""How fast bytes go out, and in which hours none do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from handlers.settings import Pace
from handlers.storage.pace import Closed, Hours, Pacer

MB = 2**20


class Passing:
    """A clock that only sleeping moves."""

    def __init__(self, at: datetime) -> None:
        self._at, self.slept_s = at, 0.0

    def now(self) -> datetime:
        return self._at + timedelta(seconds=self.slept_s)

    def monotonic(self) -> float:
        return self.slept_s

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2025-10-29T{clock}:00").replace(tzinfo=UTC)


def hours(*paces: tuple[str, int | str]) -> Hours:
    return Hours([Pace.model_validate({"between": between, "limit": limit}) for between, limit in paces], UTC)


@pytest.mark.parametrize(
    ("clock", "limit"),
    [
        ("07:59", None),
        ("08:00", 2 * MB),
        ("17:59", 2 * MB),
        ("18:00", None),
        ("23:00", 0),
        ("05:59", 0),
        ("06:00", None),
    ],
)
def test_the_strictest_of_the_hours_that_hold_counts_also_across_midnight(clock: str, limit: int | None) -> None:
    found = hours(("08:00-18:00", "2MB"), ("09:00-10:00", "9MB"), ("22:00-06:00", 0))
    assert found.limit(at(clock)) == limit


def test_a_closed_hour_opens_at_its_end_and_one_that_never_does_is_looked_at_tomorrow() -> None:
    found = hours(("22:00-06:00", 0))
    assert found.opens(at("12:00")) == at("12:00")
    assert found.opens(at("23:10")) == at("06:00") + timedelta(days=1)
    always = hours(("00:00-12:00", 0), ("12:00-00:00", 0))
    assert always.opens(at("03:00")) == at("03:00") + timedelta(days=1)


def test_no_more_than_the_limit_goes_out_whoever_sends() -> None:
    clock = Passing(at("09:00"))
    pacer = Pacer(hours(("08:00-18:00", "2MB")), clock, clock.sleep)
    for _ in range(40):
        pacer.wait(MB)
    assert clock.slept_s == pytest.approx(39 / 2, abs=0.01), "each waits until what went before has gone"


def test_nothing_is_held_back_outside_the_hours_and_nothing_goes_out_in_closed_ones() -> None:
    clock = Passing(at("19:00"))
    pacer = Pacer(hours(("08:00-18:00", "2MB"), ("20:00-21:00", 0)), clock, clock.sleep)
    for _ in range(40):
        pacer.wait(MB)
    assert clock.slept_s == 0
    clock.sleep(3600)
    with pytest.raises(Closed):
        pacer.wait(MB)

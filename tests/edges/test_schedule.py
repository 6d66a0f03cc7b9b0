"""What happens by the clock, on a real ledger and the real scheduler."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.contract import Event, JobSpec, Scheduled
from daemon.run.schedule import Schedule, cron, missed
from tests.support.ledger import toy

THURSDAY = datetime(2025, 10, 30, 12, 0, tzinfo=UTC)


class Books:
    """Remembers runs as the ledger does, and says when one begins."""

    def __init__(self, last: datetime) -> None:
        self.last = last
        self.ran = threading.Event()

    def daily_copy(self) -> object:
        return None

    def last_run(self, _job: JobSpec) -> datetime:
        return self.last

    def run_scheduled(self, _job: JobSpec) -> None:
        self.ran.set()


class Now:
    """A clock that stands."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return 0.0


def due(expression: str, after: datetime, zone: str = "UTC") -> datetime:
    found = cron(expression, zone).get_next_fire_time(None, after)
    assert isinstance(found, datetime)
    return found.astimezone(UTC)


@pytest.mark.parametrize(
    ("expression", "next_day"),
    [
        ("0 2 * * 0", 2),
        ("0 2 * * 7", 2),
        ("0 2 * * 5", 31),
        ("0 2 * * 1-5", 31),
        ("0 2 * * 0-3", 2),
        ("0 2 * * sat", 1),
    ],
)
def test_days_of_the_week_are_counted_as_crontab_counts_them(expression: str, next_day: int) -> None:
    assert due(expression, THURSDAY).day == next_day


def test_hours_are_those_of_the_zone() -> None:
    assert due("0 2 * * *", THURSDAY, "Asia/Kolkata") == datetime(2025, 10, 30, 20, 30, tzinfo=UTC)


@pytest.mark.parametrize("expression", ["", "0 2 * *", "0 25 * * *", "every day"])
def test_nonsense_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        cron(expression, "UTC")


@pytest.mark.parametrize(("hours_ago", "expected"), [(1, False), (9, False), (11, True), (24 * 40, True)])
def test_a_run_is_missed_where_one_was_due_since_the_last(hours_ago: int, expected: bool) -> None:
    assert missed(cron("0 2 * * *", "UTC"), THURSDAY - timedelta(hours=hours_ago), THURSDAY) is expected


def test_a_missed_run_is_made_up_for_at_the_start() -> None:
    events: list[Event] = []
    books = Books(THURSDAY - timedelta(days=3))
    nightly = Scheduled("0 2 * * *", "UTC", JobSpec("sweep", "all"))
    schedule = Schedule(books, [nightly], Now(THURSDAY), on_event=events.append)
    schedule.start()
    try:
        assert books.ran.wait(10)
    finally:
        schedule.close()
    assert not events


def test_the_ledger_remembers_when_a_job_was_last_added_by_the_clock(tmp_path: Path) -> None:
    job = JobSpec("toy", "1")
    with toy(tmp_path) as house:
        first = house.ledger.last_run(job)
        house.clock.advance(timedelta(days=2))
        assert house.ledger.last_run(job) == first
        house.ledger.run_scheduled(job)
        assert house.ledger.last_run(job) >= first + timedelta(days=2)
        house.until_state("done", "1")

"""An alarm when no recording comes, in the time in which calls are expected and in no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from daemon.contract import Event, Job, Planned
from handlers.collection.asked import Collection
from handlers.collection.handler import SILENCE_KIND, CollectionHandler
from handlers.collection.silence import Working, silent
from handlers.settings import CollectSettings, days_of
from tests.support.records import RecordsLedger, at, recording

WEEK = Working.of("mon-fri", "09:00-18:00", ZoneInfo("Asia/Kolkata"))
NIGHTS = Working.of("fri,sat", "22:00-06:00", UTC)
TWO_HOURS = timedelta(hours=2)


def utc(day: int, hour: int, minute: int = 0) -> datetime:
    """A moment of October 2025; the 24th is a Friday."""
    return datetime(2025, 10, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        (utc(24, 5), utc(24, 6, 59), False),
        (utc(24, 5), utc(24, 7), True),
        (utc(24, 12), utc(24, 20), False),  # it is night there
        (utc(24, 12), utc(27, 4), False),  # half an hour on either side of a weekend
        (utc(24, 12), utc(27, 5), True),  # 12:00 to 12:30 and 03:30 to 05:00
        (utc(25, 12), utc(26, 12), False),  # a weekend
    ],
)
def test_only_working_time_counts(last: datetime, now: datetime, expected: bool) -> None:
    assert silent(last, now, TWO_HOURS, WEEK) is expected


@pytest.mark.parametrize(
    ("when", "expected"),
    [(utc(24, 22), True), (utc(25, 5, 59), True), (utc(25, 6), False), (utc(26, 5), True), (utc(24, 5), False)],
)
def test_what_is_past_midnight_belongs_to_the_day_before(when: datetime, expected: bool) -> None:
    assert NIGHTS.holds(when) is expected


def test_days_are_named_as_people_name_them() -> None:
    assert days_of("fri-mon") == {4, 5, 6, 0}
    assert days_of("Mon, wed") == {0, 2}
    with pytest.raises(ValueError, match="mon-fri"):
        days_of("monday")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[RecordsLedger]:
    made = RecordsLedger(tmp_path)
    yield made
    made.close()


def look(book: RecordsLedger) -> list[str]:
    """Look whether recordings come, as the clock has it done; returns the events."""
    settings = CollectSettings(silence=TWO_HOURS, working_days="mon-sun", working_hours="00:00-23:59")
    collection = Collection(settings, "recordings", timedelta(minutes=15), UTC)
    handler = CollectionHandler(collection, metadata=None, reports="/nowhere")
    with book.view() as read:
        outcome = handler.plan(Job(1, SILENCE_KIND, "all", 1, read.now), read)
    assert isinstance(outcome, Planned)
    book.write(*outcome.facts)
    assert all(isinstance(event, Event) for event in outcome.events)
    return [event.name for event in outcome.events]


def test_a_silence_is_told_once_and_its_end_too(book: RecordsLedger) -> None:
    book.put(recording(1, registered=0.0))
    book.clock.moment = at(7000)
    assert look(book) == []
    book.clock.moment = at(7300)
    assert look(book) == ["silence.begun"]
    assert look(book) == []
    book.put(recording(2, registered=7320.0))
    book.clock.moment = at(7380)
    assert look(book) == ["silence.ended"]
    assert look(book) == []


def test_where_none_ever_came_it_counts_from_when_it_was_looked_at_first(book: RecordsLedger) -> None:
    assert look(book) == []
    book.clock.moment = at(7300)
    assert look(book) == ["silence.begun"]
    book.put(recording(1, registered=7400.0))
    book.clock.moment = at(7500)
    assert look(book) == ["silence.ended"]

"""Has no recording come for too long? Only the time in which calls are expected counts: a night is no silence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from handlers.settings import days_of, minutes_of

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Working:
    """When calls are expected: on ``days`` (Monday is 0), from minute ``first`` of the day up to ``last``, in ``zone``;
    past midnight where ``last`` is smaller."""

    days: frozenset[int]
    first: int
    last: int
    zone: tzinfo | None

    @classmethod
    def of(cls, days: str, hours: str, zone: tzinfo | None) -> Working:
        """Out of the settings: days such as ``mon-fri`` or ``mon,wed,sat``, hours such as ``08:00-18:00``."""
        return cls(days_of(days), *minutes_of(hours), zone)

    def holds(self, at: datetime) -> bool:
        """Whether calls are expected at a moment. What is past midnight belongs to the day before."""
        local = at.astimezone(self.zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.first < self.last:
            return day in self.days and self.first <= minute < self.last
        return (day in self.days and minute >= self.first) or ((day - 1) % 7 in self.days and minute < self.last)


def silent(last: datetime, now: datetime, allowed: timedelta, working: Working) -> bool:
    """Whether of the time since the last recording more than ``allowed`` was working time, to the minute, and it is
    working time now: nobody is called for at night."""
    if not working.holds(now):
        return False
    left = allowed
    at = now
    while at - MINUTE >= last:
        at -= MINUTE
        if working.holds(at):
            left -= MINUTE
            if left <= timedelta(0):
                return True
    return False

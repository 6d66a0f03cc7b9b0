"""Whether somebody set the wall clock. Pure: two readings in, the jump out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.contract import Clock
from daemon.ledger.jobs import CLOCK_JUMP


@dataclass(frozen=True, slots=True)
class Reading:
    """Both clocks at one moment: the wall's, and the one that never jumps (seconds)."""

    wall: datetime
    monotonic: float

    @classmethod
    def of(cls, clock: Clock) -> Reading:
        """The clock's reading now."""
        return cls(clock.now(), clock.monotonic())


def jump_between(before: Reading, after: Reading) -> timedelta:
    """How far the wall clock was set between two readings: zero unless it is more than CLOCK_JUMP.

    A machine that slept looks the same as a clock set forward; waits then go on where they were.
    """
    passed = timedelta(seconds=after.monotonic - before.monotonic)
    jump = after.wall - before.wall - passed
    return jump if abs(jump) > CLOCK_JUMP else timedelta(0)

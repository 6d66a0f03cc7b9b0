"""What happens by the clock: APScheduler, with missed runs caught up once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from daemon.contract import Clock, Event, JobSpec, Scheduled

FIRST_COPY = timedelta(seconds=20)
"""After the start, so that a restart loop does not copy the ledger again and again while it has work to do."""

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""By their numbers in crontab(5), where both 0 and 7 are Sunday; APScheduler counts from Monday."""


class Memory(Protocol):
    """What the ledger does and remembers for the schedule."""

    def daily_copy(self) -> object:
        """Make today's copy unless it is there already."""
        ...

    def last_run(self, job: JobSpec) -> datetime:
        """When this job was last added by the clock; now, and kept, where it never was."""
        ...

    def run_scheduled(self, job: JobSpec) -> None:
        """Add the job and remember when, in one commit."""
        ...


class Schedule:
    """The daily copy of the ledger, and the rooms' jobs that come by the clock."""

    def __init__(
        self, memory: Memory, scheduled: Sequence[Scheduled], clock: Clock, *, on_event: Callable[[Event], None]
    ) -> None:
        from apscheduler.schedulers.background import BackgroundScheduler

        self._memory = memory
        self._on_event = on_event
        self._scheduler: Any = BackgroundScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})
        # A copy missed while the machine slept is made when it wakes; the hour is when few call. The first is a run of
        # this job as well: one that ends after its run makes APScheduler 3.11 raise where it is shut down just then.
        first = clock.now() + FIRST_COPY
        self._scheduler.add_job(
            self._copy_once, "cron", hour=3, minute=17, next_run_time=first, misfire_grace_time=None
        )
        for one in scheduled:
            self._add(one, clock.now())

    def beat(self, beat: Callable[[], object], every_s: int) -> None:
        """Have something done again and again, of which nothing is remembered; first after one such while."""
        self._scheduler.add_job(beat, "interval", seconds=every_s, misfire_grace_time=None)

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def close(self) -> None:
        """Let no more runs begin, and wait for one under way."""
        self._scheduler.shutdown(wait=True)

    def _add(self, scheduled: Scheduled, now: datetime) -> None:
        add, run, args = self._scheduler.add_job, self._memory.run_scheduled, [scheduled.job]
        last = self._memory.last_run(scheduled.job)
        at_once: dict[str, datetime] = {}
        if scheduled.every is not None:
            trigger = interval(scheduled.every, max(last + scheduled.every, now))
        else:
            trigger = cron(scheduled.cron, scheduled.timezone)
            if missed(trigger, last, now):
                at_once["next_run_time"] = now
        add(run, trigger, args=args, misfire_grace_time=None, **at_once)

    def _copy_once(self) -> None:
        try:
            self._memory.daily_copy()
        except Exception as error:  # noqa: BLE001 - a copy that failed is told, and tried again tomorrow
            fields = {
                "reason": f"{type(error).__name__}: no copy of the ledger was made",
                "fix": "callspool ledger backup",
            }
            self._on_event(Event("ledger.uncopied", fields, "error"))


def cron(given: str, timezone: str) -> Any:
    """The trigger of five fields as crontab(5) means them; ``timezone`` may be ``host``. Raises ValueError."""
    from apscheduler.triggers.cron import CronTrigger

    fields = given.split()
    if len(fields) != 5:
        raise ValueError("five fields: minute, hour, day of the month, month, day of the week")
    days = re.sub(
        r"(\d)-(\d)", lambda span: ",".join(map(str, range(int(span[1]), int(span[2]) + 1))), fields[4].lower()
    )
    names = re.sub(r"(?<![\d/])[0-7](?!\d)", lambda day: _WEEKDAYS[int(day[0])], days)
    return CronTrigger.from_crontab(" ".join([*fields[:4], names]), None if timezone == "host" else timezone)


def interval(every: timedelta, first: datetime) -> Any:
    """The trigger that fires first then, and after each ``every``."""
    from apscheduler.triggers.interval import IntervalTrigger

    return IntervalTrigger(seconds=max(1, round(every.total_seconds())), start_date=first, timezone="UTC")


def missed(trigger: Any, last: datetime, now: datetime) -> bool:
    """Whether a run was due after the last one and before now."""
    due = trigger.get_next_fire_time(None, last + timedelta(seconds=1))
    return due is not None and due <= now

"""What happens by the clock: APScheduler, with missed runs caught up once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from daemon.contract import Clock, Event

FIRST_COPY = timedelta(seconds=20)
"""After the start, so that a restart loop does not copy the ledger again and again while it has work to do."""


class Schedule:
    """The daily copy of the ledger. ``copy`` makes today's copy unless it is there already, and may raise."""

    def __init__(self, copy: Callable[[], object], clock: Clock, *, on_event: Callable[[Event], None]) -> None:
        from apscheduler.schedulers.background import BackgroundScheduler

        self._copy = copy
        self._on_event = on_event
        self._scheduler: Any = BackgroundScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})
        # A copy missed while the machine slept is made when it wakes; the hour is when few call.
        self._scheduler.add_job(self._copy_once, "cron", hour=3, minute=17, misfire_grace_time=None)
        self._scheduler.add_job(self._copy_once, "date", run_date=clock.now() + FIRST_COPY, misfire_grace_time=None)

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def close(self) -> None:
        """Let no more runs begin, and wait for one under way."""
        self._scheduler.shutdown(wait=True)

    def _copy_once(self) -> None:
        try:
            self._copy()
        except Exception as error:  # noqa: BLE001 - a copy that failed is told, and tried again tomorrow
            fields = {
                "reason": f"{type(error).__name__}: no copy of the ledger was made",
                "fix": "callspool ledger backup",
            }
            self._on_event(Event("ledger.uncopied", fields, "error"))

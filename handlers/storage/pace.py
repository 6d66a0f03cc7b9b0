"""How fast bytes may go out, by the hour, and whether S3 is worth trying just now. Both are of this process alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from daemon.contract import Clock
from daemon.errors import NotSent
from handlers.settings import Pace, within

_NAP_S = 0.5
"""Longest nap before the hour is looked at again."""


@dataclass(frozen=True, slots=True)
class Hours:
    """The limits by the hour, in ``zone`` (None: the host's)."""

    paces: Sequence[Pace]
    zone: tzinfo | None

    def limit(self, at: datetime) -> int | None:
        """Bytes a second now: the strictest of the hours that hold; None without one."""
        local = at.astimezone(self.zone)
        holding = [pace.limit for pace in self.paces if within(pace.between, local)]
        return min(holding, default=None)

    def opens(self, at: datetime) -> datetime:
        """When something may go out again; ``at`` itself where it may now."""
        for minutes in range(24 * 60 + 1):
            then = at + timedelta(minutes=minutes)
            if self.limit(then) != 0:
                return then if minutes == 0 else then.replace(second=0, microsecond=0)
        return at + timedelta(days=1)  # closed around the clock: looked at again tomorrow


class Closed(NotSent):
    """S3 is left alone just now; nothing new was learned of it."""


class Pacer:
    """Holds senders back so that no more than the limit goes out; may be shared by any number of threads.

    What is sent in one go is never torn apart, so a second may see more than the limit, a minute does not. Where the
    hours let nothing out, what is under way in parts stops between two of them and goes on later.
    """

    def __init__(self, hours: Hours, clock: Clock, sleep: Callable[[float], None] = time.sleep) -> None:
        self._hours, self._clock, self._sleep = hours, clock, sleep
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait(self, size: int) -> None:
        """Return when ``size`` more bytes may go out. Raises Closed in hours that let nothing out."""
        limit = self._hours.limit(self._clock.now()) if self._hours.paces else None
        if limit is None:
            return
        if limit == 0:
            raise Closed("storage.s3.pace lets nothing out now")
        with self._lock:
            begin = max(self._clock.monotonic(), self._free_at)
            self._free_at = begin + size / limit
        while (left := begin - self._clock.monotonic()) > 0:
            self._sleep(min(left, _NAP_S))


class Health:
    """Whether S3 is tried for a new object, or the local store at once.

    After a failure S3 is left alone for a while, and what is stored meanwhile does not wait for its timeouts.
    """

    def __init__(self, clock: Clock, waits: Sequence[timedelta]) -> None:
        self._clock = clock
        self._waits = [wait.total_seconds() for wait in waits]
        self._lock = threading.Lock()
        self._failures = 0
        self._until = 0.0
        self.reason = ""

    def well(self) -> bool:
        """True when it is to be tried; after a failure one caller at a time is let through."""
        with self._lock:
            if self._failures == 0:
                return True
            now = self._clock.monotonic()
            if now < self._until:
                return False
            self._until = now + self._waits[0]
            return True

    def failed(self, reason: str, wait: timedelta | None = None) -> None:
        """It did not take what it was sent; ``wait`` is how long it asked to be left alone."""
        with self._lock:
            own = self._waits[min(self._failures, len(self._waits) - 1)]
            self._failures += 1
            self._until = self._clock.monotonic() + (own if wait is None else wait.total_seconds())
            self.reason = reason

    def succeeded(self) -> None:
        """It took something."""
        with self._lock:
            self._failures, self._until, self.reason = 0, 0.0, ""

"""When all that came below a root while nobody looked has been seen: until then nobody can say what is not there."""

from __future__ import annotations

from concurrent.futures import Future

from daemon.catalogue import RootState
from daemon.contract import Clock
from daemon.watch.keeper import Keeper

STILL_S = 600.0
"""Seconds without any progress after which a root keeps nobody waiting any more: a read that never returns would do
so for ever, and the largest file is read faster."""

GRACE_S = 10.0
"""Seconds that a root which was there and cannot be read now is given: after a start or a sleep its file system may be
late."""


class CatchingUp:
    """Follows one root's next scan and what that finds. A root that is not there keeps nobody waiting; ``was_there``
    says that there were files below it."""

    def __init__(self, keeper: Keeper, clock: Clock, *, was_there: bool) -> None:
        self._keeper = keeper
        self._grace_s = GRACE_S if was_there else 0.0
        self._clock = clock
        self._scan = keeper.scan_now()
        self._began = self._moved = clock.monotonic()
        self._scanned: float | None = None
        self._asked: Future[int] | None = None
        self._lying: int | None = None

    def done(self) -> bool:
        """Whether the scan ended, and what it found is in the ledger or surely cannot be taken now."""
        now, health = self._clock.monotonic(), self._keeper.health()
        if health.state is RootState.DEGRADED and now - self._began > (GRACE_S if self._scan.done() else STILL_S):
            return True  # not sooner while it is scanned: a large folder may take long to be listed
        self._ask(now)
        if now - self._moved > STILL_S:
            return True
        if not self._scan.done():
            return False
        if health.state is RootState.WAITING:
            return now - self._began >= self._grace_s
        if self._scanned is None and (health.last_scan_ended or 0.0) >= self._began:  # else it failed: tried again
            self._scanned, self._lying, self._asked = now, None, None
        return self._scanned is not None and self._lying == 0

    def _ask(self, now: float) -> None:
        """How much lies there: of what was seen until the scan ended, once it has. An answer is a sign of life while
        the scan goes on, and afterwards only one that differs."""
        if self._asked is None:
            settling, before = self._keeper.settling, now if self._scanned is None else self._scanned
            self._asked = settling.call(lambda: settling.lying(before))
        elif self._asked.done():
            lying, self._asked = self._asked.result(), None
            if not self._scan.done() or lying != self._lying:
                self._moved = now
            self._lying = lying

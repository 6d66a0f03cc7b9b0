"""When all that came below a root while nobody looked has been seen: until then nobody can say what is not there."""

from __future__ import annotations

from concurrent.futures import Future

from daemon.catalogue import RootState
from daemon.contract import Clock
from daemon.watch.keeper import Keeper

STILL_S = 600.0
"""Seconds without any progress after which a root keeps nobody waiting any more: a read that never returns would do
so for ever, and the largest file is read faster."""


class CatchingUp:
    """Follows one root's next scan and what that finds. A root that is not there keeps nobody waiting."""

    def __init__(self, keeper: Keeper, clock: Clock) -> None:
        self._keeper = keeper
        self._clock = clock
        self._scan = keeper.scan_now()
        self._scanned: float | None = None
        self._asked: Future[int] | None = None
        self._lying: int | None = None
        self._moved = clock.monotonic()
        self._stands: tuple[object, ...] = ()

    def done(self) -> bool:
        """Whether the scan ended, and what it found is in the ledger or surely cannot be taken now."""
        health = self._keeper.health()
        if health.state is RootState.DEGRADED or self._stands_still(health.settling):
            return True
        if not self._scan.done():
            return False
        if health.state is RootState.WAITING:
            return True
        if health.last_scan_ended is None:
            return False  # it failed, and is tried again
        if self._scanned is None:
            self._scanned = self._clock.monotonic()
        self._ask(self._scanned)
        return self._lying == 0

    def _ask(self, before: float) -> None:
        settling = self._keeper.settling
        if self._asked is None:
            self._asked = settling.call(lambda: settling.lying(before))
        elif self._asked.done():
            self._lying, self._asked = self._asked.result(), None

    def _stands_still(self, settling: int) -> bool:
        now, stands = self._clock.monotonic(), (self._scan.done(), self._lying, settling)
        if stands != self._stands:
            self._moved, self._stands = now, stands
        return now - self._moved > STILL_S

"""When all that lay below a root before anybody looked has been seen: until then nobody can say what is not there."""

from __future__ import annotations

from concurrent.futures import Future

from daemon.catalogue import RootState
from daemon.contract import Clock
from daemon.watch.keeper import STUCK_S, Keeper


class CatchingUp:
    """Follows one root from its start. A root that is not there, or does not answer, keeps nobody waiting."""

    def __init__(self, keeper: Keeper, clock: Clock) -> None:
        self._keeper = keeper
        self._clock = clock
        self._scan = keeper.scan_now()
        self._scanned: float | None = None
        self._asked: tuple[float, Future[int]] | None = None

    def done(self) -> bool:
        """Whether its first scan ended, and what that found is in the ledger or surely cannot be taken now."""
        if not self._scan.done():
            return self._is_stuck()
        health = self._keeper.health()
        if health.state in (RootState.WAITING, RootState.DEGRADED):
            return True
        if health.last_scan_ended is None:
            return False  # it failed, and is tried again
        if self._scanned is None:
            self._scanned = self._clock.monotonic()
        return self._none_left(self._scanned)

    def _is_stuck(self) -> bool:
        return self._keeper.health().state is RootState.DEGRADED

    def _none_left(self, before: float) -> bool:
        now = self._clock.monotonic()
        settling = self._keeper.settling
        if self._asked is None:
            self._asked = (now, settling.call(lambda: settling.lying(before)))
        since, answer = self._asked
        if not answer.done():
            return now - since > STUCK_S
        self._asked = None
        return answer.result() == 0

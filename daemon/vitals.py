"""The signs of life of a working daemon, gathered from its parts for ``health`` to judge."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import TYPE_CHECKING

from daemon.catalogue import RootState
from daemon.contract import Clock
from daemon.health import Health, LaneSign, RootSign, Signs, judge
from daemon.ledger.ledger import Ledger

if TYPE_CHECKING:
    from daemon.run.runner import Runner
    from daemon.watch.watch import Watch

ANSWER_S = 2.0
"""How long one look waits for its probing commit; one still under way is waited for by the next look."""

FRESH_S = 1.0
"""Looks closer together than this share their answer: whoever asks over HTTP cannot make the disk busy."""

_USABLE = (RootState.WATCHING, RootState.POLLING)


class Vitals:
    """Looks at ledger, watch and runner. Safe to use from any thread."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._born_s = clock.monotonic()
        self._probe: Future[int] | None = None
        self._asked_s = 0.0
        self._looking = threading.Lock()
        self._last: tuple[float, Health] | None = None

    def health(self, watch: Watch | None, runner: Runner | None) -> Health:
        """The verdict now; commits one small row to know that the ledger takes writes."""
        with self._looking:
            now_s = self._clock.monotonic()
            if self._last is None or now_s - self._last[0] >= FRESH_S:
                self._last = (now_s, judge(self._signs(watch, runner)))
            return self._last[1]

    def _signs(self, watch: Watch | None, runner: Runner | None) -> Signs:
        unanswered_s = self._written()
        if self._ledger.writer.paused:  # a view may wait for the same lock
            return Signs(roots=self._roots(watch), paused=True)
        return Signs(
            roots=self._roots(watch),
            lanes=self._lanes(runner),
            unanswered_s=unanswered_s,
            hold=self._ledger.hold,
            shut=self._shut(),
        )

    def _written(self) -> float:
        """Seconds the probing commit has been under way; 0 once it is durable."""
        if self._probe is None:
            self._asked_s = self._clock.monotonic()
            self._probe = self._ledger.beat()
        done, _ = wait_for([self._probe], timeout=ANSWER_S)
        if not done:
            return self._clock.monotonic() - self._asked_s
        self._ledger.keep_beat(self._probe.result())
        self._probe = None
        return 0.0

    def _roots(self, watch: Watch | None) -> Sequence[RootSign]:
        now_s = self._clock.monotonic()
        return [
            RootSign(
                role=root.role,
                usable=root.state in _USABLE,
                reason=root.reason,
                alive=root.alive,
                scanned_s=now_s - (self._born_s if root.last_scan_ended is None else root.last_scan_ended),
                scan_every_s=root.scan_every_s,
            )
            for root in ([] if watch is None else watch.health())
        ]

    def _lanes(self, runner: Runner | None) -> Sequence[LaneSign]:
        moved = {} if runner is None else runner.moved_at()
        with self._ledger.view() as view:
            due = {
                name: bool(view.rows("SELECT 1 FROM job WHERE lane = ? AND state = 'ready' LIMIT 1", (name,)))
                for name in moved
            }
        now_s = self._clock.monotonic()
        return [LaneSign(name, due[name], now_s - at_s) for name, at_s in moved.items()]

    def _shut(self) -> Sequence[tuple[str, str, float]]:
        """Destinations that take nothing, and how long ago one did; since our start where none ever did."""
        with self._ledger.view() as view:
            rows = view.rows("SELECT name, state, succeeded_us FROM destination WHERE state != 'closed'")
            now_s = view.now.timestamp()
        ours_s = self._clock.monotonic() - self._born_s
        return [
            (row["name"], row["state"], ours_s if row["succeeded_us"] is None else now_s - row["succeeded_us"] / 1e6)
            for row in rows
        ]

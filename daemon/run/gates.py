"""Whether a destination may be tried now. One thread's probe is enough: the others wait for its answer."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.ledger.jobs import Destination
from daemon.run.retry import healthy
from daemon.states import DestinationState

PROBE_LOOK = timedelta(seconds=1)
"""How soon a job held back by a probe under way is looked at again, should the probe's answer wake nobody."""


@dataclass(frozen=True, slots=True)
class Shut:
    """Not now: until when, and why."""

    until: datetime
    reason: str


class Gates:
    """The destinations of this process, mirrored in memory: the ledger has the truth after each commit."""

    def __init__(self, known: Mapping[str, Destination]) -> None:
        self._known = dict(known)
        self._probing: set[str] = set()
        self._lock = threading.Lock()

    def enter(self, name: str, now: datetime) -> Shut | None:
        """May an effect for ``name`` be performed now? None is yes; a shut destination lets one probe through."""
        with self._lock:
            destination = self._known.get(name) or healthy(name, now)
            if destination.state is DestinationState.CLOSED:
                return None
            if now < destination.until:
                return Shut(destination.until, f"{name}: {destination.reason}")
            if name in self._probing:
                return Shut(now + PROBE_LOOK, f"{name}: {destination.reason}; one probe is under way")
            self._probing.add(name)
            return None

    def leave(self, name: str) -> None:
        """The effect that entered has an outcome, or was never tried."""
        with self._lock:
            self._probing.discard(name)

    def get(self, name: str, now: datetime) -> Destination:
        """The destination as this process knows it."""
        with self._lock:
            return self._known.get(name) or healthy(name, now)

    def put(self, destination: Destination) -> None:
        """Keep what was committed."""
        with self._lock:
            self._known[destination.name] = destination

"""Whether a destination may be tried now. One thread's probe is enough: the others wait for its answer."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from daemon.ledger.destinations import PROBE_LEASE, Destination
from daemon.states import DestinationState


@dataclass(frozen=True, slots=True)
class Shut:
    """Not now: until when, and why."""

    until: datetime
    reason: str


class Gates:
    """The destinations of this process, mirrored in memory from inside the transactions that change them."""

    def __init__(self, known: Mapping[str, Destination]) -> None:
        self._known = dict(known)
        self._probes: dict[str, int] = {}  # destination → the thread that probes it
        self._lock = threading.Lock()

    def enter(self, name: str, now: datetime, *, told: bool) -> Shut | None:
        """May an effect for ``name`` be performed now by this thread? None is yes.

        A shut destination whose time has come lets one probe through. ``told``: a person wants to know now, and is
        told no only by a destination that named its time itself.
        """
        with self._lock:
            destination = self._known.get(name)
            if destination is None or destination.state is DestinationState.CLOSED:
                return None
            early = told and destination.state is not DestinationState.ASKED
            if now < destination.until and not early:
                return Shut(destination.until, f"{name}: {destination.reason}")
            if name in self._probes:
                return Shut(now + PROBE_LEASE, f"{name}: {destination.reason}; one probe is under way")
            self._probes[name] = threading.get_ident()
            return None

    def leave(self, name: str) -> None:
        """This thread's effect has an outcome, or was never tried."""
        with self._lock:
            if self._probes.get(name) == threading.get_ident():
                del self._probes[name]

    def put(self, destination: Destination) -> None:
        """Keep what is being committed."""
        with self._lock:
            self._known[destination.name] = destination

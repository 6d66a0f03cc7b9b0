"""One pass: when ``callspool once`` has nothing left to wait for, and how it says what became of everything."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from daemon.contract import Clock
from daemon.ledger.ledger import Ledger
from daemon.ledger.pause import ALL, paused
from daemon.ledger.tally import Tally, busy, tally

SOON = timedelta(seconds=2)
"""A decision to wait that ends this soon is waited for."""

LOOK_S = 0.05

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pass ended: what was done, failed or waits, and the exit code that says so."""

    exit_code: int
    summary: dict[str, Any] = field(default_factory=dict)


def drain(ledger: Ledger, clock: Clock, begun: datetime, stopping: threading.Event, heeds: Mapping[str, str]) -> None:
    """Wait until every job had its turn since ``begun``: what failed in this pass is not tried twice in it.

    ``heeds`` says by which pause each lane is held.
    """
    while not stopping.is_set():
        with ledger.view() as view:
            held = {entry["what"] for entry in paused(view)}
            lanes = [lane for lane, pause in heeds.items() if pause in held or ALL in held]
            if not busy(view, begun, clock.now() + SOON, lanes):
                return
        stopping.wait(LOOK_S)


def outcome(ledger: Ledger, begun: datetime, *, interrupted: bool) -> Outcome:
    """What became of everything since ``begun``."""
    with ledger.view() as view:
        counts = tally(view, begun)
    summary = {
        "done": counts.done,
        "failed": counts.parked,
        "delayed": counts.delayed,
        "waiting": counts.waiting,
        "older_than_install": counts.old,
        "interrupted": interrupted,
    }
    return Outcome(INTERRUPTED if interrupted else exit_code(counts), summary)


def exit_code(counts: Tally) -> int:
    """21 where credentials were refused, 20 where something could not be reached, 3 where some items failed, else 0."""
    if "resting" in counts.shut:
        return 21
    if counts.delayed and counts.shut:
        return 20
    return 3 if counts.parked or counts.delayed else 0

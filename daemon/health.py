"""Is the daemon doing what it is there for? Judged from signs of life end to end, and from nothing else.

Pure: ``/readyz`` and the supervisor's watchdog ask the same question of the same signs. Readiness wants no problem at
all; the watchdog is denied its food only by problems that a restart may mend. A CRM that is down, a full disk or an
unmounted folder is no reason to be killed: the next process would find them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SCAN_SLACK_S = 600.0
"""A scan may be late by so much: a million files on a slow share take minutes."""

SCAN_DEAD_S = 3600.0
"""Later than this on a folder that answers, the scan is taken for dead."""

WRITE_SLACK_S = 10.0
"""A commit takes milliseconds; a busy disk may take seconds."""

WRITE_DEAD_S = 60.0
"""A writer that neither commits nor says why for so long hangs."""

LANE_SLACK_S = 600.0
LANE_DEAD_S = 3600.0
"""No job of a lane was begun or ended for so long, though some are due. Uploads of hours are legitimate only while
other workers move; every network step has its own, far shorter patience."""

SHUT_SLACK_S = 300.0
"""A destination that is shut for less is passing weather."""


@dataclass(frozen=True, slots=True)
class RootSign:
    """A watched folder: ``scanned_s`` is seconds since its last full scan ended, or since the start where none did."""

    role: str
    usable: bool
    reason: str
    alive: bool
    scanned_s: float
    scan_every_s: float


@dataclass(frozen=True, slots=True)
class LaneSign:
    """A lane of work: whether jobs are due, and seconds since one was begun or ended."""

    name: str
    due: bool
    moved_s: float


@dataclass(frozen=True, slots=True)
class Signs:
    """What was seen at one moment. ``unanswered_s``: how long the probing commit has been under way, 0 once durable."""

    roots: Sequence[RootSign] = ()
    lanes: Sequence[LaneSign] = ()
    unanswered_s: float = 0.0
    paused: bool = False
    hold: str | None = None
    shut: Sequence[tuple[str, str, float]] = ()
    """Destinations that take nothing now: name, state, seconds since one was served."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it should be; ``restart``: a new process may mend it."""

    subject: str
    reason: str
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict."""

    problems: tuple[Problem, ...] = ()

    @property
    def ready(self) -> bool:
        """Everything moves: what ``/readyz`` answers."""
        return not self.problems

    @property
    def alive(self) -> bool:
        """Nothing that a restart would mend: what feeds the watchdog."""
        return not any(problem.restart for problem in self.problems)

    def line(self) -> str:
        """One line for people."""
        return "; ".join(f"{p.subject}: {p.reason}" for p in self.problems) or "working"


def judge(signs: Signs) -> Health:
    """The verdict on these signs."""
    found = [problem for root in signs.roots for problem in _root(root)]
    found += _ledger(signs)
    found += [problem for lane in signs.lanes for problem in _lane(lane)]
    found += [
        Problem(name, f"{state}, no success for {since_s / 60:.0f} min")
        for name, state, since_s in signs.shut
        if since_s > SHUT_SLACK_S
    ]
    return Health(tuple(found))


def _root(root: RootSign) -> Sequence[Problem]:
    if not root.alive:
        return (Problem(root.role, "its watch has ended", restart=True),)
    if not root.usable:
        return (Problem(root.role, root.reason or "not there"),)
    late_s = root.scanned_s - 2 * root.scan_every_s
    if late_s > SCAN_SLACK_S:
        return (Problem(root.role, f"not scanned for {root.scanned_s / 60:.0f} min", restart=late_s > SCAN_DEAD_S),)
    return ()


def _ledger(signs: Signs) -> Sequence[Problem]:
    if signs.hold is not None:
        return (Problem("ledger", "on hold until a person decides"),)
    if signs.paused:
        return (Problem("ledger", "takes no writes now"),)
    if signs.unanswered_s > WRITE_SLACK_S:
        dead = signs.unanswered_s > WRITE_DEAD_S
        return (Problem("ledger", f"a commit is under way for {signs.unanswered_s:.0f} s", restart=dead),)
    return ()


def _lane(lane: LaneSign) -> Sequence[Problem]:
    if not lane.due or lane.moved_s <= LANE_SLACK_S:
        return ()
    return (Problem(lane.name, f"nothing moves for {lane.moved_s / 60:.0f} min", restart=lane.moved_s > LANE_DEAD_S),)

"""When is a file finished? The decision, pure: no file is touched and no clock is read here.

A file is taken on the producer's own signal (``ready_suffix``) or on two proofs: no process holds it open for
writing, and its container is complete. Where a proof is missing, time unchanged stands in for it:

    ===============  ==========================  =========================================================
    writers          container                   taken
    ===============  ==========================  =========================================================
    one seen         any                         never yet
    none             complete                    at once
    none             incomplete or cannot tell   after ``quiet`` unchanged; an incomplete one is flagged
    cannot be known  complete                    after 2 s unchanged
    cannot be known  incomplete or cannot tell   after ``unproved`` unchanged, flag ``weak_settle``
    ===============  ==========================  =========================================================

*At once* means that size and mtime stood still for 50 ms: the probe for writers takes a read lease for microseconds,
and a lease can make a writer's non-blocking open fail, so it is not tried while writes are under way.

*Unchanged* is size, mtime and inode, measured on the monotonic clock from when the watch last saw them move. The
file's own times decide nothing: they are copied, restored and wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from daemon.catalogue import Entry, Stat
from daemon.states import FileState

STILL_S = 0.05
"""Seconds without a change before the lease probe may be tried."""

COMPLETE_QUIET_S = 2.0
"""Seconds unchanged that a complete container needs where writers cannot be known."""

LOOK_AGAIN_S = 2.0
"""Seconds between two looks at a file that a writer holds; its close is an event and is looked at at once."""

ATTENTION_LOOK_S = 60.0
"""Seconds between two looks at a file that needs attention and that no window will finish."""

WEAK = "weak_settle"
INCOMPLETE = "incomplete"


class Writers(StrEnum):
    """Whether some process holds the file open for writing."""

    SEEN = "seen"
    NONE = "none"
    UNKNOWN = "unknown"


class Container(StrEnum):
    """Whether the file's own format says that it is whole."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    UNKNOWN = "unknown"


class Signal(StrEnum):
    """The producer's own word, where ``ready_suffix`` is configured."""

    NOT_USED = "not_used"
    GIVEN = "given"
    AWAITED = "awaited"


@dataclass(frozen=True, slots=True)
class Windows:
    """The waits, in seconds."""

    audio_s: float = 10.0
    json_s: float = 2.0
    unproved_s: float = 180.0
    max_settle_s: float = 6 * 3600.0

    def quiet_s(self, name: bytes) -> float:
        """The quiet window of a file with this name."""
        return self.json_s if name.lower().endswith(b".json") else self.audio_s


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of a file at one look. ``first_seen`` and ``changed`` are monotonic seconds."""

    name: bytes
    first_seen: float
    changed: float
    writers: Writers
    container: Container
    signal: Signal = Signal.NOT_USED


@dataclass(frozen=True, slots=True)
class Take:
    """Finished. ``proof`` is for ``explain``; ``flags`` are the doubts left."""

    proof: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: look again in ``seconds``.

    ``blocked`` says that no window is running: only somebody else (a writer, the producer's signal) can end the wait.
    """

    seconds: float
    reason: str
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class Attention:
    """It did not settle in ``max_settle``: a person should know. It is still looked at, every ``seconds``."""

    seconds: float
    reason: str


Verdict: TypeAlias = Take | Wait | Attention


def still_for(observation: Observation, now: float) -> float:
    """Seconds since the file last changed."""
    return max(0.0, now - observation.changed)


def decide(observation: Observation, windows: Windows, now: float) -> Verdict:
    """What to do with the file at the monotonic second ``now``."""
    verdict = _by_table(observation, windows, now)
    if isinstance(verdict, Wait) and now - observation.first_seen >= windows.max_settle_s:
        return Attention(ATTENTION_LOOK_S if verdict.blocked else verdict.seconds, verdict.reason)
    return verdict


def _by_table(seen: Observation, windows: Windows, now: float) -> Take | Wait:
    if still_for(seen, now) < STILL_S:
        return Wait(STILL_S - still_for(seen, now), "still changing")
    if seen.writers is Writers.SEEN:
        return Wait(LOOK_AGAIN_S, "open for writing", blocked=True)
    if seen.signal is Signal.AWAITED:
        return Wait(LOOK_AGAIN_S, "the producer's signal is missing", blocked=True)
    if seen.signal is Signal.GIVEN:
        return Take("the producer's signal")
    if seen.writers is Writers.NONE and seen.container is Container.COMPLETE:
        return Take("no writer, complete")
    needed, take = _by_window(seen, windows)
    left = needed - still_for(seen, now)
    return take if left <= 0 else Wait(left, f"unchanged for less than {needed:g} s")


def _by_window(seen: Observation, windows: Windows) -> tuple[float, Take]:
    """The seconds unchanged that stand in for the missing proof, and what follows then."""
    doubts = (INCOMPLETE,) if seen.container is Container.INCOMPLETE else ()
    if seen.writers is Writers.NONE:
        quiet = windows.quiet_s(seen.name)
        return quiet, Take(f"no writer, unchanged for {quiet:g} s", doubts)
    if seen.container is Container.COMPLETE:
        return COMPLETE_QUIET_S, Take(f"complete, unchanged for {COMPLETE_QUIET_S:g} s")
    return windows.unproved_s, Take(f"unchanged for {windows.unproved_s:g} s", (WEAK, *doubts))


# ------------------------------------------------------------------------------------------------- the first question


class Sight(StrEnum):
    """What a look at a name means, given what the ledger has under it."""

    NOTHING = "nothing"
    NEW = "new"  # to be settled; the ledger learns that it is settling
    AGAIN = "again"  # known; only its times or inode moved: settle and hash before anything is believed of it
    RESUME = "resume"  # the ledger has it as settling already
    OLD = "old"
    EMPTY = "empty"
    IRREGULAR = "irregular"


def sight(entry: Entry | None, stat: Stat, *, regular: bool, old_before_ns: int) -> Sight:
    """What to make of a file: ``entry`` is the ledger's row, ``stat`` what lstat says.

    Files whose inode changed last before ``old_before_ns`` (wall clock, nanoseconds) lay there before anything was to
    be watched. One that was found old stays old while its size stays and its inode or mtime: neither a chmod, a touch
    nor a restored copy of 40,000 old calls sends any. ``OLD`` said again has the ledger learn the new stat. What became
    other than the ledger has it before that moment is old too: the ledger is a copy of an earlier one, and was adopted.
    """
    state = None if entry is None else entry.state
    if not regular:
        return Sight.NOTHING if state == FileState.IRREGULAR else Sight.IRREGULAR
    if stat.size == 0:
        return Sight.NOTHING if state == FileState.EMPTY else Sight.EMPTY
    if state in (FileState.SETTLING, FileState.ATTENTION):
        return Sight.RESUME
    if state == FileState.UNREADABLE:
        return Sight.NEW
    what = Sight.NEW if entry is None else _against(entry, stat)
    rewritten = entry is None or entry[1:3] != stat[0:2]
    return Sight.OLD if rewritten and what is not Sight.NOTHING and stat.ctime_ns < old_before_ns else what


def _against(entry: Entry, stat: Stat) -> Sight:
    if entry.state == FileState.OLD:
        return _old(entry, stat)
    return _known(entry, stat) if entry.state == FileState.KNOWN else Sight.NEW


def _old(entry: Entry, stat: Stat) -> Sight:
    if as_old(entry, stat):
        return Sight.NOTHING
    same = entry.size == stat.size and (entry.mtime_ns == stat.mtime_ns or entry.ino == stat.ino)
    return Sight.OLD if same else Sight.NEW


def as_old(entry: Entry, stat: Stat) -> bool:
    """Whether an old file lies there as the ledger has it; its ctime says nothing."""
    return (entry.size, entry.mtime_ns, entry.ino) == (stat.size, stat.mtime_ns, stat.ino)


def _known(entry: Entry, stat: Stat) -> Sight:
    if entry[1:5] == stat:
        return Sight.NOTHING
    return Sight.AGAIN if entry.size == stat.size else Sight.NEW

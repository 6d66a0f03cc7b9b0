"""The states of files, jobs and effects, and every move between them.

Everything that decides which state may follow which lives in this file, as tables. A move that is not in its
table raises and changes nothing. The ledger repeats the lists below as CHECK constraints; a test holds both equal.

Files
    A file is a name below a watched root. ``settling`` until both proofs (no writer, finished container) or the quiet
    window say that it is finished; ``known`` once its content was hashed and tied to an item. ``replaced`` rows are
    older versions of a name that now holds other content; they stay for the audit. ``gone`` means that the name
    disappeared while its root was healthy: absence under a sick root is never disappearance. ``old`` files lay
    there before callspool was installed, or before a restored ledger was adopted: listed, never sent, until told.
    ``attention`` never settled in ``watch.max_settle``.

Jobs
    A job is one thing to decide about one subject. It is ``ready`` when due, ``running`` while a worker holds
    it, ``waiting`` until a time (a partner, a backoff, a closed window), and ends as ``done`` or ``parked``.
    A parked job waits for a person. On start every running job becomes ready: the worker died with the process.

Effects
    An effect is one change of the world outside the ledger. The row is durable before the world is touched, so
    a crash leaves ``in_flight``, which start-up turns into ``in_doubt``: such an effect is looked up (``find``)
    before it is performed again. ``superseded`` effects were pending when the decision behind them changed, or in
    doubt when newer content went in their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from daemon.errors import IllegalMove

S = TypeVar("S", bound=StrEnum)


class FileState(StrEnum):
    """Where a file below a root stands."""

    SETTLING = "settling"
    KNOWN = "known"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    IRREGULAR = "irregular"  # a link, pipe, socket or device: reported once, never opened
    OLD = "old"
    ATTENTION = "attention"
    REPLACED = "replaced"
    GONE = "gone"


class JobState(StrEnum):
    """Where a job stands."""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    PARKED = "parked"


class EffectState(StrEnum):
    """Where an effect stands."""

    PENDING = "pending"
    IN_FLIGHT = "in_flight"
    IN_DOUBT = "in_doubt"
    DONE = "done"
    PARKED = "parked"
    SUPERSEDED = "superseded"


class DestinationState(StrEnum):
    """Whether a destination is tried. ``resting``: it refused our credentials; ``open``: the breaker tripped;
    ``asked``: it named a time until which it wants to be left alone."""

    CLOSED = "closed"
    OPEN = "open"
    RESTING = "resting"
    ASKED = "asked"


FILE_MOVES: Mapping[FileState, Mapping[str, FileState]] = {
    FileState.SETTLING: {
        "settled": FileState.KNOWN,
        "emptied": FileState.EMPTY,
        "denied": FileState.UNREADABLE,
        "overdue": FileState.ATTENTION,
        "written_off": FileState.OLD,
        "vanished": FileState.GONE,
    },
    FileState.KNOWN: {
        "changed": FileState.REPLACED,
        "written_off": FileState.OLD,
        "vanished": FileState.GONE,
    },
    FileState.EMPTY: {"grown": FileState.SETTLING, "written_off": FileState.OLD, "vanished": FileState.GONE},
    FileState.UNREADABLE: {"readable": FileState.SETTLING, "written_off": FileState.OLD, "vanished": FileState.GONE},
    FileState.IRREGULAR: {"changed": FileState.SETTLING, "written_off": FileState.OLD, "vanished": FileState.GONE},
    FileState.OLD: {"changed": FileState.SETTLING, "adopted": FileState.SETTLING, "vanished": FileState.GONE},
    FileState.ATTENTION: {
        "changed": FileState.SETTLING,
        "settled": FileState.KNOWN,
        "written_off": FileState.OLD,
        "vanished": FileState.GONE,
    },
    FileState.REPLACED: {},
    FileState.GONE: {"returned": FileState.SETTLING},
}

JOB_MOVES: Mapping[JobState, Mapping[str, JobState]] = {
    JobState.READY: {"claimed": JobState.RUNNING, "adopted": JobState.PARKED},
    JobState.RUNNING: {
        "finished": JobState.DONE,
        "postponed": JobState.WAITING,
        "rejected": JobState.PARKED,
        "interrupted": JobState.READY,  # shutdown, or found running at start: the attempt does not count
        "woken": JobState.READY,  # news arrived while it ran: however this run ends, it runs once more
    },
    JobState.WAITING: {"due": JobState.READY, "woken": JobState.READY, "adopted": JobState.PARKED},
    JobState.DONE: {"woken": JobState.READY},
    JobState.PARKED: {"retried": JobState.READY, "woken": JobState.READY},
}

EFFECT_MOVES: Mapping[EffectState, Mapping[str, EffectState]] = {
    EffectState.PENDING: {"started": EffectState.IN_FLIGHT, "superseded": EffectState.SUPERSEDED},
    EffectState.IN_FLIGHT: {
        "confirmed": EffectState.DONE,
        "not_sent": EffectState.PENDING,
        "throttled": EffectState.PENDING,
        "denied": EffectState.PENDING,
        "refused": EffectState.PENDING,
        "unanswered": EffectState.IN_DOUBT,
        "lost": EffectState.IN_DOUBT,  # the process died, or its own code failed, while it was under way
        "parked": EffectState.PARKED,
    },
    EffectState.IN_DOUBT: {
        "started": EffectState.IN_FLIGHT,  # it cannot be looked up, and may be sent again under its key
        "found": EffectState.DONE,
        "absent": EffectState.PENDING,
        "unasked": EffectState.IN_DOUBT,  # the destination could not be reached to be asked
        "superseded": EffectState.SUPERSEDED,  # newer content goes instead, and its fate stays unlearned
    },
    EffectState.PARKED: {"retried": EffectState.PENDING, "superseded": EffectState.SUPERSEDED},
    EffectState.SUPERSEDED: {"planned": EffectState.PENDING},
    EffectState.DONE: {},
}


def move_file(state: FileState, event: str) -> FileState:
    """The state that follows ``state`` on ``event``; raises IllegalMove where the table has none."""
    return _move("file", FILE_MOVES, state, event)


def move_job(state: JobState, event: str) -> JobState:
    """The state that follows ``state`` on ``event``; raises IllegalMove where the table has none."""
    return _move("job", JOB_MOVES, state, event)


def move_effect(state: EffectState, event: str) -> EffectState:
    """The state that follows ``state`` on ``event``; raises IllegalMove where the table has none."""
    return _move("effect", EFFECT_MOVES, state, event)


def _move(what: str, moves: Mapping[S, Mapping[str, S]], state: S, event: str) -> S:
    try:
        return moves[state][event]
    except KeyError:
        raise IllegalMove(what, state, event) from None

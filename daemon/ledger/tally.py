"""What one pass over everything did: the counts behind ``callspool once``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.contract import Reader
from daemon.ledger.writer import micros

REASONS = 20
"""Reasons for waiting that are told apart; what follows are the rarest."""

_FAILED_SINCE = (
    "EXISTS (SELECT 1 FROM job_effect JOIN effect ON effect.key = effect_key "
    "WHERE job_id = job.id AND effect.failures > 0 AND effect.changed_us >= ?)"
)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts since a moment. ``delayed`` jobs have something to send and will be tried again; ``waiting`` ones were
    decided to wait, by reason; ``shut`` are the states of destinations that are not well.
    """

    done: dict[str, int]
    parked: int
    delayed: int
    waiting: dict[str, int]
    old: int
    shut: tuple[str, ...]


def busy(read: Reader, since: datetime, soon: datetime, paused: Sequence[str] = ()) -> bool:
    """Whether a job has yet to have its turn: due by ``soon``, and not failed since ``since``. Lanes that are
    ``paused`` have no turns; what runs there ends."""
    places = ", ".join("?" * len(paused))
    begun_us = micros(since)
    rows = read.rows(
        f"SELECT 1 FROM job WHERE state IN ('ready', 'running') AND lane NOT IN ({places}) AND NOT {_FAILED_SINCE} "
        "UNION ALL SELECT 1 FROM job WHERE state = 'waiting' AND waits_for IS NULL AND due_us <= ? "
        f"AND lane NOT IN ({places}) AND NOT {_FAILED_SINCE} "
        "UNION ALL SELECT 1 FROM job WHERE state = 'running' LIMIT 1",
        (*paused, begun_us, micros(soon), *paused, begun_us),
    )
    return bool(rows)


def tally(read: Reader, since: datetime) -> Tally:
    """What became of everything since ``since``."""
    begun_us = micros(since)
    done = read.rows(
        "SELECT kind, count(*) AS n FROM job WHERE state = 'done' AND changed_us >= ? GROUP BY kind", (begun_us,)
    )
    waiting = read.rows(
        "SELECT reason, count(*) AS n FROM job WHERE state = 'waiting' AND reason != '' "
        "AND NOT EXISTS (SELECT 1 FROM job_effect WHERE job_id = job.id) GROUP BY reason ORDER BY n DESC LIMIT ?",
        (REASONS,),
    )
    shut = read.rows("SELECT state FROM destination WHERE state != 'closed' OR failures > 0")
    return Tally(
        done={row["kind"]: row["n"] for row in done},
        parked=_count(read, "SELECT count(*) FROM job WHERE state = 'parked' AND changed_us >= ?", begun_us),
        delayed=_count(
            read,
            "SELECT count(DISTINCT job.id) FROM job JOIN job_effect ON job_id = job.id "
            "JOIN effect ON effect.key = effect_key "
            "WHERE job.state != 'parked' AND effect.state NOT IN ('done', 'superseded')",
        ),
        waiting={row["reason"]: row["n"] for row in waiting},
        # The second condition is for the partial index on what is not known.
        old=_count(read, "SELECT count(*) FROM file WHERE state = 'old' AND state != 'known'"),
        shut=tuple(row["state"] for row in shut),
    )


def _count(read: Reader, sql: str, *args: object) -> int:
    return int(read.rows(sql, args)[0][0])

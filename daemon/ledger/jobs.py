"""The ledger's jobs: every transaction in which one of them moves, but for those that an effect moves.

``claim`` takes a job into work (ready → running); ``leave`` is the one way out of it. News that arrives while a job
runs is kept in ``again``: however that run ends, the job runs once more, so that no news is ever lost to a decision
that was taken before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.contract import Event, Fields, Job, JobSpec
from daemon.errors import UnknownSubject
from daemon.ledger import catching_up, destinations
from daemon.ledger.destinations import micros_of
from daemon.ledger.pause import is_paused
from daemon.ledger.reading import moment
from daemon.ledger.writer import WriteTx, micros
from daemon.states import DestinationState, JobState, move_job

CLOCK_JUMP = timedelta(minutes=10)
"""A wall clock that moves this much against what we know did not drift: it was set."""

CONTENT_GONE = "no file holds this content any more"
"""The reason of every job that is held back or parked because its content is nowhere."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job in work. ``doubts``: it has effects whose fate is unknown, which come before any new decision."""

    job: Job
    doubts: bool


def add_job(tx: WriteTx, spec: JobSpec, lanes: Mapping[str, str]) -> None:
    """Add a job, or wake the one that has this kind and key. A job held back by its destination stays so."""
    lane = lanes[spec.kind]
    due_us = tx.now_us if spec.due is None else micros(spec.due)
    row = tx.row("SELECT id, state, due_us, waits_for FROM job WHERE kind = ? AND key = ?", (spec.kind, spec.key))
    if row is None:
        state = "ready" if due_us <= tx.now_us else "waiting"
        tx.execute(
            "INSERT INTO job (host_id, lane, kind, key, state, due_us, created_us, changed_us) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (tx.host_id, lane, spec.kind, spec.key, state, due_us, tx.now_us, tx.now_us),
        )
    elif row["state"] == "running":
        tx.execute("UPDATE job SET again = 1 WHERE id = ?", (row["id"],))
    elif row["state"] in ("done", "parked") or (row["state"] == "waiting" and row["waits_for"] is None):
        if row["state"] == "waiting":
            due_us = min(due_us, row["due_us"])
        state = "ready" if due_us <= tx.now_us else "waiting"
        attempt = "attempt" if row["state"] == "waiting" else "0"
        tx.expect(
            f"UPDATE job SET state = ?, due_us = ?, attempt = {attempt}, reason = '', fix = '', changed_us = ? "
            "WHERE id = ? AND state = ?",
            (state, due_us, tx.now_us, row["id"], row["state"]),
        )
    tx.woken.add(lane)


def recover(tx: WriteTx) -> Mapping[str, int]:
    """On start: what was running becomes ready, what was in flight in doubt. Returns how many of each.

    A journal that ends in the future tells that the clock was set back while nobody looked.
    """
    catching_up.begin(tx)  # first: what is told below would be taken for the last that was known
    last = tx.row("SELECT at_us FROM journal ORDER BY id DESC LIMIT 1")
    if last is not None and moment(last["at_us"]) - tx.now > CLOCK_JUMP:
        move_deadlines(tx, tx.now - moment(last["at_us"]))
    doubtful = tx.execute(
        "UPDATE effect SET state = 'in_doubt', changed_us = ? WHERE state = 'in_flight'", (tx.now_us,)
    )
    interrupted = tx.execute(
        "UPDATE job SET state = 'ready', attempt = max(0, attempt - 1), changed_us = ? WHERE state = 'running'",
        (tx.now_us,),
    )
    tx.execute("UPDATE destination SET probe_us = 0 WHERE probe_us != 0")
    _plan_again(tx)
    if doubtful or interrupted:
        tx.journal(Event("daemon.recovered", {"jobs": interrupted, "effects_in_doubt": doubtful}))
    return {"jobs": interrupted, "effects": doubtful}


def look_again(tx: WriteTx, lanes: Sequence[str]) -> None:
    """Whatever these lanes decided to wait for is looked at now."""
    for lane in lanes:
        tx.execute(
            "UPDATE job SET due_us = ? WHERE lane = ? AND state = 'waiting' AND waits_for IS NULL", (tx.now_us, lane)
        )
        tx.woken.add(lane)


def _plan_again(tx: WriteTx) -> None:
    """A restart may come with another configuration: what was postponed is decided anew, and destinations that were
    shut for want of credentials or of an answer are probed at once. Backoffs, and times a destination asked for,
    stand.
    """
    tx.execute(
        "UPDATE job SET due_us = ? WHERE state = 'waiting' AND waits_for IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM job_effect WHERE job_id = job.id)",
        (tx.now_us,),
    )
    tx.execute(
        "UPDATE job SET due_us = ? WHERE waits_for IN "
        "(SELECT name FROM destination WHERE state IN ('open', 'resting'))",
        (tx.now_us,),
    )
    tx.execute("UPDATE destination SET until_us = min(until_us, ?) WHERE state IN ('open', 'resting')", (tx.now_us,))


LONGEST_SHUT = timedelta(hours=6)
"""No destination stays shut for longer without a probe: the cap of ``Retry-After`` (formats.md, section 4)."""


def move_deadlines(tx: WriteTx, jump: timedelta) -> None:
    """The wall clock was set by ``jump``: waits that were counted from it keep their length.

    Backoffs and shut destinations move with the clock. Decisions to wait for a moment of the day, or for a partner, are
    taken again now. A wait that began after the clock was set, before anybody noticed, was counted from the new time
    already.
    """
    by_us = micros_of(jump)
    set_at_us = tx.now_us - by_us  # by the old clock; who changed later than this did so by the new one
    tx.execute(
        "UPDATE job SET due_us = due_us + ? WHERE state = 'waiting' AND changed_us <= ? "
        "AND EXISTS (SELECT 1 FROM job_effect WHERE job_id = job.id)",
        (by_us, set_at_us),
    )
    tx.execute(
        "UPDATE job SET state = 'ready', due_us = ?, changed_us = ? WHERE state = 'waiting' AND waits_for IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM job_effect WHERE job_id = job.id)",
        (tx.now_us, tx.now_us),
    )
    tx.execute(
        "UPDATE destination SET until_us = min(until_us + ?, ?), probe_us = 0 WHERE state != 'closed'",
        (by_us, tx.now_us + micros_of(LONGEST_SHUT)),
    )
    catching_up.begin(tx, max(0, by_us))  # a machine that slept has seen nothing meanwhile
    tx.journal(Event("clock.jumped", {"jump_s": jump.total_seconds()}, "warning"))
    tx.woken.update(row["lane"] for row in tx.rows("SELECT DISTINCT lane FROM job WHERE state IN ('ready', 'waiting')"))


def claim(tx: WriteTx, lane: str, count: int, turn: int, *, heeds: str = "") -> tuple[Claimed, ...]:
    """Take up to ``count`` due jobs of a lane: newest first, every fourth the oldest, so that none starves.

    None while the lane is paused; ``heeds`` is the pause it heeds beside that of everything.
    """
    if is_paused(tx, heeds):
        return ()
    tx.execute(
        "UPDATE job SET state = 'ready' WHERE lane = ? AND state = 'waiting' AND due_us <= ? AND waits_for IS NULL",
        (lane, tx.now_us),
    )
    destinations.send_probe(tx, lane)
    claimed: list[Claimed] = []
    for place in range(turn, turn + count):
        order = "ASC" if place % 4 == 3 else "DESC"
        row = tx.row(
            "SELECT id, kind, key, attempt, told, created_us FROM job INDEXED BY job_ready "
            f"WHERE lane = ? AND state = 'ready' ORDER BY id {order} LIMIT 1",
            (lane,),
        )
        if row is None:
            break
        tx.expect(
            "UPDATE job SET state = 'running', attempt = attempt + 1, again = 0, lacks = NULL, changed_us = ? "
            "WHERE id = ? AND state = 'ready'",
            (tx.now_us, row["id"]),
        )
        doubts = tx.rows(
            "SELECT 1 FROM job_effect JOIN effect ON effect.key = effect_key "
            "WHERE job_id = ? AND state = 'in_doubt' LIMIT 1",
            (row["id"],),
        )
        created_at = moment(row["created_us"])
        job = Job(row["id"], row["kind"], row["key"], row["attempt"] + 1, created_at, bool(row["told"]))
        claimed.append(Claimed(job, bool(doubts)))
    return tuple(claimed)


def leave(
    tx: WriteTx,
    job: Job,
    move: str,
    *,
    due_us: int | None = None,
    reason: str = "",
    fix: str = "",
    waits_for: str | None = None,
    counts: bool = True,
) -> JobState:
    """Out of work, to the state that ``move`` names; returns the state it came to.

    A job woken while it ran, or held back by a destination that is back already, becomes ready instead. A run that does
    not count gives its attempt back and keeps what a person told it.
    """
    row = tx.rows("SELECT again, lane FROM job WHERE id = ?", (job.id,))[0]
    back = waits_for is not None and destinations.current(tx, waits_for).state is DestinationState.CLOSED
    if back or (row["again"] and waits_for is None):
        move, due_us, reason, fix, waits_for = "woken", None, "", "", None
    state = move_job(JobState.RUNNING, move)
    if state in (JobState.READY, JobState.WAITING):
        tx.woken.add(row["lane"])  # the worker that claims for all may be asleep until later than this one is due
    tx.expect(
        "UPDATE job SET state = ?, due_us = ?, waits_for = ?, reason = ?, fix = ?, again = 0, "
        "told = told * ?, attempt = max(0, attempt - ?), changed_us = ? WHERE id = ? AND state = 'running'",
        (
            state,
            tx.now_us if due_us is None else due_us,
            waits_for,
            reason,
            fix,
            not counts,
            not counts,
            tx.now_us,
            job.id,
        ),
    )
    return state


def park(tx: WriteTx, job: Job, reason: str, fix: str, named: Fields) -> None:
    """A person must look. The job's effects stay as they stand: what is in doubt stays in doubt and linked."""
    if leave(tx, job, "rejected", reason=reason, fix=fix) is JobState.PARKED:
        tx.journal(Event("job.parked", {**named, "reason": reason, "fix": fix}, "warning"))


def hold_back(tx: WriteTx, job: Job, until: datetime, reason: str, waits_for: str | None) -> None:
    """The job cannot go on now through no fault of its own: this attempt does not count."""
    leave(tx, job, "postponed", due_us=micros(until), reason=reason, waits_for=waits_for, counts=False)


def note_lack(tx: WriteTx, job: Job, item_id: int | None) -> None:
    """What a job that was held back or parked lacks: its content's return wakes it. None where nobody knows."""
    tx.execute("UPDATE job SET lacks = ? WHERE id = ?", (item_id, job.id))


def wake_for(tx: WriteTx, item_id: int, lanes: Mapping[str, str]) -> None:
    """A file holds this content as it was hashed: whoever lacked it goes on."""
    for row in tx.rows("SELECT kind, key FROM job WHERE lacks = ? AND state IN ('waiting', 'parked')", (item_id,)):
        add_job(tx, JobSpec(row["kind"], row["key"]), lanes)


def interrupt(tx: WriteTx, job: Job) -> None:
    """Shutdown: ready again, and the attempt does not count. Its content came when it came."""
    due_us = tx.rows("SELECT due_us FROM job WHERE id = ?", (job.id,))[0]["due_us"]
    leave(tx, job, "interrupted", due_us=due_us, counts=False)


def retry(tx: WriteTx, job_ids: Sequence[int]) -> int:
    """A person says: again, now. Parked and waiting jobs become ready, their parked effects pending."""
    for job_id in job_ids:
        row = tx.row("SELECT kind, key, lane, state FROM job WHERE id = ?", (job_id,))
        if row is None:
            raise UnknownSubject(f"no job {job_id}")
        tx.execute(
            "UPDATE effect SET state = 'pending', failures = 0, refusals = 0, changed_us = ? WHERE state = 'parked' "
            "AND key IN (SELECT effect_key FROM job_effect WHERE job_id = ?)",
            (tx.now_us, job_id),
        )
        tx.execute(
            "UPDATE job SET state = 'ready', due_us = ?, waits_for = NULL, attempt = 0, told = 1, reason = '', "
            "fix = '', changed_us = ? WHERE id = ? AND state IN ('parked', 'waiting')",
            (tx.now_us, tx.now_us, job_id),
        )
        tx.journal(Event("job.retried", {"job": job_id, "kind": row["kind"], "subject": row["key"]}))
        tx.woken.add(row["lane"])
    return len(job_ids)

"""The ledger's jobs and effects: every transaction in which one of them moves.

Four of them make the life of a job: *claim* (ready → running), *accept* (what the handler decided: facts, effects,
next state, journal), *start* (effect → in flight, durable before the world is touched) and *confirm* (its receipt,
and with the last one the end of the job). ``fail`` is confirm's sad twin. Each is short, and none is open while a
program or a network call runs.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.contract import Effect, Event, Fields, Job, JobSpec, Outcome, Planned, Postponed, Receipt
from daemon.errors import UnknownSubject
from daemon.ledger.reading import moment
from daemon.ledger.writer import WriteTx, dumps, micros
from daemon.states import DestinationState, EffectState, move_effect

_RowsOf = Callable[..., list[sqlite3.Row]]

ANSWER_CAP = 4096
"""Characters kept of what a destination answered."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job in work. ``doubts``: it has effects whose fate is unknown, which come before any new decision."""

    job: Job
    doubts: bool


@dataclass(frozen=True, slots=True)
class Due:
    """An effect of a job with where it stands. ``failures`` counts in a row, ``refusals`` in all."""

    effect: Effect
    state: EffectState
    sends: int
    failures: int
    refusals: int


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination's health as the ledger has it. ``failures`` and ``rests`` count in a row."""

    name: str
    state: DestinationState
    failures: int
    rests: int
    until: datetime
    reason: str
    succeeded_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Setback:
    """What a failed effect does to the ledger, as the retry policy decided it.

    ``move`` is the effect's event; the job waits until ``until``, or for its destination where ``waits_for`` names
    it, or is parked where ``until`` is None. ``destination`` is the destination's new row, if it changed.
    """

    move: str
    reason: str
    until: datetime | None
    waits_for: str | None = None
    refused: bool = False
    fix: str = ""
    http_status: int | None = None
    answer: str = ""
    destination: Destination | None = None
    events: tuple[Event, ...] = ()


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
        tx.execute(
            f"UPDATE job SET state = ?, due_us = ?, attempt = {attempt}, reason = '', fix = '', changed_us = ? "
            "WHERE id = ? AND state = ?",
            (state, due_us, tx.now_us, row["id"], row["state"]),
        )
    tx.woken.add(lane)


def recover(tx: WriteTx) -> Mapping[str, int]:
    """On start: what was running becomes ready, what was in flight in doubt. Returns how many of each."""
    doubtful = tx.execute(
        "UPDATE effect SET state = 'in_doubt', changed_us = ? WHERE state = 'in_flight'", (tx.now_us,)
    )
    interrupted = tx.execute(
        "UPDATE job SET state = 'ready', attempt = max(0, attempt - 1), changed_us = ? WHERE state = 'running'",
        (tx.now_us,),
    )
    if doubtful or interrupted:
        tx.journal(Event("daemon.recovered", {"jobs": interrupted, "effects_in_doubt": doubtful}))
    return {"jobs": interrupted, "effects": doubtful}


def claim(tx: WriteTx, lane: str, count: int, turn: int) -> tuple[Claimed, ...]:
    """Take up to ``count`` due jobs of a lane: newest first, every fourth the oldest, so that none starves."""
    tx.execute(
        "UPDATE job SET state = 'ready', waits_for = NULL WHERE lane = ? AND state = 'waiting' AND due_us <= ?",
        (lane, tx.now_us),
    )
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
            "UPDATE job SET state = 'running', attempt = attempt + 1, again = 0, changed_us = ? "
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


def accept(tx: WriteTx, job: Job, outcome: Outcome, lanes: Mapping[str, str], named: Fields) -> tuple[Due, ...]:
    """Commit a decision; ``named`` is the job's subject as log fields.

    Returns the effects still to be performed, in order; none when the job has ended or waits.
    """
    for fact in outcome.facts:
        fact.write(tx)
    for event in outcome.events:
        tx.journal(event)
    if isinstance(outcome, Planned):
        return _accept_plan(tx, job, outcome, lanes)
    for spec in outcome.then:
        add_job(tx, spec, lanes)
    _link(tx, job, ())
    if isinstance(outcome, Postponed):
        _leave(tx, job, "waiting", due_us=micros(outcome.until), reason=outcome.reason)
        return ()
    _leave(tx, job, "parked", reason=outcome.reason, fix=outcome.fix)
    tx.journal(Event("job.parked", {**named, "reason": outcome.reason, "fix": outcome.fix}, "warning"))
    return ()


def _accept_plan(tx: WriteTx, job: Job, plan: Planned, lanes: Mapping[str, str]) -> tuple[Due, ...]:
    for effect in plan.effects:
        _plan_effect(tx, effect)
    _link(tx, job, plan.effects)
    tx.expect(
        "UPDATE job SET then_jobs = ?, reason = '', fix = '' WHERE id = ? AND state = 'running'",
        (dumps([_spec_out(s) for s in plan.then]), job.id),
    )
    left = undone(tx.rows, job)
    if not left:
        finish(tx, job, lanes)
    return left


def undone(rows: _RowsOf, job: Job) -> tuple[Due, ...]:
    """The job's effects that are not done, in order, each with the receipts of those before it."""
    given: dict[str, Receipt] = {}
    left: list[Due] = []
    for row in rows(
        "SELECT effect.* FROM job_effect JOIN effect ON effect.key = effect_key WHERE job_id = ? ORDER BY position",
        (job.id,),
    ):
        if row["state"] == EffectState.DONE:
            given[row["identity"]] = Receipt(json.loads(row["receipt"]))
        else:
            left.append(due_of(row, given))
    return tuple(left)


def receipts(rows: _RowsOf, job: Job) -> Mapping[str, Receipt]:
    """The receipts of the job's done effects by identity."""
    found = rows(
        "SELECT identity, receipt FROM job_effect JOIN effect ON effect.key = effect_key "
        "WHERE job_id = ? AND state = 'done' ORDER BY position",
        (job.id,),
    )
    return {row["identity"]: Receipt(json.loads(row["receipt"])) for row in found}


def due_of(row: sqlite3.Row, given: Mapping[str, Receipt]) -> Due:
    """The value of a row of ``effect``."""
    payload = json.loads(row["payload"])
    effect = Effect(row["type"], row["identity"], row["dest"], payload, row["key"], dict(given), row["sends"])
    return Due(effect, EffectState(row["state"]), row["sends"], row["failures"], row["refusals"])


def _plan_effect(tx: WriteTx, effect: Effect) -> None:
    """Add an effect; one that was superseded before is pending again, any other is left as it stands."""
    payload = dumps(effect.payload)
    tx.execute(
        "INSERT INTO effect (key, host_id, type, identity, dest, payload, state, created_us, changed_us) "
        "VALUES (?, ?, ?, ?, ?, ?, 'pending', ?, ?) ON CONFLICT (key) DO UPDATE SET state = 'pending', "
        "changed_us = excluded.changed_us WHERE state = 'superseded'",
        (effect.key, tx.host_id, effect.type, effect.identity, effect.dest, payload, tx.now_us, tx.now_us),
    )


def _link(tx: WriteTx, job: Job, effects: Sequence[Effect]) -> None:
    """Make these the job's effects; those it no longer wants are superseded, unless another job wants them."""
    wanted = {effect.key for effect in effects}
    for row in tx.rows("SELECT effect_key FROM job_effect WHERE job_id = ?", (job.id,)):
        if row["effect_key"] not in wanted:
            tx.execute(
                "UPDATE effect SET state = 'superseded', changed_us = ? WHERE key = ? "
                "AND state IN ('pending', 'parked') AND NOT EXISTS (SELECT 1 FROM job_effect WHERE effect_key = effect.key AND job_id != ?)",
                (tx.now_us, row["effect_key"], job.id),
            )
    tx.execute("DELETE FROM job_effect WHERE job_id = ?", (job.id,))
    for position, effect in enumerate(effects):
        tx.execute("INSERT INTO job_effect VALUES (?, ?, ?)", (job.id, position, effect.key))


def start(tx: WriteTx, due: Due) -> bool:
    """Effect → in flight; False when another job has it in flight, or has done it meanwhile."""
    for state in (EffectState.PENDING, EffectState.IN_DOUBT):
        changed = tx.execute(
            "UPDATE effect SET state = ?, sends = sends + 1, changed_us = ? WHERE key = ? AND state = ?",
            (move_effect(state, "started"), tx.now_us, due.effect.key, state),
        )
        if changed:
            return True
    return False


def confirm(tx: WriteTx, due: Due, receipt: Receipt, move: str, lanes: Mapping[str, str]) -> None:
    """The effect came about: its receipt, its journal line, and every other job that waited for it."""
    _move_effect(tx, due.effect.key, move, receipt=dumps(receipt.data), failures=0, reason="", http_status=None)
    for fact in receipt.facts:
        fact.write(tx)
    if receipt.event is not None:
        tx.journal(receipt.event)
    for row in tx.rows(
        "SELECT kind, key, lane FROM job JOIN job_effect ON job.id = job_id WHERE effect_key = ? AND state = 'waiting'",
        (due.effect.key,),
    ):
        add_job(tx, JobSpec(row["kind"], row["key"]), lanes)


def finish(tx: WriteTx, job: Job, lanes: Mapping[str, str]) -> None:
    """All effects are done: the job ends and what comes after it is added."""
    row = tx.rows("SELECT then_jobs FROM job WHERE id = ?", (job.id,))[0]
    _leave(tx, job, "done")
    for given in json.loads(row["then_jobs"]):
        add_job(tx, _spec_in(given), lanes)


def fail(tx: WriteTx, job: Job, due: Due, setback: Setback) -> None:
    """The effect did not come about, or its fate is unknown: commit what the retry policy decided."""
    refusals = due.refusals + (1 if setback.refused else 0)
    _move_effect(
        tx,
        due.effect.key,
        setback.move,
        failures=due.failures + 1,
        refusals=refusals,
        reason=setback.reason,
        http_status=setback.http_status,
    )
    if setback.answer:
        tx.execute(
            "INSERT INTO answer (effect_key, http_status, body, at_us) VALUES (?, ?, ?, ?)",
            (due.effect.key, setback.http_status, setback.answer[:ANSWER_CAP], tx.now_us),
        )
    if setback.destination is not None:
        keep_destination(tx, setback.destination)
    for event in setback.events:
        tx.journal(event)
    if setback.until is None:
        _leave(tx, job, "parked", reason=setback.reason, fix=setback.fix)
        _park_sharers(tx, job, due, setback)
    else:
        _leave(tx, job, "waiting", due_us=micros(setback.until), reason=setback.reason, waits_for=setback.waits_for)


def hold_back(tx: WriteTx, job: Job, until: datetime, reason: str, waits_for: str | None) -> None:
    """The job cannot go on now through no fault of its own: this attempt does not count."""
    tx.execute("UPDATE job SET attempt = max(0, attempt - 1) WHERE id = ?", (job.id,))
    _leave(tx, job, "waiting", due_us=micros(until), reason=reason, waits_for=waits_for)


def interrupt(tx: WriteTx, job: Job) -> None:
    """Shutdown: ready again, and the attempt does not count."""
    tx.expect(
        "UPDATE job SET state = 'ready', attempt = max(0, attempt - 1), changed_us = ? "
        "WHERE id = ? AND state = 'running'",
        (tx.now_us, job.id),
    )


def unstart(tx: WriteTx, due: Due, move: str) -> None:
    """The effect never reached the world (``not_sent``), or may have (``lost``)."""
    _move_effect(tx, due.effect.key, move)


def keep_destination(tx: WriteTx, destination: Destination) -> None:
    """Write a destination's row; one that is back wakes every job that waited for it."""
    before = tx.row("SELECT state FROM destination WHERE name = ?", (destination.name,))
    succeeded_us = None if destination.succeeded_at is None else micros(destination.succeeded_at)
    tx.execute(
        "INSERT INTO destination (name, state, failures, rests, until_us, reason, succeeded_us, changed_us) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET state = excluded.state, "
        "failures = excluded.failures, rests = excluded.rests, until_us = excluded.until_us, reason = excluded.reason, "
        "succeeded_us = coalesce(excluded.succeeded_us, succeeded_us), changed_us = excluded.changed_us",
        (
            destination.name,
            destination.state,
            destination.failures,
            destination.rests,
            micros(destination.until),
            destination.reason,
            succeeded_us,
            tx.now_us,
        ),
    )
    if destination.state is DestinationState.CLOSED and before is not None and before["state"] != "closed":
        lanes = tx.rows("SELECT DISTINCT lane FROM job WHERE waits_for = ?", (destination.name,))
        tx.execute(
            "UPDATE job SET state = 'ready', waits_for = NULL, due_us = ?, changed_us = ? WHERE waits_for = ?",
            (tx.now_us, tx.now_us, destination.name),
        )
        tx.woken.update(row["lane"] for row in lanes)


def destinations(rows: _RowsOf) -> Mapping[str, Destination]:
    """Every destination by name."""
    return {
        row["name"]: Destination(
            row["name"],
            DestinationState(row["state"]),
            row["failures"],
            row["rests"],
            moment(row["until_us"]),
            row["reason"],
            None if row["succeeded_us"] is None else moment(row["succeeded_us"]),
        )
        for row in rows("SELECT * FROM destination")
    }


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


def _leave(
    tx: WriteTx,
    job: Job,
    state: str,
    *,
    due_us: int | None = None,
    reason: str = "",
    fix: str = "",
    waits_for: str | None = None,
) -> None:
    """running → ``state``; a job woken while it ran becomes ready instead of done or waiting."""
    row = tx.rows("SELECT again, lane FROM job WHERE id = ?", (job.id,))[0]
    if row["again"] and state != "parked" and waits_for is None:
        state, due_us = "ready", None
        tx.woken.add(row["lane"])
    told = ", told = 0" if state in ("done", "parked") else ""
    tx.expect(
        f"UPDATE job SET state = ?, due_us = ?, waits_for = ?, reason = ?, fix = ?, again = 0, changed_us = ?{told} "
        "WHERE id = ? AND state = 'running'",
        (state, tx.now_us if due_us is None else due_us, waits_for, reason, fix, tx.now_us, job.id),
    )


def _move_effect(tx: WriteTx, key: str, move: str, **columns: object) -> None:
    row = tx.rows("SELECT state FROM effect WHERE key = ?", (key,))[0]
    before = EffectState(row["state"])
    after = move_effect(before, move)
    names = "".join(f", {name} = ?" for name in columns)
    tx.expect(
        f"UPDATE effect SET state = ?, changed_us = ?{names} WHERE key = ? AND state = ?",
        (after, tx.now_us, *columns.values(), key, before),
    )


def _park_sharers(tx: WriteTx, job: Job, due: Due, setback: Setback) -> None:
    """Other jobs that wait for a parked effect are parked with it."""
    tx.execute(
        "UPDATE job SET state = 'parked', reason = ?, fix = ?, waits_for = NULL, changed_us = ? WHERE id != ? "
        "AND state = 'waiting' AND id IN (SELECT job_id FROM job_effect WHERE effect_key = ?)",
        (setback.reason, setback.fix, tx.now_us, job.id, due.effect.key),
    )


def _spec_out(spec: JobSpec) -> Mapping[str, object]:
    return {"kind": spec.kind, "key": spec.key, "due_us": None if spec.due is None else micros(spec.due)}


def _spec_in(given: Mapping[str, object]) -> JobSpec:
    due_us = given["due_us"]
    return JobSpec(str(given["kind"]), str(given["key"]), moment(due_us) if isinstance(due_us, int) else None)

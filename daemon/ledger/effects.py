"""The ledger's effects: every transaction in which one of them moves, and with it its job.

*accept* commits what a handler decided: facts, effects, next state, journal. *start* makes an effect in flight, durable
before the world is touched. *confirm* keeps its receipt, and with the last one ends the job; ``fail`` is confirm's sad
twin. Each is short, and none is open while a program or a network call runs.

An effect may serve several jobs. One of them performs it; the others find it in flight, wait, and are woken by its
outcome. While one is in flight or in doubt, no other content of the same identity is started: what was sent first must
be known before something newer is sent after it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from daemon.contract import Effect, Event, Fields, Job, JobSpec, Outcome, Planned, Postponed, Receipt
from daemon.ledger import destinations, jobs
from daemon.ledger.destinations import Destination, RowsOf
from daemon.ledger.reading import moment
from daemon.ledger.writer import WriteTx, dumps, micros
from daemon.states import EFFECT_MOVES, EffectState, move_effect

ANSWER_CAP = 4096
"""Characters kept of what a destination answered."""

UNLEARNED = "sent, and nobody learned whether it arrived"
"""Why an effect was superseded out of doubt: what answers for its identity may be its content."""

_ABSENT = frozenset({"not_sent", "throttled", "denied", "refused"})
"""Moves that say that this sending did not bring it about, and nothing of one before it."""


@dataclass(frozen=True, slots=True)
class Due:
    """An effect of a job with where it stands. ``failures`` counts in a row, ``refusals`` in all."""

    effect: Effect
    state: EffectState
    sends: int
    failures: int
    refusals: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Setback:
    """What a failed effect does to the ledger, as the retry policy decided it.

    ``move`` is the effect's event; the job waits until ``until``, or for its destination where ``waits_for`` names
    it, or is parked where ``until`` is None. ``counts`` is False where neither job nor effect is to blame.
    ``destination`` is the destination's new row, if it changed.
    """

    move: str
    reason: str
    until: datetime | None
    waits_for: str | None = None
    counts: bool = True
    refused: bool = False
    fix: str = ""
    http_status: int | None = None
    answer: str = ""
    destination: Destination | None = None
    events: tuple[Event, ...] = ()


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
        jobs.add_job(tx, spec, lanes)
    _link(tx, job, ())
    if isinstance(outcome, Postponed):
        jobs.leave(tx, job, "postponed", due_us=micros(outcome.until), reason=outcome.reason)
    else:
        jobs.park(tx, job, outcome.reason, outcome.fix, named)
    return ()


def undone(rows: RowsOf, job: Job) -> tuple[Due, ...]:
    """The job's effects that are not done, in order, each with the receipts of those before it."""
    return _undone_of(rows, job.id)


def _undone_of(rows: RowsOf, job_id: int) -> tuple[Due, ...]:
    given: dict[str, Receipt] = {}
    left: list[Due] = []
    for row in rows(
        "SELECT effect.* FROM job_effect JOIN effect ON effect.key = effect_key WHERE job_id = ? ORDER BY position",
        (job_id,),
    ):
        if row["state"] == EffectState.DONE:
            given[row["identity"]] = Receipt(json.loads(row["receipt"]))
        else:
            due = _due_of(row, given)
            left.append(_beside_rivals(due, _rivals(rows, due)) if due.state is EffectState.IN_DOUBT else due)
    return tuple(left)


def rival_in_doubt(rows: RowsOf, due: Due) -> Due | None:
    """Other content of the same identity, of unknown fate, that keeps a pending effect from being started; the oldest
    such, as it stands in its own job.
    """
    if standing(rows, due).state is not EffectState.PENDING:
        return None
    found = rows(
        "SELECT effect.*, job_id FROM effect JOIN job_effect ON effect_key = key "
        "WHERE type = ? AND identity = ? AND key != ? AND state = 'in_doubt' ORDER BY effect.created_us LIMIT 1",
        (due.effect.type, due.effect.identity, due.effect.key),
    )
    for row in found:
        return next(left for left in _undone_of(rows, row["job_id"]) if left.effect.key == row["key"])
    return None


def overtaken(rows: RowsOf, due: Due) -> Literal["wanted", "sent"] | None:
    """Whether newer content of the same identity is wanted instead, or even was sent."""
    found = rows(
        "SELECT sends FROM effect WHERE type = ? AND identity = ? AND state != 'superseded' "
        "AND created_us > (SELECT created_us FROM effect WHERE key = ?) ORDER BY sends DESC LIMIT 1",
        (due.effect.type, due.effect.identity, due.effect.key),
    )
    if not found:
        return None
    return "sent" if found[0]["sends"] else "wanted"


def standing(rows: RowsOf, due: Due) -> Due:
    """The effect as it stands now. What it wants is part of its key, and so is not read again."""
    row = rows("SELECT state, sends, failures, refusals, reason FROM effect WHERE key = ?", (due.effect.key,))[0]
    return replace(
        due,
        effect=replace(due.effect, sends=row["sends"]),
        state=EffectState(row["state"]),
        sends=row["sends"],
        failures=row["failures"],
        refusals=row["refusals"],
        reason=row["reason"],
    )


def receipt(rows: RowsOf, due: Due) -> Receipt:
    """What performing the done effect returned."""
    return Receipt(json.loads(rows("SELECT receipt FROM effect WHERE key = ?", (due.effect.key,))[0]["receipt"]))


def start(tx: WriteTx, due: Due) -> Due | None:
    """Effect → in flight, with its fresh counts.

    None when another job moved it since ``due`` was read, or where older or newer content of the same identity is in
    flight, or in doubt.
    """
    now = standing(tx.rows, due)
    if now.state is not due.state or "started" not in EFFECT_MOVES[now.state]:
        return None
    rivals = _rivals(tx.rows, due)
    found = {row["state"] for row in rivals}
    if "in_flight" in found or ("in_doubt" in found and now.state is not EffectState.IN_DOUBT):
        return None
    _move(tx, due.effect.key, now.state, "started", sends=now.sends + 1)
    return _beside_rivals(now, rivals)


def confirm(tx: WriteTx, job: Job, due: Due, receipt: Receipt, lanes: Mapping[str, str]) -> None:
    """The effect came about: its receipt, the receipt's facts and journal line, and every other job that wants it.

    From in flight, or from in doubt where it was found. Another job may have found it first: then all is written.
    """
    state = _state(tx, due.effect.key)
    if state is EffectState.DONE and due.state is EffectState.IN_DOUBT:
        return
    move = "found" if due.state is EffectState.IN_DOUBT and state is EffectState.IN_DOUBT else "confirmed"
    _move(tx, due.effect.key, state, move, receipt=dumps(receipt.data), failures=0, reason="", http_status=None)
    for fact in receipt.facts:
        fact.write(tx)
    if receipt.event is not None:
        tx.journal(receipt.event)
    if due.state is EffectState.IN_DOUBT:
        _wake_kin(tx, job, due, lanes)
    else:
        _wake_sharers(tx, job, due, lanes, "waiting", "parked")


def absent(tx: WriteTx, job: Job, due: Due, lanes: Mapping[str, str]) -> None:
    """An effect in doubt was looked up and is not there: it may be decided anew, by every job that waited for this."""
    state = _state(tx, due.effect.key)
    if state is EffectState.IN_DOUBT:
        _move(tx, due.effect.key, state, "absent")
        _wake_kin(tx, job, due, lanes)


def give_up(tx: WriteTx, job: Job, due: Due, lanes: Mapping[str, str]) -> None:
    """Newer content goes in place of an effect in doubt, which is never sent again."""
    state = _state(tx, due.effect.key)
    if state is EffectState.IN_DOUBT:
        _move(tx, due.effect.key, state, "superseded", reason=UNLEARNED)
        _wake_kin(tx, job, due, lanes)


def finish(tx: WriteTx, job: Job, lanes: Mapping[str, str]) -> None:
    """All effects are done: the job ends and what comes after it is added."""
    row = tx.rows("SELECT then_jobs FROM job WHERE id = ?", (job.id,))[0]
    jobs.leave(tx, job, "finished")
    for given in json.loads(row["then_jobs"]):
        jobs.add_job(tx, _spec_in(given), lanes)


def fail(tx: WriteTx, job: Job, due: Due, setback: Setback, lanes: Mapping[str, str], *, doubted: bool = False) -> None:
    """The effect did not come about, or its fate is unknown: commit what the retry policy decided.

    ``doubted``: an earlier sending of it may have arrived; that this one did not leaves the doubt where it was.
    """
    if setback.destination is not None:
        destinations.keep(tx, setback.destination)
    state = _state(tx, due.effect.key)
    if setback.move == "unasked" and state is not EffectState.IN_DOUBT:
        jobs.leave(tx, job, "woken", counts=False)  # another job learned its fate meanwhile
        return
    _move(
        tx,
        due.effect.key,
        state,
        "unanswered" if doubted and setback.move in _ABSENT else setback.move,
        failures=due.failures + setback.counts,
        refusals=due.refusals + setback.refused,
        reason=setback.reason,
        http_status=setback.http_status,
    )
    if setback.answer:
        tx.execute(
            "INSERT INTO answer (effect_key, http_status, body, at_us) VALUES (?, ?, ?, ?)",
            (due.effect.key, setback.http_status, setback.answer[:ANSWER_CAP], tx.now_us),
        )
    for event in setback.events:
        tx.journal(event)
    if setback.until is None:
        jobs.leave(tx, job, "rejected", reason=setback.reason, fix=setback.fix)
        _wake_sharers(tx, job, due, lanes, "waiting")  # they will see that it is parked, and park with it
    else:
        jobs.leave(
            tx,
            job,
            "postponed",
            due_us=micros(setback.until),
            reason=setback.reason,
            waits_for=setback.waits_for,
            counts=setback.counts,
        )


def unstart(tx: WriteTx, due: Due, move: str) -> None:
    """The effect never reached the world (``not_sent``), or may have (``lost``)."""
    _move(tx, due.effect.key, _state(tx, due.effect.key), move)


def _accept_plan(tx: WriteTx, job: Job, plan: Planned, lanes: Mapping[str, str]) -> tuple[Due, ...]:
    wanted = {effect.key for effect in plan.effects}
    for effect in plan.effects:
        _plan(tx, effect, wanted)
    _link(tx, job, plan.effects)
    tx.expect(
        "UPDATE job SET then_jobs = ?, reason = '', fix = '' WHERE id = ? AND state = 'running'",
        (dumps([_spec_out(s) for s in plan.then]), job.id),
    )
    left = undone(tx.rows, job)
    if not left:
        finish(tx, job, lanes)
    return left


def _plan(tx: WriteTx, effect: Effect, wanted: set[str]) -> None:
    """Add an effect; one that was superseded before is pending again, any other is left as it stands.

    Older content of the same identity that was not sent yet is superseded, whichever job wanted it.
    """
    payload = dumps(effect.payload)
    tx.execute(
        "INSERT INTO effect (key, host_id, type, identity, dest, payload, state, created_us, changed_us) "
        "VALUES (?, ?, ?, ?, ?, ?, 'pending', ?, ?) ON CONFLICT (key) DO UPDATE SET state = 'pending', "
        "changed_us = excluded.changed_us WHERE state = 'superseded'",
        (effect.key, tx.host_id, effect.type, effect.identity, effect.dest, payload, tx.now_us, tx.now_us),
    )
    others = tx.rows(
        "SELECT key, state FROM effect WHERE type = ? AND identity = ? AND state IN ('pending', 'parked')",
        (effect.type, effect.identity),
    )
    for row in others:
        if row["key"] not in wanted:
            _move(tx, row["key"], EffectState(row["state"]), "superseded")


def _link(tx: WriteTx, job: Job, effects: Sequence[Effect]) -> None:
    """Make these the job's effects; those it no longer wants are superseded, unless another job wants them."""
    wanted = {effect.key for effect in effects}
    for row in tx.rows(
        "SELECT key, state FROM job_effect AS mine JOIN effect ON key = effect_key WHERE job_id = ? AND state IN "
        "('pending', 'parked') AND NOT EXISTS (SELECT 1 FROM job_effect WHERE effect_key = key AND job_id != ?)",
        (job.id, job.id),
    ):
        if row["key"] not in wanted:
            _move(tx, row["key"], EffectState(row["state"]), "superseded")
    tx.execute("DELETE FROM job_effect WHERE job_id = ?", (job.id,))
    for position, effect in enumerate(effects):
        tx.execute("INSERT INTO job_effect VALUES (?, ?, ?)", (job.id, position, effect.key))


def _wake_sharers(tx: WriteTx, job: Job, due: Due, lanes: Mapping[str, str], *states: str) -> None:
    """Other jobs in these states that want the effect look again."""
    for row in tx.rows(
        "SELECT DISTINCT kind, job.key, state FROM job JOIN job_effect ON job.id = job_id "
        "WHERE effect_key = ? AND job.id != ?",
        (due.effect.key, job.id),
    ):
        if row["state"] in states:
            jobs.add_job(tx, JobSpec(row["kind"], row["key"]), lanes)


def _wake_kin(tx: WriteTx, job: Job, due: Due, lanes: Mapping[str, str]) -> None:
    """A doubt is over: whoever wants this effect, or other content of the same identity, looks again."""
    for row in tx.rows(
        "SELECT DISTINCT kind, job.key FROM effect JOIN job_effect ON effect_key = effect.key "
        "JOIN job ON job.id = job_id WHERE type = ? AND identity = ? AND job.id != ? "
        "AND job.state IN ('waiting', 'parked')",
        (due.effect.type, due.effect.identity, job.id),
    ):
        jobs.add_job(tx, JobSpec(row["kind"], row["key"]), lanes)


def _rivals(rows: RowsOf, due: Due) -> list[sqlite3.Row]:
    """State and reason of all other content of the effect's identity."""
    effect = due.effect
    return rows(
        "SELECT state, reason FROM effect WHERE type = ? AND identity = ? AND key != ?",
        (effect.type, effect.identity, effect.key),
    )


def _beside_rivals(due: Due, rivals: Sequence[sqlite3.Row]) -> Due:
    unlearned = any(row["state"] == EffectState.SUPERSEDED and row["reason"] == UNLEARNED for row in rivals)
    return replace(due, effect=replace(due.effect, unlearned=True)) if unlearned else due


def _state(tx: WriteTx, key: str) -> EffectState:
    return EffectState(tx.rows("SELECT state FROM effect WHERE key = ?", (key,))[0]["state"])


def _move(tx: WriteTx, key: str, before: EffectState, move: str, **columns: object) -> None:
    after = move_effect(before, move)
    names = "".join(f", {name} = ?" for name in columns)
    tx.expect(
        f"UPDATE effect SET state = ?, changed_us = ?{names} WHERE key = ? AND state = ?",
        (after, tx.now_us, *columns.values(), key, before),
    )


def _due_of(row: sqlite3.Row, given: Mapping[str, Receipt]) -> Due:
    payload = json.loads(row["payload"])
    effect = Effect(row["type"], row["identity"], row["dest"], payload, row["key"], dict(given), row["sends"])
    return Due(effect, EffectState(row["state"]), row["sends"], row["failures"], row["refusals"], row["reason"])


def _spec_out(spec: JobSpec) -> Mapping[str, object]:
    return {"kind": spec.kind, "key": spec.key, "due_us": None if spec.due is None else micros(spec.due)}


def _spec_in(given: Mapping[str, object]) -> JobSpec:
    due_us = given["due_us"]
    return JobSpec(str(given["kind"]), str(given["key"]), moment(due_us) if isinstance(due_us, int) else None)

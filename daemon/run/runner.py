"""The runner: takes due jobs, has them planned, commits the decision, performs its effects, records each receipt.

A job's way through one worker, with the transaction of each step in brackets:

    [claim] → plan → [accept] → for each effect: [start] → perform → [confirm | fail] → … → [finish]

An effect whose fate is unknown comes first and is looked up; only when nothing is in doubt is the job decided anew, so
that a decision changed meanwhile never leaves a stray effect behind. Destinations that are shut hold their jobs back
without costing them an attempt.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Literal

from daemon.contract import (
    Clock,
    Event,
    Handler,
    Job,
    Json,
    Lane,
    Outcome,
    Patience,
    Performer,
    Receipt,
    Rejected,
    Room,
    Subject,
)
from daemon.errors import ContentError, ContentGone, Defect, DeliveryError
from daemon.ledger import jobs
from daemon.ledger.jobs import Claimed, Due
from daemon.ledger.ledger import Ledger
from daemon.ledger.reading import View
from daemon.ledger.writer import WriteTx
from daemon.run import retry
from daemon.run.gates import Gates, Shut
from daemon.states import EffectState
from daemon.trace import point

IDLE_S = 30.0
"""Longest nap of a worker that nothing wakes: bounds the harm of a clock that jumps."""

RESETTLE = timedelta(seconds=2)
"""How soon a job whose file moved under it is looked at again; the watch settles the file meanwhile."""

INLINE_BATCH = 64
"""Jobs of an inline lane decided in one transaction: keeps the writer free for others within milliseconds."""


class Runner:
    """Workers for every lane.

    ``on_event`` gets events that belong to no transaction; ``on_fatal`` is told when a worker cannot go on, because the
    ledger itself fails: the process should end.
    """

    def __init__(
        self,
        ledger: Ledger,
        rooms: Sequence[Room],
        clock: Clock,
        *,
        on_event: Callable[[Event], None],
        on_fatal: Callable[[Exception], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._on_event = on_event
        self._on_fatal = on_fatal
        self._chance = chance
        self._handlers: dict[str, Handler] = {k: h for room in rooms for h in room.handlers for k in h.kinds}
        self._performers: dict[str, Performer] = {t: p for room in rooms for t, p in room.performers.items()}
        self._subjects: dict[str, Subject] = {k: s for room in rooms for k, s in room.subjects.items()}
        self._patience: dict[str, Patience] = {d: p for room in rooms for d, p in room.patience.items()}
        self._stopping = threading.Event()
        self._lanes = {lane.name: _LaneState(lane) for room in rooms for lane in room.lanes}
        self._threads: list[threading.Thread] = []
        with ledger.view() as view:
            self._gates = Gates(jobs.destinations(view.rows))
        self.ticked_at = clock.monotonic()
        """When a worker last found out whether there is work: for health."""

    def start(self) -> None:
        """Start every lane's workers."""
        self._ledger.on_woken = self.wake
        for state in self._lanes.values():
            work = self._work_inline if state.lane.inline else self._work
            for number in range(state.lane.workers):
                name = f"{state.lane.name}-{number}"
                thread = threading.Thread(target=self._guard, args=(work, state), name=name, daemon=True)
                thread.start()
                self._threads.append(thread)

    def stop(self, grace_s: float) -> bool:
        """Stop claiming and let what is under way finish, up to ``grace_s``. True when all of it did."""
        self._stopping.set()
        self.wake(frozenset(self._lanes))
        deadline = self._clock.monotonic() + grace_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._clock.monotonic()))
        for state in self._lanes.values():
            for claimed in state.claimed:
                self._interrupt(claimed.job)
            state.claimed.clear()
        return not any(thread.is_alive() for thread in self._threads)

    def wake(self, lanes: frozenset[str]) -> None:
        """Something new to do in these lanes."""
        for name in lanes:
            state = self._lanes.get(name)
            if state is not None:
                with state.changed:
                    state.news += 1
                    state.changed.notify_all()

    def idle(self) -> bool:
        """True when no job is ready or running, in any lane."""
        with self._ledger.view() as view:
            return not view.rows("SELECT 1 FROM job WHERE state IN ('ready', 'running') LIMIT 1")

    # ---------------------------------------------------------------------------------------------- claiming

    def _guard(self, work: Callable[[_LaneState], None], state: _LaneState) -> None:
        try:
            work(state)
        except Exception as error:  # noqa: BLE001 - without its ledger a worker can only say so
            self._on_fatal(error)

    def _interrupt(self, job: Job) -> None:
        self._ledger.write("job.interrupted", lambda tx: jobs.interrupt(tx, job))

    def _work(self, state: _LaneState) -> None:
        while not self._stopping.is_set():
            claimed = self._next(state)
            if claimed is not None:
                self._run(claimed)

    def _next(self, state: _LaneState) -> Claimed | None:
        """The next job of the lane; sleeps until there may be one. None when there was none after all."""
        with state.claiming:
            if state.claimed:
                return state.claimed.popleft()
            news = state.news
            turn = state.turn
            found = self._ledger.write(
                "job.claimed", lambda tx: jobs.claim(tx, state.lane.name, state.lane.workers, turn)
            )
            self.ticked_at = self._clock.monotonic()
            state.turn += len(found)
            state.claimed.extend(found)
            if state.claimed:
                return state.claimed.popleft()
            self._nap(state, news)
            return None

    def _nap(self, state: _LaneState, news: int) -> None:
        pause_s = self._until_due(state.lane.name)
        with state.changed:
            if state.news == news and not self._stopping.is_set():
                state.changed.wait(pause_s)

    def _until_due(self, lane: str) -> float:
        """Seconds until a waiting job of the lane is due, within bounds."""
        with self._ledger.view() as view:
            rows = view.rows("SELECT min(due_us) AS due_us FROM job WHERE lane = ? AND state = 'waiting'", (lane,))
            if rows[0]["due_us"] is None:
                return IDLE_S
            left: float = rows[0]["due_us"] / 1e6 - view.now.timestamp()
        return min(max(left, 0.001), IDLE_S)

    # ---------------------------------------------------------------------------------------------- inline lanes

    def _work_inline(self, state: _LaneState) -> None:
        while not self._stopping.is_set():
            news = state.news
            decided = self._ledger.write("job.decided", lambda tx: self._decide_batch(tx, state.lane))
            self.ticked_at = self._clock.monotonic()
            if not decided:
                self._nap(state, news)

    def _decide_batch(self, tx: WriteTx, lane: Lane) -> int:
        """Claim, plan and accept one job after the other in one transaction: each sees what the last decided."""
        for count in range(INLINE_BATCH):
            found = jobs.claim(tx, lane.name, 1, 3)  # oldest first: the order of arrival
            if not found:
                return count
            self._decide(tx, found[0].job)
        return INLINE_BATCH

    def _decide(self, tx: WriteTx, job: Job) -> None:
        named = self._named(job)
        try:
            with tx.attempt():
                outcome = self._plan(job, View(tx, tx.now))
                if jobs.accept(tx, job, outcome, self._ledger.lanes, named):
                    raise Defect(f"{job.kind}: an inline lane has no effects")
        except Exception as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._on_event(Event("defect.caught", {**named, "reason": _where(error)}, "error"))
            _let_go(tx, job, self._defect(job, error), named)

    # ---------------------------------------------------------------------------------------------- one job

    def _run(self, claimed: Claimed) -> None:
        job = claimed.job
        if self._stopping.is_set():
            self._interrupt(job)
            return
        try:
            if claimed.doubts:
                with self._ledger.view() as view:
                    left = jobs.undone(view.rows, job)
            else:
                left = self._decide_alone(job)
            if left:
                self._perform_all(job, left)
        except ContentError as error:
            self._resettle(job, error)
        except Exception as error:  # noqa: BLE001 - a defect costs one parked job, never the lane
            self._park_defect(job, error)

    def _decide_alone(self, job: Job) -> tuple[Due, ...]:
        """Plan on a view, then commit. Two decisions that claim the same unique thing: the later one looks again."""
        for last in (False, True):
            with self._ledger.view() as view:
                outcome = self._plan(job, view)
            accept = partial(jobs.accept, job=job, outcome=outcome, lanes=self._ledger.lanes, named=self._named(job))
            try:
                return self._ledger.write("job.accepted", accept)
            except sqlite3.IntegrityError:
                if last:
                    raise
        raise Defect("unreachable")

    def _plan(self, job: Job, view: View) -> Outcome:
        return self._handlers[job.kind].plan(job, view)

    def _resettle(self, job: Job, error: ContentError) -> None:
        """The file moved under the job: wait for the watch to settle it, or for a person where it is gone."""
        if isinstance(error, ContentGone):
            named = self._named(job)
            rejected = Rejected(str(error), fix=f"drop the file again, then callspool retry {self._subject(job)}")
            self._ledger.write("job.accepted", lambda tx: _let_go(tx, job, rejected, named))
            return
        until = self._clock.now() + RESETTLE
        self._ledger.write("job.held_back", lambda tx: jobs.hold_back(tx, job, until, str(error), None))

    def _park_defect(self, job: Job, error: Exception) -> None:
        named = self._named(job)
        rejected = self._defect(job, error)
        self._on_event(Event("defect.caught", {**self._named(job), "reason": _where(error)}, "error"))
        self._ledger.write("job.accepted", lambda tx: _let_go(tx, job, rejected, named))

    # ---------------------------------------------------------------------------------------------- effects

    def _perform_all(self, job: Job, left: Sequence[Due]) -> None:
        """Perform effects in order until all are done or one stops the job."""
        pending = deque(left)
        given: dict[str, Receipt] = dict(left[0].effect.given)
        while pending:
            due = pending.popleft()
            due = _with_given(due, given)
            receipt = self._perform(job, due, last=not pending)
            if receipt is None:
                return
            given[due.effect.identity] = receipt

    def _perform(self, job: Job, due: Due, *, last: bool) -> Receipt | None:
        """Make one effect so. None when the job has been left waiting, parked or ready."""
        shut = self._gates.enter(due.effect.dest, self._clock.now())
        if shut is not None:
            self._hold_back(job, due, shut)
            return None
        try:
            return self._through_gate(job, due, last=last)
        finally:
            self._gates.leave(due.effect.dest)

    def _through_gate(self, job: Job, due: Due, *, last: bool) -> Receipt | None:
        name = due.effect.type
        if due.state is EffectState.IN_DOUBT:
            found = self._look_up(job, due)
            if isinstance(found, Receipt):
                self._confirm(job, due, found, "found", last=last)
                return found
            if found == "unknown" and not self._may_resend(job, due):
                return None
        if not self._ledger.write(f"{name}.started", lambda tx: jobs.start(tx, due)):
            return self._elsewhere(job, due, last=last)
        point(f"{name}.performing")
        try:
            receipt = self._performers[name].perform(due.effect)
        except DeliveryError as error:
            self._fail(job, due, error)
            return None
        except ContentError as error:
            self._ledger.write(f"{name}.failed", lambda tx: jobs.unstart(tx, due, "not_sent"))
            self._resettle(job, error)
            return None
        except Exception as error:  # noqa: BLE001 - a defect costs one parked job; the effect's fate is unknown
            self._ledger.write(f"{name}.failed", lambda tx: jobs.unstart(tx, due, "lost"))
            self._park_defect(job, error)
            return None
        point(f"{name}.performed")
        self._confirm(job, due, receipt, "confirmed", last=last)
        return receipt

    def _look_up(self, job: Job, due: Due) -> Receipt | Literal["absent", "unknown"]:
        """Ask the destination for an effect in doubt."""
        try:
            return self._performers[due.effect.type].find(due.effect) or "absent"
        except DeliveryError as error:
            fields = {**self._named(job), "dest": due.effect.dest, "reason": error.reason}
            self._on_event(Event("effect.doubted", fields))
            return "unknown"

    def _may_resend(self, job: Job, due: Due) -> bool:
        """Whether an effect in doubt may be sent again under its key; otherwise the job is parked for a person."""
        if job.told or self._performers[due.effect.type].doubt(due.effect) == "resend":
            return True
        reason = "sent, but not answered: it may have arrived, and the destination cannot be asked"
        fix = f"look there, then callspool retry {self._subject(job)}"
        setback = jobs.Setback(
            "parked",
            reason,
            None,
            fix=fix,
            events=(Event("job.parked", {**self._named(job), "reason": reason, "fix": fix}, "warning"),),
        )
        self._ledger.write(f"{due.effect.type}.failed", lambda tx: jobs.fail(tx, job, due, setback))
        return False

    def _elsewhere(self, job: Job, due: Due, *, last: bool) -> Receipt | None:
        """Another job has this very effect in flight, or has just done it."""
        with self._ledger.view() as view:
            receipt = view.receipt(due.effect.key)
        if receipt is None:
            shut = Shut(self._clock.now() + RESETTLE, "the same effect is under way for another call")
            self._hold_back(job, due, shut, waits_for=None)
        elif last:
            self._ledger.write("job.finished", lambda tx: jobs.finish(tx, job, self._ledger.lanes))
        return receipt

    def _confirm(self, job: Job, due: Due, receipt: Receipt, move: str, *, last: bool) -> None:
        now = self._clock.now()
        before = self._gates.get(due.effect.dest, now)
        after, events = retry.succeeded(before, now)
        if receipt.event is not None:
            event = replace(receipt.event, fields={**self._named(job), **receipt.event.fields})
            receipt = replace(receipt, event=event)

        def confirm(tx: WriteTx) -> None:
            jobs.confirm(tx, due, receipt, move, self._ledger.lanes)
            jobs.keep_destination(tx, after)
            for event in events:
                tx.journal(event)
            if last:
                jobs.finish(tx, job, self._ledger.lanes)

        self._gates.put(after)
        self._ledger.write(f"{due.effect.type}.confirmed", confirm)

    def _fail(self, job: Job, due: Due, error: DeliveryError) -> None:
        now = self._clock.now()
        dest = due.effect.dest
        patience = self._patience.get(dest, retry.DEFAULT_PATIENCE)
        situation = retry.Situation(
            due, self._gates.get(dest, now), patience, self._subject(job), self._named(job), now, self._chance()
        )
        setback = retry.decide(error, situation)
        if setback.destination is not None:
            self._gates.put(setback.destination)
        self._ledger.write(f"{due.effect.type}.failed", lambda tx: jobs.fail(tx, job, due, setback))

    def _hold_back(self, job: Job, due: Due, shut: Shut, waits_for: str | None = "") -> None:
        name = due.effect.dest if waits_for == "" else waits_for
        self._ledger.write("job.held_back", lambda tx: jobs.hold_back(tx, job, shut.until, shut.reason, name))

    def _defect(self, job: Job, error: Exception) -> Rejected:
        fix = f"report it with the log's defect line, then callspool retry {self._subject(job)}"
        return Rejected(f"a defect of callspool's own: {type(error).__name__}", fix=fix)

    def _subject(self, job: Job) -> str:
        """How a person names the job's subject on the command line."""
        known = self._subjects.get(job.kind)
        return f"{job.kind}:{job.key}" if known is None else known.prefix + job.key

    def _named(self, job: Job) -> Mapping[str, Json]:
        """The job's subject as log fields."""
        known = self._subjects.get(job.kind)
        return {"kind": job.kind, "subject" if known is None else known.field: self._subject(job)}


class _LaneState:
    """What a lane's workers share."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.claiming = threading.Lock()
        self.changed = threading.Condition()
        self.claimed: deque[Claimed] = deque()
        self.news = 0
        self.turn = 0


def _with_given(due: Due, given: Mapping[str, Receipt]) -> Due:
    return replace(due, effect=replace(due.effect, given={**due.effect.given, **given}))


def _let_go(tx: WriteTx, job: Job, rejected: Rejected, named: Mapping[str, Json]) -> None:
    """Park a job whatever its effects stand at; what is in doubt stays in doubt and linked."""
    tx.execute(
        "UPDATE job SET state = 'parked', reason = ?, fix = ?, again = 0, told = 0, changed_us = ? "
        "WHERE id = ? AND state = 'running'",
        (rejected.reason, rejected.fix, tx.now_us, job.id),
    )
    tx.journal(Event("job.parked", {**named, "reason": rejected.reason, "fix": rejected.fix}, "warning"))


def _where(error: Exception) -> str:
    """Type and place of a defect: never its message, which may quote what a file said."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
    return f"{type(error).__name__}{place}"

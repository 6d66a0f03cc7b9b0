"""The runner: takes due jobs, has them planned, commits the decision, has its effects delivered.

A job's way through one worker, with the transaction of each step in brackets:

    [claim] → what is in doubt is looked up → plan → [accept] → each effect is delivered → [finish with the last]

An effect whose fate is unknown comes first; only when nothing is in doubt is the job decided anew, so that a decision
changed meanwhile never leaves a stray effect behind. Destinations that are shut hold their jobs back without costing
them an attempt.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from daemon.contract import Clock, Event, Handler, Job, Lane, Outcome, Room
from daemon.errors import ContentError, Defect, LedgerBusy, LedgerDamaged, TakenMeanwhile
from daemon.ledger import destinations, effects, jobs
from daemon.ledger.effects import Due
from daemon.ledger.jobs import Claimed
from daemon.ledger.ledger import Ledger
from daemon.ledger.reading import View
from daemon.ledger.writer import WriteTx, stops_everything
from daemon.run.delivery import Delivery
from daemon.run.jump import Reading, jump_between
from daemon.run.names import Names
from daemon.states import EffectState

IDLE_S = 30.0
"""Longest nap of a worker that nothing wakes: bounds how late a clock that was set is noticed."""

BUSY_S = 1.0
"""Pause of a worker that could not read the ledger because another program held it."""

LATE = 8
"""How often a decision may come too late: each time another one was before it, and few want the same."""

INLINE_BATCH = 64
INLINE_S = 0.02
"""Jobs of an inline lane decided in one transaction, and how long it goes on taking more: whoever else has something to
write waits for that, or for one decision where a single one takes longer."""


class Runner:
    """Workers for every lane.

    ``on_event`` gets events that belong to no transaction; ``on_fatal`` is told once what makes it impossible to go on,
    a damaged ledger above all: the process should end.
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
        self._on_fatal = on_fatal
        self._handlers: dict[str, Handler] = {k: h for room in rooms for h in room.handlers for k in h.kinds}
        self._names = Names({k: s for room in rooms for k, s in room.subjects.items()})
        self._stopping = threading.Event()
        self._failed = False
        self._abandoned = False
        self._lanes = {lane.name: _LaneState(lane, clock.monotonic()) for room in rooms for lane in room.lanes}
        self._threads: list[threading.Thread] = []
        self._let_go = [room.stop for room in rooms]
        self._delivery = Delivery(
            ledger,
            {t: p for room in rooms for t, p in room.performers.items()},
            {d: p for room in rooms for d, p in room.patience.items()},
            self._names,
            clock,
            stopping=self._stopping,
            on_event=on_event,
            chance=chance,
        )
        self._read_clock = Reading.of(clock)
        self._reading = threading.Lock()

    def start(self) -> None:
        """Start every lane's workers."""
        self._ledger.on_woken = self.wake
        self._ledger.on_fatal = self._fail
        for state in self._lanes.values():
            work = self._work_inline if state.lane.inline else self._work
            for number in range(state.lane.workers):
                name = f"{state.lane.name}-{number}"
                thread = threading.Thread(target=self._loop, args=(work, state), name=name, daemon=True)
                thread.start()
                self._threads.append(thread)

    def stop(self, grace_s: float) -> bool:
        """Stop claiming and let what is under way finish, up to ``grace_s``. True when all of it did."""
        self._stopping.set()
        self.wake(frozenset(self._lanes))
        for let_go in self._let_go:
            let_go()
        deadline = self._clock.monotonic() + grace_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._clock.monotonic()))
        for state in self._lanes.values():
            with suppress(IndexError):
                while True:
                    self._put_back(state.claimed.popleft().job)
        self._abandoned = True
        return not any(thread.is_alive() for thread in self._threads)

    def wake(self, lanes: frozenset[str]) -> None:
        """Something new to do in these lanes."""
        for name in lanes:
            state = self._lanes.get(name)
            if state is not None:
                with state.changed:
                    state.news += 1
                    state.changed.notify_all()

    def moved_at(self) -> dict[str, float]:
        """Of each lane, when a worker last took a job, ended one or found that there was none: monotonic seconds."""
        return {name: state.moved_at for name, state in self._lanes.items()}

    def idle(self) -> bool:
        """True when no job is ready or running, in any lane."""
        with self._ledger.view() as view:
            return not view.rows("SELECT 1 FROM job WHERE state IN ('ready', 'running') LIMIT 1")

    # ---------------------------------------------------------------------------------------------- workers

    def _loop(self, work: Callable[[_LaneState], None], state: _LaneState) -> None:
        while not self._stopping.is_set():
            try:
                self._notice_jump()
                work(state)
            except LedgerBusy:
                self._stopping.wait(BUSY_S)  # reading met another program's lock; the writer reports its own
            except BaseException as error:  # noqa: BLE001 - without its ledger a worker can only say so
                self._fail(error if isinstance(error, Exception) else Defect(type(error).__name__))
                return

    def _fail(self, error: Exception) -> None:
        """Tell once. After the grace of a stop the ledger closes under whoever is late: nothing to tell."""
        with self._reading:
            first, self._failed = not (self._failed or self._abandoned), True
        if first:
            self._on_fatal(error)

    def _notice_jump(self) -> None:
        """Waits were counted from a wall clock that somebody has set since: they keep their length."""
        with self._reading:
            before, self._read_clock = self._read_clock, Reading.of(self._clock)
            jump = jump_between(before, self._read_clock)
        if not jump:
            return

        def jumped(tx: WriteTx) -> None:
            jobs.move_deadlines(tx, jump)
            self._delivery.mirror(tx)

        self._ledger.write("clock.jumped", jumped)

    def _interrupt(self, job: Job) -> None:
        self._ledger.write("job.interrupted", lambda tx: jobs.interrupt(tx, job))

    def _put_back(self, job: Job) -> None:
        """As ``_interrupt``, but not waiting: a full disk must not keep the process from ending."""
        self._ledger.writer.submit("job.interrupted", lambda tx: jobs.interrupt(tx, job))

    def _work(self, state: _LaneState) -> None:
        claimed = self._next(state)
        if claimed is not None:
            self._run(claimed)
            state.moved_at = self._clock.monotonic()

    def _next(self, state: _LaneState) -> Claimed | None:
        """The next job of the lane; sleeps until there may be one. None when there was none after all."""
        with state.changed:
            state.idle += 1
        try:
            with state.claiming:
                if state.claimed:
                    return state.claimed.popleft()
                return None if self._stopping.is_set() else self._claim(state)
        finally:
            with state.changed:
                state.idle -= 1

    def _claim(self, state: _LaneState) -> Claimed | None:
        """Claim for every idle worker at once: they share the commit, and no claimed job waits for a busy one."""
        news, turn, idle = state.news, state.turn, state.idle
        found = self._ledger.write(
            "job.claimed", lambda tx: jobs.claim(tx, state.lane.name, idle, turn, heeds=state.lane.pause)
        )
        state.moved_at = self._clock.monotonic()
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
        """Seconds until a waiting job of the lane, or a probe for those held back, is due; within bounds."""
        with self._ledger.view() as view:
            if view.rows("SELECT 1 FROM pause WHERE what IN ('all', ?)", (self._lanes[lane].lane.pause,)):
                return IDLE_S  # resuming wakes it
            rows = view.rows(
                "SELECT min(due_us) AS due_us FROM job WHERE lane = ? AND state = 'waiting' AND waits_for IS NULL",
                (lane,),
            )
            due = [us for us in (rows[0]["due_us"], destinations.next_probe_us(view.rows, lane)) if us is not None]
            if not due:
                return IDLE_S
            left: float = min(due) / 1e6 - view.now.timestamp()
        return min(max(left, 0.001), IDLE_S)

    # ---------------------------------------------------------------------------------------------- inline lanes

    def _work_inline(self, state: _LaneState) -> None:
        news = state.news
        decided = self._ledger.write("job.decided", lambda tx: self._decide_batch(tx, state.lane))
        state.moved_at = self._clock.monotonic()
        if not decided:
            self._nap(state, news)

    def _decide_batch(self, tx: WriteTx, lane: Lane) -> int:
        """Claim, plan and accept one job after the other in one transaction: each sees what the last decided."""
        enough_at = self._clock.monotonic() + INLINE_S
        count = 0
        while count < INLINE_BATCH and (count == 0 or self._clock.monotonic() < enough_at):
            found = jobs.claim(tx, lane.name, 1, 3, heeds=lane.pause)  # oldest first: the order of arrival
            if not found:
                break
            self._decide(tx, found[0].job)
            count += 1
        return count

    def _decide(self, tx: WriteTx, job: Job) -> None:
        try:
            with tx.attempt():
                outcome = self._plan(job, View(tx, tx.now))
                if effects.accept(tx, job, outcome, self._ledger.lanes, self._names.fields(job)):
                    raise Defect(f"{job.kind}: an inline lane has no effects")
        except Exception as error:
            if tx.lost or stops_everything(error):
                raise
            if isinstance(error, ContentError):
                self._delivery.resettle(tx, job, error)
            else:
                self._park(tx, job, error)

    # ---------------------------------------------------------------------------------------------- one job

    def _run(self, claimed: Claimed) -> None:
        job = claimed.job
        try:
            if self._stopping.is_set():
                self._interrupt(job)
            else:
                self._go(claimed)
        except ContentError as error:
            moved = error
            self._ledger.write("job.held_back", lambda tx: self._delivery.resettle(tx, job, moved))
        except LedgerBusy:
            self._interrupt(job)
            raise
        except LedgerDamaged:
            raise
        except Exception as error:  # noqa: BLE001 - a defect costs one parked job, never the lane
            defect = error
            self._ledger.write("job.parked", lambda tx: self._park(tx, job, defect))

    def _go(self, claimed: Claimed) -> None:
        """What is in doubt comes first, even where the decision itself wants an effect that another job left so."""
        job, doubts = claimed.job, claimed.doubts
        while not doubts or self._delivery.resolve(job):
            left = self._decide_alone(job)
            doubts = any(due.state is EffectState.IN_DOUBT for due in left)
            if not doubts:
                self._delivery.perform(job, left)
                return

    def _decide_alone(self, job: Job) -> tuple[Due, ...]:
        """Plan on a view, then commit. Of decisions that claim the same unique thing the later ones look again, until
        nobody is before them."""
        named = self._names.fields(job)
        for late in range(LATE + 1):
            with self._ledger.view() as view:
                outcome = self._plan(job, view)
            accept = partial(effects.accept, job=job, outcome=outcome, lanes=self._ledger.lanes, named=named)
            try:
                return self._ledger.write("job.accepted", accept)
            except (sqlite3.IntegrityError, TakenMeanwhile):
                if late == LATE:
                    raise
        raise Defect("unreachable")

    def _plan(self, job: Job, view: View) -> Outcome:
        return self._handlers[job.kind].plan(job, view)

    def _park(self, tx: WriteTx, job: Job, error: Exception) -> None:
        """A mistake of our own: parked, with the place in the log."""
        named = self._names.fields(job)
        tx.journal(Event("defect.caught", {**named, "reason": _where(error)}, "error"))
        fix = f"report it with the log's defect line, then callspool retry {self._names.subject(job)}"
        jobs.park(tx, job, f"a defect of callspool's own: {type(error).__name__}", fix, named)


class _LaneState:
    """What a lane's workers share."""

    def __init__(self, lane: Lane, now_s: float) -> None:
        self.lane = lane
        self.moved_at = now_s
        self.claiming = threading.Lock()
        self.changed = threading.Condition()
        self.claimed: deque[Claimed] = deque()
        self.idle = 0
        self.news = 0
        self.turn = 0


def _where(error: Exception) -> str:
    """Type and place of a defect: never its message, which may quote what a file said."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
    return f"{type(error).__name__}{place}"

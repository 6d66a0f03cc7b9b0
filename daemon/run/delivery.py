"""The delivery of a job's effects: each looked up where its fate is unknown, performed once, its outcome recorded.

An effect's way, with the transaction of each step in brackets:

    gate → [start] → perform → [confirm | fail]          in doubt: gate → find → [confirm | absent | fail]

Where other content of the same identity is in doubt, start is refused: its fate is learned first, and the job decided
anew.

What a destination's answer does to its health is decided inside the transaction that records the answer, from the row
as it stands there: answers of several workers arrive in some order, and each sees what the last one left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from daemon.contract import Clock, Event, Fields, Job, Patience, Performer, Receipt
from daemon.errors import ContentError, ContentGone, DeliveryError, Denied, LedgerDamaged, NotSent, Throttled
from daemon.ledger import destinations, effects, jobs
from daemon.ledger.effects import Due, Setback
from daemon.ledger.ledger import Ledger
from daemon.ledger.writer import WriteTx
from daemon.run import retry
from daemon.run.gates import Gates, Shut
from daemon.run.names import Names
from daemon.run.retry import Situation
from daemon.states import EffectState
from daemon.trace import point

LOOK_AGAIN = timedelta(seconds=2)
"""How soon a job is looked at again whose file moved under it, or whose effect is under way for another job. The watch
settles the file meanwhile; the other job's outcome usually wakes it sooner."""

GONE_WAITS = (timedelta(seconds=5), timedelta(seconds=90), timedelta(minutes=5))
"""Waits for content that no known path holds, before a person must look. A file that was moved is found again by its
event or by the next full scan (a minute by default), and may take three minutes more to settle."""

FORGET_MISSES = 2 * GONE_WAITS[-1]
"""Misses of one job that lie further apart than this are no longer in a row."""

LONGEST_LOOK = timedelta(minutes=1)
"""Up to which the wait for a file that moved doubles: one that a sick disk does not let us read is not to be sent up
to the bad place every other second."""

DOUBTED = "sent, but not answered: it may have arrived, and the destination cannot be asked"
DOUBTED_BEFORE = (
    "an earlier version was sent, but not answered: it may have arrived, and the destination cannot be asked"
)


class Delivery:
    """Performs effects for the runner's workers; may be called from all of them at once."""

    def __init__(
        self,
        ledger: Ledger,
        performers: Mapping[str, Performer],
        patience: Mapping[str, Patience],
        names: Names,
        clock: Clock,
        *,
        stopping: threading.Event,
        on_event: Callable[[Event], None],
        chance: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._performers = performers
        self._patience = patience
        self._names = names
        self._clock = clock
        self._stopping = stopping
        self._on_event = on_event
        self._chance = chance
        self._misses: dict[tuple[int, bool], _Misses] = {}  # in memory alone, for a start scans everything anew
        with ledger.view() as view:
            self._gates = Gates(destinations.known(view.rows))

    def mirror(self, tx: WriteTx) -> None:
        """Take over every destination as it stands in this transaction."""
        for destination in destinations.known(tx.rows).values():
            self._gates.put(destination)

    def resolve(self, job: Job) -> bool:
        """Learn the fate of every effect in doubt. True when nothing is left in doubt and the job may be decided anew;
        False when it has been left waiting, parked or ready."""
        while True:
            with self._ledger.view() as view:
                left = effects.undone(view.rows, job)
            doubtful = [place for place, due in enumerate(left) if due.state is EffectState.IN_DOUBT]
            if not doubtful:
                return True
            if not self._resolve_one(job, left[: doubtful[0] + 1], DOUBTED):
                return False

    def perform(self, job: Job, left: Sequence[Due], *, finish: bool = True) -> bool:
        """Perform effects in order; with ``finish`` the last one ends the job.

        False when one of them stopped the job and it has been left waiting, parked or ready.
        """
        given: dict[str, Receipt] = {}
        for place, due in enumerate(left):
            if self._stopping.is_set():
                self._ledger.write("job.interrupted", lambda tx: jobs.interrupt(tx, job))
                return False
            last = finish and place == len(left) - 1
            receipt = self._perform(job, _with_given(due, given), last=last)
            if receipt is None:
                return False
            given[due.effect.identity] = receipt
        return True

    def resettle(self, tx: WriteTx, job: Job, error: ContentError) -> None:
        """The file moved under the job: wait for the watch to settle it, or find it; for a person where it stays gone.

        Called within write transactions alone, and so by one thread at a time.
        """
        gone = isinstance(error, ContentGone)
        misses = self._missed(job, gone, tx.now)
        jobs.note_lack(tx, job, error.item_id)
        if not gone:
            wait = min(LOOK_AGAIN * 2 ** min(misses - 1, 10), LONGEST_LOOK)
            jobs.hold_back(tx, job, tx.now + wait, str(error), None)
            return
        if misses <= len(GONE_WAITS):
            jobs.hold_back(tx, job, tx.now + GONE_WAITS[misses - 1], jobs.CONTENT_GONE, None)
            return
        del self._misses[job.id, gone]
        fix = f"drop the file again, then callspool retry {self._names.subject(job)}"
        jobs.park(tx, job, jobs.CONTENT_GONE, fix, self._names.fields(job))

    def _missed(self, job: Job, gone: bool, now: datetime) -> int:
        """How often in a row the job has now missed its content, because it was ``gone`` or because it had moved."""
        recent = {key: misses for key, misses in self._misses.items() if now - misses.last <= FORGET_MISSES}
        before = recent.get((job.id, gone))
        count = 1 if before is None else before.count + 1
        self._misses = {**recent, (job.id, gone): _Misses(count, now)}
        return count

    # ---------------------------------------------------------------------------------------------- in doubt

    def _resolve_one(self, job: Job, left: Sequence[Due], reason: str) -> bool:
        """Learn the fate of the last of these, which stands behind the others in the job's order.

        ``reason`` is what a person is told where nobody but them can learn it.
        """
        due = left[-1]
        dest = due.effect.dest
        shut = self._gates.enter(dest, self._clock.now(), told=job.told)
        if shut is not None:
            self._hold_back(job, shut, dest)
            return False
        try:
            found = self._look_up(job, due)
            if isinstance(found, Receipt):
                self._confirm(job, due, found, last=False)
            elif found == "absent":
                self._absent(job, due)
        finally:
            self._gates.leave(dest)
        if found == "unasked":
            return False
        if found != "unknown" or self._given_up(job, due):
            return True
        return self._may_resend(job, due, reason) and self.perform(job, left, finish=False)

    def _look_up(self, job: Job, due: Due) -> Receipt | Literal["absent", "unknown", "unasked"]:
        """Ask the destination. One that is not there to be asked is treated as for any other effect."""
        try:
            return self._performers[due.effect.type].find(due.effect) or "absent"
        except (NotSent, Throttled, Denied) as error:
            self._fail(job, due, error, retry.unasked)
            return "unasked"
        except DeliveryError as error:
            fields = {**self._names.fields(job), "dest": due.effect.dest, "reason": error.reason}
            self._on_event(Event("effect.doubted", fields))
            return "unknown"

    def _absent(self, job: Job, due: Due) -> None:
        now = self._clock.now()

        def absent(tx: WriteTx) -> None:
            effects.absent(tx, job, due, self._ledger.lanes)
            after, events = retry.answered(destinations.current(tx, due.effect.dest), now)
            self._keep(tx, after, events)

        self._ledger.write(f"{due.effect.type}.absent", absent)

    def _given_up(self, job: Job, due: Due) -> bool:
        """Whether newer content goes in place of an effect in doubt: it does once it was sent, and where a person says
        of what is otherwise held for them that something be sent.
        """
        with self._ledger.view() as view:
            overtaken = effects.overtaken(view.rows, due)
        if overtaken is None or (overtaken == "wanted" and not (job.told and self._holds(due))):
            return False
        self._ledger.write(
            f"{due.effect.type}.superseded", lambda tx: effects.give_up(tx, job, due, self._ledger.lanes)
        )
        return True

    def _holds(self, due: Due) -> bool:
        """Whether a doubt about the effect that cannot be looked up is a person's to end."""
        return self._performers[due.effect.type].doubt(due.effect) == "hold"

    def _may_resend(self, job: Job, due: Due, reason: str) -> bool:
        """Whether an effect in doubt may be sent again under its key; otherwise the job is parked for a person, and the
        effect stays in doubt: whoever comes next asks again."""
        if job.told or not self._holds(due):
            return True
        fix = f"look there, then callspool retry {self._names.subject(job)}"
        self._ledger.write("job.parked", lambda tx: jobs.park(tx, job, reason, fix, self._names.fields(job)))
        return False

    # ---------------------------------------------------------------------------------------------- one effect

    def _perform(self, job: Job, due: Due, *, last: bool) -> Receipt | None:
        """Make one effect so. None when the job has been left waiting, parked or ready."""
        dest = due.effect.dest
        shut = self._gates.enter(dest, self._clock.now(), told=job.told)
        if shut is not None:
            self._hold_back(job, shut, dest)
            return None
        try:
            started = self._ledger.write(f"{due.effect.type}.started", lambda tx: effects.start(tx, due))
            if started is not None:
                return self._send(job, started, last=last)
        finally:
            self._gates.leave(dest)
        with self._ledger.view() as view:
            rival = effects.rival_in_doubt(view.rows, due)
        if rival is None:
            return self._elsewhere(job, due, last=last)
        if self._resolve_one(job, (rival,), DOUBTED_BEFORE):
            self._ledger.write("job.woken", lambda tx: jobs.leave(tx, job, "woken", counts=False))
        return None

    def _send(self, job: Job, due: Due, *, last: bool) -> Receipt | None:
        name = due.effect.type
        point(f"{name}.performing")
        try:
            receipt = self._performers[name].perform(due.effect)
            point(f"{name}.performed")
            self._confirm(job, due, receipt, last=last)
        except DeliveryError as error:
            if isinstance(error, NotSent) and self._stopping.is_set():
                self._let_go(job, due)
            else:
                self._fail(job, due, error, retry.decide)
            return None
        except ContentError as error:
            self._never_sent(job, due, error)
            return None
        except LedgerDamaged:
            raise
        except Exception:
            self._ledger.write(f"{name}.failed", lambda tx: effects.unstart(tx, due, "lost"))
            raise
        return receipt

    def _let_go(self, job: Job, due: Due) -> None:
        """It was not sent because the process stops: it costs no attempt, and the next start goes on with it."""

        def let_go(tx: WriteTx) -> None:
            effects.unstart(tx, due, "not_sent")
            jobs.interrupt(tx, job)

        self._ledger.write(f"{due.effect.type}.failed", let_go)

    def _never_sent(self, job: Job, due: Due, error: ContentError) -> None:
        def failed(tx: WriteTx) -> None:
            effects.unstart(tx, due, "not_sent")
            self.resettle(tx, job, error)

        self._ledger.write(f"{due.effect.type}.failed", failed)

    def _elsewhere(self, job: Job, due: Due, *, last: bool) -> Receipt | None:
        """Another job moved this very effect, or has other content under way: done, parked, or to be waited for."""

        def look(tx: WriteTx) -> Receipt | None:
            now = effects.standing(tx.rows, due)
            if now.state is EffectState.DONE:
                if last:
                    effects.finish(tx, job, self._ledger.lanes)
                return effects.receipt(tx.rows, due)
            if now.state is EffectState.PARKED:
                fix = f"callspool retry {self._names.subject(job)}"
                jobs.park(tx, job, now.reason, fix, self._names.fields(job))
            else:
                reason = f"{due.effect.dest}: the same is under way for another job"
                jobs.hold_back(tx, job, tx.now + LOOK_AGAIN, reason, None)
            return None

        return self._ledger.write("job.shared", look)

    def _confirm(self, job: Job, due: Due, receipt: Receipt, *, last: bool) -> None:
        now = self._clock.now()
        named = _with_subject(receipt, self._names.fields(job))

        def confirmed(tx: WriteTx) -> None:
            effects.confirm(tx, job, due, named, self._ledger.lanes)
            after, events = retry.succeeded(destinations.current(tx, due.effect.dest), now)
            self._keep(tx, after, events)
            if last:
                effects.finish(tx, job, self._ledger.lanes)

        self._ledger.write(f"{due.effect.type}.confirmed", confirmed)

    def _fail(
        self, job: Job, due: Due, error: DeliveryError, decide: Callable[[DeliveryError, Situation], Setback]
    ) -> None:
        now, chance = self._clock.now(), self._chance()
        dest = due.effect.dest
        patience = self._patience.get(dest, retry.DEFAULT_PATIENCE)
        subject, named = self._names.subject(job), self._names.fields(job)
        # What is held was sent again only on the word of a person, who knows that it had not arrived.
        doubted = due.state is EffectState.IN_DOUBT and not self._holds(due)

        def failed(tx: WriteTx) -> None:
            at = Situation(due, destinations.current(tx, dest), patience, subject, named, now, chance)
            setback = decide(error, at)
            effects.fail(tx, job, due, setback, self._ledger.lanes, doubted=doubted)
            if setback.destination is not None:
                self._gates.put(setback.destination)

        self._ledger.write(f"{due.effect.type}.failed", failed)

    def _keep(self, tx: WriteTx, after: destinations.Destination, events: Sequence[Event]) -> None:
        destinations.keep(tx, after)
        for event in events:
            tx.journal(event)
        self._gates.put(after)

    def _hold_back(self, job: Job, shut: Shut, waits_for: str) -> None:
        self._ledger.write("job.held_back", lambda tx: jobs.hold_back(tx, job, shut.until, shut.reason, waits_for))


@dataclass(frozen=True, slots=True)
class _Misses:
    """How often in a row a job could not have its content, and when it last was so."""

    count: int
    last: datetime


def _with_subject(receipt: Receipt, named: Fields) -> Receipt:
    """The receipt, its journal line naming the job's subject: a performer knows the effect alone."""
    if receipt.event is None:
        return receipt
    return replace(receipt, event=replace(receipt.event, fields={**named, **receipt.event.fields}))


def _with_given(due: Due, given: Mapping[str, Receipt]) -> Due:
    return replace(due, effect=replace(due.effect, given={**due.effect.given, **given}))

"""The matcher's jobs: whatever was woken, its surroundings are judged anew, and what changed is put down.

A job's key is ``conversation:<id>``, ``group:<key>`` or ``lead:<id>``. Its lane decides inside the write transaction,
one job after the other, so that no two decisions are taken on the same free recording. Decisions are made from scratch
out of what is known now: what was decided before weighs nothing until it was sent, or a person said so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from daemon.contract import Event, Job, JobSpec, Outcome, Planned, Reader
from handlers import records
from handlers.match.assign import (
    Decision,
    LeadDecision,
    Neighbourhood,
    RecordingDecision,
    assign,
    clouded,
    recording_weights,
)
from handlers.match.book import Memory
from handlers.match.changes import MATCH, Changes, clock, decided_for, next_look, partner_of
from handlers.match.disputes import disputes
from handlers.match.evidence import Experience
from handlers.match.learning import Learner, lesson_of, likely
from handlers.match.ledger_source import Surroundings, surroundings
from handlers.match.shift import held_for_shift
from handlers.match.values import moment_of
from handlers.records import Taught, Verdict

if TYPE_CHECKING:
    from handlers.settings import MatchSettings


D = TypeVar("D", RecordingDecision, LeadDecision)

LOOK_AGAIN, LOOK_AGAIN_LATEST, LOOK_AGAIN_SHARE = timedelta(seconds=2), timedelta(minutes=1), 1 / 16
"""Until a subject is looked at again while files are there that nobody has looked into: within these two, this share of
what it waited, or of what went by since its wait would be over. Whoever comes for it wakes it at once."""


UNREAD = ", and until what came by then is understood"
"""Said of a wait that would be over."""


class At(NamedTuple):
    """When a decision is taken: the last moment of which it is known who was there, and now."""

    known: datetime
    now: datetime


class MatchHandler:
    """Plans the matcher's jobs."""

    kinds = (MATCH,)

    def __init__(self, settings: MatchSettings) -> None:
        self._settings = settings
        self._learner = Learner(settings)
        self._expected = Experience()
        self._memory = Memory()

    def plan(self, job: Job, read: Reader) -> Outcome:
        """Judge what was woken and everything it can change."""
        kind, _, key = job.key.partition(":")
        experience = self._learner.experience(read)
        if kind == "conversation":
            return self._conversation(int(key), read, experience)
        if kind == "group":
            return self._group(key, read, experience)
        return self._lead(int(key), read, experience)

    def _around(
        self,
        read: Reader,
        experience: Experience,
        *,
        conversation: int | None = None,
        group: str | None = None,
        lead: int | None = None,
    ) -> tuple[Surroundings, dict[int, Decision]]:
        """Who is near, and what is decided for those whom it suffices for. Where something stays open because of what
        was too faint to be looked into, it is looked into.

        What is known of pairs is kept as long as the same is expected.
        """
        if experience is not self._expected:
            self._expected = experience
            self._memory.forget_pairs()
        look = partial(
            surroundings,
            read,
            self._settings,
            experience,
            conversation=conversation,
            group=group,
            lead=lead,
            memory=self._memory,
        )
        found = look()
        decisions = self._decisions(found, read, experience)
        if clouded(found.near, decisions.values()):
            found = look(faint_too=True)
            decisions = self._decisions(found, read, experience)
        return found, decisions

    def _decisions(self, found: Surroundings, read: Reader, experience: Experience) -> dict[int, Decision]:
        return assign(found.near, read.now, self._settings, experience, found.recording_judged | found.lead_judged)

    def _conversation(self, number: int, read: Reader, experience: Experience) -> Outcome:
        changes = Changes(read)
        newer = records.replaced_by(read, number)
        if newer is not None:
            changes.step_down(number, newer)
            changes.then.append(JobSpec(MATCH, f"conversation:{newer}"))
            return changes.outcome(None, "")
        older = records.replaces(read, number)
        if older is not None:
            changes.step_down(older, number)
        found, decisions = self._around(read, experience, conversation=number)
        until, reason, _ = self._judge(changes, found, decisions, number, experience)
        if found.sent_near:
            changes.dispute(disputes(read, self._settings, experience, conversation=number, memory=self._memory))
        return changes.outcome(until, reason)

    def _group(self, key: str, read: Reader, experience: Experience) -> Outcome:
        changes = Changes(read)
        found, decisions = self._around(read, experience, group=key)
        _, _, decisions = self._judge(changes, found, decisions, None, experience)
        if found.sent_near:
            changes.dispute(disputes(read, self._settings, experience, group=key, memory=self._memory))
        group = found.near.groups.get(key)
        held = records.pairing_of_group(read, key)
        if held is not None and held.conversation_id not in decisions:
            # Beyond question, but perhaps with a side more than before: its conversation looks at it.
            changes.then.append(JobSpec(MATCH, f"conversation:{held.conversation_id}"))
            return changes.outcome(None, "")
        if group is None or decided_for(decisions, group=key):
            return changes.outcome(None, "")
        return self._unmatched(changes, found.near, "recording", group.recordings[0].id, group.registered_at)

    def _lead(self, number: int, read: Reader, experience: Experience) -> Outcome:
        changes = Changes(read)
        if records.lead_replaced(read, number):
            return Planned()
        found, decisions = self._around(read, experience, lead=number)
        _, _, decisions = self._judge(changes, found, decisions, None, experience)
        held = records.pairing_of_lead(read, number)
        if decided_for(decisions, lead=number) or (held is not None and held.conversation_id not in decisions):
            return changes.outcome(None, "")
        registered_at = records.lead(read, number).registered_at or read.now
        return self._unmatched(changes, found.near, "lead", number, registered_at)

    def _unmatched(
        self, changes: Changes, near: Neighbourhood, what: str, item: int, registered_at: datetime
    ) -> Outcome:
        """A file without a conversation: kept and listed, and looked at once more when its wait is over."""
        until, now = registered_at + self._settings.wait, changes.read.now
        if near.last_moment(now) < until:
            why = f"waits for its conversation until {clock(until)}"
            if until > now:
                return changes.outcome(until, why)
            return changes.outcome(_look_again(until, now), why + UNREAD)
        subject = f"{what[0]}{item}"
        changes.events.append(
            Event(f"{what}.unmatched", {"subject": subject, "item": item, "reason": "no conversation claims it alone"})
        )
        return changes.outcome(None, "")

    def _judge(
        self,
        changes: Changes,
        found: Surroundings,
        decisions: Mapping[int, Decision],
        woken: int | None,
        experience: Experience,
    ) -> tuple[datetime | None, str, dict[int, Decision]]:
        """Decide everything that the surroundings suffice for. Returns when to look at the woken one again, and why."""
        read = changes.read
        now, unread = found.near.last_moment(read.now), found.near.unread_at(read.now)
        at = At(now, read.now)
        taken: dict[int, Decision] = {}
        until, reason = None, ""
        for number in sorted(decisions):
            before = records.verdict(read, number)
            if (before is None or "replaced_by" in before.explanation) and number != woken:
                continue  # new, or the newest again: its own job is on its way, and decides both halves
            decision = taken[number] = decisions[number]
            recording = decision.recording if number in found.recording_judged else None
            lead = decision.lead if number in found.lead_judged else None
            if before is not None and number != woken:
                again = woken is None and _asks_otherwise(before, recording, lead, at)
                changes.then += [JobSpec(MATCH, f"conversation:{number}")] * again
                recording = _unless_moot(before, "recording", recording, at)
                lead = _unless_moot(before, "lead", lead, at)
            if recording is None and lead is None:
                continue
            if recording is not None and number == woken:
                recording = held_for_shift(changes, recording, now, self._settings)
            lesson = None if recording is None else lesson_of(number, recording, found.near.recording_pairs)
            verdict = changes.decide(number, recording, lead, lesson)
            over = recording is not None and recording.group is None and now >= recording.until
            if over and number == woken:
                changes.judged += self._beginnings(read, found.near, experience, number)
            look, why = next_look(verdict, now)
            if unread and look is not None:
                undecided = number == woken and recording is not None and recording.state != "matched"
                since = moment_of(found.near.standings[number].told.registered_ms) if undecided else None
                look, why = _while_unread(look, why, read.now, since)
            if number == woken:
                until, reason = look, why
            elif look is not None and verdict in changes.judged:
                changes.then.append(JobSpec(MATCH, f"conversation:{number}", look))
        return until, reason, taken

    def _beginnings(self, read: Reader, near: Neighbourhood, experience: Experience, number: int) -> tuple[Taught, ...]:
        """What an undecided conversation teaches while next to nothing is known."""
        tolds = {other: standing.told for other, standing in near.standings.items()}
        weights = recording_weights(near.recording_pairs, tolds, near.groups, experience, wait_ms=0, now_ms=None)
        lesson = likely(number, weights, near.recording_pairs)
        if lesson is None or not self._learner.begins(read, lesson.lesson.recorder):
            return ()
        return (lesson,)


def _look_again(since: datetime, now: datetime) -> datetime:
    """When who has waited since then is looked at again while files are there that nobody has looked into."""
    return now + min(LOOK_AGAIN_LATEST, max(LOOK_AGAIN, (now - since) * LOOK_AGAIN_SHARE))


def _while_unread(look: datetime, why: str, now: datetime, since: datetime | None) -> tuple[datetime, str]:
    """When to look, and why, while files are there that nobody has looked into; sooner for whom they may decide, who
    has waited ``since``."""
    if look <= now:
        return _look_again(look, now), why + UNREAD
    return (look if since is None else min(look, _look_again(since, now))), why


def _asks_otherwise(before: Verdict, recording: RecordingDecision | None, lead: LeadDecision | None, at: At) -> bool:
    """Whether a file that is new here changes what a held conversation asks a person, whose wait is over: who its
    candidates are, or that there is a question at all."""
    halves: tuple[tuple[str, RecordingDecision | LeadDecision | None], ...] = (("recording", recording), ("lead", lead))
    for what, half in halves:
        told = before.explanation.get(what) or {}
        if half is None or told.get("state") != "ambiguous" or not _moot(before, what, half, at):
            continue
        if half.state != "ambiguous" or _candidates(what, told) != _candidates(what, half.explanation):
            return True
    return False


def _candidates(what: str, told: Mapping[str, Any]) -> set[str]:
    return {candidate[what] for candidate in told.get("candidates", ())}


def _unless_moot(before: Verdict, what: str, decision: D | None, at: At) -> D | None:
    return None if decision is None or _moot(before, what, decision, at) else decision


def _moot(before: Verdict, what: str, decision: RecordingDecision | LeadDecision, at: At) -> bool:
    """Whether a half is left as it stands: its wait is over, it had nobody and gets nobody. Over it stays, also where
    files are met since that came while it ran.

    Who else might be its own is then looked at from its own job alone, which sees all of its surroundings.
    """
    told = before.explanation.get(what) or {}
    over = at.known >= decision.until or (at.now >= decision.until and told.get("settled", False))
    return over and told.get("partner") is None and partner_of(decision) is None

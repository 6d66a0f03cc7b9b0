"""The matcher's jobs: whatever was woken, its surroundings are judged anew, and what changed is put down.

A job's key is ``conversation:<id>``, ``group:<key>`` or ``lead:<id>``. Its lane decides inside the write transaction,
one job after the other, so that no two decisions are taken on the same free recording. Decisions are made from scratch
out of what is known now: what was decided before weighs nothing until it was sent, or a person said so.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from daemon.contract import Event, Job, JobSpec, Outcome, Planned, Reader
from handlers import records
from handlers.match.assign import Decision, LeadDecision, RecordingDecision, assign
from handlers.match.changes import MATCH, Changes, clock, decided_for, next_look, partner_of
from handlers.match.neighbours import Surroundings, surroundings
from handlers.records import Verdict

if TYPE_CHECKING:
    from handlers.settings import MatchSettings


class MatchHandler:
    """Plans the matcher's jobs."""

    kinds = (MATCH,)

    def __init__(self, settings: MatchSettings) -> None:
        self._settings = settings

    def plan(self, job: Job, read: Reader) -> Outcome:
        """Judge what was woken and everything it can change."""
        kind, _, key = job.key.partition(":")
        if kind == "conversation":
            return self._conversation(int(key), read)
        if kind == "group":
            return self._group(key, read)
        return self._lead(int(key), read)

    def _conversation(self, number: int, read: Reader) -> Outcome:
        changes = Changes(read)
        newer = records.replaced_by(read, number)
        if newer is not None:
            changes.step_down(number, newer)
            changes.then.append(JobSpec(MATCH, f"conversation:{newer}"))
            return changes.outcome(None, "")
        older = records.replaces(read, number)
        if older is not None:
            changes.step_down(older, number)
        until, reason, _ = self._judge(changes, surroundings(read, self._settings, conversation=number), number)
        return changes.outcome(until, reason)

    def _group(self, key: str, read: Reader) -> Outcome:
        changes = Changes(read)
        found = surroundings(read, self._settings, group=key)
        _, _, decisions = self._judge(changes, found, None)
        group = found.near.groups.get(key)
        held = records.pairing_of_group(read, key)
        if held is not None and held.conversation_id not in decisions:
            # Beyond question, but perhaps with a side more than before: its conversation looks at it.
            changes.then.append(JobSpec(MATCH, f"conversation:{held.conversation_id}"))
            return changes.outcome(None, "")
        if group is None or decided_for(decisions, group=key):
            return changes.outcome(None, "")
        return self._unmatched(changes, "recording", group.recordings[0].id, group.registered_at)

    def _lead(self, number: int, read: Reader) -> Outcome:
        changes = Changes(read)
        if records.lead_replaced(read, number):
            return Planned()
        _, _, decisions = self._judge(changes, surroundings(read, self._settings, lead=number), None)
        held = records.pairing_of_lead(read, number)
        if decided_for(decisions, lead=number) or (held is not None and held.conversation_id not in decisions):
            return changes.outcome(None, "")
        return self._unmatched(changes, "lead", number, records.lead(read, number).registered_at or read.now)

    def _unmatched(self, changes: Changes, what: str, item: int, registered_at: datetime) -> Outcome:
        """A file without a conversation: kept and listed, and looked at once more when its wait is over."""
        until = registered_at + self._settings.wait
        if changes.read.now < until:
            return changes.outcome(until, f"waits for its conversation until {clock(until)}")
        subject = f"{what[0]}{item}"
        changes.events.append(
            Event(f"{what}.unmatched", {"subject": subject, "item": item, "reason": "no conversation claims it alone"})
        )
        return changes.outcome(None, "")

    def _judge(
        self, changes: Changes, found: Surroundings, woken: int | None
    ) -> tuple[datetime | None, str, dict[int, Decision]]:
        """Decide everything that the surroundings suffice for. Returns when to look at the woken one again, and why."""
        read = changes.read
        decisions = assign(found.near, read.now, self._settings)
        taken: dict[int, Decision] = {}
        until, reason = None, ""
        for number in sorted(found.recording_judged | found.lead_judged):
            before = records.verdict(read, number)
            if (before is None or "replaced_by" in before.explanation) and number != woken:
                continue  # new, or the newest again: its own job is on its way, and decides both halves
            decision = taken[number] = decisions[number]
            recording = decision.recording if number in found.recording_judged else None
            lead = decision.lead if number in found.lead_judged else None
            if before is not None and number != woken:
                recording = None if recording is None or _moot(before, "recording", recording, read.now) else recording
                lead = None if lead is None or _moot(before, "lead", lead, read.now) else lead
                if recording is None and lead is None:
                    continue
            verdict = changes.decide(number, recording, lead)
            look, why = next_look(verdict, read.now)
            if number == woken:
                until, reason = look, why
            elif look is not None and verdict in changes.judged:
                changes.then.append(JobSpec(MATCH, f"conversation:{number}", look))
        return until, reason, taken


def _moot(before: Verdict, what: str, decision: RecordingDecision | LeadDecision, now: datetime) -> bool:
    """Whether a half is left as it stands: its wait is over, it had nobody and gets nobody.

    Who else might be its own is then looked at from its own job alone, which sees all of its surroundings.
    """
    partner = (before.explanation.get(what) or {}).get("partner")
    return now >= decision.until and partner is None and partner_of(decision) is None

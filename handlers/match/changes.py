"""What a decision amounts to: facts, journal lines, and jobs to wake. What is as it was is not written again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from daemon.contract import Event, Fact, Fields, JobSpec, Outcome, Planned, Postponed, Reader
from handlers import records
from handlers.match.assign import Decision, LeadDecision, RecordingDecision, partner_name
from handlers.match.disputes import Dispute
from handlers.records import Judged, LeadPaired, LeadUnpaired, Paired, Taught, Unpaired, Verdict

MATCH = "match"
CALL, STORE = "call", "store"
"""The kinds of job that deliver a call and that store it, side by side; the key is the conversation's id."""


def clock(at: datetime) -> str:
    """A moment as reasons name it."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Changes:
    """Collects what is to be changed. Partners are freed before they are given anew."""

    read: Reader
    freed: list[Fact] = field(default_factory=list)
    given: list[Fact] = field(default_factory=list)
    judged: list[Fact] = field(default_factory=list)
    then: list[JobSpec] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def outcome(self, until: datetime | None, reason: str) -> Outcome:
        """All of it as the runner takes it; postponed where there is a time to look again."""
        facts = (*self.freed, *self.given, *self.judged)
        then, events = tuple(dict.fromkeys(self.then)), tuple(self.events)
        if until is None:
            return Planned(facts, then=then, events=events)
        return Postponed(until, reason, facts, then, events)

    def decide(
        self,
        number: int,
        recording: RecordingDecision | None,
        lead: LeadDecision | None,
        lesson: Taught | None = None,
    ) -> Judged:
        """Take up one conversation's halves; None for a half that was not looked at and stays as it was. ``lesson`` is
        what its recording teaches if it is new."""
        before = records.verdict(self.read, number)
        if recording is not None and self._pair(number, recording) and lesson is not None:
            self.given.append(lesson)
        if lead is not None:
            self._pair_lead(number, lead)
        verdict = judged(number, before, recording, lead)
        if not verdict.says_the_same(before):
            self.judged.append(verdict)
            self.events += events(before, verdict)
            if _concerns_delivery(before, verdict):
                self.then += settled(number)
        return verdict

    def step_down(self, number: int, newer: int) -> None:
        """An older version of a transcript: the newer one speaks for the call, and takes its partners over."""
        before = records.verdict(self.read, number)
        told = {"replaced_by": f"c{newer}"}
        if before is not None and before.explanation == told:
            return
        self.freed += [Unpaired(number), LeadUnpaired(number)]
        now = self.read.now
        self.judged.append(Judged(number, "alone", now, "none", now, ready=False, explanation=told))
        self.events.append(
            Event("call.replaced", {"call_id": f"c{number}", "reason": f"c{newer} is its newer version"})
        )
        if before is not None and before.ready:
            self.then += settled(number)

    def dispute(self, found: Sequence[Dispute]) -> None:
        """Put down what later evidence says against what was sent: once, and nothing is changed by it."""
        for said in found:
            before = records.verdict(self.read, said.conversation)
            if before is None or _names(before.explanation.get("disputed")) == _names(said.told):
                continue
            now_told = {**before.explanation, "disputed": said.told}
            self.judged.append(
                Judged(
                    said.conversation,
                    before.recording,
                    before.recording_until,
                    before.lead,
                    before.lead_until,
                    before.ready,
                    now_told,
                )
            )
            fields: dict[str, Any] = {"call_id": f"c{said.conversation}", "reason": said.reason, "fix": said.fix}
            self.events.append(Event("call.match_disputed", fields, "warning"))

    def _pair(self, number: int, decision: RecordingDecision) -> bool:
        """Change whose recording it is; whether it got another than it had."""
        held = records.pairing(self.read, number)
        if decision.group == (None if held is None else held.group):
            return False
        if held is not None:
            self.freed.append(Unpaired(number))
            self.then.append(JobSpec(MATCH, f"group:{held.group}"))
        if decision.group is not None:
            owner = records.pairing_of_group(self.read, decision.group)
            if owner is not None:
                self._robbed(owner.conversation_id, Unpaired(owner.conversation_id))
            self.given.append(Paired(number, decision.group, decision.probability, decision.reasons))
        return decision.group is not None

    def _pair_lead(self, number: int, decision: LeadDecision) -> None:
        held = records.lead_pairing(self.read, number)
        if decision.lead == (None if held is None else held.lead_id):
            return
        if held is not None:
            self.freed.append(LeadUnpaired(number))
            self.then.append(JobSpec(MATCH, f"lead:{held.lead_id}"))
        if decision.lead is not None:
            owner = records.pairing_of_lead(self.read, decision.lead)
            if owner is not None:
                self._robbed(owner.conversation_id, LeadUnpaired(owner.conversation_id))
            self.given.append(LeadPaired(number, decision.lead, decision.probability, decision.reasons))

    def _robbed(self, number: int, fact: Fact) -> None:
        """Its partner belongs to somebody else: it is looked at again, wherever it lies."""
        self.freed.append(fact)
        self.then.append(JobSpec(MATCH, f"conversation:{number}"))


def settled(number: int) -> tuple[JobSpec, ...]:
    """The jobs of whoever does something with a call whose parts are settled."""
    return JobSpec(CALL, str(number)), JobSpec(STORE, str(number))


def judged(
    number: int, before: Verdict | None, recording: RecordingDecision | None, lead: LeadDecision | None
) -> Judged:
    """The two halves put together; a half that was not looked at is taken from the verdict that stands."""
    old: dict[str, Any] = {} if before is None else before.explanation
    told = {
        "recording": old.get("recording") if recording is None else told_half(recording, old.get("recording", {})),
        "lead": old.get("lead") if lead is None else told_half(lead, old.get("lead", {})),
    }
    heard, asked = recording or _old_recording(before), lead or _old_lead(before)
    ready = all(half is not None and half["settled"] for half in told.values())
    if recording is None or (
        recording.group is not None and old.get("recording", {}).get("partner") == recording.group
    ):
        told.update({"disputed": old["disputed"]} if "disputed" in old else {})
    return Judged(number, heard.state, heard.until, asked.state, asked.until, ready, told)


def told_half(decision: RecordingDecision | LeadDecision, old: dict[str, Any]) -> dict[str, Any]:
    """One half of the explanation. Where the partner is beyond question, the reasons it was given for stay."""
    partner = partner_of(decision)
    told: dict[str, Any] = {
        "state": decision.state,
        "settled": decision.settled,
        "partner": partner,
        "probability": decision.probability,
        "reasons": list(decision.reasons),
        **decision.explanation,
    }
    if partner is not None and "candidates" not in told and old.get("partner") == partner:
        kept = ("probability", "reasons", "alone", "candidates", "separated_by")
        told.update({name: old[name] for name in kept if name in old})
    return told


def partner_of(decision: RecordingDecision | LeadDecision) -> str | None:
    """The partner's name: a group's key, or ``l14``."""
    partner = decision.group if isinstance(decision, RecordingDecision) else decision.lead
    return None if partner is None else partner_name(partner)


def next_look(verdict: Judged, now: datetime) -> tuple[datetime | None, str]:
    """When a conversation that is not ready is to be looked at again, and what it waits for; None where time alone
    changes nothing."""
    waits = []
    recording, lead = verdict.explanation["recording"], verdict.explanation["lead"]
    if not recording["settled"] and verdict.recording_until > now:
        what = {"matched": "other side", "ambiguous": "question to be settled"}.get(verdict.recording, "recording")
        waits.append((verdict.recording_until, f"waits for its {what} until {clock(verdict.recording_until)}"))
    if not lead["settled"] and verdict.lead_until > now:
        waits.append((verdict.lead_until, f"waits for its lead until {clock(verdict.lead_until)}"))
    return min(waits, default=(None, ""), key=lambda wait: wait[0])


def events(before: Verdict | None, verdict: Judged) -> list[Event]:
    """The journal's lines for what is different now."""
    old: dict[str, Any] = {} if before is None else before.explanation
    call: dict[str, Any] = {"call_id": f"c{verdict.conversation_id}"}
    told: list[Event] = []
    recording, was = verdict.explanation["recording"], old.get("recording") or {}
    if (recording["state"], recording["partner"]) != (was.get("state", "waiting"), was.get("partner")):
        told.append(_recording_event(call, recording))
    lead, was = verdict.explanation["lead"], old.get("lead") or {}
    if lead["partner"] is not None and lead["partner"] != was.get("partner"):
        told.append(Event("lead.matched", {**call, **_item(lead["partner"]), "reason": _reason(lead)}))
    elif lead["state"] == "ambiguous" != was.get("state"):
        told.append(Event("lead.held", {**call, "reason": _between(lead, "lead")}, "warning"))
    elif "flags" in lead and "flags" not in was:
        told.append(Event("lead.missed", {**call, "reason": "promised by its transcript, and not there"}, "warning"))
    return told


def _names(disputed: dict[str, Any] | None) -> tuple[Any, ...]:
    """Who stands against whom, whatever the probabilities."""
    if disputed is None:
        return ()
    return tuple(disputed[side].get(name) for side in ("sent", "better") for name in ("recording", "call"))


def _recording_event(call: Fields, told: dict[str, Any]) -> Event:
    if told["state"] == "matched":
        return Event("call.matched", {**call, **_item(told["recordings"][0]), "reason": _reason(told)})
    if told["state"] == "ambiguous":
        return Event("call.ambiguous", {**call, "reason": _between(told, "recording")}, "warning")
    if told["state"] == "alone":
        return Event("call.alone", {**call, "reason": "no recording came while it waited"})
    return Event("call.unmatched", {**call, "reason": "its recording is another call's, or was taken back"})


def _reason(told: dict[str, Any]) -> str:
    return ", ".join(told["reasons"]) or "a person said so"


def _between(told: dict[str, Any], kind: str) -> str:
    if "shift_s" in told:
        return f"recordings and conversations lie {told['shift_s']:+.0f} s apart: a clock or a time zone is wrong"
    best = max((candidate["probability"] for candidate in told["candidates"]), default=0.0)
    if len(told["candidates"]) == 1:
        return f"its only candidate is its own with a probability of {best:.3g}; {kind} held"
    return f"{len(told['candidates'])} candidates, the best with a probability of {best:.3g}; {kind} held"


def _item(subject: str) -> dict[str, Any]:
    return {"subject": subject, "item": int(subject[1:])}


def _concerns_delivery(before: Verdict | None, verdict: Judged) -> bool:
    """Whether the room that delivers is to look: the call became ready, or what belongs to it changed."""
    if before is None or not before.ready or "replaced_by" in before.explanation:
        return verdict.ready
    return not verdict.ready or _members(before.explanation) != _members(verdict.explanation)


def _members(told: dict[str, Any]) -> tuple[Any, ...]:
    return (told["recording"]["partner"], told["recording"].get("recordings"), told["lead"]["partner"])


@dataclass(frozen=True, slots=True)
class _Half:
    state: Any
    until: datetime


def _old_recording(before: Verdict | None) -> _Half:
    if before is None:
        raise ValueError("a first verdict needs both halves")
    return _Half(before.recording, before.recording_until)


def _old_lead(before: Verdict | None) -> _Half:
    if before is None:
        raise ValueError("a first verdict needs both halves")
    return _Half(before.lead, before.lead_until)


def decided_for(decisions: dict[int, Decision], *, group: str | None = None, lead: int | None = None) -> bool:
    """Whether some conversation was given this group or lead."""
    return any(
        (group is not None and decision.recording.group == group) or (lead is not None and decision.lead.lead == lead)
        for decision in decisions.values()
    )

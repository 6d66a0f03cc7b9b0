"""What a person may say about a match. Both acts are journaled with who and why, and wake whoever they concern."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from daemon.contract import Act, Acted, Event, Fact, JobSpec, Reader
from daemon.errors import BadRequest, UnknownSubject
from handlers import records
from handlers.match.changes import MATCH, settled
from handlers.match.evidence import Experience
from handlers.match.fixed import fixed_group, fixed_lead
from handlers.match.ledger_source import surroundings
from handlers.records import LeadPaired, LeadUnpaired, Paired, Refused, Unpaired, Unrefused

if TYPE_CHECKING:
    from handlers.settings import MatchSettings

LOOK = "callspool match list"


def acts(settings: MatchSettings) -> Mapping[str, Act]:
    """The acts by name; each takes ``call``, ``recording`` (or a lead) and ``why``.

    What a person settles may settle more: every call that shares a candidate with it is looked at again.
    """

    def waking(act: Act) -> Act:
        def run(args: Mapping[str, Any], read: Reader) -> Acted:
            acted = act(args, read)
            number, _ = _subjects(args, read)
            near = surroundings(read, settings, Experience(), conversation=number).near
            pairs = (*near.recording_pairs.items(), *near.lead_pairs.items())
            others = {theirs for (_, theirs), evidence in pairs if evidence.possible} - {number}
            wake = tuple(JobSpec(MATCH, f"conversation:{other}") for other in sorted(others))
            return replace(acted, then=tuple(dict.fromkeys((*acted.then, *wake))))

        return run

    return {"match.accept": waking(accept), "match.reject": waking(reject), "match.undo": waking(undo)}


def accept(args: Mapping[str, Any], read: Reader) -> Acted:
    """These two belong together. Raises UnknownSubject; BadRequest where the file is another call's beyond doubt."""
    number, partner = _subjects(args, read)
    if isinstance(partner, str):
        return _accept_recording(number, partner, _why(args), read)
    return _accept_lead(number, partner, _why(args), read)


def reject(args: Mapping[str, Any], read: Reader) -> Acted:
    """These two do not belong together: an existing pair is taken apart, and never made again by evidence."""
    number, partner = _subjects(args, read)
    why = _why(args)
    facts: list[Fact] = [Refused(number, _name(partner), why)]
    if isinstance(partner, str):
        held = records.pairing(read, number)
        if held is not None and held.group == partner:
            facts.append(Unpaired(number))
    else:
        lead_held = records.lead_pairing(read, number)
        if lead_held is not None and lead_held.lead_id == partner:
            facts.append(LeadUnpaired(number))
    return Acted(
        answer={"call": f"c{number}", "partner": _name(partner), "rejected": True, "unpaired": len(facts) > 1},
        facts=(*facts, records.PersonSpoke(number)),
        then=_wake(number, partner),
        events=(_event("match.rejected", number, partner, why),),
    )


def undo(args: Mapping[str, Any], read: Reader) -> Acted:
    """What a person said of these two is taken back: evidence decides again. Raises BadRequest where nobody said
    anything."""
    number, partner = _subjects(args, read)
    why = _why(args)
    facts: list[Fact] = []
    if _name(partner) in records.refusals(read, number):
        facts.append(Unrefused(number, _name(partner)))
    held = records.pairing(read, number)
    if held is not None and held.group == partner and held.decided_by == "person":
        facts.append(Unpaired(number))
    lead_held = records.lead_pairing(read, number)
    if lead_held is not None and lead_held.lead_id == partner and lead_held.decided_by == "person":
        facts.append(LeadUnpaired(number))
    if not facts:
        raise BadRequest(
            f"nobody accepted or rejected {_name(partner)} for c{number}", fix=f"callspool match show c{number}"
        )
    return Acted(
        answer={"call": f"c{number}", "partner": _name(partner), "undone": True},
        facts=(*facts, records.PersonSpoke(number)),
        then=_wake(number, partner),
        events=(_event("match.undone", number, partner, why),),
    )


def _accept_recording(number: int, group: str, why: str, read: Reader) -> Acted:
    facts: list[Fact] = [Unrefused(number, group)]
    then = [*_wake(number, group)]
    held = records.pairing(read, number)
    if held is not None and held.group != group:
        facts.append(Unpaired(number))
        then.append(JobSpec(MATCH, f"group:{held.group}"))
    owner = records.pairing_of_group(read, group)
    if owner is not None and owner.conversation_id != number:
        other = owner.conversation_id
        if fixed_group(read, other) == group:
            raise _anothers(f"that recording is c{other}'s", other, group)
        facts.append(Unpaired(other))
        then.append(JobSpec(MATCH, f"conversation:{other}"))
    facts.append(Paired(number, group, 1.0, ("a person said so",), "person", why))
    return _accepted(number, group, why, facts, then)


def _accept_lead(number: int, lead: int, why: str, read: Reader) -> Acted:
    facts: list[Fact] = [Unrefused(number, f"l{lead}")]
    then = [*_wake(number, lead)]
    held = records.lead_pairing(read, number)
    if held is not None and held.lead_id != lead:
        facts.append(LeadUnpaired(number))
        then.append(JobSpec(MATCH, f"lead:{held.lead_id}"))
    owner = records.pairing_of_lead(read, lead)
    if owner is not None and owner.conversation_id != number:
        other = owner.conversation_id
        if fixed_lead(read, other) == lead:
            raise _anothers(f"that lead is c{other}'s", other, f"l{lead}")
        facts.append(LeadUnpaired(other))
        then.append(JobSpec(MATCH, f"conversation:{other}"))
    facts.append(LeadPaired(number, lead, 1.0, ("a person said so",), "person", why))
    return _accepted(number, lead, why, facts, then)


def _accepted(number: int, partner: str | int, why: str, facts: list[Fact], then: list[JobSpec]) -> Acted:
    return Acted(
        answer={"call": f"c{number}", "partner": _name(partner), "accepted": True},
        facts=(*facts, records.PersonSpoke(number)),
        then=tuple(dict.fromkeys(then)),
        events=(_event("match.accepted", number, partner, why),),
    )


def _anothers(what: str, other: int, partner: str) -> BadRequest:
    return BadRequest(
        f"{what}: a person chose it, or it was sent with that call", fix=f"callspool match reject c{other} {partner}"
    )


def _wake(number: int, partner: str | int) -> tuple[JobSpec, ...]:
    key = f"group:{partner}" if isinstance(partner, str) else f"lead:{partner}"
    return (JobSpec(MATCH, f"conversation:{number}"), JobSpec(MATCH, key), *settled(number))


def _event(name: str, number: int, partner: str | int, why: str) -> Event:
    return Event(name, {"call_id": f"c{number}", "partner": _name(partner), "who": "person", "why": why})


def _name(partner: str | int) -> str:
    return partner if isinstance(partner, str) else f"l{partner}"


def _why(args: Mapping[str, Any]) -> str:
    why = args.get("why") or ""
    if not isinstance(why, str):
        raise BadRequest("why is text")
    return why


def _subjects(args: Mapping[str, Any], read: Reader) -> tuple[int, str | int]:
    call, recording = args.get("call"), args.get("recording")
    if not isinstance(call, str) or not isinstance(recording, str):
        raise BadRequest("a call and a recording (or a lead) are needed", fix="callspool match accept c12 r13")
    calls = records.find_calls(read, call)
    newest = [number for number in calls if records.replaced_by(read, number) is None]
    if not newest:
        raise UnknownSubject("no call is known by that name", fix=LOOK)
    if len(newest) > 1:
        raise BadRequest(f"that may be {', '.join(f'c{number}' for number in newest)}: name one", fix=LOOK)
    partners: list[str | int] = [*records.find_groups(read, recording), *records.find_leads(read, recording)]
    if not partners:
        raise UnknownSubject("no recording or lead is known by that name", fix=LOOK)
    if len(partners) > 1:
        raise BadRequest(f"that may be {', '.join(map(_name, partners))}: name one", fix=LOOK)
    return newest[0], partners[0]

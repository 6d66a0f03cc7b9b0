"""What the matcher can tell a person: the whole story of a call, what is held, and what needs a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from daemon.contract import Fields, Reader
from handlers import records
from handlers.match.assign import SHOWN, partner_name
from handlers.match.changes import clock
from handlers.match.evidence import Evidence
from handlers.match.learning import Learner
from handlers.match.ledger_source import Surroundings, surroundings
from handlers.match.values import Group
from handlers.records import Verdict

if TYPE_CHECKING:
    from handlers.settings import MatchSettings


def explain(read: Reader, reference: str, settings: MatchSettings) -> Fields | None:
    """The story of the call that a person named by itself or by one of its files; None where nothing is known."""
    calls = records.find_calls(read, reference)
    if calls:
        return call_story(read, calls[-1], settings)
    groups = records.find_groups(read, reference)
    if groups:
        held = records.pairing_of_group(read, groups[-1])
        if held is not None:
            return call_story(read, held.conversation_id, settings)
        return _group_story(read, groups[-1], settings)
    leads = records.find_leads(read, reference)
    if leads:
        lead_held = records.pairing_of_lead(read, leads[-1])
        if lead_held is not None:
            return call_story(read, lead_held.conversation_id, settings)
        return _lead_story(read, leads[-1], settings)
    return None


def call_story(read: Reader, number: int, settings: MatchSettings | None) -> dict[str, Any]:
    """Members, verdict and waits of a call, every candidate with its terms, and what was near but cannot be.

    The last needs settings to look with.
    """
    verdict = records.verdict(read, number)
    pairing, lead_pairing = records.pairing(read, number), records.lead_pairing(read, number)
    recordings = () if pairing is None else records.recordings(read, pairing.group)
    items = [number, *(recording.id for recording in recordings)]
    told: dict[str, Any] = {"call_id": f"c{number}", "state": "not looked at yet"}
    if verdict is not None:
        told.update(_verdict_story(verdict))
    told["recordings"] = [f"r{recording.id} ({recording.side.value})" for recording in recordings]
    if pairing is not None:
        told["paired_by"] = _decided(pairing.decided_by, pairing.why)
    if lead_pairing is not None:
        told["lead_file"] = f"l{lead_pairing.lead_id}"
        told["lead_paired_by"] = _decided(lead_pairing.decided_by, lead_pairing.why)
        items.append(lead_pairing.lead_id)
    refused = records.refusals(read, number)
    if refused:
        told["refused"] = refused
    newer, older = records.replaced_by(read, number), records.replaces(read, number)
    if newer is not None:
        told["replaced_by"] = f"c{newer}"
    elif settings is not None:
        misses = _near_misses(read, number, settings)
        told.update({"near_but_not_its_own": misses} if misses else {})
    if older is not None:
        told["replaces"] = f"c{older}"
    return {**told, "items": items}


def held(read: Reader) -> list[dict[str, Any]]:
    """Waiting and held conversations, grouped by the files they share, oldest first."""
    crowds: list[tuple[set[str], list[dict[str, Any]]]] = []
    for verdict in records.open_verdicts(read):
        told = _line(verdict)
        mine = {f"c{verdict.conversation_id}", *told["candidates"]}
        near = [crowd for crowd in crowds if crowd[0] & mine]
        names, lines = set(mine).union(*(crowd[0] for crowd in near)), [line for crowd in near for line in crowd[1]]
        crowds = [crowd for crowd in crowds if crowd not in near]
        crowds.append((names, [*lines, told]))
    return [{"calls": lines} for _, lines in crowds]


def failures(read: Reader, settings: MatchSettings) -> list[Fields]:
    """What evidence could not settle within the wait, each with the command that does."""
    found: list[Fields] = []
    for verdict in records.open_verdicts(read):
        shifted = "shift_s" in (verdict.explanation.get("recording") or {})
        if verdict.recording == "ambiguous" and (shifted or read.now >= verdict.recording_until):
            found.append(_held_failure(verdict, "recording", settings))
        if verdict.lead == "ambiguous" and read.now >= verdict.lead_until:
            found.append(_held_failure(verdict, "lead", settings))
    found += [_disputed_failure(read, number) for number in records.disputed(read)]
    since = read.now - settings.wait
    for key in records.orphan_groups(read):
        group = Group.of(records.recordings(read, key))
        if group.registered_at <= since:
            found.append(_orphan("recording", f"r{group.recordings[0].id}"))
    for number in records.orphan_leads(read):
        registered_at = records.lead(read, number).registered_at
        if registered_at is not None and registered_at <= since:
            found.append(_orphan("lead", f"l{number}"))
    return found


def _held_failure(verdict: Verdict, what: str, settings: MatchSettings) -> Fields:
    subject = f"c{verdict.conversation_id}"
    candidates = [candidate[what] for candidate in verdict.explanation[what]["candidates"]]
    goes = "it is held" if what == "recording" and settings.held == "hold" else f"it goes without its {what}"
    return {
        "subject": subject,
        "reason": f"evidence cannot tell which {what} is its own; {goes}",
        "fix": verdict.explanation[what].get("would_settle")
        or "; or ".join(f"callspool match accept {subject} {candidate}" for candidate in candidates),
    }


def _disputed_failure(read: Reader, number: int) -> Fields:
    verdict = records.verdict(read, number)
    told = {} if verdict is None else verdict.explanation["disputed"]
    sent, better = told["sent"]["recording"], told["better"]["recording"]
    owner = told["better"].get("call", f"c{number}")
    return {
        "subject": f"c{number}",
        "reason": "later evidence speaks against the recording it was sent with",
        "fix": f"callspool match show c{number}; callspool match reject c{number} {sent}; "
        f"callspool match accept {owner} {better}",
    }


def _orphan(what: str, subject: str) -> Fields:
    return {
        "subject": subject,
        "reason": f"{what} without a conversation: kept, and not sent",
        "fix": f"callspool explain {subject}  (then callspool match accept CALL {subject})",
    }


def _verdict_story(verdict: Verdict) -> dict[str, Any]:
    told: dict[str, Any] = {"state": verdict.recording, "lead_state": verdict.lead, "ready": verdict.ready}
    halves = verdict.explanation
    waits = []
    for what, until in (("recording", verdict.recording_until), ("lead", verdict.lead_until)):
        half = halves.get(what)
        if half:
            told[what] = {key: value for key, value in half.items() if key not in ("state", "settled")}
            if not half["settled"]:
                waits.append({"for": _awaited(what, half), "until": clock(until)})
    if waits:
        told["waits"] = waits
    if "disputed" in halves:
        told["disputed"] = halves["disputed"]
    return told


def _awaited(what: str, half: Mapping[str, Any]) -> str:
    if half["state"] == "ambiguous":
        return f"what tells its {what} from others"
    return "the other side" if half["state"] == "matched" else f"its {what}"


def _decided(by: str, why: str) -> str:
    return f"{by}: {why}" if why else by


def _line(verdict: Verdict) -> dict[str, Any]:
    candidates = []
    for what in ("recording", "lead"):
        half = verdict.explanation.get(what) or {}
        if half.get("state") == "ambiguous":
            candidates += [candidate[what] for candidate in half["candidates"]]
    return {
        "call_id": f"c{verdict.conversation_id}",
        "recording": verdict.recording,
        "lead": verdict.lead,
        "until": clock(max(verdict.recording_until, verdict.lead_until)),
        "candidates": candidates,
    }


def _around(
    read: Reader,
    settings: MatchSettings,
    *,
    conversation: int | None = None,
    group: str | None = None,
    lead: int | None = None,
) -> Surroundings:
    """Who is near, by what was learned so far."""
    experience = Learner(settings).experience(read)
    return surroundings(read, settings, experience, conversation=conversation, group=group, lead=lead)


def _near_misses(read: Reader, number: int, settings: MatchSettings) -> list[dict[str, Any]]:
    """Files near the call that cannot be its own, with what speaks against them."""
    near = _around(read, settings, conversation=number).near
    pairs: list[tuple[str, Evidence]] = [
        (partner_name(key), evidence) for (key, theirs), evidence in near.recording_pairs.items() if theirs == number
    ]
    pairs += [(partner_name(key), evidence) for (key, theirs), evidence in near.lead_pairs.items() if theirs == number]
    misses = sorted((pair for pair in pairs if not pair[1].possible), key=lambda pair: pair[1].distance_s)
    return [_pair_story("file", name, evidence) for name, evidence in misses[:SHOWN]]


def _group_story(read: Reader, key: str, settings: MatchSettings) -> dict[str, Any]:
    """A recording that is nobody's, with the calls it was held against."""
    members = records.recordings(read, key)
    if not members:
        return {"state": "replaced by a newer version", "items": []}
    near = _around(read, settings, group=key).near
    pairs = [(number, evidence) for (ours, number), evidence in near.recording_pairs.items() if ours == key]
    waits_until = Group.of(members).registered_at + settings.wait
    return _orphan_story(read, [member.id for member in members], pairs, waits_until - read.now)


def _lead_story(read: Reader, number: int, settings: MatchSettings) -> dict[str, Any]:
    """A lead that is nobody's, with the calls it was held against."""
    lead = records.lead(read, number)
    near = _around(read, settings, lead=number).near
    pairs = [(theirs, evidence) for (ours, theirs), evidence in near.lead_pairs.items() if ours == number]
    left = (lead.registered_at or read.now) + settings.wait - read.now
    return _orphan_story(read, [number], pairs, left)


def _orphan_story(
    read: Reader, items: Sequence[int], pairs: Sequence[tuple[int, Evidence]], left: timedelta
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "state": "without a conversation",
        "items": list(items),
        "held_against": [
            _pair_story("call", f"c{number}", evidence)
            for number, evidence in sorted(pairs, key=lambda pair: pair[1].distance_s)[:SHOWN]
        ],
    }
    if left > timedelta():
        told["waits"] = [{"for": "its conversation", "until": clock(read.now + left)}]
    return told


def _pair_story(what: str, name: str, evidence: Evidence) -> dict[str, Any]:
    return {
        what: name,
        "possible": evidence.possible,
        "terms": [str(term) for term in evidence.terms],
    }

"""``callspool match list|show|accept|reject``. Imported by the command line alone, since Typer is slow to load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from daemon.contract import Desk
from daemon.errors import UnknownSubject
from handlers import records
from handlers.match.acts import LOOK
from handlers.match.story import call_story, held

Call = Annotated[str, typer.Argument(help="c12, a callId, a session id or a transcript.")]
Partner = Annotated[str, typer.Argument(help="r13 or l14, or the file's name.")]
Why = Annotated[str, typer.Option("--why", help="Kept in the journal beside the decision.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def verbs(desk: Desk) -> typer.Typer:
    """The group of verbs."""
    group = typer.Typer(no_args_is_help=True, help="Which recording and which lead belong to which call.")

    @group.command("list")
    def list_() -> int:
        """Calls that wait for a partner or are held; those that share candidates stand together."""
        with desk.read() as read:
            found = held(read)
        desk.show(found, list_text(found))
        return 0

    @group.command("show")
    def show(call: Call) -> int:
        """One call: its partners, its candidates with their terms, and what it waits for."""
        with desk.read() as read:
            calls = records.find_calls(read, call)
            if not calls:
                raise UnknownSubject("no call is known by that name", fix=LOOK)
            found = call_story(read, calls[-1], None)
        desk.show(found, show_text(found))
        return 0

    @group.command("accept")
    def accept(call: Call, recording: Partner, why: Why = "", dry_run: DryRun = False) -> int:
        """Say that a recording (or a lead) belongs to a call."""
        answer: Any = desk.act("match.accept", {"call": call, "recording": recording, "why": why}, dry_run=dry_run)
        said = "would be paired with" if dry_run else "is paired with"
        desk.show(answer, f"{answer['call']} {said} {answer['partner']}")
        return 0

    @group.command("reject")
    def reject(call: Call, recording: Partner, why: Why = "", dry_run: DryRun = False) -> int:
        """Say that a recording (or a lead) does not belong to a call: never paired again by evidence."""
        answer: Any = desk.act("match.reject", {"call": call, "recording": recording, "why": why}, dry_run=dry_run)
        said = "would never be paired with" if dry_run else "is never paired with"
        desk.show(answer, f"{answer['call']} {said} {answer['partner']}")
        return 0

    @group.command("undo")
    def undo(call: Call, recording: Partner, why: Why = "", dry_run: DryRun = False) -> int:
        """Take back what was said of a pair: evidence decides again."""
        answer: Any = desk.act("match.undo", {"call": call, "recording": recording, "why": why}, dry_run=dry_run)
        said = "would be decided by evidence again" if dry_run else "are decided by evidence again"
        desk.show(answer, f"{answer['call']} and {answer['partner']} {said}")
        return 0

    return group


def list_text(crowds: Sequence[Mapping[str, Any]]) -> str:
    """One line for a call, a blank line between calls that have nothing to do with one another."""
    if not crowds:
        return "nothing waits, nothing is held"
    return "\n\n".join("\n".join(_line(call) for call in crowd["calls"]) for crowd in crowds)


def show_text(told: Mapping[str, Any]) -> str:
    """A call as a person reads it."""
    lines = [f"{told['call_id']}  recording {told['state']}, lead {told.get('lead_state', 'not looked at yet')}"]
    lines += [f"  waits for {wait['for']} until {wait['until']}" for wait in told.get("waits", ())]
    for what in ("recording", "lead"):
        half = told.get(what) or {}
        if half.get("partner"):
            because = ", ".join(half["reasons"]) or told.get("paired_by", "")
            lines.append(f"  {what} {half['partner']}: {because}")
        if half.get("partner") and "probability" in half:
            lines[-1] += f" (probability {half['probability']:.6g})"
        lines += [f"    {half[why]}" for why in ("separated_by", "crowded") if half.get(why)]
        lines += [_candidate(what, candidate) for candidate in half.get("candidates", ())]
        if half.get("would_settle"):
            lines.append(f"    -> {half['would_settle']}")
    if "disputed" in told:
        sent, better = told["disputed"]["sent"], told["disputed"]["better"]
        lines.append("  disputed: what is known now speaks against what was sent")
        lines += [_candidate("recording", sent), _candidate("recording", better)]
    return "\n".join(lines)


def _line(call: Mapping[str, Any]) -> str:
    between = f"  between {', '.join(call['candidates'])}" if call["candidates"] else ""
    said = f"{call['call_id']:<8}recording {call['recording']}, lead {call['lead']}, until {call['until']}{between}"
    if not call["candidates"]:
        return said
    return f"{said}\n        -> callspool match accept {call['call_id']} {call['candidates'][0]}"


def _candidate(what: str, candidate: Mapping[str, Any]) -> str:
    lines = [f"    candidate {candidate[what]}: probability {candidate['probability']:.4g}"]
    lines += [f"        {_term(term)}" for term in candidate["terms"]]
    if "also_fits" in candidate:
        lines.append(f"        fits {', '.join(candidate['also_fits'])} as well")
    return "\n".join(lines)


def _term(term: Mapping[str, Any]) -> str:
    """What was seen, what is usual here, and what it is worth."""
    said = f"{term['name']:<10} {term['says']:<12} 10^{term['weight']:+.1f}"
    if "seconds" not in term:
        return said
    usual = f", usual {term['expected_s']:+.1f} s ± {term['spread_s']:.1f}" if "expected_s" in term else ""
    return f"{said}  ({term['seconds']:+.1f} s{usual})"

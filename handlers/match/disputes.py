"""What later evidence says against a match that was sent already. It is reported, and never changes anything by itself:
a person who has been told of a wrong recording once must not be told of a different one tomorrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daemon.contract import Reader
from handlers import records
from handlers.match.assign import NOBODY, Board, recording_board, rounded
from handlers.match.book import Memory
from handlers.match.evidence import Experience
from handlers.match.ledger_source import surroundings

if TYPE_CHECKING:
    from handlers.settings import MatchSettings


@dataclass(frozen=True, slots=True)
class Dispute:
    """A sent match that evidence speaks against: ``told`` holds both explanations, ``reason`` says it in words."""

    conversation: int
    reason: str
    fix: str
    told: dict[str, Any]


def disputes(
    read: Reader,
    settings: MatchSettings,
    experience: Experience,
    *,
    conversation: int | None = None,
    group: str | None = None,
    memory: Memory | None = None,
) -> list[Dispute]:
    """The sent matches around a subject that would be made otherwise today, with a probability that would decide.
    ``memory`` as in ``surroundings``."""
    found = surroundings(
        read, settings, experience, conversation=conversation, group=group, sent_too=True, memory=memory
    )
    numbers = sorted(found.recording_judged)
    board = recording_board(found.near, found.near.last_moment(read.now), settings, experience, numbers)
    told: dict[int, Dispute] = {}
    for number in numbers:
        better, p = board.best(number)
        if better is None or p < settings.confidence:
            continue
        held = records.pairing(read, number)
        if held is not None and held.group != better and _sent(read, held):
            told[number] = _another_recording(board, number, held.group, better)
        owner = records.pairing_of_group(read, better)
        if owner is not None and owner.conversation_id != number and _sent(read, owner):
            told.setdefault(owner.conversation_id, _another_call(board, owner.conversation_id, better, number))
    return [told[number] for number in sorted(told)]


def _sent(read: Reader, held: records.Pairing) -> bool:
    """Whether the pair was made by evidence and sent."""
    call = records.call(read, held.conversation_id)
    delivered = None if call is None else call.delivered
    sent = {entry["id"] for entry in (delivered or {}).get("recordings", ())}
    return held.decided_by == "evidence" and bool(sent & set(records.recording_ids(read, held.group)))


def _another_recording(board: Board[str], number: int, sent: str, better: str) -> Dispute:
    return Dispute(
        number,
        f"it was sent with {sent}; by what is known now {better} is its own",
        f"callspool match reject c{number} {sent}; then callspool match accept c{number} {better}",
        {"sent": _side(board, number, sent), "better": _side(board, number, better)},
    )


def _another_call(board: Board[str], number: int, sent: str, claimant: int) -> Dispute:
    return Dispute(
        number,
        f"it was sent with {sent}; by what is known now that is c{claimant}'s",
        f"callspool match reject c{number} {sent}; then callspool match accept c{claimant} {sent}",
        {"sent": _side(board, number, sent), "better": {**_side(board, claimant, sent), "call": f"c{claimant}"}},
    )


def _side(board: Board[str], number: int, key: str) -> dict[str, Any]:
    """One explanation: a pair with its probability and its terms."""
    terms = board.evidence(number, key).terms if board.knows(number, key) else ()
    return {
        "recording": key,
        "probability": rounded(board.now.get(number, NOBODY).pairs.get(key, 0.0)),
        "terms": [term.out() for term in terms],
    }

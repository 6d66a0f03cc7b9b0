"""What belongs to a call now, as storage needs it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from daemon.contract import Item, Reader
from handlers import records
from handlers.model import Conversation, Lead, Recording, Side

_SIDES = (Side.MIXED, Side.AGENT, Side.CUSTOMER)


@dataclass(frozen=True, slots=True)
class Members:
    """A call's files. ``subject`` is the conversation's id, or the recording's where there is no conversation;
    ``versions`` are the ids of the transcript's older versions, whose things in storage are this call's."""

    subject: int
    conversation: Conversation | None
    transcript: Item | None
    recordings: tuple[tuple[Recording, Item], ...]
    lead: Lead | None
    lead_item: Item | None
    versions: tuple[int, ...] = ()

    @property
    def subject_name(self) -> str:
        """As people name it: c12, or r13."""
        return f"r{self.subject}" if self.conversation is None else f"c{self.subject}"

    @property
    def first(self) -> int:
        """The id that stays the same whatever version speaks for the call."""
        return min((self.subject, *self.versions))

    @property
    def started_at(self) -> datetime:
        """When it began: as the conversation says, else its recording, else its oldest file."""
        if self.conversation is not None and self.conversation.start_at is not None:
            return self.conversation.start_at
        heard = [recording.start_at for recording, _ in self.recordings if recording.start_at is not None]
        if heard:
            return min(heard)
        items = [item for _, item in self.recordings] + ([self.transcript] if self.transcript is not None else [])
        return datetime.fromtimestamp(min(item.mtime_ns for item in items) // 1_000_000_000, UTC)

    @property
    def number(self) -> str | None:
        """The caller's number, if anything tells it."""
        found = [recording.number for recording, _ in self.recordings]
        found += [None if who is None else who.number for who in (self.conversation, self.lead)]
        return next((number for number in found if number), None)


def members_of_call(read: Reader, conversation_id: int) -> Members:
    """What belongs to the conversation now."""
    conversation = records.conversation(read, conversation_id)
    pairing = records.pairing(read, conversation_id)
    recordings = () if pairing is None else records.recordings(read, pairing.group)
    lead_pairing = records.lead_pairing(read, conversation_id)
    lead = None if lead_pairing is None else records.lead(read, lead_pairing.lead_id)
    versions: list[int] = []
    older = records.replaces(read, conversation_id)
    while older is not None:
        versions.append(older)
        older = records.replaces(read, older)
    return Members(
        conversation_id,
        conversation,
        read.item(conversation_id),
        _in_order(read, recordings),
        lead,
        None if lead is None else read.item(lead.id),
        tuple(versions),
    )


def members_of_recording(read: Reader, recording_id: int) -> Members:
    """A recording that no call claims, with its other sides."""
    recording = records.recording(read, recording_id)
    group = records.recordings(read, recording.group)
    return Members(recording_id, None, None, _in_order(read, group or (recording,)), None, None)


def _in_order(read: Reader, recordings: tuple[Recording, ...]) -> tuple[tuple[Recording, Item], ...]:
    """The sides mixed, agent, customer."""
    ordered = sorted(recordings, key=lambda r: (_SIDES.index(r.side), r.name, r.id))
    return tuple((recording, read.item(recording.id)) for recording in ordered)

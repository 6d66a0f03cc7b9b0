"""Finished files become recordings, conversations and leads.

One job per item: its key is the item's id. What a file says is learned from its name, its document or its samples; a
file that says nothing legible is refused with the reason and waits for a person, and costs nobody else a moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from daemon.contract import (
    Contents,
    Event,
    Item,
    Job,
    JobSpec,
    Json,
    Outcome,
    Planned,
    Postponed,
    Reader,
    Rejected,
    Subject,
)
from handlers.intake import documents
from handlers.intake.conversation import Reading, conversation
from handlers.intake.copies import Copies
from handlers.intake.documents import Document, DocumentRefused
from handlers.intake.lead import lead
from handlers.intake.names import Evidence, Names
from handlers.intake.recording import recording
from handlers.model import AudioInfo, AudioUnavailable, AudioUnreadable, Recording
from handlers.records.arrivals import ChunkKnown, ConversationKnown, LeadKnown, RecordingKnown, SidecarKnown
from handlers.records.compression import CopyArrived, is_copy

KINDS = ("recording", "conversation", "lead")
SUBJECTS = {"recording": Subject("item", "r"), "conversation": Subject("call_id", "c"), "lead": Subject("item", "l")}
"""How people are shown an item of each kind: r12, c13, l14. A conversation is a call, and logs name it so."""

AGAIN_AFTER = timedelta(minutes=1)
"""Until the next try when no worker could look at a file."""


class Prober(Protocol):
    """What measures audio; see ``handlers.audio.pool``."""

    def probe(self, path: bytes) -> AudioInfo:
        """Measure the file; raises AudioUnreadable, AudioUnavailable or a ContentError."""
        ...

    def close(self) -> None:
        """Give back its processes."""
        ...


@dataclass(frozen=True, slots=True)
class Intake:
    """Plans the jobs of all three kinds."""

    contents: Contents
    prober: Prober
    names: Names
    reading: Reading

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of file it understands."""
        return KINDS

    def plan(self, job: Job, read: Reader) -> Outcome:
        """Understand one item, and wake the matcher for it."""
        item = read.item(int(job.key))
        said = self.names.read(item.path)
        try:
            if job.kind == "recording" and is_copy(read, item.sha256):
                return Planned((CopyArrived(item.id, item.sha256),))
            return self._understood(job.kind, item, said, read)
        except DocumentRefused as refusal:
            return _rejected(job.kind, item, f"{_CALLED[job.kind]} {refusal.reason}")
        except AudioUnreadable as refusal:
            return _rejected(job.kind, item, f"recording cannot be measured: {refusal.reason}")
        except AudioUnavailable as unavailable:
            return Postponed(read.now + AGAIN_AFTER, str(unavailable))

    def _understood(self, kind: str, item: Item, said: Evidence, read: Reader) -> Outcome:
        if kind == "conversation":
            return self._conversation(item, said)
        if kind == "lead":
            return self._lead(item, said)
        if item.name.lower().endswith(".json"):
            return self._sidecar(item)
        if said.chunk is not None:
            return _chunk(item, *said.chunk)
        return self._recording(item, said, read)

    def _recording(self, item: Item, said: Evidence, read: Reader) -> Outcome:
        audio = self.prober.probe(self.contents.path(item.id))
        self.contents.path(item.id)  # raises where the file moved while it was measured
        if audio.made_of is not None:
            copies = Copies(self.contents, self.names, self._known)
            if (outcome := copies.outcome(item, audio, read)) is not None:
                return outcome
        known = recording(item, audio, said, self.reading)
        return Planned(
            facts=(RecordingKnown(known),),
            then=(JobSpec("match", f"group:{known.group}"),),
            events=(
                _journal(
                    "recording",
                    item,
                    duration_s=round(audio.media_s, 3),
                    span_s=round(audio.span_s, 3),
                    container=audio.container,
                    codec=audio.codec,
                    side=known.side.value,
                    start_source=None if known.start_source is None else known.start_source.value,
                    flags=list(known.flags),
                ),
            ),
        )

    def _known(self, item: Item, audio: AudioInfo) -> Recording:
        return recording(item, audio, self.names.read(item.path), self.reading)

    def _sidecar(self, item: Item) -> Outcome:
        """A document beside a recording: kept for the rooms that read it."""
        document = self._document(item)
        stem = item.path[: -len(".json")]
        event = Event("sidecar.kept", {"item": f"r{item.id}", "size_bytes": item.size})
        return Planned(facts=(SidecarKnown(item.id, stem, document.fields),), events=(event,))

    def _conversation(self, item: Item, said: Evidence) -> Outcome:
        known = conversation(item, self._document(item), said, self.reading)
        return Planned(
            facts=(ConversationKnown(known),),
            then=(JobSpec("match", f"conversation:{item.id}"),),
            events=(
                _journal(
                    "conversation",
                    item,
                    turns=len(known.turns),
                    start_source=None if known.start_source is None else known.start_source.value,
                    number_known=known.number is not None,
                    flags=list(known.flags),
                ),
            ),
        )

    def _lead(self, item: Item, said: Evidence) -> Outcome:
        known = lead(item, self._document(item), said, self.reading)
        return Planned(
            facts=(LeadKnown(known),),
            then=(JobSpec("match", f"lead:{item.id}"),),
            events=(_journal("lead", item, number_known=known.number is not None, flags=list(item.flags)),),
        )

    def _document(self, item: Item) -> Document:
        """The item's content as an object; the file is given back before it is parsed."""
        with self.contents.open(item.id) as file:
            raw = documents.read(file)
        return documents.parse(raw)


_CALLED = {"recording": "document beside a recording", "conversation": "transcript", "lead": "lead"}


def _chunk(item: Item, session: str, index: int) -> Outcome:
    """A piece of a browser's session: kept together and listed as waiting, never taken as a call of its own."""
    event = Event("chunk.kept", {"item": f"r{item.id}", "chunk_index": index, "size_bytes": item.size})
    return Planned(facts=(ChunkKnown(item.id, session, index),), events=(event,))


def _journal(kind: str, item: Item, **fields: Json) -> Event:
    """The journal line of an understood file: ids and figures, nothing out of the name or the content."""
    return Event(f"{kind}.understood", {SUBJECTS[kind].field: _name(kind, item), "size_bytes": item.size, **fields})


def _rejected(kind: str, item: Item, reason: str) -> Rejected:
    return Rejected(reason, fix=f"callspool explain {_name(kind, item)}  (then mend the file and drop it again)")


def _name(kind: str, item: Item) -> str:
    return f"{SUBJECTS[kind].prefix}{item.id}"

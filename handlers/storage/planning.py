"""Which objects a call has in storage, and under which keys: pure decisions over a view of the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from urllib.parse import quote

from daemon.contract import Item, Json, Reader
from handlers import records
from handlers.model import Recording
from handlers.storage import documents
from handlers.storage.layout import Layout, apart, beside, call_names, conversation_name
from handlers.storage.members import Members


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object that a call is to have. ``item`` is the item whose bytes it is, or ``text`` what callspool writes.

    ``keys`` names its key in each place; ``over`` says that older content of the same call may lie there, ``round`` how
    often it became another where copies belong, ``lost_at``
    that the object was found to be missing or to be something else, and when, ``gone_at`` that its copy in another
    place was gone before it could move.
    """

    role: str
    item: int | None
    text: str | None
    sha256: str
    size: int
    content_type: str
    keys: Mapping[str, str]
    metadata: Mapping[str, str]
    over: bool = False
    round: int = 0
    lost_at: str | None = None
    gone_at: str | None = None

    def payload(self, started_at: str) -> dict[str, Json]:
        """As an effect carries it; of what was lost, or takes the place of other content again, it is another effect
        than the one that put it first."""
        again: dict[str, Json] = {"lost_at": self.lost_at, "gone_at": self.gone_at, "round": self.round or None}
        return {
            **{name: value for name, value in again.items() if value is not None},
            "role": self.role,
            "item": self.item,
            "text": self.text,
            "sha256": self.sha256,
            "size": self.size,
            "type": self.content_type,
            "keys": dict(self.keys),
            "metadata": dict(self.metadata),
            "started_at": started_at,
            "over": self.over,
        }


@dataclass(frozen=True, slots=True)
class Places:
    """The places that are in use, each with the bucket that its copies are known by, and how things are called there.

    ``home`` is where copies belong; ``follow`` says that a compressed copy takes its original's place there too.
    """

    home: records.Place
    buckets: Mapping[str, str]
    layouts: Mapping[str, Layout]
    follow: bool = False

    def known(self, read: Reader, place: str, key: str) -> records.Copy | None:
        """What the ledger knows of a key in one of them."""
        return records.copy_at(read, "s3" if place == "s3" else "local", self.buckets[place], key)


class Planner:
    """Puts together what one call is to have. ``subjects`` are the ids under which its things lie or lay in storage."""

    def __init__(self, places: Places, members: Members, read: Reader) -> None:
        self._places, self._members, self._read = places, members, read
        self.subjects = tuple({members.subject, *members.versions, *(item.id for _, item in members.recordings)})
        self.name, self.day = self._named()
        self._names = call_names(self.name, self.day)
        self._host_id = records.host_id(read)
        document = None if members.conversation is None else members.conversation.document
        self._speakers = documents.speaker_count(document, [recording for recording, _ in members.recordings])
        self._recordings = tuple(
            documents.KeptRecording(recording, self._held(item), item) for recording, item in members.recordings
        )
        self._audio_keys: dict[int, Mapping[str, str]] = {}
        self._stems: set[tuple[str, str]] = set()

    def audio(self) -> list[Wanted]:
        """The recordings."""
        return [self._audio(kept.recording, kept.item) for kept in self._recordings]

    def papers(self) -> list[Wanted]:
        """What is written about them, and what was said: metadata, transcript, the transcript's and the lead's own
        JSON. To be called after ``audio``."""
        found = [self._metadata(kept) for kept in self._recordings]
        conversation, transcript = self._members.conversation, self._members.transcript
        if conversation is not None and transcript is not None:
            text = documents.transcript_text(conversation.document)
            keys = self._transcript_keys(f"{self.name}_transcript.txt")
            found.append(self._written("transcript", text, "text/plain; charset=utf-8", keys))
            found.append(self._own("document", transcript, self._transcript_keys(f"{self.name}_transcript.json")))
        if self._members.lead_item is not None:
            keys = self._transcript_keys(f"{self.name}_lead.json")
            found.append(self._own("lead", self._members.lead_item, keys))
        return found

    def sidecar(self, audio: list[Wanted], papers: list[Wanted]) -> Wanted:
        """The call's own JSON, which names the others by their keys where they belong."""
        home = self._places.home
        keys = {wanted.item: wanted.keys[home] for wanted in (*audio, *papers) if wanted.item is not None}
        texts: dict[str, tuple[Item, str]] = {}
        for role, item in (("transcript", self._members.transcript), ("lead", self._members.lead_item)):
            if item is not None:
                texts[role] = (item, keys[item.id])
        text = documents.sidecar(
            host_id=self._host_id,
            name=self.name,
            call_id=self._members.subject_name,
            conversation=self._members.conversation,
            audio=[(kept, keys[kept.item.id]) for kept in self._recordings],
            texts=texts,
            number=self._members.number,
            crm_id=self._crm_id(),
        )
        return self._written("sidecar", text, "application/json", self._audio_folder(f"{self.name}_call.json"))

    def everything(self) -> list[Wanted]:
        """All of it, in the order in which it is put."""
        audio = self.audio()
        papers = self.papers()
        return [*audio, *papers, self.sidecar(audio, papers)]

    def superseded(self, wanted: Sequence[Wanted]) -> list[records.Copy]:
        """Of what lies where copies belong, the originals whose compressed copy is ``wanted`` in their stead, and
        their metadata."""
        keys = {one.keys[self._places.home] for one in wanted}
        found: list[records.Copy] = []
        for kept in (one for one in self._recordings if one.is_copy):
            for earlier in self._before(kept.original.id, kept.item.id):
                for copy in self._at_home(earlier):
                    paper = records.copy_at(self._read, copy.place, copy.bucket, beside(copy.key, "_metadata.json"))
                    ours = paper is not None and paper.role == "metadata" and paper.subject in self.subjects
                    found += [copy, paper] if paper is not None and ours else [copy]
        return [copy for copy in found if copy.state == "verified" and copy.key not in keys]

    # ------------------------------------------------------------------------------------------------

    def _named(self) -> tuple[str, str]:
        """As it was called first, by whichever of its files."""
        members = self._members
        for subject in (members.subject, *members.versions, *(item.id for _, item in members.recordings)):
            known = records.storage_name(self._read, subject)
            if known is not None:
                return known
        conversation = members.conversation
        groups = [recording.group for recording, _ in members.recordings]
        group = groups[0].removeprefix("g:") if groups and groups[0].startswith("g:") else None
        item = members.transcript or members.recordings[0][1]
        name = conversation_name(None if conversation is None else conversation.session_id, group, item.sha256)
        return name, members.started_at.strftime("%Y-%m-%d")

    def _crm_id(self) -> str | None:
        """The call's id in the CRM, if it is fixed."""
        members = self._members
        call = None if members.conversation is None else records.call(self._read, members.subject)
        return None if call is None else call.call_id

    def _held(self, item: Item) -> Item:
        """The recording itself, or the compressed copy that is to stand for it in storage: one that does already, also
        where the original was dropped again; the newest where storage is to follow; one that alone is left of it, in
        folders and in storage."""
        chain = records.copies_made(self._read, item.id)
        if len(chain) == 1:
            return item
        standing = records.standing_for(self._read, item.id)
        if standing != item.id and self._follows(item.id, standing):
            return self._read.item(standing)
        stored = [one for one in chain[1:] if any(copy.state == "verified" for copy in self._at_home(one))]
        if stored:
            return self._read.item(stored[-1])
        earlier = reversed(self._before(item.id, standing))
        return self._read.item(next((one for one in earlier if self._is_there(one)), standing))

    def _follows(self, recording: int, standing: int) -> bool:
        """Whether storage is to hold this copy instead of what it was made of: that has to lie there, so that it is
        known what the copy takes the place of. One that was given the archive's class stays."""
        if not self._places.follow or not records.lies_there(self._read, standing):
            return False
        earlier = [copy for one in self._before(recording, standing) for copy in self._at_home(one)]
        held = [copy for copy in earlier if copy.state == "verified"]
        return bool(held) and not any(copy.is_archived for copy in held)

    def _is_there(self, item: int) -> bool:
        """Whether storage holds an original, and it was not found to be lost, or let go, where it belongs."""
        copies = records.copies_of_item(self._read, item)
        if any(copy.state != "verified" and copy.lost_at is not None for copy in self._at_home(item)):
            return False
        if any(copy.state == "verified" for copy in copies):
            return True
        let_go = any(copy.state == "removed" and copy.lost_at is not None for copy in copies)
        return not let_go and records.is_witnessed(self._read, self._read.item(item).sha256)

    def _before(self, recording: int, standing: int) -> list[int]:
        """The items of a recording that were before ``standing``, oldest first."""
        return list(takewhile(lambda one: one != standing, records.copies_made(self._read, recording)))

    def _at_home(self, item: int) -> list[records.Copy]:
        """What the ledger knows of an item's copies where they belong."""
        home, bucket = self._places.home, self._places.buckets[self._places.home]
        return [copy for copy in self._copies(item) if (copy.place, copy.bucket) == (home, bucket)]

    def _copies(self, item: int) -> Sequence[records.Copy]:
        """What the ledger knows of an item's copies. Of a file that is the copy of two recordings (which sound the
        same) each call has its own."""
        copies = records.copies_of_item(self._read, item)
        own = [copy for copy in copies if copy.subject in self.subjects]
        return own if len(own) < len(copies) and records.is_shared(self._read, item) else copies

    def _audio(self, recording: Recording, item: Item) -> Wanted:
        layouts, buckets = self._places.layouts, self._places.buckets
        known: dict[str, records.Copy] = {}
        for copy in self._copies(item.id):
            if copy.role == "audio" and copy.bucket == buckets.get(copy.place):
                known.setdefault(copy.place, copy)
        named = {place: layout.audio_key(self._names, item.name, item.sha256) for place, layout in layouts.items()}
        keys = self._apart(named, item.sha256, item.sha256, ())
        keys |= {place: copy.key for place, copy in known.items()}
        for place in layouts:
            stem = (place, beside(keys[place], "").lower())
            stands = place in known and known[place].state != "removed"
            if stem in self._stems and not stands:  # a.ogg and a.wav of one call would share a_metadata.json
                keys[place] = apart(keys[place], item.sha256)
            self._stems.add((place, beside(keys[place], "").lower()))
        self._audio_keys[item.id] = keys
        started = documents.maybe_stamp(recording.start_at)
        ended = documents.maybe_stamp(recording.end_at)
        about = {
            "duration": f"{recording.audio.media_s:.3f}",
            "started-at": started,
            "ended-at": ended,
            "speaker-count": None if self._speakers is None else str(self._speakers),
            "side": recording.side.value,
        }
        wanted = self._own("audio", item, keys)
        metadata = {**wanted.metadata, **{name: text for name, text in about.items() if text is not None}}
        return replace(wanted, metadata=metadata, content_type=documents.content_type(item.name), over=False)

    def _metadata(self, kept: documents.KeptRecording) -> Wanted:
        text = documents.metadata(self.name, kept, self._speakers)
        keys = {place: beside(key, "_metadata.json") for place, key in self._audio_keys[kept.item.id].items()}
        return self._written("metadata", text, "application/json", keys)

    def _transcript_keys(self, name: str) -> dict[str, str]:
        layouts = self._places.layouts.items()
        return {place: f"{layout.transcript_folder(self._names)}/{name}" for place, layout in layouts}

    def _audio_folder(self, name: str) -> dict[str, str]:
        return {place: f"{layout.folder(self._names)}/{name}" for place, layout in self._places.layouts.items()}

    def _own(self, role: str, item: Item, keys: Mapping[str, str]) -> Wanted:
        if role != "audio":
            keys = self._ours(keys, item.sha256)
        metadata = self._about(role, item.sha256)
        kind = "application/json"
        over, round_ = self._over(keys, item.sha256), self._round(keys, item.sha256)
        return self._again(Wanted(role, item.id, None, item.sha256, item.size, kind, keys, metadata, over, round_))

    def _written(self, role: str, text: str, content_type: str, keys: Mapping[str, str]) -> Wanted:
        data = text.encode("utf-8")
        sha256 = hashlib.sha256(data).hexdigest()
        keys = self._ours(keys, sha256)
        metadata = self._about(role, sha256)
        over, round_ = self._over(keys, sha256), self._round(keys, sha256)
        return self._again(Wanted(role, None, text, sha256, len(data), content_type, keys, metadata, over, round_))

    def _about(self, role: str, sha256: str) -> dict[str, str]:
        """What every object says of itself; a header takes ASCII alone."""
        return {
            "sha256": sha256,
            "conversation": quote(self.name),
            "call-id": self._members.subject_name,
            "host-id": self._host_id,
            "role": role,
        }

    def _ours(self, keys: Mapping[str, str], sha256: str) -> dict[str, str]:
        """The keys of a document, or others where another call's lies under them."""
        own = hashlib.sha256(str(self._members.first).encode()).hexdigest()
        return self._apart(keys, sha256, own, self.subjects)

    def _apart(self, keys: Mapping[str, str], sha256: str, told_by: str, subjects: Sequence[int]) -> dict[str, str]:
        """The keys, or others (told apart by a hash) where other content lies under them than one of the subjects'. A
        key that is another's where copies belong is so in every place: there it is claimed before anything is put."""
        taken = {place for place, key in keys.items() if self._is_taken(place, key, sha256, subjects)}
        everywhere = self._places.home in taken
        return {place: apart(key, told_by) if everywhere or place in taken else key for place, key in keys.items()}

    def _is_taken(self, place: str, key: str, sha256: str, subjects: Sequence[int]) -> bool:
        known = self._places.known(self._read, place, key)
        if known is None or known.state == "removed" or known.sha256 == sha256:
            return False
        return known.subject not in subjects

    def _over(self, keys: Mapping[str, str], sha256: str) -> bool:
        """Whether the ledger knows of older content of this call under one of the keys, or one that was lost did."""
        if records.known_call(self._read, self._read.item(self._members.subject).sha256) is not None:
            return True
        for place, key in keys.items():
            known = self._places.known(self._read, place, key)
            if known is not None and (known.sha256 != sha256 or known.round):
                return True
        return False

    def _round(self, keys: Mapping[str, str], sha256: str) -> int:
        """Which round of content it is under its key where copies belong; the first is 0."""
        home = self._places.home
        known = self._places.known(self._read, home, keys[home])
        return 0 if known is None else known.round + (known.sha256 != sha256 or known.state == "removed")

    def _again(self, wanted: Wanted) -> Wanted:
        """With when the object was found to be lost where it belongs, and gone from elsewhere before it could move."""
        when: dict[str, str] = {}
        for place, key in wanted.keys.items():
            known = self._places.known(self._read, place, key)
            name, state = ("lost_at", "intended") if place == self._places.home else ("gone_at", "removed")
            if known is not None and known.state == state and known.lost_at is not None:
                when[name] = documents.stamp(known.lost_at)
        return replace(wanted, lost_at=when.get("lost_at"), gone_at=when.get("gone_at"))


def is_safe(read: Reader, places: Places, wanted: Wanted) -> bool:
    """Whether a verified copy of this very object is where it belongs, or on its way there."""
    for place, key in wanted.keys.items():
        found = places.known(read, place, key)
        there = found is not None and found.state == "verified" and found.sha256 == wanted.sha256
        if found is not None and there and (place == places.home or found.bound_for is not None):
            return True
    return False


def lies_at_home(read: Reader, places: Places, wanted: Wanted) -> bool:
    """Whether a verified copy of this very object is where it belongs, and not only on its way there."""
    found = places.known(read, places.home, wanted.keys[places.home])
    return found is not None and found.state == "verified" and found.sha256 == wanted.sha256


NOWHERE = "no file and no other copy holds its content: drop it again, then callspool verify --repair"
"""Why a copy that is gone cannot be put again."""


def has_source(read: Reader, copy: records.Copy) -> bool:
    """Whether its bytes can be had again: written by callspool itself, or held by a file or by another copy."""
    if copy.item is None:
        return True
    root = records.recording_of_copy(read, copy.item)
    held = {copy.item, records.standing_for(read, copy.item), records.standing_for(read, root)}
    if any(records.lies_on_disk(read, item) for item in held):
        return True
    here = (copy.place, copy.bucket, copy.key)
    others = records.copies_of_item(read, copy.item)
    return any(one.state == "verified" and (one.place, one.bucket, one.key) != here for one in others)

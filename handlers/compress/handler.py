"""Which recordings are compressed when, and what is done to each: visits, each decided by what the ledger knows.

The first visit encodes, names and verifies a copy; the second lets the documents that speak of it follow; the third,
once the grace is over, lets the original go. What nobody may touch (undelivered, on hold, at work) is asked at every
visit. A later tier makes a copy of what an earlier one made, from the original as long as that lies there.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from daemon.contract import Contents, Effect, Event, Item, Job, JobSpec, Json, Outcome, Planned, Postponed, Reader
from handlers import records
from handlers.compress.conditions import Conditions
from handlers.compress.document import LARGEST, Change, rewritten
from handlers.compress.files import digest
from handlers.compress.papers import INDEX, LOG
from handlers.compress.performers import DOCUMENT, ENCODE, NAME, REMOVE, VERIFY
from handlers.compress.policy import Decision, Leave, Repack, decide, largest, moments
from handlers.model import Recording
from handlers.records import Compressed
from handlers.settings import CompressSettings

SWEEP = "compress"
FILE = "compress.file"
DAILY = "daily"
DEST = "compress"
FOLLOW = "storage_follow"
"""The job by which storage follows, once an original is gone."""

MOST = 10_000
"""Recordings that one sweep adds jobs for; the next takes what is left."""

LATER = timedelta(hours=6)
"""Until what is held or undelivered is looked at again."""

SOON = timedelta(seconds=5)
"""Until what is at work is."""

TELL_EVERY = 20
"""Recordings between two lines that say how many are left."""


@dataclass(frozen=True, slots=True)
class Papers:
    """Absolute paths of the master index and of the log file; None where there is none."""

    index: str | None = None
    log_file: str | None = None


class Sweep:
    """Finds whose time has come."""

    kinds = (SWEEP,)

    def __init__(self, settings: CompressSettings, match_wait: timedelta) -> None:
        self._settings, self._match_wait = settings, match_wait

    def plan(self, job: Job, read: Reader) -> Planned:
        """A job for each recording that is worth it; the others are left, once and for all."""
        del job
        decided = decisions(read, self._settings, self._match_wait)
        left = tuple(
            records.LeftAlone(one.id, one.size, what.reason, what.bitrate)
            for one, what in decided
            if isinstance(what, Leave)
        )
        worth = [(one, what) for one, what in decided if not isinstance(what, Leave)]
        fields: dict[str, Json] = {
            "items": len(worth),
            "left": len(left),
            "size_bytes": sum(one.size for one, _ in worth),
            "expected_bytes": sum(what.expected for _, what in worth),
        }
        if self._settings.dry_run:
            reason = "compress.dry_run: nothing is done"
            return Planned(events=(Event("compression.begun", {**fields, "reason": reason}),) if decided else ())
        events = (Event("compression.begun", fields),) if decided else ()
        jobs = [one.id for one, _ in worth]
        if self._settings.delete_originals:  # it may not have been so when they were verified
            jobs += records.past_grace(read, read.now - self._settings.keep_original, MOST)
        return Planned(left, then=tuple(JobSpec(FILE, str(one)) for one in jobs), events=events)


def decisions(
    read: Reader, settings: CompressSettings, match_wait: timedelta
) -> list[tuple[records.Compressible, Decision]]:
    """What would be done to whom now."""
    if not settings.tiers:
        return []
    found = records.compressible(read, moments(settings.tiers, read.now), read.now - match_wait, MOST)
    decided = ((one, decide(one, settings, read.now)) for one in found)
    return [(one, what) for one, what in decided if what is not None]


class Compress:
    """Decides about one recording, or about the copy that stands for one."""

    kinds = (FILE,)

    def __init__(
        self, settings: CompressSettings, contents: Contents, conditions: Conditions, papers: Papers = Papers()
    ) -> None:
        self._settings, self._contents = settings, contents
        self._conditions, self._papers = conditions, papers

    def plan(self, job: Job, read: Reader) -> Outcome:
        """The next visit's work; raises ContentError where the file is not there now."""
        item_id = int(job.key)
        known = records.compressed(read, item_id)
        if known is None or known.state in ("again", "left"):
            return self._first(job, read, item_id, 0 if known is None else known.tries)
        if known.state == "made" and known.bitrate == records.NOBODY_KNOWS:
            return self._found(job, read, known)
        if known.state == "made":
            return self._made(job, read, known)
        if known.state == "verified":
            return self._after(job, read, known)
        if known.state == "refused":
            return Planned(effects=self._logged(known, "refused", {"reason": known.reason}))
        return Planned()

    def _first(self, job: Job, read: Reader, item_id: int, tries: int) -> Outcome:
        if self._settings.dry_run:
            return Planned()
        if (why := records.hindrance(read, item_id)) == "at work":
            return Postponed(read.now + SOON, "its call is being worked on")
        found = records.one_compressible(read, item_id) if not why else None
        what = None if found is None else decide(found, self._settings, read.now)
        if found is None or what is None:
            return Planned()
        if isinstance(what, Leave):
            return Planned((records.LeftAlone(found.id, found.size, what.reason, what.bitrate),))
        if (against := self._conditions.against(read.now)) is not None:
            return Postponed(*against)
        source = self._best(read, item_id)
        way: Literal["encode", "repack"] = "repack" if isinstance(what, Repack) else "encode"
        return self._copy(job, read, source, Making(item_id, way, what.bitrate, "", tries))

    def _best(self, read: Reader, item_id: int) -> int:
        """What the copy is made of: of a copy the original, if that lies there still, so that nothing is encoded twice
        that need not be."""
        whole = records.recording_of_copy(read, item_id)
        return whole if records.lies_there(read, whole) else item_id

    def _made(self, job: Job, read: Reader, known: Compressed) -> Outcome:
        """Name it and verify it, where the process ended before."""
        making = Making(known.recording_id, known.way, known.bitrate, known.name, known.tries)
        return self._copy(job, read, known.source_id, making)

    def _copy(self, job: Job, read: Reader, source_id: int, making: Making) -> Planned:
        """Encode, name, verify; the same effects again where the process ended between them."""
        whole = read.item(records.recording_of_copy(read, making.item_id))
        recording, item = records.recording(read, whole.id), read.item(making.item_id)
        folder, _ = os.path.split(self._contents.path(making.item_id))
        payload: dict[str, Json] = {
            "do": making.way,
            "item": making.item_id,
            "source": source_id,
            "folder": os.fsdecode(folder),
            "name": making.name or free_name(folder, os.fsencode(whole.name), whole.sha256),
            "size": item.size,
            "sha256": read.item(source_id).sha256,
            "media_s": recording.audio.media_s,
            "bitrate": making.bitrate,
            "largest": item.size - 1 if making.way == "repack" else largest(item.size, self._settings),
            "encoded": str(making.item_id),
            "about": made_of(recording, whole),
            "tries": making.tries,
        }
        effects = tuple(
            Effect.of(kind, _identity(kind, making.item_id), DEST, payload) for kind in (ENCODE, NAME, VERIFY)
        )
        return Planned(effects=effects, then=(JobSpec(FILE, job.key),), events=self._progress(job, read))

    def _progress(self, job: Job, read: Reader) -> tuple[Event, ...]:
        """How many are left, now and then."""
        items, size = records.compressing(read, int(job.key))
        return (
            (Event("compression.progressed", {"items": items, "size_bytes": size}),) if items % TELL_EVERY == 0 else ()
        )

    def _found(self, job: Job, read: Reader, known: Compressed) -> Planned:
        """A copy that was made before the ledger was: compared as if it had just been made."""
        recording, item = records.recording(read, known.recording_id), read.item(known.recording_id)
        folder = os.path.dirname(self._contents.path(known.recording_id))
        payload: dict[str, Json] = {
            "item": known.recording_id,
            "source": known.recording_id,
            "folder": os.fsdecode(folder),
            "name": known.name,
            "size": item.size,
            "sha256": item.sha256,
            "media_s": recording.audio.media_s,
            "found": {"sha256": known.sha256, "size": known.size},
        }
        verify = Effect.of(VERIFY, _identity(VERIFY, known.recording_id), DEST, payload)
        return Planned(effects=(verify,), then=(JobSpec(FILE, job.key),))

    def _after(self, job: Job, read: Reader, known: Compressed) -> Outcome:
        """The documents that speak of it first; then wait; then let the original go."""
        folder, original = os.path.split(self._contents.path(known.recording_id))
        whole = read.item(records.recording_of_copy(read, known.recording_id))
        if known.verified_at is None:
            return Planned()
        change = Change(os.fsdecode(original), known.name, whole.size, known.size, known.verified_at, whole.path)
        papers = (*self._index(known, change), *self._logged(known, "compressed", {}))
        stem = original if whole.id == known.recording_id else os.fsencode(whole.name)
        if (changed := _document(folder, stem, known, change)) is not None:
            fact, effect = changed
            return Planned((fact,), (effect, *papers), then=(JobSpec(FILE, job.key),))
        is_original = whole.id == known.recording_id
        if is_original and not self._settings.delete_originals:
            return Planned(effects=papers)
        due = known.verified_at + self._settings.keep_original
        if read.now < due:
            return Planned(effects=papers, then=(JobSpec(FILE, job.key, due),))
        if (why := records.hindrance(read, known.recording_id)) != "":
            wait = SOON if why == "at work" else LATER
            return Postponed(read.now + wait, f"the original is needed still ({why})")
        payload: dict[str, Json] = {
            "item": known.recording_id,
            "folder": os.fsdecode(folder),
            "original": os.fsdecode(original),
            "name": known.name,
            "sha256": known.sha256,
            "size": known.original_size,
        }
        remove = Effect.of(REMOVE, str(known.recording_id), DEST, payload)
        gone = self._logged(known, "removed original", {})
        return Planned(effects=(*papers, remove, *gone), then=(JobSpec(FOLLOW, str(known.recording_id)),))

    def _index(self, known: Compressed, change: Change) -> tuple[Effect, ...]:
        if self._papers.index is None:
            return ()
        payload: dict[str, Json] = {
            "index": self._papers.index,
            "path": change.path,
            "original": change.original_name,
            "copy": change.copy_name,
            "original_size": change.original_size,
            "size": change.size,
            "at": change.at.isoformat(),
        }
        return (Effect.of(INDEX, str(known.recording_id), DEST, payload),)

    def _logged(self, known: Compressed, what: str, more: dict[str, Json]) -> tuple[Effect, ...]:
        """A line of the log file; it names the recording by its number, for names hold people's numbers."""
        if self._papers.log_file is None:
            return ()
        said: dict[str, Json] = {
            "recording": f"r{known.recording_id}",
            "event": what,
            "original_size": known.original_size,
            "compressed_size": known.size,
            "verified_at": None if known.verified_at is None else known.verified_at.isoformat(),
            **more,
        }
        payload: dict[str, Json] = {"file": self._papers.log_file, "line": json.dumps(said), "tries": known.tries}
        identity = f"{known.recording_id}:{what}"
        return (Effect.of(LOG, identity, DEST, payload),)


@dataclass(frozen=True, slots=True)
class Making:
    """A copy to be made: of which item, how, at which rate (bits a second), under which name if it has one."""

    item_id: int
    way: Literal["encode", "repack"]
    bitrate: int
    name: str
    tries: int


def _document(
    folder: bytes, original: bytes, known: Compressed, change: Change
) -> tuple[records.DocumentKept, Effect] | None:
    """The change of the document beside the recording, and what it was before; None where there is none to make."""
    path = os.path.join(folder, os.path.splitext(original)[0] + b".json")
    before = digest(path)
    if before is None or os.path.getsize(path) > LARGEST:
        return None
    with open(path, "rb") as file:
        raw = file.read(LARGEST)
    document = rewritten(raw, change)
    if document is None:
        return None
    payload: dict[str, Any] = {
        "folder": os.fsdecode(folder),
        "name": os.fsdecode(os.path.basename(path)),
        "before": before,
        "document": document.decode("utf-8", "surrogatepass"),
    }
    kept = records.DocumentKept(known.recording_id, raw.decode("utf-8", "surrogateescape"))
    return kept, Effect.of(DOCUMENT, str(known.recording_id), DEST, payload)


def made_of(recording: Recording, item: Item) -> str:
    """What a copy says of its source, for a ledger that must be made anew. No name: copies travel."""
    audio = recording.audio
    return json.dumps(
        {
            "sha256": item.sha256,
            "size": item.size,
            "suffix": os.path.splitext(item.name)[1],
            "mtime_ns": item.mtime_ns,
            "container": audio.container,
            "codec": audio.codec,
            "sample_rate": audio.sample_rate,
            "channels": audio.channels,
            "media_s": audio.media_s,
            "span_s": audio.span_s,
            "start_at": None if audio.start_at is None else audio.start_at.isoformat(),
            "flags": list(audio.flags),
        },
        separators=(",", ":"),
    )


def free_name(folder: bytes, original: bytes, sha256: str) -> str:
    """``<stem>.opus``; where another file has that name, with the beginning of the content's hash."""
    stem = os.fsdecode(os.path.splitext(original)[0])
    if not os.path.lexists(os.path.join(folder, os.fsencode(f"{stem}.opus"))):
        return f"{stem}.opus"
    return f"{stem}.{sha256[:8]}.opus"


def _identity(kind: str, recording_id: int) -> str:
    """The encoder's receipt is found by the others under the recording's id."""
    return str(recording_id) if kind == ENCODE else f"{recording_id}:{kind.rpartition('.')[2]}"

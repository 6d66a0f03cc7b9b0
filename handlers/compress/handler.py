"""Which recordings are compressed when, and what is done to each: three visits, each decided by what the ledger knows.

The first visit encodes, names and verifies a copy; the second lets the document beside it follow; the third, once the
grace is over, lets the original go. What nobody may touch (undelivered, on hold, at work) is asked at every visit.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

from daemon.contract import Contents, Effect, Event, Item, Job, JobSpec, Json, Outcome, Planned, Postponed, Reader
from handlers import records
from handlers.compress.document import LARGEST, rewritten
from handlers.compress.files import digest
from handlers.compress.performers import DOCUMENT, ENCODE, NAME, REMOVE, VERIFY
from handlers.compress.policy import Encode, Leave, decide, largest
from handlers.model import Recording
from handlers.records import Compressed
from handlers.settings import CompressSettings

SWEEP = "compress"
FILE = "compress.file"
DAILY = "daily"
DEST = "compress"
MOST = 10_000
"""Recordings that one sweep adds jobs for; the next takes what is left."""

LATER = timedelta(hours=6)


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
            records.LeftAlone(one.id, one.size, what.reason) for one, what in decided if isinstance(what, Leave)
        )
        worth = [(one, what) for one, what in decided if isinstance(what, Encode)]
        fields: dict[str, Json] = {
            "items": len(worth),
            "left": len(left),
            "size_bytes": sum(one.size for one, _ in worth),
            "expected_bytes": sum(what.expected for _, what in worth),
        }
        events = (Event("compression.begun", fields),) if decided else ()
        return Planned(left, then=tuple(JobSpec(FILE, str(one.id)) for one, _ in worth), events=events)


def decisions(
    read: Reader, settings: CompressSettings, match_wait: timedelta
) -> list[tuple[records.Compressible, Encode | Leave]]:
    """What would be done to whom now."""
    if not settings.tiers:
        return []
    before = read.now - min(tier.after for tier in settings.tiers)
    found = records.compressible(read, before, read.now - match_wait, MOST)
    decided = ((one, decide(one, settings, read.now)) for one in found)
    return [(one, what) for one, what in decided if what is not None]


class Compress:
    """Decides about one recording."""

    kinds = (FILE,)

    def __init__(self, settings: CompressSettings, contents: Contents) -> None:
        self._settings, self._contents = settings, contents

    def plan(self, job: Job, read: Reader) -> Outcome:
        """The next visit's work; raises ContentError where the file is not there now."""
        recording_id = int(job.key)
        known = records.compressed(read, recording_id)
        if known is None:
            return self._first(job, read, recording_id)
        if known.state == "made" and known.bitrate == records.NOBODY_KNOWS:
            return self._found(job, read, known)
        if known.state == "made":
            return self._copy(job, read, known.recording_id, known.bitrate, known.name)
        if known.state == "verified":
            return self._after(job, read, known)
        return Planned()

    def _first(self, job: Job, read: Reader, recording_id: int) -> Outcome:
        found = records.one_compressible(read, recording_id)
        what = None if found is None else decide(found, self._settings, read.now)
        if found is None or what is None:
            return Planned()
        if isinstance(what, Leave):
            return Planned((records.LeftAlone(found.id, found.size, what.reason),))
        return self._copy(job, read, recording_id, what.bitrate, "")

    def _copy(self, job: Job, read: Reader, recording_id: int, bitrate: int, name: str) -> Planned:
        """Encode, name, verify; the same effects again where the process ended between them."""
        recording, item = records.recording(read, recording_id), read.item(recording_id)
        folder, original = os.path.split(self._contents.path(recording_id))
        name = name or free_name(folder, original, item.sha256)
        payload: dict[str, Json] = {
            "item": recording_id,
            "folder": os.fsdecode(folder),
            "name": name,
            "size": item.size,
            "sha256": item.sha256,
            "media_s": recording.audio.media_s,
            "bitrate": bitrate,
            "largest": largest(item.size, self._settings),
            "encoded": str(recording_id),
            "about": made_of(recording, item),
        }
        effects = tuple(
            Effect.of(kind, _identity(kind, recording_id), DEST, payload) for kind in (ENCODE, NAME, VERIFY)
        )
        return Planned(effects=effects, then=(JobSpec(FILE, job.key),))

    def _found(self, job: Job, read: Reader, known: Compressed) -> Planned:
        """A copy that was made before the ledger was: compared as if it had just been made."""
        recording, item = records.recording(read, known.recording_id), read.item(known.recording_id)
        folder = os.path.dirname(self._contents.path(known.recording_id))
        payload: dict[str, Json] = {
            "item": known.recording_id,
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
        """The document beside it first; then wait; then let the original go."""
        folder, original = os.path.split(self._contents.path(known.recording_id))
        again = JobSpec(FILE, job.key)
        if (changed := self._document(folder, original, known)) is not None:
            fact, effect = changed
            return Planned((fact,), (effect,), then=(again,))
        if not self._settings.delete_originals or known.verified_at is None:
            return Planned()
        due = known.verified_at + self._settings.keep_original
        if read.now < due:
            return Planned(then=(JobSpec(FILE, job.key, due),))
        if not records.still_compressible(read, known.recording_id):
            return Postponed(read.now + LATER, "the original is needed still")
        payload: dict[str, Json] = {
            "item": known.recording_id,
            "folder": os.fsdecode(folder),
            "original": os.fsdecode(original),
            "name": known.name,
            "sha256": known.sha256,
            "size": known.original_size,
        }
        return Planned(effects=(Effect.of(REMOVE, str(known.recording_id), DEST, payload),))

    def _document(
        self, folder: bytes, original: bytes, known: Compressed
    ) -> tuple[records.DocumentKept, Effect] | None:
        """The change of the document beside the recording, and what it was before; None where there is none to make."""
        path = os.path.join(folder, os.path.splitext(original)[0] + b".json")
        before = digest(path)
        if before is None or known.verified_at is None or os.path.getsize(path) > LARGEST:
            return None
        with open(path, "rb") as file:
            raw = file.read(LARGEST)
        document = rewritten(
            raw,
            original_name=os.fsdecode(original),
            copy_name=known.name,
            original_size=known.original_size,
            size=known.size,
            at=known.verified_at,
        )
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

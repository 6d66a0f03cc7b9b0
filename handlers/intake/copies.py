"""Copies that callspool made before its ledger was lost: each says what it was made of, so that it is known again.

Only a ledger that was made anew believes it, and only of files from before: in any other, copies are known by their
content, and what a file says of itself is a stranger's word.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from daemon.contract import Contents, Event, Item, JobSpec, Outcome, Planned, Postponed, Reader
from handlers import records
from handlers.intake.names import Names
from handlers.model import AudioInfo, Recording
from handlers.records import CopyFound, SourceRemembered
from handlers.records.arrivals import RecordingKnown

COMPARED = "compress.file"
"""The job that compares a copy with the source beside it."""

SOON = timedelta(seconds=3)
"""Until it is looked again whether the source beside a copy was read."""

PATIENCE = timedelta(minutes=10)
"""After which a source that was not read by then, for it cannot be, is as good as gone."""

LONGEST_DIFFERENCE_S = 0.1
"""Seconds by which a copy and what it was made of may differ: ten times what compression lets pass."""

Known = Callable[[Item, AudioInfo], Recording]
"""What the intake makes of a recording's item and samples."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a copy says that it was made of."""

    sha256: str
    size: int
    suffix: str
    mtime_ns: int
    audio: AudioInfo


def source_of(audio: AudioInfo) -> Source | None:
    """Out of the copy's comment; None where it has none, or says what no callspool would."""
    if audio.made_of is None:
        return None
    try:
        said: Any = json.loads(audio.made_of)
        start_at = said["start_at"]
        source = Source(
            str(said["sha256"]),
            int(said["size"]),
            str(said["suffix"]),
            int(said["mtime_ns"]),
            replace(
                audio,
                container=str(said["container"]),
                codec=str(said["codec"]),
                sample_rate=int(said["sample_rate"]),
                channels=int(said["channels"]),
                media_s=float(said["media_s"]),
                span_s=float(said["span_s"]),
                start_at=None if start_at is None else datetime.fromisoformat(str(start_at)),
                flags=tuple(str(flag) for flag in said["flags"]),
                made_of=None,
            ),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    hexadecimal = len(source.sha256) == 64 and not source.sha256.strip("0123456789abcdef")
    near = abs(source.audio.media_s - audio.media_s) <= LONGEST_DIFFERENCE_S
    plain = not source.suffix.strip(".abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    return source if hexadecimal and near and plain and 0 < source.size < 1 << 48 else None


@dataclass(frozen=True, slots=True)
class Copies:
    """Decides about recordings that say they are copies."""

    contents: Contents
    names: Names
    known: Known

    def outcome(self, item: Item, audio: AudioInfo, read: Reader) -> Outcome | None:
        """What becomes of a copy from before; None where the item is a recording like any other."""
        anew = records.made_anew(read)
        if anew is None or item.mtime_ns > anew.timestamp() * 1e9:
            return None
        source = source_of(audio)
        if source is None:
            return None
        path = _beside(item.path, source)
        evidence = self.names.evidence_of("recordings", path)
        there = records.item_of_source(read, source.sha256, evidence)
        patient = read.now - item.first_seen_at < PATIENCE
        if there is not None and records.lies_on_disk(read, there) and (patient or records.is_recording(read, there)):
            return self._with_source(item, source, there, read)
        if there is None:
            if patient and self._lies_beside(item, source):
                return Postponed(read.now + SOON, "what it was made of lies beside it, and is read first")
            name = os.path.basename(path)
            size, mtime_ns = source.size, source.mtime_ns
            fact = SourceRemembered(item.id, source.sha256, size, name, path, evidence, mtime_ns)
            return Planned((fact,), then=(JobSpec("recording", str(item.id)),))
        return self._in_its_place(item, source, read.item(there))

    def _with_source(self, item: Item, source: Source, there: int, read: Reader) -> Outcome:
        """Both lie there: the copy is compared, and what comes after goes on."""
        if not records.is_recording(read, there):
            return Postponed(read.now + SOON, "what it was made of lies beside it, and is read first")
        fact = CopyFound(there, "made", item.id, item.name, item.sha256, item.size, source.size)
        return Planned((fact,), then=(JobSpec(COMPARED, str(there)),), events=(_found(item, there),))

    def _in_its_place(self, item: Item, source: Source, original: Item) -> Outcome:
        """The source went long ago: the recording is what it was then, and the copy stands for it."""
        known = self.known(original, source.audio)
        fact = CopyFound(original.id, "replaced", item.id, item.name, item.sha256, item.size, source.size)
        then = JobSpec("match", f"group:{known.group}")
        return Planned((RecordingKnown(known), fact), then=(then,), events=(_found(item, original.id),))

    def _lies_beside(self, item: Item, source: Source) -> bool:
        """Whether the file of the source's name in the copy's folder is the source."""
        copy = self.contents.path(item.id)
        path = os.path.join(os.path.dirname(copy), os.fsencode(os.path.basename(_beside(item.path, source))))
        return os.path.isfile(path) and os.path.getsize(path) == source.size and path != copy


def _beside(path: str, source: Source) -> str:
    """The source's path, from the copy's: ``<stem>.opus``, or with a piece of the hash where that name was taken."""
    stem = os.path.splitext(path)[0]
    return stem.removesuffix(f".{source.sha256[:8]}") + source.suffix


def _found(item: Item, recording: int) -> Event:
    reason = "it lay there before the ledger was made anew"
    return Event("copy.recognised", {"item": f"r{recording}", "size_bytes": item.size, "reason": reason})

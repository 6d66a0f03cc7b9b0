"""Markers: small files that tell other tools which transcripts the CRM has.

Ours are written after the CRM accepted a call. Those that lie there before callspool's first start speak for the system
before us, and so do transcripts that it moved into that folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from typing import Any, Literal, cast

from daemon.contract import Acted, Effect, Event, Json, Reader, Receipt, sync_folder
from daemon.errors import NotSent
from handlers.crm.answer import is_usable
from handlers.records import OldMarker

MARKER = "marker.write"
SUFFIX = ".uploaded"
_SIZE_CAP = 1 << 20
"""Bytes of a marker that are read; real ones have some hundred."""


class MarkerPerformer:
    """Writes a marker beside, fsyncs, renames it into place and fsyncs the folder."""

    def find(self, effect: Effect, /) -> Receipt | None:
        """A marker with this very content lies there."""
        path, content = _marker(effect)
        try:
            with open(path, "rb") as file:
                same = file.read(len(content) + 1) == content
        except OSError:
            return None
        return Receipt({"path": path}) if same else None

    def doubt(self, _effect: Effect, /) -> Literal["resend", "hold"]:
        """Writing it again changes nothing."""
        return "resend"

    def perform(self, effect: Effect, /) -> Receipt:
        """Write it; its mode follows the umask, since other tools read it. Raises NotSent where the disk says no."""
        path, content = _marker(effect)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _write(path, content)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:  # it never can lie there, and no tool can look for it
                return Receipt({"path": None}, Event("marker.skipped", {"reason": "the name is too long"}, "warning"))
            raise NotSent(f"the marker cannot be written: {os.strerror(error.errno or 0)}") from error
        return Receipt({"path": path})


def read_markers(folder: str) -> Acted:
    """What lies in the markers' folder at the first start, as facts.

    A marker that cannot be read says that the old system touched the call, but not how far it came: taken as delivered,
    since a call sent twice cannot be undone and one held back can; each is named in an event.
    """
    facts: list[OldMarker] = []
    events: list[Event] = []
    for name in _names(folder):
        if name.endswith(SUFFIX):
            transcript = _printable(name[: -len(SUFFIX)])
            document = _read(os.path.join(folder, name))
            if document is None:
                fields = {"path": _printable(name), "reason": "not a JSON object; its call counts as delivered"}
                events.append(Event("marker.unreadable", fields, "warning"))
            facts.append(_spoken(transcript, document or {}))
        elif name.endswith(".json"):
            facts.append(OldMarker(_printable(name), delivered=True, recording_url=None, document={}))
    answer: dict[str, Json] = {"markers": len(facts), "unreadable": len(events)}
    if facts:
        events.append(Event("markers.read", answer))
    return Acted(answer, facts=_moved_last(facts), events=tuple(events))


def first_start(folder: str, read: Reader) -> Acted:
    """``read_markers`` as a room's first start."""
    del read  # nothing in the ledger can matter yet
    return read_markers(folder)


def _spoken(transcript: str, document: dict[str, Any]) -> OldMarker:
    """Delivered unless the marker says that the call data was not (formats, section 5)."""
    url = document.get("recording_url")
    usable = isinstance(url, str) and is_usable(url)
    return OldMarker(transcript, document.get("call_data_uploaded") is not False, url if usable else None, document)


def _moved_last(facts: list[OldMarker]) -> tuple[OldMarker, ...]:
    """A marker tells more than a moved transcript; where both lie there and disagree, the call was delivered."""
    best: dict[str, OldMarker] = {}
    for fact in facts:
        other = best.get(fact.transcript)
        if other is None or (fact.delivered, bool(fact.document)) > (other.delivered, bool(other.document)):
            best[fact.transcript] = fact
    return tuple(best.values())


def _names(folder: str) -> Iterator[str]:
    """Regular files, links not followed; none where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return


def _printable(name: str) -> str:
    """A name as items have it."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _read(path: str) -> dict[str, Any] | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            document = json.loads(file.read(_SIZE_CAP).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _marker(effect: Effect) -> tuple[str, bytes]:
    """Path and content."""
    payload = cast("dict[str, Any]", effect.payload)
    call = payload["accepted"] or effect.given[payload["call"]].data
    content = {
        "uploaded_at": call["accepted_at"],
        "original_path": payload["original_path"],
        "recording_uploaded": call["url"] is not None,
        "recording_url": call["url"],
        "call_data_uploaded": True,
        "lead_uploaded": payload["lead"],
        "upload_attempts": call["attempts"],
    }
    return payload["path"], (json.dumps(content, indent=2) + "\n").encode("ascii")


def _write(path: str, content: bytes) -> None:
    """Beside, fsync, rename, fsync the folder: after a power cut the marker is there whole or not at all."""
    folder = os.path.dirname(path)
    short = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]  # the same at every try: a kill leaves one at most
    beside = os.path.join(folder, f".{short}.tmp")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, path)
    except OSError:
        if os.path.lexists(beside):
            os.unlink(beside)
        raise
    sync_folder(folder)

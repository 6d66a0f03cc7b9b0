"""What callspool itself writes into storage: the transcript as text, a recording's metadata, and the call's sidecar.

Everything is a pure function of the ledger's values, so that the same call is written in the same bytes at every try.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from daemon.contract import Item
from handlers.model import Conversation, Recording

SCHEMA = "callspool.call/1"
"""The sidecar's form. A reader refuses a number it does not know."""

CONTENT_TYPES: Mapping[str, str] = {
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".mp4": "audio/mp4",
    ".webm": "audio/webm",
    ".flac": "audio/flac",
}
"""By suffix; fixed here, since the system's own table differs from host to host."""

_SPEAKERS = {
    "assistant": "Agent",
    "agent": "Agent",
    "bot": "Agent",
    "ai": "Agent",
    "user": "Customer",
    "customer": "Customer",
    "caller": "Customer",
    "human": "Customer",
    "client": "Customer",
}


def speaker_of(item: Mapping[str, Any]) -> str:
    """Who said an item: ``speaker`` where it is named, else its role in plain words."""
    named = item.get("speaker") or item.get("role")
    text = " ".join(str(named).split()) if isinstance(named, (str, int)) else ""
    return _SPEAKERS.get(text.lower(), text.capitalize()) or "Unknown"


def utterances(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Speaker and text of every item that says something, in order."""
    items = document.get("conversation_items")
    found = []
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            said = " ".join(said_in(item.get("content")).split())
            if said:
                found.append((speaker_of(item), said))
    return found


def said_in(content: object) -> str:
    """The words of an item's content: text, or a list of texts, or of parts that carry some."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(said_in(part) for part in content)
    if isinstance(content, dict):
        return said_in(content.get("text") or content.get("transcript"))
    return ""


def transcript_text(document: Mapping[str, Any]) -> str:
    """One line for each utterance, ``Speaker: text``."""
    lines = "".join(f"{speaker}: {said}\n" for speaker, said in utterances(document))
    return lines.encode("utf-8", "replace").decode("utf-8")


def speaker_count(document: Mapping[str, Any] | None, sides: Sequence[Recording]) -> int | None:
    """How many speak: by the transcript, else by the sides that were recorded; None where nothing tells."""
    named = {speaker for speaker, _ in utterances(document)} if document is not None else set()
    if named:
        return len(named)
    parted = {recording.side for recording in sides if recording.side.value != "mixed"}
    return len(parted) or None


@dataclass(frozen=True, slots=True)
class KeptRecording:
    """A recording as storage holds it: ``item`` are the very bytes, ``original`` is what was taken in; another item
    where a compressed copy took its place."""

    recording: Recording
    item: Item
    original: Item

    @property
    def is_copy(self) -> bool:
        """Whether it is a compressed copy."""
        return self.item.id != self.original.id

    @property
    def form(self) -> dict[str, Any]:
        """Codec, container, hertz and channels of the bytes. Opus is heard at 48 kHz (RFC 7845, section 5.1)."""
        audio = self.recording.audio
        codec, container, rate = audio.codec, audio.container, audio.sample_rate
        if self.is_copy:
            codec, container, rate = "opus", "ogg", 48_000
        return {"codec": codec, "container": container, "rate": rate, "channels": audio.channels}

    @property
    def made_of(self) -> dict[str, Any]:
        """Of a copy, which content it was made of."""
        return {"original": {"sha256": self.original.sha256, "bytes": self.original.size}} if self.is_copy else {}


def metadata(conversation: str, kept: KeptRecording, speakers: int | None) -> str:
    """``<stem>_metadata.json``."""
    recording, item, form = kept.recording, kept.item, kept.form
    return _json(
        {
            "conversation_id": conversation,
            "original_name": kept.original.name,
            "size": item.size,
            "sha256": item.sha256,
            "duration": round(recording.audio.media_s, 6),
            "speaker_count": speakers,
            "content_type": content_type(item.name),
            "taken_at": stamp(kept.original.first_seen_at),
            "side": recording.side.value,
            "codec": form["codec"],
            "sample_rate": form["rate"],
            "channels": form["channels"],
            "started_at": maybe_stamp(recording.start_at),
            "flags": list(recording.flags),
            **kept.made_of,
        }
    )


def sidecar(
    *,
    host_id: str,
    name: str,
    call_id: str,
    conversation: Conversation | None,
    audio: Sequence[tuple[KeptRecording, str]],
    texts: Mapping[str, tuple[Item, str]],
    number: str | None,
    crm_id: str | None,
) -> str:
    """The call's own JSON, written last: what is in it lies there.

    ``audio`` is each recording with its key; ``texts`` the items of transcript and lead with their keys. The
    caller's number is kept as a keyed hash; ``crm_id`` is the call's id in the CRM, once it has one.
    """
    started = conversation.start_at if conversation is not None else None
    recordings = [kept.recording for kept, _ in audio]
    heard = [recording.start_at for recording in recordings if recording.start_at is not None]
    started = started or min(heard, default=None)
    ended = conversation.end_at if conversation is not None else None
    longest = max((recording.audio.media_s for recording in recordings), default=None)
    document = None if conversation is None else conversation.document
    return _json(
        {
            "schema": SCHEMA,
            "call_id": call_id,
            "host_id": host_id,
            "conversation_id": name,
            "session_id": None if conversation is None else _numberless(conversation.session_id),
            "direction": "inbound",
            **({} if crm_id is None else {"crm": {"id": crm_id}}),
            "started_at": maybe_stamp(started),
            "ended_at": maybe_stamp(ended),
            "duration_s": None if longest is None else round(longest, 6),
            "duration_source": None if longest is None else "samples",
            "parties": {"caller": None if number is None else keyed_hash(host_id, number)},
            "speakers": speaker_count(document, recordings),
            "audio": [_audio(kept, key) for kept, key in audio],
            **{role: {"key": key, "sha256": item.sha256, "bytes": item.size} for role, (item, key) in texts.items()},
            "flags": list(conversation.flags) if conversation is not None else [],
            "producer": {"name": "callspool"},
        }
    )


def _audio(kept: KeptRecording, key: str) -> dict[str, Any]:
    return {
        "role": kept.recording.side.value,
        **kept.form,
        "duration_s": round(kept.recording.audio.media_s, 6),
        "bytes": kept.item.size,
        "sha256": kept.item.sha256,
        "key": key,
        "flags": list(kept.recording.flags),
        **kept.made_of,
    }


def _numberless(session_id: str | None) -> str | None:
    from handlers.storage.layout import holds_number

    return None if session_id is None or holds_number(session_id) else session_id


def keyed_hash(host_id: str, number: str) -> str:
    """A number as the sidecar tells it: the same for one host's calls of one caller, and not to be looked up."""
    return hashlib.blake2b(number.encode(), key=host_id.encode()[:64], digest_size=12).hexdigest()


def content_type(name: str) -> str:
    """By the name's suffix."""
    dot = name.rfind(".")
    return CONTENT_TYPES.get(name[dot:].lower() if dot >= 0 else "", "application/octet-stream")


def stamp(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def maybe_stamp(at: datetime | None) -> str | None:
    """``stamp``, or None for None."""
    return None if at is None else stamp(at)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True, indent=2) + "\n"

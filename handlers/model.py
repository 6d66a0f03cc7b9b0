"""The domain's values: frozen, with no behaviour beyond what can be derived from them.

Times are aware datetimes in UTC; durations are seconds as float; sizes are bytes. A time always travels with its
source, since a name's whole second, a container's clock and a file's mtime are not equally good evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from daemon.errors import CallspoolError


class Side(StrEnum):
    """Whose voice a file holds. ``mixed`` is everybody's."""

    MIXED = "mixed"
    AGENT = "agent"
    CUSTOMER = "customer"


class TimeSource(StrEnum):
    """Where a time came from, best first. Whole-second sources are floors: the truth lies up to 1 s later."""

    FIELD = "field"  # start_time, end_time
    SESSION = "session"  # the second inside session_id
    NAME = "name"  # an epoch second or a stamp in the file's name
    ITEM = "item"  # first or last conversation item
    CONTAINER = "container"
    AUDIO = "audio"  # start plus exact duration
    FILE = "file"  # mtime, minus the duration for a start


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the samples say of a recording.

    ``media_s`` is the length of the decoded samples, ``span_s`` the time from the first to the last of them on the
    container's own clock: they differ where packets were lost. ``header_s`` is the length the header claims, if it
    claims one; it is never the value used. ``speech`` are the stretches in which somebody is heard, as (first, last) in
    seconds from the first sample, in order and apart; they cover the recording's beginning, up to ``heard_s``. None
    where nobody looked, or where nothing can be told from the samples. ``made_of`` is what a copy that callspool made
    says of its source, in JSON. ``peaks`` draws what was heard: a digit of base 36 for each of at most
    80 equal pieces, from -60 dB of full scale (0) to full scale (z); empty where nobody listened.
    """

    container: str
    codec: str
    sample_rate: int
    channels: int
    media_s: float
    span_s: float
    header_s: float | None = None
    start_at: datetime | None = None
    flags: tuple[str, ...] = ()
    speech: tuple[tuple[float, float], ...] | None = None
    heard_s: float = 0.0
    made_of: str | None = None
    peaks: str = ""


class AudioUnreadable(CallspoolError):
    """No length can be told for a file; ``reason`` is short, names container or codec, and is fit for logs."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AudioUnavailable(CallspoolError):
    """Nothing could look at the file just now; nothing is known of it, and it must not be refused for that."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One audio file of a call. The sides of one conversation share ``group``; ``recorder`` is the pattern of its path,
    which all files of one recorder have in common."""

    id: int
    name: str
    group: str
    side: Side
    size: int
    audio: AudioInfo
    start_at: datetime | None
    start_source: TimeSource | None
    number: str | None = None
    session_id: str | None = None
    call_ref: str | None = None
    stamp: datetime | None = None
    registered_at: datetime | None = None
    flags: tuple[str, ...] = ()
    recorder: str = ""

    @property
    def end_at(self) -> datetime | None:
        """Start plus exact duration."""
        return None if self.start_at is None else self.start_at + timedelta(seconds=self.audio.span_s)


@dataclass(frozen=True, slots=True)
class Turn:
    """One line of a conversation: who spoke, and when it was stamped."""

    role: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Conversation:
    """One transcript. ``document`` is the whole object as it was read, unknown fields and all.

    ``start_at`` is the second the call's id is made from: ``start_time``, else the session id, else the first item,
    else the saved stamp. ``session_at``, ``field_start_at`` and ``saved_at`` keep the single pieces, since evidence
    that disagrees with itself is weak evidence. ``lead_expected``: True promised, False none will come, None
    unsaid.
    """

    id: int
    name: str
    document: dict[str, Any]
    session_id: str | None
    start_at: datetime | None
    start_source: TimeSource | None
    end_at: datetime | None
    end_source: TimeSource | None
    session_at: datetime | None = None
    field_start_at: datetime | None = None
    field_end_at: datetime | None = None
    saved_at: datetime | None = None
    number: str | None = None
    call_ref: str | None = None
    room: str | None = None
    lead_expected: bool | None = None
    turns: tuple[Turn, ...] = ()
    registered_at: datetime | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lead:
    """One lead: a flat object, passed on as it is."""

    id: int
    name: str
    document: dict[str, Any]
    stamp: datetime | None = None
    taken_at: datetime | None = None
    session_id: str | None = None
    number: str | None = None
    registered_at: datetime | None = None

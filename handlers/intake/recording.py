"""A recording's audio and name → Recording."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from daemon.contract import Item
from handlers.intake import phones, times
from handlers.intake.conversation import Chosen, Reading, name_time
from handlers.intake.names import Evidence
from handlers.model import AudioInfo, Recording, Side, TimeSource

PATTERN_LENGTH = 80
"""Characters of a path's pattern that are kept: the end, where the name is."""

_CHANGING = re.compile(
    r"(?:(?<![^\W_])[0-9A-Fa-f]{6,}(?![^\W_])|[0-9]+)(?:[-_:.T ]?(?:(?<![^\W_])[0-9A-Fa-f]{4,}(?![^\W_])|[0-9]+))*"
)


def recording(item: Item, audio: AudioInfo, said: Evidence, reading: Reading) -> Recording:
    """The recording in an item whose samples say ``audio``.

    It began when its name says, else when its container says, else its exact length before the file was last written.
    """
    stamp = name_time(said.stamp, reading.zone)
    start_at, source = _start(item, audio, said, stamp, reading)
    return Recording(
        id=item.id,
        name=item.name,
        group=f"r{item.id}" if said.group is None else f"g:{said.group}",
        side=said.side or Side.MIXED,
        size=item.size,
        audio=audio,
        start_at=start_at,
        start_source=source,
        number=phones.e164(said.number, reading.region),
        session_id=said.session,
        call_ref=said.call,
        stamp=stamp,
        registered_at=item.first_seen_at,
        flags=tuple(sorted({*item.flags, *audio.flags})),
        recorder=recorder(item.path),
    )


def recorder(path: str) -> str:
    """The pattern of a path below the folder: what one recorder's files have in common, and no number of a caller.

    Whatever changes from file to file (digits, ids in hexadecimal) is ``#``: ``number-_#-#.ogg``. Two recorders that
    name alike and write into one folder are one to us.
    """
    return _CHANGING.sub("#", path)[-PATTERN_LENGTH:]


def _start(item: Item, audio: AudioInfo, said: Evidence, stamp: datetime | None, reading: Reading) -> Chosen:
    epoch = None if said.epoch is None else times.epoch(int(said.epoch))
    session = times.session_second(said.session, reading.zone)
    pieces: tuple[Chosen, ...] = (
        (epoch, TimeSource.NAME),
        (stamp, TimeSource.NAME),
        (session, TimeSource.SESSION),
        (audio.start_at and audio.start_at.astimezone(UTC), TimeSource.CONTAINER),
        (_written(item, audio), TimeSource.FILE),
    )
    return next((piece for piece in pieces if piece[0] is not None), (None, None))


def _written(item: Item, audio: AudioInfo) -> datetime | None:
    """The file's last change less the length; None for a file system without a clock."""
    changed = times.epoch(item.mtime_ns / 1e9) if item.mtime_ns >= 1e17 else None
    return None if changed is None else changed - timedelta(seconds=audio.span_s)

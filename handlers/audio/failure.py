"""Why a file's length cannot be known. The reasons name codecs, containers and numbers of bytes, never a file."""

from __future__ import annotations

import dataclasses

from handlers.model import AudioInfo, AudioUnreadable


class Unreadable(AudioUnreadable):
    """The file claims to be audio of a known kind and is broken."""


class Unsupported(AudioUnreadable):
    """The file is whole, as far as can be seen, but not of a kind that callspool reads."""


def unheard(info: AudioInfo) -> AudioInfo:
    """The measurement of a file that could not be listened to: that costs evidence and no length."""
    return dataclasses.replace(info, flags=tuple(sorted({*info.flags, "unheard"})))


class NotPlain(Exception):
    """Not as plain as our own walks take it: only libav can tell."""

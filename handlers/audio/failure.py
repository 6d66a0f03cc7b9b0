"""Why a file's length cannot be known. The reasons name codecs, containers and numbers of bytes, never a file."""

from __future__ import annotations

from handlers.model import AudioUnreadable


class Unreadable(AudioUnreadable):
    """The file claims to be audio of a known kind and is broken."""


class Unsupported(AudioUnreadable):
    """The file is whole, as far as can be seen, but not of a kind that callspool reads."""

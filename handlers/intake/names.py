"""What a file's name says of the call it belongs to.

Conventions are regular expressions with named groups, searched for in the base name (in the whole relative path where
the expression holds a ``/``). Every convention is tried, configured ones first, and a group is taken from the first
that gives it.

======== ==========================================================================================
group    meaning
======== ==========================================================================================
number   the caller's number, ``_`` standing for ``+``
epoch    when the recording began, in seconds since the epoch (or ms, us, ns)
stamp    a time; read by the convention's ``format`` (strptime) or as in ``times.stamp``
taken    the time a lead was taken
call     the call's id elsewhere
session  the session's id
side     whose voice it is: agent (bot, assistant, ai) or customer (caller, client, user)
group    what the sides of one conversation share
room     the room the call was held in
index    the place of a chunk in its session, from 0
======== ==========================================================================================

Nothing here raises on any name: a name that says nothing is the usual case.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from daemon.errors import ConfigInvalid
from handlers.intake import times
from handlers.model import Side

GROUPS = frozenset({"number", "epoch", "stamp", "taken", "call", "session", "side", "group", "room", "index"})

_UUID = r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}-?(?:[0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}(?![0-9A-Za-z])"
_SIDES = {
    **dict.fromkeys(("agent", "bot", "assistant", "ai"), Side.AGENT),
    **dict.fromkeys(("customer", "caller", "client", "user"), Side.CUSTOMER),
}


@dataclass(frozen=True, slots=True)
class Configured:
    """One entry of ``match.names``: a regular expression, and for its times a strptime format."""

    pattern: str
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Convention:
    """One way of naming files; ``format`` is for strptime."""

    pattern: re.Pattern[str]
    format: str | None = None


BUILT_IN = tuple(
    Convention(re.compile(pattern))
    for pattern in (
        # <session>/chunk_0007.webm
        r"(?:^|/)(?P<session>[^/]+)/chunk_(?P<index>[0-9]{1,9})\.[^./]+$",
        # number-_918655048643-1761635651.ogg
        r"(?:^|[^0-9A-Za-z])number-(?P<number>[^-]{0,40})-(?P<epoch>[0-9]{10})(?![0-9])",
        # <uuid>_agent.wav
        rf"(?P<group>{_UUID.replace('(?![0-9A-Za-z])', '')})_(?P<side>agent|customer)(?![0-9A-Za-z])",
        # session_20251029_064824_2e0aa754
        r"(?P<session>session_[0-9]{8}_[0-9]{6}_[0-9A-Za-z]+)",
        # lead_20251013_135233.json
        r"(?<![A-Za-z])lead_(?P<taken>[0-9]{8}_[0-9]{6})(?![0-9])",
        # transcript_session_2025-10-29T06-49-07.351452.json
        r"(?<![0-9])(?P<stamp>[0-9]{4}(?:-[0-9]{2}){2}[T_ -][0-9]{2}(?:[-:.][0-9]{2}){2}(?:[.,][0-9]+)?Z?)(?![0-9])",
        # call_20251029_064822.wav: a start, and not the one inside a session's id
        r"(?<!session_)(?<!lead_)(?<![0-9])(?P<stamp>[0-9]{8}[_T-][0-9]{6})(?![0-9])",
        # e587124c-02b6-49c5-b3bf-2610015da46a.ogg
        rf"(?P<call>{_UUID})",
    )
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one name says; None where it says nothing. Times are text until a zone is known."""

    number: str | None = None
    epoch: str | None = None
    stamp: str | None = None
    taken: str | None = None
    call: str | None = None
    session: str | None = None
    side: Side | None = None
    group: str | None = None
    room: str | None = None
    index: int | None = None

    @property
    def chunk(self) -> tuple[str, int] | None:
        """Session and index, where the file is a chunk of a session."""
        return None if self.session is None or self.index is None else (self.session, self.index)


class Names:
    """The conventions in force."""

    def __init__(self, configured: Iterable[Configured] = ()) -> None:
        """The ``configured`` conventions before the built-in ones; raises ConfigInvalid for a broken one."""
        own = tuple(_convention(number, entry) for number, entry in enumerate(configured))
        self._conventions = own + BUILT_IN

    def read(self, path: str) -> Evidence:
        """What the printable path, relative to its root, says."""
        found: dict[str, str] = {}
        base = path.rsplit("/", 1)[-1]
        for convention in self._conventions:
            match = convention.pattern.search(path if "/" in convention.pattern.pattern else base)
            for name, text in (match.groupdict() if match is not None else {}).items():
                if text and name not in found and (known := _normal(name, text, convention.format)):
                    found[name] = known
        side, index = found.pop("side", None), found.pop("index", None)
        return Evidence(
            **found,
            side=None if side is None else Side(side),
            index=None if index is None else int(index),
        )

    def evidence_of(self, role: str, path: str) -> str:
        """What the name says, as one line that is equal for equal evidence; empty where it says nothing.

        The folder counts for nothing but a chunk's session. Numbers stand there as digests, since the line is shown.
        A side document in ``recordings`` belongs to the recording of its name, so its name is all its evidence.
        """
        if role == "recordings" and path.lower().endswith(".json"):
            return f"beside:{_digest(path[: -len('.json')])}"
        said = self.read(path)
        pieces = {
            "epoch": said.epoch,
            "stamp": said.stamp,
            "taken": said.taken,
            "session": said.session,
            "call": said.call,
            "group": said.group,
            "room": said.room,
            "side": said.side,
            "index": None if said.index is None else str(said.index),
            "number": None if said.number is None else _digest(said.number),
        }
        return " ".join(f"{name}:{text}" for name, text in pieces.items() if text)


def _convention(number: int, entry: Configured) -> Convention:
    try:
        pattern = re.compile(entry.pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigInvalid(f"match.names[{number}].pattern is no regular expression: {error}") from None
    unknown = sorted(pattern.groupindex.keys() - GROUPS)
    if unknown or not pattern.groupindex:
        what = f"unknown group {unknown[0]!r}" if unknown else "no named group"
        raise ConfigInvalid(f"match.names[{number}].pattern: {what}; there are {', '.join(sorted(GROUPS))}")
    return Convention(pattern, entry.format)


def _normal(name: str, text: str, format_: str | None) -> str | None:
    """One spelling for what may be written in several; None for what cannot be."""
    if name in {"stamp", "taken"}:
        moment = times.stamp(text, format_)
        return None if moment is None else moment.isoformat()
    if name == "side":
        return _SIDES.get(text.lower(), Side.MIXED)
    if name in {"epoch", "index"}:
        return str(int(text)) if text.isascii() and text.isdecimal() and len(text) <= 19 else None
    if name == "number":
        return "+" + text[1:] if text.startswith("_") else text
    return text.lower() if re.fullmatch(_UUID, text) else text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]

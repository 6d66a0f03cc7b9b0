"""How things are called in storage: pure, from a call and its files to keys.

Keys are safe for file systems and for S3 alike: NFC, no control characters, no separators inside a part, no part that
is longer than a file system takes. What a name had to give up is not lost: the ledger knows which item lies where.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

NAME_BYTES = 180
"""Longest part of a key made from a name: ``_metadata.json`` and a hash still fit behind it (255 bytes, NAME_MAX)."""

KEY_BYTES = 1000
"""Longest key (S3 takes 1,024)."""

_KEPT = frozenset("-_.()!'")
_STAMPS = re.compile(
    r"(?<!\d)(?:19|20)\d\d[-_]?[01]\d[-_]?[0-3]\d"
    r"(?:[T_ -]?[0-2]\d[-:_.]?[0-5]\d[-:_.]?[0-6]\d(?:[.,_]\d{1,6})?)?Z?(?!\d)"
    r"(?:_[0-9a-f]{8}(?![0-9A-Za-z]))?"
    r"|[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
)
_NUMBER = re.compile(r"\d(?:[ ().-]{0,2}\d){6,}")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in one store: ``audio`` is a template of a whole key, ``transcripts`` one of a folder."""

    prefix: str
    audio: str
    transcripts: str

    def folder(self, names: Mapping[str, str]) -> str:
        """The folder that a call's audio lies in."""
        full = self._fill(self.audio, {**names, "name": "x", "file": "x", "hash": "x"})
        return full.rpartition("/")[0]

    def transcript_folder(self, names: Mapping[str, str]) -> str:
        """The folder that its transcript lies in."""
        return self._fill(self.transcripts, {**names, "name": "x", "file": "x", "hash": "x"})

    def audio_key(self, names: Mapping[str, str], file: str, sha256: str) -> str:
        """The key of one recording."""
        own = {"name": part(file), "file": numberless(file, sha256), "hash": sha256[:16]}
        return self._fill(self.audio, {**names, **own})

    def _fill(self, template: str, names: Mapping[str, str]) -> str:
        return self.prefix + template.format_map(dict(names))


def call_names(conversation: str, day: str) -> dict[str, str]:
    """What a layout may name of a call; ``day`` is YYYY-MM-DD."""
    year, month, date = day.split("-")
    return {"conversation": conversation, "yyyy": year, "mm": month, "dd": date}


def part(name: str) -> str:
    """A name as one part of a key."""
    text = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode("utf-8"))
    safe = "".join(c if c.isalnum() or c in _KEPT else "_" for c in text)
    safe = safe.strip() or "_"
    if safe.startswith(".") or safe.rstrip("._") == "":
        safe = "_" + safe.lstrip(".")
    safe = safe.rstrip(".") or "_"
    if len(safe.encode()) <= NAME_BYTES:
        return safe
    stem, suffix = os.path.splitext(safe)
    suffix = suffix if len(suffix.encode()) <= 16 else ""
    room = NAME_BYTES - len(suffix.encode()) - 13
    short = stem.encode()[:room].decode("utf-8", "ignore")
    return f"{short}-{_hash(name)[:12]}{suffix}"


def numberless(name: str, sha256: str) -> str:
    """The name as one part of a key, or the content's hash with the name's suffix where it holds a number."""
    safe = part(name)
    if not holds_number(name):
        return safe
    suffix = os.path.splitext(safe)[1].lower()
    return sha256[:16] + (suffix if 1 < len(suffix) <= 16 and not holds_number(suffix) else "")


def holds_number(text: str) -> bool:
    """Whether seven digits or more stand together that are no date, time or uuid: a phone number, for all we know."""
    return _NUMBER.search(_STAMPS.sub(" x ", unicodedata.normalize("NFKC", text))) is not None


def conversation_name(session_id: str | None, group: str | None, sha256: str) -> str:
    """How a call is called: by its session id, else by what the sides of its recording share, else ``conv_<hex>``.

    An id that may hold a phone number is told by its hash.
    """
    for said in (session_id, group):
        if said and said.strip():
            return f"conv_{_hash(said)[:16]}" if holds_number(said) else part(said)
    return f"conv_{sha256[:16]}"


def beside(key: str, ending: str) -> str:
    """The key of what lies beside an object: its stem with another ending."""
    folder, slash, name = key.rpartition("/")
    return f"{folder}{slash}{os.path.splitext(name)[0]}{ending}"


def apart(key: str, sha256: str) -> str:
    """Another key for content whose own is taken by other content."""
    folder, slash, name = key.rpartition("/")
    stem, suffix = os.path.splitext(name)
    return f"{folder}{slash}{stem}-{sha256[:8]}{suffix}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

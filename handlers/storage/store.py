"""What a store is: five verbs over keys. The local one and S3 keep the same promises, and one suite holds both to them.

* ``put`` makes an object whole or not at all, and returns only when what lies there was compared with what was meant.
  Put again with the same content it is a success; where other content lies under the key it raises KeyConflict and
  changes nothing, unless ``over`` says that older content of our own may be there.
* ``find`` tells what lies under a key without reading it; ``sha256`` is what the object says of itself, if it does.
* ``open`` reads a range; what is not there raises KeyMissing.
* ``delete`` of what is not there is a success.
* ``list`` tells every object under a prefix, in the order of keys.

Errors are those of deliveries: NotSent, Throttled, Unanswered, Denied, Refused, Unacceptable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from daemon.errors import Unacceptable


@dataclass(frozen=True, slots=True)
class Found:
    """What lies under a key. ``size`` is bytes; ``sha256`` is hex, None where the store keeps none with the object."""

    key: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What ``put`` made sure of: ``proof`` says how, ``fresh`` whether it wrote anything."""

    proof: str
    fresh: bool


@dataclass(frozen=True, slots=True)
class Described:
    """What is to lie under a key. ``metadata`` is ASCII; ``kind`` is audio or document, ``age_s`` the call's age in
    seconds, by which a class may be chosen; ``upload_id`` is an upload in parts that was begun for it."""

    sha256: str
    size: int
    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)
    kind: str = "document"
    age_s: float = 0.0
    upload_id: str | None = None


class Content(Protocol):
    """Bytes that can be opened as often as needed."""

    def open(self) -> AbstractContextManager[BinaryIO]:
        """A binary file at its beginning. Raises ContentGone or ContentMoved."""
        ...


class KeyConflict(Unacceptable):
    """Something else lies under the key."""


class Damaged(KeyConflict):
    """What lies under the key says of itself that it is this very object, and is not: nobody else's, so it may be
    overwritten."""


class KeyMissing(Unacceptable):
    """Nothing lies under the key."""


class Store(Protocol):
    """Where copies lie."""

    @property
    def place(self) -> str:
        """``local`` or ``s3``."""
        ...

    @property
    def bucket(self) -> str:
        """What tells two stores of one place apart; empty for the local one."""
        ...

    def find(self, key: str) -> Found | None:
        """What lies there."""
        ...

    def put(self, key: str, content: Content, described: Described, *, over: bool = False) -> Stored:
        """Make it so, verified."""
        ...

    def open(self, key: str, start: int = 0, length: int | None = None) -> AbstractContextManager[BinaryIO]:
        """Read from ``start``, ``length`` bytes or to the end."""
        ...

    def delete(self, key: str) -> None:
        """Let it go."""
        ...

    def list(self, prefix: str) -> Iterator[Found]:
        """Every object whose key begins like this."""
        ...

    def begun(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Key and id of every upload in parts under a prefix that was begun, by whomever, and not ended."""
        ...

"""Ledger against storage: what is missing, what differs, what is there that nobody knows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemon.contract import Json, Reader
from daemon.errors import DeliveryError
from handlers import records
from handlers.records import Copy
from handlers.storage.content import digest_of
from handlers.storage.store import Found, KeyMissing, Store


@dataclass(slots=True)
class Audit:
    """What was found. ``read_bytes`` are those that were read to hash them."""

    checked: int = 0
    hashed: int = 0
    read_bytes: int = 0
    missing: list[dict[str, Json]] = field(default_factory=list)
    differing: list[dict[str, Json]] = field(default_factory=list)
    unknown: list[dict[str, Json]] = field(default_factory=list)
    unreached: list[dict[str, Json]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether ledger and storage say the same."""
        return not (self.missing or self.differing or self.unknown)

    def as_json(self) -> dict[str, Json]:
        """All of it."""
        return {
            "checked": self.checked,
            "hashed": self.hashed,
            "read_bytes": self.read_bytes,
            "missing": self.missing,
            "differing": self.differing,
            "unknown": self.unknown,
            "unreached": self.unreached,
        }


def audit(read: Reader, stores: Sequence[Store], prefixes: Mapping[str, Sequence[str]], deep: float) -> Audit:
    """Hold every copy of the ledger against what lies in its store, and every object there against the ledger.

    ``prefixes`` are, for each place, the beginnings of keys that are callspool's own. ``deep`` is the share of objects
    that are read and hashed, chosen by their hash, so that the same ones are chosen again; each at least once at 1.
    """
    found = Audit()
    copies = records.all_copies(read)
    for store in stores:
        try:
            _store(found, store, [c for c in copies if _lies_in(c, store)], prefixes[store.place], deep)
        except DeliveryError as error:
            found.unreached.append({"place": store.place, "reason": error.reason})
    _sources(found, read)
    return found


def _lies_in(copy: Copy, store: Store) -> bool:
    return copy.place == store.place and copy.bucket == store.bucket


def _store(found: Audit, store: Store, copies: Sequence[Copy], prefixes: Sequence[str], deep: float) -> None:
    there: dict[str, Found] = {}
    for prefix in prefixes:
        there.update({one.key: one for one in store.list(prefix)})
    known = {copy.key for copy in copies}
    for copy in copies:
        one = there.get(copy.key)
        if copy.state == "intended":
            continue  # it may be there or not, and the ledger says no more
        found.checked += 1
        if one is None:
            found.missing.append(_told(copy, "it is not there"))
        elif one.size != copy.size:
            found.differing.append(_told(copy, f"{one.size:,} bytes lie there, {copy.size:,} were stored"))
        elif _chosen(copy, deep):
            _hash(found, store, copy)
    for key in sorted(there.keys() - known):
        found.unknown.append({"place": store.place, "key": key, "size": there[key].size})


def _hash(found: Audit, store: Store, copy: Copy) -> None:
    try:
        with store.open(copy.key) as file:
            digest = digest_of(file)
    except KeyMissing:
        found.missing.append(_told(copy, "it is not there"))
        return
    found.hashed += 1
    found.read_bytes += copy.size
    if digest != copy.sha256:
        found.differing.append(_told(copy, "its content is another than was stored"))


def _chosen(copy: Copy, deep: float) -> bool:
    """Whether the object is in the sample: by its hash and key, so evenly, and the same again."""
    place = int(hashlib.sha256(f"{copy.key}{copy.sha256}".encode()).hexdigest()[:8], 16)
    return place / 0xFFFFFFFF < deep or deep >= 1


def _sources(found: Audit, read: Reader) -> None:
    """Recordings of which neither a source nor a verified copy is left."""
    for row in read.rows(
        "SELECT recording.id FROM recording WHERE NOT EXISTS (SELECT 1 FROM file WHERE item_id = recording.id) "
        "AND NOT EXISTS (SELECT 1 FROM copy WHERE item_id = recording.id AND state = 'verified')"
    ):
        fields: dict[str, Json] = {"place": "disk", "subject": f"r{row['id']}"}
        found.missing.append({**fields, "reason": "neither its source nor a verified copy is left"})


def _told(copy: Copy, reason: str) -> dict[str, Any]:
    subject = f"c{copy.subject}"
    return {"place": copy.place, "key": copy.key, "subject": subject, "role": copy.role, "reason": reason}

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
    """What was found. ``read_bytes`` are those that were read to hash them.

    ``blocked`` are copies that S3 does not take and that wait in the local store for a person, ``nowhere`` recordings
    of which nothing is left, ``begun`` uploads in parts that are none of ours: told, and no difference.
    """

    checked: int = 0
    hashed: int = 0
    read_bytes: int = 0
    missing: list[dict[str, Json]] = field(default_factory=list)
    differing: list[dict[str, Json]] = field(default_factory=list)
    blocked: list[dict[str, Json]] = field(default_factory=list)
    nowhere: list[dict[str, Json]] = field(default_factory=list)
    unknown: list[dict[str, Json]] = field(default_factory=list)
    begun: list[dict[str, Json]] = field(default_factory=list)
    unreached: list[dict[str, Json]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether ledger and storage say the same."""
        return not (self.missing or self.differing or self.blocked or self.nowhere or self.unknown)

    @property
    def lost(self) -> list[list[Json]]:
        """Place, bucket and key of what is missing or differs."""
        return [[one["place"], one["bucket"], one["key"]] for one in (*self.missing, *self.differing)]

    def as_json(self) -> dict[str, Json]:
        """All of it."""
        return {
            "checked": self.checked,
            "hashed": self.hashed,
            "read_bytes": self.read_bytes,
            "missing": self.missing,
            "differing": self.differing,
            "blocked": self.blocked,
            "nowhere": self.nowhere,
            "unknown": self.unknown,
            "begun": self.begun,
            "unreached": self.unreached,
        }


def audit(read: Reader, stores: Sequence[Store], prefixes: Mapping[str, Sequence[str]], deep: float) -> Audit:
    """Hold every copy of the ledger against what lies in its store, and every object there against the ledger.

    ``prefixes`` are, for each place, the beginnings of keys that are callspool's own. ``deep`` is the share of objects
    that are read and hashed, chosen by their hash, so that the same ones are chosen again; each at least once at 1.
    """
    found = Audit()
    found.blocked += [_told(copy, copy.reason) for copy in records.troubled_copies(read)]
    copies, ours = records.all_copies(read), records.multiparts(read)
    for store in stores:
        uploads = {(key, upload) for bucket, key, upload in ours if bucket == store.bucket}
        try:
            _store(found, store, [c for c in copies if _lies_in(c, store)], prefixes[store.place], deep)
            for prefix in prefixes[store.place]:
                begun = [key for key, upload in store.begun(prefix) if (key, upload) not in uploads]
                found.begun += [{"place": store.place, "key": key} for key in begun]
        except DeliveryError as error:
            found.unreached.append({"place": store.place, "reason": error.reason})
    _sources(found, read)
    return found


def settle(found: Audit, later: Reader) -> Audit:
    """Leave out what a daemon changed while the stores were looked at; ``later`` is a view taken after that."""

    def now(one: Mapping[str, Any], bucket: str) -> Copy | None:
        return records.copy_at(later, one["place"], bucket, one["key"])

    for entries in (found.missing, found.differing):
        kept = [one for one in entries if (copy := now(one, str(one["bucket"]))) and copy.sha256 == one["sha256"]]
        entries[:] = [one for one in kept if (copy := now(one, str(one["bucket"]))) and copy.state != "removed"]
    found.unknown[:] = [one for one in found.unknown if now(one, str(one["bucket"])) is None]
    return found


def _lies_in(copy: Copy, store: Store) -> bool:
    return copy.place == store.place and copy.bucket == store.bucket


def _store(found: Audit, store: Store, copies: Sequence[Copy], prefixes: Sequence[str], deep: float) -> None:
    there: dict[str, Found] = {}
    for prefix in prefixes:
        there.update({one.key: one for one in store.list(prefix)})
    known = {copy.key for copy in copies}
    waits = {one["bound_for"] for one in found.blocked} if store.place == "s3" else set()
    for copy in copies:
        if copy.key in waits or (copy.state == "intended" and copy.lost_at is None):
            continue  # it may be there or not, and the ledger says no more
        one = there.get(copy.key)
        if one is None and not copy.key.startswith(tuple(prefixes)):
            one = store.find(copy.key)  # stored under another layout than today's
        found.checked += 1
        if one is None:
            found.missing.append(_told(copy, "it is not there"))
        elif one.size != copy.size:
            found.differing.append(_told(copy, f"{one.size:,} bytes lie there, {copy.size:,} were stored"))
        elif _chosen(copy, deep):
            _hash(found, store, copy)
    where: dict[str, Json] = {"place": store.place, "bucket": store.bucket}
    found.unknown += [{**where, "key": key, "size": there[key].size} for key in sorted(there.keys() - known)]


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
    for recording in records.nowhere(read):
        fields: dict[str, Json] = {"place": "disk", "subject": f"r{recording}"}
        found.nowhere.append({**fields, "reason": "neither its source nor a verified copy is left"})


def _told(copy: Copy, reason: str) -> dict[str, Any]:
    subject = f"c{copy.subject}"
    where = {"place": copy.place, "bucket": copy.bucket, "key": copy.key}
    told = {**where, "subject": subject, "role": copy.role, "sha256": copy.sha256, "reason": reason}
    return told if copy.bound_for is None else {**told, "bound_for": copy.bound_for["keys"]["s3"]}

"""What is done for a call's things: put into a store, moved from the local one to S3, let go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol, cast
from urllib.parse import unquote

from daemon.contract import Clock, Contents, Effect, Event, Fact, Json, Reader, Receipt, sync_folder
from daemon.errors import ContentGone, ContentMoved, DeliveryError, NotSent, Throttled, Unacceptable
from handlers.records import CopyRemoved, CopyVerified, MultipartBegun, MultipartEnded, Place, Stranded, copy_at
from handlers.storage.content import BLOCK, OfCopy, OfItem, OfText, digest_of, read_exactly, shows
from handlers.storage.handler import S3, fell_back
from handlers.storage.local import NOT_HERE, LocalStore
from handlers.storage.pace import Closed, Health, Hours
from handlers.storage.store import Content, Described, KeyConflict, KeyMissing, Store, Stored


class InParts(Store, Protocol):
    """A store that takes large objects in parts."""

    def begin(self, key: str, described: Described) -> str:
        """The id of an upload for this key: the one that was begun already, else a new one."""
        ...

    def about(self, key: str) -> Mapping[str, str]:
        """The metadata that the object bears."""
        ...

    def abort(self, key: str, upload_id: str) -> None:
        """Give up an upload; of one that is not there, nothing."""
        ...

    def standing(self, key: str, described: Described) -> Stored | None:
        """What lies under a key, if it is what was meant; None where nothing is there. Raises KeyConflict."""
        ...

    def change_class(self, key: str, storage_class: str, sha256: str, size: int) -> None:
        """Give an object another storage class. Raises Unacceptable where it is not what was meant, or cannot have
        it."""
        ...


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores that are in use. ``s3`` is None where only the local one is."""

    local: LocalStore
    s3: InParts | None
    health: Health
    hours: Hours
    clock: Clock
    contents: Contents
    view: Callable[[], AbstractContextManager[Reader]]

    def content(self, one: Mapping[str, Any]) -> Content:
        """Where an object's bytes come from: of a source that is gone, any store that still has them."""
        if one["text"] is not None:
            return OfText(one["text"])
        stores = [store for store in (self.local, self.s3) if store is not None]
        return OfItem(self.contents, one["item"], one["size"], [(store, one["keys"][store.place]) for store in stores])

    def described(self, one: Mapping[str, Any], upload_id: str | None) -> Described:
        """What an object is to be."""
        age = self.clock.now() - datetime.fromisoformat(one["started_at"].replace("Z", "+00:00"))
        return Described(
            one["sha256"],
            one["size"],
            one["type"],
            one["metadata"],
            "audio" if one["role"] == "audio" else "document",
            age.total_seconds(),
            upload_id,
        )


class Sure:
    """Putting again what is there already is a success and writes nothing, so nothing need be looked up before."""

    def find(self, _effect: Effect, /) -> Receipt | None:
        """Not known to be so: ``perform`` itself looks first."""
        return None

    def doubt(self, _effect: Effect, /) -> Literal["resend", "hold"]:
        """Again."""
        return "resend"


class PutPerformer(Sure):
    """Puts a bundle of objects where they belong, or else into the local store: whatever happens, a copy is safe."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def perform(self, effect: Effect, /) -> Receipt:
        """Every object in turn. Raises NotSent where neither store takes it."""
        payload, began_s = _payload(effect), self._stores.clock.monotonic()
        facts: list[Fact] = []
        fallen, proofs, places, tidied = "", [], set(), 0
        for one in payload["objects"]:
            fact, stored, reason, ended = self._keep(payload, one, _upload_id(effect))
            facts += [fact, *ended]
            fallen = fallen or reason
            tidied += fact.place == "s3" and self._tidy(one)
            proofs.append(stored.proof)
            places.add(fact.place)
        whole = any(one["role"] == "sidecar" for one in payload["objects"])
        name = "storage.stored" if whole else "storage.verified"
        event = _told(name, payload["named"], payload["objects"], began_s, self._stores.clock)
        why = {"reason": LEFT_BEHIND} if tidied else {}
        event = Event(name, {**event.fields, **why, "dest": "+".join(sorted(places)), "proof": proofs[0]})
        if fallen:
            event = fell_back(payload["named"], fallen, sum(one["size"] for one in payload["objects"]))
        return Receipt({"places": sorted(places), "proofs": proofs}, event, tuple(facts))

    def _keep(
        self, payload: Mapping[str, Any], one: Mapping[str, Any], upload_id: str | None
    ) -> tuple[CopyVerified, Stored, str, list[Fact]]:
        stores = self._stores
        content = stores.content(one)
        reason, stranded = "", False
        if stores.s3 is not None:
            try:
                stored = self._to_s3(stores.s3, one, content, upload_id)
            except KeyConflict as error:
                reason, stranded = error.reason, True
            except Throttled as error:
                reason = error.reason
                stores.health.failed(error.reason, error.retry_after)
            except Closed as error:
                reason = error.reason
            except DeliveryError as error:
                reason = error.reason
                stores.health.failed(error.reason)
            else:
                ended = [MultipartEnded(stores.s3.bucket, one["keys"]["s3"])] if upload_id else []
                return verified(payload["subject"], stores.s3, one, stored, None), stored, "", list(ended)
        # What lies in our own folder under a call's own name is ours, also where an older ledger has forgotten it.
        over = one["over"] or one["role"] != "audio" or "lost_at" in one
        try:
            stored = stores.local.put(one["keys"]["local"], content, stores.described(one, None), over=over)
        except KeyConflict as error:
            if stores.s3 is None or stranded:
                raise
            raise NotSent(f"{reason}; and {error.reason}") from error  # S3 will take it when it is back
        bound = None if stores.s3 is None else dict(one)
        fact = verified(payload["subject"], stores.local, one, stored, bound)
        return fact, stored, reason, [Stranded(fact.key, reason)] if stranded else []

    def _tidy(self, one: Mapping[str, Any]) -> bool:
        """Let go of what an earlier try put into the local store and was killed before anybody knew; whether there
        was something."""
        local, key = self._stores.local, one["keys"]["local"]
        dropped = local.drop_part(key)
        found = local.find(key)
        if found is None or found.size != one["size"]:
            return dropped
        with self._stores.view() as read:
            known = copy_at(read, "local", "", key)
        if known is not None and known.state != "removed":
            return dropped
        with local.open(key) as file:
            ours = digest_of(file) == one["sha256"]
        if ours:
            local.delete(key)
        return dropped or ours

    def _to_s3(self, s3: InParts, one: Mapping[str, Any], content: Content, upload_id: str | None) -> Stored:
        stores = self._stores
        if stores.hours.limit(stores.clock.now()) == 0:
            raise Closed("storage.s3.pace lets nothing out now")
        if not stores.health.well():
            raise Closed(stores.health.reason)
        if one["size"] > LARGEST_AT_ONCE and upload_id is None:
            raise Closed("no upload in parts could be begun")
        stored = put_s3(s3, one, content, stores.described(one, upload_id))
        stores.health.succeeded()
        return stored


def put_s3(s3: InParts, one: Mapping[str, Any], content: Content, described: Described) -> Stored:
    """Put it. A paper of this host's for this very call that lies there is replaced, though the ledger forgot it: one
    that was restored from a copy does not know what was written since. So is the beginning of what is meant, which a
    service leaves that was killed in the middle, and whatever took the place of an object that the ledger knew as
    verified there, once a person asked for that. Raises KeyConflict for anything else."""
    key = one["keys"]["s3"]
    try:
        return s3.put(key, content, described, over=one["over"])
    except KeyConflict:
        ours = "lost_at" in one or _is_our_paper(s3, key, described.metadata)
        if not ours and not _is_beginning(s3, key, content, described.size):
            raise
        return s3.put(key, content, described, over=True)


def _is_beginning(s3: InParts, key: str, content: Content, size: int) -> bool:
    """Whether what lies there is shorter than the ``size`` bytes that are meant, and all of it their beginning."""
    found = s3.find(key)
    if found is None or found.size >= size:
        return False
    left = found.size
    with s3.open(key) as there, content.open() as meant:
        while left:
            block = min(left, BLOCK)
            if read_exactly(there, block) != read_exactly(meant, block):
                return False
            left -= block
    return True


PAPER_BYTES = 1 << 20
"""More than any paper of ours has."""


def _is_our_paper(s3: InParts, key: str, ours: Mapping[str, str]) -> bool:
    """Whether what lies there was written by this host about the same call. A service that keeps no metadata, or has
    lost it, gives the paper itself: it names its conversation, and the sidecar its host."""
    same = {name: ours.get(name, "") for name in ("host-id", "conversation", "role")}
    if same["role"] == "audio" or not all(same.values()):
        return False
    told = s3.about(key)
    if "host-id" in told or same["role"] not in ("metadata", "sidecar"):
        return same.items() <= told.items()
    with s3.open(key, 0, PAPER_BYTES) as file:
        try:
            paper = json.loads(file.read())
        except ValueError:
            return False
    mine = {"conversation_id": unquote(same["conversation"])}
    if same["role"] == "sidecar":
        mine["host_id"] = same["host-id"]
    return isinstance(paper, dict) and all(paper.get(name) == value for name, value in mine.items())


LEFT_BEHIND = "what a try before it left in the local store was let go"

LARGEST_AT_ONCE = 64 << 20
"""Bytes: what is larger never goes in one piece."""


class BeginPerformer:
    """Has an upload in parts begun, so that its id is in the ledger before its first part is sent."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def doubt(self, _effect: Effect, /) -> Literal["resend", "hold"]:
        """Again: what was begun before is found by its key."""
        return "resend"

    def find(self, _effect: Effect, /) -> Receipt | None:
        """Beginning again finds what was begun, so nothing need be looked up before."""
        return None

    def perform(self, effect: Effect, /) -> Receipt:
        """Begin it, or take up what was begun. Where S3 is away, and the local store may take its place, no id."""
        payload, stores = _payload(effect), self._stores
        if payload["known"]:
            return Receipt({"upload_id": payload["known"]})
        assert stores.s3 is not None
        key = payload["keys"]["s3"]
        strict = effect.dest == S3
        try:
            if not strict and stores.hours.limit(stores.clock.now()) == 0:
                raise Closed("storage.s3.pace lets nothing out now")
            if not strict and not stores.health.well():
                raise Closed(stores.health.reason)
            upload_id = stores.s3.begin(key, stores.described(payload, None))
        except DeliveryError as error:
            if strict:
                raise
            if not isinstance(error, Closed):
                stores.health.failed(error.reason)
            return Receipt({"upload_id": None})
        return Receipt({"upload_id": upload_id}, facts=(MultipartBegun(stores.s3.bucket, key, upload_id),))


class AbortPerformer(Sure):
    """Gives up an upload in parts that nobody goes on with."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def perform(self, effect: Effect, /) -> Receipt:
        """Abort it; one that is not there any more is fine."""
        payload, s3 = _payload(effect), self._stores.s3
        assert s3 is not None
        s3.abort(payload["key"], payload["upload_id"])
        event = Event("storage.abandoned", {"reason": "an upload in parts that nobody goes on with", "dest": S3})
        return Receipt({"aborted": True}, event, (MultipartEnded(s3.bucket, payload["key"]),))


class MovePerformer(Sure):
    """Moves one object from the local store to S3."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def perform(self, effect: Effect, /) -> Receipt:
        """Put it there, verified. What S3 will never take stays, and waits for a person; what has moved already,
        as an older ledger does not know, lies there."""
        payload, stores = _payload(effect), self._stores
        one, began_s = payload["object"], self._stores.clock.monotonic()
        assert stores.s3 is not None
        if self._is_overtaken(stores.s3, one):
            return Receipt({"moved": False, "overtaken": True})
        content, upload_id = OfCopy(stores.local, payload["local"]), _upload_id(effect)
        try:
            stored = put_s3(stores.s3, one, content, stores.described(one, upload_id))
        except KeyMissing as error:
            there = _standing(stores.s3, one, stores.described(one, upload_id))
            if there is None:
                return self._stranded(payload, error)
            stored = there
        except ContentMoved:
            if not self._is_another(content, one["sha256"]):
                raise
            return self._stranded(payload, KeyMissing(NOT_HERE))  # something else is, which is left alone
        except Unacceptable as error:
            return self._stranded(payload, error)
        stores.health.succeeded()
        facts: list[Fact] = [verified(payload["subject"], stores.s3, one, stored, None)]
        if upload_id:
            facts.append(MultipartEnded(stores.s3.bucket, one["keys"]["s3"]))
        event = _told("storage.verified", payload["named"], [one], began_s, stores.clock)
        fields = {**event.fields, "dest": S3, "proof": stored.proof, "reason": "moved from the local store"}
        return Receipt({"moved": True, "proof": stored.proof}, Event("storage.verified", fields), tuple(facts))

    def _is_overtaken(self, s3: InParts, one: Mapping[str, Any]) -> bool:
        """Whether newer content of its call was verified under its key since the move was planned."""
        if one["role"] == "audio":
            return False
        with self._stores.view() as read:
            there = copy_at(read, "s3", s3.bucket, one["keys"]["s3"])
        return there is not None and there.state == "verified" and there.sha256 != one["sha256"]

    def _is_another(self, content: Content, sha256: str) -> bool:
        """Whether other bytes lie there now, as an older ledger does not know. What cannot be read may be the same."""
        try:
            with content.open() as file:
                return digest_of(file) != sha256
        except OSError:
            return False

    def _stranded(self, payload: Mapping[str, Any], error: DeliveryError) -> Receipt:
        fields: dict[str, Json] = {
            **_subject(payload["named"]),
            "reason": error.reason,
            "dest": S3,
            "fix": "callspool storage list --waiting  (then callspool storage drain)",
        }
        if error.http_status is not None:
            fields["http_status"] = error.http_status
        fact = Stranded(payload["local"], error.reason)
        return Receipt({"moved": False}, Event("storage.refused", fields, "warning"), (fact,))


def _standing(s3: InParts, one: Mapping[str, Any], described: Described) -> Stored | None:
    """What lies in S3, where it is what was meant."""
    try:
        return s3.standing(one["keys"]["s3"], described)
    except KeyConflict:
        return None


class ReleasePerformer(Sure):
    """Lets go of a copy in the local store that was verified in S3 and committed there."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def perform(self, effect: Effect, /) -> Receipt:
        """Delete it, where its move came about."""
        payload = _payload(effect)
        move = effect.given.get(effect.identity)
        reason = "verified in S3, where it belongs"
        if payload["move"] is None or (move is not None and move.data.get("overtaken")):
            reason = "newer content of its call is verified in S3"
        elif move is None or not move.data.get("moved"):
            return Receipt({"released": False})
        with self._stores.view() as read:
            known = copy_at(read, "local", "", payload["local"])
        if known is None or known.sha256 != payload["sha256"]:
            return Receipt({"released": False})  # other content was put there meanwhile
        self._stores.local.delete(payload["local"])
        fields = {
            **_subject(payload["named"]),
            "size_bytes": payload["size"],
            "sha256": payload["sha256"][:12],
            "reason": reason,
        }
        fact = CopyRemoved("local", "", payload["local"], reason)
        return Receipt({"released": True}, Event("storage.released", fields), (fact,))


class RemovePerformer(Sure):
    """Removes a source whose very bytes are verified in storage: looked at there once more before."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def perform(self, effect: Effect, /) -> Receipt:
        """Every file that holds the content. Raises NotSent where storage does not show it any more."""
        payload, stores = _payload(effect), self._stores
        store: Store | None = stores.s3 if payload["place"] == "s3" else stores.local
        if store is None or not shows(store, payload["key"], payload["sha256"], payload["size"]):
            raise NotSent("storage does not show it as it was verified: its source stays")
        removed = 0
        while True:
            try:
                path = stores.contents.path(payload["item"])
            except ContentGone:
                break
            if isinstance(store, LocalStore) and store.is_same_file(payload["key"], path):
                raise NotSent("what lies in the local store is but another name of its source: the source stays")
            _unlink(path)
            removed += 1
        fields = {"item": payload["item"], "size_bytes": payload["size"], "sha256": payload["sha256"][:12]}
        reason = f"verified in {payload['place']}, storage.after is remove"
        return Receipt({"removed": removed}, Event("source.removed", {**fields, "reason": reason}))


def verified(
    subject: int, store: Store, one: Mapping[str, Any], stored: Stored, bound: Mapping[str, Any] | None
) -> CopyVerified:
    """The fact that an object lies in a store as it was meant."""
    place: Place = "s3" if store.place == "s3" else "local"
    return CopyVerified(
        place,
        store.bucket,
        one["keys"][place],
        subject,
        one["role"],
        one["item"],
        one["sha256"],
        one["size"],
        stored.proof,
        bound,
    )


def _unlink(path: bytes) -> None:
    try:
        os.unlink(path)
        sync_folder(os.path.dirname(path))
    except OSError as error:
        raise NotSent(f"the source cannot be removed: {os.strerror(error.errno or 0)}") from error


def _told(name: str, named: str, objects: Sequence[Mapping[str, Any]], began_s: float, clock: Clock) -> Event:
    fields: dict[str, Json] = {
        **_subject(named),
        "size_bytes": sum(one["size"] for one in objects),
        "objects": len(objects),
        "elapsed_s": round(clock.monotonic() - began_s, 3),
    }
    if len(objects) == 1:
        fields["sha256"] = objects[0]["sha256"][:12]
    return Event(name, fields)


def _subject(named: str) -> dict[str, Json]:
    return {"call_id": named} if named.startswith("c") else {"subject": named}


def _payload(effect: Effect) -> dict[str, Any]:
    return cast("dict[str, Any]", effect.payload)


def _upload_id(effect: Effect) -> str | None:
    begun = _payload(effect)["begun"]
    receipt = effect.given.get(begun) if begun else None
    return None if receipt is None else cast("str | None", receipt.data["upload_id"])

"""Old recordings in S3 get a cheaper storage class (``storage.s3.archive_after``): S3 copies the object onto itself.

Nothing is sent again and nothing is deleted; what lies there is looked at before and after. A service that keeps no
classes, or knows none of that name, refuses once for each object, and is asked again when another class is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from daemon.contract import Acted, Effect, Event, Job, JobSpec, Json, Outcome, Planned, Reader, Receipt
from daemon.errors import BadRequest, Unacceptable
from handlers import records
from handlers.records import CopyClassed
from handlers.storage.documents import stamp
from handlers.storage.handler import S3
from handlers.storage.performers import Stores

ARCHIVE = "archive"
CLASS = "storage.class"
BATCH = 50
"""Objects that one run gives their class; then it is decided anew."""

LARGEST = 5 * 2**30
"""Bytes that S3 copies onto themselves in one request."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Which recordings in S3 get which class: those of ``bucket`` whose call ended ``after`` ago."""

    bucket: str
    after: timedelta
    storage_class: str

    def due(self, read: Reader, limit: int) -> tuple[records.Copy, ...]:
        """The oldest whose time has come, and that were not refused it."""
        classes = (self.storage_class, refused(self.storage_class))
        return records.copies_to_class(read, self.bucket, classes, read.now - self.after, LARGEST, limit)


def refused(storage_class: str) -> str:
    """What the ledger says of an object that could not be given this class."""
    return f"refused {storage_class}"


@dataclass(frozen=True, slots=True)
class ArchiveHandler:
    """Decides which objects get their class now. The key is S3."""

    archive: Archive | None
    kinds = (ARCHIVE,)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """The oldest that are due; then again."""
        del job
        found = () if self.archive is None else self.archive.due(read, BATCH)
        if self.archive is None or not found:
            return Planned()
        effects = [_effect(copy, self.archive.storage_class) for copy in found]
        return Planned(effects=tuple(effects), then=(JobSpec(ARCHIVE, S3),))


def _effect(copy: records.Copy, storage_class: str) -> Effect:
    payload: dict[str, Json] = {
        "bucket": copy.bucket,
        "key": copy.key,
        "item": copy.item,
        "sha256": copy.sha256,
        "size": copy.size,
        "class": storage_class,
        "as_of": stamp(_put_at(copy)),  # put anew, it is another effect
    }
    return Effect.of(CLASS, f"{copy.bucket}/{copy.key}", S3, payload)


def _put_at(copy: records.Copy) -> datetime:
    return copy.verified_at or copy.changed_at


class ClassPerformer:
    """Gives one object its class."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def find(self, _effect: Effect, /) -> Receipt | None:
        """Not known to be so: ``perform`` itself looks first."""
        return None

    def doubt(self, _effect: Effect, /) -> Literal["resend", "hold"]:
        """Again: an object that has its class is left alone."""
        return "resend"

    def perform(self, effect: Effect, /) -> Receipt:
        """Have S3 copy it onto itself; what S3 will not do is put down, and not asked again."""
        payload = cast("dict[str, Any]", effect.payload)
        s3, wanted = self._stores.s3, payload["class"]
        assert s3 is not None
        fields = {"item": payload["item"], "size_bytes": payload["size"], "dest": S3}
        try:
            s3.change_class(payload["key"], wanted, payload["sha256"], payload["size"])
        except Unacceptable as error:
            fact = CopyClassed(payload["bucket"], payload["key"], refused(wanted))
            fields |= {"reason": error.reason, "fix": "callspool verify  (or name another storage.s3.archive_class)"}
            return Receipt({"class": None}, Event("storage.unarchived", fields, "warning"), (fact,))
        fact = CopyClassed(payload["bucket"], payload["key"], wanted)
        return Receipt({"class": wanted}, Event("storage.archived", {**fields, "reason": wanted}), (fact,))


def archive_now(archive: Archive | None) -> Any:
    """``storage.archive``: now, and not only at its hour."""

    def act(args: Mapping[str, Any], read: Reader) -> Acted:
        del args
        if archive is None:
            fix = "set storage.s3.archive_after, and storage.s3.bucket with its credentials"
            raise BadRequest("no archive is configured", fix=fix)
        due = archive.due(read, 1_000_000)
        answer: dict[str, Json] = {
            "objects": len(due),
            "size_bytes": sum(copy.size for copy in due),
            "class": archive.storage_class,
        }
        return Acted(answer, then=(JobSpec(ARCHIVE, S3),))

    return act

"""Old recordings in S3 get a cheaper storage class (``storage.s3.archive_after``), each by a job of its own.

Nothing is deleted; what lies there is looked at before and after. A service that keeps no classes, or knows none of
that name, refuses once for each object, and is asked again when another class is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from daemon.contract import Act, Acted, Effect, Event, Job, JobSpec, Json, Outcome, Planned, Reader, Receipt
from daemon.errors import BadRequest, Unacceptable
from handlers import records
from handlers.records import CopyClassed
from handlers.storage.handler import S3
from handlers.storage.performers import Stores, Sure

ARCHIVE, CLASSIFY = "archive", "classify"
CLASS = "storage.class"
CLASSES = "s3.class"
"""A destination of its own: a service that denies this takes copies all the same."""

MOST = 50_000
"""Recordings that one night adds jobs for; the next takes what is left."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Which recordings in S3 get which class: those of ``bucket`` of ``smallest`` bytes or more whose call ended
    ``after`` ago."""

    bucket: str
    after: timedelta
    storage_class: str
    smallest: int

    def wanted(self, read: Reader) -> records.Unclassed:
        """Those whose time has come, and that were not refused it."""
        classes = (self.storage_class, refused(self.storage_class))
        return records.Unclassed(self.bucket, classes, read.now - self.after, self.smallest)


def refused(storage_class: str) -> str:
    """What the ledger says of an object that could not be given this class."""
    return f"{records.CLASS_REFUSED}{storage_class}"


@dataclass(frozen=True, slots=True)
class ArchiveHandler:
    """Finds whose time has come. The key is S3."""

    archive: Archive | None
    kinds = (ARCHIVE,)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """A job for each, the oldest first."""
        del job
        found = () if self.archive is None else records.copies_to_class(read, self.archive.wanted(read), MOST)
        return Planned(then=tuple(JobSpec(CLASSIFY, str(item)) for item in found))


@dataclass(frozen=True, slots=True)
class ClassifyHandler:
    """Decides about one recording's object. The key is the item's id."""

    archive: Archive | None
    kinds = (CLASSIFY,)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """Give it its class, unless it has it or something is still to be put there."""
        if self.archive is None:
            return Planned()
        wanted = self.archive.wanted(read)
        copies = records.copies_of_item(read, int(job.key))
        found = [copy for copy in copies if (copy.place, copy.bucket, copy.state) == ("s3", wanted.bucket, "verified")]
        due = [copy for copy in found if copy.storage_class not in wanted.classes]
        return Planned(effects=tuple(_effect(copy, self.archive.storage_class) for copy in due))


def _effect(copy: records.Copy, storage_class: str) -> Effect:
    payload: dict[str, Json] = {
        "bucket": copy.bucket,
        "key": copy.key,
        "item": copy.item,
        "sha256": copy.sha256,
        "size": copy.size,
        "class": storage_class,
        "as_of": copy.changed_at.isoformat(),  # put anew, or given another class since, it is another effect
    }
    return Effect.of(CLASS, str(copy.item), CLASSES, payload)


class ClassPerformer(Sure):
    """Gives one object its class."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def perform(self, effect: Effect, /) -> Receipt:
        """Have it done; what S3 will not do is put down, and not asked again."""
        payload = cast("dict[str, Any]", effect.payload)
        s3, wanted = self._stores.s3, payload["class"]
        if s3 is None or s3.bucket != payload["bucket"]:
            return Receipt({"class": None})  # another store is in use since
        fields = {"item": payload["item"], "size_bytes": payload["size"], "dest": S3}
        try:
            s3.change_class(payload["key"], wanted, payload["sha256"], payload["size"])
        except Unacceptable as error:
            fact = CopyClassed(payload["bucket"], payload["key"], refused(wanted))
            fields |= {"reason": error.reason, "fix": "callspool verify  (or name another storage.s3.archive_class)"}
            return Receipt({"class": None}, Event("storage.unarchived", fields, "warning"), (fact,))
        fact = CopyClassed(payload["bucket"], payload["key"], wanted)
        return Receipt({"class": wanted}, Event("storage.archived", {**fields, "reason": wanted}), (fact,))


def archive_now(archive: Archive | None) -> Act:
    """``storage.archive``: now, and not only at its hour."""

    def act(args: Mapping[str, Any], read: Reader) -> Acted:
        del args
        if archive is None:
            fix = "set storage.s3.archive_after, and storage.s3.bucket with its credentials"
            raise BadRequest("no archive is configured", fix=fix)
        objects, size = records.count_to_class(read, archive.wanted(read))
        answer: dict[str, Json] = {"objects": objects, "size_bytes": size, "class": archive.storage_class}
        return Acted(answer, then=(JobSpec(ARCHIVE, S3),))

    return act

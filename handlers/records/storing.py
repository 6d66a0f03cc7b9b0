"""What becomes of copies in storage: facts that write the storage room's tables."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.contract import Fields, Tx
from daemon.errors import TakenMeanwhile
from handlers.records.copies import Place, Placed
from handlers.records.rows import dumps, micros

_KEY = ("place", "bucket", "key")


@dataclass(frozen=True, slots=True)
class StorageNamed:
    """From here on the call is called this in storage."""

    subject: int
    name: str
    day: str

    def write(self, tx: Tx) -> None:
        """Put it down once; stated again, the first words stand."""
        tx.execute(
            "INSERT INTO storage_name (subject_id, name, day) VALUES (?, ?, ?) ON CONFLICT (subject_id) DO NOTHING",
            (self.subject, self.name, self.day),
        )


@dataclass(frozen=True, slots=True)
class _Kept(Placed):
    """One object under one key."""

    def _upsert(self, tx: Tx, where: str = "", **more: object) -> int:
        """The key's row says this from here on, unless it stands already and ``where`` does not hold for it. Returns
        how many rows were written."""
        now_us = micros(tx.now)
        columns: dict[str, object] = {
            "place": self.place,
            "bucket": self.bucket,
            "key": self.key,
            "subject_id": self.subject,
            "role": self.role,
            "item_id": self.item,
            "sha256": self.sha256,
            "size": self.size,
            "reason": "",
            "storage_class": "",
            "intended_us": now_us,
            "changed_us": now_us,
            **more,
        }
        kept = (*_KEY, *(("intended_us",) if more["state"] == "verified" else ()))
        changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in kept)
        changed += ", round = round + (sha256 != excluded.sha256 OR state = 'removed')"
        return tx.execute(
            f"INSERT INTO copy ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
            f"ON CONFLICT (place, bucket, key) DO UPDATE SET {changed}{where}",
            tuple(columns.values()),
        )


@dataclass(frozen=True, slots=True)
class CopyIntended(_Kept):
    """It is about to be written there. A copy with this content that is verified already stays so. ``in_place_of`` are
    the subjects whose other content it may take the place of, and nobody else's; None: whoever's."""

    in_place_of: tuple[int, ...] | None = None

    def write(self, tx: Tx) -> None:
        """Put it down before anything is written. Raises TakenMeanwhile where the key is another's."""
        mine = "1" if self.in_place_of is None else f"subject_id IN ({', '.join(map(str, self.in_place_of))})"
        where = (
            " WHERE (state != 'verified' AND sha256 = excluded.sha256) OR state = 'removed' "
            f"OR (sha256 != excluded.sha256 AND {mine})"
        )
        if self._upsert(tx, where, state="intended", proof="", bound_for=None, verified_us=None):
            return
        this = (self.place, self.bucket, self.key, self.sha256)
        if not tx.execute(f"UPDATE copy SET key = key WHERE {_THIS} AND sha256 = ?", this):
            raise TakenMeanwhile("another call's object is to lie under this key")


@dataclass(frozen=True, slots=True)
class CopyVerified(_Kept):
    """It lies there and is what was meant; ``proof`` says how that is known, ``bound_for`` where it goes from there."""

    proof: str
    bound_for: Fields | None = None

    def write(self, tx: Tx) -> None:
        """Put it down."""
        bound = None if self.bound_for is None else dumps(self.bound_for)
        self._upsert(tx, state="verified", proof=self.proof, bound_for=bound, verified_us=micros(tx.now))


def _update(tx: Tx, where: str, args: tuple[object, ...], **columns: object) -> None:
    """Copies that ``where`` names say this from here on."""
    named = "".join(f"{name} = ?, " for name in columns)
    tx.execute(f"UPDATE copy SET {named}changed_us = ? WHERE {where}", (*columns.values(), micros(tx.now), *args))


_THIS = "place = ? AND bucket = ? AND key = ?"
_LOCAL = "place = 'local' AND bucket = '' AND key = ?"


@dataclass(frozen=True, slots=True)
class CopyRemoved:
    """It was let go, or is gone and wanted no more; it is bound for nowhere."""

    place: Place
    bucket: str
    key: str
    reason: str

    def write(self, tx: Tx) -> None:
        """Put it down."""
        where = (self.place, self.bucket, self.key)
        _update(tx, _THIS, where, state="removed", reason=self.reason, bound_for=None)


@dataclass(frozen=True, slots=True)
class CopySuperseded:
    """It was let go where it belonged, for another copy took its place. Wanted there again, it is put anew."""

    place: Place
    bucket: str
    key: str
    reason: str

    def write(self, tx: Tx) -> None:
        """Put it down, and when."""
        where, gone_us = (self.place, self.bucket, self.key), micros(tx.now)
        _update(tx, _THIS, where, state="removed", reason=self.reason, bound_for=None, lost_us=gone_us)


@dataclass(frozen=True, slots=True)
class CopyLost:
    """It was verified there, and is missing now or something else: to be put again."""

    place: Place
    bucket: str
    key: str
    reason: str

    def write(self, tx: Tx) -> None:
        """Put it down: the row says no more than it knows."""
        where = (self.place, self.bucket, self.key)
        lost_us = micros(tx.now)
        _update(tx, _THIS, where, state="intended", proof="", reason=self.reason, bound_for=None, lost_us=lost_us)


@dataclass(frozen=True, slots=True)
class CopyClassed:
    """An object in S3 has this storage class now, or was refused one."""

    bucket: str
    key: str
    storage_class: str

    def write(self, tx: Tx) -> None:
        """Put it down."""
        _update(tx, _THIS, ("s3", self.bucket, self.key), storage_class=self.storage_class)


@dataclass(frozen=True, slots=True)
class CopyGone:
    """It was to move to S3, and is not in the local store any more: what it was to become is to be put another way.

    ``sha256`` is the content that was looked for: a newer version put there meanwhile is not gone.
    """

    key: str
    sha256: str
    reason: str

    def write(self, tx: Tx) -> None:
        """Put it down: it is bound for nowhere, and what is put in its stead is another effect."""
        gone, lost_us = (self.key, self.sha256), micros(tx.now)
        _update(
            tx, f"{_LOCAL} AND sha256 = ?", gone, state="removed", reason=self.reason, bound_for=None, lost_us=lost_us
        )


@dataclass(frozen=True, slots=True)
class Stranded:
    """A copy in the local store cannot go where it is bound for, until a person says so."""

    key: str
    reason: str

    def write(self, tx: Tx) -> None:
        """Put the reason beside it."""
        _update(tx, f"{_LOCAL} AND bound_for IS NOT NULL", (self.key,), reason=self.reason)


@dataclass(frozen=True, slots=True)
class AllUnstranded:
    """A person says: try all of them again."""

    def write(self, tx: Tx) -> None:
        """Take every reason away."""
        _update(tx, "bound_for IS NOT NULL AND reason != ''", (), reason="")


@dataclass(frozen=True, slots=True)
class CopyBound:
    """A copy of the local store is to move to S3."""

    key: str
    bound_for: Fields

    def write(self, tx: Tx) -> None:
        """Put it down."""
        _update(tx, _LOCAL, (self.key,), bound_for=dumps(self.bound_for), reason="")


@dataclass(frozen=True, slots=True)
class RecordingWitnessed:
    """A sidecar that outlived the ledger says that a recording of this content lies in storage."""

    sha256: str

    def write(self, tx: Tx) -> None:
        """Remember it for when its call is stored again."""
        tx.execute("INSERT OR IGNORE INTO witnessed (sha256) VALUES (?)", (self.sha256,))


@dataclass(frozen=True, slots=True)
class MultipartBegun:
    """The service gave an upload in parts this id."""

    bucket: str
    key: str
    upload_id: str

    def write(self, tx: Tx) -> None:
        """Put it down before the first part is sent."""
        tx.execute(
            "INSERT OR REPLACE INTO multipart (bucket, key, upload_id, begun_us) VALUES (?, ?, ?, ?)",
            (self.bucket, self.key, self.upload_id, micros(tx.now)),
        )


@dataclass(frozen=True, slots=True)
class MultipartEnded:
    """It was completed or aborted."""

    bucket: str
    key: str

    def write(self, tx: Tx) -> None:
        """Forget it."""
        tx.execute("DELETE FROM multipart WHERE bucket = ? AND key = ?", (self.bucket, self.key))


@dataclass(frozen=True, slots=True)
class ServiceProbed:
    """What a service was found to do."""

    service: str
    found: Fields

    def write(self, tx: Tx) -> None:
        """The newest finding stands."""
        tx.execute(
            "INSERT OR REPLACE INTO storage_probe (service, found, probed_us) VALUES (?, ?, ?)",
            (self.service, dumps(self.found), micros(tx.now)),
        )

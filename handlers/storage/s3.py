"""Copies in an S3-compatible service.

Order of a put: the bytes are read and held against the ledger's hash; they are sent under a condition that nothing lies
there yet, where the service was found to keep such conditions, else it is asked before; what lies there afterwards is
held against what was meant. The proof is, in this order: a checksum that the service was found to check, an ETag that
is the MD5 of our bytes, or the object read back. An ETag that is something else proves nothing and disproves nothing
(KMS, parts, other makes), so then the object is read back.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from daemon.errors import ContentMoved, Refused, Unacceptable, Unanswered
from handlers.settings import HOURS_TO_READ, S3Storage
from handlers.storage.budget import Budget
from handlers.storage.content import digest_of, read_exactly
from handlers.storage.kept import Kept
from handlers.storage.pace import Pacer
from handlers.storage.service import Preconditioned, Service, Unsupported, Vanished, translated
from handlers.storage.store import Content, Damaged, Described, Found, KeyConflict, KeyMissing, Stored
from handlers.storage.wire import Body

if TYPE_CHECKING:
    from handlers.storage.multipart import Multipart

MEMORY = 32 << 20
"""Bytes of bodies held at once, over all threads."""


LARGEST_COPY, LARGEST_COPY_ELSEWHERE = 5 << 30, 4 << 20
"""Bytes of an object that is copied onto itself: what S3 takes in one request; elsewhere what Ceph keeps in one piece,
since it may lose the others then (tracker 70746)."""


class S3Store:
    """Keys are whole, prefix and all. Safe to use from threads."""

    place = "s3"

    def __init__(self, settings: S3Storage, service: Service, kept: Kept, pacer: Pacer) -> None:
        self._settings, self._service, self._kept, self._pacer = settings, service, kept, pacer
        self._budget = Budget(MEMORY)

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._service.bucket

    @property
    def service(self) -> str:
        """Endpoint and bucket."""
        return self._service.name

    def find(self, key: str) -> Found | None:
        """What a HEAD tells; the hash is the one that was put beside the object."""
        try:
            answer = self._service.call("head_object", Key=key)
        except Vanished:
            return None
        return Found(key, int(answer["ContentLength"]), _metadata(answer).get("sha256"))

    def put(self, key: str, content: Content, described: Described, *, over: bool = False) -> Stored:
        """In one piece, or in parts where it is larger than ``part_size``. What was damaged there is overwritten."""
        try:
            return self._put(key, content, described, over=over)
        except Damaged:
            return self._put(key, content, described, over=True)

    def _put(self, key: str, content: Content, described: Described, *, over: bool) -> Stored:
        if described.size > self._settings.part_size:
            return self.in_parts_of(self._settings.part_size).put(key, content, described, over=over)
        with self._budget.of(described.size), content.open() as file:
            data = read_exactly(file, described.size)
            if hashlib.sha256(data).hexdigest() != described.sha256:
                raise ContentMoved("the file changed after it was hashed")
            return self._put_whole(key, data, described, over=over)

    def about(self, key: str) -> Mapping[str, str]:
        """The metadata that the object bears; nothing where the service keeps none."""
        return _metadata(self.head(key))

    def begin(self, key: str, described: Described) -> str:
        """The id of an upload in parts for this key: one that was begun is taken up, others of the key are aborted."""
        from handlers.storage.multipart import begun

        found = begun(self._service, key)
        for upload_id in found[1:]:
            self.abort(key, upload_id)
        if found:
            return found[0]
        asked = {"Key": key, **self.headers(described), **self.options(described)}
        answer = self.leniently("create_multipart_upload", asked)
        return str(answer["UploadId"])

    def abort(self, key: str, upload_id: str) -> None:
        """Give it up with all its parts."""
        try:
            self._service.call("abort_multipart_upload", Key=key, UploadId=upload_id)
        except Vanished:
            return

    @contextmanager
    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[BinaryIO]:
        """A stream, or a range of it."""
        asked: dict[str, Any] = {"Key": key}
        if start or length is not None:
            last = "" if length is None else str(start + length - 1)
            asked["Range"] = f"bytes={start}-{last}"
        try:
            answer = self._service.call("get_object", **asked)
        except Vanished:
            raise KeyMissing("it is not in S3", http_status=404) from None
        body = answer["Body"]
        try:
            yield body
        except Exception as error:
            raise translated(error) from error
        finally:
            body.close()

    def change_class(self, key: str, storage_class: str, sha256: str, size: int) -> None:
        """Give an object another storage class: the service copies it onto itself, with its metadata and tags. Raises
        Unacceptable where another object lies there, or it cannot have that class."""
        before = self.head(key)
        if int(before["ContentLength"]) != size or _metadata(before).get("sha256", sha256) != sha256:
            raise KeyConflict("another object lies there")
        if _class(before) == storage_class:
            return
        if _class(before) in HOURS_TO_READ:
            raise Unacceptable(f"it is in {_class(before)} already, where nobody reads it")
        largest = LARGEST_COPY_ELSEWHERE if self._service.custom else LARGEST_COPY
        if size > largest:
            raise Unacceptable(f"it is larger than the {largest >> 20} MB that are safely copied onto themselves there")
        self._copy_onto_itself(key, storage_class, before)
        after = self.head(key)
        if int(after["ContentLength"]) != size:
            raise Refused("S3 has the object in another size now")
        if _class(after) != storage_class:
            raise Unacceptable("the service says yes to a storage class and keeps the one it had")

    def _copy_onto_itself(self, key: str, storage_class: str, before: Mapping[str, Any]) -> None:
        asked = {
            "Key": key,
            "CopySource": {"Bucket": self.bucket, "Key": key},
            "CopySourceIfMatch": before["ETag"],
            "MetadataDirective": "COPY",
            "StorageClass": storage_class,
            **self._encryption(),
        }
        self._service.call("copy_object", **asked)

    def delete(self, key: str) -> None:
        """Delete it."""
        self._service.call("delete_object", Key=key)

    def erase(self, key: str) -> None:
        """Delete every version of it and every mark of a deletion, and give up uploads in parts that were begun."""
        for version in self._versions(key):
            self._service.call("delete_object", Key=key, VersionId=version)
        self.delete(key)
        for version in self._versions(key):  # the mark of that deletion
            self._service.call("delete_object", Key=key, VersionId=version)
        for upload in self._service.call("list_multipart_uploads", Prefix=key).get("Uploads", ()):
            if upload["Key"] == key:
                self.abort(key, upload["UploadId"])

    def _versions(self, key: str) -> tuple[str, ...]:
        """The versions and delete markers of exactly this key; none where the service knows no versions."""
        try:
            answer = self._service.call("list_object_versions", Prefix=key)
        except Unsupported:
            return ()
        found = (*answer.get("Versions", ()), *answer.get("DeleteMarkers", ()))
        ours = [one["VersionId"] for one in found if one["Key"] == key]
        return tuple(version for version in ours if version != "null")

    def list(self, prefix: str) -> Iterator[Found]:
        """Page by page."""
        token: str | None = None
        while True:
            asked = {"Prefix": prefix} | ({} if token is None else {"ContinuationToken": token})
            answer = self._service.call("list_objects_v2", **asked)
            for one in answer.get("Contents", ()):
                yield Found(one["Key"], int(one["Size"]))
            token = answer.get("NextContinuationToken")
            if not answer.get("IsTruncated") or token is None:
                return

    def begun(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Page by page; none where the service does not tell."""
        markers: dict[str, str] = {}
        while True:
            try:
                answer = self._service.call("list_multipart_uploads", Prefix=prefix, **markers)
            except (Unsupported, Vanished):
                return
            for one in answer.get("Uploads", ()):
                yield str(one["Key"]), str(one["UploadId"])
            if not answer.get("IsTruncated"):
                return
            markers = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    # ------------------------------------------------------------------------------------------------ for the probe

    def in_parts_of(self, size: int) -> Multipart:
        """What puts in parts of this size."""
        from handlers.storage.multipart import Multipart

        return Multipart(self, size, self._service, self._kept, self._pacer, self._budget)

    def head(self, key: str) -> Mapping[str, Any]:
        """All that a HEAD tells."""
        answer: Mapping[str, Any] = self._service.call("head_object", Key=key)
        return answer

    def tags(self, key: str) -> bool:
        """Whether the object has tags."""
        if not self._settings.tags:
            return False
        try:
            return bool(self._service.call("get_object_tagging", Key=key).get("TagSet"))
        except (Unacceptable, Unanswered):
            return False

    def put_if_absent(self, key: str, data: bytes) -> None:
        """Put under the condition that nothing lies there, whatever is known of the service."""
        self._service.call("put_object", Key=key, Body=Body(data), IfNoneMatch="*")

    def put_claiming(self, key: str, data: bytes, sha256: bytes) -> None:
        """Put with this checksum, right or wrong."""
        self._service.call("put_object", Key=key, Body=Body(data), ChecksumSHA256=_base64(sha256))

    def complete_if_absent(self, key: str) -> None:
        """Complete an upload of one part under the condition that nothing lies there; leaves none behind."""
        upload_id = str(self._service.call("create_multipart_upload", Key=key)["UploadId"])
        try:
            asked: dict[str, Any] = {"Key": key, "UploadId": upload_id}
            etag = self._service.call("upload_part", **asked, PartNumber=1, Body=Body(b"callspool"))["ETag"]
            parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
            self._service.call("complete_multipart_upload", **asked, MultipartUpload=parts, IfNoneMatch="*")
        finally:
            self.abort(key, upload_id)

    # ------------------------------------------------------------------------------------------------ how it is asked

    def headers(self, described: Described) -> dict[str, Any]:
        """What an object says of itself."""
        return {"ContentType": described.content_type, "Metadata": dict(described.metadata)}

    def options(self, described: Described) -> dict[str, Any]:
        """Encryption, class and tags as configured, less what the service was found not to do.

        Encryption with a key of one's own is never left out: a service that refuses it is refused.
        """
        s3, asked = self._settings, self._encryption()
        large = described.kind == "audio" and described.size >= s3.class_from_size
        large = large or described.kind == "probe"
        old = described.age_s >= s3.class_from_age.total_seconds()
        if s3.storage_class and large and old and self._kept.says("class") != "no":
            asked["StorageClass"] = s3.storage_class
        if s3.tags and self._kept.says("tags") != "no":
            from urllib.parse import urlencode

            asked["Tagging"] = urlencode(s3.tags)
        return asked

    def _encryption(self) -> dict[str, Any]:
        s3 = self._settings
        if s3.encryption == "aws:kms":
            return {"ServerSideEncryption": "aws:kms", **({"SSEKMSKeyId": s3.kms_key_id} if s3.kms_key_id else {})}
        plain = s3.encryption == "none" or self._kept.says("encryption") == "no"
        return {} if plain else {"ServerSideEncryption": "AES256"}

    def checks(self, sha256: str, md5: bytes) -> dict[str, str]:
        """What lets the service see a byte that was flipped on the way."""
        if self._checked():
            return {"ChecksumSHA256": _base64(bytes.fromhex(sha256))}
        return {"ContentMD5": _base64(md5)}

    def _checked(self) -> bool:
        """Whether SHA-256 goes along: as configured; by itself at AWS, and where it was found to be checked."""
        if self._settings.checksums != "auto":
            return self._settings.checksums == "on"
        return not self._service.custom or self._kept.says("checksums") == "yes"

    def leniently(self, operation: str, asked: dict[str, Any]) -> Any:
        """Ask; where the service refuses what was asked beside (a 400 or 501), ask without the one that it refuses.

        What it refused is remembered. Encryption with a key of one's own, and a condition, are not dropped here.
        """
        while True:
            try:
                return self._service.call(operation, **asked)
            except Unacceptable as error:
                if not (type(error) is Unsupported or (type(error) is Unacceptable and error.http_status == 400)):
                    raise
                if not self._drop(asked):
                    raise

    def _drop(self, asked: dict[str, Any]) -> bool:
        """Leave out one thing that the service may not do; whether there was one left."""
        for name, question in (
            ("StorageClass", "class"),
            ("Tagging", "tags"),
            ("ChecksumSHA256", "checksums"),
            ("IfNoneMatch", "conditional"),
            ("ServerSideEncryption", "encryption"),
        ):
            kept = self._kept.says(question) == "yes"
            told = name == "ChecksumSHA256" and self._settings.checksums == "on"
            if name in asked and not kept and not told and asked[name] != "aws:kms":
                del asked[name]
                self._kept.learn(question, "no")
                return True
        return False

    # ------------------------------------------------------------------------------------------------ one piece

    def _put_whole(self, key: str, data: bytes, described: Described, *, over: bool) -> Stored:
        conditional = not over and self._kept.says("conditional") in ("yes", "unknown")
        if not over and self._kept.says("conditional") != "yes":
            standing = self.standing(key, described)
            if standing is not None:
                return standing
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        asked = {
            "Key": key,
            "Body": Body(data, described.sha256),
            **self.headers(described),
            **self.options(described),
            **self.checks(described.sha256, md5),
        }
        if conditional:
            asked["IfNoneMatch"] = "*"
        self._pacer.wait(len(data))
        try:
            answer = self.leniently("put_object", asked)
        except Preconditioned:
            standing = self.standing(key, described)
            if standing is None:
                raise Refused("S3 says that something lies there, and then that nothing does") from None
            return standing
        proof = self._proof(answer, "ChecksumSHA256" in asked, md5)
        return Stored(proof or self.sure(key, described), fresh=True)

    def _proof(self, answer: Mapping[str, Any], checked: bool, md5: bytes) -> str:
        """What the answer proves; empty where it proves nothing."""
        if checked and self._kept.says("checksums") == "yes":
            return "checksum"
        etag = str(answer.get("ETag", "")).strip('"').lower()
        return "etag" if etag == md5.hex() else ""

    def standing(self, key: str, described: Described) -> Stored | None:
        """What lies under a key, if it is what was meant; None where nothing is there. Raises KeyConflict, Damaged."""
        found = self.find(key)
        if found is None:
            return None
        if found.size != described.size or found.sha256 not in (None, described.sha256):
            raise _other(found, described)
        return Stored(self.read_back(key, described), fresh=False)

    def sure(self, key: str, described: Described) -> str:
        """Read back what was just put; what was damaged on the way there does not stay. Raises KeyConflict, Refused."""
        try:
            return self.read_back(key, described)
        except Damaged:
            self.delete(key)
            raise Refused("S3 stored something else than was sent: deleted, and sent again") from None

    def read_back(self, key: str, described: Described) -> str:
        """Read the object and hold it against what was meant. Raises KeyConflict, Damaged."""
        try:
            with self.open(key) as body:
                digest = digest_of(body)
        except KeyMissing:
            raise Unanswered("S3 took it, and does not have it") from None
        if digest != described.sha256:
            raise _other(self.find(key), described)
        return "read back"


def _other(found: Found | None, described: Described) -> KeyConflict:
    """What is to be said of an object that is not what was meant."""
    if found is not None and found.sha256 == described.sha256:
        return Damaged("what lies in S3 under that key is damaged")
    return KeyConflict("another object lies in S3 under that key")


def _metadata(answer: Mapping[str, Any]) -> dict[str, str]:
    """What an object bears, by names in small letters: some services change them."""
    return {name.lower(): text for name, text in answer.get("Metadata", {}).items()}


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def _class(answer: Mapping[str, Any]) -> str:
    """An object's storage class by its HEAD, which leaves the usual one out."""
    return str(answer.get("StorageClass") or "STANDARD")

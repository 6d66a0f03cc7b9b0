"""Large objects go in parts, and an upload that was cut off goes on where it was.

The upload's id stands in the ledger before its first part is sent. The file is read once, part by part, which proves
its hash; parts that the service has already (by number, size and MD5) are not sent again. Nothing is completed whose
file is not what was hashed.
"""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daemon.errors import ContentMoved, Refused, Unacceptable
from handlers.storage.budget import Budget
from handlers.storage.content import read_into
from handlers.storage.kept import Kept
from handlers.storage.pace import Pacer
from handlers.storage.service import Preconditioned, Service, Unsupported, Vanished
from handlers.storage.store import Content, Described, KeyConflict, Stored
from handlers.storage.wire import BY_MD5, Body

if TYPE_CHECKING:
    from handlers.storage.s3 import S3Store

MOST_PARTS = 10_000
LARGEST_PART = 64 << 20
AT_ONCE = 4
"""Parts of one upload that are under way at once."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part as the service has it. ``etag`` is as it was answered; ``sure`` says that it is the MD5 of our bytes."""

    number: int
    etag: str
    sure: bool
    checksum: str | None = None


class Multipart:
    """One upload in parts after the other; made for each."""

    def __init__(
        self, store: S3Store, part_size: int, service: Service, kept: Kept, pacer: Pacer, budget: Budget
    ) -> None:
        self._store, self._smallest, self._service = store, part_size, service
        self._kept, self._pacer, self._budget = kept, pacer, budget

    def put(self, key: str, content: Content, described: Described, *, over: bool) -> Stored:
        """Send what is missing, complete it, and hold what lies there against what was meant."""
        size = self._part_size(described.size)
        if not over:
            standing = self._store.standing(key, described)
            if standing is not None:
                if described.upload_id is not None:
                    self._store.abort(key, described.upload_id)
                return standing
        upload_id = described.upload_id or self._store.begin(key, described)
        try:
            there = self._there(key, upload_id)
        except Vanished:  # completed by whoever was cut off, or aborted by somebody's rule: begun anew
            upload_id, there = self._store.begin(key, described), {}
        parts = self._send(key, upload_id, content, described, size, there)
        return self._complete(key, upload_id, parts, described, over=over)

    def _part_size(self, size: int) -> int:
        part = self._smallest
        while part * MOST_PARTS < size and part < LARGEST_PART:
            part = min(part * 2, LARGEST_PART)
        if part * MOST_PARTS < size:
            raise Unacceptable("it is larger than S3 takes in parts of 64 MB")
        return part

    def _there(self, key: str, upload_id: str) -> dict[int, tuple[str, int]]:
        """ETag and size of the parts that were sent before."""
        found: dict[int, tuple[str, int]] = {}
        marker = 0
        while True:
            answer = self._service.call("list_parts", Key=key, UploadId=upload_id, PartNumberMarker=marker)
            for part in answer.get("Parts", ()):
                found[int(part["PartNumber"])] = (str(part["ETag"]), int(part["Size"]))
            marker = int(answer.get("NextPartNumberMarker") or 0)
            if not answer.get("IsTruncated") or not marker:
                return found

    def _send(
        self,
        key: str,
        upload_id: str,
        content: Content,
        described: Described,
        size: int,
        there: dict[int, tuple[str, int]],
    ) -> list[Part]:
        """Every part, a few at once; the first failure ends it, and what is there stays for the next try."""
        digest = hashlib.sha256()
        done: list[Part] = []
        with content.open() as file, ThreadPoolExecutor(AT_ONCE, thread_name_prefix="part") as pool:
            under_way: set[Future[Part]] = set()
            left, number = described.size, 0
            try:
                while left:
                    number += 1
                    buffer = self._budget.lend(size)
                    data = memoryview(buffer)[: min(size, left)]
                    try:
                        read_into(file, data)
                    except BaseException:
                        self._budget.take_back(buffer)
                        raise
                    digest.update(data)
                    left -= len(data)
                    sent = pool.submit(self._part, key, upload_id, number, data, there.get(number))
                    sent.add_done_callback(lambda _done, held=buffer: self._budget.take_back(held))  # type: ignore[misc]
                    under_way.add(sent)
                    if len(under_way) >= AT_ONCE:
                        ended, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                        done += [future.result() for future in ended]
                done += [future.result() for future in under_way]
            except BaseException:
                for future in under_way:
                    future.cancel()
                raise
        if digest.hexdigest() != described.sha256:
            self._store.abort(key, upload_id)
            raise ContentMoved("the file changed after it was hashed")
        return sorted(done, key=lambda part: part.number)

    def _part(self, key: str, upload_id: str, number: int, data: memoryview, there: tuple[str, int] | None) -> Part:
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if there is not None and there[1] == len(data) and there[0].strip('"').lower() == md5:
            return Part(number, there[0], sure=True)
        self._pacer.wait(len(data))
        asked: dict[str, Any] = {"Key": key, "UploadId": upload_id, "PartNumber": number, "Body": Body(data, BY_MD5)}
        answer = self._service.call("upload_part", **asked, ContentMD5=_base64(md5))
        return Part(number, str(answer["ETag"]), str(answer["ETag"]).strip('"').lower() == md5)

    def _complete(self, key: str, upload_id: str, parts: list[Part], described: Described, *, over: bool) -> Stored:
        asked: dict[str, Any] = {
            "Key": key,
            "UploadId": upload_id,
            "MultipartUpload": {"Parts": [{"PartNumber": part.number, "ETag": part.etag} for part in parts]},
        }
        if not over and self._kept.says("conditional_multipart") == "yes":
            asked["IfNoneMatch"] = "*"
        try:
            answer = self._ended(asked)
        except (Preconditioned, Vanished, KeyConflict) as error:
            # The answer to an earlier completion may have been lost: then the object is there, and the upload is not.
            standing = self._store.standing(key, described)
            if standing is None:
                raise Refused("S3 knows neither the upload nor the object: begun anew") from error
            self._store.abort(key, upload_id)
            return standing
        told = self._store.head(key)
        metadata = {name.lower(): text for name, text in told.get("Metadata", {}).items()}
        whole = int(told["ContentLength"]) == described.size and metadata.get("sha256") == described.sha256
        etags = {str(one.get("ETag", "")).strip('"').lower() for one in (answer, told)}  # not every make answers both
        if whole and all(part.sure for part in parts) and _etag_of(parts) in etags:
            return Stored("etag of parts", fresh=True)
        return Stored(self._store.sure(key, described), fresh=True)

    def _ended(self, asked: dict[str, Any]) -> Any:
        try:
            return self._service.call("complete_multipart_upload", **asked)
        except Unsupported:
            if asked.pop("IfNoneMatch", None) is None:
                raise
            self._kept.learn("conditional_multipart", "no")
            return self._service.call("complete_multipart_upload", **asked)


def _base64(md5: str) -> str:
    return base64.b64encode(bytes.fromhex(md5)).decode("ascii")


def begun(service: Service, key: str) -> list[str]:
    """The ids of the uploads in parts that were begun for exactly this key, newest first."""
    try:
        answer = service.call("list_multipart_uploads", Prefix=key)
    except (Unsupported, Vanished):
        return []
    found = [one for one in answer.get("Uploads", ()) if one["Key"] == key]
    found.sort(key=lambda one: str(one.get("Initiated", "")), reverse=True)
    return [str(one["UploadId"]) for one in found]


def _etag_of(parts: list[Part]) -> str:
    """What services answer for an object of parts: the MD5 of the parts' MD5s, and how many there are."""
    digests = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"

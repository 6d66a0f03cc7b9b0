"""The three requests that a store makes thousands of times, without the tenth of a second that boto3 thinks about them.

boto3 spends one to two milliseconds of processor time on a request: validating, serialising, hooks, parsing. Here the
headers are put together by hand, botocore's own signer signs them and botocore's own session sends them, so that
proxies, certificates and pools are as everywhere else. For services behind an address of their own alone: AWS itself is
reached by boto3, which knows its addresses, regions and redirects.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from handlers.storage.service import Credentials

_HEADERS: Mapping[str, str] = {
    "ContentType": "Content-Type",
    "ContentMD5": "Content-MD5",
    "IfNoneMatch": "If-None-Match",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "StorageClass": "x-amz-storage-class",
    "Tagging": "x-amz-tagging",
    "ChecksumSHA256": "x-amz-checksum-sha256",
}
"""boto3's names of what is asked, and the headers that ask it."""

_TOLD = {
    "etag": "ETag",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-storage-class": "StorageClass",
}
"""Headers of an answer, and boto3's names of them."""

_METHODS: Mapping[str, str] = {"put_object": "PUT", "upload_part": "PUT", "head_object": "HEAD"}
OFTEN = frozenset(_METHODS)
"""The requests that are made here."""

_META = "x-amz-meta-"
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,60})</Code>")
ERROR_CAP = 4096
"""Bytes of an error's body that are looked at."""


BY_MD5 = "UNSIGNED-PAYLOAD"
"""In place of the body's SHA-256: its Content-MD5 is signed, as every header is, so no third hash of it is made."""


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent, and its SHA-256 in hex where somebody computed it already, or ``BY_MD5``."""

    data: bytes | memoryview
    sha256: str | None = None


class Wire:
    """Signs and sends for one bucket. Safe to use from threads."""

    def __init__(
        self, endpoint_url: str, region: str, who: Credentials, *, timeouts: tuple[float, float], connections: int
    ) -> None:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials as Keys
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        class Signer(S3SigV4Auth):  # type: ignore[misc] # botocore has no types
            def payload(self, request: Any) -> str:
                """The body's hash, which is known."""
                return str(request.context["sha256"])

        self._base = endpoint_url.rstrip("/")
        self._signer = Signer(Keys(who.access_key_id, who.secret_access_key, who.session_token), "s3", region)
        proxies = get_environ_proxies(endpoint_url)
        self._session = URLLib3Session(proxies=proxies, timeout=timeouts, max_pool_connections=connections)
        self._request: Callable[..., Any] = AWSRequest

    def ask(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """One request, by boto3's names; what is used of the answer, by the same. Raises botocore's errors."""
        body = asked.get("Body") or Body(b"")
        url = f"{self._base}/{asked['Bucket']}/{quote(asked['Key'], safe='/~')}"
        if operation == "upload_part":
            url += f"?partNumber={asked['PartNumber']}&uploadId={quote(asked['UploadId'], safe='-_.~')}"
        headers = {_HEADERS[name]: value for name, value in asked.items() if name in _HEADERS}
        headers |= {_META + name: value for name, value in asked.get("Metadata", {}).items()}
        request = self._request(_METHODS[operation], url, headers, body.data)
        request.context["sha256"] = body.sha256 or hashlib.sha256(body.data).hexdigest()
        self._signer.add_auth(request)
        answer = self._session.send(request.prepare())
        if answer.status_code >= 300:
            raise _failed(operation, answer)
        return _told(answer)


def _told(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"Metadata": {}}
    for name, value in answer.headers.items():
        lower = name.lower()
        if lower.startswith(_META):
            found["Metadata"][lower.removeprefix(_META)] = value
        elif lower == "content-length":
            found["ContentLength"] = int(value)
        elif lower in _TOLD:
            found[_TOLD[lower]] = value
    _ = answer.content  # read to its end, so that the connection is used again
    return found


def _failed(operation: str, answer: Any) -> Exception:
    """The error that boto3 would have raised."""
    from botocore.exceptions import ClientError

    said = _CODE.search(answer.content[:ERROR_CAP])
    code = said[1].decode() if said else str(answer.status_code)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    meta = {"HTTPStatusCode": answer.status_code, "HTTPHeaders": headers}
    error: Exception = ClientError({"Error": {"Code": code}, "ResponseMetadata": meta}, operation)
    return error

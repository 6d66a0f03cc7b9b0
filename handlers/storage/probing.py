"""What a service can do is found by asking it, with the very code and headers that deliver.

A few small objects and one in parts are put under ``<prefix>.callspool-probe/`` and deleted again. What is found is
kept in the ledger with its date, and used from then on: which condition to send, which checksum, what to leave out.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from daemon.contract import Effect, Event, Finding, Reader, Receipt
from daemon.errors import DeliveryError, Denied, NotSent, Refused, Unacceptable, Unanswered
from handlers import records
from handlers.records import ServiceProbed
from handlers.settings import StorageSettings
from handlers.storage.content import OfText
from handlers.storage.kept import QUESTIONS, Kept
from handlers.storage.local import LocalStore
from handlers.storage.service import Preconditioned, Unsupported, Vanished
from handlers.storage.store import Described

if TYPE_CHECKING:
    from handlers.storage.s3 import S3Store

_PART = 5 * 2**20
"""The smallest part that S3 takes before the last."""

NO = (Unacceptable, Refused, Unanswered)
"""What counts as no: also an answer of 500 to what a service does not know."""

FOLLOWS: Mapping[str, Mapping[str, str]] = {
    "put": {"yes": "small objects are taken"},
    "metadata": {
        "yes": "each object bears its SHA-256, call and host",
        "no": "objects do not bear their hash: each is read back after it was put",
    },
    "range": {"yes": "parts of an object can be read", "no": "only whole objects can be read"},
    "multipart": {
        "yes": "large files go in parts and can be resumed",
        "no": "files above part_size cannot go there and stay local",
    },
    "conditional": {
        "yes": "an existing object is never overwritten (If-None-Match)",
        "ignored": "it ignores If-None-Match: it is asked before each put instead",
        "no": "it refuses If-None-Match: it is asked before each put instead",
    },
    "conditional_multipart": {
        "yes": "the same for files in parts",
        "ignored": "not for files in parts: it is asked before",
        "no": "not for files in parts: it is asked before",
    },
    "checksums": {
        "yes": "it checks SHA-256, so a flipped byte is refused",
        "ignored": "it does not check SHA-256: ETag, or reading back, is the proof",
        "no": "it refuses SHA-256 headers: they are left out",
    },
    "encryption": {
        "yes": "objects are encrypted there as configured",
        "ignored": "it says yes to encryption and does not show it",
        "no": "it refuses encryption: objects lie there without",
    },
    "tags": {"yes": "tags are kept", "ignored": "it drops tags", "no": "it refuses tags: they are left out"},
    "class": {
        "yes": "the storage class is taken",
        "ignored": "it ignores the storage class",
        "no": "it refuses the storage class: it is left out",
    },
    "delete": {"yes": "objects can be deleted", "no": "objects cannot be deleted: erasing will fail"},
}
"""What follows from each finding, for a person."""

FIXES: Mapping[tuple[str, str], str] = {
    ("encryption", "no"): "set storage.s3.encryption: none, or use a service that encrypts",
    ("encryption", "ignored"): "set storage.s3.encryption: none, or use a service that encrypts",
    ("class", "no"): "unset storage.s3.storage_class",
    ("class", "ignored"): "unset storage.s3.storage_class",
    ("tags", "no"): "set storage.s3.tags: {}",
    ("tags", "ignored"): "set storage.s3.tags: {}",
    ("delete", "no"): "grant s3:DeleteObject",
    ("multipart", "no"): "grant s3:AbortMultipartUpload and s3:ListMultipartUploadParts",
}
"""What mends a finding that is not as configured."""


@dataclass(slots=True)
class Probe:
    """One round of questions. Nothing of it stays in the bucket."""

    store: S3Store
    kept: Kept
    settings: StorageSettings

    def ask(self, round_: str = "") -> dict[str, str]:
        """Every question's finding. Raises NotSent, Throttled or Denied where nothing can be asked.

        A ``round_`` that was cut off before is asked again under its own keys, so that nothing of it stays.
        """
        folder = f"{self.settings.s3.prefix}.callspool-probe/{round_ or secrets.token_hex(8)}"
        keys = [f"{folder}-{name}" for name in ("small", "flipped", "parts")]
        for question in QUESTIONS:
            self.kept.learn(question, "unknown")
        if round_:
            self._cleared(folder, keys)
        try:
            found = self._small(keys[0])
            found["checksums"] = self._checksums(keys[1])
            found.update(self._parts(keys[2]))
        finally:
            deleted = self._deleted(keys)
        return {**found, "delete": deleted}

    def _small(self, key: str) -> dict[str, str]:
        text = "callspool asks what this service can do\n"
        described = _described(text, self.settings)
        self.store.put(key, OfText(text), described)
        told: Any = self.store.head(key)
        metadata = {name.lower(): value for name, value in told.get("Metadata", {}).items()}
        found = {"put": "yes", "metadata": "yes" if metadata.get("sha256") == described.sha256 else "no"}
        found["encryption"] = self._beside(
            "encryption", told.get("ServerSideEncryption"), self.settings.s3.encryption != "none"
        )
        found["class"] = self._beside("class", told.get("StorageClass"), bool(self.settings.s3.storage_class))
        found["tags"] = self._beside("tags", self.store.tags(key), bool(self.settings.s3.tags))
        with self.store.open(key, 10, 4) as body:
            found["range"] = "yes" if body.read() == text.encode()[10:14] else "no"
        found["conditional"] = self._condition(lambda: self.store.put_if_absent(key, b"another"))
        for question, finding in found.items():
            self.kept.learn(question, finding)
        return found

    def _beside(self, question: str, shown: object, asked: bool) -> str:
        if not asked or self.kept.says(question) == "no":
            return "no" if asked else "unknown"
        return "yes" if shown else "ignored"

    def _condition(self, again: Callable[[], None]) -> str:
        try:
            again()
        except Preconditioned:
            return "yes"
        except NO:
            return "no"
        return "ignored"

    def _checksums(self, key: str) -> str:
        """Whether a body that is not what its SHA-256 says is refused, and one that is, is taken."""
        if self.settings.s3.checksums == "off":
            return "unknown"
        data = b"callspool"
        try:
            self.store.put_claiming(key, data, hashlib.sha256(b"something else").digest())
        except NO:
            pass
        else:
            return "ignored"
        try:
            self.store.put_claiming(key, data, hashlib.sha256(data).digest())
        except NO:
            return "no"
        return "yes"

    def _parts(self, key: str) -> dict[str, str]:
        text = "callspool" * (_PART // 9 + 16)
        described = _described(text, self.settings)
        try:
            self.store.in_parts_of(_PART).put(key, OfText(text), described, over=False)
        except NO:
            return {"multipart": "no", "conditional_multipart": "no"}
        again = self._condition(lambda: self.store.complete_if_absent(key))
        return {"multipart": "yes", "conditional_multipart": again}

    def _cleared(self, folder: str, keys: Sequence[str]) -> None:
        for key, upload in list(self.store.begun(folder)):
            self.store.abort(key, upload)
        for key in keys:
            self.store.delete(key)

    def _deleted(self, keys: Sequence[str]) -> str:
        try:
            for key in keys:
                self.store.delete(key)
            return "yes" if self.store.find(keys[0]) is None else "no"
        except (DeliveryError, Vanished):
            return "no"


def _described(text: str, settings: StorageSettings) -> Described:
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    metadata = {"sha256": digest, "role": "probe"}
    return Described(digest, len(data), "text/plain", metadata, "probe", settings.s3.class_from_age.total_seconds())


class AskPerformer:
    """The daemon asks by itself, once for each service and then every month."""

    def __init__(self, store: S3Store | None, kept: Kept, settings: StorageSettings) -> None:
        self._store, self._kept, self._settings = store, kept, settings

    def find(self, _effect: Effect, /) -> Receipt | None:
        """Asking again harms nobody."""
        return None

    def doubt(self, _effect: Effect, /) -> Literal["resend", "hold"]:
        """Again."""
        return "resend"

    def perform(self, effect: Effect, /) -> Receipt:
        """Ask, and keep what was found."""
        assert self._store is not None
        round_ = hashlib.sha256(effect.key.encode()).hexdigest()[:16]
        found = Probe(self._store, self._kept, self._settings).ask(round_)
        lacks = sorted(name for name, finding in found.items() if finding in ("no", "ignored"))
        fields = {"dest": effect.dest, "reason": f"it lacks {', '.join(lacks)}" if lacks else "it does all of it"}
        fact = ServiceProbed(self._store.service, found)
        return Receipt({"found": found}, Event("storage.probed", fields), (fact,))


def check(
    settings: StorageSettings, local: LocalStore, s3: S3Store | None, kept: Kept, read: Reader | None
) -> Iterator[Finding]:
    """The room's lines of ``doctor``."""
    yield local_finding(local)
    if s3 is None:
        yield _no_s3(settings)
        return
    try:
        found = Probe(s3, kept, settings).ask()
    except Denied as error:
        fix = "give storage.s3 credentials that may put, get, list and delete in the bucket"
        yield Finding("storage s3", "fail", f"{s3.service}: {error.reason}; recordings stay local", fix, 21)
    except DeliveryError as error:
        fix = "is the service up, and storage.s3.endpoint_url and bucket right?"
        kind: Literal["warn", "fail"] = "fail" if isinstance(error, (NotSent, Unsupported)) else "warn"
        yield Finding("storage s3", kind, f"{s3.service}: {error.reason}; recordings stay local", fix, 20)
    else:
        known = None if read is None else records.service_found(read, s3.service)
        date = "never before" if known is None else f"last on {known[1]:%Y-%m-%d}"
        keep = ("storage.keep_probe", {"found": found})
        yield Finding("storage s3", "ok", f"{s3.service} answers; asked {date}, and now", keep=keep)
        yield from findings(found)


def findings(found: Mapping[str, str]) -> Iterator[Finding]:
    """A line for each question, with what follows."""
    for question in QUESTIONS:
        finding = found.get(question, "unknown")
        if finding != "unknown":
            fix = FIXES.get((question, finding), "")
            detail = FOLLOWS[question].get(finding, finding)
            yield Finding(f"s3 {question.replace('_multipart', ' parts')}", "warn" if fix else "ok", detail, fix)


def local_finding(local: LocalStore) -> Finding:
    """Whether the local store can be written, and how much it may still take."""
    folder = local.folder
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder) or "/"
    if not os.access(folder, os.W_OK):
        return Finding("storage local", "fail", f"{local.folder} cannot be written", f"chown {os.getuid()} {folder}")
    free = local.free()
    if free < 0:
        fix = "free space there, or lower storage.min_free"
        return Finding("storage local", "fail", f"{local.folder}: less than storage.min_free is left", fix, 22)
    return Finding("storage local", "ok", f"{local.folder}: {free / 2**30:.1f} GB above storage.min_free")


def _no_s3(settings: StorageSettings) -> Finding:
    if settings.backend == "local" or (settings.backend == "auto" and not settings.s3.bucket):
        return Finding("storage s3", "ok", "not configured: everything is kept in the local store")
    if not settings.s3.bucket:
        return Finding(
            "storage s3", "fail", "storage.backend is s3, and no bucket is named", "set storage.s3.bucket", 78
        )
    fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or storage.s3.access_key_id_file and its twin"
    return Finding("storage s3", "warn", "a bucket is named, but no credentials: everything is kept locally", fix)

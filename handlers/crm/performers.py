"""The two requests that deliver a call: the recording, then the call data that carries its URL."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any, BinaryIO, Literal, cast
from urllib.parse import quote

from daemon.contract import Clock, Contents, Effect, Event, Json, Receipt
from daemon.errors import ContentMoved, NotSent, Refused, Unacceptable, Unanswered
from handlers.crm.answer import Answer, document_of, failure, names_call, recording_url_of, without
from handlers.crm.body import personal, timestamp, with_url
from handlers.crm.client import CrmClient
from handlers.records import CallDelivered
from handlers.settings import CrmSettings

UPLOAD = "crm.upload"
CALL = "crm.call"

CONTENT_TYPES: Mapping[str, str] = {
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".mp4": "audio/mp4",
    ".webm": "audio/webm",
    ".flac": "audio/flac",
}
"""By suffix; fixed here, since the system's own table differs from host to host."""

NOT_FOUND, CONFLICT = 404, 409

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, separators of lines and paths, and marks that turn the writing direction."""


class UploadPerformer:
    """Step 1: streams a recording to the CRM, in flat memory however long it is."""

    def __init__(self, settings: CrmSettings, client: CrmClient, contents: Contents, clock: Clock) -> None:
        self._settings, self._client, self._contents, self._clock = settings, client, contents, clock

    def find(self, _effect: Effect, /) -> Receipt | None:
        """The CRM cannot be asked for a recording by anything we know of it."""
        raise Unanswered("uploads cannot be looked up")

    def doubt(self, _effect: Effect, /) -> Literal["resend", "hold"]:
        """Again, under the same key: a second copy of a recording that no call names harms nobody."""
        return "resend"

    def perform(self, effect: Effect, /) -> Receipt:
        """Upload. Raises ContentMoved, before the last byte is sent, where the file is no longer what was hashed."""
        payload = _payload(effect)
        began_s = self._clock.monotonic()
        suffix = os.path.splitext(payload["name"])[1].lower()
        with self._contents.open(payload["item"]) as file:
            answer = self._client.post_file(
                cast("str", self._settings.upload_url),
                effect.key,
                part_name(payload["name"]),
                CONTENT_TYPES.get(suffix, "application/octet-stream"),
                cast("IO[bytes]", AsHashed(file, payload["size"], payload["sha256"])),
            )
        error = failure(answer, self._clock.now())
        if error is not None:
            raise error
        url = recording_url_of(document_of(answer, self._settings.success), payload["size"], answer)
        fields = {
            "dest": effect.dest,
            "http_status": answer.status,
            "elapsed_s": round(self._clock.monotonic() - began_s, 3),
            "size_bytes": payload["size"],
            "sha256": payload["sha256"][:12],
        }
        return Receipt({"url": url, "attempts": effect.sends + 1}, Event("crm.uploaded", fields))


class CallPerformer:
    """Step 2: posts the call data."""

    def __init__(self, settings: CrmSettings, client: CrmClient, clock: Clock) -> None:
        self._settings, self._client, self._clock = settings, client, clock

    def doubt(self, _effect: Effect, /) -> Literal["resend", "hold"]:
        """As the operator chose: only a CRM that knows an id again takes a second post as the same call."""
        return self._settings.in_doubt

    def find(self, effect: Effect, /) -> Receipt | None:
        """Ask the CRM for the call by its id, where it can be asked.

        A call that was there before we sent this one (an update), or may have been, cannot be told from it, so then
        nothing is asked.
        Where the CRM has no usable answer now, that is no reason to send again: NotSent, and it is asked again later.
        """
        template = self._settings.lookup_url
        if not template or _may_be_older(effect):
            raise Unanswered("the CRM cannot be asked for this call")
        began_s = self._clock.monotonic()
        try:
            answer = self._client.get(template.replace("{callId}", quote(_call_id(effect), safe="")))
            if answer.status == NOT_FOUND:
                return None
            error = failure(answer, self._clock.now())
            if error is not None:
                raise error
            document_of(answer, self._settings.success)
        except (Unanswered, Refused, Unacceptable) as error:
            reason = f"the lookup: {error.reason}"
            raise NotSent(reason, http_status=error.http_status, answer=error.answer) from None
        return self._receipt(effect, answer, began_s, size_bytes=0, attempts=effect.sends)

    def perform(self, effect: Effect, /) -> Receipt:
        """Post the call data under its call id.

        A conflict that names our id means that it is there, unless older content may be what is there.
        """
        body, url = _payload(effect)["body"], _url(effect)
        began_s = self._clock.monotonic()
        content = json.dumps(body if url is None else with_url(body, url), separators=(",", ":")).encode("ascii")
        answer = self._client.post_json(cast("str", self._settings.call_data_url), effect.key, content)
        known = answer.status == CONFLICT and names_call(answer, _call_id(effect))
        if not known or _may_be_older(effect):
            error = failure(without(answer, personal(body)), self._clock.now())
            if error is not None:
                raise error
            document_of(answer, self._settings.success)
        return self._receipt(effect, answer, began_s, size_bytes=len(content), attempts=effect.sends + 1)

    def _receipt(self, effect: Effect, answer: Answer, began_s: float, *, size_bytes: int, attempts: int) -> Receipt:
        payload, now, url = _payload(effect), self._clock.now(), _url(effect)
        fields: dict[str, Json] = {
            "dest": effect.dest,
            "http_status": answer.status,
            "elapsed_s": round(self._clock.monotonic() - began_s, 3),
            "size_bytes": size_bytes,
        }
        tries = [attempts, *(cast("int", receipt.data["attempts"]) for receipt in effect.given.values())]
        delivered = CallDelivered(payload["conversation"], now, {**payload["members"], "attempts": max(tries)}, url)
        return Receipt(acceptance(now, url, max(tries)), Event("crm.accepted", fields), (delivered,))


def acceptance(at: datetime, url: str | None, attempts: int) -> dict[str, Json]:
    """What is remembered of an acceptance: when, with which recording, how often the hardest step was tried."""
    return {"accepted_at": timestamp(at), "url": url, "attempts": attempts}


class AsHashed(io.RawIOBase):
    """A file that is read once more and must be what was hashed: ``size`` bytes with this SHA-256.

    The last bytes are handed out only when that is proved, so that a request never carries anything else to its end.
    """

    def __init__(self, file: BinaryIO, size: int, sha256: str) -> None:
        super().__init__()
        self._file, self._size, self._sha256 = file, size, sha256
        self._at = 0
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """To the end, to learn the length, or back to the start, to be read anew."""
        self._at = self._size if whence == os.SEEK_END else offset
        if self._at == 0:
            with _reading():
                self._file.seek(0)
            self._digest = hashlib.sha256()
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes. Raises ContentMoved where they cannot be the ones that were hashed, or cannot be read now."""
        left = self._size - self._at
        if left == 0:
            return b""
        with _reading():
            chunk = self._file.read(left if size < 0 else min(size, left))
        if not chunk:
            raise ContentMoved("the file became shorter while it was sent")
        self._digest.update(chunk)
        self._at += len(chunk)
        if self._at == self._size and self._digest.hexdigest() != self._sha256:
            raise ContentMoved("the file changed while it was sent")
        return chunk


@contextmanager
def _reading() -> Iterator[None]:
    """What the disk or the share says against reading is the file's matter, and tried again: nothing of ours broke."""
    try:
        yield
    except OSError as error:
        raise ContentMoved(f"the file cannot be read ({os.strerror(error.errno or 0)})") from error


def part_name(name: str) -> str:
    """A recording's own name as it can stand in a form on any system: NFC, and nothing that is no letter in a name.

    Quotation marks are left to the form's own encoding.
    """
    text = name.encode("utf-8", "replace").decode("utf-8")
    return _UNSAFE.sub("_", unicodedata.normalize("NFC", text))


def _payload(effect: Effect) -> dict[str, Any]:
    return cast("dict[str, Any]", effect.payload)


def _call_id(effect: Effect) -> str:
    return cast("str", _payload(effect)["body"]["callDetails"]["callId"])


def _may_be_older(effect: Effect) -> bool:
    """Whether what the CRM has under the call's id may be older content than this."""
    return effect.unlearned or bool(_payload(effect)["update"])


def _url(effect: Effect) -> str | None:
    """The recording's URL: out of the receipt of its upload, or known before, or none."""
    payload = _payload(effect)
    if payload["upload"] is None:
        return cast("str | None", payload["url"])
    return cast("str", effect.given[payload["upload"]].data["url"])

"""What compression does to files. The order is what keeps a valid copy at every instant: the copy is encoded under a
temporary name and synced, named beside its source, read back from there and compared; only long after that is the
source removed, and only while the very bytes that were compared still lie under the copy's name."""

from __future__ import annotations

import errno
import os
from typing import Any, Literal, Protocol

from daemon.contract import Contents, Effect, Event, Receipt
from daemon.errors import ContentGone, NotSent, Unacceptable
from handlers import records
from handlers.compress import files
from handlers.compress.verdict import refusal
from handlers.model import AudioUnavailable, AudioUnreadable
from handlers.settings import CompressSettings

ENCODE = "compress.encode"
NAME = "compress.name"
VERIFY = "compress.verify"
DOCUMENT = "compress.document"
REMOVE = "compress.remove"


class Encoders(Protocol):
    """The audio workers; see ``handlers.audio.pool``."""

    def do(self, request: dict[str, Any], source: int, other: int, media_s: float) -> dict[str, Any]:
        """Encode or compare two open files."""
        ...

    def close(self) -> None:
        """Give back the processes."""
        ...


class _Base:
    def __init__(self, settings: CompressSettings, encoders: Encoders, contents: Contents) -> None:
        self._settings, self._encoders, self._contents = settings, encoders, contents

    def find(self, _effect: Effect, /) -> Receipt | None:
        """Doing it again is as good as knowing."""
        return None

    def doubt(self, _effect: Effect, /) -> Literal["resend", "hold"]:
        """Doing it twice changes nothing."""
        return "resend"

    def _do(self, request: dict[str, Any], source: int, other: int, media_s: float) -> dict[str, Any]:
        try:
            return self._encoders.do(request, source, other, media_s)
        except AudioUnavailable as unavailable:
            raise NotSent(str(unavailable)) from unavailable


class EncodePerformer(_Base):
    """Encodes the copy under a temporary name that no watch takes in."""

    def perform(self, effect: Effect, /) -> Receipt:
        """Encode, sync, measure. A copy that would save too little is not made; NotSent where the disk says no."""
        given: Any = effect.payload
        temporary = temporary_of(effect)
        try:
            made = self._encoded(given, temporary)
        except AudioUnreadable as unreadable:
            files.remove(temporary)
            return _left(given, f"it cannot be encoded: {unreadable}")
        except BaseException:
            files.remove(temporary)
            raise
        if made is None or made["size"] > given["largest"]:
            files.remove(temporary)
            return _left(given, "it is small already", given["bitrate"])
        fact = records.CopyMade(
            given["item"],
            given["name"],
            made["sha256"],
            made["size"],
            given["size"],
            given["bitrate"],
            given["source"],
            given["do"],
        )
        return Receipt(made, facts=(fact,))

    def _encoded(self, given: Any, temporary: bytes) -> dict[str, Any] | None:
        """What was made; None where it grew beyond what it may."""
        settings = self._settings
        request = {"do": given["do"], "bitrate": given["bitrate"], "largest": given["size"], "nice": settings.nice}
        request |= {"application": settings.application, "complexity": settings.complexity, "about": given["about"]}
        files.remove(temporary)
        with self._contents.open(given["source"]) as source:
            try:
                fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise files.refused("written", error) from error
            try:
                answer = self._do(request, source.fileno(), fd, given["media_s"])
                if answer.get("errno") == errno.EFBIG:
                    return None
                if "errno" in answer:
                    raise NotSent(f"the copy cannot be written ({os.strerror(answer['errno'])})")
                os.fchmod(fd, os.fstat(source.fileno()).st_mode & 0o777)
                os.fsync(fd)
                size = os.fstat(fd).st_size
            except OSError as error:
                raise files.refused("written", error) from error
            finally:
                os.close(fd)
        return {"samples": answer["samples"], "size": size, "sha256": files.digest(temporary)}


class NamePerformer(_Base):
    """Names the copy beside its source."""

    def find(self, effect: Effect, /) -> Receipt | None:
        """The copy lies there under its name; what is left of the temporary one goes."""
        made = _made(effect)
        if made is None or files.digest(final_of(effect)) != made["sha256"]:
            return None
        files.remove(temporary_of(effect))
        return Receipt({"named": True})

    def perform(self, effect: Effect, /) -> Receipt:
        """Name it, never over another file."""
        made = _made(effect)
        if made is None:
            return Receipt({"named": False})
        if (found := self.find(effect)) is not None:
            return found
        temporary = temporary_of(effect)
        if files.digest(temporary) != made["sha256"]:
            raise Unacceptable("the copy disappeared before it had its name")
        files.name_it(temporary, final_of(effect), made["sha256"])
        return Receipt({"named": True})


class VerifyPerformer(_Base):
    """Reads the copy back from its final path and compares it with its source."""

    def perform(self, effect: Effect, /) -> Receipt:
        """Compare; a copy that is not close enough is removed, if we made it now, and its source stays."""
        given: Any = effect.payload
        made = _made(effect)
        if made is None:
            return Receipt({"verified": False})
        figures, reason = self._compared(given, final_of(effect), made)
        subject = f"r{given['item']}"
        if not reason:
            fields = {"item": subject, "size_bytes": made["size"], "original_bytes": given["size"]}
            event = Event("recording.compressed", {**fields, "figures": figures})
            return Receipt({"verified": True}, event, facts=(records.CopyJudged(given["item"], figures, ""),))
        if "found" not in given and files.digest(final_of(effect)) == made["sha256"]:
            files.remove(final_of(effect))
        fix = f"the original stays; callspool retry {subject}"
        event = Event("compression.refused", {"item": subject, "reason": reason, "fix": fix}, "warning")
        return Receipt({"verified": False}, event, facts=(records.CopyJudged(given["item"], figures, reason),))

    def _compared(self, given: Any, final: bytes, made: Any) -> tuple[dict[str, Any], str]:
        """The figures, rounded for people, and why the copy is refused."""
        if files.digest(final) != made["sha256"]:
            return {}, "the copy is not what was written"
        request = {"do": "compare", "nice": self._settings.nice}
        with self._contents.open(given["source"]) as source, open(final, "rb") as copy:
            try:
                answer = self._do(request, source.fileno(), copy.fileno(), given["media_s"])
            except AudioUnreadable as unreadable:
                return {}, f"it cannot be compared: {unreadable}"
        figures = {name: round(v, 4) if isinstance(v, float) else v for name, v in answer["closeness"].items()}
        return figures, refusal(figures, self._settings.verify)


class DocumentPerformer(_Base):
    """Writes the changed document in the old one's place."""

    def perform(self, effect: Effect, /) -> Receipt:
        """Write it, unless somebody else changed it meanwhile: then the next look decides anew."""
        given: Any = effect.payload
        path = os.path.join(os.fsencode(given["folder"]), os.fsencode(given["name"]))
        found = files.digest(path)
        if found == given["before"]:
            files.replace(path, given["document"].encode("utf-8", "surrogatepass"))
        return Receipt({"written": found == given["before"]})


class RemovePerformer(_Base):
    """Lets the source go, for which a verified copy stands."""

    def find(self, effect: Effect, /) -> Receipt | None:
        """Whether it is gone already."""
        given: Any = effect.payload
        gone = not os.path.lexists(os.path.join(os.fsencode(given["folder"]), os.fsencode(given["original"])))
        return _gone(given) if gone and files.digest(final_of(effect)) == given["sha256"] else None

    def perform(self, effect: Effect, /) -> Receipt:
        """Remove it; raises Unacceptable where the copy is not what was verified, ContentMoved where the source is not
        what was compared."""
        given: Any = effect.payload
        if files.digest(final_of(effect)) != given["sha256"]:
            raise Unacceptable("the verified copy does not lie there any more, so the original stays")
        if (found := self.find(effect)) is not None:
            return found
        try:
            path = self._contents.path(given["item"])
        except ContentGone:
            return _gone(given)
        if path == os.path.join(os.fsencode(given["folder"]), os.fsencode(given["original"])):
            files.remove(path)
        return _gone(given)


def temporary_of(effect: Effect) -> bytes:
    """Where the copy is written until it is whole: hidden, so that no watch takes it in."""
    given: Any = effect.payload
    return os.path.join(os.fsencode(given["folder"]), temporary_name(given["item"]).encode())


def temporary_name(item: int) -> str:
    """The name of the temporary copy of an item."""
    return f".callspool-r{item}.opus.part"


def final_of(effect: Effect) -> bytes:
    """The copy's own name, beside its source."""
    given: Any = effect.payload
    return os.path.join(os.fsencode(given["folder"]), os.fsencode(given["name"]))


def _made(effect: Effect) -> Any:
    """What the encoder's receipt says, or who found the copy there; None where no copy was made."""
    if "found" in effect.payload:
        return effect.payload["found"]
    data: Any = effect.given[str(effect.payload["encoded"])].data
    return data if "sha256" in data else None


def _left(given: Any, reason: str, small_for: int = 0) -> Receipt:
    event = Event("recording.uncompressed", {"item": f"r{given['item']}", "reason": reason})
    return Receipt({"left": True}, event, facts=(records.LeftAlone(given["item"], given["size"], reason, small_for),))


def _gone(given: Any) -> Receipt:
    fields = {"item": f"r{given['item']}", "size_bytes": given["size"]}
    event = Event("original.removed", fields)
    return Receipt({"removed": True}, event, facts=(records.OriginalGone(given["item"]),))

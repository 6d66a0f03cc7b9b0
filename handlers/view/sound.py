"""A recording's bytes over HTTP, in whole or in part, from wherever they lie now: the watched folder, the compressed
copy that took their place, the local store, or S3."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Callable, Iterator, Mapping

from fastapi.responses import FileResponse, Response, StreamingResponse

from daemon.contract import Contents, Held, Reader
from daemon.errors import ContentError, DeliveryError
from handlers import records

BLOCK = 1 << 16

Holds = Callable[[Reader, int], Held | None]

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Nowhere(Exception):
    """No place that can be reached holds the recording any more."""


def sound(read: Reader, contents: Contents, holds: Holds, number: int, headers: Mapping[str, str]) -> Response:
    """The answer that serves a recording; ``headers`` are the request's, in lower case. Raises Nowhere."""
    item = records.standing_for(read, number)
    try:
        return FileResponse(os.fsdecode(contents.path(item)))
    except ContentError:
        held = holds(read, item) or holds(read, number)
    if held is None:
        raise Nowhere
    return _streamed(held, headers.get("range"))


def begins(headers: Mapping[str, str]) -> bool:
    """Whether a request hears the beginning: a player asks for many parts, and that is one play."""
    wanted = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    return wanted is None or wanted[1] == "0"


def part(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and length of what a ``Range`` header asks of so many bytes; all of them where it asks nothing that
    can be told (RFC 9110, section 14.2). None where it lies beyond them."""
    wanted = _RANGE.fullmatch((header or "").replace(" ", ""))
    if wanted is None or wanted[1] == wanted[2] == "":
        return 0, size
    if not wanted[1]:
        length = min(size, int(wanted[2]))
        return None if length == 0 else (size - length, length)
    first = int(wanted[1])
    last = min(size - 1, int(wanted[2])) if wanted[2] else size - 1
    if wanted[2] and int(wanted[2]) < first:
        return 0, size
    return None if first >= size else (first, last - first + 1)


def _streamed(held: Held, header: str | None) -> Response:
    asked = part(header, held.size)
    if asked is None:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{held.size}"})
    first, length = asked
    try:
        stream = held.open(first, length)
        source = stream.__enter__()
    except DeliveryError:
        raise Nowhere from None

    def blocks() -> Iterator[bytes]:
        try:
            left = length
            while left and (block := source.read(min(left, BLOCK))):
                left -= len(block)
                yield block
        finally:
            stream.__exit__(None, None, None)

    whole = first == 0 and length == held.size
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(length)}
    if not whole or header:
        headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{held.size}"
    kind = mimetypes.guess_type(held.name)[0] or "application/octet-stream"
    return StreamingResponse(blocks(), 206 if "Content-Range" in headers else 200, headers, media_type=kind)

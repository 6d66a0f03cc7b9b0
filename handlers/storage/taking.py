"""A recording over HTTP, taken as it comes: streamed to disk while it is hashed, in flat memory whatever its size.

It is but another way to drop a file: written beside, fsynced, renamed into the watched folder. From there the ordinary
way goes on.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from typing import IO, Any

from daemon.contract import sync_folder
from handlers.storage.layout import part

FIELD_CAP = 1024
"""Bytes of a form's other fields that are kept."""


class TooLarge(Exception):
    """The file is larger than what is taken."""


class Malformed(Exception):
    """The body is no form with a part named ``file``; the reason is fit to be told."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that lies in the watched folder, safe: ``path`` is absolute, ``sha256`` hex, ``size`` bytes."""

    path: str
    name: str
    conversation: str
    sha256: str
    size: int


@dataclass(slots=True)
class Taking:
    """One form on its way in. ``folder`` is the watched folder of recordings, absolute."""

    folder: str
    boundary: bytes
    limit: int
    fields: dict[str, str] = field(default_factory=dict)
    name: str = ""
    size: int = 0
    _beside: str = ""
    _file: IO[bytes] | None = None
    _digest: Any = field(default_factory=hashlib.sha256)
    _parser: Any = None
    _header: bytes = b""
    _value: bytes = b""
    _current: str | None = None
    _filename: str | None = None
    _body: bytes = b""
    _done: bool = False

    def __post_init__(self) -> None:
        from python_multipart.multipart import MultipartParser

        os.makedirs(self.folder, exist_ok=True)
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._more_header,
            "on_header_value": self._more_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._data,
            "on_part_end": self._end,
        }
        self._parser = MultipartParser(self.boundary, callbacks)

    def feed(self, chunk: bytes) -> None:
        """More of the body. Raises TooLarge, Malformed, OSError."""
        from python_multipart.exceptions import MultipartParseError

        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise Malformed("the body is no multipart form") from error

    def finish(self) -> Taken:
        """The file, renamed into place and safe. Raises Malformed where there was none."""
        if self._file is None or not self._done or self.size == 0:
            raise Malformed("a form with a part named file, which is not empty, is needed")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        sha256 = self._digest.hexdigest()
        given = self.fields.get("conversation_id", "").strip()
        conversation = part(given) if given else f"conv_{sha256[:16]}"
        folder = os.path.join(self.folder, conversation)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, self.name)
        if os.path.lexists(path) and not _holds(path, sha256):
            stem, suffix = os.path.splitext(self.name)
            path = os.path.join(folder, f"{stem}-{sha256[:8]}{suffix}")
        os.rename(self._beside, path)
        for one in (folder, self.folder):
            sync_folder(one)
        return Taken(path, os.path.basename(path), conversation, sha256, self.size)

    def give_up(self) -> None:
        """Leave nothing behind."""
        if self._file is not None:
            self._file.close()
            if os.path.lexists(self._beside):
                os.unlink(self._beside)

    # ------------------------------------------------------------------------------------------------ callbacks

    def _begin(self) -> None:
        self._current = self._filename = None
        self._body = b""

    def _more_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _more_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        from python_multipart.multipart import parse_options_header

        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._current = options.get(b"name", b"").decode("utf-8", "replace")
            filename = options.get(b"filename")
            self._filename = None if filename is None else filename.decode("utf-8", "replace")
        self._header = self._value = b""

    def _open(self) -> None:
        if self._current != "file" or self._file is not None:
            return
        name = part(os.path.basename((self._filename or "recording").replace("\\", "/")))
        self.name = f"audio_{name}" if name.lower().startswith("chunk_") else name
        self._beside = os.path.join(self.folder, f".{secrets.token_hex(8)}.part")
        self._file = open(self._beside, "xb")  # noqa: SIM115 - closed by finish or give_up

    def _data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._current == "file" and self._file is not None and not self._done:
            self.size += len(piece)
            if self.size > self.limit:
                raise TooLarge
            self._digest.update(piece)
            self._file.write(piece)
        elif len(self._body) < FIELD_CAP:
            self._body += piece[:FIELD_CAP]

    def _end(self) -> None:
        if self._current == "file":
            self._done = True
        elif self._current:
            self.fields[self._current] = self._body.decode("utf-8", "replace")


def boundary_of(content_type: str) -> bytes:
    """The form's boundary. Raises Malformed."""
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Malformed("multipart/form-data with a part named file is needed")
    return bytes(boundary)


def _holds(path: str, sha256: str) -> bool:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256

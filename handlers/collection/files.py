"""Writes the collection's files: the live metadata, reports, daily summaries. Beside, fsync, rename, fsync folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from daemon.contract import Effect, Event, Reader, Receipt, sync_folder
from daemon.errors import NotSent, Unacceptable
from handlers.collection.asked import Collection
from handlers.collection.export import as_csv, as_json
from handlers.records import any_mixed

WRITE = "collection.write"
METADATA = "collection.metadata"


class TextPerformer:
    """Writes a small file whose text the effect holds."""

    def find(self, effect: Effect, /) -> Receipt | None:
        """The file, where it holds this text already."""
        path = Path(str(effect.payload["path"]))
        try:
            there = path.read_bytes()
        except FileNotFoundError:
            return None
        return _written(path, _digest(there), len(there)) if there == _text(effect).encode() else None

    def perform(self, effect: Effect, /) -> Receipt:
        """Write it."""
        path = Path(str(effect.payload["path"]))
        return _written(path, *replace_file(path, [_text(effect)]))

    def doubt(self, effect: Effect, /) -> Literal["resend", "hold"]:  # noqa: ARG002
        """Writing it again changes nothing."""
        return "resend"


class MetadataPerformer:
    """Writes ``conversations_metadata`` as JSON or, where its name ends in ``.csv``, as a table, out of the ledger."""

    def __init__(self, collection: Collection, view: Callable[[], AbstractContextManager[Reader]]) -> None:
        self._collection, self._view = collection, view

    def find(self, effect: Effect, /) -> Receipt | None:  # noqa: ARG002
        """Never known: it is written again."""
        return None

    def perform(self, effect: Effect, /) -> Receipt:
        """Write everything that counts now."""
        path = Path(str(effect.payload["path"]))
        with self._view() as read:
            documents = map(self._collection.document, self._collection.conversations(read))
            table = path.suffix.lower() == ".csv"
            pieces = as_csv(documents, mixed=any_mixed(read)) if table else as_json(documents)
            return _written(path, *replace_file(path, pieces))

    def doubt(self, effect: Effect, /) -> Literal["resend", "hold"]:  # noqa: ARG002
        """Writing it again changes nothing."""
        return "resend"


def replace_file(path: Path, pieces: Iterable[str]) -> tuple[str, int]:
    """Put a whole new file in place of an old one, whose mode it keeps. Raises NotSent, Unacceptable.

    Returns the first 12 hex digits of its SHA-256, and its bytes, without reading it again.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    digest, size = hashlib.sha256(), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else None
        with beside.open("wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            for piece in map(str.encode, pieces):
                digest.update(piece)
                size += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise Unacceptable(f"{path.name} cannot be written: {error.strerror}") from error
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise NotSent(f"{path.name} was not written: {error.strerror}") from error
    return digest.hexdigest()[:12], size


def _text(effect: Effect) -> str:
    return str(effect.payload["text"])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _written(path: Path, digest: str, size: int) -> Receipt:
    event = Event("collection.written", {"path": path.name, "sha256": digest, "size_bytes": size})
    return Receipt({"path": str(path), "sha256": digest}, event)

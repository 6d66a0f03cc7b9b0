"""The JSON that speaks of a recording, once it is compressed: the document beside it and the master index (formats,
section 8). Everything else in it stays, in its order. Names in it are names only: such a path is never opened."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from typing import Any

LARGEST = 8 << 20
"""Bytes of a document that is looked at; real ones have some hundred."""

LISTS = ("recordings", "files", "entries", "items")
"""Where an index keeps its entries, if it is no list itself."""


class NoIndex(Exception):
    """A file that is no index."""


@dataclass(frozen=True, slots=True)
class Change:
    """One recording's: base names, ``path`` relative to the watched folder, bytes, and when it was verified."""

    original_name: str
    copy_name: str
    original_size: int
    size: int
    at: datetime
    path: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """What is said of a compressed recording."""
        return {
            "compressed": True,
            "original_size": self.original_size,
            "compressed_size": self.size,
            "compression_date": self.at.isoformat(),
            "compression_ratio": round(self.size / self.original_size, 4),
        }


def rewritten(raw: bytes, change: Change) -> bytes | None:
    """The document with what the compression adds; None where it is no JSON object, or says all of it already."""
    document = _read(raw)
    if not isinstance(document, dict):
        return None
    before = json.dumps(document, ensure_ascii=False)
    document |= change.fields
    _follow(document.get("chunks"), change)
    return None if json.dumps(document, ensure_ascii=False) == before else _written(document, raw)


def indexed(raw: bytes, change: Change) -> bytes | None:
    """The index with every entry that names the original naming the copy, and saying what was saved; an entry is added
    where none did. None where it says all of it already. Raises NoIndex where it is neither list nor object.
    """
    index: Any = {LISTS[0]: []} if not raw.strip() else _read(raw)
    if not isinstance(index, dict | list):
        raise NoIndex("it is no JSON list or object")
    before = json.dumps(index, ensure_ascii=False)
    if not _named(index, change):
        entry = {"file": os.path.join(os.path.dirname(change.path), change.copy_name)}
        _entries(index).append({**entry, "original_file": change.path or change.original_name, **change.fields})
    after = json.dumps(index, ensure_ascii=False)
    return None if after == before and raw.strip() else _written(index, raw or b"{\n  ")


def without(raw: bytes, names: frozenset[str]) -> bytes | None:
    """The index without the entries that name one of these files; None where none does, or it is no index."""
    index = _read(raw)
    if not isinstance(index, dict | list):
        return None
    before = json.dumps(index, ensure_ascii=False)
    index = _purged(index, names)
    return None if json.dumps(index, ensure_ascii=False) == before else _written(index, raw)


def _read(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        return None


def _written(document: Any, raw: bytes) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=_indent(raw)).encode("utf-8", "surrogatepass")


def _follow(chunks: Any, change: Change) -> None:
    """Let the names of this recording's chunks follow: its own, and those that begin with its stem or lie in a folder
    of that name. Other files' stay."""
    stem, suffix = os.path.splitext(change.original_name)
    new = os.path.splitext(change.copy_name)[1]
    for chunk in chunks if isinstance(chunks, list) else ():
        named = chunk.get("file") if isinstance(chunk, dict) else None
        if not isinstance(named, str):
            continue
        *folders, last = named.split("/")
        if last == change.original_name:
            chunk["file"] = named[: -len(last)] + change.copy_name
        elif (
            suffix
            and last.endswith(suffix)
            and (last.startswith((f"{stem}_", f"{stem}-", f"{stem}.")) or stem in folders)
        ):
            chunk["file"] = named[: -len(suffix)] + new


def _is_meant(named: str, name: str, change: Change) -> bool:
    """Whether a path in the index is this file's: its base name alone, or as much of its path as is there."""
    path = os.path.join(os.path.dirname(change.path), name)
    return named in (name, path) or named.endswith(f"/{path}") or f"/{path}".endswith(f"/{named}")


def _named(node: Any, change: Change) -> bool:
    """Change what names the original, at any depth; whether anything names it or its copy."""
    if isinstance(node, list):
        found = [_in_list(node, place, change) for place in range(len(node))]
        return any(found)
    if not isinstance(node, dict):
        return False
    mine = other = False
    for key, value in list(node.items()):
        if key == "chunks":
            continue
        if isinstance(value, str) and (renamed := _renamed(value, change)) is not None:
            mine, node[key] = True, node[key] if key == "original_file" else renamed
        elif (moved := _renamed(key, change)) is not None and isinstance(value, dict):
            _rekey(node, key, moved)
            node[moved] |= change.fields
            other = True
        else:
            other = _named(value, change) or other
    if mine:
        node |= change.fields
        _follow(node.get("chunks"), change)
    return mine or other


def _in_list(node: list[Any], place: int, change: Change) -> bool:
    value = node[place]
    if not isinstance(value, str):
        return _named(value, change)
    renamed = _renamed(value, change)
    if renamed is not None:
        node[place] = renamed
    return renamed is not None


def _renamed(named: str, change: Change) -> str | None:
    """The name of the copy in place of the original's, as it is where it names the copy; None for other files'."""
    if _is_meant(named, change.copy_name, change):
        return named
    if _is_meant(named, change.original_name, change):
        return named[: len(named) - len(change.original_name)] + change.copy_name
    return None


def _rekey(node: dict[str, Any], old: str, new: str) -> None:
    """Rename a key and keep the order."""
    items = [(new if key == old else key, value) for key, value in node.items()]
    node.clear()
    node.update(items)


def _entries(index: Any) -> list[Any]:
    """Where an entry is added."""
    if isinstance(index, list):
        return index
    for name in LISTS:
        if isinstance(index.get(name), list):
            found: list[Any] = index[name]
            return found
    added: list[Any] = []
    index[LISTS[0]] = added
    return added


def _purged(node: Any, names: frozenset[str]) -> Any:
    """The same without what names one of the files."""
    if isinstance(node, list):
        return [_purged(value, names) for value in node if not _names_one(value, names)]
    if isinstance(node, dict):
        return {
            key: _purged(value, names)
            for key, value in node.items()
            if key.rpartition("/")[2] not in names and not _names_one(value, names)
        }
    return node


def _names_one(value: Any, names: frozenset[str]) -> bool:
    said = value.values() if isinstance(value, dict) else (value,)
    return any(isinstance(word, str) and word.rpartition("/")[2] in names for word in said)


def _indent(raw: bytes) -> int | None:
    """How the document was laid out: the spaces before its first key; None where it is on one line."""
    second = raw.split(b"\n", 2)[1:2]
    return max(1, len(second[0]) - len(second[0].lstrip(b" "))) if second and second[0].strip() else None

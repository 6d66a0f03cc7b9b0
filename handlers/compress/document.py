"""The JSON beside a recording, once it is compressed: formats, section 8. Everything else in it stays, in its order."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any

LARGEST = 8 << 20
"""Bytes of a document that is looked at; real ones have some hundred."""


def rewritten(
    raw: bytes, *, original_name: str, copy_name: str, original_size: int, size: int, at: datetime
) -> bytes | None:
    """The document with what the compression adds; None where it is no JSON object, or says all of it already."""
    try:
        document = json.loads(raw.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    before = json.dumps(document, ensure_ascii=False)
    document |= {
        "compressed": True,
        "original_size": original_size,
        "compressed_size": size,
        "compression_date": at.isoformat(),
        "compression_ratio": round(size / original_size, 4),
    }
    _follow(document.get("chunks"), original_name, copy_name)
    if json.dumps(document, ensure_ascii=False) == before:
        return None
    return json.dumps(document, ensure_ascii=False, indent=_indent(raw)).encode("utf-8", "surrogatepass")


def _follow(chunks: Any, original_name: str, copy_name: str) -> None:
    """Let the names of chunks follow; they are names only, and such a path is never opened."""
    suffix, new = os.path.splitext(original_name)[1], os.path.splitext(copy_name)[1]
    for chunk in chunks if isinstance(chunks, list) else ():
        named = chunk.get("file") if isinstance(chunk, dict) else None
        if not isinstance(named, str):
            continue
        if named.rpartition("/")[2] == original_name:
            chunk["file"] = named[: -len(original_name)] + copy_name
        elif suffix and named.endswith(suffix):
            chunk["file"] = named[: -len(suffix)] + new


def _indent(raw: bytes) -> int | None:
    """How the document was laid out: the spaces before its first key; None where it is on one line."""
    second = raw.split(b"\n", 2)[1:2]
    return max(1, len(second[0]) - len(second[0].lstrip(b" "))) if second and second[0].strip() else None

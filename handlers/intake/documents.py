"""JSON from producers: read tolerantly, refused where it is hostile, never quoted.

Tolerated: a UTF-8 byte order mark, control characters inside strings, escaped lone surrogates (they stay as they are),
keys said twice (the last one counts, as everywhere, and the document is marked). Refused, with the byte and the limit:
more than 64 MiB, nesting deeper than 100, more than a million values, numbers that JSON readers do not agree on (NaN,
Infinity, 1e999, more than 400 digits), bytes that are no UTF-8, anything that is no object.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from typing import Any, BinaryIO

from daemon.errors import CallspoolError

LARGEST_BYTES = 64 << 20
DEEPEST = 100
MOST_VALUES = 1_000_000
LONGEST_NUMBER = 400

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]|-?(?:NaN|Infinity)|-?\d[\d.eE+-]*', re.DOTALL)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class DocumentRefused(CallspoolError):
    """The content is no document to work with; ``reason`` names the byte and the limit and quotes nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object; ``doubled`` where it says a key twice."""

    fields: dict[str, Any]
    doubled: bool = False


class _NumberRefused(ValueError):
    """A number that cannot be passed on."""


def read(file: BinaryIO) -> bytes:
    """The whole content; raises DocumentRefused beyond LARGEST_BYTES."""
    raw = file.read(LARGEST_BYTES + 1)
    if len(raw) > LARGEST_BYTES:
        raise DocumentRefused(f"is larger than the limit of {LARGEST_BYTES >> 20} MiB")
    return raw


def parse(raw: bytes) -> Document:
    """The object in ``raw``; raises DocumentRefused and nothing else, whatever the bytes."""
    skipped = len(codecs.BOM_UTF8) if raw.startswith(codecs.BOM_UTF8) else 0
    _bounded(raw)
    text = _text(raw, skipped)
    doubled = False

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal doubled
        fields = dict(found)
        doubled = doubled or len(fields) < len(found)
        return fields

    try:
        value = json.loads(
            text,
            strict=False,
            object_pairs_hook=pairs,
            parse_int=_integer,
            parse_float=_real,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        at = skipped + len(text[: error.pos].encode(errors="surrogatepass"))
        raise DocumentRefused(f"is not JSON (byte {at})") from None
    except _NumberRefused:
        raise DocumentRefused(f"holds a number that JSON does not know (byte {_odd_number(raw)})") from None
    if not isinstance(value, dict):
        raise DocumentRefused(f"is not a JSON object (byte {skipped})")
    return Document(value, doubled)


def _text(raw: bytes, skipped: int) -> str:
    if raw.startswith(_UTF16):
        raise DocumentRefused("is UTF-16 where UTF-8 is expected (byte 0)")
    try:
        return raw[skipped:].decode()
    except UnicodeDecodeError as error:
        raise DocumentRefused(f"is not UTF-8 (byte {skipped + error.start})") from None


def _bounded(raw: bytes) -> None:
    """Refuse depth and number of values before anything is built. Counting bytes bounds both, for small files."""
    opened = raw.count(b"[") + raw.count(b"{")
    if opened <= DEEPEST and opened + raw.count(b",") < MOST_VALUES:
        return
    depth = values = 0
    for token in _TOKEN.finditer(raw):
        mark = token[0][:1]
        if mark in b"[{":
            depth += 1
            values += 1
        elif mark in b"]}":
            depth -= 1
        elif mark == b",":
            values += 1
        if depth > DEEPEST:
            raise DocumentRefused(f"is nested deeper than the limit of {DEEPEST} (byte {token.start()})")
        if values > MOST_VALUES:
            raise DocumentRefused(f"holds more than the limit of {MOST_VALUES} values (byte {token.start()})")


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise _NumberRefused
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if len(digits) > LONGEST_NUMBER or value in {float("inf"), float("-inf")}:
        raise _NumberRefused
    return value


def _constant(name: str) -> float:
    raise _NumberRefused(name)


def _odd_number(raw: bytes) -> int:
    """The byte at which the first number stands that cannot be passed on."""
    for token in _TOKEN.finditer(raw):
        text = token[0]
        if text[:1] in b'"[]{},':
            continue
        if text.endswith((b"NaN", b"Infinity")) or len(text) > LONGEST_NUMBER or _is_infinite(text):
            return token.start()
    return 0


def _is_infinite(text: bytes) -> bool:
    try:
        return float(text) in {float("inf"), float("-inf")}
    except ValueError:
        return False

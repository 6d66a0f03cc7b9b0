"""Writes ``conversations_metadata`` as JSON or CSV, one conversation at a time: a million pass in constant memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from handlers.collection.figures import columns, row


def as_json(documents: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The pieces of an array, an object a line."""
    before = "[\n"
    for said in documents:
        yield before + json.dumps(said, ensure_ascii=False)
        before = ",\n"
    yield "\n]\n" if before == ",\n" else "[]\n"


def as_csv(documents: Iterable[dict[str, Any]], *, mixed: bool) -> Iterator[str]:
    """The lines of a table, its header first."""
    header = columns(mixed=mixed)
    yield _line(header)
    for said in documents:
        yield _line(row(said, header))


def _line(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()

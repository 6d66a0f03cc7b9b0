"""How files arrive: renamed into place, saved at once, or written slowly by a recorder that holds them open."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

CHUNKS = 12
"""Pieces in which a slow recorder writes: about what a 4 KiB buffer and half a minute of speech give."""


def save(path: Path, content: bytes) -> None:
    """Written in place at once, as transcripts and leads are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def rename_into_place(path: Path, content: bytes) -> None:
    """Written under a temporary name and renamed when it is whole."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


def record_slowly(
    path: Path, content: bytes, seconds: float, *, pause: Callable[[float], object], closing: Callable[[], None]
) -> None:
    """Written in place over ``seconds``, the file open all the while, as a live recorder does.

    ``pause`` sleeps so many seconds, ``closing`` is called when everything is written and the file is still open.
    """
    size = -(-len(content) // CHUNKS)
    with path.open("wb", buffering=0) as file:
        for begin in range(0, len(content), size):
            file.write(content[begin : begin + size])
            pause(seconds / CHUNKS)
        closing()

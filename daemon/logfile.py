"""A log file that rotates itself, for supervisors that rotate none (launchd)."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

LARGEST_BYTES = 10 << 20
KEPT = 5
"""Older files, NAME.1 the newest of them."""


class RotatingFile(io.TextIOBase):
    """Appends whole lines to ``path``; one that has grown to ``largest`` bytes is moved aside before the next write.

    Writes raise OSError as any file's do; the log counts what could not be written.
    """

    def __init__(self, path: Path, *, largest: int = LARGEST_BYTES, kept: int = KEPT) -> None:
        super().__init__()
        self._path, self._largest, self._kept = path, largest, kept
        self._file = self._open()

    def write(self, text: str, /) -> int:
        """Append; the log writes whole lines."""
        if self._file.tell() >= self._largest:
            self._rotate()
        return self._file.write(text)

    def flush(self) -> None:
        """Hand everything to the kernel."""
        self._file.flush()

    def fileno(self) -> int:
        """The descriptor now written to."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._file.close()

    def _open(self) -> io.TextIOWrapper:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        file = open(descriptor, "a", encoding="utf-8")  # noqa: SIM115 - open for as long as the process logs
        file.seek(0, os.SEEK_END)
        return file

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._kept, 0, -1):
            older = self._path if number == 1 else self._aside(number - 1)
            with contextlib.suppress(FileNotFoundError):
                older.replace(self._aside(number))
        self._file = self._open()

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

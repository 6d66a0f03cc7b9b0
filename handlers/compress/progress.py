"""A bar for whoever compresses by hand on a terminal: bytes done, and how long the rest will take."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any, Self

from daemon.contract import Desk
from handlers import records

LOOK_S = 0.5
NONE = 0
"""The number of no item: nothing is left out of the count."""


class Bar:
    """Shown while the block runs, out of what the ledger says; nothing where the output is no terminal."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns: Any = (TextColumn("compressing, {task.description} left"), BarColumn(), DownloadColumn())
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
            task, most = progress.add_task("0", total=None), 0
            while not self._ending.wait(LOOK_S):
                with self._desk.read() as read:
                    items, size = records.compressing(read, NONE)
                most = max(most, size)
                progress.update(task, description=str(items), total=most or None, completed=most - size)

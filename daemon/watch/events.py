"""File events, as hints: they say where to look, and nothing else is believed of them.

watchdog reads the kernel's queue and watches new folders. What it does not tell is noticed from outside: lost events
by the line it logs, a dead thread by asking, folders that could not be watched (it passes over them in silence) by
comparing with the folders the scan met. One observer serves one root, so that a file system that hangs takes no other
root's events with it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

LOGGERS = ("watchdog.observers.inotify_c", "watchdog.observers.inotify")
JOIN_S = 2.0

Hint = Callable[[bytes, bool], None]
"""Called with an absolute path and whether it is a folder's."""


def quiet_watchdog() -> None:
    """Keep watchdog from printing its whole table of watches whenever a folder is registered twice."""
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"watchdog\.")


class Events:
    """The events of one root, from ``start`` until ``stop``.

    ``hint`` and ``lost`` are called from watchdog's threads and must do no more than put something in a queue.
    """

    def __init__(self, path: bytes, hint: Hint, lost: Callable[[], None]) -> None:
        self._path = os.path.realpath(path)  # a watch on a link would watch the link
        self._handler = _Handler(hint)
        self._lost = _Lost(lost, self._path)
        self._observer: BaseObserver | None = None

    @property
    def path(self) -> bytes:
        """The real path that hints begin with."""
        return self._path

    def start(self) -> None:
        """Watch the root and all folders below it; raises OSError where the root itself cannot be watched."""
        quiet_watchdog()
        observer = _observer()
        observer.start()
        try:
            observer.schedule(self._handler, os.fsdecode(self._path), recursive=True, event_filter=_wanted())
        except BaseException:
            _stop(observer)
            raise
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self._lost)
        self._observer = observer

    def stop(self) -> None:
        """Stop watching. Waits a moment only: an observer of a file system that hangs may never end."""
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self._lost)
        if self._observer is not None:
            _stop(self._observer)
            self._observer = None

    def fault(self) -> str | None:
        """Why no more events will come; None while all of watchdog's threads live."""
        observer = self._observer
        if observer is None:
            return "not started"
        if not observer.is_alive():
            return "the observer ended"
        emitters = list(observer.emitters)
        if not emitters or not all(emitter.is_alive() for emitter in emitters):
            return "an emitter ended"
        reader = getattr(observer, "_inotify_fd", None)
        return "the reader of events ended" if isinstance(reader, threading.Thread) and not reader.is_alive() else None

    def unwatched(self, folders: Iterable[bytes]) -> int | None:
        """How many of the root's folders are there and not watched; None where watchdog does not let us see."""
        watched = self._watched()
        if watched is None:
            return None
        paths = (os.path.join(self._path, folder) if folder else self._path for folder in folders)
        return sum(1 for path in paths if path not in watched and os.path.isdir(path))

    def _watched(self) -> frozenset[bytes] | None:
        for emitter in self._observer.emitters if self._observer is not None else ():
            table = getattr(getattr(emitter, "_inotify", None), "_active_callbacks_by_path", None)
            if isinstance(table, dict):
                return frozenset(table.copy())
        return None


class _Handler(FileSystemEventHandler):
    """Turns every event into hints. Never raises: an error here would end watchdog's thread."""

    def __init__(self, hint: Hint) -> None:
        self._hint = hint

    def dispatch(self, event: FileSystemEvent) -> None:
        for path in (event.src_path, event.dest_path):
            if path:
                self._hint(os.fsencode(path), event.is_directory)


class _Lost(logging.Handler):
    """Hears watchdog log that events were lost: it has no other way to say so.

    Both loggers are those of all observers. The line of one that has folders to watch again names its root, the line
    before it does not, so a root counts an overflow when its own name stands there.
    """

    def __init__(self, lost: Callable[[], None], path: bytes) -> None:
        super().__init__(logging.WARNING)
        self._call = lost
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in str(record.msg) and record.args and self._path in tuple(record.args):
            self._call()


def _wanted() -> list[type[FileSystemEvent]] | None:
    """The events asked for: on Linux those that may end a wait, elsewhere all.

    Neither opening nor reading, which our own proofs do, nor every write of a live recorder.
    """
    if not sys.platform.startswith("linux"):
        return None
    return [DirCreatedEvent, DirMovedEvent, FileClosedEvent, FileCreatedEvent, FileDeletedEvent, FileMovedEvent]


def _observer() -> BaseObserver:
    """An observer that does not hold events back.

    watchdog keeps a "moved from" for half a second, and everything behind it, hoping for its "moved to"; producers
    that write a temporary name and rename would be seen that much later. The new name alone is what we need.
    """
    if not sys.platform.startswith("linux"):
        return Observer()
    from watchdog.observers.inotify import InotifyEmitter, InotifyObserver
    from watchdog.observers.inotify_c import InotifyConstants, Mask

    class PromptEmitter(InotifyEmitter):
        def get_event_mask_from_filter(self) -> Mask:
            return Mask(super().get_event_mask_from_filter() & ~InotifyConstants.IN_MOVED_FROM)

    class PromptObserver(InotifyObserver):
        def __init__(self) -> None:
            super().__init__()
            self._emitter_class = PromptEmitter

    return PromptObserver()


def _stop(observer: BaseObserver) -> None:
    """Stop in a thread of its own: joining may hang on a file system that does."""
    thread = threading.Thread(target=_end, args=(observer,), name="watch-end", daemon=True)
    thread.start()
    thread.join(JOIN_S)


def _end(observer: BaseObserver) -> None:
    observer.stop()
    observer.join()

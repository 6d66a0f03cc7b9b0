"""What happens on the disk before the power goes: the whole daemon takes calls, delivers, stores and compresses.

Everything it says is a promise: a line of the log is written after the commit it tells of.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handlers.demo.crm import LoopbackCrm
from tests.powercut.disk import LoggedDisk
from tests.support import audio
from tests.support.calls import FieldCall
from tests.support.process import DaemonProcess, Site

SECONDS = 3
SAMPLES = SECONDS * audio.RATE

SETTINGS = {
    "CALLSPOOL_MATCH__WAIT": "3s",
    "CALLSPOOL_MATCH__LEAD_WAIT": "1s",
    "CALLSPOOL_COMPRESS__TIERS": "[{after: 0s, bitrate: 32k}]",
    "CALLSPOOL_COMPRESS__KEEP_ORIGINAL": "0s",
    "CALLSPOOL_COMPRESS__WORKERS": "1",
    "CALLSPOOL_STORAGE__MIN_FREE": "1MB",
    "CALLSPOOL_LOG__LEVEL": "info",
}

PATIENCE_S = 180.0


@dataclass
class Told:
    """All that was promised, in order: a line of the daemon's log, or path and digest of a file that was dropped."""

    promises: list[dict[str, Any] | tuple[str, str]] = field(default_factory=list)

    def by(self, count: int) -> tuple[Counter[str], dict[str, str]]:
        """Of the first promises: how often each event was told, and the files that were dropped."""
        first = self.promises[:count]
        events = Counter(one["event"] for one in first if isinstance(one, dict))
        return events, dict(one for one in first if isinstance(one, tuple))


def site_on(disk: LoggedDisk, crm: LoopbackCrm) -> Site:
    """The working folder on the disk."""
    return Site(disk.mounted / "calls", CRM_UPLOAD_URL=crm.upload_url, CRM_CALL_DATA_URL=crm.calls_url, **SETTINGS)


def live(disk: LoggedDisk, site: Site, scratch: Path, calls: int) -> Told:
    """Let it all happen once, on a disk that remembers."""
    told = Told()
    with site.daemon() as daemon:
        seen = 0

        def listen() -> None:
            nonlocal seen
            lines = list(daemon.lines[seen:])
            seen += len(lines)
            told.promises += lines
            disk.mark(len(told.promises))

        def until(check: Callable[[], bool], what: str) -> None:
            deadline = time.monotonic() + PATIENCE_S
            while not check():
                assert not daemon.has_ended, f"it ended before {what}: {daemon.lines[-5:]}"
                assert time.monotonic() < deadline, f"never: {what} {daemon.lines[-5:]}"
                listen()
                time.sleep(0.005)
            listen()

        until(lambda: _count(daemon, "daemon.started") == 1, "daemon.started")
        for nth in range(calls):
            for file, at in _files(scratch, nth):
                told.promises.append(_drop(file, site.folder / at, site.folder))
                listen()
            until(lambda nth=nth: _count(daemon, "file.settled") >= 3 * (nth + 1), "it settles")  # type: ignore[misc]
        until(lambda: _count(daemon, "crm.accepted") >= calls, "every call is delivered")
        until(lambda: _count(daemon, "storage.stored") >= calls, "every call is stored")
        until(lambda: _count(daemon, "recording.unmatched") >= calls, "every lone recording is unmatched")
        site.command("compress")
        until(lambda: _count(daemon, "original.removed") >= calls, "every lone recording is compressed")
        until(site.idle, "nothing is open")
        assert daemon.stop() == 0
        listen()
    return told


def _count(daemon: DaemonProcess, event: str) -> int:
    return sum(line["event"] == event for line in daemon.lines)


def _files(scratch: Path, nth: int) -> list[tuple[Path, str]]:
    """A call's files, and a recording of no call, which is to be compressed."""
    site, call = Site(scratch / str(nth)), FieldCall(nth)
    lone = scratch / f"lone-{nth}.wav"
    spoken = audio.talk([(0.4, 1.5), (1.9, 2.8)], SECONDS, rate=audio.RATE, noise_db=-60 + nth)
    audio.encode(lone, spoken, container="wav", codec="pcm_s16le")
    return [
        (call.drop_recording(site), f"recordings/{call.recording_name}"),
        (call.drop_transcript(site), f"conversations/{call.transcript_name}"),
        (lone, f"recordings/{lone.name}"),
    ]


def _drop(file: Path, target: Path, root: Path) -> tuple[str, str]:
    """As a producer does that wants to be sure: synced, renamed, and the folder synced."""
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(file, part)
    for path in (part, target.parent):
        if path != part:
            part.rename(target)
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    return str(target.relative_to(root)), hashlib.sha256(file.read_bytes()).hexdigest()

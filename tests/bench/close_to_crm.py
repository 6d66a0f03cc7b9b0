"""How long from ``close()`` of the last file of a call to the first byte of its upload at the CRM?

Beside it, in the same run and for the same closes, how long until a bare inotify reader knows: a process that does
nothing but read ``IN_CLOSE_WRITE`` and ask for the time. Calls come one at a time, each file written in place through
a small buffer and closed, the transcript first; the daemon runs with an operator's defaults as the files' owner, so
that both proofs (no writer, complete container) are given. All times are of the machine's monotonic clock.

    python -m tests.bench.close_to_crm [--sets 60] [--json]

Wanted: a median under 250 ms, of which 50 ms are the stillness that the proof of no writer asks for.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing as mp
import os
import struct
import time
from multiprocessing.queues import Queue
from pathlib import Path

from handlers.demo.crm import LoopbackCrm
from tests.bench.figures import Recordings, Report, median, options, plain_site, quantile, workshop
from tests.support.calls import FieldCall
from tests.support.process import DaemonProcess, Site

IN_CLOSE_WRITE = 0x00000008
_EVENT = struct.Struct("iIII")

SECONDS = 15.0
"""Length of a recording: 60 kB at 32 kbit/s."""


def read_closes(folder: str, told: Queue[tuple[str, float]]) -> None:
    """Tell, for every file below ``folder`` that a writer closes, its name and when this process knew."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(folder), IN_CLOSE_WRITE) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    told.put(("", time.monotonic()))
    while True:
        events = os.read(fd, 4096)
        now = time.monotonic()
        while events:
            length = _EVENT.unpack_from(events)[3]
            name = events[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
            told.put((os.fsdecode(name), now))
            events = events[_EVENT.size + length :]


def write_and_close(path: Path, content: bytes) -> float:
    """Write in place in pieces; returns the moment before ``close()``."""
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(content), 8192):
            file.write(content[at : at + 8192])
        return time.monotonic()


def one_set(
    call: FieldCall, site: Site, daemon: DaemonProcess, crm: LoopbackCrm, content: bytes, told: Queue[tuple[str, float]]
) -> tuple[float, float]:
    """Seconds from the recording's close to the CRM's first byte, and to the bare reader's."""
    seen = len(daemon.lines)
    write_and_close(site.conversations / call.transcript_name, json.dumps(call.transcript()).encode())
    daemon.wait_until(
        lambda lines: any(e["event"] == "conversation.understood" for e in lines[seen:]), "the transcript"
    )
    time.sleep(0.2)  # whatever follows from the transcript alone is over
    before = len(crm.requests)
    closed = write_and_close(site.recordings / call.recording_name, content)
    crm.wait(lambda books: sum(r.status == 200 and r.step == "call" for r in books.requests[before:]) > 0, 60.0)
    name, knew = told.get(timeout=10)
    assert name == call.recording_name
    return next(r.began_mono for r in crm.requests[before:] if r.step == "upload") - closed, knew - closed


def measure(folder: Path, sets: int) -> list[tuple[float, float]]:
    """The daemon's and the bare reader's seconds for every set."""
    recordings = Recordings(folder, SECONDS)
    with LoopbackCrm() as crm:
        urls = {"CRM_UPLOAD_URL": crm.upload_url, "CRM_CALL_DATA_URL": crm.calls_url}
        site = plain_site(folder / "site", **urls)
        spawn = mp.get_context("spawn")
        told: Queue[tuple[str, float]] = spawn.Queue()
        reader = spawn.Process(target=read_closes, args=(str(site.recordings), told), daemon=True)
        reader.start()
        try:
            told.get(timeout=30)
            with site.daemon() as daemon:
                daemon.wait_for("daemon.started")
                for role in ("recordings", "conversations", "leads"):
                    daemon.wait_for("root.watched", role=role)
                return [
                    one_set(FieldCall(nth, SECONDS), site, daemon, crm, recordings.content(nth), told)
                    for nth in range(sets)
                ]
        finally:
            reader.terminate()
            reader.join()


def main() -> None:
    """Measure and print."""
    parser = options(__doc__ or "")
    parser.add_argument("--sets", type=int, default=60)
    given = parser.parse_args()
    with workshop(given.folder) as folder:
        times = measure(folder, given.sets)[1:]  # the first also starts the audio worker and opens the connection
    ours, theirs = [t[0] * 1000 for t in times], [t[1] * 1000 for t in times]
    report = Report(f"close() of the last file to the CRM, {len(times)} sets", ("ms", "median", "p95", "max"))
    report.row("callspool: first byte at the CRM", median(ours), quantile(ours, 0.95), max(ours))
    report.row("bare inotify: the close is known", median(theirs), quantile(theirs, 0.95), max(theirs))
    report.result("median_ms", median(ours), "under 250")
    report.result("median_above_inotify_ms", median([a - b for a, b in zip(ours, theirs, strict=True)]), "–")
    report.show(as_json=given.json)


if __name__ == "__main__":
    main()

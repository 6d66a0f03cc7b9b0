"""The disk under the ledger is full: nothing is sent that is not written down first, and all goes on by itself."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO

import pytest

from handlers.demo.crm import LoopbackCrm
from tests.flow.steps import WELL, events
from tests.support.calls import FieldCall
from tests.support.process import DaemonProcess, Site, eventually
from tests.support.small_disk import REFUSED, may_mount, small_disk

SMALL_DISK = small_disk("state", "4m")
"""Runs the daemon with a disk of 4 MiB of its own under the state folder."""

pytestmark = pytest.mark.skipif(not may_mount(), reason=REFUSED)


def state_of(daemon: DaemonProcess, site: Site) -> Path:
    """The state folder as the daemon sees it."""
    return Path(f"/proc/{daemon.pid}/root{site.folder.resolve()}/state")


def fill(folder: Path) -> Path:
    """Take all the space there is."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                write_without_end(file, bytes(size))
    return ballast


def write_without_end(file: IO[bytes], block: bytes) -> None:
    while file.write(block):
        pass


def test_on_a_full_disk_nothing_is_sent_and_all_goes_on_when_there_is_space(site: Site, crm: LoopbackCrm) -> None:
    with site.daemon(under=SMALL_DISK) as daemon:
        daemon.wait_for("daemon.started")
        daemon.wait_for("root.watched", role="leads")
        ballast = fill(state_of(daemon, site))
        calls = [FieldCall(nth, seconds=3 + nth) for nth in range(3)]
        for call in calls:
            call.drop(site)
        paused = daemon.wait_for("ledger.paused")
        assert paused["level"] == "error"
        assert crm.requests == []
        ballast.unlink()
        daemon.wait_for("ledger.resumed")
        daemon.wait_until(lambda lines: sum(e["event"] == "crm.accepted" for e in lines) == 3, "all delivered")
        assert daemon.stop() == 0
        assert [line for line in daemon.lines if line["event"] in WELL] == []
    assert (len(crm.uploads), crm.records) == (3, 3)
    assert all(upload.posts == 1 for upload in crm.uploads)
    assert len({tuple(call.keys) for call in crm.calls.values()}) == 3


def test_a_disk_that_fills_between_request_and_receipt_sends_nothing_twice(site: Site, crm: LoopbackCrm) -> None:
    crm.misbehave({"name": "drip", "pause_s": 0.02}, on="upload")  # an answer of five seconds or so
    with site.daemon(under=SMALL_DISK) as daemon:
        daemon.wait_for("daemon.started")
        daemon.wait_for("root.watched", role="leads")
        FieldCall().drop(site)
        crm.wait(lambda books: bool(books.uploads))
        ballast = fill(state_of(daemon, site))
        daemon.wait_for("ledger.paused")
        assert [request.step for request in crm.requests] == ["upload"]  # its receipt cannot be written down
        ballast.unlink()
        daemon.wait_for("crm.accepted")
        assert daemon.stop() == 0
    assert [request.step for request in crm.requests] == ["upload", "call"]
    assert crm.records == 1


def test_told_to_stop_on_a_full_disk_it_leaves_and_loses_nothing(site: Site, crm: LoopbackCrm) -> None:
    with site.daemon(under=SMALL_DISK) as daemon:
        daemon.wait_for("daemon.started")
        fill(state_of(daemon, site))
        FieldCall().drop(site)
        daemon.wait_for("ledger.paused")
        daemon.stop(60.0)
        assert events(daemon, "ledger.resumed") == []
    assert crm.requests == []
    eventually(lambda: len(os.listdir(site.recordings)) == 1, "the sources lie where they were")

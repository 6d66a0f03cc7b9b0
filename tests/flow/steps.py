"""The steps that many stories share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handlers.demo.crm import LoopbackCrm
from handlers.demo.crm_books import Request
from tests.support.process import PATIENCE_S, DaemonProcess, Site, eventually

WELL = ("defect.caught", "daemon.failed", "watch.failed")
"""Lines that no story may hold."""


@contextmanager
def at_work(site: Site, *words: str, under: Sequence[str] = (), **settings: str) -> Iterator[DaemonProcess]:
    """A daemon that has taken up its work; at the end it must be well, and stop well."""
    with site.daemon(*words, under=under, **settings) as daemon:
        daemon.wait_for("daemon.started")
        yield daemon
        assert daemon.stop() == 0
        assert [line for line in daemon.lines if line["event"] in WELL] == []


def delivered(daemon: DaemonProcess, site: Site, count: int = 1) -> None:
    """Wait until so many calls were accepted and nothing is open."""
    daemon.wait_until(lambda lines: sum(line["event"] == "crm.accepted" for line in lines) >= count, "crm.accepted")
    site.rest()


def events(daemon: DaemonProcess, name: str) -> list[dict[str, Any]]:
    return [line for line in daemon.lines if line["event"] == name]


def requests(crm: LoopbackCrm, step: str) -> list[Request]:
    return [request for request in crm.requests if request.step == step]


def file_of(site: Site, path: Path | str) -> dict[str, Any]:
    """What ``explain --json`` tells of one file."""
    files: list[dict[str, Any]] = site.ask("explain", str(path))["files"]
    return files[-1]


def known(site: Site, count: int, timeout_s: float = PATIENCE_S) -> None:
    """Wait until the ledger holds so many finished files."""
    query = "SELECT count(*) FROM file WHERE state = 'known'"
    eventually(lambda: site.rows(query) and site.rows(query)[0][0] == count, f"{count} known files", timeout_s)


def failures(site: Site) -> dict[str, dict[str, Any]]:
    """What needs a person, by subject."""
    return {entry["subject"]: entry for entry in site.ask("failures")["failures"]}

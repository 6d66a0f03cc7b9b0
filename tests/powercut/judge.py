"""What must hold on a disk as a power cut left it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import av

from handlers.demo.crm import LoopbackCrm
from tests.powercut.story import SAMPLES, Told
from tests.support import audio
from tests.support.process import Site, eventually

SAID = ("file.settled", "call.matched", "crm.accepted", "storage.verified", "original.removed", "recording.compressed")
"""Events that a story must have told, or nothing was tried."""


def broken(site: Site, told: Told, promised: int) -> list[str]:
    """What of the first ``promised`` promises the disk does not keep."""
    events, dropped = told.by(promised)
    return [*_ledger(site, events), *_sources(site, dropped), *_copies(site)]


def _ledger(site: Site, events: Counter[str]) -> Iterator[str]:
    """No line that was said is unknown to the journal, and the ledger is whole."""
    path = site.folder / "state" / "ledger.db"
    if not path.exists():
        if events["daemon.started"]:
            yield "there is no ledger"
        return
    with closing(sqlite3.connect(path)) as ledger:
        try:
            whole = ledger.execute("PRAGMA integrity_check").fetchone()[0]
            known = Counter(dict(ledger.execute("SELECT event, count(*) FROM journal GROUP BY event")))
        except sqlite3.Error as error:
            if events["daemon.started"]:
                yield f"the ledger: {error}"
            return
    if whole != "ok":
        yield f"the ledger: {whole}"
    for event in SAID:
        if known[event] < events[event]:
            yield f"{event} was told {events[event]} times, the ledger knows of {known[event]}"


def _sources(site: Site, dropped: dict[str, str]) -> Iterator[str]:
    """Every file lies there as it was dropped, or its whole copy does."""
    for name, sha256 in dropped.items():
        path = site.folder / name
        if path.exists():
            if _digest(path) != sha256:
                yield f"{name} is not what was dropped"
        elif path.suffix != ".wav":
            yield f"{name} is gone"
        elif not path.with_suffix(".opus").exists():
            yield f"{name} is gone, and there is no copy"


def _copies(site: Site) -> Iterator[str]:
    """A copy that has its name is whole; what the ledger calls verified lies in the store."""
    for path in site.recordings.glob("*.opus"):
        try:
            samples = audio.decoded_samples(path)
        except av.FFmpegError as error:
            samples = str(error)  # type: ignore[assignment]
        if samples != SAMPLES:
            yield f"{path.name} has {samples} samples of {SAMPLES}"
    try:
        verified = site.rows("SELECT key, sha256 FROM copy WHERE place = 'local' AND state = 'verified'")
    except sqlite3.DatabaseError:
        return  # what is wrong with the ledger is said already
    for row in verified:
        path = site.folder / "uploads" / row["key"]
        if not path.exists() or _digest(path) != row["sha256"]:
            yield f"the verified copy {path.name} {'differs' if path.exists() else 'is not there'}"


def goes_on(site: Site, told: Told, promised: int, crm: LoopbackCrm) -> list[str]:
    """Switch it on again: everything is made good, and the CRM has no call under two ids or twice."""
    _events, dropped = told.by(promised)
    calls = sum(name.startswith("conversations/") for name in dropped)
    with site.daemon() as daemon:
        daemon.wait_for("daemon.started", 60)
        known = "SELECT count(*) AS n FROM call WHERE delivered_us IS NOT NULL"
        eventually(lambda: site.rows(known) and site.rows(known)[0]["n"] >= calls, f"{calls} calls delivered", 60)
        site.rest(60)
        code = daemon.stop()
    found = [] if code == 0 else [f"exit {code}"]
    found += [f"{line['event']}: {line.get('reason')}" for line in daemon.lines if line["event"] == "daemon.held"]
    verified = json.loads(site.command("verify", "--deep", "100%", "--json").stdout)
    found += [f"verify: {one}" for name in ("missing", "differing", "unreached") for one in verified[name]]
    return found + [f"{call.records} records of one call" for call in crm.calls.values() if call.records != 1]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

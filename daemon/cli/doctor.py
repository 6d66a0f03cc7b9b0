"""``callspool doctor``: every line says how something stands, what follows, and the command that mends it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from daemon.catalogue import printable
from daemon.cli.desk import CommandDesk
from daemon.contract import Finding, Inlet
from daemon.errors import ConfigInvalid, LedgerMissing, OperatorError
from daemon.filesystem import filesystem_of
from daemon.ledger.ledger import copy_age
from daemon.ledger.lock import holder
from daemon.ledger.upkeep import trouble_at_start

if TYPE_CHECKING:
    from daemon.watch.roots import Survey

MIN_FREE_BYTES = 500 * 2**20
"""Below this the disk under the state folder is called too full."""

CLOCK_SLACK = timedelta(seconds=2)
"""How far the file system's clock may stand from ours; coarse stamps (FAT) differ by up to two seconds."""

WAL_RESET_FIXED = (3, 51, 3)
"""The first SQLite release without the WAL-reset corruption, which takes two writing connections at once."""


def examine(desk: CommandDesk) -> list[Finding]:
    """Look at everything; changes nothing but a throw-away file in the state folder, and what rooms want kept of what
    they found."""
    house = desk.house
    source = "the configuration is valid"
    findings = [Finding("configuration", "ok", source)]
    for room in house.rooms:
        for inlet in room.inlets:
            findings += _folder(inlet)
    findings += _ledger(desk)
    findings += _state_folder(desk)
    findings += [_kept(desk, finding) for finding in [*_rooms(desk)]]
    return findings


def _kept(desk: CommandDesk, finding: Finding) -> Finding:
    """Have it kept by the running daemon, or here where the ledger is our own: root must not leave files of its own in
    the service's state folder."""
    if finding.keep is None:
        return finding
    path = desk.paths.ledger
    reason = "there is no ledger yet"
    if path.exists():
        reason = "no daemon runs, and the ledger is another user's"
        if holder(desk.paths.lock) is not None or path.stat().st_uid == os.geteuid():
            try:
                desk.act(*finding.keep)
            except OperatorError as error:
                reason = str(error)
            else:
                return finding
    return replace(finding, detail=f"{finding.detail}; not kept: {reason}")


def _rooms(desk: CommandDesk) -> Iterator[Finding]:
    """What the rooms say, beside a ledger or without one."""
    with ExitStack() as stack:
        try:
            read = stack.enter_context(desk.read())
        except OperatorError:  # missing or damaged, as its own line says
            read = None
        for room in desk.house.rooms:
            for check in room.checks:
                yield from check(read)


def _folder(inlet: Inlet) -> Iterator[Finding]:
    from daemon.watch.roots import survey

    subject = f"folder {inlet.role}"
    if not os.path.isdir(inlet.folder):
        yield Finding(
            subject,
            "warn",
            f"{inlet.folder} is not there; callspool waits for it",
            f"mkdir -p {inlet.folder}  (or set watch.{inlet.role})",
        )
        return
    if not os.access(inlet.folder, os.R_OK | os.X_OK):
        who = os.environ.get("USER", str(os.getuid()))
        yield Finding(subject, "fail", f"{inlet.folder} cannot be read by {who}", f"chmod o+rx {inlet.folder}")
        return
    yield from _survey(subject, survey(os.fsencode(inlet.folder)))


def _survey(subject: str, found: Survey) -> Iterator[Finding]:
    """Which proof of writers the folder gives, and whether events can be had for all of it."""
    network = ", a network disk: polled, no file events" if found.network else ""
    proof = "writers are seen (kernel lease)" if found.lease else f"writers cannot be known: {found.proof}"
    status: Literal["ok", "warn"] = "warn" if found.lease is False else "ok"
    fix = (
        ""
        if found.lease is not False
        else "run callspool as the files' owner, or give it CAP_LEASE; else it waits longer"
    )
    if found.lease is None:
        proof = f"proof of writers not tried yet: {found.proof}"
    yield Finding(subject, status, f"{printable(found.path)}: {found.filesystem}{network}; {proof}", fix)
    if found.watches_allowed is not None and found.folders > found.watches_allowed:
        detail = (
            f"{found.folders} folders, but the kernel watches only {found.watches_allowed} a user: the rest is polled"
        )
        yield Finding(f"{subject} watches", "warn", detail, f"sysctl fs.inotify.max_user_watches={found.folders * 2}")


def _ledger(desk: CommandDesk) -> Iterator[Finding]:
    path = desk.paths.ledger
    kind = filesystem_of(os.fsencode(path))
    if kind.network:
        fix = "set state.dir to a folder on a local disk"
        yield Finding("ledger", "fail", f"state.dir lies on {kind.type}", fix, ConfigInvalid.exit_code)
        return
    if not path.exists():
        yield Finding("ledger", "warn", f"none yet at {path}", "callspool run  makes it", LedgerMissing.exit_code)
        return
    found = trouble_at_start(path)
    if found is not None:
        yield Finding("ledger", "fail", f"damaged: {found}", "restart callspool: it restores a copy and holds", 13)
        return
    age = copy_age(desk.paths, desk.clock)
    copy = "no daily copy yet" if age is None else f"newest daily copy {age.total_seconds() / 3600:.1f} h old"
    pid = holder(desk.paths.lock)
    running = "no daemon runs" if pid is None else f"daemon runs as pid {pid}"
    yield Finding("ledger", "ok", f"sound; {copy}; {running}")
    if sqlite3.sqlite_version_info < WAL_RESET_FIXED:
        detail = f"SQLite {sqlite3.sqlite_version} can damage a ledger that two programs write at once"
        yield Finding("ledger", "ok", f"{detail}; callspool never does: keep other writers off it")


def _state_folder(desk: CommandDesk) -> Iterator[Finding]:
    folder = desk.paths.folder
    nearest = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(nearest).free
    if free < MIN_FREE_BYTES:
        yield Finding("disk", "fail", f"{free // 2**20} MB free below {nearest}", "free space there", 22)
    else:
        yield Finding("disk", "ok", f"{free / 2**30:.1f} GB free below {nearest}")
    if folder.exists() and folder.stat().st_mode & 0o077:
        yield Finding("state folder", "warn", "others may look into it", f"chmod 700 {folder}")
    yield _clock(desk, nearest)


def _clock(desk: CommandDesk, folder: Path) -> Finding:
    """Our clock against the file system's: they differ on network disks, and then every file's time misleads."""
    if not os.access(folder, os.W_OK):
        return Finding("clock", "fail", f"{folder} cannot be written", f"chown {os.getuid()} {folder}")
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".callspool-doctor-") as file:
        written = os.fstat(file.fileno()).st_mtime
    drift = abs(written - desk.clock.now().timestamp())
    zone = desk.house.config.watch.timezone
    if drift > CLOCK_SLACK.total_seconds():
        return Finding("clock", "fail", f"the disk's clock is {drift:.1f} s off ours", "set both clocks by NTP")
    return Finding("clock", "ok", f"{desk.clock.now():%Y-%m-%d %H:%M:%S} UTC; names without a zone are read as {zone}")

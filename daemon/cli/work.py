"""The verbs that work: ``run``, ``once``, ``retry``."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

from daemon.catalogue import printable
from daemon.cli.desk import CommandDesk
from daemon.cli.signals import Signals, leave_in_time
from daemon.collector import look_seldom
from daemon.contract import Event, Json
from daemon.errors import BadRequest, OperatorError
from daemon.logfile import RotatingFile
from daemon.run.once import INTERRUPTED
from daemon.service import UNMENDABLE
from daemon.watch.names import Names

if TYPE_CHECKING:
    from daemon.app import Daemon

SHOWN = 100
"""Files that a dry run names for a person; --json names them all."""

DRAIN_PATIENCE_S = 3600.0
"""How long ``once`` waits for files to settle; the windows are far shorter, only a stuck disk takes this long."""


def add(app: typer.Typer, desk: CommandDesk) -> None:
    """Add the verbs to the command."""

    @app.command("run")
    def run(
        no_watch: Annotated[
            bool, typer.Option("--no-watch", help="Do without file events; scans find everything.")
        ] = False,
        launchd: Annotated[bool, typer.Option("--launchd", help="End with 0 where a restart mends nothing.")] = False,
        log_file: Annotated[Path | None, typer.Option("--log-file", help="Log there, and rotate it.")] = None,
    ) -> int:
        """Work until told to stop: what the service runs."""
        try:
            return _run(desk, hints=not no_watch, stream=_log_stream(log_file))
        except OperatorError as error:
            if not launchd or error.exit_code not in UNMENDABLE:
                raise
            print(f"callspool: {error}\n  -> {error.fix}", file=sys.stderr)
            return 0

    @app.command("once")
    def once(
        paths: Annotated[list[str] | None, typer.Argument(help="These files too, however old.")] = None,
        since: Annotated[str, typer.Option(help="Also files older than the install: all, or an ISO time.")] = "",
        until: Annotated[str, typer.Option(help="Of those, only files changed before this ISO time.")] = "",
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which older files would be taken.")] = False,
    ) -> int:
        """Take and deliver all there is, then exit: for cron."""
        return _once(desk, paths or [], since, until, dry_run=dry_run)

    @app.command("retry")
    def retry(
        subjects: Annotated[list[str] | None, typer.Argument(help="Calls or items: c12, r13, l14.")] = None,
        every: Annotated[bool, typer.Option("--all", help="Everything that waits for a person.")] = False,
        reason: Annotated[str, typer.Option(help="Everything parked whose reason contains this.")] = "",
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be retried.")] = False,
    ) -> int:
        """Try again what waits for a person."""
        if not subjects and not every and not reason:
            raise BadRequest("retry what?", fix="callspool failures; callspool retry c12  (or --all, or --reason TEXT)")
        args: dict[str, Json] = {
            "jobs": [job for s in subjects or [] for job in desk.house.jobs_named(s)],
            "all": every,
            "reason": reason,
        }
        answer: Any = desk.act("retry", args, dry_run=dry_run)
        word = "would retry" if dry_run else "retried"
        desk.show(answer, "\n".join(f"{word} {subject}" for subject in answer["retried"]) or f"{word} nothing")
        return 0


def _log_stream(log_file: Path | None) -> TextIO:
    return sys.stdout if log_file is None else cast("TextIO", RotatingFile(log_file))


def _run(desk: CommandDesk, *, hints: bool, stream: TextIO) -> int:
    from daemon.app import Daemon
    from daemon.notify import Pulse

    signals = Signals()
    emit = _start_log(desk, stream)
    daemon = Daemon(desk.house, hints=hints, on_event=emit, serves=True)
    look_seldom()
    _log_as(daemon)

    def exit_code() -> int:
        return INTERRUPTED if signal.SIGINT in signals.received else 1 if daemon.failed else 0

    leave_in_time(daemon.stopping, exit_code)
    signals.follow(daemon.stopping, _reloader(desk, daemon))
    pulse = Pulse(os.environ, daemon.health)
    try:
        daemon.start()
        pulse.start()
        daemon.wait()
    finally:
        pulse.stop()
        daemon.stop()
    return exit_code()


def _reloader(desk: CommandDesk, daemon: Daemon) -> Callable[[], None]:
    """Reads the configuration anew; one that is invalid is refused with an event, and the old one kept. On a thread of
    its own, so that a stop is heard meanwhile."""
    from daemon import log
    from daemon.notify import notify, reloading

    asked: queue.SimpleQueue[None] = queue.SimpleQueue()

    def work() -> None:
        while True:
            asked.get()
            reloading(os.environ)
            try:
                daemon.reload(lambda: desk.renewed().house)
                log.set_level(daemon.log_level)
            except OperatorError as error:
                log.emit(Event("config.refused", {"reason": str(error), "fix": error.fix}, "error"))
            notify(os.environ, "READY=1", f"STATUS={daemon.health().line()}")

    threading.Thread(target=work, name="reload", daemon=True).start()
    return lambda: asked.put(None)


def _once(desk: CommandDesk, paths: list[str], since: str, until: str, *, dry_run: bool) -> int:
    from daemon.app import Daemon

    begin, end = _time(since, "--since"), _time(until, "--until")
    if dry_run:
        found = [printable(path) for path in older_files(desk, begin, _only_time(end), paths)]
        text = "\n".join([*found[:SHOWN], f"{len(found)} file(s) that were left alone would be taken"])
        desk.show({"count": len(found), "files": list(found)}, text)
        return 0
    signals = Signals()
    daemon = Daemon(desk.house, hints=False, on_event=_start_log(desk, sys.stdout))
    look_seldom()
    _log_as(daemon)
    signals.follow(daemon.stopping)
    try:
        daemon.start()
        outcome = daemon.once(since=begin, until=_only_time(end), paths=paths, patience_s=DRAIN_PATIENCE_S)
    finally:
        daemon.stop()
    done = ", ".join(f"{n} {kind}" for kind, n in outcome.summary["done"].items()) or "nothing new"
    lines = [f"done: {done}; failed: {outcome.summary['failed']}; to be tried again: {outcome.summary['delayed']}"]
    lines += [f"waiting: {n} ({reason})" for reason, n in outcome.summary["waiting"].items()]
    if outcome.summary["older_than_install"]:
        n = outcome.summary["older_than_install"]
        lines.append(f"{n} file(s) lay there before the install and were left alone -> callspool once --since all")
    if outcome.exit_code:
        lines.append("-> callspool failures")
    print("\n".join(lines), file=sys.stderr)
    return outcome.exit_code


def older_files(
    desk: CommandDesk, since: datetime | str | None, until: datetime | None, paths: list[str]
) -> list[bytes]:
    """The files on disk that were left alone, or would be at a first start, and that ``once`` would take with these
    words. Changes nothing, and needs no ledger. Raises BadRequest for a path below no watched folder."""
    begin_ns = int(since.timestamp() * 1e9) if isinstance(since, datetime) else 0
    end_ns = int(until.timestamp() * 1e9) if until is not None else 1 << 62
    wanted = [os.fsencode(os.path.abspath(path)) for path in paths]
    roots = {inlet.role: os.fsencode(inlet.folder) for room in desk.house.rooms for inlet in room.inlets}
    for path in wanted:
        if not any(_below(path, root) for root in roots.values()):
            raise BadRequest(f"{printable(path)} lies below no watched folder", fix="callspool doctor  names them")
    known = _taken_already(desk)
    names = Names(desk.house.config.watch.ignore)
    return [
        path
        for root in roots.values()
        for path in _regular_files(root, names)
        if path not in known
        and begin_ns <= os.lstat(path).st_ctime_ns < end_ns
        and (not wanted or any(_below(path, one) for one in wanted))
    ]


def _below(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def _regular_files(root: bytes, names: Names) -> Iterator[bytes]:
    for folder, _folders, found in os.walk(root):
        for name in sorted(found):
            path = os.path.join(folder, name)
            if not names.ignores(name) and not os.path.islink(path) and os.path.isfile(path):
                yield path


def _taken_already(desk: CommandDesk) -> set[bytes]:
    """Paths that the ledger knows and has not left alone."""
    if not desk.paths.ledger.exists():
        return set()
    with desk.read() as read:
        rows = read.rows(
            "SELECT root.path AS root, folder.path AS folder, name FROM file JOIN folder ON folder.id = folder_id "
            "JOIN root ON root.id = root_id WHERE file.state != 'old'"
        )
        return {os.path.join(row["root"], row["folder"], row["name"]) for row in rows}


def _start_log(desk: CommandDesk, stream: TextIO) -> Callable[[Any], None]:
    from daemon import log
    from daemon.app import prepare_process

    run_id = prepare_process(os.environ)
    settings = desk.house.config.log
    log_format = "json" if desk.as_json else settings.format
    log.configure(settings.level, log_format, host_id="", run_id=run_id, stream=stream, clock=desk.clock)
    return log.emit


def _log_as(daemon: Any) -> None:
    from daemon import log

    log.set_host(daemon.host_id)


def _only_time(given: datetime | str | None) -> datetime | None:
    return given if isinstance(given, datetime) else None


def _time(given: str, flag: str) -> datetime | str | None:
    if given in ("", "all"):
        return given or None
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise BadRequest(
            f"{flag} {given!r} is no time", fix=f"callspool once {flag} 2025-10-29T06:00:00+00:00"
        ) from None
    return at if at.tzinfo is not None else at.astimezone()

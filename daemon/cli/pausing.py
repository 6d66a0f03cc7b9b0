"""The verbs that hold work back: ``pause``, ``resume``, ``drain``."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from daemon.cli.desk import CommandDesk
from daemon.errors import BadRequest
from daemon.ledger.pause import ALL, KNOWN

What = Annotated[str, typer.Argument(help="deliver, compress, collect or all.")]
Why = Annotated[str, typer.Option("--why", help="Kept in the journal and shown by status.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]

LOOK_S = 0.2


def add(app: typer.Typer, desk: CommandDesk) -> None:
    """Add the verbs to the command."""

    @app.command("pause")
    def pause(what: What = ALL, why: Why = "", dry_run: DryRun = False) -> int:
        """Begin nothing of this kind until resumed; what is under way ends. It survives a restart."""
        answer: Any = desk.act("pause", {"what": what, "why": why}, dry_run=dry_run)
        desk.show(answer, f"{'would pause' if dry_run else 'paused'} {what}  -> callspool resume {what}")
        return 0

    @app.command("resume")
    def resume(what: What = ALL, dry_run: DryRun = False) -> int:
        """Go on."""
        answer: Any = desk.act("resume", {"what": what}, dry_run=dry_run)
        named = ", ".join(answer["resumed"]) or "nothing: nothing of that name was paused"
        desk.show(answer, f"{'would resume' if dry_run else 'resumed'} {named}")
        return 0

    @app.command("drain")
    def drain(
        what: What = ALL,
        why: Why = "",
        timeout: Annotated[float, typer.Option(help="Seconds to wait for what is under way.")] = 600.0,
        dry_run: DryRun = False,
    ) -> int:
        """Pause, and wait until what is under way has ended."""
        if what not in KNOWN:
            raise BadRequest(f"{what!r} cannot be drained", fix="one of " + ", ".join(KNOWN))
        running = _running(desk, what)
        if dry_run:
            desk.show({"paused": what, "running": running}, f"would pause {what} and wait for {running} job(s)")
            return 0
        desk.act("pause", {"what": what, "why": why or "drain"})
        deadline = time.monotonic() + timeout
        while (running := _running(desk, what)) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        said = f"drained {what}" if not running else f"{running} job(s) still under way after {timeout:g} s"
        desk.show({"paused": what, "running": running}, f"{said}  -> callspool resume {what}")
        return 0 if not running else 3


def _running(desk: CommandDesk, what: str) -> int:
    """Jobs under way in the lanes that heed this pause."""
    lanes = {lane.name for room in desk.house.rooms for lane in room.lanes if what in (ALL, lane.pause)}
    with desk.read() as read:
        rows = read.rows("SELECT lane FROM job WHERE state = 'running'")
    return sum(row["lane"] in lanes for row in rows)

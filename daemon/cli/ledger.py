"""``callspool ledger``: copies, checks, and the way out of hold mode."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from daemon.cli.desk import CommandDesk
from daemon.errors import LedgerDamaged, LedgerMissing


def verbs(desk: CommandDesk) -> typer.Typer:
    """The group."""
    group = typer.Typer(help="Copies and checks of the ledger, and the way out of hold mode.", no_args_is_help=True)

    @group.command("backup")
    def backup(
        target: Annotated[
            Path | None, typer.Argument(help="Where to; default: a dated file in the state folder.")
        ] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say where the copy would go.")] = False,
    ) -> int:
        """Make a whole, checked copy while the daemon works."""
        now = desk.clock.now()
        chosen = (target or desk.paths.copies / f"ledger-{now:%Y-%m-%dT%H%M%SZ}.db").absolute()
        if not desk.paths.ledger.exists():
            raise LedgerMissing(f"there is no ledger at {desk.paths.ledger}", fix="callspool run  makes one")
        answer: Any = desk.act("ledger.copy", {"target": str(chosen)}, dry_run=dry_run)
        desk.show(answer, f"{'would copy' if dry_run else 'copied'} to {answer['copied_to']}")
        return 0

    @group.command("check")
    def check() -> int:
        """Check every page, index and text of the ledger, and say when the last copy was made."""
        from daemon.ledger.ledger import copy_age
        from daemon.ledger.upkeep import trouble_with

        if not desk.paths.ledger.exists():
            raise LedgerMissing(f"there is no ledger at {desk.paths.ledger}", fix="callspool run  makes one")
        found = trouble_with(desk.paths.ledger)
        if found is not None:
            raise LedgerDamaged(
                f"the ledger is damaged: {found}", fix="restart callspool: it restores a copy and holds"
            )
        age = copy_age(desk.paths, desk.clock)
        hours = None if age is None else round(age.total_seconds() / 3600, 1)
        text = "the ledger is sound; " + ("no copy yet" if hours is None else f"newest daily copy {hours} h old")
        desk.show({"sound": True, "newest_copy_hours": hours}, text)
        return 0

    @group.command("rebuild")
    def rebuild(
        delivered: Annotated[
            bool, typer.Option("--delivered", help="What sidecars name was delivered, also where its marker is gone.")
        ] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what stores and markers tell.")] = False,
    ) -> int:
        """Make a lost ledger anew from folders, markers and the sidecars in storage. Needs the daemon stopped."""
        from daemon.rebuild import rebuild as anew

        answer: Any = anew(desk.house, delivered=delivered, dry_run=dry_run)
        word = "would begin" if dry_run else "began"
        text = f"{word} a new ledger; {answer['sidecars']} sidecar(s), {answer['markers']} marker(s) heard"
        desk.show(answer, text if dry_run else f"{text}\n-> callspool run  reads the folders into it")
        return 0

    @group.command("adopt")
    def adopt(
        why: Annotated[str, typer.Option(help="Kept in the journal.")] = "",
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say whether there is a hold to end.")] = False,
    ) -> int:
        """End hold mode: all that lies in the folders now counts as delivered."""
        answer = desk.act("ledger.adopt", {"why": why}, dry_run=dry_run)
        desk.show(answer, "adopted: what lies there now counts as delivered; new files are taken from here on")
        return 0

    @group.command("redeliver")
    def redeliver(
        why: Annotated[str, typer.Option(help="Kept in the journal.")] = "",
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say whether there is a hold to end.")] = False,
    ) -> int:
        """End hold mode: deliver what the ledger does not know as delivered."""
        answer = desk.act("ledger.redeliver", {"why": why}, dry_run=dry_run)
        desk.show(answer, "redelivering what the ledger does not know; the CRM must know an id again")
        return 0

    return group

"""``callspool link add|list|revoke``. Imported by the command line alone, since Typer is slow to load."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from daemon.contract import Desk, Json
from handlers import records
from handlers.view import links

Subject = Annotated[str, typer.Argument(help="c12, r13, a callId, a session id or a transcript.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def verbs(desk: Desk) -> typer.Typer:
    """The group of verbs."""
    group = typer.Typer(no_args_is_help=True, help="Links by which somebody may hear one recording.")

    @group.command("add")
    def add(
        subject: Subject,
        anyone: Annotated[bool, typer.Option("--anyone", help="Whoever has it may hear, without the token.")] = False,
        expires: Annotated[str, typer.Option("--expires", help="How long it lasts; 7d where anyone may use it.")] = "",
        dry_run: DryRun = False,
    ) -> int:
        """Make a link to a recording. It is shown once: the ledger keeps its hash alone."""
        made = links.secret()
        args: dict[str, Json] = {"subject": subject, "sha256": links.digest(made), "anyone": anyone, "expires": expires}
        answer: Any = desk.act(links.ADD, args, dry_run=dry_run)
        address = f"http://{desk.config.http.listen}/r/{made}"
        if dry_run:
            desk.show(answer, f"would make a link to {answer['recording']}")
            return 0
        who = "whoever has it" if anyone else "whoever has the token"
        until = f" until {answer['expires']}" if answer["expires"] else ""
        desk.show({**answer, "url": address}, f"{address}\n{answer['recording']}, for {who}{until}")
        return 0

    @group.command("list")
    def list_(subject: Annotated[str, typer.Argument(help="A call or recording; none: all.")] = "") -> int:
        """Every link, newest first, and how often it was used."""
        with desk.read() as read:
            chosen = links.recordings_named(read, subject) if subject else None
            found = [links.told(link, read.now) for link in records.links(read, chosen)]
        lines = [
            f"{one['link']:>4}  {one['recording']:<8}{one['state']:<9}{'anyone' if one['anyone'] else 'token':<8}"
            f"{one['plays']:>5} plays  {one['expires'] or 'no end'}"
            for one in found
        ]
        desk.show(found, "\n".join(lines) or "no links")
        return 0

    @group.command("revoke")
    def revoke(
        subject: Annotated[str, typer.Argument(help="A link's number, or a call or recording: all of its links.")],
        dry_run: DryRun = False,
    ) -> int:
        """Have a link work no more."""
        answer: Any = desk.act(links.REVOKE, {"subject": subject}, dry_run=dry_run)
        said = "would be revoked" if dry_run else "revoked"
        desk.show(answer, f"{len(answer['revoked'])} link(s) {said}")
        return 0

    return group

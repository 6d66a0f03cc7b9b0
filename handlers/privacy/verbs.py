"""``callspool erase``, ``hold`` and ``retention``. Imported by the command line alone, since Typer is slow to load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from daemon.contract import Desk, Json
from daemon.errors import BadRequest
from handlers import records
from handlers.privacy.retention import due

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
SHOWN = 50


def erase_verbs(desk: Desk) -> typer.Typer:
    """``erase`` and ``retention``, beside the machine's own verbs."""
    group = typer.Typer()

    @group.command("erase")
    def erase(
        number: Annotated[str, typer.Option("--number", help="Everything of this phone number.")] = "",
        call: Annotated[str, typer.Option("--call", help="One call: c12, a callId, a session id.")] = "",
        lead: Annotated[str, typer.Option("--lead", help="One lead and its call: l14, or the file's name.")] = "",
        yes: Annotated[bool, typer.Option("--yes", help="It cannot be taken back: say so.")] = False,
        dry_run: DryRun = False,
    ) -> int:
        """Erase somebody's calls from folders, ledger and every copy of it, so that they never come back."""
        args: dict[str, Json] = {"number": number, "call": call, "lead": lead}
        if not dry_run and not yes:
            raise BadRequest("erasing cannot be taken back", fix="the same with --dry-run to see, or --yes to do it")
        answer: Any = desk.act("erase", args, dry_run=dry_run)
        desk.show(answer, erase_text(answer, dry_run=dry_run))
        return 3 if answer.get("kept") or answer.get("words_left") else 0

    @group.command("retention")
    def retention(
        run: Annotated[bool, typer.Option("--run", help="Do it now, not only at its hour.")] = False,
        dry_run: DryRun = False,
    ) -> int:
        """What is let go by age: the rules, and what they would remove now."""
        settings = desk.config.retention
        with desk.read() as read:
            found = due(read, settings.rules, limit=100_000)
        size = sum(one.size for one in found)
        answer: dict[str, Json] = {
            "rules": len(settings.rules),
            "due": len(found),
            "size_bytes": size,
            "items": [one.item_id for one in found],
        }
        if run and not dry_run:
            if not settings.rules:
                raise BadRequest("there is no rule", fix="retention.rules in config.yaml")
            desk.act("retention.run", {})
        word = "removing" if run and not dry_run else "would remove"
        text = (
            f"{len(settings.rules)} rule(s); {word} {len(found)} source(s), {size:,} bytes; never what is undelivered"
        )
        desk.show(answer, text if settings.rules else "no rule: nothing is removed by age -> retention.rules")
        return 0

    return group


def hold_verbs(desk: Desk) -> typer.Typer:
    """The group ``hold``."""
    group = typer.Typer(no_args_is_help=True, help="What must be kept, whatever retention or erasure say.")

    @group.command("add")
    def add(
        subject: Annotated[str, typer.Argument(help="c12, r13, l14, a callId, a name.")],
        why: Annotated[str, typer.Option("--why", help="Kept with it, and erased with it.")] = "",
        dry_run: DryRun = False,
    ) -> int:
        """Keep a whole call."""
        answer: Any = desk.act("hold.add", {"subject": subject, "why": why}, dry_run=dry_run)
        desk.show(answer, f"{'would hold' if dry_run else 'held'} {len(answer['held'])} item(s)")
        return 0

    @group.command("remove")
    def remove(
        subject: Annotated[str, typer.Argument(help="c12, r13, l14, a callId, a name.")], dry_run: DryRun = False
    ) -> int:
        """Let a call go again."""
        answer: Any = desk.act("hold.remove", {"subject": subject}, dry_run=dry_run)
        desk.show(answer, f"{'would release' if dry_run else 'released'} {len(answer['released'])} item(s)")
        return 0

    @group.command("list")
    def list_() -> int:
        """What is on hold, why and since when."""
        with desk.read() as read:
            found = records.holds(read)
            kinds = {hold.item_id: read.item(hold.item_id).kind for hold in found}
        rows: list[dict[str, Json]] = [
            {"item": h.item_id, "kind": kinds[h.item_id], "why": h.why, "since": h.at.isoformat()} for h in found
        ]
        text = "\n".join(f"{row['kind']:<14}{row['item']:<8}{row['since']}  {row['why']}" for row in rows)
        desk.show(rows, text or "nothing is on hold")
        return 0

    return group


def erase_text(answer: Any, *, dry_run: bool) -> str:
    """What went, or would go, and what is left for a person."""
    word = "would erase" if dry_run else "erased"
    lines = [f"{word} {answer['items']} item(s), {len(answer['files'])} file(s), {len(answer['copies'])} ledger copies"]
    if dry_run:
        lines += _listed(answer["files"])
    if answer.get("kept"):
        lines += ["holding other content now, and so left alone:", *_listed(answer["kept"])]
    if answer.get("words_left"):
        lines.append(f"{answer['words_left']} word(s) are still in the ledger's bytes  -> callspool erase again")
    if answer["todo"]:
        lines += ["for you to do, where callspool has no hand:", *_listed(answer["todo"])]
    return "\n".join(lines)


def _listed(lines: Sequence[str]) -> list[str]:
    more = [f"  … and {len(lines) - SHOWN} more  (--json)"] if len(lines) > SHOWN else []
    return [f"  {line}" for line in lines[:SHOWN]] + more

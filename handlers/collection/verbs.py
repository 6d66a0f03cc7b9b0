"""``callspool hours|report|export|import|summary``. Imported by the command line alone, since Typer is slow to load."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon.contract import Desk, duration
from daemon.errors import BadRequest
from handlers.collection.text import hours_text, report_text
from handlers.settings import LEAST_TARGET_H, MOST_TARGET_H

Target = Annotated[
    list[float] | None,
    typer.Option("--target", min=LEAST_TARGET_H, max=MOST_TARGET_H, help="Hours to reach; may be given several times."),
]
Why = Annotated[str, typer.Option("--why", help="Kept in the journal beside the decision.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Since = Annotated[str, typer.Option("--since", help="Only calls that began then or later: an ISO time, or 7d.")]

CHUNK = 500
"""Entries of an older collection that are taken in at once."""

PARTS = ("day", "number-prefix", "campaign", "host")


def hours_verbs(desk: Desk) -> typer.Typer:
    """``hours``, and what is said of it."""
    group = typer.Typer(invoke_without_command=True, help="Hours collected: received, usable, unique, delivered.")

    @group.callback()
    def hours(
        context: typer.Context,
        target: Target = None,
        by: Annotated[str, typer.Option("--by", help="day, number-prefix, campaign or host.")] = "",
        since: Since = "",
    ) -> int:
        """Hours collected, and how far a target is."""
        if context.invoked_subcommand is not None:
            return 0
        if by and by not in PARTS:
            raise BadRequest(f"hours cannot be told by {by}", fix="--by " + ", --by ".join(PARTS))
        said = _hours(desk, target, since, by)
        parts = [f"{part:<20}{hours:>12,.2f} h" for part, hours in said.get("by", {}).items()]
        desk.show(said, "\n".join([hours_text(said), *parts]))
        return 0

    @group.command("exclude")
    def exclude(subject: str, why: Why = "", dry_run: DryRun = False) -> int:
        """A call (c12, r13, a file) counts no more."""
        answer: Any = desk.act("hours.exclude", {"subject": subject, "why": why}, dry_run=dry_run)
        desk.show(answer, f"{answer['subject']} {'would count' if dry_run else 'counts'} no more")
        return 0

    @group.command("include")
    def include(subject: str, why: Why = "", dry_run: DryRun = False) -> int:
        """It counts again."""
        answer: Any = desk.act("hours.include", {"subject": subject, "why": why}, dry_run=dry_run)
        desk.show(answer, f"{answer['subject']} {'would count' if dry_run else 'counts'} again")
        return 0

    @group.command("reset")
    def reset(why: Why = "", dry_run: DryRun = False) -> int:
        """Count from now on; nothing is removed."""
        answer: Any = desk.act("hours.reset", {"why": why}, dry_run=dry_run)
        desk.show(answer, "would count from now on" if dry_run else "counts from now on")
        return 0

    return group


def other_verbs(desk: Desk) -> typer.Typer:
    """The verbs that stand beside the machine's own."""
    app = typer.Typer()

    @app.command("report")
    def report(
        target: Target = None,
        save: Annotated[bool, typer.Option("--save", help="Save storage_report_<stamp>.json.")] = False,
        export_csv: Annotated[bool, typer.Option("--export-csv", help="Write conversations_metadata.csv.")] = False,
        every: Annotated[str, typer.Option("--every", help="Again and again, e.g. every 1h.")] = "",
        since: Since = "",
    ) -> int:
        """The collection's report: averages, timeline, rates, storage by side, targets."""
        pause = None if not every else _duration(every)
        while True:
            _report(desk, target or [], since, save=save, export_csv=export_csv)
            if pause is None:
                return 0
            time.sleep(pause.total_seconds())

    @app.command("export")
    def export(
        table: Annotated[bool, typer.Option("--csv", help="As a table; else as JSON.")] = False,
        output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; else standard output.")] = None,
    ) -> int:
        """Every conversation that counts, in the form of conversations_metadata."""
        _export(desk, output, table=table)
        return 0

    @app.command("import")
    def import_(
        file: Annotated[Path, typer.Argument(help="conversations_metadata.json of an older collection.")],
        dry_run: DryRun = False,
    ) -> int:
        """Take in an older collection, so that its count goes on; what is there already is not counted twice."""
        entries = _entries(file)
        taken = 0
        for first in range(0, max(1, len(entries)), CHUNK):
            answer: Any = desk.act("collection.import", {"entries": entries[first : first + CHUNK]}, dry_run=dry_run)
            taken += answer["imported"]
        desk.show({"imported": taken}, f"{'would take' if dry_run else 'took'} in {taken} conversation(s)")
        return 0

    @app.command("summary")
    def summary(date: Annotated[str, typer.Argument(help="YYYY-MM-DD; else today.")] = "") -> int:
        """What one day brought."""
        said = desk.ask("summary", {"day": date})
        desk.show(said, "\n".join(f"{name:<22}{value}" for name, value in said.items()))
        return 0

    return app


def _hours(desk: Desk, targets: list[float] | None, since: str, by: str = "") -> dict[str, Any]:
    moment = _since(desk, since)
    asked = {"targets": targets or [], "since": None if moment is None else moment.isoformat(), "by": by}
    found: dict[str, Any] = desk.ask("hours", asked)
    return found


def _report(desk: Desk, targets: list[float], since: str, *, save: bool, export_csv: bool) -> None:
    said = _hours(desk, targets, since)
    if save:
        from handlers.collection.files import replace_file
        from handlers.settings import zone_of

        stamp = desk.clock.now().astimezone(zone_of(desk.config.watch.timezone)).strftime("%Y-%m-%dT%H-%M-%S")
        name = Path(f"storage_report_{stamp}.json").absolute()
        replace_file(name, [json.dumps(said, ensure_ascii=False, indent=2) + "\n"])
        said["saved"] = name.name
    if export_csv:
        _export(desk, Path("conversations_metadata.csv"), table=True)
        said["exported"] = "conversations_metadata.csv"
    text = report_text(said)
    text += "".join(f"\n{what:<21}{said[what]}" for what in ("saved", "exported") if what in said)
    desk.show(said, text)


def _export(desk: Desk, output: Path | None, *, table: bool) -> None:
    """Every conversation that counts, into a file or to standard output."""
    from handlers.collection.asked import Collection
    from handlers.collection.export import as_csv, as_json
    from handlers.collection.files import replace_file
    from handlers.records import any_mixed

    collection = Collection.of(desk.config)
    with desk.read() as read:
        documents = map(collection.document, collection.conversations(read))
        pieces = as_csv(documents, mixed=any_mixed(read)) if table else as_json(documents)
        if output is None:
            sys.stdout.writelines(pieces)
        else:
            replace_file(output.absolute(), pieces)


def _since(desk: Desk, text: str) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return desk.clock.now() - _duration(text)
    return at if at.tzinfo is not None else at.astimezone()


def _duration(text: str) -> timedelta:
    try:
        return duration(text)
    except ValueError as error:
        raise BadRequest(f"{text!r}: {error}", fix="an ISO time, or a stretch such as 7d") from None


def _entries(file: Path) -> list[Any]:
    """The array in a file. Raises BadRequest."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BadRequest(f"{file.name} cannot be read: {type(error).__name__}", fix="name a JSON array") from None
    if not isinstance(found, list):
        raise BadRequest(f"{file.name} holds no array", fix="conversations_metadata.json of an older collection")
    return found

"""``callspool compress``. Imported by the command line alone, since Typer is slow to load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from daemon.contract import Desk, Json
from handlers import records
from handlers.compress.handler import decisions
from handlers.compress.policy import Decision, Encode, Leave, Repack
from handlers.compress.progress import Bar
from handlers.records import Compressible

SHOWN = 50

BY_HAND: Mapping[str, Any] = {"compress.between": None, "compress.max_load": None, "compress.on_battery": True}
"""A person who does it by hand, where no daemon runs, wants it done now."""

NO_EFFECT = (
    "--workers had no effect: it counts only where no daemon runs; this one works with its own number of encoders: "
    "set compress.workers, then systemctl reload callspool (or SIGHUP)"
)


def verbs(desk: Desk) -> typer.Typer:
    """``compress``, beside the machine's own verbs."""
    group = typer.Typer()

    @group.command("compress")
    def compress(
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and saved.")] = False,
        workers: Annotated[
            int, typer.Option("--workers", min=0, max=256, help="Encoders at once, where no daemon runs.")
        ] = 0,
        retry: Annotated[bool, typer.Option("--retry", help="Also what was refused or left before.")] = False,
    ) -> int:
        """Compress now what is old enough, and not only at its hour."""
        config = desk.config
        with desk.read() as read:
            decided = decisions(read, config.compress, config.match.wait)
            before = records.storage_figures(read)
        if dry_run or config.compress.dry_run:
            answer = told(decided)
            desk.show(answer, text(decided, answer))
            return 0
        desk.act("compress.run", {"retry": retry})
        with Bar(desk):
            here = desk.work({**BY_HAND, **({"compress.workers": str(workers)} if workers else {})})
        with desk.read() as read:
            after, counts = records.storage_figures(read), records.compression_counts(read)
        answer = {"finished": here, **counts, **after}
        saved = after["savings"] - before["savings"]
        line = f"{counts.get('verified', 0) + counts.get('replaced', 0)} compressed in all, {counts.get('refused', 0)} "
        line += f"refused; copies take {after['compressed_size']:,} bytes, {saved:,} bytes were freed now"
        if not here:
            line = "the daemon is at it: callspool status, callspool tail" + (f"\n{NO_EFFECT}" if workers else "")
            answer |= {"note": NO_EFFECT} if workers else {}
        desk.show(answer, line)
        return 0

    @group.command("savings")
    def savings() -> int:
        """What lies there, compressed and not, and the bytes that were freed."""
        with desk.read() as read:
            figures = records.storage_figures(read)
        desk.show(figures, savings_text(figures))
        return 0

    return group


def savings_text(figures: Mapping[str, Any]) -> str:
    """The figures of ``/api/storage-stats`` for a person, in the MB of formats.md (2^20 bytes)."""
    rows = {
        "lies there": figures["total_size"],
        "of it compressed": figures["compressed_size"],
        "of it original": figures["original_size"],
        "freed": figures["savings"],
    }
    return "\n".join(f"{name:<20}{size / 2**20:>14,.2f} MB" for name, size in rows.items())


def told(decided: list[tuple[Compressible, Decision]]) -> dict[str, Any]:
    """What ``--dry-run --json`` prints: bytes."""
    files: list[dict[str, Json]] = []
    for one, what in decided:
        row: dict[str, Json] = {"item": f"r{one.id}", "name": one.name, "size": one.size}
        if isinstance(what, Leave):
            row |= {"act": "leave", "reason": what.reason}
        else:
            act = "encode" if isinstance(what, Encode) else "copy packets"
            row |= {"act": act, "bitrate": what.bitrate, "expected_size": what.expected}
        files.append(row)
    worth = [(one, what) for one, what in decided if not isinstance(what, Leave)]
    size, expected = sum(one.size for one, _ in worth), sum(what.expected for _, what in worth)
    copied = sum(isinstance(what, Repack) for _, what in worth)
    counts = {"encode": len(worth) - copied, "copy_packets": copied, "leave": len(decided) - len(worth)}
    return {"files": files, "totals": {**counts, "size": size, "expected_size": expected, "savings": size - expected}}


def text(decided: list[tuple[Compressible, Decision]], answer: dict[str, Any]) -> str:
    """The same for a person, the totals last."""
    lines = []
    for one, what in decided[:SHOWN]:
        if isinstance(what, Leave):
            lines.append(f"r{one.id:<8}{one.size:>14,}    left: {what.reason}  {one.name}")
        else:
            act = f"Opus {what.bitrate // 1000}k" if isinstance(what, Encode) else "same packets in Ogg"
            lines.append(f"r{one.id:<8}{one.size:>14,} -> {what.expected:>12,}  {act}  {one.name}")
    if len(decided) > SHOWN:
        lines.append(f"… and {len(decided) - SHOWN} more  (--json)")
    totals = answer["totals"]
    saved = f"{totals['savings']:,} bytes ({totals['savings'] / totals['size']:.0%})" if totals["size"] else "nothing"
    made = totals["encode"] + totals["copy_packets"]
    lines.append(f"would compress {made}, leave {totals['leave']}; would save {saved}")
    return "\n".join(lines)

"""How ``verify`` tells what it found, and how ``--repair`` has it mended and waits for that."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from daemon.contract import Desk, Json
from handlers import records
from handlers.storage.audit import Audit

AT_ONCE = 1000
"""Copies named to the daemon in one request."""

PATIENCE_S, LOOK_S = 600.0, 0.2
"""How long a running daemon is waited for while it gets on with it, and how often it is looked at."""

SHOWN = 50


def mend(desk: Desk, lost: Sequence[Sequence[Json]], *, dry_run: bool) -> dict[str, Any]:
    """Have these copies put again, by the running daemon or here, and wait until that is done or failed."""
    answer: dict[str, Any] = {"repairing": 0, "hopeless": []}
    for first in range(0, len(lost), AT_ONCE):
        told: Any = desk.act("storage.repair", {"found": list(lost[first : first + AT_ONCE])}, dry_run=dry_run)
        answer["repairing"] += told["repairing"]
        answer["hopeless"] += told["hopeless"]
    if answer["repairing"] and not dry_run and not desk.work({}):
        _wait(desk)
    return answer


def _wait(desk: Desk) -> None:
    """Until no lost copy is under way any more, or for ``PATIENCE_S`` after the last one that came about."""
    left, until = -1, 0.0
    while True:
        with desk.read() as read:
            now_left = records.lost_copies_under_way(read)
        if now_left != left:
            left, until = now_left, desk.clock.monotonic() + PATIENCE_S
        if not left or desk.clock.monotonic() > until:
            return
        time.sleep(LOOK_S)


def mend_text(mended: dict[str, Any]) -> str:
    """What was begun, and what cannot be mended."""
    lines = [f"repair: {mended['repairing']} of them put again"] if mended["repairing"] else []
    lines += [f"not mended: {one['place']} {one['key']}: {one['reason']}" for one in mended["hopeless"][:SHOWN]]
    return "\n".join(lines)


def audit_text(found: Audit) -> str:
    """What was found, and what to do."""
    lines = [f"{found.checked} copies checked, {found.hashed} of them read and hashed"]
    again = "callspool verify --repair"
    for what, entries, fix in (
        ("missing", found.missing, again),
        ("differs", found.differing, f"{again}  (with the same --deep)"),
        ("blocked", found.blocked, "mend what the reason says, then callspool storage drain"),
        ("nowhere", found.nowhere, "drop the recording again: it is taken as the same, and stored"),
        ("unknown", found.unknown, "nobody's: look at it, and delete it by hand"),
        ("begun", found.begun, "begun by somebody else and not ended: left alone; abort it there if it is nobody's"),
    ):
        lines += [
            f"{what:<9}{one['place']:<6}{one.get('key', one.get('subject'))}  {one.get('reason', '')}"
            for one in entries[:SHOWN]
        ]
        if len(entries) > SHOWN:
            lines.append(f"         … and {len(entries) - SHOWN} more  -> callspool verify --json")
        if entries:
            lines.append(f"  -> {fix}")
    lines += [f"not reached: {one['place']}: {one['reason']}  -> callspool doctor" for one in found.unreached]
    if found.clean and not found.unreached:
        lines.append("ledger and storage say the same")
    return "\n".join(lines)

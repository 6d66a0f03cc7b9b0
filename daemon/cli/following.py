"""``callspool tail`` and the live form of ``callspool status``: what happens now, read from the ledger as it grows."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer

from daemon.cli.desk import CommandDesk
from daemon.cli.text import status_text, told
from daemon.contract import Reader
from daemon.ledger import story
from daemon.ledger.story import Wanted
from daemon.told import explain_of

LOOK_S = 0.5
"""Pause between two looks at the journal: soon enough for whoever watches, and nothing for the disk."""

SCREEN_S = 1.0
"""Pause between two screens."""

A_LOOK = 1000
"""Lines read in one look; a burst of more is read by the next."""


def add(app: typer.Typer, desk: CommandDesk) -> None:
    """Add the verb to the command."""

    @app.command("tail")
    def tail(
        event: Annotated[str, typer.Option("--event", help="Only these, with * for any: 'crm.*'.")] = "*",
        call: Annotated[str, typer.Option("--call", help="Only what concerns a call (c12, a callId) or file.")] = "",
        lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="So many older lines first.")] = 20,
        follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on as more is written.")] = True,
    ) -> int:
        """The journal's lines as they are written, oldest first. Ends with Ctrl-C."""
        with desk.read() as read:
            wanted = wanted_of(desk, read, event, call)
            last, found = story.journal_end(read, wanted, lines)
        for line in found:
            _print(desk, line)
        for line in _following(desk, wanted, last) if follow else ():
            _print(desk, line)
        return 0


def wanted_of(desk: CommandDesk, read: Reader, event: str, call: str) -> Wanted:
    """Which lines; raises UnknownSubject for a call or file that nobody knows."""
    if not call:
        return Wanted(event)
    found = explain_of(desk.house, read, call)
    return Wanted(event, about=(found["call_id"] or "", tuple(found["items"])))


def watch(desk: CommandDesk) -> int:
    """The one screen, again and again until Ctrl-C: in place on a terminal, one after the other elsewhere."""
    if desk.as_json or not sys.stdout.isatty():
        for found in _screens(desk):
            print(json.dumps(found, ensure_ascii=False) if desk.as_json else status_text(found) + "\n", flush=True)
        return 0
    from rich.live import Live
    from rich.text import Text

    with Live(screen=True, auto_refresh=False) as live:
        for found in _screens(desk):
            live.update(Text(f"{status_text(found)}\n\nlive, every second; Ctrl-C ends"), refresh=True)
    return 0


def _screens(desk: CommandDesk) -> Iterator[dict[str, Any]]:
    while True:
        yield desk.ask("status", {})
        _pause(SCREEN_S)


def _following(desk: CommandDesk, wanted: Wanted, last: int) -> Iterator[dict[str, Any]]:
    while True:
        with desk.read() as read:
            last, found = story.journal_after(read, wanted, last, A_LOOK)
        yield from found
        if not found:
            _pause(LOOK_S)


_pause: Callable[[float], object] = threading.Event().wait
"""Nobody ever sets it: this is how long to wait, and Ctrl-C ends it."""


def _print(desk: CommandDesk, line: Mapping[str, Any]) -> None:
    print(json.dumps(line, ensure_ascii=False) if desk.as_json else told(line), flush=True)

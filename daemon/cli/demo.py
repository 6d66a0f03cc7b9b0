"""The verb ``demo``: the whole thing at work, in a folder of its own, within seconds."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from daemon.cli.desk import CommandDesk

INTERFERING = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
"""What the HTTP client reads of the environment: a broken one must not spoil a demo that stays on loopback."""


def add(app: typer.Typer, desk: CommandDesk) -> None:
    """Add the verb to the command."""

    @app.command("demo")
    def demo(
        keep: Annotated[bool, typer.Option("--keep", help="Leave the folder with ledger and files behind.")] = False,
        forgetful: Annotated[
            bool, typer.Option("--forgetful", help="A CRM that knows neither Idempotency-Key nor callId again.")
        ] = False,
    ) -> int:
        """See six calls go from files to a CRM, on this machine alone; needs no configuration."""
        return _demo(desk, keep=keep, forgetful=forgetful)


def _demo(desk: CommandDesk, *, keep: bool, forgetful: bool) -> int:
    from daemon.app import demo

    for name in INTERFERING:
        os.environ.pop(name, None)
        os.environ.pop(name.lower(), None)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _leave)
    # Its own short path: the socket for commands lies below it, and may have no more than about a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="callspool-demo-")).resolve()
    try:
        good = demo(folder, desk.clock, sys.stdout, as_json=desk.as_json, keep=keep, forgetful=forgetful)
    finally:
        if not keep:
            shutil.rmtree(folder)
    return 0 if good else 1


def _leave(number: int, _frame: FrameType | None) -> None:
    """Told to end: leave as tidily as after Ctrl-C."""
    raise SystemExit(128 + number)

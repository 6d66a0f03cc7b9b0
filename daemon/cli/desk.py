"""What every verb stands on: the configuration, the house, a view of the ledger, a way to act, a way to print."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.cli.text import shown
from daemon.clock import SystemClock
from daemon.contract import Fields, Json, Reader
from daemon.errors import BadRequest

if TYPE_CHECKING:
    from daemon.house import Config, House
    from daemon.ledger.paths import StatePaths


SOON_S = 30.0
SETTLED_S = 3600.0
"""How long ``work`` waits for files to settle."""
PATIENCE_S: Mapping[str, float] = {"erase": 3600.0, "ledger.copy": 3600.0}
"""Seconds to wait for acts that read or write the whole ledger; any other is done soon."""


@dataclass
class CommandDesk:
    """The contract's ``Desk``, made once for a command from the flags that stand anywhere on its line."""

    as_json: bool = False
    config_file: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def renewed(self) -> CommandDesk:
        """The same command's desk with nothing read yet."""
        return CommandDesk(self.as_json, self.config_file, self.settings)

    @cached_property
    def clock(self) -> SystemClock:
        """The system's clock."""
        return SystemClock()

    @cached_property
    def house(self) -> House:
        """Configuration and rooms; raises ConfigInvalid. Warnings of the configuration go to standard error."""
        from daemon.house import House

        house = House.open(self.config_file, os.environ, Path.cwd(), self.settings, self.clock)
        for warning in house.loaded.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        return house

    @property
    def config(self) -> Config:
        """The whole configuration; raises ConfigInvalid."""
        return self.house.config

    def path(self, given: str) -> Path:
        """A path of the configuration, absolute."""
        return self.house.path(given)

    def secret(self, key: str) -> str | None:
        """The secret of a ``*_file`` setting."""
        return self.house.secret(key)

    @property
    def paths(self) -> StatePaths:
        """Where the state folder keeps what."""
        return self.house.paths

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """A view of the ledger, beside a running daemon or without one."""
        from daemon.house import SOURCES
        from daemon.ledger.ledger import read_only, refuse_older

        readers = read_only(self.paths, self.clock)
        try:
            with readers.view() as view:
                yield view
        except sqlite3.OperationalError:
            refuse_older(readers, SOURCES)
            raise
        finally:
            readers.close()

    def ask(self, question: str, args: Fields) -> Any:
        """The running daemon's answer, by the configuration that it works by. Where none runs, or it does not answer
        soon, or settings were given on the command's line, it is found here."""
        from daemon.run.asking import ANSWER_S, ask

        if not self.settings:
            with suppress(OSError):
                return ask(self.paths.control, question, args, patience_s=ANSWER_S)
        with self.read() as read:
            return self.house.answer(question, args, read)

    def act(self, name: str, args: Fields, *, dry_run: bool = False) -> Json:
        """Have the running daemon do it; without one, do it here under the ledger's lock."""
        from daemon.ledger.lock import holder
        from daemon.run.asking import act

        pid = holder(self.paths.lock)
        if pid is None:
            from daemon.acts import act_alone

            return act_alone(self.house, name, args, dry_run=dry_run)
        try:
            return act(self.paths.control, name, args, dry_run=dry_run, patience_s=PATIENCE_S.get(name, SOON_S))
        except (FileNotFoundError, ConnectionError) as error:
            raise BadRequest(
                f"callspool (pid {pid}) holds the ledger but takes no commands now ({type(error).__name__})",
                fix="wait until it is up, or until callspool once has ended, and try again",
            ) from None

    def work(self, settings: Mapping[str, Any]) -> bool:
        """As ``callspool once`` does, without its log; a running daemon does it by itself."""
        from daemon.app import Daemon
        from daemon.cli.signals import Signals
        from daemon.ledger.lock import holder

        if holder(self.paths.lock) is not None:
            return False
        desk = CommandDesk(self.as_json, self.config_file, {**self.settings, **settings})
        daemon = Daemon(desk.house, hints=False, on_event=lambda _event: None)
        Signals().follow(daemon.stopping)
        try:
            daemon.start()
            daemon.once(since=None, until=None, paths=(), patience_s=SETTLED_S)
        finally:
            daemon.stop()
        return True

    def show(self, value: Json, text: str) -> None:
        """Print ``value`` as JSON where ``--json`` was given, else ``text``."""
        said = shown(value, text, as_json=self.as_json, terminal=sys.stdout.isatty())
        if said:
            print(said)

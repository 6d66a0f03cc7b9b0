"""The configuration and the rooms built from it: enough for every verb. Light to load, since every verb loads it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import handlers
from daemon.config import Loaded, MachineConfig, load, read_secret
from daemon.contract import Clock, Event, Json, Machine, Reader, Room, Subject, Trouble
from daemon.errors import BadRequest, ConfigInvalid, UnknownSubject
from daemon.health import Health
from daemon.ledger.paths import StatePaths
from handlers.compression_config import OLD_FILES
from handlers.settings import (
    OLD_NAMES,
    AudioSettings,
    CollectSettings,
    CompressSettings,
    CrmSettings,
    MatchSettings,
    NotifySettings,
    RetentionSettings,
    StorageSettings,
)

if TYPE_CHECKING:
    from daemon.ledger.ledger import Ledger
    from daemon.ledger.reading import Readers


SOURCES = (
    "handlers.migrations",
    "handlers.storage.migrations",
    "handlers.privacy.migrations",
    "handlers.collection.migrations",
    "handlers.crm.migrations",
    "handlers.compress.migrations",
    "handlers.notify.migrations",
    "handlers.view.migrations",
)
"""Packages whose migrations follow the machine's."""


class Config(MachineConfig):
    """The whole configuration: the machine's sections and the rooms'."""

    match: MatchSettings = MatchSettings()
    audio: AudioSettings = AudioSettings()
    crm: CrmSettings = CrmSettings()
    storage: StorageSettings = StorageSettings()
    compress: CompressSettings = CompressSettings()
    retention: RetentionSettings = RetentionSettings()
    collect: CollectSettings = CollectSettings()
    notify: NotifySettings = NotifySettings()


@dataclass
class House:
    """Configuration and rooms. Opening one touches nothing but the configuration's files."""

    loaded: Loaded[Config]
    environ: Mapping[str, str]
    clock: Clock
    health: Callable[[], Health] = Health
    """How the daemon is that works by this house; fine where none does."""

    @classmethod
    def open(
        cls,
        file: Path | None,
        environ: Mapping[str, str],
        cwd: Path,
        flags: Mapping[str, Any],
        clock: Clock,
    ) -> House:
        """Read the configuration; raises ConfigInvalid."""
        loaded = load(
            Config, file=file, environ=environ, cwd=cwd, flags=flags, old_names=OLD_NAMES, old_files=OLD_FILES
        )
        return cls(loaded, environ, clock)

    def in_place_of(self, other: House) -> House:
        """This house over the other's ledger, which stays open: state folder and reading connections are its own."""
        self.__dict__.update(paths=other.paths, readers=other.readers, health=other.health)
        return self

    @property
    def config(self) -> Config:
        """The settings."""
        return self.loaded.config

    def path(self, given: str | Path) -> Path:
        """A path of the configuration, absolute."""
        return self.loaded.path(given)

    def _maybe(self, given: str | None) -> str | None:
        return None if given is None else str(self.path(given))

    @cached_property
    def paths(self) -> StatePaths:
        """Where the state folder keeps what."""
        return StatePaths(self.path(self.config.state.dir))

    @cached_property
    def readers(self) -> Readers:
        """Reading connections of this process."""
        from daemon.ledger.reading import Readers

        return Readers(self.paths.ledger, self.clock)

    @cached_property
    def rooms(self) -> tuple[Room, ...]:
        """Every room of the registry, built from the configuration."""
        config = self.config
        settings = handlers.Settings(
            recordings=str(self.path(config.watch.recordings)),
            conversations=str(self.path(config.watch.conversations)),
            conversations_name=config.watch.conversations,
            leads=str(self.path(config.watch.leads)),
            timezone=config.watch.timezone,
            markers=str(self.path(config.collect.markers)),
            audio=config.audio,
            compress=config.compress,
            compress_index=self._maybe(config.compress.index),
            compress_log=self._maybe(config.compress.log_file),
            match=config.match,
            retention=config.retention,
            crm=config.crm,
            storage=config.storage,
            storage_folder=os.path.realpath(self.path(config.storage.local.dir)),
            collect=config.collect,
            recordings_name=config.watch.recordings,
            metadata=self._maybe(config.collect.metadata),
            reports=str(self.path(config.collect.reports)),
            crm_token=read_secret(self.loaded, "crm.token_file", self.environ),
            notify=config.notify,
            notify_urls=read_secret(self.loaded, "notify.urls_file", self.environ),
            secret=self.secret,
        )
        from daemon.ledger.reading import LedgerContents

        machine = Machine(LedgerContents(self.readers), self.clock, self.readers.view, self._troubles)
        return handlers.rooms(settings, machine)

    def _troubles(self, read: Reader) -> Sequence[Trouble]:
        from daemon.told import troubles_of

        return troubles_of(self, read, self.health)

    def secret(self, key: str) -> str | None:
        """A secret as it is now; None also where its file cannot be used: what was refused stays refused then."""
        try:
            return read_secret(self.loaded, key, self.environ)
        except ConfigInvalid:
            return None

    @property
    def lanes(self) -> dict[str, str]:
        """The lane of each kind of job."""
        return {kind: lane.name for room in self.rooms for lane in room.lanes for kind in lane.kinds}

    @cached_property
    def subjects(self) -> dict[str, Subject]:
        """How people name the subject of each kind of job."""
        return {kind: subject for room in self.rooms for kind, subject in room.subjects.items()}

    def subject(self, kind: str, key: str) -> str:
        """How people name this job's subject."""
        known = self.subjects.get(kind)
        return f"{kind}:{key}" if known is None else known.prefix + key

    def jobs_named(self, subject: str) -> list[list[str]]:
        """The jobs, as (kind, key), that a person may mean; raises UnknownSubject for words of no known form."""
        kind, colon, key = subject.partition(":")
        if colon and kind in self.lanes:
            return [[kind, key]]
        found = [
            [kind, subject.removeprefix(known.prefix)]
            for kind, known in self.subjects.items()
            if subject.startswith(known.prefix) and subject.removeprefix(known.prefix).isdigit()
        ]
        if not found:
            raise UnknownSubject(f"{subject!r} is no call or item", fix="callspool failures  shows names such as c12")
        return found

    def open_ledger(self, on_event: Callable[[Event], None]) -> Ledger:
        """The ledger, opened for writing."""
        from daemon.ledger.ledger import Ledger

        return Ledger(
            self.paths,
            self.clock,
            readers=self.readers,
            sources=SOURCES,
            lanes=self.lanes,
            on_event=on_event,
        )

    def answer(self, name: str, args: Mapping[str, Any], read: Reader) -> Json:
        """Answer a question by its name: the machine's or a room's. Writes nothing."""
        from daemon.told import QUESTIONS

        if name in QUESTIONS:
            found: Json = QUESTIONS[name](self, args, read)
            return found
        for room in self.rooms:
            if name in room.questions:
                return room.questions[name](args, read)
        raise BadRequest(f"nothing here answers {name!r}", fix="restart the daemon: it may be older than the program")

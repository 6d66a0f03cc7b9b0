"""The only module that knows both packages: builds, starts and stops everything in order.

``House`` is the configuration and its rooms, enough for every verb; ``Daemon`` is a house at work. The order of a
start: ledger (lock, check, migrations), what the last process left in the middle, the door for commands, the
workers, the watch. A stop goes the other way round, and the ledger closes last.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import handlers
from daemon import erase, trace
from daemon.config import Loaded, MachineConfig, load, read_secret
from daemon.contract import Act, Acted, Clock, Event, Json, Machine, Reader, Room, Subject, Trouble
from daemon.errors import BadRequest, CallspoolError, ConfigInvalid, LedgerDamaged, OperatorError, UnknownSubject
from daemon.health import Health
from daemon.ledger import hold, jobs, pause, upkeep
from daemon.ledger.ledger import Ledger, StatePaths
from daemon.ledger.reading import LedgerContents, Readers
from daemon.outlet import Asked, Live, Outlet, serve
from daemon.run import once
from daemon.run.once import Outcome
from daemon.told import troubles_of
from daemon.vitals import Vitals
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
    from daemon.run.runner import Runner
    from daemon.watch.options import WatchOptions
    from daemon.watch.watch import Watch

STOP_GRACE_S = 18.0
"""How long a stop waits for what is under way, so that the whole of it stays below the 20 s that are promised."""

WAKE_AFTER = timedelta(seconds=2)
"""How soon after an event the jobs that it wakes are due: events come in bursts, and one run serves them all."""

ONLY_BY_RESTART = frozenset({"state.dir", "http.listen", "http.token_file", "log.format"})
"""Settings that stay as they were when the configuration is read anew."""

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
        machine = Machine(LedgerContents(self.readers), self.clock, self.readers.view, self._troubles)
        return handlers.rooms(settings, machine)

    def _troubles(self, read: Reader) -> Sequence[Trouble]:
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

    @property
    def acts(self) -> dict[str, Act]:
        """Every command of a person that changes the ledger: the machine's and the rooms'."""
        acts = {**MACHINE_ACTS, **{name: act for room in self.rooms for name, act in room.acts.items()}}
        lanes = tuple(dict.fromkeys(self.lanes.values()))
        resume = partial(pause.resume_act, lanes=lanes)
        retry = partial(retry_act, {kind: redo for room in self.rooms for kind, redo in room.redo.items()})
        own: dict[str, Act] = {"ledger.adopt": self._adopt, "ledger.redeliver": self._redeliver}
        return {**acts, **own, "resume": resume, "retry": retry}

    def _adopt(self, args: Mapping[str, Any], read: Reader) -> Acted:
        """``ledger adopt``: the machine's part, and what each room counts as done."""
        acted = hold.adopt_act(args, read)
        return replace(acted, facts=(*acted.facts, *(fact for room in self.rooms for fact in room.adopt)))

    def _redeliver(self, args: Mapping[str, Any], read: Reader) -> Acted:
        """``ledger redeliver``: the machine's part, and what witnesses outside the ledger say was delivered."""
        acted = hold.redeliver_act(args, read)
        heard = [room.redeliver(read) for room in self.rooms if room.redeliver is not None]
        return replace(
            acted,
            facts=(*acted.facts, *(fact for one in heard for fact in one.facts)),
            events=(*acted.events, *(event for one in heard for event in one.events)),
        )

    def open_ledger(self, on_event: Callable[[Event], None]) -> Ledger:
        """The ledger, opened for writing."""
        return Ledger(
            self.paths,
            self.clock,
            readers=self.readers,
            sources=SOURCES,
            lanes=self.lanes,
            on_event=on_event,
        )

    def act_alone(self, name: str, args: Mapping[str, Any], *, dry_run: bool) -> Json:
        """Do a person's command without a daemon, under the ledger's lock."""
        ledger = self.open_ledger(lambda _event: None)
        try:
            erase.resume(ledger, self.rooms)
            if name == "erase" and not dry_run:
                ledger.recover()  # what a killed daemon had in work is in nobody's now, and must not refuse this
            return do(ledger, self, name, args, dry_run=dry_run)
        finally:
            ledger.close()


def do(ledger: Ledger, house: House, name: str, args: Mapping[str, Any], *, dry_run: bool) -> Json:
    """Do a person's command by its name."""
    acts = house.acts
    if name == "ledger.copy":
        target = Path(args["target"])
        if not dry_run:
            ledger.copy(target)
        return {"copied_to": str(target)}
    if name == "erase":
        return erase.erase(ledger, house.rooms, args, acts[erase.FIND], dry_run=dry_run)
    if name not in acts:
        raise BadRequest(f"this daemon knows no command {name!r}", fix="restart it: it may be older than the program")
    return ledger.act(name, acts[name], args, dry_run=dry_run)


@dataclass(frozen=True, slots=True)
class _Retry:
    job_ids: Sequence[int]

    def write(self, tx: Any) -> None:
        jobs.retry(tx, self.job_ids)


def retry_act(redo: Mapping[str, Callable[[Reader, str], Acted]], args: Mapping[str, Any], read: Reader) -> Acted:
    """``retry``: the parked jobs of these subjects, of this reason, or all of them. Where nothing of a subject is
    parked, what is done of it is done again, if that means anything: ``redo`` says so by kind of job."""
    columns, done = "SELECT id, kind, key, reason, state FROM job", list[tuple[str, str]]()
    if args.get("all") or args.get("reason"):
        parked = read.rows(f"{columns} WHERE state = 'parked' ORDER BY id")
        chosen = [row for row in parked if args.get("all") or args["reason"] in row["reason"]]
    else:
        named = [row for one in args["jobs"] for row in read.rows(f"{columns} WHERE kind = ? AND key = ?", tuple(one))]
        chosen = [row for row in named if row["state"] in ("parked", "waiting")]
        if all(row["state"] != "parked" for row in chosen):
            done = [(row["kind"], row["key"]) for row in named if row["state"] == "done" and row["kind"] in redo]
        if not chosen and not done:
            raise UnknownSubject("nothing of that name waits to be retried", fix="callspool failures")
    again = [redo[kind](read, key) for kind, key in done]
    answer: Json = {"retried": [f"{row['kind']}:{row['key']}" for row in chosen] + [":".join(one) for one in done]}
    return Acted(
        answer,
        (_Retry(tuple(row["id"] for row in chosen)), *(fact for one in again for fact in one.facts)),
        tuple(spec for one in again for spec in one.then),
        tuple(event for one in again for event in one.events),
    )


def scan_act(_args: Mapping[str, Any], _read: Reader) -> Acted:
    """Somebody wants the folders looked through: the daemon does so once that stands in the journal."""
    return Acted({"scanning": True}, events=(Event("scan.requested", {}),))


MACHINE_ACTS: Mapping[str, Act] = {
    "pause": pause.pause_act,
    "scan": scan_act,
}


class Daemon:
    """A house at work. ``on_event`` gets every line of the journal after its commit, and events beside it."""

    def __init__(self, house: House, *, hints: bool, on_event: Callable[[Event], None], serves: bool = False) -> None:
        self._house = house
        self._clock = house.clock
        self._on_event = on_event
        self._hints = hints
        self._token = read_secret(house.loaded, "http.token_file", house.environ) if serves else None
        self._serves = serves
        self.stopping = threading.Event()
        self._fatal: CallspoolError | None = None
        self.ledger = house.open_ledger(self._told)
        self.watch: Watch | None = None
        self.runner: Runner | None = None
        self._outlet: Outlet | None = None
        self._vitals = Vitals(self.ledger, house.clock)
        house.health = self.health
        self._closers: list[Callable[[float], object]] = [lambda _grace_s: self.ledger.close()]
        self._workers: list[Callable[[float], object]] = []
        self._changing = threading.Lock()

    @property
    def host_id(self) -> str:
        """This ledger's own name, random and stored once."""
        return self.ledger.host_id

    def start(self) -> None:
        """Start everything, in order. In hold mode only the door for commands opens."""
        with self._changing:
            self._start()

    @property
    def log_level(self) -> str:
        """The level of the configuration it works by."""
        return self._house.config.log.level

    @property
    def failed(self) -> bool:
        """True once it cannot go on."""
        return self._fatal is not None

    def wait(self) -> None:
        """Block until told to stop. Raises what made it impossible to go on."""
        self.stopping.wait()
        if self._fatal is not None:
            raise self._fatal

    def stop(self) -> None:
        """Stop in the reverse order; all of it together gets STOP_GRACE_S, what is not done then is given up."""
        self.stopping.set()
        deadline_s = self._clock.monotonic() + STOP_GRACE_S
        with self._changing:
            self._rest(deadline_s)
            _close(self._closers, deadline_s, self._clock)
        self._on_event(Event("daemon.stopped", {}))

    def health(self) -> Health:
        """How the daemon is, from end to end: for the supervisor and for ``/readyz``."""
        return self._vitals.health(self.watch, self.runner)

    def reload(self, renewed: Callable[[], House]) -> Sequence[str]:
        """Work by a new configuration from here on; what is under way gets STOP_GRACE_S to end by the old one.

        Returns the changed settings that only a restart brings. Raises ConfigInvalid, and then nothing has changed.
        """
        with self._changing:
            house = renewed().in_place_of(self._house)
            house.rooms  # noqa: B018 - builds them, secrets read: what cannot be is refused before anything stops
            changed = house.loaded.differs_from(self._house.loaded)
            late = tuple(key for key in changed if key in ONLY_BY_RESTART)
            working = self.runner is not None
            if not self.stopping.is_set():
                self._rest(self._clock.monotonic() + STOP_GRACE_S)
                self._house = house
                if self._outlet is not None:
                    self._outlet.renew(house)
                if working:
                    self._work()
                self._on_event(Event("config.reloaded", {"changed": list(changed), "needs_restart": list(late)}))
            return late

    def once(
        self, *, since: datetime | str | None, until: datetime | None, paths: Sequence[str], patience_s: float
    ) -> Outcome:
        """Take everything that can be taken now, deliver it, and say how that went."""
        begun = self._clock.now()
        if self.watch is None or self.runner is None:
            raise LedgerDamaged(self.ledger.hold or "", fix=hold.FIX)
        if since is not None or until is not None or paths:
            self.watch.take(
                paths=[os.fsencode(os.path.abspath(p)) for p in paths] or None,
                since=since if isinstance(since, datetime) else None,
                until=until,
            )
        watch = self.watch
        settled = threading.Thread(target=lambda: watch.drain(patience_s), name="once-drain", daemon=True)
        settled.start()
        while settled.is_alive() and not self.stopping.is_set():
            settled.join(once.LOOK_S)
        heeds = {lane.name: lane.pause for room in self._house.rooms for lane in room.lanes}
        once.drain(self.ledger, self._clock, begun, self.stopping, heeds)
        return once.outcome(self.ledger, begun, interrupted=self.stopping.is_set())

    # ------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        from daemon.run.control import ControlServer

        ledger, house = self.ledger, self._house
        ledger.recover()
        if (error := erase.resume(ledger, house.rooms)) is not None:
            self._on_event(Event("erasure.halted", {"reason": str(error), "fix": error.fix}, "error"))
        if ledger.is_new:
            self._first_start()
        control = ControlServer(house.paths.control, self._act)
        self._closers.append(lambda _grace_s: control.close())
        if self._serves:
            self._listen()
        reason = ledger.hold
        if reason is None:
            self._work()
        else:
            self._on_event(Event("daemon.held", {"reason": reason, "fix": hold.FIX}, "error"))
        self._on_event(Event("daemon.started", {"pid": os.getpid()}))

    def _listen(self) -> None:
        live = Live(self.ledger.view, lambda name, args: self._act(name, args, False))
        asked = Asked(live, self._token, self.health)
        self._outlet = serve(self._house, asked, on_event=self._on_event)
        if self._outlet is not None:
            self._closers.append(_whatever_the_time(self._outlet.close))

    def _scan_now(self) -> None:
        watch = self.watch
        if watch is not None:
            watch.scan_now()

    def _first_start(self) -> None:
        """What lies there from before us: each room says what it makes of it, before anything is watched."""
        with self.ledger.view() as view:
            acted = [room.first_start(view) for room in self._house.rooms if room.first_start is not None]
        self.ledger.begin(acted)

    def _rest(self, deadline_s: float) -> None:
        """Stop all that works by the configuration; the ledger and the door for commands stay open."""
        _close(self._workers, deadline_s, self._clock)
        self.watch = self.runner = None

    def _work(self) -> None:
        from daemon.run.runner import Runner
        from daemon.watch.watch import Watch

        house = self._house
        self._workers.extend(_whatever_the_time(room.close) for room in house.rooms)
        self.runner = Runner(self.ledger, house.rooms, self._clock, on_event=self._on_event, on_fatal=self._give_up)
        self.runner.start()
        runner = self.runner
        self._workers.append(runner.stop)
        inlets = [inlet for room in house.rooms for inlet in room.inlets]
        self.watch = Watch(
            inlets,
            watch_options(house.config, hints=self._hints),
            self.ledger.files,
            self._clock,
            on_event=self._on_event,
        )
        self.watch.start()
        watch = self.watch
        self._workers.append(watch.stop)
        self._schedule()

    def _schedule(self) -> None:
        from daemon.run.pulse import EVERY_S, Pulse
        from daemon.run.schedule import Schedule

        scheduled = [one for room in self._house.rooms for one in room.schedules]
        schedule = Schedule(self.ledger, scheduled, self._clock, on_event=self._on_event)
        url = self._house.config.http.healthcheck_url
        if url is not None:
            schedule.beat(Pulse(url, self.health, on_event=self._on_event).beat, EVERY_S)
        schedule.start()
        self._workers.append(_whatever_the_time(schedule.close))

    def _act(self, name: str, args: Mapping[str, Any], dry_run: bool) -> Json:
        answer = do(self.ledger, self._house, name, args, dry_run=dry_run)
        if name in ("ledger.adopt", "ledger.redeliver") and not dry_run:
            with self._changing:
                if self.runner is None and not self.stopping.is_set():
                    self._work()
        if name == "scan" and not dry_run:
            self._scan_now()
        return answer

    def _told(self, event: Event) -> None:
        """A line of the journal, after its commit: passed on, and whoever wants to be woken by it is. Called by the
        thread that writes, so it must not wait for a commit."""
        self._on_event(event)
        wanted = [room.wakes[event.name] for room in self._house.rooms if event.name in room.wakes]
        if wanted and self.runner is not None:
            due = self._clock.now() + WAKE_AFTER
            self.ledger.add_jobs_later([replace(job, due=due) for job in wanted])

    def _give_up(self, error: Exception) -> None:
        if isinstance(error, LedgerDamaged):
            upkeep.suspect(self.ledger.paths.ledger)
        if isinstance(error, CallspoolError):
            self._fatal = error
        else:
            self._fatal = OperatorError(f"cannot go on: {type(error).__name__}", fix="see the log; callspool doctor")
        self.stopping.set()  # first: a log that fails too must not keep the process alive
        self._on_event(Event("daemon.failed", {"reason": str(self._fatal)}, "error"))


def _whatever_the_time(close: Callable[[], object]) -> Callable[[float], object]:
    return lambda _grace_s: close()


def _close(closers: list[Callable[[float], object]], deadline_s: float, clock: Clock) -> None:
    """Close in the reverse order, each with what is left of the time."""
    while closers:
        closers.pop()(max(0.0, deadline_s - clock.monotonic()))


def watch_options(config: Config, *, hints: bool) -> WatchOptions:
    """The watch's options out of the configuration."""
    from daemon.watch.options import WatchOptions

    watch = config.watch
    roles = ("recordings", "conversations", "leads")
    return WatchOptions(
        scan_every_s=watch.scan_every.total_seconds(),
        quiet_audio_s=watch.quiet.audio.total_seconds(),
        quiet_json_s=watch.quiet.json_.total_seconds(),
        unproved_s=watch.quiet.unproved.total_seconds(),
        max_settle_s=watch.max_settle.total_seconds(),
        since=watch.since,
        ready_suffix=watch.ready_suffix,
        ignore=tuple(watch.ignore),
        poll=watch.poll if isinstance(watch.poll, Mapping) else dict.fromkeys(roles, watch.poll),
        guard=watch.guard,
        events=hints,
    )


def prepare_process(environ: Mapping[str, str]) -> str:
    """What must be so in the process before any thread starts; returns the run's id."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # a lease that a writer breaks signals its holder: us
    trace.listen(environ)
    return secrets.token_hex(4)


def demo(folder: Path, clock: Clock, out: TextIO, *, as_json: bool, keep: bool, forgetful: bool) -> bool:
    """Play the demo below ``folder``, with a real daemon; True when every call arrived as it should."""
    from handlers.demo.play import show

    @contextmanager
    def work(config: Path, on_event: Callable[[Event], None]) -> Iterator[None]:
        daemon = Daemon(House.open(config, {}, folder, {}, clock), hints=True, on_event=on_event)
        try:
            daemon.start()
            yield
        finally:
            daemon.stop()

    prepare_process({})
    return show(folder, work, clock, out, as_json=as_json, keep=keep, forgetful=forgetful)

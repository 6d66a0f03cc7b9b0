"""The house at work: starts and stops everything in order.

The order of a start: ledger (lock, check, migrations), what the last process left in the middle, the door for commands,
the workers, the watch. A stop goes the other way round, and the ledger closes last.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from daemon import erase, trace
from daemon.acts import do
from daemon.config import read_secret
from daemon.contract import Clock, Event, Json
from daemon.errors import CallspoolError, LedgerDamaged, OperatorError
from daemon.health import Health
from daemon.house import Config, House
from daemon.ledger import hold, jobs, upkeep
from daemon.outlet import Asked, Live, Outlet, serve
from daemon.run import once
from daemon.run.once import Outcome
from daemon.vitals import Vitals

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
        # Now that all is read, what was decided while some of it was not is decided by what is known.
        deciding = [lane.name for room in self._house.rooms for lane in room.lanes if lane.inline]
        self.ledger.write("jobs.woken", lambda tx: jobs.look_again(tx, deciding))
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
        control = ControlServer(house.paths.control, self._act, self._answer)
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
        self.ledger.files.begin_catching_up()  # first: no worker may take for absent what nobody looked for
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

    def _answer(self, name: str, args: Mapping[str, Any]) -> Json:
        with self.ledger.view() as read:
            return self._house.answer(name, args, read)

    def _told(self, event: Event) -> None:
        """A line of the journal, after its commit: passed on, and whoever wants to be woken by it is. Called by the
        thread that writes, so it must not wait for a commit."""
        self._on_event(event)
        if event.name == "clock.jumped" and self.watch is not None:
            self.watch.catch_up()
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

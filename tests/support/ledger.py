"""A toy room over a real ledger and a real runner.

Its destination is a folder: every effect it accepts is one line appended to a file, so that a test can count what the
world saw. Its handler decides what a test tells it to, and its performer can be told to raise, to hang, or to accept
and then say nothing.

As a program, ``python -m tests.support.ledger STATE WORLD``, it runs a fixed piece of work to its end: two jobs that
share one effect, and one inline job that counts them. Tests kill it at every named point.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from daemon import trace
from daemon.contract import (
    Effect,
    Event,
    Job,
    JobSpec,
    Lane,
    Outcome,
    Patience,
    Planned,
    Reader,
    Receipt,
    Room,
    Subject,
    Tx,
)
from daemon.errors import Unanswered
from daemon.ledger.ledger import Ledger
from daemon.ledger.paths import StatePaths
from daemon.ledger.reading import Readers
from daemon.ledger.writer import WriteTx
from daemon.run.runner import Runner

ROOT = Path(__file__).parents[2]
"""Where the packages lie: what a program started by a test is started in."""

DEADLINE_S = 20.0
"""How long a test waits for what must come."""

PATIENCE = Patience((timedelta(minutes=1), timedelta(minutes=5)), refusals=3)
"""Of the toy's destinations; no test waits that long, they move the clock."""


class ToyClock:
    """The system's clock, moved by hand: ``advance`` lets time pass, ``jump`` sets only the wall clock."""

    def __init__(self) -> None:
        self._wall = timedelta()
        self._passed_s = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + self._wall

    def monotonic(self) -> float:
        return time.monotonic() + self._passed_s

    def advance(self, by: timedelta) -> None:
        self._wall += by
        self._passed_s += by.total_seconds()

    def jump(self, by: timedelta) -> None:
        self._wall += by


class World:
    """What the destination has accepted: one line for each effect, in order."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.book = folder / "accepted"

    def accept(self, effect: Effect) -> None:
        given = {identity: receipt.data for identity, receipt in effect.given.items()}
        line = json.dumps({"identity": effect.identity, "key": effect.key, "given": given})
        fd = os.open(self.book, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, line.encode() + b"\n")
        finally:
            os.close(fd)

    @property
    def lines(self) -> list[dict[str, Any]]:
        if not self.book.exists():
            return []
        return [json.loads(line) for line in self.book.read_text().splitlines()]

    @property
    def accepted(self) -> list[str]:
        """Identities, in the order they were accepted, repetitions included."""
        return [line["identity"] for line in self.lines]


@dataclass(slots=True)
class Accepted:
    """Tells the performer to accept the effect and then to raise: it arrived, and nobody heard so."""

    error: Exception


Behaviour = Exception | Accepted | threading.Event


@dataclass
class ToyPerformer:
    """Accepts unless told otherwise. ``script`` says by identity what happens at each call, in order."""

    world: World
    script: dict[str, deque[Behaviour]] = field(default_factory=lambda: defaultdict(deque))
    lookups: dict[str, deque[Exception]] = field(default_factory=lambda: defaultdict(deque))
    answers_lookups: bool = True
    on_doubt: Literal["resend", "hold"] = "resend"
    calls: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    unlearned: list[bool] = field(default_factory=list)
    """Of every effect at each call."""

    def find(self, effect: Effect, /) -> Receipt | None:
        self.asked.append(effect.identity)
        if self.lookups[effect.identity]:
            raise self.lookups[effect.identity].popleft()
        if not self.answers_lookups:
            raise Unanswered("cannot be asked")
        known = any(line["key"] == effect.key for line in self.world.lines)
        return Receipt({"id": effect.identity, "found": True}, facts=(Noted(effect.identity),)) if known else None

    def perform(self, effect: Effect, /) -> Receipt:
        self.calls.append(effect.identity)
        self.unlearned.append(effect.unlearned)
        behaviour = self.script[effect.identity].popleft() if self.script[effect.identity] else None
        if isinstance(behaviour, threading.Event):
            assert behaviour.wait(DEADLINE_S)
        elif isinstance(behaviour, Exception):
            raise behaviour
        self.world.accept(effect)
        if isinstance(behaviour, Accepted):
            raise behaviour.error
        return Receipt(
            {"id": effect.identity},
            event=Event("toy.accepted", {"identity": effect.identity, "dest": effect.dest}),
            facts=(Noted(effect.identity),),
        )

    def doubt(self, effect: Effect, /) -> Literal["resend", "hold"]:
        return self.on_doubt


@dataclass(frozen=True, slots=True)
class Noted:
    """A fact in the toy's table; counts how often it was written."""

    name: str

    def write(self, tx: Tx) -> None:
        tx.execute(
            "INSERT INTO toy (name, times) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET times = times + 1",
            (self.name,),
        )


Plan = Callable[[Job, Reader], Outcome]


@dataclass
class ToyHandler:
    """Decides what ``plans`` says for a job's key, else what ``default`` says."""

    kinds: tuple[str, ...]
    default: Plan
    plans: dict[str, Plan] = field(default_factory=dict)
    seen: list[Job] = field(default_factory=list)

    def plan(self, job: Job, read: Reader) -> Outcome:
        self.seen.append(job)
        return self.plans.get(job.key, self.default)(job, read)


def put(identity: str, *, dest: str = "world", content: str = "") -> Effect:
    """An effect of the toy room."""
    return Effect.of("put", identity, dest, {"content": content})


def puts(*effects: Effect, then: Sequence[JobSpec] = ()) -> Plan:
    """A plan of these effects, whatever the job."""
    return lambda _job, _read: Planned(effects=effects, then=tuple(then))


def one_effect(job: Job, _read: Reader) -> Outcome:
    """The default: one effect named after the job."""
    return Planned(effects=(put(job.key),))


def note(job: Job, _read: Reader) -> Outcome:
    """The inline lane's default: a fact named after the job."""
    return Planned(facts=(Noted(f"inline {job.key}"),))


class Toy:
    """State folder, ledger, runner and room of one test. ``start`` after the jobs are there, or before."""

    def __init__(self, folder: Path, *, workers: int = 2, clock: ToyClock | None = None) -> None:
        self.clock = clock or ToyClock()
        self.paths = StatePaths(folder / "state")
        self.world = World(folder / "world")
        self.performer = ToyPerformer(self.world)
        self.handler = ToyHandler(("toy",), one_effect)
        self.inline = ToyHandler(("count",), note)
        self.room = Room(
            "toy",
            handlers=(self.handler, self.inline),
            lanes=(Lane("work", ("toy",), workers), Lane("order", ("count",), 1, inline=True)),
            performers={"put": self.performer},
            subjects={"toy": Subject("call_id", "c")},
            patience={"world": PATIENCE, "other": PATIENCE},
        )
        self.events: list[Event] = []
        self.fatal: list[Exception] = []
        self.ledger: Ledger
        self.runner: Runner

    def open(self, **options: Any) -> Ledger:
        """Open the ledger and recover it, as the daemon does."""
        self.ledger = open_ledger(self.paths, self.clock, self.events.append, self.room, **options)
        self.ledger.recover()
        return self.ledger

    def start(self) -> Runner:
        """Start the runner over the open ledger."""
        self.make().start()
        return self.runner

    def make(self) -> Runner:
        """A runner over the open ledger that does nothing yet."""
        self.runner = Runner(
            self.ledger,
            [self.room],
            self.clock,
            on_event=self.events.append,
            on_fatal=self.fatal.append,
            chance=lambda: 0.0,
        )
        return self.runner

    def add(self, *keys: str, kind: str = "toy") -> None:
        """Add or wake jobs."""
        self.ledger.add_jobs([JobSpec(kind, key) for key in keys])

    def pass_time(self, by: timedelta) -> None:
        """Let time pass and have the workers look."""
        self.clock.advance(by)
        self.look()

    def look(self) -> None:
        """Wake every worker."""
        self.runner.wake(frozenset({"work", "order"}))

    def rows(self, sql: str, *args: object) -> list[dict[str, Any]]:
        with self.ledger.view() as view:
            return [dict(row) for row in view.rows(sql, args)]

    def job(self, key: str, kind: str = "toy") -> dict[str, Any]:
        return self.rows("SELECT * FROM job WHERE kind = ? AND key = ?", kind, key)[0]

    def effect(self, identity: str) -> dict[str, Any]:
        return self.rows("SELECT * FROM effect WHERE identity = ? AND state != 'superseded'", identity)[0]

    def destination(self, name: str = "world") -> dict[str, Any]:
        rows = self.rows("SELECT * FROM destination WHERE name = ?", name)
        return rows[0] if rows else {"state": "closed", "failures": 0}

    def noted(self) -> dict[str, int]:
        return {row["name"]: row["times"] for row in self.rows("SELECT * FROM toy")}

    def names(self) -> list[str]:
        """The names of every event so far."""
        return [event.name for event in self.events]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what must come."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert not self.fatal, self.fatal
            assert time.monotonic() < deadline, self.rows("SELECT kind, key, state, reason FROM job")
            time.sleep(0.002)

    def until_state(self, state: str, *keys: str, kind: str = "toy") -> None:
        """Wait until these jobs have come to a state."""
        wanted = dict.fromkeys(keys, state)
        self.until(
            lambda: (
                wanted.items()
                <= {
                    row["key"]: row["state"] for row in self.rows("SELECT key, state FROM job WHERE kind = ?", kind)
                }.items()
            )
        )

    def told(self) -> list[str]:
        """The names of the events of all that is committed: a commit is seen a moment before it is told of."""
        self.ledger.write("test.told", lambda _tx: None)
        return self.names()

    def close(self) -> None:
        """Stop and close whatever is open."""
        if hasattr(self, "runner"):
            self.runner.stop(DEADLINE_S)
            del self.runner
        if hasattr(self, "ledger"):
            self.ledger.close()
            del self.ledger


def open_ledger(
    paths: StatePaths, clock: ToyClock, on_event: Callable[[Event], None], room: Room, **options: Any
) -> Ledger:
    """The ledger with the toy's table and lanes."""
    lanes: Mapping[str, str] = {kind: lane.name for lane in room.lanes for kind in lane.kinds}
    ledger = Ledger(
        paths,
        clock,
        readers=Readers(paths.ledger, clock),
        sources=(),
        lanes=lanes,
        on_event=on_event,
        **options,
    )

    def table(tx: WriteTx) -> None:
        tx.execute("CREATE TABLE IF NOT EXISTS toy (name TEXT PRIMARY KEY, times INTEGER NOT NULL) STRICT")

    ledger.write("toy.made", table)
    return ledger


@contextmanager
def toy(folder: Path, *, workers: int = 2, start: bool = True, **options: Any) -> Iterator[Toy]:
    """A toy with its ledger open, and its runner started unless told otherwise."""
    made = Toy(folder, workers=workers)
    try:
        made.open(**options)
        if start:
            made.start()
        yield made
    finally:
        made.close()


def main(state: str, world: str) -> None:
    """Two jobs that share an effect, and an inline job after each, to their end."""
    trace.listen(os.environ)
    house = Toy(Path(state), workers=1)
    house.world = house.performer.world = World(Path(world))
    then = (JobSpec("count", "all"),)
    house.handler.plans = {
        "1": puts(put("x"), put("shared"), then=then),
        "2": puts(put("shared"), put("y"), then=then),
    }
    house.open()
    house.start()
    house.add("1", "2")
    house.until_state("done", "1", "2")
    house.until_state("done", "all", kind="count")
    house.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

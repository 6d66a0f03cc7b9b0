"""All that a handler, a performer or a room may see of the machine.

**A handler decides, the ledger remembers, the runner acts.** A handler gets a job and a read-only view and returns
a value: ``Planned``, ``Postponed`` or ``Rejected``. The ledger commits all of that value in one transaction. The runner
then performs the effects, outside any transaction, and commits each receipt. Three things follow and need no code
of their own: dry run is not performing the effects; a decision is tested by calling a function; a crash at any
instruction leaves either a decision not yet taken or an effect whose fate is looked up before it is tried again.

This file is a leaf: it imports nothing of callspool but the quantities and marks it lends to the rooms'
settings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from sqlite3 import Row
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, TypeAlias

from daemon.filesystem import sync_folder as sync_folder
from daemon.folders import OwnFolder as OwnFolder
from daemon.folders import folder as folder
from daemon.outward import Address as Address
from daemon.outward import SecretFile as SecretFile
from daemon.quantities import bitrate as bitrate
from daemon.quantities import bitrate_text as bitrate_text
from daemon.quantities import duration as duration
from daemon.quantities import duration_text as duration_text
from daemon.quantities import percent as percent
from daemon.quantities import percent_text as percent_text
from daemon.quantities import size as size
from daemon.quantities import size_text as size_text

if TYPE_CHECKING:
    import typer
    from fastapi import APIRouter


Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
Fields: TypeAlias = Mapping[str, Json]


class Clock(Protocol):
    """Where time comes from. Nothing below ``app`` and ``cli`` asks the system itself."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC. For deadlines that must survive a restart."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump. For quiet windows and durations inside one run."""
        ...


# ------------------------------------------------------------------------------------------------- what is known


@dataclass(frozen=True, slots=True)
class Item:
    """One content in one role: what a settled file became. Several paths may hold it.

    ``evidence`` is what the file's name says (stamp, epoch, ids), normalised by the room that owns the role; equal
    content with other evidence is another item. ``name`` is the printable base name, ``path`` the printable path
    relative to the root, both of the first file that brought the content. ``mtime_ns`` is that file's, in
    nanoseconds since the epoch. ``flags`` are doubts raised while settling, such as ``weak_settle`` or
    ``incomplete``. ``replaces`` is the item that the same name held before: this one is its new version. An
    earlier content that returns replaces the one it takes over from.
    """

    id: int
    role: str
    kind: str
    sha256: str
    size: int
    evidence: str
    name: str
    path: str
    mtime_ns: int
    first_seen_at: datetime
    flags: tuple[str, ...] = ()
    replaces: int | None = None


class Contents(Protocol):
    """The bytes of items, as they were when they were hashed. Safe to use from any thread."""

    def open(self, item_id: int) -> AbstractContextManager[BinaryIO]:
        """Open a file that holds the item's content, without following links.

        Raises ContentGone when no known path holds it, and ContentMoved when the content is no longer what was hashed:
        on entering, and when size, mtime, ctime or inode moved, again on leaving, so that what was read meanwhile is
        never used. On entering, times or an inode that moved have the file hashed again.
        """
        ...

    def path(self, item_id: int) -> bytes:
        """An absolute path that holds the content, checked as in ``open``. For programs that need a name."""
        ...


class Reader(Protocol):
    """A read-only view of the ledger at one moment."""

    @property
    def now(self) -> datetime:
        """The moment this decision is taken at."""
        ...

    def rows(self, sql: str, args: Sequence[object] = ()) -> list[Row]:
        """The rows a SELECT returns. Rooms keep their SQL in ``handlers/records.py``."""
        ...

    def item(self, item_id: int) -> Item:
        """The item with this id; raises UnknownSubject."""
        ...

    def receipt(self, key: str) -> Receipt | None:
        """What performing the effect with this key returned, if it is done."""
        ...

    def known_until(self, lane: str, since: datetime) -> datetime:
        """The moment up to which all that came into the watched folders from ``since`` on has been through a lane:
        ``now`` where nothing is left, the moment since which nobody looked while what came then is not through it."""
        ...


class Tx(Protocol):
    """The open transaction, as a fact sees it."""

    @property
    def now(self) -> datetime:
        """The moment of the decision being committed."""
        ...

    def execute(self, sql: str, args: Sequence[object] = ()) -> int:
        """Run one statement; returns the number of rows it changed."""
        ...


# ------------------------------------------------------------------------------------------------- what is decided


class Fact(Protocol):
    """Something learned, able to write itself down. Writing must be repeatable: a replanned job states it again."""

    def write(self, tx: Tx) -> None:
        """Put the fact into its room's tables. Raises TakenMeanwhile (or IntegrityError, where a table says so) where
        it claims what another decision was given since: one that was taken on a view is then taken anew."""
        ...


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the journal, and after the commit of the log: ``noun.past_participle``.

    ``fields`` use the documented names (``call_id``, ``path``, ``reason``, …) and hold nothing that was said,
    nobody's name, and no number in clear.
    """

    name: str
    fields: Fields = field(default_factory=dict)
    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job to add, or to wake where (kind, key) exists already.

    ``due`` is the earliest time to run it; None is at once. A waiting job is woken to the earlier of the two times.
    """

    kind: str
    key: str
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to decide about one subject.

    ``attempt`` counts from 1; interruptions do not count. ``told`` is true when a person asked for this very run
    with ``callspool retry``.
    """

    id: int
    kind: str
    key: str
    attempt: int
    created_at: datetime
    told: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """What performing an effect returned.

    ``data`` is kept in the ledger; ``event`` becomes its journal line. ``facts`` are written in the very transaction
    that confirms the effect: between "it is done" and "we know what was done" there is no moment to die in.
    """

    data: Fields
    event: Event | None = None
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Effect:
    """One change of the world outside the ledger.

    ``key`` is identity plus a digest of the content: equal keys are the same effect, however many jobs want it.
    ``identity`` names what is changed; an effect of the same type and identity with other content supersedes one
    still pending. ``dest`` names the destination whose health it shares. ``given`` holds, when it is performed, the
    receipts of the effects that stand before it in its job, by their ``identity``; ``sends`` how often it was started
    before; ``unlearned`` whether other content of the same identity was sent before, and nobody learned its fate: then
    what is there now need not be this.
    """

    type: str
    identity: str
    dest: str
    payload: Fields
    key: str
    given: Mapping[str, Receipt] = field(default_factory=dict)
    sends: int = 0
    unlearned: bool = False

    @classmethod
    def of(cls, type_: str, identity: str, dest: str, payload: Fields) -> Effect:
        """The effect with its key made from type, identity and the SHA-256 of the canonical payload."""
        canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:20]
        return cls(type_, identity, dest, payload, f"{type_}:{identity}:{digest}")


@dataclass(frozen=True, slots=True)
class Planned:
    """Facts to write, effects to perform in this order, and jobs to add once all effects are done."""

    facts: tuple[Fact, ...] = ()
    effects: tuple[Effect, ...] = ()
    then: tuple[JobSpec, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Postponed:
    """Not yet: a partner is missing, a window is closed. The job runs again at ``until`` or when woken."""

    until: datetime
    reason: str
    facts: tuple[Fact, ...] = ()
    then: tuple[JobSpec, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A person must look. ``reason`` is short and masked; ``fix`` is the command that mends it."""

    reason: str
    fix: str = ""
    facts: tuple[Fact, ...] = ()
    then: tuple[JobSpec, ...] = ()
    events: tuple[Event, ...] = ()


Outcome: TypeAlias = Planned | Postponed | Rejected


# ------------------------------------------------------------------------------------------------- who decides and acts


class Handler(Protocol):
    """Decides. Knows neither threads nor transactions nor retries."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of job it plans."""
        ...

    def plan(self, job: Job, read: Reader) -> Outcome:
        """Look and decide. May raise ContentError: the job then waits until the file has settled again."""
        ...


class Performer(Protocol):
    """Changes the world, one effect at a time, and may be called from several threads.

    It translates every vendor's error into ours (DeliveryError): what follows is decided from the class alone.
    Seconds of patience belong here, minutes to days to the ledger.
    """

    def find(self, effect: Effect, /) -> Receipt | None:
        """Is it already so? Called before ``perform`` whenever the effect's fate is unknown.

        Returns None where it surely is not so. Raises Unanswered where the destination cannot be asked; the runner then
        does what ``doubt`` says. NotSent, Throttled and Denied mean: ask later.
        """
        ...

    def perform(self, effect: Effect, /) -> Receipt:
        """Make it so and return what is worth remembering; raises a DeliveryError or a ContentError."""
        ...

    def doubt(self, effect: Effect, /) -> Literal["resend", "hold"]:
        """What to do with an effect in doubt that cannot be looked up: again under the same key, or a person."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to keep trying a destination: ``schedule`` is the wait after each failure, the last repeating;
    ``refusals`` how often it may say no to one effect before a person must look."""

    schedule: tuple[timedelta, ...]
    refusals: int


@dataclass(frozen=True, slots=True)
class Lane:
    """Workers that share the jobs of some kinds.

    ``workers`` bounds how many of them are in work at once. An ``inline`` lane plans inside the write transaction, one
    job after the other: its decisions see one another, and it must return quickly and have no effects. ``pause`` names
    the ``callspool pause`` that it heeds beside that of everything.
    """

    name: str
    kinds: tuple[str, ...]
    workers: int
    inline: bool = False
    pause: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """How people name the subject of a kind of job: ``prefix`` + the job's key, in the log field ``field``."""

    field: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Inlet:
    """A watched folder and what its files are.

    ``role`` names the folder's part in an item's identity, ``kind`` the job a settled file starts. ``folder`` is
    absolute. ``evidence`` turns a printable path relative to the root into what its name says, normalised.
    """

    role: str
    kind: str
    folder: str
    evidence: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Acted:
    """What a command of a person changes: committed together, with its journal lines."""

    answer: Json
    facts: tuple[Fact, ...] = ()
    then: tuple[JobSpec, ...] = ()
    events: tuple[Event, ...] = ()


Act: TypeAlias = Callable[[Mapping[str, Any], Reader], Acted]
"""A command of a person: arguments and a view in, the change out. Raises OperatorError, and then changes nothing."""

Question: TypeAlias = Callable[[Mapping[str, Any], Reader], Json]
"""What a person asks: arguments and a view in, the answer out. Raises OperatorError; changes nothing."""


@dataclass(frozen=True, slots=True)
class Witness:
    """What stands outside the ledger about a call: its transcript's SHA-256 (empty where there is none), its id in the
    CRM, empty if untold, and the SHA-256 of its recordings."""

    sha256: str
    call_id: str
    recordings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removal:
    """Something elsewhere that is to be erased: ``what`` for the person who asked, ``do`` removes it, again without
    harm, or raises a DeliveryError."""

    what: str
    do: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Held:
    """An item's very bytes in a store: under which name, how many, and how to read some of them (first, length), which
    raises a DeliveryError."""

    name: str
    size: int
    open: Callable[[int, int], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True, slots=True)
class Traces:
    """What a room knows of some items beyond their rows, for whoever erases them.

    ``words`` are those by which anything else may name them: names, ids, numbers; each at least six characters long.
    ``files`` are files that callspool wrote about them, as absolute folder and name, ``removals`` what lies in stores.
    ``todo`` is what only a person can do elsewhere. All of it is shown to that person and kept nowhere. ``contents``
    are role and SHA-256 of what no item speaks for yet and must never be taken in; ``facts`` take away the room's rows
    that name them without belonging to an item.
    """

    words: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    removals: tuple[Removal, ...] = ()
    todo: tuple[str, ...] = ()
    contents: tuple[tuple[str, str], ...] = ()
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``doctor``: what was looked at, how it stands, what follows, and the command that mends it."""

    subject: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""
    exit_code: int = 1
    keep: tuple[str, Fields] | None = None
    """The act that keeps what was found, with its arguments: done where there is a ledger that is ours to write."""


class Desk(Protocol):
    """What a room's command-line verbs may use."""

    @property
    def clock(self) -> Clock:
        """What time it is."""
        ...

    @property
    def config(self) -> Any:
        """The whole configuration, each section under its name; raises ConfigInvalid."""
        ...

    def path(self, given: str) -> Path:
        """A path of the configuration, absolute."""
        ...

    def secret(self, key: str) -> str | None:
        """The secret of a ``*_file`` setting; None where there is none."""
        ...

    def read(self) -> AbstractContextManager[Reader]:
        """A view of the ledger, beside a running daemon or without one."""
        ...

    def ask(self, question: str, args: Fields) -> Any:
        """A machine's or a room's answer: the running daemon's if there is one, else read here."""
        ...

    def act(self, name: str, args: Fields, *, dry_run: bool = False) -> Json:
        """Have the act done, by the running daemon if there is one, else here under the ledger's lock."""
        ...

    def work(self, settings: Mapping[str, Any]) -> bool:
        """Do all open work here, by these settings (``section.key``) above all others; False where a daemon runs."""
        ...

    def show(self, value: Json, text: str) -> None:
        """Print ``value`` where ``--json`` was given, else ``text``."""
        ...


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A job to add by the clock. ``cron`` has the five fields of crontab(5), read in ``timezone``.

    A run missed while the machine slept or the daemon was down is made up for once.
    """

    cron: str
    timezone: str
    job: JobSpec
    every: timedelta | None = None
    """In place of ``cron``: this long after the last run."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong now: ``key`` stays the same while it lasts, ``line`` tells people, and nothing that is
    somebody's."""

    key: str
    line: str


def _none(_read: Reader) -> Sequence[Trouble]:
    return ()


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine lends to the rooms while it builds them."""

    contents: Contents
    clock: Clock
    view: Callable[[], AbstractContextManager[Reader]]
    """A read-only view of the ledger, for performers that write out what it holds."""
    troubles: Callable[[Reader], Sequence[Trouble]] = _none
    """What is wrong with any part of the daemon, for whoever tells people."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric, named without the ``callspool_`` in front. A name that ends in ``_total`` is a counter.

    Labels come from closed sets: never an id, a number or a path.
    """

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


class Serving(Protocol):
    """What a room's routes may use."""

    def view(self) -> AbstractContextManager[Reader]:
        """A view of the ledger."""
        ...

    def act(self, name: str, args: Fields) -> Json:
        """Have a person's command done; raises OperatorError."""
        ...


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Room:
    """One room of the house, as a value. Nothing registers itself by being imported."""

    name: str
    handlers: tuple[Handler, ...] = ()
    lanes: tuple[Lane, ...] = ()
    performers: Mapping[str, Performer] = field(default_factory=dict)
    subjects: Mapping[str, Subject] = field(default_factory=dict)
    """By kind of job."""
    patience: Mapping[str, Patience] = field(default_factory=dict)
    """By destination."""
    inlets: tuple[Inlet, ...] = ()
    acts: Mapping[str, Act] = field(default_factory=dict)
    redo: Mapping[str, Callable[[Reader, str], Acted]] = field(default_factory=dict)
    """By kind of job: what a person's ``retry`` does where the job of that key is done."""
    questions: Mapping[str, Question] = field(default_factory=dict)
    """What its verbs ask, by name: answered by the running daemon, or by the verb itself where none runs."""
    status: Callable[[Reader], Fields] | None = None
    """Its part of ``callspool status``."""
    explain: Callable[[Reader, str], Fields | None] | None = None
    """What it knows of a call or path named by a person; None where it knows nothing."""
    failures: Callable[[Reader], Sequence[Fields]] | None = None
    """What waits for a person beyond parked jobs: each with ``subject``, ``reason`` and ``fix``."""
    checks: tuple[Callable[[Reader | None], Sequence[Finding]], ...] = ()
    """Its lines of ``callspool doctor``; the view is None where there is no ledger yet."""
    schedules: tuple[Scheduled, ...] = ()
    """What it does by the clock."""
    wakes: Mapping[str, JobSpec] = field(default_factory=dict)
    """By an event's name: the job to add soon after it was committed. A hint: a crash in between loses it."""
    metrics: Callable[[Reader], Iterable[Sample]] | None = None
    routes: Callable[[Serving], APIRouter] | None = None
    """Its routes over HTTP, behind the guard."""
    open_paths: tuple[str, ...] = ()
    """Of these, the totals that loopback is shown without a token."""
    big_paths: tuple[str, ...] = ()
    """Of these, those that take files and limit their bodies by themselves."""
    judged_paths: tuple[str, ...] = ()
    """Beginnings of paths whose routes judge by themselves who may look, where a token is configured."""
    holds: Callable[[Reader, int], Held | None] | None = None
    """Where it keeps an item's very bytes; None where it has none."""
    verbs: Callable[[Desk], Mapping[str, typer.Typer]] | None = None
    """Its groups of verbs on the command line."""
    first_start: Callable[[Reader], Acted] | None = None
    """Run once, when the ledger is new, before anything is watched."""
    adopt: tuple[Fact, ...] = ()
    """Written when a person ends hold mode by adopting: what is known so far counts as done."""
    traces: Callable[[Reader, Sequence[int]], Traces] | None = None
    """What it knows of these items: asked before they are erased. Rows that name them are erased by themselves."""
    witnesses: Callable[[], Iterable[Witness]] | None = None
    """What its stores tell of calls, asked when a ledger is rebuilt. Raises a DeliveryError."""
    heard: Callable[[Sequence[Witness], bool], tuple[Fact, ...]] | None = None
    """What it makes of all witnesses; true where a person says that what they name was delivered."""
    redeliver: Callable[[Reader], Acted] | None = None
    """What witnesses outside the ledger say was done, when a person ends hold mode by redelivering."""
    stop: Callable[[], None] = _nothing
    """Called when stopping begins: let go of what takes long and can be done again. Its effects raise NotSent then."""
    close: Callable[[], None] = _nothing
    """Give back what the room holds: processes, connections."""

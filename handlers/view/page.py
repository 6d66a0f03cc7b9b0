"""The operator's page: what is known now, gathered into one value, and that value as HTML.

Everything it says is text from the ledger put through a template that escapes all of it; numbers of callers are shown
by their last four digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from functools import cache
from typing import TYPE_CHECKING, Any

from daemon.contract import Reader
from handlers import records
from handlers.records import Cause, LatestCall, Pause, Site, Stage
from handlers.view import chart

if TYPE_CHECKING:
    from jinja2 import Environment, Template

DAYS = 30
"""Days of the chart."""

CALLS, EVENTS, HELD = 20, 30, 10
"""Calls, journal lines and held calls on the page."""

HIDDEN_FIELDS = ("host_id", "run_id")
"""Fields of the journal that say nothing to whoever reads one host's page."""


@dataclass(frozen=True, slots=True)
class Hours:
    """The collection's report (formats.md, section 7, and what a person wants beside it), its hours by day, what
    compression saved (section 8), and what lies in storage: all that takes adding up."""

    report: Mapping[str, Any]
    days: tuple[tuple[str, float], ...]
    at: datetime
    savings: Mapping[str, float] = field(default_factory=dict)
    stored: Mapping[str, Any] | None = None

    @property
    def chart(self) -> str:
        """The days as SVG."""
        return chart.hours_by_day(self.days)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may belong to a held call: its name, its probability, and the evidence in words."""

    name: str
    probability: float
    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A call whose recording or lead evidence cannot tell."""

    call: str
    what: str
    candidates: tuple[Candidate, ...]
    settles: str


@dataclass(frozen=True, slots=True)
class Model:
    """All that the page says. ``hours`` is None while they are being counted for the first time. Without
    ``signed_in`` it holds totals and nothing of anybody's."""

    now: datetime
    version: str
    signed_in: bool
    hours: Hours | None
    hold: str | None = None
    causes: tuple[Cause, ...] = ()
    stages: tuple[Stage, ...] = ()
    folders: tuple[Site, ...] = ()
    destinations: tuple[Site, ...] = ()
    free_bytes: int | None = None
    calls: tuple[LatestCall, ...] = ()
    held: tuple[Held, ...] = ()
    held_count: int = 0
    events: tuple[Mapping[str, Any], ...] = ()
    waves: Mapping[int, str] = field(default_factory=dict)
    paused: tuple[Pause, ...] = ()

    @property
    def stored(self) -> Mapping[str, Any] | None:
        """What lies in storage, by place; None while it is being counted for the first time."""
        return None if self.hours is None else self.hours.stored

    @property
    def needed(self) -> int:
        """How many things wait for a person."""
        return sum(cause.count for cause in self.causes) + self.held_count + (self.hold is not None)


def hours_now(
    read: Reader,
    report: Callable[[Reader], Mapping[str, Any]],
    by_day: Callable[[Reader, datetime], Mapping[str, float]],
    zone: tzinfo | None,
) -> Hours:
    """The hours at the reader's moment, with a bar for each of the last days in ``zone`` (None: the host's), also those
    without any."""
    today = read.now.astimezone(zone).date()
    dates = [(today - timedelta(days=nth)).isoformat() for nth in reversed(range(DAYS))]
    counted = by_day(read, read.now - timedelta(days=DAYS + 1))
    days = tuple((date, counted.get(date, 0.0)) for date in dates)
    return Hours(report(read), days, read.now, records.storage_figures(read), records.copy_counts(read))


def waves(calls: Sequence[LatestCall]) -> dict[int, str]:
    """The recordings of these calls as drawings; those that nobody listened to have none."""
    return {
        call.recording_id: chart.waveform([int(digit, 36) / 35 for digit in call.peaks], f"c{call.id}", part_of(call))
        for call in calls
        if call.recording_id is not None and call.peaks
    }


def part_of(call: LatestCall) -> str:
    """Which part of it is drawn, where that is not all."""
    whole = call.duration_s is None or call.heard_s >= call.duration_s - 1
    return "" if whole else f", its first {minutes(call.heard_s)}"


def gather(read: Reader, *, version: str, hours: Hours | None, free_bytes: int | None) -> Model:
    """Everything there is to say to somebody who is signed in."""
    held = records.ambiguous(read, HELD)
    calls = records.latest_calls(read, CALLS)
    return Model(
        now=read.now,
        version=version,
        signed_in=True,
        hours=hours,
        hold=records.hold_reason(read),
        causes=(*records.causes(read), *records.stuck_files(read)),
        stages=records.stages(read),
        folders=records.folders(read),
        destinations=records.destinations(read),
        free_bytes=free_bytes,
        calls=calls,
        waves=waves(calls),
        paused=records.pauses(read),
        held=tuple(_held(*one) for one in held),
        held_count=records.ambiguous_count(read),
        events=records.journal_lines(read, 0, EVENTS),
    )


def _held(number: int, what: str, told: Mapping[str, Any]) -> Held:
    candidates = tuple(
        Candidate(one[what], one["probability"], tuple(_term(term) for term in one.get("terms", ())))
        for one in told.get("candidates", ())
    )
    return Held(f"c{number}", what, candidates, told.get("would_settle") or "")


def _term(term: Mapping[str, Any]) -> str:
    seconds = f" ({term['seconds']:+.1f} s)" if "seconds" in term else ""
    return f"{term['name']}: {term['says']}{seconds}, weight 10^{term['weight']:+.1f}"


def render(model: Model, *, said: str = "") -> str:
    """The page as HTML. ``said`` is what the last act answered."""
    return _template().render(m=model, said=said)


def prepare() -> None:
    """Load and compile what the first page would have to wait a third of a second for."""
    _template()


def _template() -> Template:
    return _templates().get_template("page.html")


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    found = Environment(
        loader=PackageLoader("handlers.view"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    found.filters.update(
        ago=ago, clock=clock, minutes=minutes, size=size, tail=tail, event=event_text, drawn=Markup, subject=subject
    )
    return found


def ago(at: datetime, now: datetime) -> str:
    """How long before ``now``: 4 s, 12 min, 3 h, 6 d."""
    seconds = max(0, int((now - at).total_seconds()))
    for span, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= span:
            return f"{seconds // span} {unit}"
    return f"{seconds} s"


def clock(at: datetime) -> str:
    """A moment as people read it, in UTC."""
    return at.strftime("%Y-%m-%d %H:%M:%S")


def minutes(seconds: float | None) -> str:
    """Seconds of audio as minutes and seconds; a dash where there are none."""
    if seconds is None:
        return "–"
    whole = int(seconds + 0.5)
    return f"{whole // 60}:{whole % 60:02d}"


def size(count: int | None) -> str:
    """Bytes in units of 1024."""
    left = float(count or 0)
    for unit in ("bytes", "KB", "MB", "GB"):
        if left < 1024:
            return f"{left:,.0f} {unit}" if unit == "bytes" else f"{left:,.1f} {unit}"
        left /= 1024
    return f"{left:,.1f} TB"


def tail(number: str | None) -> str:
    """The last four digits of a number."""
    return "–" if not number else f"…{number[-4:]}"


def subject(cause: Cause, key: str) -> str:
    """How a person names the subject of a parked job: c5 for a call, otherwise kind and key."""
    prefix = {"call": "c", "recording": "r", "conversation": "c", "lead": "l"}.get(cause.kind)
    return key if cause.kind == "file" else f"{prefix}{key}" if prefix and key.isdigit() else f"{cause.kind}:{key}"


def event_text(fields: Mapping[str, Any]) -> str:
    """The fields of a journal line, without those that say nothing here."""
    shown: Sequence[tuple[str, Any]] = [
        (key, value) for key, value in fields.items() if value not in (None, "", []) and key not in HIDDEN_FIELDS
    ]
    return "  ".join(f"{key}={value}" for key, value in shown)

"""The numbers of a collection in the shapes of formats.md, sections 6 and 7. Pure.

MB and GB are 2^20 and 2^30 bytes. Rounding is half up on the exact decimal; rates use unrounded times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from daemon.contract import Json
from handlers.records import Collected, CollectedSide, Day, Total

MB, GB = 2**20, 2**30
HOUR_MS, MINUTE_MS = 3_600_000, 60_000

TIMELINE_DAYS = 30
"""Days by which a forecast is made."""

FURTHEST_DAYS = 36_500
"""Days from now after which a forecast says nothing."""


def half_up(value: Fraction | int, digits: int) -> float:
    """A number rounded half up to so many digits."""
    exact = Fraction(value)
    step = Decimal(1).scaleb(-digits)
    with_spare = Decimal(exact.numerator) / Decimal(exact.denominator)
    return float(with_spare.quantize(step, ROUND_HALF_UP))


def statistics(total: Total, target_hours: float | None) -> dict[str, Json]:
    """``GET /statistics``: ``progress`` only with a target."""
    count = total.conversations
    hours = Fraction(total.ms, HOUR_MS)
    said: dict[str, Json] = {
        "summary": {
            "total_conversations": count,
            "total_hours": half_up(hours, 2),
            "total_minutes": half_up(Fraction(total.ms, MINUTE_MS), 2),
            "total_size_mb": half_up(Fraction(total.size, MB), 2),
            "total_size_gb": half_up(Fraction(total.size, GB), 2),
            "average_duration_minutes": half_up(Fraction(total.ms, MINUTE_MS * count), 2) if count else 0.0,
            "average_size_mb": half_up(Fraction(total.size, MB * count), 2) if count else 0.0,
        }
    }
    if target_hours is not None:
        said["progress"] = progress(total, target_hours)
    return said


def progress(total: Total, target_hours: float) -> dict[str, Json]:
    """How far a target is. ``estimated_conversations_needed`` is null while nothing tells how long one is."""
    target, hours = Fraction(target_hours), Fraction(total.ms, HOUR_MS)
    remaining = max(Fraction(0), target - hours)
    needed = math.ceil(remaining * total.conversations / hours) if hours else None
    return {
        "target_hours": int(target_hours) if target_hours == int(target_hours) else target_hours,
        "current_hours": half_up(hours, 2),
        "remaining_hours": half_up(remaining, 2),
        "progress_percentage": half_up(100 * hours / target, 1),
        "estimated_conversations_needed": 0 if not remaining else needed,
        "target_reached": hours >= target,
    }


SIDES = ("agent", "customer")


def document(one: Collected, folder: str, zone: tzinfo | None) -> dict[str, Json]:
    """A conversation of ``conversations_metadata.json``. ``folder`` is the recordings folder as it is configured."""
    if one.document is not None:
        return one.document
    sides = {side.side: side for side in one.sides}
    names = ("mixed",) if "mixed" in sides else SIDES
    return {
        "conversation_id": identity(one),
        "timestamp": one.at.astimezone(zone).replace(tzinfo=None).isoformat(timespec="seconds"),
        **{name: None if name not in sides else _side(sides[name], folder) for name in names},
        "total": {
            "size_mb": half_up(Fraction(one.size, MB), 2),
            "duration_seconds": half_up(Fraction(one.ms, 1000), 1),
            "duration_minutes": half_up(Fraction(one.ms, MINUTE_MS), 2),
            "duration_hours": half_up(Fraction(one.ms, HOUR_MS), 4),
        },
    }


def identity(one: Collected) -> str:
    """What a conversation is called there: what its sides share, else its file's path without the suffix."""
    if one.group.startswith("g:"):
        return one.group.removeprefix("g:").rpartition("/")[2]
    path = one.sides[0].path if one.sides else one.group
    stem, dot, _ = path.rpartition(".")
    return stem if dot and not stem.endswith("/") else path


def _side(side: CollectedSide, folder: str) -> dict[str, Json]:
    return {
        "filepath": f"{folder}/{side.path}" if folder else side.path,
        "url": side.url,
        "size_mb": half_up(Fraction(side.size, MB), 2),
        "duration_seconds": half_up(Fraction(side.ms, 1000), 1),
        "duration_minutes": half_up(Fraction(side.ms, MINUTE_MS), 2),
    }


_SIDE_COLUMNS = ("filepath", "url", "size_mb", "duration_seconds", "duration_minutes")
_TOTAL_COLUMNS = ("size_mb", "duration_seconds", "duration_minutes", "duration_hours")


def columns(*, mixed: bool) -> list[str]:
    """The header of ``conversations_metadata.csv``; with ``mixed`` where some call was recorded as one file."""
    sides = (*SIDES, "mixed") if mixed else SIDES
    return [
        "conversation_id",
        "timestamp",
        *(f"{side}_{name}" for side in sides for name in _SIDE_COLUMNS),
        *(f"total_{name}" for name in _TOTAL_COLUMNS),
    ]


def row(said: dict[str, Json], header: list[str]) -> list[str]:
    """One document flattened to these columns. Cells that a spreadsheet would run as a formula begin with ``'``."""
    cells = []
    for column in header:
        part, _, name = column.partition("_")
        value = said.get(column) if column in ("conversation_id", "timestamp") else _nested(said, part, name)
        cells.append(_harmless("" if value is None else str(value)))
    return cells


def _nested(said: dict[str, Json], part: str, name: str) -> Json:
    inner = said.get(part)
    return inner.get(name) if isinstance(inner, dict) else None


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def summary(date: str, day: Day) -> dict[str, Json]:
    """The daily summary of formats.md, section 6."""
    rate = half_up(Fraction(100 * day.calls, day.tried), 1) if day.tried else 0.0
    return {
        "date": date,
        "files_processed": day.files,
        "recordings_uploaded": day.recordings,
        "call_data_uploaded": day.calls,
        "leads_uploaded": day.leads,
        "failed_uploads": day.failed,
        "success_rate": f"{rate:.1f}%",
        "total_data_mb": int(half_up(Fraction(day.bytes_sent, MB), 0)),
    }


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a collection grows. ``forecast`` is when the target is reached at the pace of the last 30 days."""

    lasted: timedelta
    conversations_per_hour: float
    hours_per_hour: float
    forecast: datetime | None


def pace(total: Total, recent_ms: int, target_hours: float | None, now: datetime) -> Pace:
    """The pace of a collection. ``recent_ms``: what the last 30 days brought."""
    if total.first is None or total.last is None:
        return Pace(timedelta(), 0.0, 0.0, None)
    lasted = total.last - total.first
    hours = lasted.total_seconds() / 3600
    begun = min(timedelta(days=TIMELINE_DAYS), max(now - total.first, timedelta(hours=1)))
    remaining_ms = 0 if target_hours is None else target_hours * HOUR_MS - total.ms
    forecast = None
    if target_hours is not None and remaining_ms > 0 and recent_ms > 0:
        days = begun / timedelta(days=1) * (remaining_ms / recent_ms)
        forecast = now + timedelta(days=days) if days < FURTHEST_DAYS else None
    return Pace(
        lasted,
        total.conversations / hours if hours else 0.0,
        total.hours / hours if hours else 0.0,
        forecast,
    )

"""Times as producers write them, turned into aware datetimes in UTC.

A time without an offset is the producer's local time: ``zone`` says whose. In the hour that a clock change repeats the
first pass is meant, in the hour it skips the offset from before holds; both are Python's ``fold=0``. A time outside
2000 to 2099 is an unset clock or a hostile number and is no time.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TypeAlias

Zone: TypeAlias = tzinfo | None
"""A zone; None is this host's own, with whatever rules it has."""

EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)

LONGEST_TEXT = 64
"""Characters; no way to write a time needs more."""

_STAMP = re.compile(
    r"(?P<year>\d{4})-?(?P<month>\d\d)-?(?P<day>\d\d)[T_ -]?"
    r"(?P<hour>\d\d)[-:.]?(?P<minute>\d\d)[-:.]?(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?"
    r"(?P<zulu>[Zz])?"
)
_PARTS = ("year", "month", "day", "hour", "minute", "second")
_SESSION = re.compile(r"(?<!\d)(\d{8})[_T-]?(\d{6})(?!\d)")
_NUMBER = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,12})?")
_UNITS = ((1e17, 1_000_000_000), (1e14, 1_000_000), (1e11, 1_000), (0.0, 1))


def anchored(moment: datetime | None, zone: Zone) -> datetime | None:
    """A time, naive ones in ``zone``, as UTC; None where it is outside 2000 to 2099."""
    if moment is None or not 1990 <= moment.year <= 2110:
        return None
    if moment.tzinfo is None and zone is not None:
        moment = moment.replace(tzinfo=zone)
    utc = moment.astimezone(UTC)
    return utc if EARLIEST <= utc < LATEST else None


def parse(value: object, zone: Zone) -> datetime | None:
    """A time out of a document: ISO 8601 in its variants, or a number since the epoch; None where it is neither.

    Numbers are seconds, milliseconds, microseconds or nanoseconds by their size. A date alone is no moment.
    """
    if isinstance(value, str):
        text = value.strip()
        if len(text) > LONGEST_TEXT:
            return None
        if _NUMBER.fullmatch(text):
            return anchored(stamp(text), zone) or epoch(float(text))
        return anchored(_iso(text), zone)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return epoch(value)
    return None


def _iso(text: str) -> datetime | None:
    """ISO 8601, or a stamp as names carry it."""
    for suffix in (" UTC", " GMT"):
        if text.upper().endswith(suffix):
            text = text[: -len(suffix)] + "+00:00"
    if len(text) <= 10:
        return None
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return stamp(text)


def epoch(value: float) -> datetime | None:
    """A number since the epoch, its unit told by its size; None outside 2000 to 2099."""
    try:
        size = abs(value)
        if not math.isfinite(size):
            return None
        unit = next(unit for bound, unit in _UNITS if size >= bound)
        whole, rest = divmod(value, unit)
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=whole, microseconds=rest / unit * 1_000_000)
    except OverflowError:
        return None
    return moment if EARLIEST <= moment < LATEST else None


def stamp(text: str, format_: str | None = None) -> datetime | None:
    """The time a name carries, naive unless it says otherwise; None where it carries none.

    ``format_`` (strptime) reads it where given. Else our own forms are ``2025-10-29T06-49-07.351452`` and
    ``20251013_135233``, with the separators of either.
    """
    try:
        if format_ is not None:
            return datetime.strptime(text, format_)  # noqa: DTZ007 the caller knows the zone
        found = _STAMP.fullmatch(text)
        if found is None:
            return None
        year, month, day, hour, minute, second = (int(found[part]) for part in _PARTS)
        micro = int((found["fraction"] or "").ljust(6, "0")[:6])
        return datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC if found["zulu"] else None)
    except (ValueError, OverflowError):
        return None


def session_second(session_id: str | None, zone: Zone) -> datetime | None:
    """The second inside a session id such as ``session_20251029_064824_2e0aa754``."""
    if session_id is None:
        return None
    compact = _SESSION.search(session_id)
    if compact is not None:
        return anchored(stamp(f"{compact[1]}_{compact[2]}"), zone)
    spelled = _STAMP.search(session_id)
    return anchored(stamp(spelled[0]), zone) if spelled is not None else None

"""What every place asks: the command line, HTTP, the page, reports and metrics all come through here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from daemon.contract import Reader
from handlers import records
from handlers.collection import figures, report
from handlers.records import Collected, Counting, Kind, Total
from handlers.settings import CollectSettings, zone_of

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Collection:
    """The collection as it is configured. ``recordings`` is the folder as the configuration names it, ``wait`` how long
    the sides of one conversation wait for one another, ``zone`` None the host's."""

    settings: CollectSettings
    recordings: str
    wait: timedelta
    zone: tzinfo | None
    sides: tuple[str, ...] = ()
    """Of ``audio.sides``."""

    @classmethod
    def of(cls, config: Any) -> Collection:
        """Out of the whole configuration."""
        return cls(
            config.collect,
            config.watch.recordings,
            config.match.wait,
            zone_of(config.watch.timezone),
            config.audio.sides,
        )

    def counting(self, read: Reader, since: datetime | None = None) -> Counting:
        """What counts at the reader's moment."""
        return Counting(read.now - self.wait, since, self.sides)

    def totals(self, read: Reader, since: datetime | None = None) -> dict[Kind, Total]:
        """The four numbers."""
        return records.totals(read, self.counting(read, since))

    def statistics(self, read: Reader, target_hours: float | None = None) -> dict[str, Any]:
        """``GET /statistics``; the configured target where none is asked for."""
        target = self.settings.target_hours if target_hours is None else target_hours
        return figures.statistics(self.totals(read)[self.settings.counts], target)

    def report(self, read: Reader, targets: Sequence[float] = (), since: datetime | None = None) -> dict[str, Any]:
        """The report as data."""
        if not targets and self.settings.target_hours is not None:
            targets = (self.settings.target_hours,)
        counts = self.settings.counts
        totals = self.totals(read, since)
        recently = self.totals(read, read.now - timedelta(days=figures.TIMELINE_DAYS))[counts]
        pace = figures.pace(totals[counts], recently.ms, targets[0] if targets else None, read.now)
        by_side = records.sizes_by_side(read, self.counting(read, since), counts)
        return report.told(totals, counts, targets, pace, by_side, read.now)

    def by_day(self, read: Reader, since: datetime | None = None) -> dict[str, Total]:
        """The totals of each day, in the configured zone, on which a call began."""
        days: dict[str, Total] = {}
        for at, n, ms, size in records.quarters(read, self.counting(read, since), self.settings.counts):
            date = at.astimezone(self.zone).date().isoformat()
            known = days.get(date, Total())
            days[date] = Total(known.conversations + n, known.ms + ms, known.size + size)
        return {date: total for date, total in days.items() if total.conversations}

    def conversations(self, read: Reader) -> Iterator[Collected]:
        """Everything that counts, as ``conversations_metadata`` lists it."""
        return records.conversations_collected(read, self.counting(read), self.settings.counts)

    def document(self, one: Collected) -> dict[str, Any]:
        """One of them in the form of formats.md, section 7."""
        return figures.document(one, self.recordings, self.zone)

    def summary(self, read: Reader, date: str) -> dict[str, Any]:
        """The summary of one day, ``YYYY-MM-DD``, in the configured zone."""
        begins = datetime.fromisoformat(date)
        first = begins.replace(tzinfo=self.zone) if self.zone else begins.astimezone()
        after = begins + timedelta(days=1)
        last = after.replace(tzinfo=self.zone) if self.zone else after.astimezone()
        return figures.summary(date, records.day(read, first, last))

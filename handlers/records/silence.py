"""Whether recordings come: what is remembered of a silence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from daemon.contract import Reader, Tx
from handlers.records.rows import maybe_micros, maybe_moment, micros


def last_recording(read: Reader) -> datetime | None:
    """When the latest recording was registered."""
    rows = read.rows("SELECT registered_us FROM recording ORDER BY id DESC LIMIT 1")
    return maybe_moment(rows[0]["registered_us"]) if rows else None


def silence(read: Reader) -> tuple[datetime | None, datetime | None]:
    """Since when it is looked whether recordings come, and when the last one came before a silence that lasts."""
    rows = read.rows("SELECT watched_us, last_us FROM collect_silence")
    if not rows:
        return None, None
    return maybe_moment(rows[0]["watched_us"]), maybe_moment(rows[0]["last_us"])


@dataclass(frozen=True, slots=True)
class SilenceKept:
    """It is looked since ``watched`` (None: since now); ``last`` was the last recording before a silence that lasts."""

    watched: datetime | None
    last: datetime | None

    def write(self, tx: Tx) -> None:
        """Put it down."""
        tx.execute(
            "INSERT INTO collect_silence (id, watched_us, last_us) VALUES (1, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET watched_us = excluded.watched_us, last_us = excluded.last_us",
            (micros(self.watched or tx.now), maybe_micros(self.last)),
        )

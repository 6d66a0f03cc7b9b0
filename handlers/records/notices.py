"""What is wrong, since when, and whether somebody was told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from daemon.contract import Reader, Tx
from handlers.records.rows import micros, moment


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that is wrong, in a line without anything that is somebody's."""

    key: str
    line: str
    since: datetime
    told: bool


def notices(read: Reader) -> dict[str, Notice]:
    """What was wrong when it was last looked at, by key."""
    return {
        row["key"]: Notice(row["key"], row["line"], moment(row["since_us"]), bool(row["told"]))
        for row in read.rows("SELECT * FROM notice ORDER BY since_us, key")
    }


@dataclass(frozen=True, slots=True)
class NoticeKept:
    """This is wrong, since now where it was not before; ``told``: somebody is told now, or was before."""

    key: str
    line: str
    told: bool

    def write(self, tx: Tx) -> None:
        """Put it down."""
        tx.execute(
            "INSERT INTO notice (key, line, since_us, told) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET line = excluded.line, told = max(told, excluded.told)",
            (self.key, self.line, micros(tx.now), int(self.told)),
        )


@dataclass(frozen=True, slots=True)
class NoticeOver:
    """This is wrong no more."""

    key: str

    def write(self, tx: Tx) -> None:
        """Forget it."""
        tx.execute("DELETE FROM notice WHERE key = ?", (self.key,))

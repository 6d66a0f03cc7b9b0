"""How many rows there are of each kind, out of the sums that triggers keep (migration 0005)."""

from __future__ import annotations

from typing import NamedTuple

from daemon.contract import Reader


class Running(NamedTuple):
    """So many rows, and their bytes where they have some."""

    n: int = 0
    size: int = 0


def running(read: Reader, what: str) -> dict[str, Running]:
    """The sums of one kind, by part."""
    rows = read.rows("SELECT part, n, size FROM running_total WHERE what = ?", (what,))
    return {row["part"]: Running(row["n"], row["size"]) for row in rows}

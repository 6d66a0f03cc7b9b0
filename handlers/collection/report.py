"""The report as data, out of the same figures as everything else. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from handlers.collection.figures import HOUR_MS, MB, Pace, half_up, progress, statistics
from handlers.records import KINDS, Kind, Total


def told(
    totals: Mapping[Kind, Total],
    counted: Kind,
    targets: Sequence[float],
    pace: Pace,
    by_side: Mapping[str, int],
    now: datetime,
) -> dict[str, Any]:
    """The report as data: the figures of ``/statistics`` and what a person wants beside them."""
    total = totals[counted]
    return {
        **statistics(total, targets[0] if targets else None),
        "generated_at": now.isoformat(timespec="seconds"),
        "counted": counted,
        "hours": {kind: half_up(Fraction(totals[kind].ms, HOUR_MS), 2) for kind in KINDS},
        "targets": [progress(total, target) for target in targets],
        "timeline": {
            "first_conversation": None if total.first is None else total.first.isoformat(timespec="seconds"),
            "last_conversation": None if total.last is None else total.last.isoformat(timespec="seconds"),
            "duration_hours": round(pace.lasted.total_seconds() / 3600, 2),
            "conversations_per_hour": round(pace.conversations_per_hour, 2),
            "hours_collected_per_hour": round(pace.hours_per_hour, 2),
            "forecast": None if pace.forecast is None else pace.forecast.date().isoformat(),
        },
        "storage_mb": {side: half_up(Fraction(size, MB), 2) for side, size in sorted(by_side.items())},
    }

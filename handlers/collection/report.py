"""The report a person reads, out of the same figures as everything else. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from handlers.collection.figures import HOUR_MS, MB, Pace, half_up, progress, statistics
from handlers.records import KINDS, Kind, Total

BAR = 24
"""Cells of a progress bar."""


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


def hours_text(said: Mapping[str, Any]) -> str:
    """The four numbers and the targets on a screen."""
    hours = said["hours"]
    lines = [f"HOURS   {'   '.join(f'{kind} {hours[kind]:,.2f}' for kind in KINDS)}   (counted: {said['counted']})"]
    lines += [_target(target, said["timeline"]["forecast"]) for target in said["targets"]]
    return "\n".join(lines)


def report_text(said: Mapping[str, Any]) -> str:
    """The whole report on a screen."""
    summary, timeline = said["summary"], said["timeline"]
    lines = [
        hours_text(said),
        "",
        f"conversations        {summary['total_conversations']:,}",
        f"audio                {summary['total_hours']:,.2f} h ({summary['total_minutes']:,.2f} min)",
        f"size                 {summary['total_size_mb']:,.2f} MB ({summary['total_size_gb']:,.2f} GB)",
        f"average              {summary['average_duration_minutes']:,.2f} min, {summary['average_size_mb']:,.2f} MB",
    ]
    lines += [f"storage, {side:<12}{size:,.2f} MB" for side, size in said["storage_mb"].items()]
    if timeline["first_conversation"] is not None:
        lines += [
            "",
            f"first conversation   {timeline['first_conversation']}",
            f"last conversation    {timeline['last_conversation']}",
            f"collected in         {timeline['duration_hours']:,.2f} h",
            f"conversations/hour   {timeline['conversations_per_hour']:,.2f}",
            f"audio hours/hour     {timeline['hours_collected_per_hour']:,.2f}",
        ]
    return "\n".join(lines)


def _target(target: Mapping[str, Any], forecast: str | None) -> str:
    goal, percent = f"{target['target_hours']:,} h", target["progress_percentage"]
    full = max(0, min(BAR, int(percent / 100 * BAR)))
    bar = "█" * full + "░" * (BAR - full)
    if target["target_reached"]:
        return f"TARGET  {goal}   {bar}   {percent} %   TARGET REACHED: {target['current_hours']:,.2f} h collected"
    needed = target["estimated_conversations_needed"]
    more = "" if needed is None else f"; about {needed:,} conversations more"
    course = "" if forecast is None else f"; on course for {forecast}"
    return f"TARGET  {goal}   {bar}   {percent} %   {target['remaining_hours']:,.2f} h to go{more}{course}"

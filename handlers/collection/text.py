"""The report as a person reads it. Loads none of what makes it: a verb is to answer in a blink."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BAR = 24
"""Cells of a progress bar."""


def hours_text(said: Mapping[str, Any]) -> str:
    """The four numbers and the targets on a screen."""
    by_kind = "   ".join(f"{kind} {hours:,.2f}" for kind, hours in said["hours"].items())
    lines = [f"HOURS   {by_kind}   (counted: {said['counted']})"]
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

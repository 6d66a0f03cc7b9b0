"""Whether encoding may begin now: hours, load, battery. What is under way is finished."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from handlers.settings import CompressSettings, minutes_of, within, zone_of

LOOK_AGAIN = timedelta(minutes=2)
"""Until load and battery are looked at again: the load is a mean of the last minute."""

SUPPLIES = Path("/sys/class/power_supply")


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the settings ask of the machine. ``timezone`` is a zone's name, or ``host``."""

    settings: CompressSettings
    timezone: str = "host"
    load: Callable[[], float] = lambda: os.getloadavg()[0] / (os.cpu_count() or 1)
    on_battery: Callable[[], bool] = lambda: discharging(SUPPLIES)

    def against(self, now: datetime) -> tuple[datetime, str] | None:
        """Until when not, and why; None where nothing is against it."""
        if self.settings.between is not None:
            opens = opening(self.settings.between, self.timezone, now)
            if opens > now:
                return opens, f"compress.between lets nothing be encoded before {opens:%H:%M} UTC"
        if not self.settings.on_battery and self.on_battery():
            return now + LOOK_AGAIN, "the machine runs on its battery (compress.on_battery)"
        most = self.settings.max_load
        if most is not None and (load := self.load()) > most:
            return now + LOOK_AGAIN, f"the load is {load:.2f} for each core, above compress.max_load"
        return None


def opening(between: str, timezone: str, now: datetime) -> datetime:
    """When the hours ``HH:MM-HH:MM`` begin, in UTC; ``now`` while they last. They may go past midnight."""
    here = now.astimezone(zone_of(timezone))
    if within(between, here):
        return now
    hour, minute = divmod(minutes_of(between)[0], 60)
    opens = here.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (opens if opens > here else opens + timedelta(days=1)).astimezone(now.tzinfo)


def discharging(supplies: Path) -> bool:
    """Whether a battery that is no mouse's feeds the machine (Linux; elsewhere nobody says, so no)."""
    for supply in sorted(supplies.glob("*")):
        said = {name: _said(supply / name) for name in ("type", "scope", "status")}
        if said["type"] == "Battery" and said["scope"] != "Device" and said["status"] == "Discharging":
            return True
    return False


def _said(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

"""Letting sources go by age. The floor is not a setting: what the CRM has not accepted is never removed.

One job a day; it removes a batch and comes again until nothing is left to remove. Whatever lies on hold, has open work
or was delivered by somebody else stays.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from daemon.contract import Effect, Event, Job, JobSpec, Machine, Planned, Reader, Receipt
from daemon.errors import ContentGone, NotSent
from handlers import records
from handlers.records.rows import micros
from handlers.settings import RetentionRule, RetentionSettings

KIND = "retention"
DAILY = "daily"
REMOVE = "source.remove"
DISK = "disk"

BATCH = 200
"""Sources removed by one decision: keeps its transaction short."""

KINDS = {"recordings": "recording", "conversations": "conversation", "leads": "lead"}


@dataclass(frozen=True, slots=True)
class Due:
    """A source whose time has come."""

    item_id: int
    kind: str
    name: str
    size: int


def due(read: Reader, rules: Sequence[RetentionRule], limit: int = BATCH) -> tuple[Due, ...]:
    """The sources whose time has come by these rules, each once."""
    found: dict[int, str] = {}
    for rule in rules:
        before_us = micros(read.now - rule.after)
        for folder in rule.remove:
            ids = records.delivered_before(read, before_us, KINDS[folder], limit, stored=rule.state == "stored")
            found.update(dict.fromkeys(ids, KINDS[folder]))
    items = [(read.item(number), kind) for number, kind in list(found.items())[:limit]]
    return tuple(Due(item.id, kind, item.name, item.size) for item, kind in items)


class Retention:
    """Decides what goes today."""

    kinds = (KIND,)

    def __init__(self, settings: RetentionSettings) -> None:
        self._rules = settings.rules

    def plan(self, job: Job, read: Reader) -> Planned:
        """A batch of sources to remove; then another look, until there are none."""
        found = due(read, self._rules)
        effects = tuple(Effect.of(REMOVE, str(one.item_id), DISK, {"item": one.item_id}) for one in found)
        if not effects:
            return Planned()
        again = JobSpec(KIND, job.key, read.now + timedelta(seconds=1))
        event = Event("retention.applied", {"items": len(found), "size_bytes": sum(one.size for one in found)})
        return Planned(effects=effects, then=(again,), events=(event,))


class RemoveSource:
    """Removes the file that holds an item, if it holds it still."""

    def __init__(self, machine: Machine) -> None:
        self._contents = machine.contents

    def find(self, effect: Effect, /) -> Receipt | None:
        """Whether it is gone already."""
        try:
            self._contents.path(_item(effect))
        except ContentGone:
            return Receipt({"removed": True})
        return None

    def doubt(self, _effect: Effect, /) -> Literal["resend", "hold"]:
        """Removing what is gone changes nothing."""
        return "resend"

    def perform(self, effect: Effect, /) -> Receipt:
        """Remove every path that holds the content; raises NotSent where the disk says no."""
        count = 0
        while True:
            try:
                path = self._contents.path(_item(effect))
            except ContentGone:
                return Receipt({"removed": count})
            try:
                os.unlink(path)
            except OSError as error:
                raise NotSent(f"it cannot be removed ({os.strerror(error.errno or 0)})") from error
            count += 1


def _item(effect: Effect) -> int:
    number = effect.payload["item"]
    assert isinstance(number, int)
    return number

"""``conversations_metadata.json`` of an older collection, read so that its count goes on. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from handlers.records import ConversationImported

SIDES = ("agent", "customer", "mixed")
LONGEST_S = 10_000_000.0
"""A conversation of more than a hundred days is a mistake."""


class NotThatForm(Exception):
    """An entry is not of the form that formats.md, section 7, describes; says why."""


def imported(entry: object, zone: tzinfo | None) -> ConversationImported:
    """One entry of the array. Raises NotThatForm."""
    if not isinstance(entry, Mapping):
        raise NotThatForm("an entry is no object")
    conversation_id = entry.get("conversation_id")
    if not isinstance(conversation_id, str) or not conversation_id:
        raise NotThatForm("an entry has no conversation_id")
    total = entry.get("total")
    if not isinstance(total, Mapping):
        raise NotThatForm("an entry has no total")
    sides = [side for name in SIDES if isinstance(side := entry.get(name), Mapping)]
    names = [re.split(r"[/\\]", path)[-1] for side in sides if isinstance(path := side.get("filepath"), str)]
    return ConversationImported(
        conversation_id,
        _moment(entry.get("timestamp"), zone),
        round(_number(total, "duration_seconds") * 1000),
        round(_number(total, "size_mb") * 2**20),
        tuple(name for name in names if name),
        dict(entry),
    )


def _number(part: Mapping[str, Any], name: str) -> float:
    value = part.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise NotThatForm(f"an entry's total has no {name}")
    if not 0 <= value <= LONGEST_S:
        raise NotThatForm(f"an entry's {name} cannot be")
    return float(value)


def _moment(text: object, zone: tzinfo | None) -> datetime:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        raise NotThatForm("an entry's timestamp is no ISO time") from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=zone) if zone else at.astimezone()).astimezone(UTC)

"""What is asked of the collection: answered by the running daemon, or by the verb itself where none runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from daemon.contract import Question, Reader
from daemon.errors import BadRequest
from handlers import records
from handlers.collection.asked import Collection


def questions(collection: Collection) -> Mapping[str, Question]:
    """By name."""
    return {"hours": partial(_hours, collection), "summary": partial(_summary, collection)}


def _hours(collection: Collection, args: Mapping[str, Any], read: Reader) -> dict[str, Any]:
    """The report, with the hours ``by`` a part where one is named; only calls ``since`` then, an ISO time."""
    since = None if args["since"] is None else datetime.fromisoformat(args["since"])
    said = collection.report(read, args["targets"], since)
    if args["by"]:
        said["by"] = _by(collection, read, args["by"], since)
    return said


def _by(collection: Collection, read: Reader, by: Any, since: datetime | None) -> dict[str, float]:
    if by == "day":
        found = collection.by_day(read, since)
    else:
        found = records.by_part(read, collection.counting(read, since), collection.settings.counts, by)
    return {name: round(total.hours, 2) for name, total in found.items()}


def _summary(collection: Collection, args: Mapping[str, Any], read: Reader) -> dict[str, Any]:
    day = args["day"] or read.now.astimezone(collection.zone).date().isoformat()
    try:
        return collection.summary(read, day)
    except ValueError:
        raise BadRequest(f"{day!r} is no date", fix="callspool summary 2025-10-29") from None

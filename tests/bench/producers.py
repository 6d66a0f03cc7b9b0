"""What recorder and voice bot write of the calls of a traffic: names, documents, and when each file is finished.

Names and fields are those of the field (formats.md, sections 1 to 3). No name, no id and no field tells which files
are of one call beyond what the traffic's parameters grant: what is random in them comes from nothing but chance.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tests.bench.talk import AGENT, Line
from tests.bench.traffic import Recorded, SimCall, Traffic

Kind = Literal["recordings", "conversations", "leads"]

OTHER_ZONE = timedelta(hours=5, minutes=27, seconds=6)
"""A sample of the field: session id 06:48:24, start field 12:15:30."""

WITHHELD = "anonymous"
"""What a recorder writes for a number it is not told."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file: ``arrives_at`` is when it is finished, on a clock that is right; a recording has no ``document``."""

    kind: Kind
    name: str
    arrives_at: datetime
    call: SimCall
    document: dict[str, Any] | None = None


def written(traffic: Traffic, calls: Iterable[SimCall], rng: random.Random) -> list[Written]:
    """All files of these calls, in the order in which they are finished."""
    files = [file for call in calls for file in _files(traffic, call, rng)]
    # Names are made distinct in an order of chance: who is first of a second would else be told by its name.
    rng.shuffle(files)
    taken: set[tuple[Kind, str]] = set()
    distinct = [_distinct(file, taken) for file in files]
    return sorted(distinct, key=lambda file: file.arrives_at)


def recorder_clock(traffic: Traffic, recorded: Recorded) -> timedelta:
    """How far the clock of this recording's recorder is ahead of one that is right."""
    return timedelta(seconds=traffic.second_clock_s if recorded.recorder else 0.0)


def _files(traffic: Traffic, call: SimCall, rng: random.Random) -> Iterator[Written]:
    stamp = f"{_clock(traffic, call.at(call.saved)):%Y-%m-%dT%H-%M-%S.%f}"
    session_id = f"session_{_clock(traffic, call.started_at):%Y%m%d_%H%M%S}_{rng.getrandbits(32):08x}"
    saved_at = call.at(call.saved + rng.uniform(0.0, 0.5))
    if call.recorded is not None:
        name = _recording_name(traffic, call, call.recorded, rng)
        yield Written("recordings", name, _finished(traffic, call, call.recorded, rng), call)
    if call.transcribed:
        document = _transcript(traffic, call, session_id, rng)
        yield Written(
            "conversations", f"transcript_session_{stamp}.json", _late(traffic, saved_at, rng), call, document
        )
    if call.lead is not None:
        taken = f"{_clock(traffic, call.at(call.lead.taken)):%Y%m%d_%H%M%S}"
        name = f"leads_session_{stamp}.json" if call.lead.by_stamp else f"lead_{taken}.json"
        arrives_at = _late(traffic, saved_at + timedelta(seconds=rng.uniform(-1.0, 2.0)), rng)
        yield Written("leads", name, arrives_at, call, _lead(traffic, call, session_id, rng))


def _recording_name(traffic: Traffic, call: SimCall, recorded: Recorded, rng: random.Random) -> str:
    began = call.at(recorded.begins) + recorder_clock(traffic, recorded)
    known = rng.random() < traffic.number_in_name
    return (traffic.second_name if recorded.recorder else traffic.first_name).format(
        number=call.number.replace("+", "_") if known else WITHHELD,
        epoch=int(began.timestamp()),
        stamp=f"{began:%Y%m%d_%H%M%S}",
    )


def _finished(traffic: Traffic, call: SimCall, recorded: Recorded, rng: random.Random) -> datetime:
    if rng.random() < traffic.recorder_first:
        return _late(traffic, call.at(max(recorded.ends, call.talk_s) + rng.uniform(0.1, 3.0)), rng)
    return _late(traffic, call.at(call.saved + rng.uniform(*traffic.recorder_last_s)), rng)


def _late(traffic: Traffic, at: datetime, rng: random.Random) -> datetime:
    return at + timedelta(seconds=rng.uniform(0.0, traffic.late_s)) if rng.random() < traffic.late else at


def _transcript(traffic: Traffic, call: SimCall, session_id: str, rng: random.Random) -> dict[str, Any]:
    elsewhere = OTHER_ZONE if rng.random() < traffic.contradictory else timedelta()
    start, end = (_clock(traffic, call.at(at)) + elsewhere for at in (0.0, call.talk_s))
    document: dict[str, Any] = {"session_id": session_id}
    if rng.random() >= traffic.missing_start:
        document["start_time"] = _iso(start)
    if rng.random() >= traffic.missing_end:
        document["end_time"] = _iso(end)
    document |= {"duration_seconds": round(call.talk_s), "total_items": len(call.lines)}
    document["conversation_items"] = [_item(traffic, line, start, call.talk_s, rng) for line in call.lines]
    if rng.random() >= traffic.lead_unsaid:
        document["lead_generated"] = call.lead is not None
    document["metadata"] = {"auto_saved": True}
    if rng.random() < traffic.number_in_metadata:
        document["metadata"]["phone_number"] = call.number
    return document


def _item(traffic: Traffic, line: Line, start: datetime, talk_s: float, rng: random.Random) -> dict[str, Any]:
    """A line: an agent's is stamped when it begins to speak, a caller's once it is understood."""
    agent = line.role == AGENT
    at = rng.gauss(line.begins, traffic.agent_stamp_sd_s) if agent else line.ends
    at += 0.0 if agent else rng.uniform(0.0, traffic.caller_stamp_lag_s)
    stamped = rng.random() >= traffic.unstamped_items
    return {
        "role": line.role,
        "content": "How may I help?" if agent else "A quote, please.",
        "timestamp": _iso(start + timedelta(seconds=min(max(at, 0.0), talk_s))) if stamped else None,
        "source": "voice_agent" if agent else "caller",
        "transcript_confidence": None if agent else round(rng.uniform(0.6, 1.0), 2),
    }


def _lead(traffic: Traffic, call: SimCall, session_id: str, rng: random.Random) -> dict[str, Any]:
    document = {
        "name": "A. Caller",
        "email": "caller@crm.example",
        "company": "Acme",
        "interest": "quote",
        "reference": f"{rng.getrandbits(64):016x}",
    }
    if rng.random() < traffic.lead_session:
        document["session_id"] = session_id
    if rng.random() < traffic.lead_number:
        document["phone"] = call.number
    return document


def _distinct(file: Written, taken: set[tuple[Kind, str]]) -> Written:
    """The file under a name that nobody of its folder has yet: what comes second of a name gets ``-2``, and so on."""
    stem, dot, ending = file.name.rpartition(".")
    name, nth = file.name, 1
    while (file.kind, name) in taken:
        nth += 1
        name = f"{stem}-{nth}{dot}{ending}"
    taken.add((file.kind, name))
    return Written(file.kind, name, file.arrives_at, file.call, file.document)


def _clock(traffic: Traffic, at: datetime) -> datetime:
    """What the conversations' clock shows."""
    return at.astimezone(UTC) + timedelta(seconds=traffic.clock_shift_s)


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

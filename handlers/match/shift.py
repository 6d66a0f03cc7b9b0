"""A clock or a time zone that is wrong shows as one constant distance between many recordings and conversations.

Where a conversation's wait is over and nothing fits, those without a partner are laid over one another: every pair of
a recording and a conversation of the same length names a distance, and one that most of them agree on is no chance.
Conversations are then held rather than sent alone, until a person says what is right (``match.offset``,
``watch.timezone``). Nothing is corrected by itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from daemon.contract import Event
from handlers import records
from handlers.match.assign import RecordingDecision
from handlers.match.changes import Changes
from handlers.records import ShiftCleared, ShiftSuspected

if TYPE_CHECKING:
    from datetime import datetime

    from handlers.settings import MatchSettings

Stretch = tuple[int, int]
"""Start and length in milliseconds."""

LOOKED_AT = 200
"""The newest recordings and conversations without a partner that are laid over one another."""

SAME_LENGTH_MS = 4_000
"""How much longer a recording may be than its conversation, to either side, and count as of the same length."""

AGREE_MS = 4_000
"""Distances this close are one."""

LEAST_MS = 60_000
"""A smaller distance is a habit of the recorder, and learned."""

MOST_MS = 26 * 3_600_000
"""Two clocks in any two time zones differ by at most 26 h (UTC-12 to UTC+14)."""

AGREED = 0.6
"""Share of either side that must agree: what is left over of ordinary traffic has nothing in common."""

FEWEST = 4
"""Pairs that must agree: fewer do so by chance."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Recordings lie ``shift_ms`` after their conversations in ``calls`` cases."""

    shift_ms: int
    calls: int


def constant_shift(recordings: Sequence[Stretch], conversations: Sequence[Stretch]) -> Shift | None:
    """The one distance that most of either side agree on; None where there is none."""
    by_length = sorted((length, start) for start, length in recordings)
    lengths = [length for length, _ in by_length]
    votes: Counter[int] = Counter()
    for start, length in conversations:
        first = bisect_left(lengths, length - SAME_LENGTH_MS)
        last = bisect_left(lengths, length + 2 * SAME_LENGTH_MS)
        apart = {(begun - start) // AGREE_MS for _, begun in by_length[first:last]}
        votes.update(place for place in apart if LEAST_MS <= abs(place * AGREE_MS) <= MOST_MS)
    if not votes:
        return None
    # A distance on the border of two bins votes for either: neighbours are counted together.
    place = max(votes, key=lambda at: (votes[at] + max(votes[at - 1], votes[at + 1]), -abs(at)))
    neighbour = max((place - 1, place + 1), key=lambda at: votes[at])
    count = votes[place] + votes[neighbour]
    rest = max((n for at, n in votes.items() if abs(at - place) > 3), default=0)
    if count < max(FEWEST, AGREED * min(len(recordings), len(conversations))) or rest > count / 3:
        return None
    middle = (place * votes[place] + neighbour * votes[neighbour]) / count + 0.5
    return Shift(round(middle * AGREE_MS), count)


def held_for_shift(
    changes: Changes, decision: RecordingDecision, now: datetime, settings: MatchSettings
) -> RecordingDecision:
    """The decision as it stands, or held where its recording is likely there under a wrong time. ``now`` is the last
    moment of which it is known who was there."""
    read = changes.read
    known = records.shift_suspected(read)
    if decision.state == "waiting" or (decision.state == "matched" and known is None):
        return decision
    if decision.state != "matched" and now < decision.until:
        return decision
    offset_ms = round(settings.offset.total_seconds() * 1000)
    recordings, conversations = records.unpartnered(read, LOOKED_AT, now - settings.wait)
    found = constant_shift([(start + offset_ms, length) for start, length in recordings], conversations)
    if found is None:
        if known is not None:
            changes.judged.append(ShiftCleared())
        return decision
    if decision.state == "matched":
        return decision
    if known is None or abs(known.shift_ms - found.shift_ms) > AGREE_MS:
        changes.judged.append(ShiftSuspected(found.shift_ms, found.calls))
        changes.events.append(Event("offset.suspected", {"reason": said(found.shift_ms, found.calls)}, "warning"))
    told = {**decision.explanation, "shift_s": found.shift_ms / 1000, "would_settle": fix(found.shift_ms)}
    until = read.now + settings.wait
    return replace(decision, state="ambiguous", until=until, settled=False, explanation=told)


def said(shift_ms: int, calls: int) -> str:
    """The finding in words."""
    sign, seconds = "-" if shift_ms < 0 else "+", abs(shift_ms) // 1000
    zone = "; so far apart as time zones are" if abs(abs(shift_ms) / 900_000 % 1 - 0.5) > 0.45 else ""
    spelt = f"{sign}{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{calls} recordings lie {spelt} after conversations of the same length{zone}: they are held"


def fix(shift_ms: int) -> str:
    """What a person does about it."""
    return f"set match.offset to {-round(shift_ms / 1000)}s, or watch.timezone to the zone of the transcripts' times"

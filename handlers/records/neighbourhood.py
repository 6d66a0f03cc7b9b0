"""Who may be whose partner: everything near in time, or sharing an id. Each query runs on an index.

Conversations come without what was said (``document`` and ``turns`` are empty). Files that a newer version replaces
are left out: the newer one speaks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.contract import Reader
from daemon.errors import UnknownSubject
from handlers.model import Conversation, Lead
from handlers.records.rows import CONVERSATION_TIMES, lead_of, micros, places, times_of

_NEWEST_CONVERSATION = (
    "NOT EXISTS (SELECT 1 FROM item AS newer JOIN conversation AS later ON later.id = newer.id "
    "WHERE newer.replaces = conversation.id)"
)
_NEWEST_RECORDING = (
    "NOT EXISTS (SELECT 1 FROM item AS newer JOIN recording AS later ON later.id = newer.id "
    "WHERE newer.replaces = recording.id)"
)
_NEWEST_LEAD = (
    "NOT EXISTS (SELECT 1 FROM item AS newer JOIN lead AS later ON later.id = newer.id WHERE newer.replaces = lead.id)"
)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, both ends included."""

    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Ids:
    """What a subject calls itself: call ids, session ids and rooms in one pot, and the stamps in its name."""

    refs: tuple[str, ...] = ()
    stamps: tuple[datetime, ...] = ()


def conversation_times(read: Reader, conversation_id: int) -> Conversation:
    """The conversation without what was said; raises UnknownSubject."""
    rows = read.rows(f"SELECT {CONVERSATION_TIMES} FROM conversation WHERE id = ?", (conversation_id,))
    if not rows:
        raise UnknownSubject(f"no call c{conversation_id}")
    return times_of(rows[0])


def conversations_near(read: Reader, starts: Sequence[Span], ends: Sequence[Span], ids: Ids) -> list[Conversation]:
    """Conversations that start or end within one of the spans (by any of their times), or share an id or stamp."""
    branches = [
        *_between("conversation", ("start_us", "session_us"), starts),
        *_between("conversation", ("end_us", "saved_us"), ends),
        *_equal("conversation", ("session_id", "call_ref", "room"), ids.refs),
        *_equal("conversation", ("saved_us",), [micros(at) for at in ids.stamps]),
    ]
    found = _ids(read, branches)
    if not found:
        return []
    rows = read.rows(
        f"SELECT {CONVERSATION_TIMES} FROM conversation WHERE id IN ({places(found)}) AND {_NEWEST_CONVERSATION} "
        "ORDER BY id",
        found,
    )
    return [times_of(row) for row in rows]


def groups_near(read: Reader, starts: Sequence[Span], ends: Sequence[Span], ids: Ids) -> list[str]:
    """Keys of the recording groups with a member that starts or ends within a span, or shares an id or stamp."""
    branches = [
        *_between("recording", ("start_us",), starts),
        *_between("recording", ("end_us",), ends),
        *_equal("recording", ("session_id", "call_ref"), ids.refs),
        *_equal("recording", ("stamp_us",), [micros(at) for at in ids.stamps]),
    ]
    found = _ids(read, branches)
    if not found:
        return []
    rows = read.rows(
        f"SELECT DISTINCT group_key FROM recording WHERE id IN ({places(found)}) AND {_NEWEST_RECORDING} "
        "ORDER BY group_key",
        found,
    )
    return [row["group_key"] for row in rows]


def leads_near(read: Reader, taken: Sequence[Span], ids: Ids) -> list[Lead]:
    """Leads taken within one of the spans, or sharing the session id or a stamp."""
    branches = [
        *_between("lead", ("taken_us", "stamp_us"), taken),
        *_equal("lead", ("session_id",), ids.refs),
        *_equal("lead", ("stamp_us",), [micros(at) for at in ids.stamps]),
    ]
    found = _ids(read, branches)
    if not found:
        return []
    rows = read.rows(f"SELECT * FROM lead WHERE id IN ({places(found)}) AND {_NEWEST_LEAD} ORDER BY id", found)
    return [lead_of(row) for row in rows]


_Branch = tuple[str, tuple[object, ...]]


def _between(table: str, columns: Iterable[str], spans: Sequence[Span]) -> list[_Branch]:
    return [
        (f"SELECT id FROM {table} WHERE {column} BETWEEN ? AND ?", (micros(span.first), micros(span.last)))
        for column in columns
        for span in spans
    ]


def _equal(table: str, columns: Iterable[str], values: Sequence[object]) -> list[_Branch]:
    if not values:
        return []
    return [(f"SELECT id FROM {table} WHERE {column} IN ({places(values)})", tuple(values)) for column in columns]


def _ids(read: Reader, branches: Sequence[_Branch]) -> list[int]:
    if not branches:
        return []
    sql = " UNION ".join(branch for branch, _ in branches)
    return [row[0] for row in read.rows(sql, [value for _, values in branches for value in values])]

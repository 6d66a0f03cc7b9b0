"""Who may be whose partner: everything near in time, or sharing an id. Each query runs on an index.

Conversations and leads come without what was said (``document`` and ``turns`` are empty). Files that a newer version
replaces are left out: the newer one speaks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from daemon.contract import Reader
from daemon.errors import UnknownSubject
from handlers.model import Conversation, Lead
from handlers.records.rows import CONVERSATION_TIMES, LEAD_TIMES, Kept, lead_times_of, micros, newest, places, times_of

_NEWEST_CONVERSATION = newest("conversation", "conversation")
_NEWEST_RECORDING = newest("recording", "recording")
_NEWEST_LEAD = newest("lead", "lead")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, both ends included."""

    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Near:
    """Where partners of one subject may be found; whoever meets one of these is returned.

    ``starts``: begins within a span. ``guessed_starts``: the same for recordings whose start is a guess out of when
    their file was last written. ``ends``: ends (or was saved) within a span. ``lone_ends``: the same, but only
    for those that have no start of their own. ``number``: has this number and any of its times within a span of
    ``around``. ``refs``: carries one of these ids, as call id, session id or room. ``stamps``: the stamp in its name.
    """

    starts: tuple[Span, ...] = ()
    guessed_starts: tuple[Span, ...] = ()
    ends: tuple[Span, ...] = ()
    lone_ends: tuple[Span, ...] = ()
    number: str | None = None
    around: tuple[Span, ...] = ()
    refs: tuple[str, ...] = ()
    stamps: tuple[datetime, ...] = ()


_LONE_CONVERSATION = "coalesce(start_source, 'name') = 'name'"  # as the partial indexes have it
_LONE_RECORDING = "coalesce(start_source, 'file') = 'file'"


def conversation_times(read: Reader, conversation_id: int, kept: Kept[Conversation] | None = None) -> Conversation:
    """The conversation without what was said; raises UnknownSubject. ``kept`` as in ``conversations_near``."""
    rows = read.rows(f"SELECT {CONVERSATION_TIMES} FROM conversation WHERE id = ?", (conversation_id,))
    if not rows:
        raise UnknownSubject(f"no call c{conversation_id}")
    return (kept or Kept(times_of)).value(rows[0])


def conversations_near(read: Reader, near: Near, kept: Kept[Conversation] | None = None) -> list[Conversation]:
    """Conversations that could be a subject's partner, by any of their times or ids. ``kept``: made before, and used
    again where their rows are as they were."""
    branches = [
        *_between("conversation", ("start_us", "session_us"), near.starts),
        *_between("conversation", ("end_us", "saved_us"), near.ends),
        *_between("conversation", ("end_us", "saved_us"), near.lone_ends, _LONE_CONVERSATION),
        *_numbered("conversation", ("start_us", "session_us", "end_us", "saved_us"), near),
        *_equal("conversation", ("session_id", "call_ref", "room"), near.refs),
        *_equal("conversation", ("saved_us",), [micros(at) for at in near.stamps]),
    ]
    found = _ids(read, branches)
    if not found:
        return []
    rows = read.rows(
        f"SELECT {CONVERSATION_TIMES} FROM conversation WHERE id IN ({places(found)}) AND {_NEWEST_CONVERSATION} "
        "ORDER BY id",
        found,
    )
    kept = kept or Kept(times_of)
    return [kept.value(row) for row in rows]


def groups_near(read: Reader, near: Near) -> list[str]:
    """Keys of the recording groups with a member that could be a subject's partner."""
    branches = [
        *_between("recording", ("start_us",), near.starts),
        *_between("recording", ("start_us",), near.guessed_starts, _LONE_RECORDING),
        *_between("recording", ("end_us",), near.ends),
        *_between("recording", ("end_us",), near.lone_ends, _LONE_RECORDING),
        *_numbered("recording", ("start_us", "end_us"), near),
        *_equal("recording", ("session_id", "call_ref"), near.refs),
        *_equal("recording", ("stamp_us",), [micros(at) for at in near.stamps]),
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


def leads_near(read: Reader, near: Near, kept: Kept[Lead] | None = None) -> list[Lead]:
    """Leads that could be a subject's partner: a lead's time is when it was taken, so ``ends`` is where to look.
    ``kept`` as in ``conversations_near``."""
    branches = [
        *_between("lead", ("taken_us", "stamp_us"), near.ends),
        *_numbered("lead", ("taken_us", "stamp_us"), near),
        *_equal("lead", ("session_id",), near.refs),
        *_equal("lead", ("stamp_us",), [micros(at) for at in near.stamps]),
    ]
    found = _ids(read, branches)
    if not found:
        return []
    rows = read.rows(
        f"SELECT {LEAD_TIMES} FROM lead WHERE id IN ({places(found)}) AND {_NEWEST_LEAD} ORDER BY id", found
    )
    kept = kept or Kept(lead_times_of)
    return [kept.value(row) for row in rows]


class Mark(NamedTuple):
    """As long as ``near`` is the same, everything here answers the same; as long as ``rows`` is, what was read of a
    recording or a conversation holds."""

    near: int
    rows: int


def neighbours_mark(read: Reader) -> Mark:
    """The marks as they stand."""
    return Mark(*read.rows("SELECT near, rows FROM neighbours_mark")[0])


def conversation_starts(read: Reader, span: Span) -> list[int]:
    """When conversations began in a stretch of time, in microseconds, in order."""
    rows = read.rows(
        f"SELECT start_us FROM conversation WHERE start_us BETWEEN ? AND ? AND {_NEWEST_CONVERSATION} "
        "ORDER BY start_us",
        (micros(span.first), micros(span.last)),
    )
    return [row[0] for row in rows]


def group_starts(read: Reader, span: Span) -> list[int]:
    """When recordings began in a stretch of time, in microseconds, in order: of a group its first side alone."""
    rows = read.rows(
        f"SELECT start_us FROM recording WHERE start_us BETWEEN ? AND ? AND {_NEWEST_RECORDING} AND NOT EXISTS "
        "(SELECT 1 FROM recording AS side WHERE side.group_key = recording.group_key "
        f"AND (side.start_us, side.id) < (recording.start_us, recording.id) AND {newest('recording', 'side')}) "
        "ORDER BY start_us",
        (micros(span.first), micros(span.last)),
    )
    return [row[0] for row in rows]


def lead_moments(read: Reader, span: Span) -> list[int]:
    """When leads were taken in a stretch of time, in microseconds, in order."""
    rows = read.rows(
        "SELECT coalesce(taken_us, stamp_us) AS us FROM lead WHERE coalesce(taken_us, stamp_us) BETWEEN ? AND ? "
        "ORDER BY us",
        (micros(span.first), micros(span.last)),
    )
    return [row[0] for row in rows]


_Branch = tuple[str, tuple[object, ...]]


def _between(table: str, columns: Iterable[str], spans: Sequence[Span], only: str = "1") -> list[_Branch]:
    return [
        (f"SELECT id FROM {table} WHERE {only} AND {column} BETWEEN ? AND ?", (micros(span.first), micros(span.last)))
        for column in columns
        for span in spans
    ]


def _numbered(table: str, columns: Sequence[str], near: Near) -> list[_Branch]:
    """One caller's files by the index on numbers, with the times compared row by row: a caller has few calls."""
    if near.number is None:
        return []
    within = " OR ".join(f"+{column} BETWEEN ? AND ?" for column in columns)
    return [
        (
            f"SELECT id FROM {table} WHERE number = ? AND ({within})",
            (near.number, *(micros(at) for _ in columns for at in (span.first, span.last))),
        )
        for span in near.around
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

"""What people ask: which call they mean, what is open, how many of what."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from sqlite3 import Row
from typing import Any

from daemon.contract import Reader
from handlers.records.pairings import Verdict, verdict_of
from handlers.records.rows import maybe_moment, newest
from handlers.records.running import running

_SUBJECT = re.compile(r"([crl])(\d{1,18})")


def find_calls(read: Reader, reference: str) -> tuple[int, ...]:
    """The conversations a person may mean, newest last.

    ``reference`` is ``c12``, a callId of the CRM's, a session id, or the name or path of a transcript.
    """
    subject = _SUBJECT.fullmatch(reference)
    if subject is not None and subject[1] == "c":
        return _ints(read, "SELECT id FROM conversation WHERE id = ?", int(subject[2]))
    found = _ints(read, "SELECT conversation_id FROM call WHERE call_id = ?", reference)
    found = found or _ints(read, "SELECT id FROM conversation WHERE session_id = ? ORDER BY id", reference)
    return found or _by_file(read, "conversation", reference)


def find_groups(read: Reader, reference: str) -> tuple[str, ...]:
    """The recording groups a person may mean by ``r13``, a group's key, or a file's name or path."""
    subject = _SUBJECT.fullmatch(reference)
    if subject is not None and subject[1] == "r":
        rows = read.rows("SELECT group_key FROM recording WHERE id = ?", (int(subject[2]),))
    else:
        rows = read.rows("SELECT DISTINCT group_key FROM recording WHERE group_key = ?", (reference,))
        if not rows:
            numbers = _by_file(read, "recording", reference)
            rows = [row for n in numbers for row in read.rows("SELECT group_key FROM recording WHERE id = ?", (n,))]
    return tuple(dict.fromkeys(row["group_key"] for row in rows))


def find_leads(read: Reader, reference: str) -> tuple[int, ...]:
    """The leads a person may mean by ``l14``, or a file's name or path."""
    subject = _SUBJECT.fullmatch(reference)
    if subject is not None and subject[1] == "l":
        return _ints(read, "SELECT id FROM lead WHERE id = ?", int(subject[2]))
    return _by_file(read, "lead", reference)


def match_counts(read: Reader) -> dict[str, int]:
    """How many conversations stand where, and how many recordings and leads have no conversation."""
    counts = running(read, "verdict")
    return {
        **{state: counts[state].n for state in ("matched", "waiting", "ambiguous", "alone")},
        "recordings_unmatched": _count(read, "SELECT count(DISTINCT group_key) FROM recording WHERE paired = 0"),
        "leads_unmatched": _count(read, "SELECT count(*) FROM lead WHERE paired = 0"),
        "chunk_sessions_waiting": _count(read, "SELECT count(DISTINCT session) FROM chunk"),
    }


def open_verdicts(read: Reader, limit: int = 1000) -> tuple[Verdict, ...]:
    """Verdicts that wait or are held, oldest first."""
    rows = read.rows(
        "SELECT * FROM verdict INDEXED BY verdict_open "
        "WHERE (recording IN ('waiting', 'ambiguous') OR lead IN ('waiting', 'ambiguous')) "
        "ORDER BY conversation_id LIMIT ?",
        (limit,),
    )
    return tuple(verdict_of(row) for row in rows)


def orphan_groups(read: Reader, limit: int = 1000) -> tuple[str, ...]:
    """Recording groups without a conversation, oldest first; replaced files are nobody's orphans."""
    rows = read.rows(
        f"SELECT group_key FROM recording WHERE paired = 0 AND {newest('recording', 'recording')} "
        "ORDER BY registered_us LIMIT ?",
        (limit,),
    )
    return tuple(dict.fromkeys(row["group_key"] for row in rows))


def orphan_leads(read: Reader, limit: int = 1000) -> tuple[int, ...]:
    """Leads without a conversation, oldest first."""
    rows = read.rows(
        f"SELECT id FROM lead WHERE paired = 0 AND {newest('lead', 'lead')} ORDER BY registered_us LIMIT ?",
        (limit,),
    )
    return tuple(row["id"] for row in rows)


def _by_file(read: Reader, table: str, reference: str) -> tuple[int, ...]:
    """Ids whose file had this name, or lay at this path: absolute, or below its folder, or with the folder's name."""
    name = os.path.basename(reference)
    rows = read.rows(
        f"SELECT {table}.id, item.path FROM {table} JOIN item ON item.id = {table}.id WHERE {table}.name = ? "
        f"ORDER BY {table}.id",
        (name,),
    )
    return tuple(row["id"] for row in rows if _same_place(row, reference))


def _same_place(row: Row, reference: str) -> bool:
    return "/" not in reference or f"/{reference}".endswith(f"/{row['path']}")


def _ints(read: Reader, sql: str, value: object) -> tuple[int, ...]:
    return tuple(row[0] for row in read.rows(sql, (value,)))


def _count(read: Reader, sql: str, args: Sequence[object] = ()) -> int:
    found: int = read.rows(sql, args)[0][0]
    return found


def newest_calls(read: Reader, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Calls from the newest on, below a number where one is given: where each stands, without names or numbers."""
    rows = read.rows(
        "SELECT c.id, c.start_us, c.registered_us, v.recording, v.lead, call.delivered_us, call.spoken_for, "
        "(SELECT max(r.media_s) FROM pairing AS p JOIN recording AS r ON r.group_key = p.group_key "
        "WHERE p.conversation_id = c.id) AS recording_s "
        "FROM conversation AS c LEFT JOIN verdict AS v ON v.conversation_id = c.id "
        "LEFT JOIN call ON call.conversation_id = c.id WHERE c.id < ? ORDER BY c.id DESC LIMIT ?",
        (2**62 if before is None else before, limit),
    )
    return [
        {
            "call": f"c{row['id']}",
            "number": row["id"],
            "started_at": _iso(row["start_us"]),
            "registered_at": _iso(row["registered_us"]),
            "recording": row["recording"],
            "recording_s": row["recording_s"],
            "lead": row["lead"],
            "delivered_at": _iso(row["delivered_us"]),
        }
        for row in rows
    ]


def _iso(us: int | None) -> str | None:
    at = maybe_moment(us)
    return None if at is None else at.isoformat(timespec="milliseconds")

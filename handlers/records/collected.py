"""How many hours were collected: one definition, asked by everybody. A conversation counts once, with its longer side.

``received``: its audio could be decoded. ``usable``: a side passes the gates (not silent, not too short). ``unique``:
and its content was not there before. ``delivered``: the CRM or storage has its recording. A conversation of which only
one side is there counts once the wait for the other is over. What was taken in from an older collection's metadata
counts too, unless its files are here.
"""

from __future__ import annotations

import heapq
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from sqlite3 import Row
from typing import Any, Literal

from daemon.contract import Reader, Tx
from handlers.records.arrivals import sidecar
from handlers.records.rows import dumps, micros, moment, newest

Kind = Literal["received", "usable", "unique", "delivered"]
KINDS: tuple[Kind, ...] = ("received", "usable", "unique", "delivered")

Part = Literal["number-prefix", "campaign", "host"]

_COUNTS: Mapping[Kind, str] = {
    "received": "received_ms > 0",
    "usable": "usable_ms > 0",
    "unique": "unique_ms > 0",
    "delivered": "delivered = 1",
}
_LENGTH: Mapping[Kind, str] = {
    "received": "received_ms",
    "usable": "usable_ms",
    "unique": "unique_ms",
    "delivered": "received_ms",
}
_IMPORTED = (
    "SELECT i.* FROM collect_import AS i WHERE i.at_us > :reset AND NOT EXISTS (SELECT 1 FROM collect_import_file AS f "
    "JOIN recording AS r ON r.name = f.name WHERE f.conversation_id = i.conversation_id)"
)


QUARTER_US = 900_000_000
"""What ``collected_quarter`` sums by."""

TWO = frozenset({"agent", "customer"})
"""The sides that the channels of one file may be."""


@dataclass(frozen=True, slots=True)
class Total:
    """So many conversations, milliseconds and bytes; ``first`` and ``last`` are when the first and last call began."""

    conversations: int = 0
    ms: int = 0
    size: int = 0
    first: datetime | None = None
    last: datetime | None = None

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return self.ms / 3_600_000


@dataclass(frozen=True, slots=True)
class Counting:
    """What is counted. ``waited``: a single side that was registered later than this still waits for the other.
    ``since``: only calls that began then or later. ``sides`` names the channels of a two-channel file that does not
    name them itself."""

    waited: datetime
    since: datetime | None = None
    sides: tuple[str, ...] = ()


_SUMS = ("n", "ms", "size", "agent_size", "customer_size")
_PARTS = (
    ("collected_quarter", "at * :quarter", "registered > :reset_quarter AND at > :since_quarter", _SUMS),
    (
        "collected_share",
        "at_us",
        "NOT excluded AND registered_us > :reset AND registered_us < :reset_end AND at_us >= :since",
        ("1", *_SUMS[1:]),
    ),
    (
        "collected_share",
        "at_us",
        (
            "NOT excluded AND at_us >= :since AND at_us < :since_end AND registered_us > :reset "
            "AND registered_us >= :reset_end"
        ),
        ("1", *_SUMS[1:]),
    ),
    (
        "collected_share",
        "at_us",
        "NOT excluded AND whole = 0 AND registered_us > :waited AND registered_us > :reset AND at_us >= :since",
        ("-1", *(f"-{name}" for name in _SUMS[1:])),
    ),
)
"""Where what counts is found: whole quarters of an hour; the calls of those that a reset or ``since`` divides, each by
itself; less the sides that still wait for the other. The begin of a quarter stands for those of its calls."""


def _counted(where: str, by: Literal["kind", "at_us"]) -> str:
    """A SELECT of the sums of what counts, by kind or by when calls began."""
    parts = []
    for table, at, which, columns in _PARTS:
        sums = ", ".join(f"sum({column}) AS {name}" for column, name in zip(columns, _SUMS, strict=True))
        key = "kind" if by == "kind" else f"{at} AS at_us"
        parts.append(f"SELECT {key}, {sums} FROM {table} WHERE {which}{where} GROUP BY 1")
    sums = ", ".join(f"sum({name}) AS {name}" for name in _SUMS)
    return f"SELECT {by}, {sums} FROM ({' UNION ALL '.join(parts)}) GROUP BY 1 ORDER BY 1"


def totals(read: Reader, counting: Counting) -> dict[Kind, Total]:
    """The four numbers."""
    args = _args(read, counting)
    rows = _rows(read, _counted("", "kind"), args)
    own = {row["kind"]: row for row in rows if row["n"]}
    [older] = _rows(
        read,
        "SELECT count(*), coalesce(sum(ms), 0), coalesce(sum(size), 0), min(at_us), max(at_us) "
        f"FROM ({_IMPORTED}) WHERE at_us >= :since",
        args,
    )
    found: dict[Kind, Total] = {}
    for kind in KINDS:
        row = own.get(kind)
        mine = (0, 0, 0, None, None) if row is None else (row["n"], row["ms"], row["size"], *_ends(read, kind, args))
        found[kind] = _sum(mine, tuple(older))
    return found


def _ends(read: Reader, kind: Kind, args: Mapping[str, int | str]) -> list[int]:
    """When the first and the last call began that count as this kind."""
    each = f"SELECT at_us FROM collected WHERE {_COUNTS_NOW} AND {_COUNTS[kind]} ORDER BY at_us"
    return [_rows(read, f"{each} {way} LIMIT 1", args)[0]["at_us"] for way in ("ASC", "DESC")]


def _rows(read: Reader, sql: str, args: Mapping[str, int | str]) -> list[Row]:
    """The rows of a SELECT whose values are named, as ``:since``."""
    return read.rows(_NAMED.sub("?", sql), [args[name] for name in _NAMED.findall(sql)])


_NAMED = re.compile(r":(\w+)")
_COUNTS_NOW = "excluded = 0 AND registered_us > :reset AND (whole = 1 OR registered_us <= :waited) AND at_us >= :since"

EVER_US = -(2**62)
"""Before everything."""


def _args(read: Reader, counting: Counting) -> dict[str, int | str]:
    rows = read.rows("SELECT max(at_us) FROM collect_reset")
    reset = EVER_US if rows[0][0] is None else int(rows[0][0])
    since = EVER_US if counting.since is None else micros(counting.since)
    return {
        "waited": micros(counting.waited),
        "since": since,
        "reset": reset,
        "quarter": QUARTER_US,
        "since_quarter": since // QUARTER_US,
        "since_end": (since // QUARTER_US + 1) * QUARTER_US,
        "reset_quarter": reset // QUARTER_US,
        "reset_end": (reset // QUARTER_US + 1) * QUARTER_US,
    }


def _sum(own: Sequence[Any], older: Sequence[Any]) -> Total:
    begun = [us for us in (own[3], older[3]) if us is not None]
    ended = [us for us in (own[4], older[4]) if us is not None]
    return Total(
        own[0] + older[0],
        own[1] + older[1],
        own[2] + older[2],
        moment(min(begun)) if begun else None,
        moment(max(ended)) if ended else None,
    )


def by_part(read: Reader, counting: Counting, kind: Kind, part: Part) -> dict[str, Total]:
    """The totals of one kind, by the country and area of the caller's number, by campaign, or by host."""
    name = {
        "host": "(SELECT i.host_id FROM recording AS r JOIN item AS i ON i.id = r.id "
        "WHERE r.group_key = collected.group_key LIMIT 1)",
        "number-prefix": "(SELECT substr(r.number, 1, 5) FROM recording AS r WHERE r.group_key = collected.group_key "
        "AND r.number IS NOT NULL LIMIT 1)",
        "campaign": "(SELECT CAST(json_extract(c.document, '$.metadata.campaign') AS BLOB) FROM pairing AS p "
        "JOIN conversation AS c ON c.id = p.conversation_id WHERE p.group_key = collected.group_key)",
    }[part]
    rows = _rows(
        read,
        f"SELECT coalesce({name}, '-') AS part, count(*) AS n, sum({_LENGTH[kind]}) AS ms, sum(size) AS size, "
        f"min(at_us) AS first, max(at_us) AS last FROM collected WHERE {_COUNTS_NOW} "
        f"AND {_COUNTS[kind]} GROUP BY 1 ORDER BY 1",
        _args(read, counting),
    )
    return {
        _word(row["part"]): Total(row["n"], row["ms"], row["size"], moment(row["first"]), moment(row["last"]))
        for row in rows
    }


def _word(part: object) -> str:
    """A part's name; out of a document it may hold half of a surrogate pair, which is no text to SQLite."""
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part)


def quarters(read: Reader, counting: Counting, kind: Kind) -> Iterator[tuple[datetime, int, int, int]]:
    """The begin of each quarter of an hour in which counted calls began, or of a call itself, how many, their
    milliseconds and their bytes, in order: for whoever puts them into days, which no zone begins within a quarter."""
    args: dict[str, int | str] = {**_args(read, counting), "kind": kind}
    own = _rows(read, _counted(" AND kind = :kind", "at_us"), args)
    older = _rows(read, f"SELECT at_us, 1 AS n, ms, size FROM ({_IMPORTED}) WHERE at_us >= :since ORDER BY at_us", args)
    rows = heapq.merge(own, older, key=itemgetter("at_us"))
    return ((moment(row["at_us"]), row["n"], row["ms"], row["size"]) for row in rows)


def sizes_by_side(read: Reader, counting: Counting, kind: Kind) -> dict[str, int]:
    """Bytes of what counts by side: ``agent``, ``customer``, ``mixed``."""
    args: dict[str, int | str] = {**_args(read, counting), "kind": kind}
    rows = _rows(read, _counted(" AND kind = :kind", "kind"), args)
    if not rows:
        return {}
    agent, customer = rows[0]["agent_size"], rows[0]["customer_size"]
    found = Counter({"agent": agent, "customer": customer, "mixed": rows[0]["size"] - agent - customer})
    told = (
        ""
        if counting.sides
        else "AND EXISTS (SELECT 1 FROM sidecar WHERE instr(document, '\"sides\"') > 0 "
        "AND json_extract(document, '$.sides') NOTNULL)"
    )
    both = _rows(
        read,
        "SELECT r.size, (SELECT path FROM item WHERE item.id = r.id) AS path "
        "FROM recording AS r INDEXED BY recording_of_two WHERE r.side = 'mixed' AND r.channels = 2 "
        "AND EXISTS (SELECT 1 FROM collected WHERE collected.group_key = r.group_key "
        f"AND {_COUNTS_NOW} AND {_COUNTS[kind]}) "
        f"AND {newest('recording', 'r')} {told}",
        args,
    )
    for one in both:
        shares = _shares(read, "mixed", len(TWO), one["path"], one["size"], counting.sides)
        if len(shares) == len(TWO):
            found["mixed"] -= one["size"]
            for side, size in shares:
                found[side] += size
    return {side: size for side, size in found.items() if size}


@dataclass(frozen=True, slots=True)
class CollectedSide:
    """One file of a conversation. ``path`` is relative to the recordings folder, ``url`` where it was sent to."""

    side: str
    path: str
    url: str | None
    size: int
    ms: int


@dataclass(frozen=True, slots=True)
class Collected:
    """One conversation that counts: its sides, or, taken in from an older collection, the document it had there."""

    group: str
    at: datetime
    ms: int
    size: int
    sides: tuple[CollectedSide, ...] = ()
    document: dict[str, Any] | None = None


PAGE = 500
"""Conversations read at once: a million pass in constant memory."""


def conversations_collected(read: Reader, counting: Counting, kind: Kind) -> Iterator[Collected]:
    """Every conversation that counts, as they began; those of an older collection first."""
    args = _args(read, counting)
    yield from _taken_in(read, args)
    at_us, key = -(2**62), ""
    while True:
        rows = _rows(
            read,
            f"SELECT group_key, at_us, {_LENGTH[kind]} AS ms, size FROM collected WHERE {_COUNTS_NOW} "
            f"AND {_COUNTS[kind]} AND (at_us, group_key) > (:at, :key) ORDER BY at_us, group_key LIMIT :page",
            {**args, "at": at_us, "key": key, "page": PAGE},
        )
        if not rows:
            return
        sides = _sides(read, [row["group_key"] for row in rows], counting.sides)
        for row in rows:
            at_us, key = row["at_us"], row["group_key"]
            yield Collected(key, moment(at_us), row["ms"], row["size"], tuple(sides.get(key, ())))


def _taken_in(read: Reader, args: Mapping[str, int | str]) -> Iterator[Collected]:
    last = ""
    while True:
        rows = _rows(
            read,
            f"SELECT * FROM ({_IMPORTED}) WHERE at_us >= :since AND conversation_id > :last "
            "ORDER BY conversation_id LIMIT :page",
            {**args, "last": last, "page": PAGE},
        )
        if not rows:
            return
        for row in rows:
            last = row["conversation_id"]
            yield Collected(last, moment(row["at_us"]), row["ms"], row["size"], (), json.loads(row["document"]))


def _sides(read: Reader, keys: Sequence[str], named: tuple[str, ...]) -> dict[str, list[CollectedSide]]:
    marks = ", ".join("?" * len(keys))
    rows = read.rows(
        "SELECT r.group_key, r.side, r.size, r.media_s, r.channels, i.path, json_extract(e.receipt, '$.url') AS url "
        "FROM recording AS r JOIN item AS i ON i.id = r.id "
        "LEFT JOIN effect AS e ON e.type = 'crm.upload' AND e.state = 'done' "
        "AND e.identity = i.sha256 || ':' || i.name "
        f"WHERE r.group_key IN ({marks}) AND {newest('recording', 'r')} ORDER BY r.group_key, r.id",
        keys,
    )
    found: dict[str, list[CollectedSide]] = {}
    for row in rows:
        ms = round(row["media_s"] * 1000)
        shares = _shares(read, row["side"], row["channels"], row["path"], row["size"], named)
        sides = [CollectedSide(side, row["path"], row["url"], size, ms) for side, size in shares]
        found.setdefault(row["group_key"], []).extend(sides)
    return found


def _shares(
    read: Reader, side: str, channels: int, path: str, size: int, named: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    """The sides that a file holds, each with its share of the bytes: one, or both channels where they are named, by the
    document beside the file (``sides``) or by ``audio.sides``."""
    if side != "mixed" or channels != len(TWO):
        return ((side, size),)
    said = (sidecar(read, os.path.splitext(path)[0]) or {}).get("sides")
    names = tuple(said) if isinstance(said, list) and all(isinstance(name, str) for name in said) else named
    if set(names) != TWO or len(names) != len(TWO):
        return ((side, size),)
    return ((names[0], size - size // 2), (names[1], size // 2))


def any_mixed(read: Reader) -> bool:
    """Whether some conversation was recorded as one mixed file."""
    return bool(read.rows("SELECT 1 FROM recording WHERE side = 'mixed' LIMIT 1"))


@dataclass(frozen=True, slots=True)
class HoursExcluded:
    """A person said that a conversation does not count."""

    group: str
    why: str

    def write(self, tx: Tx) -> None:
        """Remember it."""
        tx.execute(
            "INSERT OR REPLACE INTO collect_excluded (group_key, why, at_us) VALUES (?, ?, ?)",
            (self.group, self.why, micros(tx.now)),
        )


@dataclass(frozen=True, slots=True)
class HoursIncluded:
    """It counts after all."""

    group: str

    def write(self, tx: Tx) -> None:
        """Forget the exclusion."""
        tx.execute("DELETE FROM collect_excluded WHERE group_key = ?", (self.group,))


@dataclass(frozen=True, slots=True)
class HoursReset:
    """Counting begins anew: what was registered up to now counts no more."""

    why: str

    def write(self, tx: Tx) -> None:
        """Remember when."""
        tx.execute("INSERT OR REPLACE INTO collect_reset (at_us, why) VALUES (?, ?)", (micros(tx.now), self.why))


@dataclass(frozen=True, slots=True)
class ConversationImported:
    """A conversation of an older collection; ``names`` are its files' names."""

    conversation_id: str
    at: datetime
    ms: int
    size: int
    names: tuple[str, ...]
    document: dict[str, Any]

    def write(self, tx: Tx) -> None:
        """Take it in; taken in again, the newer words stand."""
        tx.execute("DELETE FROM collect_import_file WHERE conversation_id = ?", (self.conversation_id,))
        tx.execute(
            "INSERT OR REPLACE INTO collect_import (conversation_id, at_us, document, size, ms, imported_us) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (self.conversation_id, micros(self.at), dumps(self.document), self.size, self.ms, micros(tx.now)),
        )
        for name in self.names:
            tx.execute("INSERT OR IGNORE INTO collect_import_file VALUES (?, ?)", (self.conversation_id, name))


@dataclass(frozen=True, slots=True)
class CollectPaused:
    """Files are taken in no more until a person resumes."""

    why: str

    def write(self, tx: Tx) -> None:
        """As ``callspool pause collect`` does it."""
        tx.execute(
            "INSERT OR IGNORE INTO pause (what, why, at_us) VALUES ('collect', ?, ?)", (self.why, micros(tx.now))
        )


@dataclass(frozen=True, slots=True)
class TargetTold:
    """It was told that this target is reached."""

    hours: float

    def write(self, tx: Tx) -> None:
        """Remember it: it is told once."""
        tx.execute("INSERT OR IGNORE INTO collect_target (hours, at_us) VALUES (?, ?)", (self.hours, micros(tx.now)))


def target_told(read: Reader, hours: float) -> bool:
    """Whether it was told that this target is reached."""
    return bool(read.rows("SELECT 1 FROM collect_target WHERE hours = ?", (hours,)))


@dataclass(frozen=True, slots=True)
class Day:
    """What happened on one day: formats.md, section 6."""

    files: int
    recordings: int
    calls: int
    leads: int
    failed: int
    tried: int
    bytes_sent: int


def day(read: Reader, first: datetime, last: datetime) -> Day:
    """From one moment up to another: files taken, deliveries the CRM accepted, what failed, bytes sent."""
    span = (micros(first), micros(last))
    [files] = read.rows("SELECT count(*) FROM item WHERE first_seen_us >= ? AND first_seen_us < ?", span)
    [sent] = read.rows(
        "SELECT count(*) FILTER (WHERE type = 'crm.upload'), "
        "coalesce(sum(json_extract(payload, '$.size')) FILTER (WHERE type = 'crm.upload'), 0) FROM effect "
        "WHERE state = 'done' AND type = 'crm.upload' AND changed_us >= ? AND changed_us < ?",
        span,
    )
    [calls] = read.rows(
        "SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT 1 FROM lead_pairing AS p "
        "WHERE p.conversation_id = call.conversation_id)) FROM call "
        "WHERE spoken_for = 'callspool' AND delivered_us >= ? AND delivered_us < ?",
        span,
    )
    [failed] = read.rows(
        "SELECT count(*) FROM job WHERE kind = 'call' AND state = 'parked' AND changed_us >= ? AND changed_us < ?", span
    )
    return Day(files[0], sent[0], calls[0], calls[1], failed[0], calls[0] + failed[0], sent[1])

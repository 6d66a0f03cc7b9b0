"""Running totals on a real ledger: whatever is written and taken away, they say what counting the rows says."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.contract import Reader
from daemon.ledger.writer import WriteTx
from handlers import records
from handlers.model import Side
from handlers.records import Counting, HoursExcluded, HoursIncluded, HoursReset
from tests.support.records import RecordsLedger, at, conversation, recording

IDS = (1, 2, 3)
US = st.integers(0, 3)

COPIES = st.tuples(
    st.sampled_from(("local", "s3")),
    st.sampled_from(("a", "b")),
    st.sampled_from(IDS),
    st.sampled_from(("audio", "sidecar")),
    st.integers(0, 9),
    st.sampled_from(("intended", "verified", "conflict", "refused", "removed")),
    st.sampled_from((None, "{}")),
)
CALLS = st.tuples(st.sampled_from(IDS), st.sampled_from((None, 5)), st.sampled_from(("callspool", "marker", "person")))
VERDICTS = st.tuples(
    st.sampled_from(IDS),
    st.sampled_from(("waiting", "matched", "ambiguous", "alone")),
    st.sampled_from(("waiting", "matched", "ambiguous", "none")),
)
FILES = st.tuples(
    st.sampled_from(("x", "y")), st.sampled_from(((11, "known"), (12, "known"), (11, "old"), (None, "old"))), US
).map(lambda told: (told[0], *told[1], told[2]))
COMPRESSIONS = st.tuples(
    st.sampled_from((11, 12, 13)),
    st.sampled_from(("made", "verified", "replaced", "refused")),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from((None, 12, 13)),
    st.one_of(st.none(), US),
)

WRITES = {
    "copy": (
        "INSERT INTO copy (place, bucket, key, subject_id, role, sha256, size, state, bound_for, intended_us, "
        f"changed_us) VALUES (?, '', ?, ?, ?, '{'0' * 64}', ?, ?, ?, 0, 0) "
        "ON CONFLICT (place, bucket, key) DO UPDATE SET subject_id = excluded.subject_id, role = excluded.role, "
        "size = excluded.size, state = excluded.state, "
        "bound_for = excluded.bound_for"
    ),
    "call": (
        "INSERT INTO call (conversation_id, delivered_us, delivered, spoken_for) VALUES (?, ?, '{}', ?) "
        "ON CONFLICT (conversation_id) DO UPDATE SET delivered_us = excluded.delivered_us, "
        "spoken_for = excluded.spoken_for"
    ),
    "verdict": (
        "INSERT OR REPLACE INTO verdict (conversation_id, recording, recording_until_us, lead, lead_until_us, ready, "
        "explanation, decided_us) VALUES (?, ?, 0, ?, 0, 0, '{}', 0)"
    ),
    "file": (
        "INSERT INTO file (folder_id, name, size, mtime_ns, ctime_ns, ino, item_id, state, reason, first_seen_us, "
        "changed_us) VALUES (1, CAST(? AS BLOB), 1, 0, 0, 1, ?, ?, '', 0, ?) ON CONFLICT (folder_id, name) DO UPDATE "
        "SET item_id = excluded.item_id, state = excluded.state, changed_us = excluded.changed_us"
    ),
    "compression": (
        "INSERT OR REPLACE INTO compression (recording_id, state, size, original_size, copy_id, replaced_us, made_us) "
        "VALUES (?, ?, ?, ?, ?, ?, 0)"
    ),
}

CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("copy"), COPIES),
        st.tuples(st.just("call"), CALLS),
        st.tuples(st.just("verdict"), VERDICTS),
        st.tuples(st.just("file"), FILES),
        st.tuples(st.just("compression"), COMPRESSIONS),
        st.tuples(st.just("gone"), st.sampled_from(("copy", "call", "verdict", "file", "compression"))),
    ),
    max_size=14,
)

COUNTED = {
    "copies": "SELECT 'copy ' || state, place, count(*), sum(size) FROM copy GROUP BY 1, 2",
    "bound": "SELECT 'copy bound', '', count(*), sum(size) FROM copy WHERE bound_for NOTNULL",
    "stored": "SELECT 'call stored', '', count(DISTINCT subject_id), 0 FROM copy WHERE role = 'sidecar' "
    "AND state = 'verified'",
    "calls": "SELECT iif(delivered_us ISNULL, 'call open', 'call delivered'), spoken_for, count(*), 0 FROM call "
    "GROUP BY 1, 2",
    "verdicts": "SELECT 'verdict', recording, count(*), 0 FROM verdict GROUP BY 1, 2",
    "held": "SELECT 'verdict', 'held', count(*), 0 FROM verdict WHERE 'ambiguous' IN (recording, lead)",
    "lying": "SELECT 'lying', '', count(*), sum(size) FROM recording AS r WHERE EXISTS (SELECT 1 FROM file WHERE "
    "item_id = r.id AND state = 'known' AND NOT EXISTS (SELECT 1 FROM compression AS went WHERE "
    "went.recording_id = r.id AND went.state = 'replaced' AND went.replaced_us >= file.changed_us))",
    "compressed": "SELECT 'compressed', 'size', count(*), sum(iif(NOT EXISTS (SELECT 1 FROM compression AS later WHERE "
    "later.recording_id = c.copy_id AND later.state = 'replaced'), size, 0)) FROM compression AS c "
    "WHERE state IN ('verified', 'replaced')",
    "savings": "SELECT 'compressed', 'savings', count(*), sum(iif(state = 'replaced' AND NOT EXISTS (SELECT 1 FROM "
    "compression AS earlier WHERE earlier.copy_id = c.recording_id AND earlier.state != 'replaced'), "
    "original_size - size, 0)) FROM compression AS c WHERE state IN ('verified', 'replaced')",
}
"""The same numbers by going through the rows."""


def said(read: Reader) -> dict[tuple[str, str], tuple[int, int]]:
    rows = read.rows("SELECT what, part, n, size FROM running_total")
    return {(row["what"], row["part"]): (row["n"], row["size"]) for row in rows if row["n"] or row["size"]}


def counted(read: Reader) -> dict[tuple[str, str], tuple[int, int]]:
    rows = [tuple(row) for sql in COUNTED.values() for row in read.rows(sql)]
    return {(what, part): (n, size or 0) for what, part, n, size in rows if n or size}


def ledger(folder: str) -> RecordsLedger:
    book = RecordsLedger(Path(folder))
    for number in IDS:
        book.put(conversation(number))
    for number in (11, 12):
        book.put(recording(number))
    book.item(13, "recording", "copy.ogg", sha256="c" * 64, evidence="13")
    book.ledger.write("folder.made", _folder)
    return book


def _folder(tx: WriteTx) -> None:
    tx.execute("INSERT INTO root (id, host_id, role, path, registered_ns, changed_us) VALUES (9, '', 'x', x'2f', 0, 0)")
    tx.execute("INSERT OR REPLACE INTO folder (id, root_id, path) VALUES (1, 9, x'')")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CHANGES)
def test_they_say_what_counting_says(changes: list[tuple[str, tuple[object, ...] | str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        book = ledger(folder)
        try:
            for table, values in changes:
                book.ledger.write("changed", partial(_change, table, values))
            with book.view() as read:
                assert said(read) == counted(read)
        finally:
            book.close()


def _change(table: str, values: tuple[object, ...] | str, tx: WriteTx) -> None:
    if isinstance(values, str):
        newest = "" if values in WHOLE else f" WHERE rowid = (SELECT max(rowid) FROM {values})"
        tx.execute(f"DELETE FROM {values}{newest}")
    else:
        tx.execute(WRITES[table], values)


WHOLE = ("copy", "file")
"""Tables that are emptied, having no rowid."""

QUARTER_S = 900
MOMENTS = st.sampled_from((0, 1, QUARTER_S - 1, QUARTER_S, QUARTER_S + 1, 2 * QUARTER_S, 5 * QUARTER_S))
RECORDED = st.lists(
    st.tuples(MOMENTS, MOMENTS, st.sampled_from(list(Side)), st.integers(0, 2), st.booleans()), max_size=8
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RECORDED, st.one_of(st.none(), MOMENTS), st.one_of(st.none(), MOMENTS), MOMENTS)
def test_sums_of_quarters_are_those_of_the_calls(
    files: list[tuple[int, int, Side, int, bool]], since: int | None, reset: int | None, waited: int
) -> None:
    """However a reset, ``since`` and a wait divide the quarters of an hour; excluded ones come back."""
    with tempfile.TemporaryDirectory() as folder:
        book = RecordsLedger(Path(folder))
        try:
            for number, (start, registered, side, length, excluded) in enumerate(files, start=1):
                book.put(recording(number, start, float(length), side=side, registered=registered))
                book.write(HoursExcluded(f"r{number}", ""), HoursIncluded(f"r{number}"))
                if excluded:
                    book.write(HoursExcluded(f"r{number}", ""))
            if reset is not None:
                book.clock.moment = at(reset)
                book.write(HoursReset(""))
            counting = Counting(at(waited), None if since is None else at(since))
            with book.view() as read:
                totals = records.totals(read, counting)
                for kind in records.KINDS:
                    mine = list(records.conversations_collected(read, counting, kind))
                    assert (totals[kind].conversations, totals[kind].ms) == (len(mine), sum(one.ms for one in mine))
                    ends = (min((one.at for one in mine), default=None), max((one.at for one in mine), default=None))
                    assert (totals[kind].first, totals[kind].last) == ends
                    parts = list(records.quarters(read, counting, kind))
                    assert sum(n for _at, n, _ms, _size in parts) == len(mine)
                    sizes = records.sizes_by_side(read, counting, kind)
                    assert sum(sizes.values()) == totals[kind].size == sum(one.size for one in mine)
                    days = {one.at - timedelta(seconds=one.at.timestamp() % QUARTER_S) for one in mine}
                    assert days <= {when - timedelta(seconds=when.timestamp() % QUARTER_S) for when, *_ in parts}
        finally:
            book.close()

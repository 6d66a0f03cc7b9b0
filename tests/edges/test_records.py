"""The domain's tables on a real ledger: what is written comes back, and the tables hold their own promises."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from daemon.contract import Item, Reader, Receipt
from daemon.errors import Defect, UnknownSubject
from handlers import records
from handlers.model import Conversation, Lead, Recording, Side, TimeSource, Turn
from handlers.records import (
    CallDelivered,
    CallIdFixed,
    ChunkKnown,
    ConversationKnown,
    Held,
    LeadKnown,
    LeadPaired,
    Mark,
    Near,
    OldMarker,
    Paired,
    RecordingKnown,
    Refused,
    SidecarKnown,
    Span,
    SpokenForByMarker,
    Unheld,
    Unpaired,
    Unrefused,
)
from handlers.records.rows import micros
from tests.support.records import RecordsLedger, at, conversation, lead, recording


@pytest.fixture
def book(tmp_path: Path) -> Iterator[RecordsLedger]:
    ledger = RecordsLedger(tmp_path)
    yield ledger
    ledger.close()


def put(book: RecordsLedger, *values: Recording | Conversation | Lead, replaces: int | None = None) -> None:
    for value in values:
        book.put(value, replaces=replaces)


def test_what_intake_learned_comes_back_whole(book: RecordsLedger) -> None:
    heard = recording(1, 2.0, 35.5, number="+15550100", session_id="s", call_ref="k", stamp=at(9))
    heard = replace(
        heard, audio=replace(heard.audio, start_at=at(2.25), flags=("gaps",), header_s=9.0), flags=("weak",)
    )
    said = conversation(2, 0.0, 35.0, saved=43, session=1, number="+15550100", session_id="s", lead_expected=True)
    said = replace(said, document={"a": ["\ud800", 1]}, turns=(Turn("assistant", at(1)), Turn("user", None)))
    asked = lead(3, 30.0, stamp=at(43), session_id="s", number="+15550100")
    put(book, heard, said, asked)
    with book.view() as read:
        assert records.recording(read, 1) == heard
        assert records.recordings(read, "r1") == (heard,)
        assert records.conversation(read, 2) == said
        assert records.conversation_times(read, 2) == replace(said, document={}, turns=())
        assert records.lead(read, 3) == asked


def test_a_fact_stated_again_keeps_the_first_registration(book: RecordsLedger) -> None:
    put(book, conversation(1, registered=5))
    book.write(ConversationKnown(conversation(1, 7.0, registered=500)))
    with book.view() as read:
        known = records.conversation(read, 1)
    assert (known.start_at, known.registered_at) == (at(7), at(5))


def test_registration_without_a_time_is_the_moment_of_the_decision(book: RecordsLedger) -> None:
    book.clock.moment = at(77)
    put(book, replace(recording(1), registered_at=None))
    with book.view() as read:
        assert records.recording(read, 1).registered_at == at(77)


def test_unknown_ids_are_the_operators_error(book: RecordsLedger) -> None:
    with book.view() as read:
        for query in (records.recording, records.conversation, records.conversation_times, records.lead):
            with pytest.raises(UnknownSubject):
                query(read, 9)


def test_two_conversations_never_hold_one_recording(book: RecordsLedger) -> None:
    put(book, recording(1), conversation(2), conversation(3), lead(4))
    book.write(Paired(2, "r1", 0.99, ("time",)), LeadPaired(2, 4, 0.99, ("time",)))
    with pytest.raises(sqlite3.IntegrityError):
        book.write(Paired(3, "r1", 0.99, ()))
    with pytest.raises(sqlite3.IntegrityError):
        book.write(LeadPaired(3, 4, 0.99, ()))
    with book.view() as read:
        held = records.pairing_of_group(read, "r1")
        assert held is not None
        assert held.conversation_id == 2
        assert held == records.pairing(read, 2)
        lead_held = records.pairing_of_lead(read, 4)
        assert lead_held is not None
        assert lead_held == records.lead_pairing(read, 2)
    book.write(Unpaired(2), Paired(3, "r1", 0.99, ()))
    with book.view() as read:
        assert records.pairing(read, 2) is None


def test_a_side_that_comes_late_joins_its_groups_pairing(book: RecordsLedger) -> None:
    put(book, recording(1, group="g", side=Side.AGENT), conversation(2))
    book.write(Paired(2, "g", 0.99, ()))
    put(book, recording(3, group="g", side=Side.CUSTOMER))
    with book.view() as read:
        assert [row["paired"] for row in read.rows("SELECT paired FROM recording ORDER BY id")] == [1, 1]
    book.write(Unpaired(2))
    with book.view() as read:
        assert [row["paired"] for row in read.rows("SELECT paired FROM recording ORDER BY id")] == [0, 0]


def test_refusals_can_be_taken_back(book: RecordsLedger) -> None:
    put(book, conversation(1))
    book.write(Refused(1, "r2", "wrong voice"))
    with book.view() as read:
        assert records.refusals(read, 1) == {"r2": "wrong voice"}
    book.write(Unrefused(1, "r2"))
    with book.view() as read:
        assert records.refusals(read, 1) == {}


def test_a_call_id_once_fixed_never_changes(book: RecordsLedger) -> None:
    put(book, conversation(1), conversation(2))
    book.write(CallIdFixed(1, "CALL-1", at(1)))
    book.write(CallIdFixed(1, "CALL-1", at(2)))
    with pytest.raises(Defect):
        book.write(CallIdFixed(1, "CALL-2", at(3)))
    with pytest.raises(sqlite3.IntegrityError):
        book.write(CallIdFixed(2, "CALL-1", at(3)))
    book.write(CallDelivered(1, at(4), {"lead": False}, "http://crm.example/1.ogg"))
    book.write(CallDelivered(1, at(5), {"lead": True}, None))
    with book.view() as read:
        known = records.call(read, 1)
        assert known is not None
        assert (known.call_id, known.fixed_at, known.delivered_at) == ("CALL-1", at(1), at(5))
        assert (known.delivered, known.recording_url) == ({"lead": True}, "http://crm.example/1.ogg")
        assert records.call_id_taken(read, "CALL-1") == 1
        assert records.call_id_taken(read, "CALL-2") is None
        assert records.call(read, 2) is None


def test_a_marker_speaks_for_a_conversation_unless_we_have_begun(book: RecordsLedger) -> None:
    put(book, conversation(1), conversation(2))
    book.write(CallIdFixed(2, "CALL-2", at(1)))
    book.write(SpokenForByMarker(1, at(0), {"lead": True}, None), SpokenForByMarker(2, at(0), {}, None))
    book.write(OldMarker("t.json", False, "http://crm.example/2.ogg", {"upload_attempts": 3}))
    with book.view() as read:
        first, second = records.call(read, 1), records.call(read, 2)
        assert first is not None
        assert (first.spoken_for, first.delivered_at) == ("marker", at(0))
        assert second is not None
        assert (second.spoken_for, second.delivered_at) == ("callspool", None)
        marker = records.old_marker(read, "t.json")
        assert marker is not None
        assert (marker.delivered, marker.recording_url) == (False, "http://crm.example/2.ogg")
        assert records.old_marker(read, "u.json") is None


def test_chunks_and_sidecars_are_kept_for_later(book: RecordsLedger) -> None:
    for number in (1, 2):
        book.item(number, "recording", f"chunk_{number:04d}.webm")
        book.write(ChunkKnown(number, "s-1", number))
    book.item(3, "recording", "x.json")
    book.write(SidecarKnown(3, "x", {"chunks": []}))
    with book.view() as read:
        assert records.chunk_sessions(read) == (("s-1", 2),)
        assert records.sidecar(read, "x") == {"chunks": []}
        assert records.sidecar(read, "y") is None


def test_the_neighbourhood_is_found_by_any_time_and_any_id(book: RecordsLedger) -> None:
    put(
        book,
        conversation(1, 0),
        conversation(2, None, session=5),
        conversation(3, 90_000, saved=60),
        conversation(4, 90_000, room="k"),
        conversation(5, 90_000, number="+15550100"),
        replace(conversation(6, None, saved=65), start_at=at(65), start_source=TimeSource.NAME),
        recording(11, 0),
        recording(12, 90_000, session_id="k"),
        recording(13, 90_000, stamp=at(60)),
        recording(14, 90_000, source=TimeSource.FILE),
        lead(21, 30),
        lead(22, 90_000, session_id="k"),
        lead(23, 90_000),
    )
    near, late = Span(at(-10), at(10)), Span(at(50), at(70))
    with book.view() as read:

        def calls(where: Near) -> list[int]:
            return [c.id for c in records.conversations_near(read, where)]

        assert calls(Near(starts=(near,))) == [1, 2]
        assert calls(Near(ends=(late,))) == [1, 3, 6]
        assert calls(Near(lone_ends=(late,))) == [6]
        assert calls(Near(refs=("k",), stamps=(at(60),))) == [3, 4]
        assert calls(Near(number="+15550100", around=(Span(at(89_000), at(91_000)),))) == [5]
        assert calls(Near(number="+15550100", around=(near,))) == []
        assert calls(Near()) == []
        assert records.groups_near(read, Near(starts=(near,), refs=("k",), stamps=(at(60),))) == ["r11", "r12", "r13"]
        assert records.groups_near(read, Near(lone_ends=(Span(at(90_000), at(91_000)),))) == ["r14"]
        found = records.leads_near(read, Near(ends=(Span(at(0), at(60)),), refs=("k",)))
        assert [one.id for one in found] == [21, 22]


def test_a_replaced_file_leaves_the_neighbourhood_to_the_newer_one(book: RecordsLedger) -> None:
    put(book, recording(1, group="g", side=Side.AGENT), conversation(3), lead(5, 10))
    put(book, recording(2, group="g", side=Side.AGENT, length=70.0), replaces=1)
    put(book, conversation(4), replaces=3)
    put(book, lead(6, 10), replaces=5)
    span = Span(at(-100), at(100))
    with book.view() as read:
        assert [r.id for r in records.recordings(read, "g")] == [2]
        assert [c.id for c in records.conversations_near(read, Near(starts=(span,)))] == [4]
        assert [one.id for one in records.leads_near(read, Near(ends=(span,)))] == [6]
        assert (records.replaced_by(read, 3), records.replaces(read, 4)) == (4, 3)
        assert (records.replaced_by(read, 4), records.replaces(read, 3)) == (None, None)


def test_the_mark_of_neighbours_changes_with_whoever_comes_goes_or_moves_and_with_nothing_else(
    book: RecordsLedger,
) -> None:
    def mark() -> Mark:
        with book.view() as read:
            return records.neighbours_mark(read)

    put(book, recording(1), conversation(2), lead(3))
    for change, old_rows_hold in (
        (lambda: put(book, recording(4)), True),
        (lambda: put(book, conversation(5)), True),
        (lambda: put(book, lead(6)), True),
        (lambda: book.write(ConversationKnown(conversation(5, 30))), False),
        (lambda: book.write(RecordingKnown(recording(4, 30))), False),
        (lambda: book.write(LeadKnown(lead(6, 30))), True),
        (lambda: book.ledger.write("test", lambda tx: tx.execute("UPDATE item SET replaces = 1 WHERE id = 4")), True),
        (lambda: book.ledger.write("test", lambda tx: tx.execute("DELETE FROM recording WHERE id = 4")), False),
        (lambda: book.ledger.write("test", lambda tx: tx.execute("DELETE FROM conversation WHERE id = 5")), False),
        (lambda: book.ledger.write("test", lambda tx: tx.execute("DELETE FROM lead WHERE id = 6")), True),
    ):
        before = mark()
        change()
        assert (mark().near != before.near, mark().rows == before.rows) == (True, old_rows_hold)
    before = mark()
    book.write(Paired(2, "r1", 1.0, ()), LeadPaired(2, 3, 1.0, ()))
    book.write(Unpaired(2))
    assert mark() == before


def test_a_group_begins_once_where_its_first_side_does(book: RecordsLedger) -> None:
    put(book, recording(1, 5, group="g", side=Side.AGENT), recording(2, 0, group="g", side=Side.CUSTOMER))
    put(book, recording(3, 7))
    with book.view() as read:
        assert records.group_starts(read, Span(at(0), at(9))) == [micros(at(0)), micros(at(7))]
        assert records.group_starts(read, Span(at(1), at(9))) == [micros(at(7))]


def test_a_copy_that_is_gone_is_the_content_that_was_looked_for(book: RecordsLedger) -> None:
    put(book, conversation(1))
    newer = records.CopyVerified("local", "", "a/paper", 1, "sidecar", None, "b" * 64, 5, "read", {"to": "s3"})
    book.write(newer, records.CopyGone("a/paper", "a" * 64, "not here"))
    states = []
    for _ in range(2):
        with book.view() as read:
            states.append([(row["state"], row["bound_for"] is None) for row in read.rows("SELECT * FROM copy")])
        book.write(records.CopyGone("a/paper", "b" * 64, "not here"))
    assert states == [[("verified", False)], [("removed", True)]]


class Listener:
    """A reader that keeps what was asked."""

    def __init__(self, read: Reader) -> None:
        self._read = read
        self.now = read.now
        self.asked: list[tuple[str, Sequence[object]]] = []

    def rows(self, sql: str, args: Sequence[object] = ()) -> list[sqlite3.Row]:
        self.asked.append((sql, args))
        return self._read.rows(sql, args)

    def item(self, item_id: int) -> Item:
        return self._read.item(item_id)

    def receipt(self, key: str) -> Receipt | None:
        return self._read.receipt(key)

    def known_until(self, lane: str, since: datetime) -> datetime:
        return self._read.known_until(lane, since)


def test_no_neighbourhood_query_reads_a_whole_table(book: RecordsLedger) -> None:
    put(book, conversation(1), recording(2), lead(3, 0))
    spans = (Span(at(0), at(60)),)
    near = Near(spans, spans, spans, spans, "+15550100", spans, ("k", "l"), (at(60),))
    with book.view() as read:
        listener = Listener(read)
        assert records.conversations_near(listener, near)
        assert records.groups_near(listener, near)
        assert records.leads_near(listener, near)
        records.recordings(listener, "r2")
        for sql, args in listener.asked:
            steps = [step["detail"] for step in read.rows(f"EXPLAIN QUERY PLAN {sql}", args)]
            assert not [step for step in steps if step.startswith("SCAN")], sql
            assert not sql.count("coalesce") or any("lone" in step or "guessed" in step for step in steps)


def test_a_hold_covers_what_joins_the_call_after_it(book: RecordsLedger) -> None:
    put(book, recording(1, group="g"), conversation(2), lead(3), recording(4), conversation(5))
    put(book, recording(6, group="g", side=Side.AGENT))
    book.write(Held(3, "court"))
    with book.view() as read:
        assert records.held_items(read) == (3,)
    book.write(Paired(2, "g", 0.99, ()), LeadPaired(2, 3, 0.99, ()))
    with book.view() as read:
        assert records.held_items(read) == (1, 2, 3, 6)
        assert [records.hindrance(read, number) for number in (1, 4)] == ["held", ""]
    book.write(Unheld(3))
    with book.view() as read:
        assert records.held_items(read) == ()

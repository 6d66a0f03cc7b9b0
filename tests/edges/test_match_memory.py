"""What the matcher keeps from one job to the next never makes it decide otherwise than from scratch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.contract import Reader
from daemon.errors import LedgerBusy
from daemon.ledger.writer import WriteTx
from handlers.match import book as kept
from handlers.match.book import Memory, Moments
from handlers.match.evidence import Experience
from handlers.match.ledger_source import Surroundings, surroundings
from handlers.match.values import ms_of
from handlers.model import TimeSource, Turn
from handlers.records import ConversationKnown, RecordingKnown, Span
from handlers.records.rows import micros
from handlers.settings import MatchSettings
from tests.support.records import RecordsLedger, at, conversation, lead, recording

SETTINGS, EXPERIENCE = MatchSettings(), Experience()
SPEECH = ((3.0, 6.0), (9.0, 12.0), (15.0, 21.0), (30.0, 33.0))


def said(late_s: float) -> tuple[Turn, ...]:
    """An agent's lines, each so long after its speech begins."""
    return tuple(Turn("assistant", at(first - 2 + late_s)) for first, _ in SPEECH)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[RecordsLedger]:
    ledger = RecordsLedger(tmp_path)
    yield ledger
    ledger.close()


def looked(book: RecordsLedger, memory: Memory | None = None) -> Surroundings:
    """The surroundings of the first conversation."""
    with book.view() as read:
        return surroundings(read, SETTINGS, EXPERIENCE, conversation=1, memory=memory)


def erased(book: RecordsLedger, table: str, number: int) -> None:
    def run(tx: WriteTx) -> None:
        tx.execute(f"DELETE FROM {table} WHERE id = ?", (number,))
        tx.execute("DELETE FROM item WHERE id = ?", (number,))

    book.ledger.write("test.erased", run)


def test_whatever_comes_goes_or_changes_is_seen_by_who_remembers(book: RecordsLedger) -> None:
    memory = Memory()
    heard = recording(2, -2, 63)
    heard = replace(heard, audio=replace(heard.audio, speech=SPEECH, heard_s=63.0))
    book.put(replace(conversation(1), turns=said(0.0)))
    book.put(heard)
    book.put(lead(3, 55))
    for change in (
        lambda: book.put(recording(4, 20, 40)),
        lambda: book.put(conversation(5, 10)),
        lambda: book.put(lead(6, 58)),
        lambda: book.write(RecordingKnown(recording(4, 3, 58))),
        lambda: book.write(ConversationKnown(conversation(5, 14))),
        lambda: book.write(ConversationKnown(replace(conversation(1), turns=said(2.5)))),
        lambda: book.put(conversation(7, 12), replaces=5),
        lambda: book.put(recording(8, -1, 30), replaces=4),
        lambda: erased(book, "lead", 6),
        lambda: erased(book, "recording", 2),
        lambda: book.put(recording(2, 1, 59, source=TimeSource.FILE)),
        lambda: erased(book, "conversation", 7),
    ):
        change()
        assert looked(book, memory) == looked(book)


def test_what_is_kept_of_a_crowd_is_bounded(book: RecordsLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 13):
        book.put(conversation(number, number))
        book.put(recording(20 + number, number - 2, 63))
    memory = Memory()
    looked(book, memory)
    assert memory.pairs > 100
    monkeypatch.setattr(kept, "MOST_KEPT", 50)
    monkeypatch.setattr(kept, "COUNTED", 1)
    monkeypatch.setattr(kept, "MOST_NEARBY", 5)
    with book.view() as read:
        memory.look(read)
    assert (memory.pairs <= 50, memory.nearby.files) == (True, 0)
    assert looked(book, memory) == looked(book)


def test_a_load_that_fails_leaves_what_was_known(book: RecordsLedger) -> None:
    fails = [False, True, False]

    def load(_read: Reader, span: Span) -> Sequence[int]:
        if fails.pop(0):
            raise LedgerBusy("somebody else has it")
        return [us for us in (micros(at(0)), micros(at(3600))) if micros(span.first) <= us <= micros(span.last)]

    moments = Moments(load)
    with book.view() as read:
        assert moments.around(read, ms_of(at(0)), 30) == 1
        with pytest.raises(LedgerBusy):
            moments.around(read, ms_of(at(3600)), 30)
        assert moments.around(read, ms_of(at(0)), 30) == 1
        assert moments.around(read, ms_of(at(3600)), 30) == 1

"""People are told once, in one message, what is wrong, and that it is over: through the real Apprise to an address."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.contract import Effect, Job, Machine, Planned, Reader, Trouble
from daemon.errors import NotSent, Unacceptable
from daemon.ledger.paths import StatePaths
from daemon.ledger.reading import LedgerContents, Readers
from handlers.notify.handler import DEST, KIND, SEND, NoticeHandler, digest
from handlers.notify.performer import NoticePerformer
from handlers.notify.room import check, room
from handlers.settings import NotifySettings
from tests.support.listener import Listener
from tests.support.records import RecordsLedger, at

DOWN = Trouble("health:crm", "crm: open, no success for 6 min")
LATER = Trouble("health:crm", "crm: open, no success for 9 min")
SILENT = Trouble("failure:quiet", "no recording came since 10:00")


class Inbox(Listener):
    """Somebody's address."""

    @property
    def url(self) -> str:
        """The address as Apprise writes it."""
        return f"json://{self.address}/?pass=secret"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was sent there."""
        return [json.loads(asked.body) for asked in self.asked]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.close()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[RecordsLedger]:
    made = RecordsLedger(tmp_path)
    yield made
    made.close()


class Clockwork:
    """Has the minute's job done, as the machine would; its effects are performed."""

    def __init__(self, book: RecordsLedger, address: str) -> None:
        self.book, self.wrong = book, list[Trouble]()
        self.handler = NoticeHandler(NotifySettings(after=timedelta(minutes=2)), [address], self._troubles)
        self.performer = NoticePerformer([address])

    def _troubles(self, _read: Reader) -> list[Trouble]:
        return self.wrong

    def minute(self, nth: int, *wrong: Trouble) -> tuple[Effect, ...]:
        self.book.clock.moment, self.wrong = at(60 * nth), list(wrong)
        with self.book.view() as read:
            outcome = self.handler.plan(Job(1, KIND, "all", 1, read.now), read)
        assert isinstance(outcome, Planned)
        self.book.write(*outcome.facts)
        for effect in outcome.effects:
            self.performer.perform(effect)
        return outcome.effects


def test_what_lasts_is_told_once_and_its_end_once(book: RecordsLedger, inbox: Inbox) -> None:
    clock = Clockwork(book, inbox.url)
    clock.minute(0, DOWN)
    clock.minute(1, DOWN)
    assert inbox.messages == []
    clock.minute(2, LATER)
    clock.minute(3, LATER)
    assert [(one["title"], one["message"]) for one in inbox.messages] == [
        ("callspool: 1 to look at", f"- {LATER.line}\n\ncallspool failures  says what to do")
    ]
    clock.minute(4)
    clock.minute(5)
    assert len(inbox.messages) == 2
    assert inbox.messages[-1]["title"] == "callspool: all is well again"
    assert inbox.messages[-1]["message"] == f"- over: {LATER.line}"


def test_what_is_over_soon_is_told_to_nobody(book: RecordsLedger, inbox: Inbox) -> None:
    clock = Clockwork(book, inbox.url)
    for nth, wrong in enumerate([(DOWN,), (DOWN,), (), (DOWN,), ()]):
        clock.minute(nth, *wrong)
    assert inbox.messages == []


def test_what_goes_wrong_together_stands_in_one_message(book: RecordsLedger, inbox: Inbox) -> None:
    clock = Clockwork(book, inbox.url)
    for nth in range(4):
        clock.minute(nth, DOWN, SILENT)
    clock.minute(5, SILENT)
    assert len(inbox.messages) == 2
    assert SILENT.line in inbox.messages[0]["message"]
    assert DOWN.line in inbox.messages[0]["message"]
    assert inbox.messages[1]["title"] == "callspool: 1 to look at"
    assert inbox.messages[1]["message"].startswith(f"- over: {DOWN.line}")


def test_the_ledger_holds_no_address(book: RecordsLedger, inbox: Inbox) -> None:
    clock = Clockwork(book, inbox.url)
    clock.minute(0, DOWN)
    effects = clock.minute(2, DOWN)
    assert len(effects) == 1
    assert "secret" not in json.dumps(dict(effects[0].payload))
    assert "secret" not in effects[0].key


def test_a_message_that_is_not_taken_is_tried_again_and_a_strange_address_is_a_persons(inbox: Inbox) -> None:
    inbox.status = 500
    with pytest.raises(NotSent, match="address 1"):
        NoticePerformer([inbox.url]).perform(_to(inbox.url))
    with pytest.raises(Unacceptable, match="address 1"):
        NoticePerformer(["nonsense"]).perform(_to("nonsense"))


def test_an_address_that_was_taken_out_is_sent_nothing(inbox: Inbox) -> None:
    NoticePerformer([inbox.url]).perform(_to("json://127.0.0.1:1/"))
    assert inbox.messages == []


def test_doctor_says_which_address_is_none() -> None:
    found = check(["json://127.0.0.1:1/", "nonsense"])
    assert [(one.subject, one.status) for one in found] == [("notify 1", "ok"), ("notify 2", "fail")]
    assert not any("127.0.0.1" in one.detail or "nonsense" in one.detail for one in found)


def test_addresses_stand_apart_by_commas(book: RecordsLedger, tmp_path: Path) -> None:
    machine = Machine(LedgerContents(Readers(StatePaths(tmp_path / "state").ledger, book.clock)), book.clock, book.view)
    made = room(NotifySettings(), "mailto://a:b@c.example?to=x@c.example,y@c.example,json://127.0.0.1/", machine)
    assert len(made.checks[0](None)) == 2
    assert made.schedules
    assert not room(NotifySettings(), None, machine).schedules


def _to(address: str) -> Effect:
    return Effect.of(SEND, "0:now", DEST, {"to": 0, "address": digest(address), "title": "t", "body": "b"})

"""The matcher's jobs on a real ledger: files arrive, the lane decides, and what it put down is looked at."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from daemon.contract import Event, Fields, Job, JobSpec, Json, Outcome, Reader
from daemon.errors import BadRequest, UnknownSubject
from daemon.ledger import effects, jobs
from daemon.ledger.catching_up import LONGEST_US
from daemon.ledger.pause import pause_act
from daemon.ledger.reading import HUNG_US, View
from daemon.ledger.writer import WriteTx
from handlers import records
from handlers.match.acts import accept
from handlers.match.handler import LOOK_AGAIN_LATEST, MatchHandler
from handlers.match.room import room
from handlers.match.story import explain, failures, held
from handlers.match.verbs import list_text, show_text
from handlers.model import Conversation, Lead, Recording, Side, TimeSource, Turn
from handlers.records import CallDelivered, CallIdFixed, Verdict
from handlers.settings import MatchSettings
from tests.support.deciding import decide, lead_pairs, pairs
from tests.support.records import HandClock, RecordsLedger, at, conversation, lead, recording

LANES = {"match": "match", "call": "call", "store": "store", "audio": "intake"}
WAIT_S = MatchSettings().wait.total_seconds()
LEAD_WAIT_S = MatchSettings().lead_wait.total_seconds()


class Lane:
    """The matcher's lane, driven by hand: every due job is planned inside a write transaction, as the runner does."""

    def __init__(self, folder: Path, match: MatchSettings | None = None) -> None:
        self.clock = HandClock(at(0))
        self.settings = match or MatchSettings()
        self.book = RecordsLedger(folder, LANES, self.clock)
        self.handler = MatchHandler(self.settings)

    def arrive(self, *values: Recording | Conversation | Lead, replaces: int | None = None) -> None:
        """Files arrive, one after the other, and the lane runs after each."""
        for value in values:
            key = self.book.put(value, replaces=replaces)
            self.book.ledger.add_jobs([JobSpec("match", key)])
            self.run()

    def run(self) -> int:
        """Decide whatever is due; returns how many jobs that were."""

        def decide_one(tx: WriteTx) -> int:
            found = jobs.claim(tx, "match", 1, 3)
            for claimed in found:
                outcome = self.handler.plan(claimed.job, View(tx, tx.now))
                effects.accept(tx, claimed.job, outcome, LANES, {})
            return len(found)

        count = 0
        while self.book.ledger.write("job.decided", decide_one):
            count += 1
            assert count < 1000, "the lane never comes to rest"
        return count

    def understand(self) -> None:
        """Whatever lies there unread is read."""

        def run(tx: WriteTx) -> None:
            for claimed in jobs.claim(tx, "intake", 100, 3):
                effects.finish(tx, claimed.job, LANES)

        self.book.ledger.write("files.understood", run)

    def return_to(self, older: int, newer: int) -> None:
        """The file of the newer version holds the older one's content again."""

        def run(tx: WriteTx) -> None:
            tx.execute("UPDATE item SET replaces = NULL WHERE id = ?", (newer,))
            tx.execute("UPDATE item SET replaces = ? WHERE id = ?", (newer, older))

        self.book.ledger.write("item.returned", run)

    def plan(self, key: str) -> Outcome:
        """What the handler would decide for a subject now, without doing it."""
        with self.book.view() as read:
            return self.handler.plan(Job(1, "match", key, 1, self.clock.now()), read)

    def pass_(self, seconds: float) -> None:
        """Let time go by, to this many seconds after noon."""
        self.clock.moment = at(seconds)
        self.run()

    def verdict(self, number: int) -> Verdict:
        with self.book.view() as read:
            found = records.verdict(read, number)
        assert found is not None
        return found

    def pairs(self) -> dict[int, str]:
        with self.book.view() as read:
            return {row["conversation_id"]: row["group_key"] for row in read.rows("SELECT * FROM pairing")}

    def lead_pairs(self) -> dict[int, int]:
        with self.book.view() as read:
            return {row["conversation_id"]: row["lead_id"] for row in read.rows("SELECT * FROM lead_pairing")}

    def woken(self) -> list[str]:
        """The calls to be looked at by the room that delivers; they are taken off the list."""

        def take(tx: WriteTx) -> list[str]:
            found = [c.job for c in jobs.claim(tx, "call", 100, 3)]
            for job in found:
                effects.finish(tx, job, LANES)
            return sorted(job.key for job in found)

        return self.book.ledger.write("calls.taken", take)

    def told(self) -> list[str]:
        """Names of the journal's lines since the last look."""
        names = [event.name for event in self.book.events]
        self.book.events.clear()
        return names

    def act(self, name: str, call: str, partner: str, why: str = "") -> Json:
        act = room(self.settings).acts[f"match.{name}"]
        answer = self.book.ledger.act(f"match.{name}", act, {"call": call, "recording": partner, "why": why})
        self.run()
        return answer


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    made = Lane(tmp_path)
    yield made
    made.book.close()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_isolated_pair_is_ready_at_once_whoever_comes_first(lane: Lane, order: tuple[int, int]) -> None:
    files: list[Recording | Conversation | Lead] = [conversation(1), recording(2, -2, 63)]
    lane.arrive(*(files[n] for n in order))
    assert lane.pairs() == {1: "r2"}
    assert lane.verdict(1).ready
    assert lane.woken() == ["1"]
    assert lane.told() == ["call.matched"]


def test_a_conversation_waits_for_its_recording_and_then_goes_alone(lane: Lane) -> None:
    lane.arrive(conversation(1, -5000, registered=0))
    found = lane.verdict(1)
    assert (found.recording, found.ready, found.recording_until) == ("waiting", False, at(WAIT_S))
    assert lane.woken() == []
    lane.pass_(WAIT_S - 1)
    assert not lane.verdict(1).ready
    lane.pass_(WAIT_S)
    assert (lane.verdict(1).recording, lane.verdict(1).ready) == ("alone", True)
    assert lane.woken() == ["1"]
    assert lane.told() == ["call.alone"]


def test_a_wait_is_over_once_all_that_came_while_it_ran_is_understood(lane: Lane) -> None:
    lane.arrive(conversation(1))
    lane.clock.moment = at(WAIT_S - 1)
    lane.book.ledger.add_jobs([JobSpec("audio", "2")])
    lane.pass_(10 * WAIT_S)
    assert (lane.verdict(1).recording, lane.verdict(1).ready) == ("waiting", False)
    lane.understand()
    lane.pass_(10 * WAIT_S + LOOK_AGAIN_LATEST.total_seconds())
    assert (lane.verdict(1).recording, lane.verdict(1).ready) == ("alone", True)


def test_what_comes_after_a_wait_does_not_lengthen_it(lane: Lane) -> None:
    lane.arrive(conversation(1))
    lane.clock.moment = at(WAIT_S)
    lane.book.ledger.add_jobs([JobSpec("audio", "2")])
    lane.pass_(WAIT_S)
    assert lane.verdict(1).ready


def test_a_wait_that_ran_out_while_nobody_looked_ends_once_all_that_lies_there_is_understood(lane: Lane) -> None:
    lane.arrive(conversation(5, -9000, registered=-9000))
    lane.arrive(conversation(1), conversation(2, 600, 660), lead(3, 20000))
    assert lane.told() == ["call.alone"]
    lane.clock.moment = at(WAIT_S + 700)
    lane.book.ledger.files.begin_catching_up()
    lane.run()
    assert not lane.verdict(1).ready, "nobody knows yet what came meanwhile"
    lane.book.ledger.add_jobs([JobSpec("audio", "4")])
    lane.book.ledger.files.caught_up().result()
    lane.pass_(WAIT_S + 800)
    assert not lane.verdict(1).ready, "what came meanwhile is not understood yet"
    assert lane.told() == []
    assert lane.verdict(5).ready, "its wait was over before"
    lane.understand()
    lane.arrive(recording(4, -2, 63))
    lane.pass_(WAIT_S + 900)
    assert lane.pairs() == {1: "r4"}
    assert (lane.verdict(1).ready, lane.verdict(2).recording) == (True, "alone")
    assert lane.told().count("lead.unmatched") == 1


def restart(lane: Lane, how: str) -> None:
    """Nobody looks for a while, and the ledger is opened again."""
    ledger = lane.book.ledger
    if how == "killed at work":
        ledger.add_jobs([JobSpec("audio", "8")])
        ledger.write("job.claimed", lambda tx: jobs.claim(tx, "intake", 1, 3))
    if how == "slept":
        lane.clock.moment += timedelta(seconds=WAIT_S)
        ledger.write("told", lambda tx: tx.journal(Event("root.degraded", {})))
        ledger.write("clock.jumped", lambda tx: jobs.move_deadlines(tx, timedelta(seconds=WAIT_S)))
        return
    lane.clock.moment += timedelta(seconds=WAIT_S)
    if how == "told meanwhile":
        ledger.files.begin_catching_up()
        ledger.act("pause", pause_act, {"what": "compress", "why": "while it is down"})
    ledger.recover()


@pytest.mark.parametrize("how", ["stopped", "killed at work", "told meanwhile", "slept"])
def test_however_nobody_looked_a_wait_that_ran_out_is_not_over(lane: Lane, how: str) -> None:
    lane.arrive(conversation(5, -9000, registered=-9000))
    lane.arrive(conversation(1, registered=0))
    restart(lane, how)
    lane.run()
    assert not lane.verdict(1).ready
    lane.understand()
    lane.book.ledger.files.caught_up().result()
    lane.pass_(2 * WAIT_S)
    assert lane.verdict(1).ready


def test_what_was_in_line_before_a_stop_came_before_it(lane: Lane) -> None:
    lane.arrive(conversation(1))
    lane.clock.moment = at(WAIT_S - 10)
    lane.book.ledger.add_jobs([JobSpec("audio", "2")])
    lane.clock.moment = at(WAIT_S + 50)
    lane.book.ledger.write("told", lambda tx: tx.journal(Event("root.degraded", {})))
    steps: tuple[Callable[[], object], ...] = (
        lane.book.ledger.recover,
        lambda: lane.book.ledger.files.caught_up().result(),
    )
    for step in steps:
        lane.clock.moment = at(WAIT_S + 100)
        step()
        lane.run()
        assert not lane.verdict(1).ready


def test_a_call_that_came_after_the_start_does_not_wait_for_what_lay_there(lane: Lane) -> None:
    lane.book.ledger.recover()
    lane.clock.moment = at(3 * WAIT_S)
    lane.arrive(conversation(1, registered=3 * WAIT_S))
    lane.pass_(4 * WAIT_S)
    assert lane.verdict(1).ready


def test_a_read_that_never_returns_keeps_nobody_waiting(lane: Lane) -> None:
    lane.arrive(conversation(1))
    lane.book.ledger.add_jobs([JobSpec("audio", "2")])
    lane.book.ledger.write("job.claimed", lambda tx: jobs.claim(tx, "intake", 1, 3))
    lane.pass_(WAIT_S + HUNG_US / 1e6)
    assert lane.verdict(1).ready


def test_a_wait_that_is_over_stays_so_whoever_comes(lane: Lane) -> None:
    lane.book.ledger.add_jobs([JobSpec("audio", "9")])
    lane.arrive(conversation(1, registered=2 * WAIT_S))
    lane.pass_(3 * WAIT_S)
    assert (lane.verdict(1).recording, lane.verdict(1).ready) == ("alone", True)
    lane.told()
    lane.arrive(recording(2, 250, 61, registered=0))
    assert (lane.verdict(1).recording, lane.verdict(1).ready) == ("alone", True)
    assert lane.told() == []


def test_a_lead_that_comes_before_the_wait_for_it_is_over_is_asked_about(lane: Lane) -> None:
    lane.arrive(conversation(1), conversation(2, 1, 61))
    assert all(lane.verdict(number).explanation["lead"]["settled"] for number in (1, 2))
    lane.told()
    lane.clock.moment = at(5)
    lane.arrive(lead(3, stamp=at(62), registered=5))
    assert lane.told().count("lead.held") == 2
    assert {lane.verdict(number).lead for number in (1, 2)} == {"ambiguous"}


def test_a_start_in_the_middle_of_catching_up_begins_it_anew(lane: Lane) -> None:
    lane.arrive(conversation(5, -9000, registered=-9000))
    lane.book.ledger.recover()
    lane.clock.moment = at(2 * WAIT_S)
    lane.arrive(conversation(1, registered=2 * WAIT_S))
    lane.clock.moment = at(4 * WAIT_S)
    lane.book.ledger.recover()
    lane.run()
    assert not lane.verdict(1).ready
    lane.book.ledger.files.caught_up().result()
    lane.pass_(5 * WAIT_S)
    assert lane.verdict(1).ready


def test_starts_that_never_end_catching_up_hold_nobody_for_longer_than_a_day(lane: Lane) -> None:
    lane.arrive(conversation(5, -9000, registered=-9000))
    lane.arrive(conversation(1))
    for hour in range(1, 50):
        lane.clock.moment = at(3600 * hour)
        lane.book.ledger.recover()
        lane.run()
        assert lane.verdict(1).ready == (3600 * hour - LONGEST_US / 1e6 >= WAIT_S), hour


def test_what_is_read_once_more_undoes_no_wait_that_is_over(lane: Lane) -> None:
    lane.book.ledger.add_jobs([JobSpec("audio", "9")])
    lane.understand()
    lane.book.ledger.files.begin_catching_up()
    lane.book.ledger.files.caught_up().result()
    lane.clock.moment = at(WAIT_S)
    lane.book.ledger.add_jobs([JobSpec("audio", "9")])
    with lane.book.view() as read:
        assert records.understood_until(read, at(-9000)) == at(WAIT_S)


def test_a_call_does_not_wait_for_a_backlog_from_long_before_it(lane: Lane) -> None:
    lane.book.ledger.add_jobs([JobSpec("audio", str(number)) for number in range(100, 500)])
    lane.clock.moment = at(2 * WAIT_S)
    lane.arrive(conversation(1, registered=2 * WAIT_S))
    lane.pass_(3 * WAIT_S)
    assert lane.verdict(1).ready
    lane.arrive(conversation(2, -9000, registered=0))
    lane.pass_(4 * WAIT_S)
    assert not lane.verdict(2).ready, "its recording may be among what came with it"
    lane.clock.moment = at(5 * WAIT_S)
    lane.arrive(conversation(3, -18000, registered=5 * WAIT_S))
    lane.book.ledger.add_jobs([JobSpec("audio", str(number)) for number in range(500, 900)])
    lane.pass_(7 * WAIT_S)
    assert not lane.verdict(3).ready, "however many came with it"


def test_what_came_before_an_earlier_stop_counts_on_until_it_is_through(lane: Lane) -> None:
    files = lane.book.ledger.files
    lane.arrive(conversation(5, -9000, registered=-9000))
    for later in (100, 200):
        lane.clock.moment = at(later)
        files.begin_catching_up()
        lane.book.ledger.add_jobs([JobSpec("audio", "9")])
        lane.arrive(conversation(later, -9000 - later, registered=-9000))
        files.caught_up().result()
        with lane.book.view() as read:
            assert records.understood_until(read, at(-9000)) == at(0)
    lane.understand()
    with lane.book.view() as read:
        assert records.understood_until(read, at(-9000)) == at(200)


def test_nobody_waits_for_what_a_person_lets_not_be_understood(lane: Lane) -> None:
    lane.arrive(conversation(1))
    lane.book.ledger.add_jobs([JobSpec("audio", "2")])
    lane.book.ledger.act("pause", pause_act, {"what": "collect", "why": "the disk is full"})
    lane.pass_(WAIT_S)
    assert lane.verdict(1).ready


def test_what_waits_for_what_is_not_understood_does_not_look_without_rest(lane: Lane) -> None:
    lane.arrive(conversation(1, lead_expected=True), recording(2, side=Side.AGENT), recording(3, 5000), lead(4, 9000))
    lane.book.ledger.add_jobs([JobSpec("audio", "5")])
    lane.pass_(100 * WAIT_S)
    with lane.book.view() as read:
        due = [row["due_us"] for row in read.rows("SELECT due_us FROM job WHERE lane = 'match' AND state = 'waiting'")]
    now_us = int(at(100 * WAIT_S).timestamp() * 1e6)
    assert len(due) == 3
    assert min(due) == max(due) == now_us + LOOK_AGAIN_LATEST // timedelta(microseconds=1)


def test_a_recording_that_comes_late_is_matched_and_its_call_woken(lane: Lane) -> None:
    lane.arrive(conversation(1))
    lane.pass_(WAIT_S)
    lane.woken()
    lane.book.write(CallIdFixed(1, "CALL-1", at(WAIT_S)), CallDelivered(1, at(WAIT_S + 1), {}, None))
    lane.clock.moment = at(WAIT_S + 60)
    lane.arrive(recording(2, -2, 63))
    assert lane.pairs() == {1: "r2"}
    assert lane.woken() == ["1"]


def test_the_calls_wait_for_a_lead_ends_first(lane: Lane) -> None:
    lane.arrive(conversation(1, lead_expected=True), recording(2))
    assert not lane.verdict(1).ready
    with lane.book.view() as read:
        job = read.rows("SELECT * FROM job WHERE key = 'conversation:1'")[0]
    assert (job["state"], job["due_us"]) == ("waiting", int(at(120).timestamp() * 1e6))
    lane.told()
    lane.pass_(120)
    assert lane.verdict(1).ready
    assert lane.verdict(1).explanation["lead"]["flags"] == ["lead_missing"]
    assert lane.told() == ["lead.missed"]


def test_a_lead_completes_its_call(lane: Lane) -> None:
    stamp = at(68.351452)
    lane.arrive(conversation(1, lead_expected=True, session_id="k"), recording(2))
    assert lane.woken() == []
    lane.arrive(lead(3, stamp=stamp, session_id="k"))
    assert lane.lead_pairs() == {1: 3}
    assert lane.woken() == ["1"]
    assert "lead.matched" in lane.told()


def test_a_second_candidate_takes_back_what_was_not_sent(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2, -2, 63))
    assert lane.woken() == ["1"]
    lane.told()
    lane.arrive(recording(3, 1, 62))
    assert lane.pairs() == {}
    assert (lane.verdict(1).recording, lane.verdict(1).ready) == ("ambiguous", False)
    assert lane.woken() == ["1"]  # what was planned for it must not be sent
    assert lane.told() == ["call.ambiguous"]
    lane.pass_(WAIT_S)
    assert lane.verdict(1).ready
    assert lane.woken() == ["1"]
    assert lane.told().count("recording.unmatched") == 2


def test_what_was_sent_stays_whatever_comes(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2, -2, 63))
    lane.book.write(CallIdFixed(1, "CALL-1", at(0)))
    lane.arrive(recording(3, 1, 62))
    assert lane.pairs() == {1: "r2"}
    assert lane.verdict(1).recording == "matched"


def test_held_until_told_where_so_configured(tmp_path: Path) -> None:
    lane = Lane(tmp_path, MatchSettings(held="hold"))
    lane.arrive(conversation(1), recording(2), recording(3, 1))
    lane.pass_(WAIT_S + 1)
    assert not lane.verdict(1).ready
    with lane.book.view() as read:
        assert read.rows("SELECT state FROM job WHERE key = 'conversation:1'")[0]["state"] == "done"
        assert [one["subject"] for one in failures(read, lane.settings)] == ["c1", "r2", "r3"]
    lane.act("accept", "c1", "r3")
    assert lane.verdict(1).ready
    lane.book.close()


def test_a_candidate_that_comes_after_the_wait_joins_the_question(tmp_path: Path) -> None:
    lane = Lane(tmp_path, MatchSettings(held="hold"))
    lane.arrive(conversation(1), recording(2), recording(3, 1))
    lane.pass_(WAIT_S + 1)
    lane.arrive(recording(4, 2))
    with lane.book.view() as read:
        ((crowd,),) = [group["calls"] for group in held(read)]
    assert sorted(crowd["candidates"]) == ["r2", "r3", "r4"]
    lane.book.close()


def test_the_other_side_is_waited_for_and_may_come_late(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2, group="g", side=Side.AGENT))
    assert (lane.pairs(), lane.verdict(1).ready) == ({1: "g"}, False)
    lane.pass_(WAIT_S)
    assert lane.verdict(1).ready
    assert lane.woken() == ["1"]
    lane.book.write(CallIdFixed(1, "CALL-1", at(WAIT_S)))
    lane.arrive(recording(3, group="g", side=Side.CUSTOMER))
    assert lane.verdict(1).explanation["recording"]["recordings"] == ["r2", "r3"]
    assert lane.woken() == ["1"]


def test_both_sides_make_it_ready_at_once(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2, group="g", side=Side.AGENT), recording(3, group="g", side=Side.CUSTOMER))
    assert lane.verdict(1).ready


def test_a_newer_transcript_takes_over_the_partners_of_the_older(lane: Lane) -> None:
    lane.arrive(conversation(1, session_id="k"), recording(2), lead(3, session_id="k"))
    assert (lane.pairs(), lane.lead_pairs()) == ({1: "r2"}, {1: 3})
    lane.arrive(conversation(4, session_id="k", length=61), replaces=1)
    assert (lane.pairs(), lane.lead_pairs()) == ({4: "r2"}, {4: 3})
    assert not lane.verdict(1).ready
    assert lane.verdict(1).explanation == {"replaced_by": "c4"}
    assert lane.verdict(4).ready


def test_an_earlier_transcript_that_returns_speaks_for_its_call_again(lane: Lane) -> None:
    lane.arrive(conversation(1, session_id="k"), recording(2), lead(3, session_id="k"))
    lane.arrive(conversation(4, session_id="k", length=61), replaces=1)
    lane.woken()
    lane.return_to(1, 4)
    lane.book.ledger.add_jobs([JobSpec("match", "conversation:1")])
    lane.run()
    assert (lane.pairs(), lane.lead_pairs()) == ({1: "r2"}, {1: 3})
    assert lane.verdict(1).ready
    assert lane.verdict(4).explanation == {"replaced_by": "c1"}
    assert lane.woken() == ["1", "4"]
    assert lane.run() == 0


def test_one_that_returned_is_left_to_its_own_job(lane: Lane) -> None:
    lane.arrive(conversation(1, session_id="k"))
    lane.arrive(conversation(4, session_id="k", length=61), replaces=1)
    lane.pass_(WAIT_S + 1)
    lane.return_to(1, 4)
    lane.arrive(recording(2))
    assert lane.verdict(1).explanation == {"replaced_by": "c4"}
    lane.book.ledger.add_jobs([JobSpec("match", "conversation:1")])
    lane.run()
    assert lane.pairs() == {1: "r2"}


def test_a_newer_recording_takes_the_place_of_the_older_even_after_sending(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2, 0, 57))
    lane.book.write(CallIdFixed(1, "CALL-1", at(0)))
    lane.arrive(recording(3, 0, 63), replaces=2)
    assert lane.pairs() == {1: "r3"}
    assert lane.run() == 0


def test_what_stays_as_it_was_is_not_written_again(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2))
    lane.told()
    for key in ("conversation:1", "group:r2"):
        outcome = lane.plan(key)
        assert (outcome.facts, outcome.events, outcome.then) == ((), (), ())


def test_an_orphan_is_kept_listed_and_reported_once(lane: Lane) -> None:
    lane.arrive(recording(2), lead(3, 10))
    lane.pass_(WAIT_S)
    assert sorted(lane.told()) == ["lead.unmatched", "recording.unmatched"]
    with lane.book.view() as read:
        found = failures(read, lane.settings)
        counts = records.match_counts(read)
        story = explain(read, "r2", lane.settings)
    assert [(one["subject"], one["fix"]) for one in found] == [
        ("r2", "callspool explain r2  (then callspool match accept CALL r2)"),
        ("l3", "callspool explain l3  (then callspool match accept CALL l3)"),
    ]
    assert (counts["recordings_unmatched"], counts["leads_unmatched"]) == (1, 1)
    assert story is not None
    assert story["state"] == "without a conversation"


# ------------------------------------------------------------------------------------------------- a person


def test_a_person_settles_what_evidence_could_not(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2), recording(3, 1))
    assert lane.act("accept", "c1", "r3", "heard it") == {"call": "c1", "partner": "r3", "accepted": True}
    assert lane.pairs() == {1: "r3"}
    assert lane.verdict(1).ready
    assert lane.woken() == ["1"]
    with lane.book.view() as read:
        pairing = records.pairing(read, 1)
    assert pairing is not None
    assert (pairing.decided_by, pairing.why) == ("person", "heard it")
    said = next(event for event in lane.book.events if event.name == "match.accepted")
    assert (said.fields["who"], said.fields["why"]) == ("person", "heard it")
    lane.arrive(recording(4, 0, 61))
    assert lane.pairs() == {1: "r3"}


def test_rejecting_a_pair_takes_it_apart_and_judges_again(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2))
    lane.woken()
    lane.act("reject", "c1", "r2", "another voice")
    assert lane.pairs() == {}
    assert lane.verdict(1).recording == "waiting"
    assert lane.woken() == ["1"]
    lane.arrive(recording(3, 1))
    assert lane.pairs() == {1: "r3"}
    lane.act("accept", "c1", "r2")
    assert lane.pairs() == {1: "r2"}
    with lane.book.view() as read:
        assert records.refusals(read, 1) == {}


def test_rejecting_one_of_two_candidates_decides_for_the_other(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2), recording(3, 1))
    lane.act("reject", "c1", "r3")
    assert lane.pairs() == {1: "r2"}


def test_settling_one_call_settles_its_neighbour(lane: Lane) -> None:
    lane.arrive(conversation(1), conversation(2, 3), recording(3, 1), recording(4, 2))
    assert lane.pairs() == {}
    lane.act("accept", "c1", "r3")
    lane.pass_(WAIT_S)
    assert lane.pairs() == {1: "r3", 2: "r4"}


def test_accepting_what_evidence_gave_another_call_moves_it(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2), conversation(3, 500))
    lane.act("accept", "c3", "r2")
    assert lane.pairs() == {3: "r2"}
    assert lane.verdict(1).recording == "waiting"
    with pytest.raises(BadRequest) as refused:
        lane.act("accept", "c1", "r2")
    assert refused.value.fix == "callspool match reject c3 r2"


def test_a_lead_is_accepted_and_rejected_like_a_recording(lane: Lane) -> None:
    lane.arrive(conversation(1), conversation(2, 10), lead(3, 500))
    lane.act("accept", "c1", "l3")
    assert lane.lead_pairs() == {1: 3}
    lane.act("reject", "c1", "l3")
    assert lane.lead_pairs() == {}
    lane.act("accept", "c2", "lead-3.json")
    assert lane.lead_pairs() == {2: 3}


def test_names_that_mean_nothing_or_too_much_are_refused_without_quoting_them(lane: Lane) -> None:
    lane.arrive(conversation(1, session_id="k"), conversation(2, 5000, session_id="k"), recording(3))
    with lane.book.view() as read:

        def refusal(**args: object) -> str:
            with pytest.raises((UnknownSubject, BadRequest)) as refused:
                accept(args, read)
            assert refused.value.fix
            return str(refused.value)

        assert refusal(call="k", recording="r3") == "that may be c1, c2: name one"
        assert "555" not in refusal(call="number-_15550100-1.ogg", recording="r3")
        assert "555" not in refusal(call="c1", recording="number-_15550100-1.ogg")
        assert refusal(call="c1")


def test_a_dry_run_changes_nothing(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2), recording(3, 1))
    args = {"call": "c1", "recording": "r3", "why": ""}
    answer = lane.book.ledger.act("match.accept", accept, args, dry_run=True)
    assert answer == {"call": "c1", "partner": "r3", "accepted": True}
    assert lane.pairs() == {}


def test_a_rejection_that_is_taken_back_lets_evidence_decide_again(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2, -2, 63))
    lane.act("reject", "c1", "r2")
    assert lane.pairs() == {}
    lane.told()
    assert lane.act("undo", "c1", "r2", "misheard") == {"call": "c1", "partner": "r2", "undone": True}
    assert lane.pairs() == {1: "r2"}
    said = next(event for event in lane.book.events if event.name == "match.undone")
    assert said.fields == {"call_id": "c1", "partner": "r2", "who": "person", "why": "misheard"}
    with lane.book.view() as read:
        pairing = records.pairing(read, 1)
        assert records.refusals(read, 1) == {}
    assert pairing is not None
    assert pairing.decided_by == "evidence"


def test_an_acceptance_that_is_taken_back_frees_both_files(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2, -2, 63), conversation(3, 500))
    lane.act("accept", "c3", "r2")
    assert lane.pairs() == {3: "r2"}
    lane.act("undo", "c3", "r2")
    assert lane.pairs() == {1: "r2"}
    assert lane.verdict(3).recording == "waiting"


def test_what_was_said_of_a_lead_is_taken_back_alike(lane: Lane) -> None:
    lane.arrive(conversation(1, session_id="k"), conversation(2, 5000), lead(3, session_id="k"))
    lane.act("accept", "c2", "l3")
    assert lane.lead_pairs() == {2: 3}
    lane.act("undo", "c2", "l3")
    assert lane.lead_pairs() == {1: 3}
    lane.act("reject", "c1", "l3")
    assert lane.lead_pairs() == {}
    lane.act("undo", "c1", "l3")
    assert lane.lead_pairs() == {1: 3}


def test_what_nobody_said_cannot_be_taken_back(lane: Lane) -> None:
    """A pair that evidence made is not a person's to undo: it is rejected."""
    lane.arrive(conversation(1), recording(2, -2, 63), recording(3, 5000))
    for partner in ("r2", "r3"):
        with pytest.raises(BadRequest) as refused:
            lane.act("undo", "c1", partner)
        assert refused.value.fix == "callspool match show c1"
    assert lane.pairs() == {1: "r2"}
    lane.act("reject", "c1", "r2")
    lane.act("undo", "c1", "r2")
    with pytest.raises(BadRequest):
        lane.act("undo", "c1", "r2")


# ------------------------------------------------------------------------------------------------- disputes

SPEECH = ((2.0, 5.5), (6.4, 8.0), (9.5, 13.0), (14.2, 16.0), (17.4, 21.0), (22.0, 24.5), (26.0, 29.5), (30.6, 33.0))


def spoken(one: Recording) -> Recording:
    """The recording with two voices in it, the agent's first."""
    return replace(one, audio=replace(one.audio, speech=SPEECH, heard_s=one.audio.span_s))


def talked(call: Conversation, begins_s: float) -> Conversation:
    """The call with a stamped line for each stretch that is heard in a recording from ``begins_s`` on."""
    turns = tuple(
        Turn("assistant", at(begins_s + first)) if nth % 2 == 0 else Turn("user", at(begins_s + last + 0.6))
        for nth, (first, last) in enumerate(SPEECH)
    )
    return replace(call, turns=turns)


def sent(lane: Lane, number: int, *items: int) -> None:
    """The call went out with these recordings."""
    delivered = {"recordings": [{"id": item} for item in items]}
    lane.book.write(CallIdFixed(number, f"CALL-{number}", at(0)), CallDelivered(number, at(1), delivered, None))


def warnings(lane: Lane) -> list[Event]:
    """The journal's lines about disputes."""
    return [event for event in lane.book.events if event.name == "call.match_disputed"]


BETTER: list[tuple[Conversation, Recording]] = [
    (conversation(1, session_id="k"), recording(3, -1, 62, session_id="k")),
    (conversation(1, number="+15550100", session_id="k"), recording(3, -2, 63, number="+15550100", session_id="k")),
    (talked(conversation(1, 0, 34), -1.5), spoken(recording(3, -2, 37))),
]


@pytest.mark.parametrize(("call", "better"), BETTER, ids=["id", "number and id", "turns"])
def test_a_better_recording_after_sending_is_reported_once_and_changes_nothing(
    lane: Lane, call: Conversation, better: Recording
) -> None:
    assert call.start_at is not None
    assert call.end_at is not None
    lane.arrive(call, recording(2, 1, (call.end_at - call.start_at).total_seconds() + 1))
    assert lane.pairs() == {1: "r2"}
    sent(lane, 1, 2)
    lane.woken()
    before = lane.verdict(1)
    lane.told()
    lane.arrive(better)
    event = warnings(lane)
    assert [(one.level, one.fields["call_id"]) for one in event] == [("warning", "c1")]
    assert event[0].fields["reason"] == "it was sent with r2; by what is known now r3 is its own"
    assert event[0].fields["fix"] == "callspool match reject c1 r2; then callspool match accept c1 r3"
    assert lane.pairs() == {1: "r2"}
    after = lane.verdict(1)
    assert (after.recording, after.ready, after.recording_until) == (before.recording, True, before.recording_until)
    assert after.explanation["recording"] == before.explanation["recording"]
    assert lane.woken() == []
    for key in ("group:r3", "group:r2", "conversation:1"):
        lane.book.ledger.add_jobs([JobSpec("match", key)])
        lane.run()
    lane.arrive(recording(4, 5000), conversation(5, 5000))
    assert len(warnings(lane)) == 1


def test_a_dispute_is_listed_and_shown_with_both_explanations(lane: Lane) -> None:
    lane.arrive(conversation(1, session_id="k"), recording(2, -2, 63))
    sent(lane, 1, 2)
    lane.arrive(recording(3, -1, 62, session_id="k"))
    with lane.book.view() as read:
        listed = [one for one in failures(read, lane.settings) if one["subject"] == "c1"]
        story = explain(read, "c1", lane.settings)
    assert len(listed) == 1
    assert listed[0]["reason"] == "later evidence speaks against the recording it was sent with"
    assert listed[0]["fix"] == ("callspool match show c1; callspool match reject c1 r2; callspool match accept c1 r3")
    assert story is not None
    lines = show_text(story).splitlines()
    begins = lines.index("  disputed: what is known now speaks against what was sent")
    assert lines[begins + 1].startswith("    candidate r2: probability ")
    assert any(line.startswith("    candidate r3: probability ") for line in lines[begins + 2 :])
    assert any(line.startswith("        session id equal        10^+9.0") for line in lines[begins + 2 :])
    lane.act("reject", "c1", "r2")
    lane.act("accept", "c1", "r3")
    assert lane.pairs() == {1: "r3"}
    with lane.book.view() as read:
        assert not [one for one in failures(read, lane.settings) if one["subject"] == "c1"]


def test_a_call_that_claims_what_was_sent_with_another_is_reported(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2, -2, 63, session_id="k"))
    sent(lane, 1, 2)
    lane.arrive(conversation(3, 2, session_id="k"))
    event = warnings(lane)
    assert [one.fields["reason"] for one in event] == ["it was sent with r2; by what is known now that is c3's"]
    assert event[0].fields["fix"] == "callspool match reject c1 r2; then callspool match accept c3 r2"
    assert lane.pairs() == {1: "r2"}
    with lane.book.view() as read:
        fixes = [one["fix"] for one in failures(read, lane.settings) if one["subject"] == "c1"]
    assert fixes == ["callspool match show c1; callspool match reject c1 r2; callspool match accept c3 r2"]


def test_a_rival_that_is_no_better_and_a_persons_choice_are_not_disputed(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2, -2, 63), conversation(11, 5000, session_id="k"), recording(12, 4998, 63))
    sent(lane, 1, 2)
    lane.arrive(recording(3, -1, 62))
    lane.act("accept", "c11", "r12")
    sent(lane, 11, 12)
    lane.arrive(recording(13, 4999, 62, session_id="k"))
    assert warnings(lane) == []
    assert lane.pairs() == {1: "r2", 11: "r12"}


# ------------------------------------------------------------------------------------------------- lessons


def lessons(lane: Lane) -> dict[str, list[int | None]]:
    """How far after their conversations the recordings of each recorder began, as was taught, in milliseconds."""
    with lane.book.view() as read:
        return {recorder: [one.start_ms for one in said] for recorder, said in records.lessons(read).items()}


def by(recorder: str, one: Recording) -> Recording:
    """The recording, made by this recorder."""
    return replace(one, recorder=recorder)


def test_a_match_that_leaves_no_doubt_teaches_once(lane: Lane) -> None:
    lane.arrive(conversation(1), by("call-#.ogg", recording(2, -2, 63)))
    assert lessons(lane) == {"call-#.ogg": [-2000]}
    for key in ("conversation:1", "group:r2"):
        lane.book.ledger.add_jobs([JobSpec("match", key)])
    lane.pass_(WAIT_S)
    lane.arrive(conversation(3, 500), by("other-#.ogg", recording(4, 499, 62)))
    assert lessons(lane) == {"call-#.ogg": [-2000], "other-#.ogg": [-1000]}


def test_a_match_that_leaves_doubt_teaches_nothing(lane: Lane) -> None:
    lane.arrive(conversation(1), by("call-#.ogg", recording(2, -2, 63)), by("call-#.ogg", recording(3, -1, 62)))
    lane.pass_(WAIT_S)
    assert lane.pairs() == {}
    assert lessons(lane) == {}


@pytest.mark.parametrize("how", ["a rival comes", "a person rejects it"])
def test_a_pairing_that_is_undone_takes_its_lesson_along(lane: Lane, how: str) -> None:
    lane.arrive(conversation(1), by("call-#.ogg", recording(2, -2, 63)))
    lane.arrive(conversation(5, 500), by("call-#.ogg", recording(6, 497, 63)))
    assert lessons(lane) == {"call-#.ogg": [-2000, -3000]}
    if how == "a rival comes":
        lane.arrive(by("call-#.ogg", recording(3, -1, 62)))
    else:
        lane.act("reject", "c1", "r2")
    assert lane.pairs() == {5: "r6"}
    assert lessons(lane) == {"call-#.ogg": [-3000]}


def test_what_a_person_pairs_teaches_nothing(lane: Lane) -> None:
    lane.arrive(conversation(1), by("call-#.ogg", recording(2, 500, 63)))
    lane.act("accept", "c1", "r2")
    lane.arrive(conversation(3, 1000), by("call-#.ogg", recording(4, 998, 63)))
    assert lessons(lane) == {"call-#.ogg": [-2000]}
    lane.act("accept", "c3", "r4")
    assert lane.pairs() == {1: "r2", 3: "r4"}
    assert lessons(lane) == {}


def test_what_was_taught_makes_a_late_recorders_pair_more_probable(tmp_path: Path) -> None:
    """A recorder that begins nine seconds late: at first its pairs wait in doubt, and later they are sure."""
    taught = Lane(tmp_path / "taught")
    for nth in range(1, 31):
        taught.arrive(conversation(100 * nth, 1000 * nth, session_id=f"k{nth}"))
        taught.arrive(by("late-#.ogg", recording(100 * nth + 1, 1000 * nth + 9, 52, session_id=f"k{nth}")))
    fresh = Lane(tmp_path / "fresh")
    likely = []
    for lane in (fresh, taught):
        lane.arrive(conversation(9000, 50_000), by("late-#.ogg", recording(9001, 50_009, 52)))
        lane.pass_(WAIT_S)
        told = lane.verdict(9000).explanation["recording"]["candidates"][0]
        likely.append(told["probability"])
        start = next(term for term in told["terms"] if term["name"] == "start")
        assert start["expected_s"] == pytest.approx(9.0 if lane is taught else -1.3, abs=0.5)
        lane.book.close()
    assert 1 - likely[1] < (1 - likely[0]) / 5


# ------------------------------------------------------------------------------------------------- wrong clocks

ZONE_S = 19_800.0
LENGTHS = (41, 67, 93, 128, 175, 230)


def zoned(lane: Lane, *, first: int = 1) -> None:
    """Calls a quarter of an hour apart, their recordings five and a half hours later by their names."""
    for nth, length in enumerate(LENGTHS):
        begun = 900.0 * nth
        lane.arrive(
            conversation(first + nth, begun, length), recording(50 + first + nth, begun + ZONE_S - 2, length + 2.5)
        )


CALLS = range(1, len(LENGTHS) + 1)


def test_recordings_under_another_time_zone_hold_their_calls_and_are_reported_once(lane: Lane) -> None:
    zoned(lane)
    lane.told()
    lane.pass_(WAIT_S)
    suspected = [event for event in lane.book.events if event.name == "offset.suspected"]
    assert len(suspected) == 1
    assert suspected[0].level == "warning"
    assert str(suspected[0].fields["reason"]).startswith("6 recordings lie +5:29:58 after")
    for number in CALLS:
        found = lane.verdict(number)
        assert (found.recording, found.ready) == ("ambiguous", False)
        assert found.explanation["recording"]["shift_s"] == pytest.approx(ZONE_S, abs=4)
        assert "set match.offset to -19" in found.explanation["recording"]["would_settle"]
    assert lane.woken() == []
    with lane.book.view() as read:
        known = records.shift_suspected(read)
        fixes = {one["subject"]: one["fix"] for one in failures(read, lane.settings)}
    assert known is not None
    assert known.shift_ms == pytest.approx(ZONE_S * 1000, abs=4000)
    assert known.calls == len(LENGTHS)
    lane.told()
    for later in (2, 3):
        lane.pass_(later * WAIT_S)
        assert "offset.suspected" not in lane.told()
        assert not [number for number in CALLS if lane.verdict(number).ready]
    assert all(f"c{number}" not in fixes or "match.offset" in str(fixes[f"c{number}"]) for number in CALLS)


def test_a_right_offset_matches_what_was_held_and_clears_the_suspicion(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    zoned(lane)
    lane.pass_(WAIT_S)
    lane.settings = MatchSettings(offset=timedelta(seconds=-ZONE_S))
    lane.handler = MatchHandler(lane.settings)
    lane.pass_(2 * WAIT_S)
    assert lane.pairs() == {number: f"r{50 + number}" for number in CALLS}
    assert all(lane.verdict(number).ready for number in CALLS)
    with lane.book.view() as read:
        assert records.shift_suspected(read) is None
    lane.book.close()


def test_calls_whose_recordings_never_came_go_alone_whatever_lies_far_away(lane: Lane) -> None:
    for nth, length in enumerate(LENGTHS):
        lane.arrive(conversation(1 + nth, 900.0 * nth, length))
        lane.arrive(recording(51 + nth, 40_000.0 + 1111.0 * nth * nth, length + 2.5))
    lane.pass_(WAIT_S)
    assert {lane.verdict(number).recording for number in CALLS} == {"alone"}
    assert all(lane.verdict(number).ready for number in CALLS)
    assert "offset.suspected" not in lane.told()


# ------------------------------------------------------------------------------------------------- telling


def test_a_call_explains_itself_by_any_of_its_names(lane: Lane) -> None:
    lane.arrive(
        conversation(1, session_id="k", number="+15550100"),
        recording(2, number="+15550100"),
        recording(3, 1, number="+15550101"),
        lead(4, session_id="k"),
    )
    lane.book.write(CallIdFixed(1, "CALL-1", at(0)))
    with lane.book.view() as read:
        names = ("c1", "k", "CALL-1", "transcript-1.json", "conversations/transcript-1.json", "r2", "l4", "lead-4.json")
        stories = [explain(read, name, lane.settings) for name in names]
        assert explain(read, "no such thing", lane.settings) is None
    for story in stories:
        assert story is not None
        assert story == stories[0]
        assert (story["call_id"], story["state"], story["items"]) == ("c1", "matched", [1, 2, 4])
    assert "555" not in str(stories[0])


def test_what_cannot_be_its_own_is_told_with_what_speaks_against_it(lane: Lane) -> None:
    lane.arrive(conversation(1, number="+15550100"), recording(3, 1, number="+15550101"))
    with lane.book.view() as read:
        story = explain(read, "c1", lane.settings)
    assert story is not None
    misses: Any = story["near_but_not_its_own"]
    assert misses[0]["file"] == "r3"
    assert "number unequal" in misses[0]["terms"]
    assert story["waits"] == [{"for": "its recording", "until": "2025-10-29T12:15:00Z"}]


def test_the_held_are_listed_by_the_files_they_share(lane: Lane) -> None:
    lane.arrive(conversation(1), conversation(2, 3), recording(3, 1, 65), conversation(4, 5000))
    with lane.book.view() as read:
        crowds = held(read)
        story = explain(read, "c1", lane.settings)
    assert [[call["call_id"] for call in crowd["calls"]] for crowd in crowds] == [["c1", "c2"], ["c4"]]
    text = list_text(crowds)
    assert "between r3" in text
    assert "-> callspool match accept c1 r3" in text
    assert story is not None
    lines = show_text(story).splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("    candidate r3: probability 0."))
    assert lines[first + 1].startswith("        start      fits         10^+")
    assert "(+1.0 s, usual -1.3 s ± 2.0)" in lines[first + 1]
    assert lines[first + 2].startswith("        end        fits         10^+")
    assert lines[first + 3] == "        fits c2 as well"
    assert lines[first + 4].startswith("    -> callspool match accept c1 r3; or the caller's number in both")
    assert list_text([]) == "nothing waits, nothing is held"


def test_a_wrong_time_zone_holds_calls_says_so_once_and_is_listed_with_what_mends_it(lane: Lane) -> None:
    """Recordings 5:30 h after their conversations: none goes alone."""
    lengths = [60, 95, 130, 170, 215, 240]
    for n, length in enumerate(lengths):
        lane.arrive(conversation(10 + n, 400 * n, length), recording(30 + n, 19_800 + 400 * n, length + 2))
    lane.pass_(WAIT_S)
    assert lane.pairs() == {}
    assert {lane.verdict(10 + n).recording for n in range(len(lengths))} == {"ambiguous"}
    assert not any(lane.verdict(10 + n).ready for n in range(len(lengths)))
    with lane.book.view() as read:
        told = [row["fields"] for row in read.rows("SELECT fields FROM journal WHERE event = 'offset.suspected'")]
        listed = [entry for entry in failures(read, lane.settings) if str(entry["subject"]).startswith("c")]
    assert len(told) == 1
    assert len(listed) == len(lengths)
    assert all("match.offset" in str(entry["fix"]) for entry in listed)


def test_the_room_is_whole(lane: Lane) -> None:
    made = room(lane.settings)
    assert made.lanes[0].inline
    assert set(made.acts) == {"match.accept", "match.reject", "match.undo"}
    lane.arrive(conversation(1), recording(2))
    assert made.status is not None
    with lane.book.view() as read:
        assert made.status(read)["matched"] == 1


# ------------------------------------------------------------------------------------------------- properties


@st.composite
def traffic(draw: st.DrawFn) -> tuple[list[Conversation], list[Recording], list[Lead]]:
    """Crowded traffic: some files of each kind within a minute, with numbers, ids, mtimes and contradictions."""
    numbers = st.sampled_from([None, None, "+15550100", "+15550101"])
    ids = st.sampled_from([None, None, None, "session_a", "session_b"])
    whole = st.integers(0, 50)
    calls = [
        conversation(
            100 + n,
            draw(whole),
            draw(st.integers(20, 60)),
            number=draw(numbers),
            session_id=draw(ids),
            session=draw(st.sampled_from([None, None, 20_000])),
            lead_expected=draw(st.sampled_from([True, False, None])),
        )
        for n in range(draw(st.integers(0, 4)))
    ]
    heard = [
        recording(
            200 + n,
            draw(whole),
            draw(st.integers(20, 60)),
            number=draw(numbers),
            session_id=draw(ids),
            source=draw(st.sampled_from([TimeSource.NAME, TimeSource.NAME, TimeSource.FILE])),
        )
        for n in range(draw(st.integers(0, 4)))
    ]
    asked = [
        lead(300 + n, draw(st.integers(0, 120)), number=draw(numbers), session_id=draw(ids))
        for n in range(draw(st.integers(0, 3)))
    ]
    return calls, heard, asked


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(traffic(), st.integers(0, 10**6))
def test_files_one_by_one_in_any_order_end_as_if_judged_together(
    given_: tuple[list[Conversation], list[Recording], list[Lead]], seed: int
) -> None:
    calls, heard, asked = given_
    files: list[Recording | Conversation | Lead] = [*calls, *heard, *asked]
    random.Random(seed).shuffle(files)
    with tempfile.TemporaryDirectory() as folder:
        lane = Lane(Path(folder))
        lane.arrive(*files)
        lane.pass_(LEAD_WAIT_S)
        lane.pass_(WAIT_S)
        together = decide(calls, heard, asked, now=WAIT_S)
        assert lane.pairs() == pairs(together)
        assert lane.lead_pairs() == lead_pairs(together)
        states = {number: (d.recording.state, d.lead.state) for number, d in together.items()}
        assert {n: (lane.verdict(n).recording, lane.verdict(n).lead) for n in together} == states
        assert all(lane.verdict(number).ready for number in together)
        assert lane.run() == 0
        lane.book.close()


# ------------------------------------------------------------------------------------------------- the command line


class BookDesk:
    """A desk on the lane's own ledger: keeps what was shown."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.value: Any = None
        self.text = ""
        self.clock = lane.clock
        self.config: Any = None

    def secret(self, key: str) -> str | None:
        return None

    def path(self, given: str) -> Path:
        return Path(given)

    @contextmanager
    def read(self) -> Iterator[Reader]:
        with self._lane.book.view() as view:
            yield view

    def ask(self, question: str, args: Fields) -> Any:
        raise AssertionError(f"no room of matching is asked {question}")

    def act(self, name: str, args: Fields, *, dry_run: bool = False) -> Json:
        return self._lane.book.ledger.act(name, room(self._lane.settings).acts[name], args, dry_run=dry_run)

    def work(self, settings: Mapping[str, Any]) -> bool:
        raise AssertionError("no verb of matching asks for work")

    def show(self, value: Json, text: str) -> None:
        self.value, self.text = value, text


def test_the_verbs_list_show_accept_and_reject(lane: Lane) -> None:
    lane.arrive(conversation(1), recording(2), recording(3, 1))
    desk = BookDesk(lane)
    made = room(lane.settings).verbs
    assert made is not None
    group = made(desk)["match"]

    def say(*words: str) -> str:
        done = CliRunner().invoke(group, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return desk.text

    assert "between r2, r3" in say("list")
    assert "ambiguous" in say("show", "c1")
    assert say("accept", "c1", "r3", "--dry-run") == "c1 would be paired with r3"
    assert lane.pairs() == {}
    assert say("accept", "c1", "r3", "--why", "heard it") == "c1 is paired with r3"
    assert lane.pairs() == {1: "r3"}
    assert say("reject", "c1", "r3") == "c1 is never paired with r3"
    assert lane.pairs() == {}
    with pytest.raises(UnknownSubject):
        say("show", "c9")

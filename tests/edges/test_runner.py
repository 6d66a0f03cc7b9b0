"""The runner over a real ledger: who is planned when, what is performed, and what becomes of every outcome."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.contract import Effect, Job, JobSpec, Outcome, Planned, Postponed, Reader, Receipt, Rejected, Tx
from daemon.errors import (
    ContentGone,
    ContentMoved,
    DeliveryError,
    Denied,
    NotSent,
    Refused,
    TakenMeanwhile,
    Throttled,
    Unacceptable,
    Unanswered,
)
from daemon.ledger import jobs
from daemon.ledger.writer import WriteTx, micros
from tests.support.ledger import Accepted, Behaviour, Noted, Toy, put, puts, toy

MINUTE = timedelta(minutes=1)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Toy]:
    """A toy with one worker, not yet started."""
    with toy(tmp_path, workers=1, start=False) as made:
        yield made


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Toy]:
    """A toy with four workers, not yet started."""
    with toy(tmp_path, workers=4, start=False) as made:
        yield made


# ------------------------------------------------------------------------------------------------ a job's way


def test_effects_are_performed_in_order_and_given_what_came_before(one: Toy) -> None:
    one.handler.plans["1"] = puts(put("a"), put("b"), put("c"), then=[JobSpec("count", "after")])
    one.add("1")
    one.start()
    one.until_state("done", "1")
    one.until_state("done", "after", kind="count")
    assert one.world.accepted == ["a", "b", "c"]
    assert [sorted(line["given"]) for line in one.world.lines] == [[], ["a"], ["a", "b"]]
    assert one.world.lines[2]["given"]["b"] == {"id": "b"}
    assert one.noted() == {"a": 1, "b": 1, "c": 1, "inline after": 1}
    assert one.job("1")["attempt"] == 1


def test_given_survives_an_interruption_between_effects(one: Toy) -> None:
    one.handler.plans["1"] = puts(put("a"), put("b"))
    one.performer.script["b"].append(NotSent("refused"))
    one.add("1")
    one.start()
    one.until_state("waiting", "1")
    one.pass_time(2 * MINUTE)
    one.until_state("done", "1")
    assert one.world.accepted == ["a", "b"]
    assert sorted(one.world.lines[1]["given"]) == ["a"]


def test_what_follows_is_added_only_once_every_effect_is_done(one: Toy) -> None:
    one.handler.plans["1"] = puts(put("a"), then=[JobSpec("count", "after")])
    one.performer.script["a"].append(NotSent("refused"))
    one.add("1")
    one.start()
    one.until_state("waiting", "1")
    assert one.rows("SELECT * FROM job WHERE kind = 'count'") == []
    one.pass_time(2 * MINUTE)
    one.until_state("done", "after", kind="count")


def test_newest_first_with_every_fourth_the_oldest(one: Toy) -> None:
    one.add(*"123456789")
    one.start()
    one.until_state("done", *"123456789")
    assert [job.key for job in one.handler.seen] == ["9", "8", "7", "1", "6", "5", "4", "2", "3"]


def test_postponed_runs_at_its_time_or_when_woken(one: Toy) -> None:
    def wait(job: Job, read: Reader) -> Outcome:
        return Postponed(job.created_at + timedelta(hours=1), "a partner is missing", facts=(Noted(job.key),))

    one.handler.plans = {"timed": wait, "woken": wait}
    one.add("timed", "woken")
    one.start()
    one.until_state("waiting", "timed", "woken")
    assert one.job("woken")["reason"] == "a partner is missing"
    one.handler.plans = {}
    one.add("woken")
    one.until_state("done", "woken")
    assert one.job("timed")["state"] == "waiting"
    one.pass_time(timedelta(hours=1, seconds=1))
    one.until_state("done", "timed")
    assert one.noted() == {"timed": 2, "woken": 2}


def test_woken_while_running_runs_once_more(one: Toy) -> None:
    hang = threading.Event()
    one.performer.script["1"].append(hang)
    one.add("1")
    one.start()
    one.until(lambda: one.performer.calls == ["1"])
    one.add("1")
    one.add("1")
    hang.set()
    one.until(lambda: len(one.handler.seen) == 2)
    one.until_state("done", "1")
    assert len(one.handler.seen) == 2
    assert one.world.accepted == ["1"]


def test_news_that_arrives_while_a_job_is_being_rejected_is_not_lost(one: Toy) -> None:
    asked, told = threading.Event(), threading.Event()

    def reject(job: Job, read: Reader) -> Outcome:
        if asked.is_set():
            return Planned()
        asked.set()
        assert told.wait(10)
        return Rejected("its partner is missing")

    one.handler.plans["1"] = reject
    one.add("1")
    one.start()
    assert asked.wait(10)
    one.add("1")
    told.set()
    one.until_state("done", "1")
    assert "job.parked" not in one.told()


def test_rejected_waits_for_a_person_and_news_wakes_it(one: Toy) -> None:
    one.handler.plans["1"] = lambda _job, _read: Rejected("not a call", fix="callspool explain c1")
    one.add("1")
    one.start()
    one.until_state("parked", "1")
    assert (one.job("1")["reason"], one.job("1")["fix"]) == ("not a call", "callspool explain c1")
    one.handler.plans = {}
    one.add("1")
    one.until_state("done", "1")


def test_a_poison_job_parks_alone(many: Toy) -> None:
    def poison(job: Job, read: Reader) -> Outcome:
        raise ZeroDivisionError("what the customer said")

    many.handler.plans["3"] = poison
    many.performer.script["4"].append(RuntimeError("what the customer said"))
    many.add(*"123456")
    many.start()
    many.until_state("done", *"1256")
    many.until_state("parked", "3", "4")
    assert many.job("3")["reason"] == "a defect of callspool's own: ZeroDivisionError"
    assert many.effect("4")["state"] == "in_doubt", "nobody knows how far it came"
    caught = [event.fields for event in many.events if event.name == "defect.caught"]
    assert {fields["call_id"] for fields in caught} == {"c3", "c4"}
    assert "customer" not in str(caught) + str(many.rows("SELECT * FROM job")) + str(many.rows("SELECT * FROM journal"))


@pytest.mark.parametrize("says", ["the table", "the fact"])
def test_decisions_that_claim_one_unique_thing_are_taken_one_after_the_other(many: Toy, says: str) -> None:
    """Three look at once and claim the first of three names; the two that are late do so again with the second, and
    whoever is late twice has the third."""

    class Take:
        def __init__(self, name: str) -> None:
            self.name = name

        def write(self, tx: Tx) -> None:
            if says == "the table":
                tx.execute("INSERT INTO toy (name, times) VALUES (?, 1)", (self.name,))
            elif not tx.execute("INSERT OR IGNORE INTO toy (name, times) VALUES (?, 1)", (self.name,)):
                raise TakenMeanwhile("toy")

    at_once = {"a": threading.Barrier(3, timeout=10), "b": threading.Barrier(2, timeout=10)}

    def take(job: Job, read: Reader) -> Outcome:
        taken = {row["name"] for row in read.rows("SELECT name FROM toy")}
        name = next(one for one in "abc" if one not in taken)
        if name in at_once:
            at_once[name].wait()
        return Planned(facts=(Take(name),))

    many.handler.plans = {"1": take, "2": take, "3": take}
    many.add("1", "2", "3")
    many.start()
    many.until_state("done", "1", "2", "3")
    assert many.noted() == {"a": 1, "b": 1, "c": 1}


def test_a_file_that_moved_under_a_job_is_looked_at_again(one: Toy) -> None:
    def moved(job: Job, read: Reader) -> Outcome:
        raise ContentMoved("the file changed after it was hashed")

    one.handler.plans["1"] = moved
    one.performer.script["2"].append(ContentMoved("the file changed after it was hashed"))
    one.add("1", "2")
    one.start()
    one.until_state("waiting", "1", "2")
    assert [one.job(key)["attempt"] for key in "12"] == [0, 0]
    assert one.effect("2")["state"] == "pending"
    one.handler.plans = {}
    one.pass_time(timedelta(seconds=3))
    one.until_state("done", "1", "2")


def test_a_file_that_is_gone_is_looked_for_until_a_scan_would_have_found_it(one: Toy) -> None:
    one.performer.script["1"].extend(ContentGone("the file disappeared") for _ in range(8))
    one.add("1")
    one.start()
    waits: list[float] = []
    for tries in range(1, 4):
        one.until(lambda tries=tries: len(one.performer.calls) == tries)  # type: ignore[misc]
        one.until_state("waiting", "1")
        job = one.job("1")
        assert (job["reason"], job["attempt"], one.effect("1")["state"]) == (jobs.CONTENT_GONE, 0, "pending")
        waits.append((job["due_us"] - job["changed_us"]) / 1e6)
        one.pass_time(timedelta(seconds=waits[-1]))
    assert waits == [5, 90, 300], "the last two outlast a scan and the longest wait for a file to settle"
    one.until_state("parked", "1")
    assert one.job("1")["reason"] == jobs.CONTENT_GONE
    assert one.job("1")["fix"] == "drop the file again, then callspool retry c1"
    one.add("1")
    one.until_state("waiting", "1")


def test_a_file_that_cannot_be_had_is_looked_at_ever_less_often_and_never_parked_for_it(one: Toy) -> None:
    one.performer.script["1"].extend(ContentMoved("the file cannot be read") for _ in range(7))
    one.performer.script["1"].append(ContentGone("the file disappeared"))
    one.add("1")
    one.start()
    waits: list[float] = []
    for tries in range(1, 9):
        one.until(lambda tries=tries: len(one.performer.calls) == tries)  # type: ignore[misc]
        one.until_state("waiting", "1")
        waits.append((one.job("1")["due_us"] - one.job("1")["changed_us"]) / 1e6)
        one.pass_time(timedelta(seconds=waits[-1]))
    assert waits == [2, 4, 8, 16, 32, 60, 60, 5], "and that it is gone is counted anew"
    one.until_state("done", "1")


def test_a_file_that_is_found_in_time_costs_no_attention(one: Toy) -> None:
    def gone(job: Job, read: Reader) -> Outcome:
        raise ContentGone("the file disappeared")

    one.handler.plans["1"] = gone
    one.performer.script["2"].append(ContentGone("the file disappeared"))
    one.add("1", "2")
    one.start()
    one.until_state("waiting", "1", "2")
    one.handler.plans = {}
    one.add("1")
    one.pass_time(timedelta(seconds=6))
    one.until_state("done", "1", "2")
    assert "job.parked" not in one.told()


# ------------------------------------------------------------------------------------------------ each outcome


@pytest.mark.parametrize(
    ("error", "effect", "job", "destination"),
    [
        (NotSent("refused"), "pending", "waiting", ("closed", 1)),
        (Unanswered("read timeout"), "in_doubt", "waiting", ("closed", 1)),
        (Throttled("429", retry_after=timedelta(hours=2), http_status=429), "pending", "waiting", ("asked", 0)),
        (Denied("401", http_status=401), "pending", "waiting", ("resting", 0)),
        (Refused("success is false", http_status=200), "pending", "waiting", ("closed", 0)),
        (Unacceptable("422", http_status=422, answer="no such field"), "parked", "parked", ("closed", 0)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_error_leaves_its_trace_in_the_ledger(
    one: Toy, error: DeliveryError, effect: str, job: str, destination: tuple[str, int]
) -> None:
    one.performer.script["1"].append(error)
    one.add("1")
    one.start()
    one.until_state(job, "1")
    row = one.effect("1")
    assert (row["state"], row["sends"], row["reason"], row["http_status"]) == (
        effect,
        1,
        error.reason,
        error.http_status,
    )
    counted = not isinstance(error, Throttled | Denied)
    assert (one.job("1")["attempt"], row["failures"]) == (int(counted), int(counted))
    assert (one.destination()["state"], one.destination()["failures"]) == destination
    assert [a["body"] for a in one.rows("SELECT body FROM answer")] == ([error.answer] if error.answer else [])
    assert one.world.accepted == []


def test_refused_is_tried_again_and_parks_after_its_attempts(one: Toy) -> None:
    one.performer.script["1"].extend(Refused(f"no {n}") for n in range(3))
    one.add("1")
    one.start()
    for reason in ("no 0", "no 1"):
        one.until(lambda reason=reason: (one.job("1")["state"], one.job("1")["reason"]) == ("waiting", reason))  # type: ignore[misc]
        one.pass_time(timedelta(minutes=10))
    one.until_state("parked", "1")
    assert one.job("1")["reason"] == "no 2 (refused 3 times)"
    assert one.effect("1")["refusals"] == 3


def test_parked_is_retried_when_a_person_says_so(one: Toy) -> None:
    one.performer.script["1"].append(Unacceptable("422"))
    one.add("1")
    one.start()
    one.until_state("parked", "1")
    job_id = one.job("1")["id"]
    one.ledger.write("test.retry", lambda tx: jobs.retry(tx, [job_id]))
    one.until_state("done", "1")
    assert [job.told for job in one.handler.seen] == [False, True]
    assert one.job("1")["told"] == 0
    assert one.world.accepted == ["1"]


def test_a_parked_effect_parks_whoever_wants_it_and_news_does_not_send_it_again(many: Toy) -> None:
    hang = threading.Event()
    many.handler.plans = {"1": puts(put("same")), "2": puts(put("same"))}
    many.performer.script["same"].append(Unacceptable("422"))
    many.add("1")
    many.start()
    many.until_state("parked", "1")
    many.add("2")
    many.until_state("parked", "2")
    many.add("1")
    many.until(lambda: len([j for j in many.handler.seen if j.key == "1"]) == 2)
    many.until_state("parked", "1")
    assert many.performer.calls == ["same"]
    assert many.job("2")["reason"] == "422"
    hang.set()
    job_id = many.job("2")["id"]
    many.ledger.write("test.retry", lambda tx: jobs.retry(tx, [job_id]))
    many.until_state("done", "1", "2")
    assert many.world.accepted == ["same"]


# ------------------------------------------------------------------------------------------------ in doubt


def test_unanswered_but_accepted_is_found_and_not_sent_again(one: Toy) -> None:
    one.performer.script["1"].append(Accepted(Unanswered("read timeout")))
    one.add("1")
    one.start()
    one.until_state("waiting", "1")
    one.pass_time(2 * MINUTE)
    one.until_state("done", "1")
    assert one.world.accepted == ["1"]
    assert one.performer.asked == ["1"]
    assert one.noted() == {"1": 1}


def test_unanswered_and_absent_is_decided_anew_and_sent(one: Toy) -> None:
    one.performer.script["1"].append(Unanswered("reset"))
    one.add("1")
    one.start()
    one.until_state("waiting", "1")
    one.pass_time(2 * MINUTE)
    one.until_state("done", "1")
    assert one.world.accepted == ["1"]
    assert one.performer.calls == ["1", "1"]


def test_a_decision_that_changed_while_its_effect_was_in_doubt_is_taken_after_the_doubt(one: Toy) -> None:
    one.performer.script["call"].append(Accepted(Unanswered("reset")))
    one.handler.plans["1"] = puts(put("call", content="old"))
    one.add("1")
    one.start()
    one.until_state("waiting", "1")
    one.handler.plans["1"] = puts(put("call", content="new"))
    one.add("1")
    one.until_state("done", "1")
    old, new = put("call", content="old").key, put("call", content="new").key
    assert [line["key"] for line in one.world.lines] == [old, new]
    states = {row["key"]: row["state"] for row in one.rows("SELECT key, state FROM effect")}
    assert states == {old: "done", new: "done"}


def test_what_cannot_be_looked_up_is_sent_again_under_its_key(one: Toy) -> None:
    one.performer.answers_lookups = False
    one.performer.script["1"].append(Unanswered("reset"))
    one.add("1")
    one.start()
    one.until_state("waiting", "1")
    one.pass_time(2 * MINUTE)
    one.until_state("done", "1")
    assert one.effect("1")["sends"] == 2
    assert "effect.doubted" in one.told()


def test_what_cannot_be_looked_up_nor_sent_again_waits_for_a_person_and_stays_in_doubt(one: Toy) -> None:
    one.performer.answers_lookups = False
    one.performer.on_doubt = "hold"
    one.performer.script["1"].append(Unanswered("reset"))
    one.add("1")
    one.start()
    one.until_state("waiting", "1")
    one.pass_time(2 * MINUTE)
    one.until_state("parked", "1")
    assert one.effect("1")["state"] == "in_doubt"
    one.add("1")
    one.until(lambda: len(one.performer.asked) == 2)
    one.until_state("parked", "1")
    assert one.performer.calls == ["1"], "news alone never sends what may have arrived"
    job_id = one.job("1")["id"]
    one.ledger.write("test.retry", lambda tx: jobs.retry(tx, [job_id]))
    one.until_state("done", "1")
    assert one.world.accepted == ["1"]


@pytest.mark.parametrize("error", [NotSent("no route"), Denied("401"), Throttled("429", retry_after=MINUTE)])
def test_a_destination_that_is_not_there_to_be_asked_is_asked_later(one: Toy, error: DeliveryError) -> None:
    one.performer.on_doubt = "hold"
    one.performer.script["1"].append(Accepted(Unanswered("reset")))
    one.performer.lookups["1"].append(error)
    one.add("1")
    one.start()
    one.until_state("waiting", "1")
    one.pass_time(2 * MINUTE)
    one.until(lambda: one.performer.asked == ["1"])
    one.until_state("waiting", "1")
    assert one.effect("1")["state"] == "in_doubt"
    one.pass_time(timedelta(minutes=10))
    one.until_state("done", "1")
    assert one.world.accepted == ["1"]


# ------------------------------------------------------------------------------------------------ shared and changed


def test_equal_effects_are_performed_once_and_both_jobs_finish(many: Toy) -> None:
    hang = threading.Event()
    many.handler.plans = {"1": puts(put("same"), put("one")), "2": puts(put("same"), put("two"))}
    many.performer.script["same"].append(hang)
    many.add("1", "2")
    many.start()
    many.until(lambda: "waiting" in (many.job("1")["state"], many.job("2")["state"]))
    hang.set()
    many.until_state("done", "1", "2")
    assert sorted(many.world.accepted) == ["one", "same", "two"]
    given = {line["identity"]: sorted(line["given"]) for line in many.world.lines}
    assert given["one"] == given["two"] == ["same"]


def test_two_jobs_that_doubt_the_same_effect_both_learn_its_fate(many: Toy) -> None:
    many.handler.plans = {"1": puts(put("same")), "2": puts(put("same"))}
    many.performer.script["same"].append(Accepted(Unanswered("reset")))
    both = threading.Barrier(2)
    find = many.performer.find

    def find_together(effect: Effect, /) -> Receipt | None:
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.5)
        return find(effect)

    many.performer.find = find_together  # type: ignore[method-assign]
    many.add("1", "2")
    many.start()
    many.until(lambda: bool(many.rows("SELECT 1 FROM effect WHERE state = 'in_doubt'")))
    many.pass_time(2 * MINUTE)
    many.until_state("done", "1", "2")
    assert many.world.accepted == ["same"]
    assert many.noted() == {"same": 1}


def test_a_job_that_comes_to_want_an_effect_in_doubt_looks_it_up_before_sending_it(many: Toy) -> None:
    many.handler.plans = {"1": puts(put("same")), "2": puts(put("same"))}
    many.performer.script["same"].append(Accepted(Unanswered("reset")))
    many.add("1")
    many.start()
    many.until_state("waiting", "1")
    many.add("2")
    many.until_state("done", "1", "2")
    assert many.world.accepted == ["same"]


def test_a_changed_effect_supersedes_the_pending_one(one: Toy) -> None:
    one.performer.script["call"].append(NotSent("refused"))
    one.handler.plans["1"] = puts(put("call", content="old"))
    one.add("1")
    one.start()
    one.until_state("waiting", "1")
    one.handler.plans["1"] = puts(put("call", content="new"))
    one.add("1")
    one.until_state("done", "1")
    assert [line["key"] for line in one.world.lines] == [put("call", content="new").key]
    old = one.rows("SELECT state FROM effect WHERE key = ?", put("call", content="old").key)
    assert old[0]["state"] == "superseded"


def test_another_jobs_change_supersedes_too_and_back_again_makes_it_pending(many: Toy) -> None:
    many.performer.script["call"].append(NotSent("refused"))
    many.handler.plans = {"1": puts(put("call", content="old")), "2": puts(put("call", content="new"))}
    many.add("1")
    many.start()
    many.until_state("waiting", "1")
    many.add("2")
    many.until_state("done", "2")
    assert [line["key"] for line in many.world.lines] == [put("call", content="new").key]
    many.add("1")
    many.until_state("done", "1")
    assert [line["key"] for line in many.world.lines][1:] == [put("call", content="old").key]


def test_new_content_waits_while_older_content_of_the_same_is_under_way(many: Toy) -> None:
    hang = threading.Event()
    many.performer.script["call"].append(hang)
    many.handler.plans = {"1": puts(put("call", content="old")), "2": puts(put("call", content="new"))}
    many.add("1")
    many.start()
    many.until(lambda: many.performer.calls == ["call"])
    many.add("2")
    many.until_state("waiting", "2")
    hang.set()
    many.until_state("done", "1")
    many.pass_time(timedelta(seconds=3))
    many.until_state("done", "2")
    keys = [line["key"] for line in many.world.lines]
    assert keys == [put("call", content="old").key, put("call", content="new").key]


OLD, NEW = put("call", content="old"), put("call", content="new")


def in_doubt(made: Toy, behaviour: Behaviour, *, asked: bool) -> None:
    """Job 1 has sent the old content, and nobody knows what became of it; job 2 will want the new."""
    made.performer.answers_lookups = asked
    made.performer.script["call"].append(behaviour)
    made.handler.plans = {"1": puts(OLD), "2": puts(NEW)}
    made.add("1")
    made.start()
    made.until_state("waiting", "1")


def states(made: Toy) -> tuple[str, str]:
    """Of the old content's effect, and of the new one's."""
    found = {row["key"]: row["state"] for row in made.rows("SELECT key, state FROM effect")}
    return found[OLD.key], found[NEW.key]


def sent(made: Toy) -> list[str]:
    """The keys of what the world accepted, in order."""
    return [line["key"] for line in made.world.lines]


def test_new_content_is_decided_anew_once_the_old_one_in_doubt_was_found(many: Toy) -> None:
    in_doubt(many, Accepted(Unanswered("reset")), asked=True)
    many.add("2")
    many.until_state("done", "1", "2")
    assert (sent(many), states(many)) == ([OLD.key, NEW.key], ("done", "done"))
    assert [job.key for job in many.handler.seen].count("2") >= 2, "before it was known, and after"


def test_new_content_goes_in_place_of_an_old_one_that_never_arrived(many: Toy) -> None:
    in_doubt(many, Unanswered("reset"), asked=True)
    many.handler.plans["1"] = puts()
    many.add("2")
    many.until_state("done", "1", "2")
    assert (sent(many), states(many)) == ([NEW.key], ("superseded", "done"))


def test_old_content_that_may_be_sent_again_is_so_before_the_new_one(many: Toy) -> None:
    in_doubt(many, Unanswered("reset"), asked=False)
    many.add("2")
    many.until_state("done", "1", "2")
    assert sent(many) == [OLD.key, NEW.key]


@pytest.mark.parametrize("error", [NotSent("no route"), Throttled("429", retry_after=MINUTE), Refused("no")])
def test_a_second_sending_that_failed_does_not_end_the_doubt_of_the_first(many: Toy, error: DeliveryError) -> None:
    in_doubt(many, Accepted(Unanswered("reset")), asked=False)
    many.performer.script["call"].append(error)
    many.add("2")
    many.until(lambda: len(many.performer.calls) == 2)
    many.until_state("waiting", "2")
    assert states(many) == ("in_doubt", "pending")
    many.pass_time(10 * MINUTE)
    many.until_state("done", "1", "2")
    assert sent(many)[-1] == NEW.key


def held(made: Toy) -> None:
    """Both jobs parked over the doubt about the old content, which is a person's to end."""
    made.performer.on_doubt = "hold"
    in_doubt(made, Unanswered("reset"), asked=False)
    made.add("2")
    made.until_state("parked", "2")
    made.add("1")
    made.until_state("parked", "1")
    assert made.performer.calls == ["call"], "nothing is sent beside what may have arrived"
    assert states(made) == ("in_doubt", "pending")
    assert made.job("2")["reason"].startswith("an earlier version was sent")


@pytest.mark.parametrize("told", ["1", "2"])
def test_a_person_ends_the_doubt_and_only_the_newest_content_is_sent(many: Toy, told: str) -> None:
    held(many)
    many.handler.plans["1"] = puts()
    job_id = many.job(told)["id"]
    many.ledger.write("test.retry", lambda tx: jobs.retry(tx, [job_id]))
    many.until_state("done", "1", "2")
    assert (sent(many), states(many)) == ([NEW.key], ("superseded", "done"))
    assert many.performer.unlearned == [False, True], "what is there may be the old content"


def test_old_content_in_doubt_is_never_sent_once_newer_was(many: Toy) -> None:
    held(many)
    done = "UPDATE effect SET state = 'done', sends = 1, receipt = '{}' WHERE key = ?"
    many.ledger.write("test.sent", lambda tx: tx.execute(done, (NEW.key,)))
    many.handler.plans["1"] = puts()
    job_id = many.job("1")["id"]
    many.ledger.write("test.retry", lambda tx: jobs.retry(tx, [job_id]))
    many.until_state("done", "1", "2")
    assert (sent(many), states(many)) == ([], ("superseded", "done"))


# ------------------------------------------------------------------------------------------------ destinations


@pytest.mark.parametrize(
    ("error", "state"),
    [(Throttled("429", retry_after=5 * MINUTE), "asked"), (Denied("403"), "resting")],
)
def test_a_shut_destination_holds_all_back_until_one_probe_comes_home(
    many: Toy, error: DeliveryError, state: str
) -> None:
    probe = threading.Event()
    many.performer.script["0"].append(error)
    many.add("0")
    many.start()
    many.until_state("waiting", "0")
    assert many.destination()["state"] == state
    keys = [str(n) for n in range(1, 8)]
    many.handler.plans["other"] = puts(put("other", dest="other"))
    many.add(*keys, "other")
    many.until_state("waiting", *keys)
    many.until_state("done", "other")
    assert many.performer.calls == ["0", "other"], "other destinations go on"
    assert {many.job(key)["waits_for"] for key in keys} == {"world"}
    assert {many.job(key)["attempt"] for key in keys} == {0}
    for key in ("0", *keys):
        many.performer.script[key].append(probe)
    planned = len(many.handler.seen)
    many.pass_time(6 * MINUTE)
    many.until(lambda: len(many.performer.calls) == 3)
    many.add("fresh")
    many.until_state("waiting", "fresh")
    assert len(many.performer.calls) == 3, "one probe"
    assert len(many.handler.seen) == planned + 2, "the others are not even decided again meanwhile"
    probe.set()
    many.until_state("done", "0", "fresh", *keys)
    assert sorted(many.world.accepted) == sorted(["0", "fresh", "other", *keys])
    assert many.told().count("destination.recovered") == 1


def test_five_failures_in_a_row_open_the_breaker_and_probes_take_turns(one: Toy) -> None:
    keys = "12345"
    for key in keys:
        one.performer.script[key].extend(Unanswered("500", http_status=500) for _ in range(2))
    one.performer.script["5"].extend(Unanswered("500", http_status=500) for _ in range(50))
    one.performer.answers_lookups = False
    one.add(*keys)
    one.start()
    one.until_state("waiting", *keys)
    assert one.destination()["state"] == "open"
    assert one.told().count("destination.opened") == 1
    for _ in range(30):
        tried = len(one.performer.calls)
        one.pass_time(timedelta(minutes=10))
        one.until(lambda tried=tried: len(one.performer.calls) > tried or one.destination()["state"] == "closed")  # type: ignore[misc]
        if one.destination()["state"] == "closed":
            break
    assert one.destination()["state"] == "closed", "the one that always fails is not the only one to probe"
    assert one.world.accepted[0] in "1234"


def test_answers_that_come_late_neither_lengthen_the_rest_nor_end_it(many: Toy) -> None:
    slow = threading.Event()
    many.performer.script["slow"].append(slow)
    many.add("slow")
    many.start()
    many.until(lambda: many.performer.calls == ["slow"])
    many.performer.script["1"].append(Throttled("429", retry_after=timedelta(hours=1)))
    many.add("1")
    many.until_state("waiting", "1")
    until = many.destination()["until_us"]
    slow.set()
    many.until_state("done", "slow")
    assert (many.destination()["state"], many.destination()["until_us"]) == ("asked", until)
    assert many.job("1")["state"] == "waiting"


def test_ten_failures_at_once_rest_the_destination_once(tmp_path: Path) -> None:
    with toy(tmp_path, workers=8) as made:
        together = threading.Barrier(8, timeout=10)
        keys = [str(n) for n in range(8)]

        def perform(effect: Effect, /, inner: object = made.performer.perform) -> object:
            made.performer.calls.append(effect.identity)
            together.wait()
            raise NotSent("refused")

        made.performer.perform = perform  # type: ignore[method-assign,assignment]
        made.add(*keys)
        made.until_state("waiting", *keys)
        row = made.destination()
        assert (row["state"], row["failures"], row["rests"]) == ("open", 8, 1)


def test_a_person_may_probe_a_resting_destination_at_once(one: Toy) -> None:
    one.performer.script["1"].append(Denied("401"))
    one.add("1", "2")
    one.start()
    one.until(lambda: one.destination()["state"] == "resting")
    one.until_state("waiting", "1")
    job_id = one.job("1")["id"]
    one.ledger.write("test.retry", lambda tx: jobs.retry(tx, [job_id]))
    one.until_state("done", "1", "2")


def test_a_restart_keeps_what_a_destination_asked_for(tmp_path: Path) -> None:
    with toy(tmp_path) as made:
        made.performer.script["1"].append(Throttled("429", retry_after=timedelta(hours=1)))
        made.add("1")
        made.until_state("waiting", "1")
    with toy(tmp_path) as made:
        made.add("2")
        made.until_state("waiting", "2")
        assert made.performer.calls == []


# ------------------------------------------------------------------------------------------------ the clock


@pytest.mark.parametrize("jump", [timedelta(hours=-3), timedelta(hours=3)])
def test_a_clock_that_was_set_does_not_change_how_long_a_retry_waits(one: Toy, jump: timedelta) -> None:
    one.performer.script["1"].append(NotSent("refused"))
    one.handler.plans["2"] = lambda job, read: Postponed(read.now + timedelta(hours=8), "tonight")
    one.add("1", "2")
    one.start()
    one.until_state("waiting", "1", "2")
    one.runner.stop(10)
    later = one.make()
    one.clock.jump(jump)
    later.start()
    one.until(lambda: "clock.jumped" in one.names())
    assert one.rows("SELECT 1 FROM meta WHERE key = 'catching_up'"), "what came meanwhile is to be looked for"
    left_s = one.job("1")["due_us"] / 1e6 - one.clock.now().timestamp()
    assert 30 < left_s <= 60
    one.until(lambda: [job.key for job in one.handler.seen].count("2") == 2)
    one.pass_time(2 * MINUTE)
    one.until_state("done", "1")


def test_a_retry_put_off_after_the_clock_was_set_and_before_that_was_noticed_waits_no_longer(one: Toy) -> None:
    one.performer.script["1"].append(NotSent("refused"))
    one.add("1")
    one.start()
    one.until_state("waiting", "1")
    one.runner.stop(10)
    later = one.make()
    one.clock.jump(timedelta(days=2))
    now_us = micros(one.clock.now())

    def deferred(tx: WriteTx) -> None:
        tx.execute("UPDATE job SET due_us = ?, changed_us = ? WHERE key = '1'", (now_us + 60_000_000, now_us))
        tx.execute("UPDATE destination SET state = 'asked', until_us = ?", (now_us + 60_000_000,))

    one.ledger.write("job.deferred", deferred)
    later.start()
    one.until(lambda: "clock.jumped" in one.names())
    assert one.job("1")["due_us"] == now_us + 60_000_000
    [until] = one.rows("SELECT until_us FROM destination")
    assert until["until_us"] <= now_us + 6 * 3600 * 1_000_000 + 60_000_000


def test_a_clock_that_was_set_back_while_nobody_looked_is_noticed_at_start(tmp_path: Path) -> None:
    with toy(tmp_path) as made:
        made.performer.script["1"].append(NotSent("refused"))
        made.add("1")
        made.until_state("waiting", "1")
    later = Toy(tmp_path)
    later.clock.jump(timedelta(hours=-5))
    try:
        later.open()
        assert later.job("1")["due_us"] / 1e6 - later.clock.now().timestamp() < 61
    finally:
        later.close()


# ------------------------------------------------------------------------------------------------ inline lanes


def test_an_inline_lane_sees_its_own_decisions(one: Toy) -> None:
    def count(job: Job, read: Reader) -> Outcome:
        before = len(read.rows("SELECT 1 FROM toy"))
        return Planned(facts=(Noted(f"{job.key} came after {before}"),))

    one.inline.default = count
    one.add("a", "b", "c", kind="count")
    one.start()
    one.until_state("done", "a", "b", "c", kind="count")
    assert sorted(one.noted()) == ["a came after 0", "b came after 1", "c came after 2"]


def test_a_defect_in_one_inline_plan_parks_only_that_job(one: Toy) -> None:
    def wrong(job: Job, read: Reader) -> Outcome:
        read.rows("SELECT nothing FROM nowhere")
        return Planned()

    def half(job: Job, read: Reader) -> Outcome:
        class Bad:
            def write(self, tx: Tx) -> None:
                raise sqlite3.IntegrityError("half way")

        return Planned(facts=(Noted("half"), Bad()))

    one.inline.plans = {"b": wrong, "c": half}
    one.add("a", "b", "c", "d", kind="count")
    one.start()
    one.until_state("done", "a", "d", kind="count")
    one.until_state("parked", "b", "c", kind="count")
    assert one.noted() == {"inline a": 1, "inline d": 1}


def test_an_inline_job_with_effects_is_a_defect_and_performs_none(one: Toy) -> None:
    one.inline.plans["a"] = puts(put("never"))
    one.add("a", kind="count")
    one.start()
    one.until_state("parked", "a", kind="count")
    assert one.performer.calls == []
    assert one.rows("SELECT * FROM effect") == []


@pytest.mark.parametrize(
    ("takes_s", "order"), [(0.0, ["a", "b", "c", "somebody else"]), (1.0, ["a", "somebody else", "b", "c"])]
)
def test_whoever_has_something_to_write_waits_for_one_slow_decision_and_not_for_all(
    one: Toy, takes_s: float, order: list[str]
) -> None:
    seen: list[str] = []

    def slow(job: Job, _read: Reader) -> Outcome:
        if not seen:
            one.ledger.writer.submit("test.else", lambda _tx: seen.append("somebody else"))
        seen.append(job.key)
        one.clock.advance(timedelta(seconds=takes_s))
        return Planned()

    one.inline.default = slow
    one.add("a", "b", "c", kind="count")
    one.start()
    one.until_state("done", "a", "b", "c", kind="count")
    one.until(lambda: len(seen) == len(order))
    assert seen == order


# ------------------------------------------------------------------------------------------------ stopping


def test_stop_leaves_nothing_running_and_counts_no_attempt(tmp_path: Path) -> None:
    hang = threading.Event()
    with toy(tmp_path, workers=2, start=False) as made:
        made.handler.plans["3"] = puts(put("a"), put("b"))
        made.performer.script["a"].append(hang)
        made.add("1", "2", "3")
        made.start()
        made.until(lambda: "a" in made.performer.calls)
        stopper = threading.Timer(0.05, hang.set)
        stopper.start()
        assert made.runner.stop(10)
        states = {row["key"]: row["state"] for row in made.rows("SELECT key, state FROM job")}
        assert "running" not in states.values()
        assert states["3"] == "ready"
        assert made.job("3")["attempt"] == 0
        assert made.world.accepted.count("b") == 0
    with toy(tmp_path) as again:
        again.handler.plans["3"] = puts(put("a"), put("b"))
        again.until_state("done", "1", "2", "3")
        assert again.world.accepted.count("a") == 1


def test_stop_does_not_wait_longer_than_its_grace(tmp_path: Path) -> None:
    hang = threading.Event()
    with toy(tmp_path, workers=1) as made:
        made.performer.script["1"].append(hang)
        made.add("1")
        made.until(lambda: made.performer.calls == ["1"])
        assert not made.runner.stop(0.05)
        threads = list(made.runner._threads)
        made.ledger.close()
        del made.ledger
        hang.set()
        for thread in threads:
            thread.join(10)
        assert made.fatal == [], "a worker that comes late to a closed ledger has nothing to tell"
    with toy(tmp_path) as again:
        again.until_state("done", "1")
        assert again.world.accepted == ["1"]
        assert "daemon.recovered" in again.names()

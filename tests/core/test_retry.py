"""What follows a failed effect: every row of the table, as pure decisions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.contract import Effect, Patience
from daemon.errors import DeliveryError, Denied, NotSent, Refused, Throttled, Unacceptable, Unanswered
from daemon.ledger.destinations import Destination, healthy
from daemon.ledger.effects import Due
from daemon.run import retry
from daemon.run.jump import Reading, jump_between
from daemon.run.retry import BREAKER, RETRY_AFTER_CAP, Situation, backoff, decide
from daemon.states import DestinationState, EffectState, move_effect

NOW = datetime(2025, 10, 29, 12, 0, tzinfo=UTC)
PATIENCE = Patience((timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15)), refusals=3)
EFFECT = Effect.of("call", "c1", "crm", {})
HEALTHY = healthy("crm", NOW)
ERRORS: list[DeliveryError] = [
    NotSent("refused"),
    Throttled("429", retry_after=None, http_status=429),
    Unanswered("502", http_status=502),
    Refused("success is false", http_status=200),
    Denied("401", http_status=401),
    Unacceptable("422", http_status=422),
]


def at(destination: Destination = HEALTHY, *, failures: int = 0, refusals: int = 0, chance: float = 0.0) -> Situation:
    due = Due(EFFECT, EffectState.PENDING, failures, failures, refusals)
    return Situation(due, destination, PATIENCE, "c1", {"call_id": "c1"}, NOW, chance)


def shut(state: DestinationState, until: timedelta, *, failures: int = 0, rests: int = 1) -> Destination:
    return Destination("crm", state, failures, rests, NOW + until, "was so")


@given(failures=st.integers(1, 50), chance=st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_shorter_than_the_schedule_nor_much_longer(failures: int, chance: float) -> None:
    base = PATIENCE.schedule[min(failures, 3) - 1]
    assert base <= backoff(PATIENCE, failures, chance) <= base * (1 + retry.JITTER)


@pytest.mark.parametrize(
    ("error", "effect", "wait", "waits_for", "counts", "destination"),
    [
        (ERRORS[0], EffectState.PENDING, 1, None, True, (DestinationState.CLOSED, 1)),
        (ERRORS[1], EffectState.PENDING, 1, "crm", False, (DestinationState.ASKED, 0)),
        (ERRORS[2], EffectState.IN_DOUBT, 1, None, True, (DestinationState.CLOSED, 1)),
        (ERRORS[3], EffectState.PENDING, 1, None, True, (DestinationState.CLOSED, 0)),
        (ERRORS[4], EffectState.PENDING, 1, "crm", False, (DestinationState.RESTING, 0)),
        (ERRORS[5], EffectState.PARKED, None, None, True, (DestinationState.CLOSED, 0)),
    ],
    ids=[type(error).__name__ for error in ERRORS],
)
def test_every_row_of_the_table(
    error: DeliveryError,
    effect: EffectState,
    wait: int | None,
    waits_for: str | None,
    counts: bool,
    destination: tuple[DestinationState, int],
) -> None:
    setback = decide(error, at())
    assert move_effect(EffectState.IN_FLIGHT, setback.move) is effect
    assert setback.until == (None if wait is None else NOW + timedelta(minutes=wait))
    assert (setback.waits_for, setback.counts) == (waits_for, counts)
    assert setback.destination is not None
    assert (setback.destination.state, setback.destination.failures) == destination
    assert setback.http_status == error.http_status


def test_own_backoff_grows_along_the_schedule_and_the_last_repeats() -> None:
    waits = [decide(NotSent("refused"), at(failures=n)).until for n in range(5)]
    assert waits == [NOW + timedelta(minutes=m) for m in (1, 5, 15, 15, 15)]


@pytest.mark.parametrize("error", [NotSent("refused"), Unanswered("500"), Throttled("429", retry_after=None)])
def test_transient_failures_never_give_up_by_count(error: DeliveryError) -> None:
    assert decide(error, at(failures=10_000)).until is not None


def test_refused_parks_at_its_bound_with_the_reason_and_the_command() -> None:
    assert decide(Refused("no"), at(refusals=1)).until == NOW + timedelta(minutes=5)
    parked = decide(Refused("no", http_status=200), at(refusals=2))
    assert (parked.until, parked.reason, parked.fix) == (None, "no (refused 3 times)", "callspool retry c1")
    fields = parked.events[0].fields
    assert (parked.events[0].name, fields["call_id"], fields["http_status"]) == ("job.parked", "c1", 200)


# ------------------------------------------------------------------------------------------------ the breaker


def test_five_failures_in_a_row_open_the_breaker() -> None:
    destination = HEALTHY
    for n in range(1, BREAKER + 1):
        setback = decide(Unanswered("500"), at(destination))
        assert setback.destination is not None
        destination = setback.destination
        assert (destination.state is DestinationState.OPEN) is (n == BREAKER)
    assert destination.until == NOW + timedelta(minutes=1)
    assert setback.waits_for == "crm"
    assert [event.name for event in setback.events] == ["job.deferred", "destination.opened"]


@pytest.mark.parametrize("answer", [Refused("no"), Unacceptable("422")])
def test_a_no_is_an_answer_and_forgets_failures(answer: DeliveryError) -> None:
    after = decide(answer, at(replace(HEALTHY, failures=4))).destination
    assert after is not None
    assert (after.state, after.failures, after.succeeded_at) == (DestinationState.CLOSED, 0, None)


@pytest.mark.parametrize("state", [DestinationState.OPEN, DestinationState.RESTING, DestinationState.ASKED])
@pytest.mark.parametrize("error", [NotSent("refused"), Unanswered("500")])
def test_a_probe_that_fails_rests_longer(state: DestinationState, error: DeliveryError) -> None:
    after = decide(error, at(shut(state, timedelta(0), failures=0, rests=1)))
    assert after.destination is not None
    assert (after.destination.state, after.destination.rests) == (DestinationState.OPEN, 2)
    assert after.destination.until == after.until == NOW + timedelta(minutes=5)
    assert after.waits_for == "crm"


@pytest.mark.parametrize("error", [e for e in ERRORS if not isinstance(e, Refused | Unacceptable | Throttled)])
def test_a_failure_from_before_it_shut_does_not_lengthen_the_rest(error: DeliveryError) -> None:
    state = DestinationState.RESTING if isinstance(error, Denied) else DestinationState.OPEN
    before = shut(state, timedelta(minutes=3), failures=7)
    after = decide(error, at(before))
    assert after.destination is not None
    assert (after.destination.state, after.destination.rests, after.destination.until) == (state, 1, before.until)
    assert (after.until, after.waits_for) == (before.until, "crm")


def test_success_closes_and_says_so_once() -> None:
    after, events = retry.succeeded(shut(DestinationState.OPEN, timedelta(0), failures=9), NOW)
    assert (after.state, after.failures, after.rests, after.succeeded_at) == (DestinationState.CLOSED, 0, 0, NOW)
    assert [event.name for event in events] == ["destination.recovered"]
    assert retry.succeeded(after, NOW)[1] == ()


# ------------------------------------------------------------------------------------------------ Retry-After


@pytest.mark.parametrize(
    ("asked", "waits"),
    [
        (timedelta(minutes=20), timedelta(minutes=20)),
        (timedelta(days=400), RETRY_AFTER_CAP),
        (timedelta(seconds=7), timedelta(seconds=7)),
        (timedelta(0), timedelta(seconds=1)),
        (timedelta(days=-3), timedelta(seconds=1)),
        (None, timedelta(minutes=1)),
    ],
)
def test_a_destination_waits_as_long_as_it_asked_and_no_longer(asked: timedelta | None, waits: timedelta) -> None:
    setback = decide(Throttled("429", retry_after=asked), at(chance=0.0))
    assert setback.destination is not None
    assert setback.until == setback.destination.until == NOW + waits
    if asked is not None:
        assert decide(Throttled("429", retry_after=asked), at(chance=0.9)).until == NOW + waits, "no jitter"


def test_retry_after_is_capped_at_six_hours() -> None:
    assert timedelta(hours=6) == RETRY_AFTER_CAP


def test_success_from_before_does_not_cut_short_the_time_it_asked_for() -> None:
    asked = shut(DestinationState.ASKED, timedelta(minutes=3))
    assert retry.succeeded(asked, NOW)[0].until == asked.until
    assert retry.succeeded(asked, NOW)[0].state is DestinationState.ASKED
    assert retry.succeeded(asked, asked.until)[0].state is DestinationState.CLOSED


def test_the_longer_of_two_times_asked_for_counts() -> None:
    asked = shut(DestinationState.ASKED, timedelta(minutes=30))
    after = decide(Throttled("429", retry_after=timedelta(minutes=1)), at(asked)).destination
    assert after is not None
    assert (after.until, after.rests) == (asked.until, 1)


# ------------------------------------------------------------------------------------------------ credentials


def test_denied_raises_one_alarm_and_probes_with_backoff() -> None:
    first = decide(Denied("401"), at())
    assert [(e.name, e.level) for e in first.events] == [("destination.denied", "error")]
    assert first.destination is not None
    later = decide(Denied("401"), at(replace(first.destination, until=NOW)))
    assert later.events == ()
    assert later.destination is not None
    assert later.destination.until == NOW + timedelta(minutes=5)


def test_what_cannot_be_asked_stays_in_doubt() -> None:
    for error in (NotSent("refused"), Throttled("429", retry_after=None), Denied("401")):
        assert move_effect(EffectState.IN_DOUBT, retry.unasked(error, at()).move) is EffectState.IN_DOUBT


# ------------------------------------------------------------------------------------------------ the clock


@given(
    passed_s=st.floats(0, 1e6),
    jump_s=st.floats(-1e7, 1e7),
)
def test_only_a_jump_beyond_ten_minutes_counts_whatever_time_passed(passed_s: float, jump_s: float) -> None:
    before = Reading(NOW, 1000.0)
    after = Reading(NOW + timedelta(seconds=passed_s) + timedelta(seconds=jump_s), 1000.0 + passed_s)
    found = jump_between(before, after).total_seconds()
    if abs(jump_s) < 599.9:
        assert found == 0
    elif abs(jump_s) > 600.1:
        assert found == pytest.approx(jump_s, abs=0.01)

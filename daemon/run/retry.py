"""What follows when an effect does not come about: pure, from one of OUR errors to the ledger's next state.

Retries live in two places only: inside a performer, for seconds and only for what surely was not sent; and here, for
minutes to days. Transient failures never give up by count; only refusals do.

| error        | effect    | the job                                  | the destination                         |
|--------------|-----------|------------------------------------------|-----------------------------------------|
| NotSent      | pending   | own backoff                              | one more failure; five open the breaker |
| Throttled    | pending   | waits for the destination, attempt free  | asked: Retry-After, else own backoff    |
| Unanswered   | in doubt  | own backoff, then looked up before again | one more failure; five open the breaker |
| Refused      | pending   | own backoff; parked after ``refusals``   | answers, so its failures are forgotten  |
| Denied       | pending   | waits for the destination, attempt free  | rests; one alarm; probed with backoff   |
| Unacceptable | parked    | parked                                   | answers, so its failures are forgotten  |

Several effects may be under way when a destination shuts. Their answers arrive late: they belong to the time before,
and neither lengthen its rest nor cut short the time it asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from daemon.contract import Event, Fields, Json, Patience
from daemon.errors import Defect, DeliveryError, Denied, NotSent, Refused, Throttled, Unacceptable, Unanswered
from daemon.ledger.destinations import Destination, healthy
from daemon.ledger.effects import Due, Setback
from daemon.states import DestinationState

BREAKER = 5
"""Destination-level failures in a row that open the breaker (the design's number)."""

RETRY_AFTER_CAP = timedelta(hours=6)
"""The longest Retry-After that is believed; some servers send years."""

RETRY_AFTER_FLOOR = timedelta(seconds=1)
"""The shortest: a server that says 0, or a date that has passed, is still one that said 429."""

JITTER = 0.2
"""Share of a wait that chance may add, so that a backlog does not return as one wave."""

DEFAULT_PATIENCE = Patience((timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=5)), refusals=3)
"""For destinations whose room names none: the local disk."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision depends on beside the error.

    ``subject`` is how a person names the job on the command line, ``named`` the same as a log field; ``chance`` is
    uniform in [0, 1).
    """

    due: Due
    destination: Destination
    patience: Patience
    subject: str
    named: Fields
    now: datetime
    chance: float


def backoff(patience: Patience, failures: int, chance: float) -> timedelta:
    """The wait after the ``failures``-th failure in a row (from 1), with jitter on top: never less than the
    schedule.
    """
    base = patience.schedule[min(failures, len(patience.schedule)) - 1]
    return base * (1 + JITTER * chance)


def decide(error: DeliveryError, at: Situation) -> Setback:
    """What the error does to effect, job and destination."""
    match error:
        case NotSent():
            return _failed(error, at, "not_sent")
        case Unanswered():
            return _failed(error, at, "unanswered")
        case Throttled():
            return _throttled(error, at)
        case Denied():
            return _denied(error, at)
        case Refused():
            return _refused(error, at)
        case Unacceptable():
            return _parked(error, at, error.reason)
    raise Defect(f"no rule for {type(error).__name__}")


def succeeded(destination: Destination, now: datetime) -> tuple[Destination, tuple[Event, ...]]:
    """The destination after an effect came about, with a line in the journal if that brought it back."""
    after, events = answered(destination, now)
    return replace(after, succeeded_at=now), events


def answered(destination: Destination, now: datetime) -> tuple[Destination, tuple[Event, ...]]:
    """The destination after an answer that was no failure of its own. Even a no says that it is there.

    The time a destination asked for is kept, whatever an effect that was under way before brings home.
    """
    if destination.state is DestinationState.ASKED and now < destination.until:
        return replace(destination, failures=0), ()
    events: tuple[Event, ...] = ()
    if destination.state is not DestinationState.CLOSED:
        events = (Event("destination.recovered", {"dest": destination.name}),)
    return healthy(destination.name, now), events


def unasked(error: DeliveryError, at: Situation) -> Setback:
    """An effect in doubt could not be looked up, for the destination is not there: it stays in doubt, and waits."""
    return replace(decide(error, at), move="unasked")


def _failed(error: DeliveryError, at: Situation, move: str) -> Setback:
    """A destination-level failure: own backoff, and perhaps the breaker."""
    wait = backoff(at.patience, at.due.failures + 1, at.chance)
    destination = replace(at.destination, failures=at.destination.failures + 1, reason=error.reason)
    opened: tuple[Event, ...] = ()
    if _late(at):
        until, waits_for = at.destination.until, destination.name
    elif destination.failures >= BREAKER or destination.state is not DestinationState.CLOSED:
        until = at.now + backoff(at.patience, destination.rests + 1, at.chance)
        destination = replace(destination, state=DestinationState.OPEN, rests=destination.rests + 1, until=until)
        waits_for = destination.name
        if at.destination.state is not DestinationState.OPEN:
            opened = (_shut("destination.opened", destination, error),)
    else:
        until, waits_for = at.now + wait, None
    return Setback(
        move,
        error.reason,
        until,
        waits_for=waits_for,
        http_status=error.http_status,
        answer=error.answer,
        destination=destination,
        events=(_deferred(error, at, until), *opened),
    )


def _throttled(error: Throttled, at: Situation) -> Setback:
    """The whole destination waits as long as it asked, and no longer; own backoff only where it named no time."""
    rests = at.destination.rests if _late(at) else at.destination.rests + 1
    wait = backoff(at.patience, max(rests, 1), at.chance)
    if error.retry_after is not None:
        wait = min(max(error.retry_after, RETRY_AFTER_FLOOR), RETRY_AFTER_CAP)
    until = max(at.now + wait, at.destination.until) if _late(at) else at.now + wait
    destination = replace(at.destination, state=DestinationState.ASKED, rests=rests, until=until, reason=error.reason)
    events = [_deferred(error, at, until)]
    if at.destination.state is not DestinationState.ASKED:
        events.append(_shut("destination.throttled", destination, error))
    return _untouched("throttled", error, destination, tuple(events))


def _denied(error: Denied, at: Situation) -> Setback:
    """Credentials: the destination rests, its items stay untouched, and one alarm is raised."""
    resting = at.destination.state is DestinationState.RESTING
    if resting and _late(at):
        return _untouched("denied", error, at.destination, ())
    rests = at.destination.rests + 1
    until = at.now + backoff(at.patience, rests, at.chance)
    destination = replace(at.destination, state=DestinationState.RESTING, rests=rests, until=until, reason=error.reason)
    events = () if resting else (_shut("destination.denied", destination, error, level="error"),)
    return _untouched("denied", error, destination, events)


def _untouched(move: str, error: DeliveryError, destination: Destination, events: tuple[Event, ...]) -> Setback:
    """The destination's matter alone: its items wait for it, and nothing is counted against them."""
    return Setback(
        move,
        error.reason,
        destination.until,
        waits_for=destination.name,
        counts=False,
        http_status=error.http_status,
        answer=error.answer,
        destination=destination,
        events=events,
    )


def _refused(error: Refused, at: Situation) -> Setback:
    refusals = at.due.refusals + 1
    if refusals >= at.patience.refusals:
        return _parked(error, at, f"{error.reason} (refused {refusals} times)", refused=True)
    until = at.now + backoff(at.patience, refusals, at.chance)
    destination, recovered = answered(at.destination, at.now)
    return Setback(
        "refused",
        error.reason,
        until,
        refused=True,
        http_status=error.http_status,
        answer=error.answer,
        destination=destination,
        events=(*recovered, _deferred(error, at, until)),
    )


def _parked(error: DeliveryError, at: Situation, reason: str, *, refused: bool = False) -> Setback:
    fix = f"callspool retry {at.subject}"
    fields: dict[str, Json] = {**at.named, "dest": at.destination.name, "reason": reason, "fix": fix}
    if error.http_status is not None:
        fields["http_status"] = error.http_status
    destination, recovered = answered(at.destination, at.now)
    return Setback(
        "parked",
        reason,
        None,
        refused=refused,
        fix=fix,
        http_status=error.http_status,
        answer=error.answer,
        destination=destination,
        events=(*recovered, Event("job.parked", fields, "warning")),
    )


def _late(at: Situation) -> bool:
    """Whether the answer comes from before the destination shut: a probe goes out only once its time has come."""
    return at.destination.state is not DestinationState.CLOSED and at.now < at.destination.until


def _deferred(error: DeliveryError, at: Situation, until: datetime) -> Event:
    fields: dict[str, Json] = {
        **at.named,
        "dest": at.destination.name,
        "attempt": at.due.failures + 1,
        "reason": error.reason,
        "http_status": error.http_status,
        "next_attempt_ts": until.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    return Event("job.deferred", {k: v for k, v in fields.items() if v is not None}, "warning")


def _shut(name: str, destination: Destination, error: DeliveryError, level: str = "warning") -> Event:
    fields = {
        "dest": destination.name,
        "reason": error.reason,
        "next_attempt_ts": destination.until.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    return Event(name, fields, "error" if level == "error" else "warning")

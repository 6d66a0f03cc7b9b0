"""What speaks for or against a lead and a conversation belonging to one call: stamp, session id, number, else when it
was taken against the end of the call. Terms and weights as in ``evidence``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from handlers.match.evidence import (
    FASTEST_RATE,
    IMPOSSIBLE,
    OTHER_ID,
    OTHER_STAMP,
    SAME_STAMP,
    Evidence,
    Said,
    Says,
    Term,
    same_id,
    same_number,
    same_stamp,
)
from handlers.match.offsets import even, late, normal
from handlers.match.values import Reading, Told, maybe_ms
from handlers.model import Lead

_TAKEN = ((0.5, normal(-6.0, 8.0)), (0.3, even(-120.0, 20.0)), (0.15, late(0.0, 15.0)), (0.05, even(-600.0, 60.0)))
"""A lead is taken near the end of its call: seconds after the end."""

TAKEN_FIRST_S, TAKEN_LAST_S = -600.0, 120.0


def weigh_lead(lead: Lead, told: Told, *, rate: float, refused: bool = False) -> Evidence:
    """What is to be said of a lead and a conversation; ``rate`` is the number of leads a second around them."""
    rate = max(rate, FASTEST_RATE)
    if refused or _lead_marked(lead, told):
        return _weighed_lead(lead, told, rate, refused=refused)
    share = _taken_share(maybe_ms(lead.taken_at or lead.stamp), told, rate)
    return Evidence(share, lambda: _weighed_lead(lead, told, rate, refused=False).said)


def _lead_marked(lead: Lead, told: Told) -> bool:
    """Whether ids, stamps or numbers are to be compared, and not the moment alone."""
    return (
        lead.session_id is not None
        or (lead.stamp is not None and told.saved_at is not None)
        or (lead.number is not None and told.number is not None)
    )


def _weighed_lead(lead: Lead, told: Told, rate: float, *, refused: bool) -> Evidence:
    """``weigh_lead`` with every term."""
    session_ids = frozenset(() if lead.session_id is None else (lead.session_id,))
    marks = [*same_id("session id", session_ids, told.session_id, told.refs), *_shared_stamp(lead, told, rate)]
    same = any(term.says == "equal" and term.log_weight >= SAME_STAMP for term in marks)
    marks += same_number(lead.number, told.number, rate, same=same)
    taken, log_taken = _taken(maybe_ms(lead.taken_at or lead.stamp), told, rate)
    terms = (*marks, *taken, *((Term("the transcript", "contradicts itself"),) if told.doubtful else ()))
    if refused:
        return Evidence(IMPOSSIBLE, Said((*terms, Term("a person", "refused", IMPOSSIBLE))))
    if not same and any(term.says == "unequal" and term.log_weight <= OTHER_ID for term in marks):
        return Evidence(IMPOSSIBLE, Said(terms))
    log_marks = sum(term.log_weight for term in marks)
    return Evidence(log_marks + (max(log_taken, 0.0) if same else log_taken), Said(terms))


LEAD_SHARE = {True: 0.97, None: 0.3, False: 0.002}
"""How often a conversation has a lead, by what it says itself."""

NO_CONVERSATION_FOR_LEAD = 0.03


@cache
def lead_log_odds(lead_expected: bool | None, *, told_waits: bool, lead_waits: bool) -> float:
    """That a conversation's lead and a lead's conversation are here, over that they are missing, as a logarithm."""
    share = LEAD_SHARE[lead_expected]
    missing = max(0.5, 1 - share) if told_waits else 1 - share
    unclaimed = 0.5 if lead_waits else NO_CONVERSATION_FOR_LEAD
    return math.log(share * (1 - NO_CONVERSATION_FOR_LEAD) / (missing * unclaimed))


def _shared_stamp(lead: Lead, told: Told, rate: float) -> list[Term]:
    if lead.stamp is None or told.saved_at is None:
        return []
    equal = same_stamp((lead.stamp,), told.saved_at, rate)
    return equal or ([Term("stamp", "unequal", OTHER_STAMP)] if lead.stamp.microsecond else [])


def _taken_share(taken_ms: int | None, told: Told, rate: float) -> float:
    """What the moment a lead was taken at is worth: the best of the conversation's readings."""
    best = 0.0
    for reading in told.readings:
        if taken_ms is not None and reading.end_ms is not None:
            best = max(best, _taken_density(taken_ms, reading))
    return math.log(best / rate) if best > 0 else IMPOSSIBLE


def _taken_density(taken_ms: int, reading: Reading) -> float:
    """How probable a moment is for a call's lead, per second: 0 before the call began."""
    assert reading.end_ms is not None
    if reading.start_ms is not None and taken_ms < reading.start_ms - 1000:
        return 0.0
    seconds = (taken_ms - reading.end_ms) / 1000
    return sum([share * shape(seconds) for share, shape in _TAKEN])


def _taken(taken_ms: int | None, told: Told, rate: float) -> tuple[Sequence[Term], float]:
    """When a lead was taken against the end of the call: the best of the conversation's readings."""
    best: tuple[Sequence[Term], float] = ((), IMPOSSIBLE)
    if taken_ms is None:
        return best
    for reading in told.readings:
        if reading.end_ms is None:
            continue
        density = _taken_density(taken_ms, reading)
        log_weight = math.log(density / rate) if density > 0 else IMPOSSIBLE
        says: Says = "fits" if density > 0 else "misfits"
        if log_weight > best[1] or not best[0]:
            seconds = (taken_ms - reading.end_ms) / 1000
            best = ((Term("taken", says, log_weight, seconds, -6.0, 8.0),), log_weight)
    return best

"""Deciding over a few files without a ledger: every pair is weighed, rates are counted as the ledger does."""

from __future__ import annotations

from collections.abc import Sequence

from handlers.match.assign import Decision, Neighbourhood, Standing, assign
from handlers.match.evidence import CLOSE_S, Experience, rate_of, weigh_recording
from handlers.match.lead_evidence import weigh_lead
from handlers.match.values import Group, Told, maybe_ms
from handlers.model import Conversation, Lead, Recording
from handlers.settings import MatchSettings
from tests.support.records import at

SETTINGS = MatchSettings()
WINDOW_S = SETTINGS.window.total_seconds()


def around(times_ms: Sequence[int | None], middle_ms: int | None) -> float:
    """Calls a second around a moment, counted as the ledger does."""
    known = [ms for ms in times_ms if ms is not None and middle_ms is not None]
    close, wide = (sum(abs(ms - (middle_ms or 0)) <= s * 1000 for ms in known) for s in (CLOSE_S, WINDOW_S))
    return rate_of(close, wide, WINDOW_S)


def neighbourhood(
    calls: Sequence[Conversation], recordings: Sequence[Recording] = (), leads: Sequence[Lead] = ()
) -> Neighbourhood:
    groups: dict[str, list[Recording]] = {}
    for one in recordings:
        groups.setdefault(one.group, []).append(one)
    built = {key: Group.of(members) for key, members in groups.items()}
    tolds = [Told.of(call) for call in calls]
    begun, taken = [told.about_ms for told in tolds], [maybe_ms(one.taken_at or one.stamp) for one in leads]
    heard = [group.start_ms for group in built.values()]

    def rate(told: Told) -> float:
        return max(around(begun, told.about_ms), around(heard, told.about_ms))

    def lead_rate(told: Told) -> float:
        end_ms = next((reading.end_ms for reading in told.readings if reading.end_ms is not None), told.about_ms)
        wide = sum(ms is not None and end_ms is not None and abs(ms - end_ms) <= WINDOW_S * 1000 for ms in taken)
        return rate_of(0, wide, WINDOW_S)

    return Neighbourhood(
        standings={told.id: Standing(told) for told in tolds},
        groups=built,
        leads={one.id: one for one in leads},
        recording_pairs={
            (key, told.id): weigh_recording(group, told, Experience(), rate=rate(told))
            for key, group in built.items()
            for told in tolds
        },
        lead_pairs={(one.id, told.id): weigh_lead(one, told, rate=lead_rate(told)) for one in leads for told in tolds},
    )


def decide(
    calls: Sequence[Conversation],
    recordings: Sequence[Recording] = (),
    leads: Sequence[Lead] = (),
    *,
    now: float = 10.0,
    settings: MatchSettings = SETTINGS,
) -> dict[int, Decision]:
    return assign(neighbourhood(calls, recordings, leads), at(now), settings, Experience())


def pairs(decisions: dict[int, Decision]) -> dict[int, str]:
    return {n: d.recording.group for n, d in decisions.items() if d.recording.group is not None}


def lead_pairs(decisions: dict[int, Decision]) -> dict[int, int]:
    return {n: d.lead.lead for n, d in decisions.items() if d.lead.lead is not None}

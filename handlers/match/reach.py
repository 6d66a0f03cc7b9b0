"""Where the partners of one file are to be looked for: wide enough for every pair that fits, and no wider."""

from __future__ import annotations

from datetime import datetime, timedelta

from handlers.match import evidence as terms
from handlers.match.evidence import Group
from handlers.model import Conversation, Lead
from handlers.records import Near, Span

LONGEST_CALL = timedelta(hours=12)
"""How long before it was taken a lead's call may have begun, where a number ties the two."""


def calls_near_group(group: Group, window: timedelta, offset: timedelta) -> Near:
    """Where the conversation of a recording group is."""
    start_at = None if group.start_at is None else group.start_at + offset
    end_at = None if group.end_at is None else group.end_at + offset
    starts = () if start_at is None else (_span(start_at, terms.START_LOOSE_S, start_at, terms.FIRST_LINE_S),)
    ends = () if end_at is None else (_ends_of(end_at),)
    around = tuple(_window(at, window) for at in (start_at, end_at) if at is not None)
    return Near(
        starts=starts,
        ends=ends if group.by_mtime else (),
        lone_ends=() if group.by_mtime else ends,
        number=group.number,
        around=around,
        refs=tuple(sorted(group.call_refs | group.session_ids)),
        stamps=tuple(sorted(group.stamps)),
    )


def groups_near_call(conversation: Conversation, window: timedelta, offset: timedelta) -> Near:
    """Where the recordings of a conversation are."""
    starts, ends, around = [], [], []
    for reading in terms.readings(conversation):
        for at, first_line in reading.starts:
            early = terms.FIRST_LINE_S if first_line else terms.START_LOOSE_S
            starts.append(_span(at - offset, early, at - offset, terms.START_LOOSE_S))
            around.append(_window(at - offset, window))
        if reading.last is not None:
            end = reading.end or reading.last
            late = terms.END_LOOSE_S + terms.FLUSH_S
            ends.append(_span(end - offset, terms.SAVE_LAG_S, reading.last - offset, late))
            around.append(_window(end - offset, window))
    return Near(
        starts=tuple(starts),
        ends=() if starts else tuple(ends),
        lone_ends=tuple(ends) if starts else (),
        number=conversation.number,
        around=tuple(around),
        refs=_refs(conversation),
        stamps=() if conversation.saved_at is None else (conversation.saved_at,),
    )


def calls_near_lead(lead: Lead) -> Near:
    """Where the conversation of a lead is."""
    taken_at = lead.taken_at or lead.stamp
    before_s = terms.LEAD_LATE_S + terms.SAVE_LAG_S
    known = () if taken_at is None else (taken_at,)
    return Near(
        ends=tuple(_span(at, before_s, at, terms.LEAD_EARLY_S) for at in known),
        number=lead.number,
        around=tuple(Span(at - LONGEST_CALL, at + timedelta(seconds=2)) for at in known),
        refs=() if lead.session_id is None else (lead.session_id,),
        stamps=() if lead.stamp is None else (lead.stamp,),
    )


def leads_near_call(conversation: Conversation) -> Near:
    """Where the lead of a conversation is."""
    ends, around = [], []
    for reading in terms.readings(conversation):
        if reading.last is None:
            continue
        last = _span(reading.end or reading.last, terms.LEAD_EARLY_S, reading.last, terms.LEAD_LATE_S)
        ends.append(last)
        around.append(Span(min([*(at for at, _ in reading.starts), last.first]) - timedelta(seconds=2), last.last))
    return Near(
        ends=tuple(ends),
        number=conversation.number,
        around=tuple(around),
        refs=_refs(conversation),
        stamps=() if conversation.saved_at is None else (conversation.saved_at,),
    )


def _refs(conversation: Conversation) -> tuple[str, ...]:
    named = (conversation.call_ref, conversation.session_id, conversation.room)
    return tuple(sorted({value for value in named if value is not None}))


def _ends_of(end_at: datetime) -> Span:
    late = terms.END_LOOSE_S + terms.FLUSH_S + terms.SAVE_LAG_S
    return _span(end_at, late, end_at, terms.SAVE_LAG_S)


def _span(first: datetime, before_s: float, last: datetime, after_s: float) -> Span:
    """From seconds before one moment to seconds after another, and a second more where whole seconds are floors."""
    return Span(first - timedelta(seconds=before_s + 1), last + timedelta(seconds=after_s + 1))


def _window(at: datetime, window: timedelta) -> Span:
    return Span(at - window, at + window)

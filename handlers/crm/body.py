"""The call data as the CRM expects it: pure, from a matched set to the JSON of step 2.

What is not known is left out, never sent empty: a setting without a value, an unknown number, a recording that is
missing for good, an end that nothing tells. ``recordingUrl`` is put in when it is known, by the performer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from handlers.model import Conversation, Lead, Recording, Side

_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_SIDES = (Side.MIXED, Side.AGENT, Side.CUSTOMER)
_DIRECTIONS = {"incoming": "inbound", "outgoing": "outbound"}


@dataclass(frozen=True, slots=True)
class Campaign:
    """Whose call it is: ids that the operator configured, None where there is none."""

    campaign_id: str | None
    voice_agent_id: str | None
    client_id: str | None


def in_order(recordings: Sequence[Recording]) -> tuple[Recording, ...]:
    """The sides of a call: mixed, agent, customer. The call data names the first."""
    return tuple(sorted(recordings, key=lambda r: (_SIDES.index(r.side), r.name, r.id)))


def caller_number(recordings: Sequence[Recording], conversation: Conversation, lead: Lead | None) -> str | None:
    """The caller's number in E.164, from the source most to be trusted: the recording's name is the telephone system's
    own word, the transcript's metadata the bot's, the lead's what somebody said.
    """
    sources = [*(recording.number for recording in in_order(recordings)), conversation.number]
    sources.append(None if lead is None else lead.number)
    return next((number for number in sources if number is not None and _E164.fullmatch(number)), None)


def call_body(
    campaign: Campaign,
    call_id: str,
    start_at: datetime,
    conversation: Conversation,
    recordings: Sequence[Recording],
    lead: Lead | None,
) -> dict[str, Any]:
    """The JSON of step 2, but for ``recordingUrl``. ``start_at`` is the moment the id was made from."""
    number = caller_number(recordings, conversation, lead)
    end_at, duration_s = _end_of(start_at, conversation, recordings)
    details: dict[str, Any] = {
        "callId": call_id,
        "direction": _direction(conversation.document),
        "startTime": timestamp(start_at),
        "endTime": None if end_at is None else timestamp(end_at),
        "duration": None if duration_s is None else whole_seconds(duration_s),
        "status": "completed",
        "callerNumber": number,
    }
    if recordings:
        details["recordingDuration"] = whole_seconds(max(r.audio.media_s for r in recordings))
        details["recordingSize"] = in_order(recordings)[0].size
    body: dict[str, Any] = {
        "campaignId": campaign.campaign_id,
        "voiceAgentId": campaign.voice_agent_id,
        "client": campaign.client_id,
        "callDetails": _known(details),
        "caller": None if number is None else {"phoneNumber": number},
    }
    body = _known(body) | {"transcription": conversation.document}
    return body if lead is None else body | {"lead": lead.document}


def with_url(body: Mapping[str, Any], url: str) -> dict[str, Any]:
    """The body with the recording's URL in its place."""
    return {**body, "callDetails": {**body["callDetails"], "recordingUrl": url}}


def personal(body: Mapping[str, Any]) -> frozenset[str]:
    """What a call's data says of people: every text of the lead and its longer words, whatever was said, and what
    the transcript's metadata holds. Texts of less than three characters tell nothing."""
    transcription = body["transcription"]
    lead = [text for text in _texts(body.get("lead")) if len(text) > 2]
    items = transcription.get("conversation_items")
    said = [item.get("content") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    others = [text for text in _texts([said, transcription.get("metadata")]) if len(text) > 2]
    words = [word for text in lead for word in re.findall(r"\w{4,}", text)]
    return frozenset((*lead, *words, *others))


def _texts(value: Any) -> Iterator[str]:
    """Every text inside a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and ``Z``; what lies below a millisecond is cut off."""
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def whole_seconds(seconds: float) -> int:
    """Rounded half up: 34.5 is 35."""
    return math.floor(seconds + 0.5)


def _end_of(
    start_at: datetime, conversation: Conversation, recordings: Sequence[Recording]
) -> tuple[datetime | None, float | None]:
    """When the call ended and how many seconds it took: by the transcript's own end (``end_time``, else its last
    item), else the recording's. An end before the start is no evidence. Without any, ``duration_seconds`` counts.
    """
    heard = (r.end_at or start_at + timedelta(seconds=r.audio.span_s) for r in recordings)
    for end_at in (conversation.end_at, max(heard, default=None)):
        if end_at is not None and end_at >= start_at:
            return end_at, (end_at - start_at).total_seconds()
    told = conversation.document.get("duration_seconds")
    if isinstance(told, (int, float)) and not isinstance(told, bool) and 0 <= told <= timedelta(days=7).total_seconds():
        return start_at + timedelta(seconds=told), float(told)
    return None, None


def _direction(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    said = metadata.get("direction") if isinstance(metadata, dict) else None
    if not isinstance(said, str) or not said.strip():
        return "inbound"
    word = said.strip().lower()
    return _DIRECTIONS.get(word, word)


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}

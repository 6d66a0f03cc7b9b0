"""What is to be done for a call: everything that is decided about its delivery, and nothing that is done.

A call is sent once its conversation is ready, with what belongs to it then. What comes after the CRM accepted it is
sent under the same id where the CRM is known to take that as an update, else it waits for a person.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from daemon.contract import Effect, Event, Fact, Item, Job, Json, Outcome, Planned, Postponed, Reader, Rejected
from handlers import records
from handlers.crm.body import Campaign, call_body, caller_number, in_order
from handlers.crm.call_id import make_call_id, tail_of
from handlers.crm.client import origin_of
from handlers.crm.markers import MARKER, SUFFIX
from handlers.crm.performers import CALL, UPLOAD, acceptance
from handlers.model import Conversation, Lead, Recording
from handlers.settings import CrmSettings

KIND = "call"
DISK = "disk"
UNCONFIGURED = "no CRM configured"
_UNCONFIGURED_LOOK = timedelta(hours=1)
"""How soon a call that has nowhere to go is looked at again, should no restart do it."""


@dataclass(frozen=True, slots=True)
class Destinations:
    """The names whose health uploads and call data share: one where one server takes both."""

    upload: str
    call: str

    @classmethod
    def of(cls, settings: CrmSettings) -> Destinations:
        """Both are ``crm`` where the two URLs have the same origin."""
        if origin_of(settings.upload_url or "") == origin_of(settings.call_data_url or ""):
            return cls("crm", "crm")
        return cls("crm.upload", "crm.call")


@dataclass(frozen=True, slots=True)
class Members:
    """What one call consists of, with the hashes that freeze it."""

    conversation: Conversation
    transcript: Item
    recordings: tuple[tuple[Recording, Item], ...]
    lead: Lead | None
    lead_item: Item | None

    def frozen(self) -> dict[str, Any]:
        """What the ledger keeps of it, to tell later whether anything is new."""
        return {
            "transcript": self.transcript.sha256,
            "recordings": [
                {"id": recording.id, "side": recording.side.value, "sha256": item.sha256}
                for recording, item in self.recordings
            ],
            "lead": None if self.lead_item is None else {"id": self.lead_item.id, "sha256": self.lead_item.sha256},
        }


class CallHandler:
    """Decides about calls. ``job.key`` is the conversation's id.

    ``markers`` is the folder of markers, absolute; ``conversations`` the name by which ``original_path`` calls the
    watched folder.
    """

    kinds = (KIND,)

    def __init__(self, settings: CrmSettings, markers: str, conversations: str) -> None:
        self._settings = settings
        self._markers = markers
        self._conversations = conversations
        self._campaign = Campaign(settings.campaign_id, settings.voice_agent_id, settings.client_id)
        self._dest = Destinations.of(settings)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """Send, send again, leave to a person, or nothing."""
        conversation_id = int(job.key)
        verdict = records.verdict(read, conversation_id)
        if verdict is None or not verdict.ready or records.replaced_by(read, conversation_id) is not None:
            return Planned()  # the matcher, or the newer version of the transcript, goes on
        call = records.call(read, conversation_id)
        if call is not None and call.spoken_for != "callspool":
            return Planned()
        members = members_of(read, conversation_id)
        marker = None if call is not None else records.old_marker(read, members.transcript.name)
        witness = None if call is not None else records.known_call(read, members.transcript.sha256)
        if (marker is not None and marker.delivered) or (witness is not None and witness.delivered):
            return _spoken_for(conversation_id, marker, self._id_of(read, members, witness))
        if not is_configured(self._settings):
            return Postponed(read.now + _UNCONFIGURED_LOOK, UNCONFIGURED)
        known = _known_as(read, conversation_id)
        if known.spoken_for:
            return _spoken_for(conversation_id, None)
        late = None if known.delivered is None else late_members(known.delivered, members.frozen())
        if late == "":
            return self._tell(read, members, known)
        told = job.told or _told_since(read, conversation_id, known.delivered_at)
        if late is not None and self._settings.updates == "off" and not told:
            return Rejected(f"its {late} came after the call was sent", fix=f"callspool retry c{conversation_id}")
        return self._send(read, members, known.call_id, update=late is not None)

    def _send(self, read: Reader, members: Members, call_id: str | None, *, update: bool) -> Planned:
        conversation_id = members.conversation.id
        start_at = start_of(members)
        facts: tuple[Fact, ...] = ()
        if call_id is None:
            call_id = self._fix_call_id(read, members, start_at)
            facts = (records.CallIdFixed(conversation_id, call_id, read.now),)
        marker = records.old_marker(read, members.transcript.name)
        known_url = None if marker is None or update else marker.recording_url
        uploads = () if known_url is not None else tuple(self._upload(read, item) for _, item in members.recordings)
        recordings = [recording for recording, _ in members.recordings]
        body = call_body(self._campaign, call_id, start_at, members.conversation, recordings, members.lead)
        payload: dict[str, Json] = {
            "conversation": conversation_id,
            "members": members.frozen(),
            "body": body,
            "upload": uploads[0].identity if uploads else None,
            "url": known_url,
            "update": update,
        }
        call = Effect.of(CALL, call_id, self._dest.call, payload)
        return Planned(facts, (*uploads, call, self._marker(members, call_id, None)))

    def _tell(self, read: Reader, members: Members, known: _Known) -> Planned:
        """The CRM has it all. The marker may still be missing, if a run ended between the two: then it is written from
        what the ledger knows of the acceptance, in place of the receipt that run had in hand.
        """
        assert known.call_id is not None
        assert known.delivered is not None
        if known.delivered_at is None or read.receipt(self._marker(members, known.call_id, None).key) is not None:
            return Planned()
        accepted = acceptance(known.delivered_at, known.recording_url, known.delivered.get("attempts", 1))
        return Planned(effects=(self._marker(members, known.call_id, accepted),))

    def _fix_call_id(self, read: Reader, members: Members, start_at: datetime) -> str:
        conversation, sha256 = members.conversation, members.transcript.sha256
        recordings = [recording for recording, _ in members.recordings]
        number = caller_number(recordings, conversation, members.lead)

        def taken(call_id: str) -> bool:
            return records.call_id_taken(read, call_id) not in (None, conversation.id)

        return make_call_id(start_at, tail_of(number, conversation.session_id, sha256), sha256, taken)

    def _id_of(
        self, read: Reader, members: Members, witness: records.KnownCall | None
    ) -> tuple[records.CallIdFixed, ...]:
        """The id under which we delivered a call before the ledger was lost: as a witness says, else made again from
        the same evidence. None for what another system delivered."""
        if witness is None:
            return ()
        call_id = witness.call_id or self._fix_call_id(read, members, start_of(members))
        if records.call_id_taken(read, call_id) not in (None, members.conversation.id):
            return ()
        return (records.CallIdFixed(members.conversation.id, call_id, read.now),)

    def _upload(self, read: Reader, item: Item) -> Effect:
        """The upload of a recording, or of the verified copy for which its original was let go before a call came."""
        item = read.item(records.standing_for(read, item.id))
        payload: dict[str, Json] = {"item": item.id, "name": item.name, "size": item.size, "sha256": item.sha256}
        return Effect.of(UPLOAD, f"{item.sha256}:{item.name}", self._dest.upload, payload)

    def _marker(self, members: Members, call_id: str, accepted: dict[str, Json] | None) -> Effect:
        """The marker, from the receipt of the call that stands before it, or from what is ``accepted`` already."""
        path = os.path.join(self._markers, members.transcript.name + SUFFIX)
        payload: dict[str, Json] = {
            "path": path,
            "original_path": f"{self._conversations}/{members.transcript.path}",
            "lead": members.lead is not None,
            "call": call_id,
            "accepted": accepted,
            "members": members.frozen(),
        }
        return Effect.of(MARKER, path, DISK, payload)


def is_configured(settings: CrmSettings) -> bool:
    """Whether there is a CRM to deliver to: it takes both addresses."""
    return bool(settings.upload_url and settings.call_data_url)


def members_of(read: Reader, conversation_id: int) -> Members:
    """What belongs to the conversation now; recordings in the order mixed, agent, customer."""
    conversation = records.conversation(read, conversation_id)
    pairing = records.pairing(read, conversation_id)
    recordings = () if pairing is None else in_order(records.recordings(read, pairing.group))
    lead_pairing = records.lead_pairing(read, conversation_id)
    lead = None if lead_pairing is None else records.lead(read, lead_pairing.lead_id)
    return Members(
        conversation,
        read.item(conversation_id),
        tuple((recording, read.item(recording.id)) for recording in recordings),
        lead,
        None if lead is None else read.item(lead.id),
    )


def start_of(members: Members) -> datetime:
    """When the call began: as the conversation says, else its recording, else its file."""
    if members.conversation.start_at is not None:
        return members.conversation.start_at
    heard = [recording.start_at for recording, _ in members.recordings if recording.start_at is not None]
    if heard:
        return min(heard)
    return datetime.fromtimestamp(members.transcript.mtime_ns // 1_000_000_000, UTC)


def late_members(sent: dict[str, Any], now: dict[str, Any]) -> str | None:
    """What is new since the CRM accepted the call, in words; empty where nothing is."""
    names = {"transcript": "newer transcript", "recordings": "recording", "lead": "lead"}
    return " and ".join(word for part, word in names.items() if sent.get(part) != now[part])


@dataclass(frozen=True, slots=True)
class _Known:
    """What the CRM knows of a call: its id, what it accepted last, and whether another system delivered it."""

    call_id: str | None = None
    delivered: dict[str, Any] | None = None
    delivered_at: datetime | None = None
    recording_url: str | None = None
    spoken_for: bool = False


def _known_as(read: Reader, conversation_id: int) -> _Known:
    """By this transcript, else by the version of it that came before: a new version is still the same call."""
    known = _Known()
    version: int | None = conversation_id
    while version is not None:
        call = records.call(read, version)
        if call is not None:
            known = replace(
                known,
                call_id=known.call_id or call.call_id,
                spoken_for=known.spoken_for or call.spoken_for != "callspool",
            )
            if known.delivered is None:
                known = replace(
                    known,
                    delivered=call.delivered,
                    delivered_at=call.delivered_at,
                    recording_url=call.recording_url,
                )
        version = records.replaces(read, version)
    return known


def _told_since(read: Reader, conversation_id: int, delivered_at: datetime | None) -> bool:
    """Whether a person decided about the call's partners after it was sent: then what follows is sent as well."""
    spoke_at = records.person_spoke(read, conversation_id)
    return spoke_at is not None and delivered_at is not None and spoke_at > delivered_at


def _spoken_for(
    conversation_id: int, marker: records.Marker | None, fixed: tuple[records.CallIdFixed, ...] = ()
) -> Planned:
    """Another system, or we before the ledger was lost, delivered this call: put that down and leave it alone."""
    document = {} if marker is None else marker.document
    fact = records.SpokenForByMarker(
        conversation_id,
        _moment(document.get("uploaded_at")),
        document,
        None if marker is None else marker.recording_url,
    )
    return Planned((fact, *fixed), events=(Event("call.spoken_for", {"call_id": f"c{conversation_id}"}),))


def _moment(said: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(cast("str", said))
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)

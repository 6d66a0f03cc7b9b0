"""Collects the neighbourhood of whatever woke the matcher, so that what is decided for its core is exact.

Pairs are edges, files are nodes. What is decided for a file depends on the candidates of its candidates, and whether
those are taken by an id or a number, which is told by ids and numbers alone. So a walk from the woken file follows
edges by id or number as far as they go, and edges by time for ``LOADED`` steps; what lies within ``JUDGED`` of them
sees every edge that matters to it. What lies further off cannot be changed by what woke us.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from daemon.contract import Reader
from handlers import records
from handlers.match import evidence as terms
from handlers.match.assign import Neighbourhood, Standing
from handlers.match.evidence import Evidence, Group, Strength
from handlers.model import Conversation, Lead
from handlers.records import Near, Span

if TYPE_CHECKING:
    from handlers.settings import MatchSettings

JUDGED = 3
"""A new file changes its candidates (1), their other candidates (2), and for whom those are free (3)."""

LOADED = JUDGED + 2
"""Candidates, and the candidates of those."""

LONGEST_CALL = timedelta(hours=12)
"""How long before it was taken a lead's call may have begun, where a number ties the two."""

Node = tuple[Literal["conversation", "partner"], int | str]
Neighbours = list[tuple[Node, Evidence]]


@dataclass(slots=True)
class Surroundings:
    """What was found: the neighbourhood, and which conversations it suffices to decide, for each half of a verdict."""

    near: Neighbourhood
    recording_judged: frozenset[int]
    lead_judged: frozenset[int]


def surroundings(
    read: Reader,
    settings: MatchSettings,
    *,
    conversation: int | None = None,
    group: str | None = None,
    lead: int | None = None,
) -> Surroundings:
    """The surroundings of one subject: a conversation has both kinds of partner, a group or a lead is one kind."""
    view = _View(read, settings)
    heard: dict[Node, int] = {}
    asked: dict[Node, int] = {}
    if conversation is not None:
        heard = _walk(("conversation", conversation), view.recordings_of)
        asked = _walk(("conversation", conversation), view.leads_of)
    if group is not None:
        heard = _walk(("partner", group), view.recordings_of)
    if lead is not None:
        asked = _walk(("partner", lead), view.leads_of)
    recording_judged, lead_judged = _judged(heard), _judged(asked)
    for number in recording_judged | lead_judged:
        view.standing(number)
    for standing in view.standings.values():
        if standing.group is not None:
            view.group(standing.group)
    near = Neighbourhood(view.standings, view.groups, view.leads, view.recording_pairs, view.lead_pairs)
    return Surroundings(near, recording_judged, lead_judged)


def _judged(steps: dict[Node, int]) -> frozenset[int]:
    return frozenset(key for (kind, key), far in steps.items() if kind == "conversation" and far <= JUDGED)  # type: ignore[misc]


def _walk(start: Node, neighbours: Callable[[Node], Neighbours]) -> dict[Node, int]:
    """How many edges by time lie between the start and each node within reach; edges by id or number are free."""
    steps = {start: 0}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for other, evidence in neighbours(node):
            free = (evidence.rivalry or 0) > Strength.TIME
            far = steps[node] + (0 if free else 1)
            if far > LOADED or steps.get(other, LOADED + 1) <= far:
                continue
            steps[other] = far
            if free:
                queue.appendleft(other)
            else:
                queue.append(other)
    return steps


@dataclass(slots=True)
class _View:
    """The ledger as the walk sees it, each row read once."""

    read: Reader
    settings: MatchSettings
    standings: dict[int, Standing] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    leads: dict[int, Lead] = field(default_factory=dict)
    recording_pairs: dict[tuple[str, int], Evidence] = field(default_factory=dict)
    lead_pairs: dict[tuple[int, int], Evidence] = field(default_factory=dict)
    _refused: dict[int, dict[str, str]] = field(default_factory=dict)
    _taken_groups: dict[str, bool] = field(default_factory=dict)
    _taken_leads: dict[int, bool] = field(default_factory=dict)
    _seen: dict[tuple[str, Node], Neighbours] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------ rows

    def standing(self, number: int) -> Standing:
        """A conversation with what is beyond question about it."""
        found = self.standings.get(number)
        return found or self._stand(records.conversation_times(self.read, number))

    def _stand(self, conversation: Conversation) -> Standing:
        number = conversation.id
        found = self.standings.get(number)
        if found is None:
            found = Standing(conversation, fixed_group(self.read, number), fixed_lead(self.read, number))
            self.standings[number] = found
        return found

    def group(self, key: str) -> Group | None:
        """A group by its key; None where every recording of it was replaced by a newer version elsewhere."""
        if key not in self.groups:
            members = records.recordings(self.read, key)
            if not members:
                return None
            self.groups[key] = Group.of(members)
        return self.groups[key]

    def _is_refused(self, number: int, partner: str) -> bool:
        if number not in self._refused:
            self._refused[number] = records.refusals(self.read, number)
        return partner in self._refused[number]

    def _group_taken(self, key: str) -> bool:
        if key not in self._taken_groups:
            held = records.pairing_of_group(self.read, key)
            self._taken_groups[key] = held is not None and fixed_group(self.read, held.conversation_id) == key
        return self._taken_groups[key]

    def _lead_taken(self, number: int) -> bool:
        if number not in self._taken_leads:
            held = records.pairing_of_lead(self.read, number)
            self._taken_leads[number] = held is not None and fixed_lead(self.read, held.conversation_id) == number
        return self._taken_leads[number]

    # ------------------------------------------------------------------------------------------ recordings

    def recordings_of(self, node: Node) -> Neighbours:
        """A node's edges between recording groups and conversations."""
        return self._once("recording", node, self._recordings_of)

    def _recordings_of(self, node: Node) -> Neighbours:
        kind, key = node
        if kind == "conversation":
            standing = self.standing(int(key))
            if standing.group is not None:
                return []
            near = groups_near_call(standing.conversation, self.settings.window, self.settings.offset)
            return self._pairs((key, standing) for key in records.groups_near(self.read, near))
        group = self.group(str(key))
        if group is None or self._group_taken(str(key)):
            return []
        found = records.conversations_near(self.read, calls_near_group(group, self.settings))
        return self._pairs((group.key, self._stand(conversation)) for conversation in found)

    def _pairs(self, pairs: Iterable[tuple[str, Standing]]) -> Neighbours:
        found: Neighbours = []
        for key, standing in pairs:
            evidence = self._recording_pair(key, standing)
            if evidence is not None and evidence.rivalry is not None:
                found += [(("partner", key), evidence), (("conversation", standing.conversation.id), evidence)]
        return found

    def _recording_pair(self, key: str, standing: Standing) -> Evidence | None:
        number = standing.conversation.id
        known = self.recording_pairs.get((key, number))
        if known is not None:
            return known
        group = self.group(key)
        if group is None or standing.group is not None or self._group_taken(key):
            return None
        evidence = terms.weigh_recording(
            group,
            standing.conversation,
            window=self.settings.window,
            offset=self.settings.offset,
            refused=self._is_refused(number, key),
        )
        self.recording_pairs[key, number] = evidence
        return evidence

    # ------------------------------------------------------------------------------------------ leads

    def leads_of(self, node: Node) -> Neighbours:
        """A node's edges between leads and conversations."""
        return self._once("lead", node, self._leads_of)

    def _leads_of(self, node: Node) -> Neighbours:
        kind, key = node
        if kind == "conversation":
            standing = self.standing(int(key))
            if standing.lead is not None:
                return []
            found = records.leads_near(self.read, leads_near_call(standing.conversation))
            return self._lead_pairs((lead, standing) for lead in found)
        lead = self.leads.get(int(key)) or records.lead(self.read, int(key))
        if self._lead_taken(lead.id) or records.lead_replaced(self.read, lead.id):
            return []
        calls = records.conversations_near(self.read, calls_near_lead(lead))
        return self._lead_pairs((lead, self._stand(conversation)) for conversation in calls)

    def _lead_pairs(self, pairs: Iterable[tuple[Lead, Standing]]) -> Neighbours:
        found: Neighbours = []
        for lead, standing in pairs:
            evidence = self._lead_pair(lead, standing)
            if evidence is not None and evidence.rivalry is not None:
                found += [(("partner", lead.id), evidence), (("conversation", standing.conversation.id), evidence)]
        return found

    def _lead_pair(self, lead: Lead, standing: Standing) -> Evidence | None:
        number = standing.conversation.id
        known = self.lead_pairs.get((lead.id, number))
        if known is not None:
            return known
        if standing.lead is not None or self._lead_taken(lead.id):
            return None
        self.leads[lead.id] = lead
        refused = self._is_refused(number, f"l{lead.id}")
        evidence = self.lead_pairs[lead.id, number] = terms.weigh_lead(lead, standing.conversation, refused=refused)
        return evidence

    def _once(self, what: str, node: Node, find: Callable[[Node], Neighbours]) -> Neighbours:
        if (what, node) not in self._seen:
            self._seen[what, node] = [(other, evidence) for other, evidence in find(node) if other != node]
        return self._seen[what, node]


# -------------------------------------------------------------------------------------------- what is beyond question


def fixed_group(read: Reader, conversation_id: int) -> str | None:
    """The conversation's recording where a person chose it or it was sent already; None while it is open.

    A recording whose every file has a newer version is open again, and so is the pairing of an older transcript.
    """
    held = records.pairing(read, conversation_id)
    if held is None or records.replaced_by(read, conversation_id) is not None:
        return None
    beyond = held.decided_by == "person" or _sent_since(read, conversation_id, held.decided_at)
    return held.group if beyond and records.recordings(read, held.group) else None


def fixed_lead(read: Reader, conversation_id: int) -> int | None:
    """The conversation's lead where a person chose it or it was sent already; None while it is open."""
    held = records.lead_pairing(read, conversation_id)
    if held is None or records.replaced_by(read, conversation_id) is not None:
        return None
    beyond = held.decided_by == "person" or _sent_since(read, conversation_id, held.decided_at)
    return held.lead_id if beyond and not records.lead_replaced(read, held.lead_id) else None


def _sent_since(read: Reader, conversation_id: int, decided_at: datetime) -> bool:
    """Whether the call was to be sent, or was, after its partner had been decided."""
    call = records.call(read, conversation_id)
    if call is None:
        return False
    return any(at is not None and at >= decided_at for at in (call.fixed_at, call.delivered_at))


# -------------------------------------------------------------------------------------------- where to look


def calls_near_group(group: Group, settings: MatchSettings) -> Near:
    """Where the conversation of a recording group is to be looked for: wide enough for every pair that fits."""
    start_at = None if group.start_at is None else group.start_at + settings.offset
    end_at = None if group.end_at is None else group.end_at + settings.offset
    starts = () if start_at is None else (_span(start_at, terms.START_LOOSE_S, start_at, terms.FIRST_LINE_S),)
    ends = () if end_at is None else (_ends_of(end_at),)
    around = tuple(_window(at, settings.window) for at in (start_at, end_at) if at is not None)
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
    """Where the recordings of a conversation are to be looked for: wide enough for every pair that fits."""
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
    """Where the conversation of a lead is to be looked for."""
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
    """Where the lead of a conversation is to be looked for."""
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

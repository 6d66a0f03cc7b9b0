"""Collects the neighbourhood of whatever woke the matcher, so that what is decided for its core is exact.

Files are nodes and pairs are edges. Whether a pair is made depends on the other candidates of both, and on whether
those are taken by an id or a number, which is told by ids and numbers alone. So a walk from the woken file follows
marked edges (id, number, stamp) as far as they go, and edges by time a few steps:

    woken ── its candidates ── their candidates, whose pairs may change (``JUDGED``) ── the candidates of those

In a crowd most of that cannot matter: a file with two candidates by time that no mark can take away will not be
paired by time, whoever else is near. Beyond such a file the walk goes on only to the partner it has now, which may have
to be given up. That keeps the cost of one file in a crowd near the number of its own candidates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, cast

from daemon.contract import Reader
from handlers import records
from handlers.match.assign import Neighbourhood, Standing
from handlers.match.evidence import Evidence, Group, Strength, Times, weigh_lead, weigh_recording
from handlers.match.fixed import fixed_group, fixed_lead
from handlers.match.reach import calls_near_group, calls_near_lead, groups_near_call, leads_near_call
from handlers.model import Conversation, Lead

if TYPE_CHECKING:
    from handlers.settings import MatchSettings

JUDGED = 2
"""Edges by time from the woken file to a conversation whose pair may change."""

P = TypeVar("P", bound=Hashable)
Node = tuple[Literal["conversation", "partner"], Hashable]
Edges = Sequence[tuple[Node, Evidence]]


@dataclass(frozen=True, slots=True)
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
    book = _Book(read)
    recordings, leads = _Recordings(book, settings), _Leads(book)
    recording_judged: frozenset[int] = frozenset()
    lead_judged: frozenset[int] = frozenset()
    if conversation is not None:
        recording_judged = _walk(("conversation", conversation), recordings)
        lead_judged = _walk(("conversation", conversation), leads)
    if group is not None:
        recording_judged = _walk(("partner", group), recordings)
    if lead is not None:
        lead_judged = _walk(("partner", lead), leads)
    judged = {number: book.standing(number) for number in recording_judged | lead_judged}
    for standing in judged.values():
        if standing.group is not None:
            recordings.group(standing.group)
    near = Neighbourhood(judged, recordings.groups, leads.leads, recordings.pairs, leads.pairs)
    return Surroundings(near, recording_judged, lead_judged)


def _walk(start: Node, graph: _Graph[P]) -> frozenset[int]:
    """Load what matters to the pairs that the start can change; returns their conversations."""
    steps: dict[Node, int] = {start: 0}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        far = steps[node]
        for other, evidence in graph.followed(node, far):
            marked = (evidence.rivalry or 0) > Strength.TIME
            there = far if marked else far + 1
            if there >= steps.get(other, there + 1):
                continue
            steps[other] = there
            if marked:
                queue.appendleft(other)
            else:
                queue.append(other)
    return frozenset(cast("int", key) for (kind, key), far in steps.items() if kind == "conversation" and far <= JUDGED)


@dataclass(slots=True)
class _Book:
    """The conversations of the ledger, each read once."""

    read: Reader
    standings: dict[int, Standing] = field(default_factory=dict)
    times: dict[int, Times] = field(default_factory=dict)
    _refusals: dict[int, dict[str, str]] = field(default_factory=dict)

    def standing(self, number: int) -> Standing:
        """A conversation with what is beyond question about it."""
        return self.standings.get(number) or self.stand(records.conversation_times(self.read, number))

    def stand(self, conversation: Conversation) -> Standing:
        """The same for one that was read already."""
        number = conversation.id
        found = self.standings.get(number)
        if found is None:
            found = Standing(conversation, fixed_group(self.read, number), fixed_lead(self.read, number))
            self.standings[number] = found
            self.times[number] = Times.of(conversation)
        return found

    def refused(self, number: int, partner: str) -> bool:
        """Whether a person said no to the pair."""
        if number not in self._refusals:
            self._refusals[number] = records.refusals(self.read, number)
        return partner in self._refusals[number]


class _Graph(ABC, Generic[P]):
    """The pairs of one kind, found as they are asked for. Nodes beyond question have no edges."""

    def __init__(self, book: _Book) -> None:
        self.book = book
        self.pairs: dict[tuple[P, int], Evidence] = {}
        self._edges: dict[tuple[Node, bool], Edges] = {}

    def followed(self, node: Node, far: int) -> Edges:
        """The edges of a node, ``far`` steps from the start, that lead to something that matters.

        What is tied to the start by marks (``far`` 0) may be taken now or set free, which concerns all its candidates.
        """
        if far > JUDGED + 1:
            return self.edges(node, marked=True)
        edges = self.edges(node)
        if far == 0 or self._unmarked(edges, Strength.WEAK) <= 1:
            return edges
        crowded = self._unmarked(edges, Strength.TIME) > 1
        least, mine = Strength.NUMBER if crowded else Strength.TIME, self.mine(node)
        return [edge for edge in edges if (edge[1].rivalry or 0) >= least or edge[0] == mine]

    def edges(self, node: Node, *, marked: bool = False) -> Edges:
        """All edges of a node, or those by id, number or stamp alone."""
        if (node, marked) not in self._edges:
            kind, key = node
            if kind == "conversation":
                number = cast("int", key)
                pairs = [(ours, number) for ours in self._partners(number, marked=marked)]
            else:
                pairs = [(cast("P", key), number) for number in self._calls(cast("P", key), marked=marked)]
            self._edges[node, marked] = list(self._weighed(node, pairs, marked=marked))
        return self._edges[node, marked]

    def _weighed(self, node: Node, pairs: Iterable[tuple[P, int]], *, marked: bool) -> Iterable[tuple[Node, Evidence]]:
        for ours, theirs in pairs:
            evidence = self.pairs.get((ours, theirs))
            if evidence is None:
                evidence = self.pairs[ours, theirs] = self._weigh(ours, theirs)
            if evidence.rivalry is None or (marked and evidence.rivalry <= Strength.TIME):
                continue
            yield (("partner", ours) if node[0] == "conversation" else ("conversation", theirs)), evidence

    def _unmarked(self, edges: Edges, least: Strength) -> int:
        """How many of the edges lead to somebody whom no id or number can take away; counts to 2."""
        count = 0
        for other, evidence in edges:
            if (evidence.rivalry or 0) >= least and not self.edges(other, marked=True):
                count += 1
                if count == 2:
                    break
        return count

    @abstractmethod
    def mine(self, node: Node) -> Node | None:
        """The partner that a node has now."""

    @abstractmethod
    def _partners(self, number: int, *, marked: bool) -> Sequence[P]:
        """Open partners near an open conversation."""

    @abstractmethod
    def _calls(self, ours: P, *, marked: bool) -> Sequence[int]:
        """Open conversations near an open partner."""

    @abstractmethod
    def _weigh(self, ours: P, theirs: int) -> Evidence:
        """The evidence of one pair."""


class _Recordings(_Graph[str]):
    """Recording groups and conversations."""

    def __init__(self, book: _Book, settings: MatchSettings) -> None:
        super().__init__(book)
        self.groups: dict[str, Group] = {}
        self._settings = settings
        self._taken: dict[str, bool] = {}

    def group(self, key: str) -> Group | None:
        """A group by its key; None where a newer version elsewhere replaces every recording of it."""
        if key not in self.groups:
            members = records.recordings(self.book.read, key)
            if not members:
                return None
            self.groups[key] = Group.of(members)
        return self.groups[key]

    def mine(self, node: Node) -> Node | None:
        """The pairing in the ledger."""
        kind, key = node
        if kind == "conversation":
            held = records.pairing(self.book.read, cast("int", key))
            return None if held is None else ("partner", held.group)
        held = records.pairing_of_group(self.book.read, cast("str", key))
        return None if held is None else ("conversation", held.conversation_id)

    def _partners(self, number: int, *, marked: bool) -> Sequence[str]:
        standing = self.book.standing(number)
        if standing.group is not None:
            return ()
        near = groups_near_call(standing.conversation, self._settings.window, self._settings.offset)
        return [key for key in records.groups_near(self.book.read, near.marked if marked else near) if self._open(key)]

    def _calls(self, ours: str, *, marked: bool) -> Sequence[int]:
        group = self.group(ours)
        if group is None or not self._open(ours):
            return ()
        near = calls_near_group(group, self._settings.window, self._settings.offset)
        found = records.conversations_near(self.book.read, near.marked if marked else near)
        return [call.id for call in found if self.book.stand(call).group is None]

    def _weigh(self, ours: str, theirs: int) -> Evidence:
        return weigh_recording(
            self.groups[ours],
            self.book.standings[theirs].conversation,
            window=self._settings.window,
            offset=self._settings.offset,
            refused=self.book.refused(theirs, ours),
            times=self.book.times[theirs],
        )

    def _open(self, key: str) -> bool:
        if key not in self._taken:
            held = records.pairing_of_group(self.book.read, key)
            fixed = held is not None and fixed_group(self.book.read, held.conversation_id) == key
            self._taken[key] = fixed or self.group(key) is None
        return not self._taken[key]


class _Leads(_Graph[int]):
    """Leads and conversations."""

    def __init__(self, book: _Book) -> None:
        super().__init__(book)
        self.leads: dict[int, Lead] = {}
        self._taken: dict[int, bool] = {}

    def mine(self, node: Node) -> Node | None:
        """The pairing in the ledger."""
        kind, key = node
        if kind == "conversation":
            held = records.lead_pairing(self.book.read, cast("int", key))
            return None if held is None else ("partner", held.lead_id)
        held = records.pairing_of_lead(self.book.read, cast("int", key))
        return None if held is None else ("conversation", held.conversation_id)

    def _partners(self, number: int, *, marked: bool) -> Sequence[int]:
        standing = self.book.standing(number)
        if standing.lead is not None:
            return ()
        near = leads_near_call(standing.conversation)
        found = records.leads_near(self.book.read, near.marked if marked else near)
        for lead in found:
            self.leads.setdefault(lead.id, lead)
        return [lead.id for lead in found if self._open(lead.id)]

    def _calls(self, ours: int, *, marked: bool) -> Sequence[int]:
        lead = self.leads.get(ours) or records.lead(self.book.read, ours)
        self.leads[ours] = lead
        if not self._open(ours) or records.lead_replaced(self.book.read, ours):
            return ()
        near = calls_near_lead(lead)
        found = records.conversations_near(self.book.read, near.marked if marked else near)
        return [call.id for call in found if self.book.stand(call).lead is None]

    def _weigh(self, ours: int, theirs: int) -> Evidence:
        return weigh_lead(
            self.leads[ours],
            self.book.standings[theirs].conversation,
            refused=self.book.refused(theirs, f"l{ours}"),
            times=self.book.times[theirs],
        )

    def _open(self, number: int) -> bool:
        if number not in self._taken:
            held = records.pairing_of_lead(self.book.read, number)
            self._taken[number] = held is not None and fixed_lead(self.book.read, held.conversation_id) == number
        return not self._taken[number]

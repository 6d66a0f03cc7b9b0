"""Who belongs to whom, over a neighbourhood of pairs. Pure: everything it looks at is passed in.

``assign`` is the seam: a matcher that computes probabilities replaces it and nothing else. It gets a ``Neighbourhood``
(who is there, and the evidence of every pair that could be one) and answers with a ``Decision`` for each conversation.

The rule. Strengths are decided from the strongest down. A pair is made where each is the other's only candidate of at
least that strength, among those not already taken by a stronger pair. Where there are two, nobody is chosen: they
stay candidates of one another, and in the way of weaker pairs. A weak pair must stand alone among all candidates that
no id and no number has taken. So an additional candidate can turn a pair into a question, but never into another
pair, unless it comes with stronger evidence; and nothing depends on who came first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from handlers.match.evidence import Evidence, Group, Strength
from handlers.model import Conversation, Lead

if TYPE_CHECKING:
    from handlers.settings import MatchSettings

P = TypeVar("P", bound=Hashable)

PROBABILITY: Mapping[Strength, float] = {
    Strength.ID: 0.9999,
    Strength.NUMBER_AND_TIME: 0.999,
    Strength.NUMBER: 0.995,
    Strength.TIME: 0.99,
    Strength.WEAK: 0.99,
}
"""The probability a rule's pair is given: an estimate for traffic of a few calls a minute, not a posterior. A pair
below ``match.confidence`` is held."""

SHOWN = 12
"""Candidates kept in an explanation: a crowd is listed by its closest members."""

RecordingState = Literal["waiting", "matched", "ambiguous", "alone"]
LeadState = Literal["waiting", "matched", "ambiguous", "none"]


@dataclass(frozen=True, slots=True)
class Standing:
    """A conversation and what is no longer in question about it.

    ``group`` and ``lead`` are what a person chose or what was sent already. A conversation with neither is open.
    """

    conversation: Conversation
    group: str | None = None
    lead: int | None = None


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Everybody who could be anybody's partner, with the evidence of each pair that could be one.

    The pairs of a conversation whose recording (lead) is no longer in question are left out, as are those of a
    recording (lead) that is somebody's beyond question.
    """

    standings: Mapping[int, Standing] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    leads: Mapping[int, Lead] = field(default_factory=dict)
    recording_pairs: Mapping[tuple[str, int], Evidence] = field(default_factory=dict)
    lead_pairs: Mapping[tuple[int, int], Evidence] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordingDecision:
    """The recording's half of a verdict. ``until`` is when waiting ends; ``settled`` whether it holds nothing up."""

    state: RecordingState
    until: datetime
    settled: bool
    group: str | None
    probability: float
    reasons: tuple[str, ...]
    explanation: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LeadDecision:
    """The lead's half of a verdict, as ``RecordingDecision``."""

    state: LeadState
    until: datetime
    settled: bool
    lead: int | None
    probability: float
    reasons: tuple[str, ...]
    explanation: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """What is decided for one conversation."""

    recording: RecordingDecision
    lead: LeadDecision


def assign(near: Neighbourhood, now: datetime, settings: MatchSettings) -> dict[int, Decision]:
    """The decision for every conversation of the neighbourhood."""
    heard = _Board("recording", near.recording_pairs, settle(near.recording_pairs, settings.confidence))
    asked = _Board("lead", near.lead_pairs, settle(near.lead_pairs, settings.confidence))
    return {
        number: Decision(
            _recording(standing, heard, near.groups, now, settings),
            _lead(standing, asked, now, settings),
        )
        for number, standing in near.standings.items()
    }


def settle(pairs: Mapping[tuple[P, int], Evidence], confidence: float) -> dict[int, P]:
    """Each conversation's partner by the rule above. Pairs whose probability is below ``confidence`` never win.

    Pairs by time stay in the way of weak ones, so that a weak pair is made only where nothing else could be.
    """
    partners: dict[int, P] = {}
    firm_ours: set[P] = set()
    firm_theirs: set[int] = set()
    for level in sorted(Strength, reverse=True):
        rivals = [
            (ours, theirs)
            for (ours, theirs), evidence in pairs.items()
            if (evidence.rivalry or 0) >= level and ours not in firm_ours and theirs not in firm_theirs
        ]
        if not rivals:
            continue
        claims_of_ours = Counter(ours for ours, _ in rivals)
        claims_of_theirs = Counter(theirs for _, theirs in rivals)
        for ours, theirs in rivals:
            strength = pairs[ours, theirs].strength
            if strength is None or strength < level or PROBABILITY[strength] < confidence:
                continue
            if claims_of_ours[ours] == claims_of_theirs[theirs] == 1:
                partners[theirs] = ours
                if level > Strength.TIME:
                    firm_ours.add(ours)
                    firm_theirs.add(theirs)
    return partners


class _Board(Generic[P]):
    """The pairs of one kind with who won, looked at from either side."""

    def __init__(self, kind: str, pairs: Mapping[tuple[P, int], Evidence], partners: Mapping[int, P]) -> None:
        self._kind = kind
        self._partners = partners
        self._owner = {ours: theirs for theirs, ours in partners.items()}
        self._by_theirs: dict[int, list[tuple[P, Evidence]]] = defaultdict(list)
        self._by_ours: dict[P, list[int]] = defaultdict(list)
        for (ours, theirs), evidence in pairs.items():
            if evidence.rivalry is not None:
                self._by_theirs[theirs].append((ours, evidence))
                self._by_ours[ours].append(theirs)

    def partner(self, conversation_id: int) -> P | None:
        """Who won the conversation."""
        return self._partners.get(conversation_id)

    def evidence(self, conversation_id: int, ours: P) -> Evidence:
        """The evidence of one pair."""
        return next(evidence for key, evidence in self._by_theirs[conversation_id] if key == ours)

    def open(self, conversation_id: int) -> list[P]:
        """Its candidates that nobody has won."""
        return [ours for ours, _ in self._by_theirs[conversation_id] if ours not in self._owner]

    def told(self, conversation_id: int) -> dict[str, Any]:
        """The candidates with their terms, strongest and closest first, and what separated the first two."""
        ranked = sorted(
            self._by_theirs[conversation_id],
            key=lambda pair: (-(pair[1].strength or 0), pair[1].distance_s, str(pair[0])),
        )
        told: dict[str, Any] = {"candidates": [self._candidate(conversation_id, *pair) for pair in ranked[:SHOWN]]}
        if len(ranked) > SHOWN:
            told["more_candidates"] = len(ranked) - SHOWN
        won = self.partner(conversation_id)
        if won is not None:
            told["separated_by"] = self._separated(conversation_id, won, ranked)
        return told

    def _candidate(self, conversation_id: int, ours: P, evidence: Evidence) -> dict[str, Any]:
        strength = evidence.strength
        told: dict[str, Any] = {
            self._kind: partner_name(ours),
            "strength": None if strength is None else strength.name.lower(),
            "terms": [term.out() for term in evidence.terms if term.says != "unknown"],
        }
        others = [f"c{theirs}" for theirs in sorted(self._by_ours[ours]) if theirs != conversation_id]
        if others:
            told["also_fits"] = others[:SHOWN]
        owner = self._owner.get(ours)
        if owner is not None:
            told["belongs_to"] = f"c{owner}"
        return told

    def _separated(self, conversation_id: int, won: P, ranked: Sequence[tuple[P, Evidence]]) -> str:
        ours = self.evidence(conversation_id, won).strength
        mine = "" if ours is None else _SAID[ours]
        second = next((pair for pair in ranked if pair[0] != won), None)
        if second is None and self._by_ours[won] == [conversation_id]:
            return "nothing else is near"
        if second is not None and second[0] in self._owner:
            return f"{partner_name(second[0])} belongs to c{self._owner[second[0]]}"
        return f"only this pair has {mine}"


_SAID: Mapping[Strength, str] = {
    Strength.ID: "an id in common",
    Strength.NUMBER_AND_TIME: "number, start and end in common",
    Strength.NUMBER: "the number in common",
    Strength.TIME: "start and end in common",
    Strength.WEAK: "anything in common",
}


def partner_name(ours: Hashable) -> str:
    """How people are shown a partner: a group by its key, a lead as ``l14``."""
    return f"l{ours}" if isinstance(ours, int) else str(ours)


def _recording(
    standing: Standing, board: _Board[str], groups: Mapping[str, Group], now: datetime, settings: MatchSettings
) -> RecordingDecision:
    conversation = standing.conversation
    until = registered(conversation) + settings.wait
    if standing.group is not None:
        return _matched(standing.group, groups, 1.0, (), {}, now, settings)
    told = board.told(conversation.id)
    won = board.partner(conversation.id)
    if won is not None:
        evidence = board.evidence(conversation.id, won)
        probability = PROBABILITY[evidence.strength or Strength.WEAK]
        return _matched(won, groups, probability, evidence.reasons, told, now, settings)
    if board.open(conversation.id):
        settled = now >= until and settings.held == "deliver"
        told["would_settle"] = f"callspool match accept c{conversation.id} RECORDING"
        return RecordingDecision("ambiguous", until, settled, None, 0.0, (), told)
    state: RecordingState = "waiting" if now < until else "alone"
    return RecordingDecision(state, until, state == "alone", None, 0.0, (), told)


def _matched(
    key: str,
    groups: Mapping[str, Group],
    probability: float,
    reasons: tuple[str, ...],
    told: dict[str, Any],
    now: datetime,
    settings: MatchSettings,
) -> RecordingDecision:
    """A pair; sides wait for one another from the moment the first of them was registered."""
    group = groups[key]
    until = group.registered_at + settings.wait
    settled = group.whole or now >= until
    told = {**told, "recordings": [f"r{recording.id}" for recording in group.recordings]}
    if not group.whole:
        told["missing_side"] = "customer" if group.recordings[0].side == "agent" else "agent"
    return RecordingDecision("matched", until, settled, key, probability, reasons, told)


def _lead(standing: Standing, board: _Board[int], now: datetime, settings: MatchSettings) -> LeadDecision:
    conversation = standing.conversation
    until = registered(conversation) + min(settings.lead_wait, settings.wait)
    if standing.lead is not None:
        return LeadDecision("matched", until, True, standing.lead, 1.0, (), {})
    told = board.told(conversation.id)
    won = board.partner(conversation.id)
    if won is not None:
        evidence = board.evidence(conversation.id, won)
        probability = PROBABILITY[evidence.strength or Strength.WEAK]
        return LeadDecision("matched", until, True, won, probability, evidence.reasons, told)
    if board.open(conversation.id):
        told["would_settle"] = f"callspool match accept c{conversation.id} LEAD"
        return LeadDecision("ambiguous", until, now >= until, None, 0.0, (), told)
    if conversation.lead_expected is not False and now < until:
        return LeadDecision("waiting", until, False, None, 0.0, (), told)
    if conversation.lead_expected:
        told["flags"] = ["lead_missing"]
    return LeadDecision("none", until, True, None, 0.0, (), told)


def registered(conversation: Conversation) -> datetime:
    """When callspool first registered the conversation: what its waits run from."""
    if conversation.registered_at is None:
        raise ValueError(f"c{conversation.id} was never registered")
    return conversation.registered_at

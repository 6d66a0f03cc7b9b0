"""Who belongs to whom, over a neighbourhood of pairs. Pure: everything it looks at is passed in.

Each pair's evidence becomes a weight, the weights of everybody near become probabilities (``posterior``), and a pair is
made where its probability reaches ``match.confidence``. Where it does not, and waiting is over, nobody is chosen: a
conversation that surely has no recording is *alone*, any other is *ambiguous* and a person's question.

While a file waits, its partner may still be on its way, and counts as missing as often as not. So a pair that stands
alone in time goes at once; in a crowd the same pair waits until its rivals are there, or the wait is over. Nothing
depends on who came first: only on who is here, and on whose wait is over.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from handlers.match.evidence import LEAST_LOG_WEIGHT, Evidence, Experience
from handlers.match.lead_evidence import lead_log_odds
from handlers.match.posterior import Belief, beliefs
from handlers.match.values import Group, Told, moment_of, ms_of
from handlers.model import Lead

if TYPE_CHECKING:
    from handlers.settings import MatchSettings

P = TypeVar("P", bound=Hashable)

FAINT = 1e-3
"""How much less than the best pair of both its files a pair must weigh to be left out."""

MOST_LOG_WEIGHT = 150.0
"""A pair this certain is certain; larger numbers would only overflow."""

EARLY = 0.5
"""Share of the doubt that ``match.confidence`` allows which is allowed before a wait is over."""

EARLY_UNREAD = 0.01
"""The same while files are there that nobody has looked into: rivals may be among them."""

LEAD_STATES = 60
"""States of a frontier of leads: one that is wider holds leads that nothing but minutes ties to their calls."""

QUESTION = 0.02
"""A candidate of this probability makes a question of a conversation that would otherwise only wait."""

SHOWN = 12
"""Candidates kept in an explanation: a crowd is listed by its most probable members."""

LEAST_SHOWN = 1e-4
"""Candidates less probable than this are counted, and not shown."""

RecordingState = Literal["waiting", "matched", "ambiguous", "alone"]
LeadState = Literal["waiting", "matched", "ambiguous", "none"]


NOBODY: Belief[Any] = Belief({}, {}, 1.0, 0.0)
"""The belief of a conversation without candidates."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A conversation and what is no longer in question about it.

    ``group`` and ``lead`` are what a person chose or what was sent already. A conversation with neither is open.
    """

    told: Told
    group: str | None = None
    lead: int | None = None


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Everybody who could be anybody's partner, with the evidence of each pair that could be one.

    The pairs of a conversation whose recording (lead) is no longer in question are left out, as are those of a
    recording (lead) that is somebody's beyond question. ``understood_until``: of what came later, files are there that
    nobody has looked into (None: of nothing).
    ``outside`` are those whose own candidates were not all
    looked for: conversations by id, recordings by key, leads by id; ``faint`` the same, where all their pairs are.
    """

    standings: Mapping[int, Standing] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    leads: Mapping[int, Lead] = field(default_factory=dict)
    recording_pairs: Mapping[tuple[str, int], Evidence] = field(default_factory=dict)
    lead_pairs: Mapping[tuple[int, int], Evidence] = field(default_factory=dict)
    recording_outside: Collection[Hashable] = ()
    lead_outside: Collection[Hashable] = ()
    recording_faint: Collection[Hashable] = ()
    lead_faint: Collection[Hashable] = ()
    understood_until: datetime | None = None

    def unread_at(self, now: datetime) -> bool:
        """Whether files are there that nobody has looked into."""
        return self.understood_until is not None and self.understood_until < now

    def last_moment(self, now: datetime) -> datetime:
        """The last moment by which it is known who was there."""
        return now if self.understood_until is None else min(now, self.understood_until)


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
    doubt: float = 0.0


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


def assign(
    near: Neighbourhood,
    now: datetime,
    settings: MatchSettings,
    experience: Experience,
    wanted: Collection[int] | None = None,
) -> dict[int, Decision]:
    """The decision for every ``wanted`` conversation of the neighbourhood (None: for all).

    A wait is over once all that came while it ran is understood: until then time stands still.
    """
    unread, now = near.unread_at(now), near.last_moment(now)
    numbers = sorted(near.standings) if wanted is None else sorted(wanted)
    recordings = recording_board(near, now, settings, experience, numbers)
    leads = lead_board(near, now, settings, numbers)
    return {
        number: Decision(
            _recording(near.standings[number], recordings, near, now, settings, unread=unread),
            _lead(near.standings[number], leads, now, settings),
        )
        for number in numbers
    }


def clouded(near: Neighbourhood, decisions: Collection[Decision]) -> bool:
    """Whether a decision may stay open for no other reason than partners that were too faint to be followed."""
    heard = near.recording_faint and not near.recording_outside
    asked = near.lead_faint and not near.lead_outside
    return bool(
        (heard and any(one.recording.group is None and "at_least" in one.recording.explanation for one in decisions))
        or (asked and any(one.lead.lead is None and "at_least" in one.lead.explanation for one in decisions))
    )


def recording_weights(
    pairs: Mapping[tuple[str, int], Evidence],
    tolds: Mapping[int, Told],
    groups: Mapping[str, Group],
    experience: Experience,
    *,
    wait_ms: int,
    now_ms: int | None,
) -> dict[tuple[str, int], float]:
    """The weight of each pair that may be one, as ``posterior`` takes it. ``now_ms`` None: as once nobody waits."""
    odds = experience.last_log_odds
    weights = {}
    for pair, evidence in pairs.items():
        if now_ms is not None:
            odds = experience.log_odds(
                told_waits=now_ms < tolds[pair[1]].registered_ms + wait_ms,
                group_waits=now_ms < groups[pair[0]].registered_ms + wait_ms,
            )
        log_weight = evidence.log_share + odds
        if log_weight > LEAST_LOG_WEIGHT:
            weights[pair] = math.exp(min(MOST_LOG_WEIGHT, log_weight))
    return telling(weights)


def telling(weights: Mapping[tuple[P, int], float]) -> dict[tuple[P, int], float]:
    """The pairs without those that are next to nothing beside the best of either of their files.

    Such a pair could only be part of the truth if both its files lost far better partners at once. The pairs come in
    one order whoever was found first, so that sums are the same to the last bit.
    """
    ours_best: dict[P, float] = {}
    theirs_best: dict[int, float] = {}
    for (ours, theirs), weight in weights.items():
        if weight > ours_best.get(ours, 1.0):
            ours_best[ours] = weight
        if weight > theirs_best.get(theirs, 1.0):
            theirs_best[theirs] = weight
    kept = [
        pair
        for pair, weight in weights.items()
        if weight >= FAINT * min(ours_best.get(pair[0], 1.0), theirs_best.get(pair[1], 1.0))
    ]
    kept.sort(key=_by_call)
    return {pair: weights[pair] for pair in kept}


def _by_call(pair: tuple[Hashable, int]) -> tuple[int, str]:
    return pair[1], str(pair[0])


def in_time(tolds: Iterable[Told]) -> list[int]:
    """Conversations in the order in which they lie in time."""
    return [told.id for told in sorted(tolds, key=lambda told: (told.about_ms or 0, told.id))]


class Board(Generic[P]):
    """The pairs of one kind with how probable they are, looked at from either side.

    ``now`` are the beliefs as things stand, ``then`` as they will be once nobody waits any more.
    """

    def __init__(
        self,
        kind: Literal["recording", "lead"],
        pairs: Mapping[tuple[P, int], Evidence],
        now: Mapping[int, Belief[P]],
        then: Mapping[int, Belief[P]],
    ) -> None:
        self.kind = kind
        self.now, self.then = now, then
        self._pairs = pairs
        self._by_theirs: dict[int, list[P]] = defaultdict(list)
        self._by_ours: dict[P, list[int]] = defaultdict(list)
        for (ours, theirs), evidence in pairs.items():
            if evidence.possible:
                self._by_theirs[theirs].append(ours)
                self._by_ours[ours].append(theirs)

    def best(self, number: int) -> tuple[P | None, float]:
        """The most probable partner as things stand, and how probable it is."""
        pairs = self.now.get(number, NOBODY).pairs
        return max(
            ((ours, p) for ours, p in pairs.items()), key=lambda pair: (pair[1], str(pair[0])), default=(None, 0.0)
        )

    def knows(self, number: int, ours: P) -> bool:
        """Whether the pair was looked at."""
        return (ours, number) in self._pairs

    def evidence(self, number: int, ours: P) -> Evidence:
        """The evidence of one pair."""
        return self._pairs[ours, number]

    def told(self, number: int, *, won: P | None) -> dict[str, Any]:
        """The candidates with their terms, most probable first, and what separated the first two."""
        belief = self.now.get(number, NOBODY)
        ranked = sorted(
            self._by_theirs[number],
            key=lambda ours: (-belief.pairs.get(ours, 0.0), -self._pairs[ours, number].log_share, str(ours)),
        )
        shown = [ours for ours in ranked if belief.pairs.get(ours, 0.0) >= LEAST_SHOWN][:SHOWN]
        told: dict[str, Any] = {
            "alone": rounded(belief.alone),
            "candidates": [self._candidate(number, ours, belief.pairs.get(ours, 0.0)) for ours in shown],
        }
        if not belief.exact:
            told["at_least"] = True  # too crowded to add up: the probabilities are lower bounds
        if won is not None:
            told["separated_by"] = self._separated(number, won, ranked)
        return told

    def _candidate(self, number: int, ours: P, probability: float) -> dict[str, Any]:
        evidence = self._pairs[ours, number]
        told: dict[str, Any] = {
            self.kind: partner_name(ours),
            "probability": rounded(probability),
            "terms": [term.out() for term in evidence.terms],
        }
        rivals = {
            theirs: belief.pairs[ours]
            for theirs in self._by_ours[ours]
            if theirs != number
            and (belief := self.now.get(theirs)) is not None
            and belief.pairs.get(ours, 0.0) > QUESTION
        }
        if rivals:
            told["also_fits"] = [
                f"c{theirs}" for theirs in sorted(rivals, key=lambda theirs: (-rivals[theirs], theirs))
            ]
        return told

    def _separated(self, number: int, won: P, ranked: Sequence[P]) -> str:
        """What made the winner more probable than the second: the term that weighs most between the two."""
        second = next((ours for ours in ranked if ours != won), None)
        if second is None:
            return "nothing else is near" if self._by_ours[won] == [number] else "it has no other candidate"
        first_terms = {term.name: term.log_weight for term in self._pairs[won, number].terms}
        second_terms = {term.name: term.log_weight for term in self._pairs[second, number].terms}
        apart = {
            name: first_terms.get(name, 0.0) - second_terms.get(name, 0.0) for name in {*first_terms, *second_terms}
        }
        name = max(sorted(apart), key=lambda name: apart[name])
        weight = min(99.0, apart[name] / math.log(10))
        if weight <= 0:
            return f"{partner_name(second)} is more probably another call's"
        return f"{name}: 10^{weight:.1f} times better than {partner_name(second)}"


def recording_board(
    near: Neighbourhood, now: datetime, settings: MatchSettings, experience: Experience, numbers: Sequence[int]
) -> Board[str]:
    """How probable every recording of the neighbourhood is for the wanted conversations."""
    tolds = {number: standing.told for number, standing in near.standings.items()}
    order = in_time(tolds.values())
    wait_ms, now_ms = round(settings.wait.total_seconds() * 1000), ms_of(now)

    def believed(at_ms: int | None, asked: Sequence[int]) -> dict[int, Belief[str]]:
        weights = recording_weights(near.recording_pairs, tolds, near.groups, experience, wait_ms=wait_ms, now_ms=at_ms)
        return beliefs(weights, order, outside=near.recording_outside, faint=near.recording_faint, wanted=asked)

    stands = believed(now_ms, numbers)
    waiting = [number for number in numbers if _undecided_yet(tolds[number], stands.get(number, NOBODY), now, settings)]
    later = believed(None, waiting) if waiting else {}
    return Board("recording", near.recording_pairs, stands, {**stands, **later})


def _undecided_yet(told: Told, belief: Belief[str], now: datetime, settings: MatchSettings) -> bool:
    """Whether more may be known of a conversation once nobody waits any more."""
    return now < _until(told, settings) and max(belief.pairs.values(), default=0.0) < settings.confidence


def lead_board(near: Neighbourhood, now: datetime, settings: MatchSettings, numbers: Sequence[int]) -> Board[int]:
    """How probable every lead of the neighbourhood is for the wanted conversations."""
    tolds = {number: standing.told for number, standing in near.standings.items()}
    order = in_time(tolds.values())
    wait = min(settings.lead_wait, settings.wait)

    def believed(at: datetime | None, asked: Sequence[int]) -> dict[int, Belief[int]]:
        weights = {}
        for (lead, number), evidence in near.lead_pairs.items():
            registered_at = near.leads[lead].registered_at
            odds = lead_log_odds(
                tolds[number].lead_expected,
                told_waits=at is not None and at < moment_of(tolds[number].registered_ms) + wait,
                lead_waits=at is not None and registered_at is not None and at < registered_at + wait,
            )
            if evidence.log_share + odds > LEAST_LOG_WEIGHT:
                weights[lead, number] = math.exp(min(MOST_LOG_WEIGHT, evidence.log_share + odds))
        return beliefs(
            telling(weights),
            order,
            outside=near.lead_outside,
            faint=near.lead_faint,
            wanted=asked,
            most_states=LEAD_STATES,
        )

    stands = believed(now, numbers)
    waiting = [n for n in numbers if max(stands.get(n, NOBODY).pairs.values(), default=0.0) < settings.confidence]
    later = believed(None, waiting) if waiting else {}
    return Board("lead", near.lead_pairs, stands, {**stands, **later})


def partner_name(ours: Hashable) -> str:
    """How people are shown a partner: a group by its key, a lead as ``l14``."""
    return f"l{ours}" if isinstance(ours, int) else str(ours)


def rounded(probability: float) -> float:
    """A probability as explanations keep it: six digits of what is missing to one, never rounded up to it."""
    if probability >= 0.5:
        return round(1 - float(f"{1 - probability:.3g}"), 15)
    return float(f"{probability:.3g}")


def enough(confidence: float, *, waits: bool, unread: bool) -> float:
    """How probable a pair must be. While its conversation may still wait, less doubt is allowed: who is on
    its way can only be guessed at, and waiting costs little."""
    if not waits:
        return confidence
    return 1 - (1 - confidence) * (EARLY_UNREAD if unread else EARLY)


def _until(told: Told, settings: MatchSettings) -> datetime:
    return moment_of(told.registered_ms) + settings.wait


def _recording(
    standing: Standing,
    board: Board[str],
    near: Neighbourhood,
    now: datetime,
    settings: MatchSettings,
    *,
    unread: bool,
) -> RecordingDecision:
    told, groups = standing.told, near.groups
    until = _until(told, settings)
    if standing.group is not None:
        return _matched(standing.group, groups, 1.0, 0.0, (), {}, now, settings)
    won, probability = board.best(told.id)
    if won is not None and probability >= enough(settings.confidence, waits=now < until, unread=unread):
        evidence, doubt = board.evidence(told.id, won), board.now[told.id].doubt[won]
        said = board.told(told.id, won=won)
        return _matched(won, groups, probability, doubt, evidence.reasons, said, now, settings)
    said = board.told(told.id, won=None)
    state = _undecided(board, told.id, settings.confidence, waits=now < until)
    if state == "ambiguous":
        settled = now >= until and settings.held == "deliver"
        said["would_settle"] = would_settle(board, told.id, "RECORDING")
        return RecordingDecision("ambiguous", until, settled, None, 0.0, (), said)
    if state == "alone":
        return RecordingDecision("alone", until, True, None, rounded(said["alone"]), (), said)
    if said["candidates"]:
        said["crowded"] = "its best candidate is told from those that may still come once its wait is over"
    return RecordingDecision("waiting", until, False, None, 0.0, (), said)


def _undecided(
    board: Board[P], number: int, confidence: float, *, waits: bool
) -> Literal["waiting", "ambiguous", "alone"]:
    """What a conversation without a partner is: it waits, it is a question, or it surely has none."""
    then = board.then.get(number, NOBODY)
    best = max(then.pairs.values(), default=0.0)
    if not waits:
        return "alone" if then.alone >= confidence else "ambiguous"
    return "ambiguous" if QUESTION <= best < confidence else "waiting"


_MISSING = {
    "number": "the caller's number in both",
    "turns": "time stamps on its lines, and a recording in which speech can be told from silence",
    "end": "when the conversation ended",
    "start": "when the conversation began",
}


def would_settle(board: Board[P], number: int, what: str) -> str:
    """What would settle a question: the command, and the evidence that its candidates lack."""
    pairs = board.now.get(number, NOBODY).pairs
    first = max(pairs, key=lambda ours: (pairs[ours], str(ours)), default=None)
    command = f"callspool match accept c{number} {what if first is None else partner_name(first)}"
    seen = {term.name for ours in pairs for term in board.evidence(number, ours).terms}
    kinds = ("number",) if board.kind == "lead" else tuple(_MISSING)
    lacking = [_MISSING[name] for name in kinds if name not in seen]
    return f"{command}; or {', or '.join(lacking)}" if lacking else command


def _matched(
    key: str,
    groups: Mapping[str, Group],
    probability: float,
    doubt: float,
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
    return RecordingDecision("matched", until, settled, key, rounded(probability), reasons, told, doubt)


def _lead(standing: Standing, board: Board[int], now: datetime, settings: MatchSettings) -> LeadDecision:
    told = standing.told
    until = moment_of(told.registered_ms) + min(settings.lead_wait, settings.wait)
    if standing.lead is not None:
        return LeadDecision("matched", until, True, standing.lead, 1.0, (), {})
    won, probability = board.best(told.id)
    said = board.told(told.id, won=won if probability >= settings.confidence else None)
    if won is not None and probability >= settings.confidence:
        reasons = board.evidence(told.id, won).reasons
        return LeadDecision("matched", until, True, won, rounded(probability), reasons, said)
    likely = max(board.then.get(told.id, NOBODY).pairs.values(), default=0.0)
    if QUESTION <= likely < settings.confidence or (now >= until and likely >= QUESTION):
        said["would_settle"] = would_settle(board, told.id, "LEAD")
        return LeadDecision("ambiguous", until, now >= until, None, 0.0, (), said)
    if now < until and (told.lead_expected is not False or said["candidates"]):
        return LeadDecision("waiting", until, False, None, 0.0, (), said)
    if told.lead_expected:
        said["flags"] = ["lead_missing"]
    return LeadDecision("none", until, True, None, 0.0, (), said)

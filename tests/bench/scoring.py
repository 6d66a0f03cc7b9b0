"""How good answers are, measured against the truth of a simulated traffic.

Every conversation has one outcome:

=========== =====================================================================================
right       paired with its own recording
wrong       paired with another call's recording
right_alone decided to have no recording, which was lost indeed
wrong_alone decided to have no recording, though it has one
missed      said to have none below the threshold, though it has one: nothing is decided
held        nothing is decided, for whatever other reason
=========== =====================================================================================

The first four are decided. ``expected_wrong`` is what the answers themselves say will be wrong: the sum of 1 - p.
Limits are exact: Poisson's for counts, Clopper and Pearson's for shares.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tests.bench.rules import Answer

CONFIDENCE = 0.99
"""The default of ``match.confidence``."""

Outcome: TypeAlias = Literal["right", "wrong", "right_alone", "wrong_alone", "missed", "held"]

DECIDED: frozenset[Outcome] = frozenset(("right", "wrong", "right_alone", "wrong_alone"))
FALSE: frozenset[Outcome] = frozenset(("wrong", "wrong_alone"))

BINS = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 1.0)
"""Lower ends of the bins of a calibration; the last holds what was called certain."""


@dataclass(frozen=True, slots=True)
class Score:
    """How often which outcome was met, out of ``total`` conversations."""

    right: int = 0
    wrong: int = 0
    right_alone: int = 0
    wrong_alone: int = 0
    missed: int = 0
    held: int = 0
    expected_wrong: float = 0.0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.right + other.right,
            self.wrong + other.wrong,
            self.right_alone + other.right_alone,
            self.wrong_alone + other.wrong_alone,
            self.missed + other.missed,
            self.held + other.held,
            self.expected_wrong + other.expected_wrong,
        )

    @property
    def total(self) -> int:
        """All conversations."""
        return self.decided + self.missed + self.held

    @property
    def decided(self) -> int:
        """Conversations that were paired, or found to have no recording."""
        return self.right + self.wrong + self.right_alone + self.wrong_alone

    @property
    def false(self) -> int:
        """Decisions that are not true."""
        return self.wrong + self.wrong_alone

    @property
    def false_at_most(self) -> float:
        """The rate of false decisions over this many conversations is below this, by 95 % (Poisson, one-sided)."""
        return poisson_limit(self.false)

    @property
    def foretold_at_most(self) -> int:
        """False decisions that 95 % of all runs stay within, if the probabilities are true."""
        count = 0
        while poisson_up_to(count, self.expected_wrong) < 0.95:
            count += 1
        return count

    def share(self, count: float) -> float:
        """A count as percent of all conversations."""
        return 100.0 * count / self.total if self.total else 0.0


def outcome(answer: Answer | None, recording: int | None, confidence: float = CONFIDENCE) -> Outcome:
    """What an answer is worth where ``recording`` is the truth; no answer decides nothing."""
    if answer is None or answer.state == "held":
        return "held"
    if answer.state == "matched":
        return "right" if recording is not None and answer.recording == recording else "wrong"
    if answer.probability >= confidence:
        return "right_alone" if recording is None else "wrong_alone"
    return "held" if recording is None else "missed"


def score(answers: Mapping[int, Answer], truth: Mapping[int, int | None], confidence: float = CONFIDENCE) -> Score:
    """The score over every conversation of the truth; raises ValueError where one recording was given away twice."""
    given = Counter(answer.recording for answer in answers.values() if answer.state == "matched")
    if any(times > 1 for times in given.values()):
        raise ValueError("a recording was given to two conversations")
    outcomes = {number: outcome(answers.get(number), own, confidence) for number, own in truth.items()}
    met = Counter(outcomes.values())
    return Score(
        right=met["right"],
        wrong=met["wrong"],
        right_alone=met["right_alone"],
        wrong_alone=met["wrong_alone"],
        missed=met["missed"],
        held=met["held"],
        expected_wrong=sum(1.0 - answers[number].probability for number, what in outcomes.items() if what in DECIDED),
    )


@dataclass(frozen=True, slots=True)
class Bin:
    """Decisions of a probability from ``low`` to below ``high``: how many, how many of them false.

    ``claimed`` is the share that is false by their own account, ``limits`` where the true share lies by 95 %.
    """

    low: float
    high: float
    count: int
    false: int
    claimed: float

    @property
    def limits(self) -> tuple[float, float]:
        """The 95 % limits of the share that is false."""
        return share_limits(self.false, self.count)

    @property
    def honest(self) -> bool:
        """Whether no more are false than was claimed, as far as the limits tell."""
        return self.limits[0] <= self.claimed


def decisions(
    answers: Mapping[int, Answer], truth: Mapping[int, int | None], confidence: float = CONFIDENCE
) -> list[tuple[float, bool]]:
    """Probability and whether it is false, for every decision."""
    met = ((answers.get(number), own) for number, own in truth.items())
    known = ((answer, outcome(answer, own, confidence)) for answer, own in met if answer is not None)
    return [(answer.probability, what in FALSE) for answer, what in known if what in DECIDED]


def calibration(decided: Iterable[tuple[float, bool]]) -> list[Bin]:
    """What became of decisions, by the probability they were given; empty bins are left out."""
    every = list(decided)
    bins = []
    for low, high in zip(BINS, (*BINS[1:], math.inf), strict=True):
        inside = [(p, false) for p, false in every if low <= p < high]
        if inside:
            claimed = sum(1.0 - p for p, _ in inside) / len(inside)
            bins.append(Bin(low, min(high, 1.0), len(inside), sum(false for _, false in inside), claimed))
    return bins


def poisson_up_to(count: int, mean: float) -> float:
    """The probability of at most ``count`` events where ``mean`` are to be expected."""
    if mean <= 0.0:
        return 1.0
    return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))


def poisson_limit(count: int, beyond: float = 0.05) -> float:
    """The mean under which ``count`` events or fewer have the probability ``beyond``."""
    return _root(lambda mean: poisson_up_to(count, mean) - beyond, 0.0, count + 10.0 * math.sqrt(count + 1.0) + 10.0)


def share_limits(count: int, total: int, beyond: float = 0.05) -> tuple[float, float]:
    """Clopper and Pearson's limits of the share that ``count`` out of ``total`` stand for, two-sided."""
    low = 0.0 if count == 0 else _root(lambda p: beyond / 2 - 1.0 + _binomial_up_to(count - 1, total, p), 0.0, 1.0)
    high = 1.0 if count == total else _root(lambda p: _binomial_up_to(count, total, p) - beyond / 2, 0.0, 1.0)
    return low, high


def _binomial_up_to(count: int, total: int, p: float) -> float:
    """The probability of at most ``count`` successes in ``total`` trials."""
    if p in (0.0, 1.0):
        return 1.0 if p == 0.0 or count >= total else 0.0
    ways = math.lgamma(total + 1)
    return math.fsum(
        math.exp(
            ways - math.lgamma(k + 1) - math.lgamma(total - k + 1) + k * math.log(p) + (total - k) * math.log1p(-p)
        )
        for k in range(count + 1)
    )


def _root(of: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that falls from ``low`` to ``high`` is 0."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if of(middle) > 0 else (low, middle)
    return (low + high) / 2


def worst(scores: Sequence[Score]) -> Score:
    """The run with most false decisions."""
    return max(scores, key=lambda one: (one.false, -one.decided))

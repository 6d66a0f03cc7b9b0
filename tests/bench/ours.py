"""callspool's own matcher over simulated traffic, in the order and at the moments in which the daemon would decide.

A conversation is looked at when it is there, and once more when its wait is over. What it taught by then is known to
whoever comes after it; nobody learns from the future.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from handlers.match.assign import in_time, recording_weights
from handlers.match.evidence import Experience
from handlers.match.learning import FEW, TAUGHT_IN, experienced, likely, taught
from handlers.match.neighbours import walk
from handlers.match.posterior import Belief, beliefs
from handlers.match.values import Group, Told
from handlers.model import Conversation, Recording
from handlers.records.lessons import KEPT, Lesson
from tests.bench.rules import Answer
from tests.bench.scoring import CONFIDENCE
from tests.support.plain import WINDOW_MS, Plain

WAIT_MS = 900_000
"""``match.wait``: after it a conversation is decided for good."""


@dataclass
class _Matching:
    """One run over a traffic."""

    groups: Sequence[Group]
    tolds: Mapping[int, Told]
    listen: bool
    confidence: float
    lessons: dict[str, deque[Lesson]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=KEPT)))
    answers: dict[int, Answer] = field(default_factory=dict)
    new: int = 0

    def run(self) -> dict[int, Answer]:
        """Decide everybody, each at its moment."""
        self.plain = Plain(self.groups, self.tolds.values(), Experience(), listen=self.listen)
        waiting: deque[int] = deque()
        for number in in_time(self.tolds.values()):
            now_ms = self.tolds[number].about_ms or 0
            while waiting and (self.tolds[waiting[0]].about_ms or 0) + WAIT_MS <= now_ms:
                self.decide(waiting.popleft())
            if not self.decide(number):
                waiting.append(number)
        for number in waiting:
            self.decide(number)
        return self.answers

    def decide(self, number: int) -> bool:
        """Look at one conversation; whether it was decided."""
        if self.new >= TAUGHT_IN:
            self.new = 0
            self.plain.learn(experienced(WINDOW_MS, {recorder: tuple(said) for recorder, said in self.lessons.items()}))
        walked = walk(("call", number), self.plain)
        near = {other: self.tolds[other] for _, other in walked.pairs} | {number: self.tolds[number]}
        weights = recording_weights(
            walked.pairs, near, self.plain.groups, self.plain.experience, wait_ms=0, now_ms=None
        )
        belief = beliefs(weights, in_time(near.values()), outside=walked.outside, faint=walked.faint, wanted=[number])[
            number
        ]
        return self._answered(number, belief, weights)

    def _learn(self, number: int, weights: Mapping[tuple[str, int], float]) -> None:
        """As the product does while next to nothing is known."""
        pairs = {pair: self.plain.weigh(*pair) for pair in weights}
        lesson = likely(number, weights, pairs)
        if lesson is not None and len(self.lessons[lesson.lesson.recorder]) < FEW:
            self.lessons[lesson.lesson.recorder].append(lesson.lesson)
            self.new += 1

    def _answered(self, number: int, belief: Belief[str], weights: Mapping[tuple[str, int], float]) -> bool:
        best = max(belief.pairs, key=belief.pairs.__getitem__, default=None)
        probability = 0.0 if best is None else belief.pairs[best]
        if best is not None and probability >= self.confidence:
            self.answers[number] = Answer("matched", int(best[1:]), 1 - belief.doubt[best])
            lesson = taught(number, self.plain.weigh(best, number), belief.doubt[best])
            if lesson is not None:
                self.lessons[lesson.lesson.recorder].append(lesson.lesson)
                self.new += 1
            self.plain.settle(best, number)
            return True
        if belief.alone >= self.confidence:
            self.answers[number] = Answer("alone", None, belief.alone)
            return False
        self._learn(number, weights)
        self.answers[number] = Answer("held", None, max(probability, belief.alone))
        return False


def ours(
    recordings: Sequence[Recording],
    conversations: Sequence[Conversation],
    *,
    turns: bool,
    confidence: float = CONFIDENCE,
) -> Mapping[int, Answer]:
    """What the product answers; without ``turns`` it looks at no speech and at no line's time."""
    groups = [Group.of([recording]) for recording in recordings]
    tolds = {conversation.id: Told.of(conversation) for conversation in conversations}
    return _Matching(groups, tolds, turns, confidence).run()

"""How a voice bot and a caller talk: who is heard when, as seconds since the session began.

Lines alternate, the agent first. A line is some phrases with short pauses between them, so that a detector of speech
hears more stretches than there are lines. Lengths and pauses are lognormal, as they are in telephone conversations.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

Stretch = tuple[float, float]
"""From, to: seconds."""

AGENT, CALLER = "assistant", "user"
"""The roles, in the words of the transcripts."""


@dataclass(frozen=True, slots=True)
class Law:
    """A lognormal law: half of what is drawn lies below ``median`` (s), none below ``least`` or above ``most`` (s)."""

    median: float
    sigma: float
    least: float = 0.0
    most: float = math.inf

    def draw(self, rng: random.Random) -> float:
        """One value."""
        return min(self.most, max(self.least, rng.lognormvariate(math.log(self.median), self.sigma)))


@dataclass(frozen=True, slots=True)
class Manner:
    """How the two talk. A bot takes its time to answer and says more than the caller."""

    agent_line: Law = Law(3.5, 0.6, 0.6, 20.0)
    caller_line: Law = Law(1.8, 0.8, 0.3, 20.0)
    before_caller: Law = Law(0.7, 0.7, 0.1, 10.0)
    before_agent: Law = Law(1.2, 0.4, 0.4, 6.0)
    phrase: Law = Law(1.8, 0.5, 0.4)
    within_line: Law = Law(0.25, 0.5, 0.08, 1.0)


@dataclass(frozen=True, slots=True)
class Line:
    """What one of them says at a stretch."""

    role: str
    phrases: tuple[Stretch, ...]

    @property
    def begins(self) -> float:
        """Its first sound."""
        return self.phrases[0][0]

    @property
    def ends(self) -> float:
        """Its last sound."""
        return self.phrases[-1][1]


def phrases(length: float, manner: Manner, rng: random.Random) -> tuple[Stretch, ...]:
    """A line of this length as phrases, from 0 on."""
    found: list[Stretch] = []
    at = 0.0
    while at < length:
        end = min(length, at + manner.phrase.draw(rng))
        if length - end < manner.phrase.least:
            end = length
        found.append((at, end))
        at = end + manner.within_line.draw(rng)
    return tuple(found)


def script(manner: Manner, lines: int, rng: random.Random) -> list[tuple[Stretch, ...]]:
    """The lines of an agent that says the same in every call."""
    return [phrases(manner.agent_line.draw(rng), manner, rng) for _ in range(lines)]


def talk(
    greeting: float, until: float, manner: Manner, said: Sequence[tuple[Stretch, ...]], rng: random.Random
) -> tuple[Line, ...]:
    """A conversation that begins with the agent's ``greeting`` and ends at ``until``, at the latest.

    ``said`` is the agent's script, over and over; where there is none its lines are as long as they happen to be.
    """
    lines: list[Line] = []
    at = greeting
    while at < until:
        agent = len(lines) % 2 == 0
        if agent and said:
            spoken = said[len(lines) // 2 % len(said)]
        else:
            spoken = phrases((manner.agent_line if agent else manner.caller_line).draw(rng), manner, rng)
        heard = tuple((at + a, min(at + b, until)) for a, b in spoken if at + a < until)
        lines.append(Line(AGENT if agent else CALLER, heard))
        at = lines[-1].ends + (manner.before_caller if agent else manner.before_agent).draw(rng)
    return tuple(lines)

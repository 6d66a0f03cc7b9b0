"""Where somebody is heard in a recording, held against the moments at which a conversation's lines are stamped.

An agent's line is stamped about when its speech begins, a caller's up to 1.2 s after it ends. How well all lines fit
is looked at for every way the two clocks may stand to one another (``skew``: an eighth of a second at a time), weighed
by how probable that skew is. Each line counts as the share by which it is more probable at its distance from the
nearest speech than anywhere: of a stranger's call about one line in six falls on somebody's speech by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add
from typing import Literal

from handlers.match.offsets import BIN_MS, Shape, Table, even, normal

Role = Literal["agent", "caller"]

AGENT_ROLES = frozenset({"assistant", "agent", "bot", "ai", "model", "system"})
CALLER_ROLES = frozenset({"user", "caller", "customer", "client", "human"})

STRAY = 0.12
"""Share of lines whose speech is not found: run together with the line before, or too soft."""

TURN_MS, BREATH = 1000, 0.1
"""A silence after which the other's turn is as probable as it gets, and how probable a line is after none beside that:
whoever speaks takes breath, or a detector loses a soft word. Of simulated bots' lines (median silence before the agent
1.2 s, within a line 0.25 s) two in three begin after a second of silence, one in forty after less than half."""

UNHEARD = 0.0005
"""Share of recordings in which what is found is not what was said: music, noise, the wrong channel."""

LONGEST_SKEW_MS = 6_000
"""Clocks further apart than this are not told by lines, but by the times of whole calls."""

MOST_LINES = 24
"""Lines looked at: twenty settle any question, and a long call would only cost time."""

FEWEST_SPANS = 3
"""Stretches of speech below which nothing is to be told: one tone from end to end, a greeting and silence."""

_ONSET: tuple[tuple[float, Shape], ...] = ((0.82, normal(0.0, 0.18)), (0.18, normal(0.1, 0.7)))
_ENDING: tuple[tuple[float, Shape], ...] = (
    (0.55, even(-0.1, 1.3)),
    (0.30, normal(0.6, 0.45)),
    (0.15, normal(0.5, 1.0)),
)

Speech = Sequence[tuple[int, int]]
"""Stretches as (first, last) in milliseconds from the start of the recording."""

Line = tuple[Role, int]
"""Who spoke, and when it was stamped, in milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What is heard of either party, as the logarithm of each line's share at each distance from the start in bins.

    ``heard_bins``: up to where anybody listened.
    """

    agent: tuple[float, ...]
    caller: tuple[float, ...]
    heard_bins: int

    @classmethod
    def of(cls, agent: Speech, caller: Speech, heard_ms: int) -> Heard | None:
        """What two parties' speech tells; None where there is too little of it."""
        if len(agent) + len(caller) < FEWEST_SPANS or heard_ms <= 0:
            return None
        bins = heard_ms // BIN_MS + 1
        onsets, endings = _shares(_onsets(agent), _ONSET_KERNEL, bins), _shares(_endings(caller), _ENDING_KERNEL, bins)
        return cls(onsets, endings, bins)


Place = tuple[int, float]
"""Milliseconds from the start of the recording, and how probable a line is there beside one after a turn's silence."""


def _onsets(speech: Speech) -> list[Place]:
    """Where somebody begins to be heard: an agent's line may begin there."""
    befores: list[int | None] = [None, *(last for _, last in speech)]
    return [(first, _after(first, before)) for (first, _), before in zip(speech, befores, strict=False)]


def _endings(speech: Speech) -> list[Place]:
    """Where somebody ceases to be heard: a caller's line may end there."""
    afters: list[int | None] = [*(first for first, _ in speech[1:]), None]
    return [(last, _after(after, last)) for (_, last), after in zip(speech, afters, strict=False)]


def _after(begins: int | None, ends: int | None) -> float:
    """How probable it is that another line begins after a silence, rather than the same one going on."""
    if begins is None or ends is None:
        return 1.0
    silence = min(1.0, max(0, begins - ends) / TURN_MS)
    return BREATH + (1 - BREATH) * silence**2


def _kernel(shapes: Sequence[tuple[float, Shape]]) -> tuple[int, tuple[float, ...]]:
    """A density in bins around zero, per second, and how many bins lie before zero."""
    half = 3_000 // BIN_MS
    middles = [(place + 0.5) * BIN_MS / 1000 for place in range(-half, half)]
    return half, tuple(sum(share * shape(x) for share, shape in shapes) for x in middles)


_ONSET_KERNEL = _kernel(_ONSET)
_ENDING_KERNEL = _kernel(_ENDING)


def _shares(places: Sequence[Place], kernel: tuple[int, tuple[float, ...]], bins: int) -> tuple[float, ...]:
    """How much more probable a line is in each bin than anywhere, as a logarithm: one on average over all bins."""
    if not places:
        return (0.0,) * bins
    half, shape = kernel
    heights = [0.0] * bins
    for ms, weight in places:
        first = ms // BIN_MS - half
        for place in range(max(0, first), min(bins, first + 2 * half)):
            heights[place] += weight * shape[place - first]
    even_height = sum(heights) / bins or 1.0
    return tuple(math.log(STRAY + (1 - STRAY) * height / even_height) for height in heights)


@dataclass(frozen=True, slots=True)
class Fit:
    """How lines fit what is heard: the share by which the pair is more probable for it, as a logarithm; the skew at
    which they fit best, in milliseconds; of how many lines; ``sharp`` whether the skew can be told from others."""

    log_share: float
    skew_ms: int
    lines: int
    sharp: bool


def fit(heard: Heard, lines: Sequence[Line], start_ms: int, skews: Table) -> Fit | None:
    """Lines against a recording that began at ``start_ms`` by its own clock; None where there are no lines."""
    places = [(role, (at_ms - start_ms) // BIN_MS) for role, at_ms in lines[:MOST_LINES]]
    if not places:
        return None
    first, last = _skew_bins(skews)
    whole = [0.0] * (last - first)
    for role, place in places:
        row = _row(heard, role, place - last + 1, place - first + 1)
        row.reverse()
        whole = list(map(add, whole, row))
    densities = skews.density[first - skews.first_ms // BIN_MS : last - skews.first_ms // BIN_MS]
    known = sum(densities) or 1.0
    top = max(whole)
    mass = [density * math.exp(share - top) for density, share in zip(densities, whole, strict=True)]
    together = sum(mass)
    if together <= 0:
        return Fit(math.log(UNHEARD), 0, len(places), sharp=False)
    log_share = math.log(UNHEARD + (1 - UNHEARD) * math.exp(min(600.0, top + math.log(together / known))))
    best = max(range(len(mass)), key=mass.__getitem__)
    near = sum(mass[max(0, best - 3) : best + 4])
    return Fit(log_share, (first + best) * BIN_MS + BIN_MS // 2, len(places), sharp=near >= 0.9 * together)


def _row(heard: Heard, role: Role, first: int, last: int) -> list[float]:
    """The shares of one role from bin ``first`` up to ``last``. What was said before the recording begins or after it
    ends says nothing here: start and end are held against the conversation's by themselves."""
    table = heard.agent if role == "agent" else heard.caller
    before = [0.0] * (min(0, last) - min(0, first))
    after = [0.0] * (max(heard.heard_bins, last) - max(heard.heard_bins, first))
    return [*before, *table[max(0, first) : max(0, min(last, heard.heard_bins))], *after]


def _skew_bins(skews: Table) -> tuple[int, int]:
    """The bins of skew that are looked at: the middle of the table."""
    bound = LONGEST_SKEW_MS // BIN_MS
    return max(-bound, skews.first_ms // BIN_MS), min(bound, skews.last_ms // BIN_MS)


def role_of(text: str) -> Role | None:
    """Whose line it is; None for what is neither party's."""
    word = text.lower()
    if word in AGENT_ROLES:
        return "agent"
    return "caller" if word in CALLER_ROLES else None

"""How probable each pair is, given everybody else who could be anybody's partner. Pure arithmetic, nothing of calls.

The model. A *matching* pairs some left nodes with some right nodes, nobody twice. Its weight is the product of its
pairs' weights: how much more probable the two files are as one call's than as two strangers whose partners are missing.
The probability of a pair is the weight of all matchings that hold it over that of all matchings: not a property of
the pair alone, since whoever fits better takes a rival away.

``exact`` adds up all matchings by dynamic programming. Right nodes are taken in order; the state is which left nodes
are taken already and could still be wanted (the frontier). A forward and a backward sweep give every pair's probability
in one go. It costs as many states as the frontier allows, so it refuses (``TooWide``) where there are too many.

``bounded`` answers there, for one right node, from a ball of nodes around it. For matchings on a bipartite graph the
probability that a left node is free rises with every left node added to the graph and falls with every right node
added (Godsil, Algebraic Combinatorics, 1993, chapter 6: Z(G-u)Z(G-v) - Z(G)Z(G-u-v) is a sum over paths from u to v,
all of one sign). So the ball alone with the left nodes just outside it bounds the truth from above, and with the right
nodes just outside from below, whatever lies beyond. Sampling would give an error bar that holds most of the time;
this one always holds, and it is the same however often and in whatever order it is asked.

A pair of weight w is part of the truth with a probability of at most w: leaving out pairs below some weight changes
other probabilities by no more than their sum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

L = TypeVar("L", bound=Hashable)
R = TypeVar("R", bound=Hashable)

NOTHING = 1e-12
"""States of a frontier that come to less than this beside the heaviest, whatever comes after, are dropped."""

MOST_STATES = 300
"""States of a frontier before ``exact`` gives up: about half a millisecond for each right node in it."""

BALLS = (12, 5)
"""Right nodes of the balls that ``bounded`` tries, largest first."""

ROUNDING = 1e-13
"""What adding up shares may have lost of one by rounding: bounds are widened by it, and by the states dropped."""

TIGHT = 1e-3
"""Bounds that leave less than this unsaid are as good as exact."""

Weights = Mapping[tuple[L, R], float]


class TooWide(Exception):
    """The frontier has more states than can be added up."""


class Belief(NamedTuple, Generic[L]):
    """What is known of one right node's partner.

    ``pairs`` is the probability of each candidate, ``doubt`` what is left of one for each, added up rather than
    subtracted so that 1e-12 stays 1e-12. ``alone`` is the probability of none, ``sure_alone`` and the complements of
    ``doubt`` are lower bounds; where ``exact`` they are the probabilities themselves.
    """

    pairs: Mapping[L, float]
    doubt: Mapping[L, float]
    alone: float
    alone_doubt: float
    exact: bool = True


def beliefs(
    weights: Weights[L, R],
    order: Sequence[R],
    *,
    outside: Collection[Hashable] = (),
    faint: Collection[Hashable] = (),
    wanted: Collection[R] | None = None,
    most_states: int = MOST_STATES,
) -> dict[R, Belief[L]]:
    """The beliefs of the right nodes that are ``wanted`` (None: all) and known.

    ``order`` holds the right nodes as they lie in time: the narrower what neighbours share, the cheaper. ``outside``
    nodes are those whose own candidates are not all among the pairs: what they do is not known. ``faint`` ones are not
    known either, but all their pairs weigh next to nothing beside others of their partners.
    """
    unknown: Collection[Hashable] = {*outside, *faint}
    graph = Graph(weights, order)
    found: dict[R, Belief[L]] = {}
    for part, beside in graph.parts(order if wanted is None else wanted, unknown):
        try:
            if not beside.isdisjoint(outside):
                raise TooWide
            told = exact(graph, part, most_states, unknown if beside else ())
        except TooWide:
            asked = [node for node in part if wanted is None or node in wanted]
            found.update({node: bounded(graph, node, unknown, most_states) for node in asked})
        else:
            found.update(_clouded(graph, told, unknown) if beside else told)
    return found


def _clouded(graph: Graph[L, R], told: Mapping[R, Belief[L]], unknown: Collection[Hashable]) -> dict[R, Belief[L]]:
    """Beliefs that were told without faint nodes, with the most that those can take from them, to first order.

    A pair of weight w is part of the truth with a probability of at most w times that of its known node being free.
    """
    taken: dict[L, float] = {}
    for belief in told.values():
        for left, share in belief.pairs.items():
            taken[left] = taken.get(left, 0.0) + share
    loose: dict[L, float] = {}
    for left, share in taken.items():
        wanted = 0.0
        for right in graph.of_left[left]:
            if right in unknown:
                wanted += graph.of_right[right][left]
        loose[left] = max(0.0, 1.0 - share) * wanted
    found = {}
    for node, belief in told.items():
        wants = clouds = 0.0
        for left, weight in graph.of_right[node].items():
            if left in unknown:
                wants += weight
            else:
                clouds += loose[left]
        away = belief.alone * wants
        clouds = min(1.0, away + clouds)
        found[node] = Belief(
            {left: share * (1.0 - clouds) for left, share in belief.pairs.items()},
            {left: min(1.0, doubt + clouds) for left, doubt in belief.doubt.items()},
            belief.alone * (1.0 - min(1.0, away)),
            min(1.0, belief.alone_doubt + away),
            exact=clouds <= TIGHT,
        )
    return found


class Graph(Generic[L, R]):
    """Pairs by either node. Right nodes without a pair are known too."""

    def __init__(self, weights: Weights[L, R], order: Sequence[R]) -> None:
        self.place = {node: place for place, node in enumerate(order)}
        self.of_right: dict[R, dict[L, float]] = {node: {} for node in order}
        self.of_left: dict[L, list[R]] = defaultdict(list)
        for (left, right), weight in weights.items():
            if weight > 0:
                self.of_right[right][left] = weight
                self.of_left[left].append(right)

    def parts(self, starts: Iterable[R], unknown: Collection[Hashable]) -> Iterable[tuple[list[R], set[Hashable]]]:
        """The known right nodes that have to do with ``starts`` by way of known ones, each part in order, with the
        unknown nodes of either side beside it; those who have nobody by themselves."""
        seen: set[R] = set()
        for start in starts:
            if start in seen or start in unknown or start not in self.of_right:
                continue
            if self._alone(start, unknown):
                yield [start], set()
            else:
                part, beside = self._part(start, unknown)
                seen.update(part)
                yield part, beside

    def _alone(self, start: R, unknown: Collection[Hashable]) -> bool:
        """Whether nobody else wants whom it wants, and all of them are known: most of sparse traffic."""
        return all(len(self.of_left[left]) == 1 and left not in unknown for left in self.of_right[start])

    def _part(self, start: R, unknown: Collection[Hashable]) -> tuple[list[R], set[Hashable]]:
        rights = {start: None}
        lefts: set[L] = set()
        beside: set[Hashable] = set()
        queue = [start]
        for node in queue:  # grows while it is walked
            for left in self.of_right[node]:
                if left in lefts:
                    continue
                lefts.add(left)
                hidden = left in unknown
                if hidden:
                    beside.add(left)
                for right in self.of_left[left]:
                    if right in unknown:
                        beside.add(right)
                    elif not hidden and right not in rights:
                        rights[right] = None
                        queue.append(right)
        return sorted(queue, key=self.place.__getitem__), beside


def exact(
    graph: Graph[L, R], part: Sequence[R], most_states: int = MOST_STATES, unknown: Collection[Hashable] = ()
) -> dict[R, Belief[L]]:
    """The beliefs of one part, all matchings added up, ``unknown`` left nodes left out. Raises TooWide."""
    rows: list[Mapping[L, float]] = [graph.of_right[right] for right in part]
    if unknown:
        rows = [{left: weight for left, weight in row.items() if left not in unknown} for row in rows]
    if len(part) == 1:
        return {part[0]: lone(rows[0])}
    return _swept(rows, part, most_states).beliefs


def lone(candidates: Mapping[L, float]) -> Belief[L]:
    """The belief of a node whose candidates nobody else wants."""
    total = 1.0 + sum(candidates.values())
    if len(candidates) == 1:
        ((left, weight),) = candidates.items()
        return Belief({left: weight / total}, {left: 1.0 / total}, 1.0 / total, weight / total)
    return Belief(
        pairs={left: weight / total for left, weight in candidates.items()},
        doubt={
            left: (1.0 + sum(other for rival, other in candidates.items() if rival != left)) / total
            for left in candidates
        },
        alone=1.0 / total,
        alone_doubt=(total - 1.0) / total,
    )


class _Swept(NamedTuple, Generic[L, R]):
    """What two sweeps told, and the most that any share may have lost of one with the states that were dropped."""

    beliefs: dict[R, Belief[L]]
    lost: float


def _swept(rows: Sequence[Mapping[L, float]], names: Sequence[R], most_states: int) -> _Swept[L, R]:
    """The beliefs of right nodes ``names`` whose candidates are ``rows``."""
    last: dict[L, int] = {left: place for place, row in enumerate(rows) for left in row}
    bits = _bits(rows, last)
    kept = []  # after each place: the bits of who may still be wanted
    still = 0
    for place, row in enumerate(rows):
        for left in row:
            still |= bits[left]
        for left in row:
            if last[left] == place:
                still &= ~bits[left]
        kept.append(still)
    steps = [[(bits[left], weight) for left, weight in row.items()] for row in rows]
    before = _forward(steps, kept, most_states)
    after: dict[int, float] = {0: 1.0}
    found: dict[R, Belief[L]] = {}
    for place in range(len(rows) - 1, -1, -1):
        shares, after = _backward(steps[place], kept[place], before[place], after)
        found[names[place]] = _belief(rows[place], shares)
    reached = sum(len(states) * (len(step) + 1) for states, step in zip(before, steps, strict=True))
    return _Swept(found, reached * NOTHING)


def _bits(rows: Sequence[Mapping[L, float]], last: Mapping[L, int]) -> dict[L, int]:
    """A bit for each left node, used again once nobody can want its holder any more: states stay small numbers."""
    bits: dict[L, int] = {}
    free: list[int] = []
    used = 0
    for place, row in enumerate(rows):
        for left in row:
            if left not in bits:
                if free:
                    bits[left] = free.pop()
                else:
                    bits[left] = 1 << used
                    used += 1
        free += [bits[left] for left in row if last[left] == place]
    return bits


def _forward(
    steps: Sequence[Sequence[tuple[int, float]]], kept: Sequence[int], most_states: int
) -> list[dict[int, float]]:
    """The weight of each state before each place, scaled so that the largest is one."""
    states: dict[int, float] = {0: 1.0}
    before = []
    for step, keep, gains in zip(steps, kept, _gains(steps), strict=True):
        before.append(states)
        reached: dict[int, float] = {}
        for taken, weight in states.items():
            state = taken & keep
            reached[state] = reached.get(state, 0.0) + weight
            for bit, pair in step:
                if not taken & bit:
                    state = (taken | bit) & keep
                    reached[state] = reached.get(state, 0.0) + weight * pair
        states = _telling_states(reached, gains)
        if len(states) > most_states:
            raise TooWide
    return before


def _gains(steps: Sequence[Sequence[tuple[int, float]]]) -> list[dict[int, float]]:
    """After each place, by how much a left node that is free can at most multiply what comes: by one and the weights
    of all who may still want it."""
    gains: list[dict[int, float]] = []
    later: dict[int, float] = {}
    for step in reversed(steps):
        gains.append(dict(later))
        for bit, weight in step:
            later[bit] = later.get(bit, 1.0) + weight
    gains.reverse()
    return gains


def _telling_states(reached: Mapping[int, float], gains: Mapping[int, float]) -> dict[int, float]:
    """The states without those that can come to nothing beside the heaviest, whatever comes: those that stay so even
    if everybody whom they leave free and it does not were wanted by all who may still want them."""
    heaviest = max(reached, key=reached.__getitem__)
    top = reached[heaviest]
    return {
        state: weight / top
        for state, weight in reached.items()
        if weight > NOTHING * top or weight / top * _gain(heaviest & ~state, gains) > NOTHING
    }


def _gain(free: int, gains: Mapping[int, float]) -> float:
    """What left nodes that are free may gain at most."""
    gain = 1.0
    while free:
        bit = free & -free
        gain *= gains.get(bit, 1.0)
        free ^= bit
    return gain


def _backward(
    step: Sequence[tuple[int, float]], keep: int, before: Mapping[int, float], after: Mapping[int, float]
) -> tuple[list[float], dict[int, float]]:
    """The weight of each choice at one place (none first), and the weights from there on for each state before it."""
    shares = [0.0] * (len(step) + 1)
    onwards: dict[int, float] = {}
    for taken, weight in before.items():
        total = after.get(taken & keep, 0.0)
        shares[0] += weight * total
        for nth, (bit, pair) in enumerate(step, start=1):
            if not taken & bit:
                ahead = pair * after.get((taken | bit) & keep, 0.0)
                shares[nth] += weight * ahead
                total += ahead
        onwards[taken] = total
    top = max(onwards.values())
    return shares, {state: total / top for state, total in onwards.items()}


def _belief(row: Mapping[L, float], shares: Sequence[float]) -> Belief[L]:
    total = sum(shares)
    doubt = {left: (sum(shares[:nth]) + sum(shares[nth + 1 :])) / total for nth, left in enumerate(row, start=1)}
    return Belief(
        pairs={left: share / total for left, share in zip(row, shares[1:], strict=True)},
        doubt=doubt,
        alone=shares[0] / total,
        alone_doubt=sum(shares[1:]) / total,
    )


def bounded(
    graph: Graph[L, R], node: R, outside: Collection[Hashable] = (), most_states: int = MOST_STATES
) -> Belief[L]:
    """The belief of one right node with bounds that hold whatever lies beyond a ball around it.

    ``pairs`` and ``alone`` are lower bounds, ``doubt`` and ``alone_doubt`` their complements.
    """
    candidates = graph.of_right[node]
    low, high = dict.fromkeys(candidates, 0.0), dict.fromkeys(candidates, 1.0)
    for size in BALLS:
        ball = _ball(graph, node, outside, size)
        try:
            low, high = (
                _free(graph, ball, node, most_states, above=False),
                _free(graph, ball, node, most_states, above=True),
            )
        except TooWide:
            continue
        break
    most = {left: weight * high[left] for left, weight in candidates.items()}
    least = {left: weight * low[left] for left, weight in candidates.items()}
    rest = 1.0 + sum(most.values())
    pairs, doubt = {}, {}
    for left in candidates:
        against = 1.0 + sum(other for rival, other in most.items() if rival != left)
        pairs[left] = least[left] / (against + least[left])
        doubt[left] = against / (against + least[left])
    alone = 1.0 / rest
    unsaid = 1.0 - alone - sum(pairs.values())
    return Belief(pairs, doubt, alone, (rest - 1.0) / rest, exact=unsaid <= TIGHT)


@dataclass(frozen=True, slots=True)
class _Ball(Generic[L, R]):
    """The nodes around one right node, itself left out; all candidates of those in ``rights`` are known, and all who
    want those in ``lefts``."""

    rights: frozenset[R]
    lefts: frozenset[L]


def _ball(graph: Graph[L, R], node: R, outside: Collection[Hashable], size: int) -> _Ball[L, R]:
    """The ``size`` nearest right nodes that are not outside, with the left nodes between them."""
    lefts: dict[L, None] = {left: None for left in graph.of_right[node] if left not in outside}
    rights: dict[R, None] = {}
    queue = list(lefts)
    for left in queue:  # grows while it is walked
        for right in graph.of_left[left]:
            if right == node or right in rights or right in outside:
                continue
            if len(rights) == size:
                return _Ball(frozenset(rights), frozenset(lefts))
            rights[right] = None
            for other in graph.of_right[right]:
                if other not in lefts and other not in outside:
                    lefts[other] = None
                    queue.append(other)
    return _Ball(frozenset(rights), frozenset(lefts))


def _free(graph: Graph[L, R], ball: _Ball[L, R], node: R, most_states: int, *, above: bool) -> dict[L, float]:
    """How probably each candidate of ``node`` is free, were ``node`` not there: from above, or from below.

    From above the ball's right nodes may also take left nodes outside it, and nobody from outside wants its left ones;
    from below it is the other way round.
    """
    rights = set(ball.rights)
    if not above:
        rights |= {right for left in ball.lefts for right in graph.of_left[left] if right != node}
    names = sorted(rights, key=graph.place.__getitem__)
    rows: list[Mapping[L, float]] = [
        {left: weight for left, weight in graph.of_right[right].items() if above or left in ball.lefts}
        for right in names
    ]
    taken = dict.fromkeys(graph.of_right[node], 0.0)
    slack = ROUNDING
    if rows:
        swept = _swept(rows, names, most_states)
        slack += swept.lost
        for belief in swept.beliefs.values():
            for left, share in belief.pairs.items():
                if left in taken:
                    taken[left] += share
    free = {left: min(1.0, max(0.0, 1.0 - share + (slack if above else -slack))) for left, share in taken.items()}
    if not above:
        # A candidate that lies outside itself may be wanted by anybody.
        free.update({left: 0.0 for left in free if left not in ball.lefts})
    return free

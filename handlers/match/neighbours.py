"""Collects the neighbourhood of whatever woke the matcher, so that what is decided in it is exact.

Files are nodes and possible pairs are edges: those that would be probable enough if nobody else were there. A walk from
the woken file follows edges until nobody new is found, which on most traffic is after a handful of files. It does not
follow an edge that is next to nothing beside the best of the node it leaves (``FAINT``): whoever is behind is told
apart as *faint*, since it can change little. In a crowd without good evidence the walk may still not end; it then stops
after ``MOST_CALLS`` conversations, the nearest first. Whoever was not reached is told apart as *outside*: nothing is
known of what they do, and every probability is bounded whatever that is. Then only the woken file is decided by what
was found; its neighbours have jobs of their own.

Whom a node could be a partner of is asked of a ``Source``: the ledger's (``ledger_source``), or one over plain values.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, cast

from handlers.match.assign import FAINT
from handlers.match.evidence import IMPOSSIBLE, LEAST_LOG_WEIGHT, Evidence

MOST_CALLS = 20
"""Conversations a walk expands."""

LOG_FAINT = math.log(FAINT)

JUDGED = 4
"""Where a walk from a partner did not end, so many conversations are decided: those that want it most."""

P = TypeVar("P", bound=Hashable)
Node = tuple[Literal["call", "partner"], Hashable]


@dataclass(slots=True)
class Walked(Generic[P]):
    """What a walk found: every pair looked at with its evidence, the conversations it suffices to decide, and the
    nodes that were seen and not expanded: ``outside`` for want of an end, ``faint`` for want of weight."""

    pairs: dict[tuple[P, int], Evidence] = field(default_factory=dict)
    judged: frozenset[int] = frozenset()
    outside: frozenset[P | int] = frozenset()
    faint: frozenset[P | int] = frozenset()


class Source(ABC, Generic[P]):
    """Finds and weighs the pairs of one kind. Nodes beyond question have no partners."""

    @abstractmethod
    def partners(self, number: int) -> Sequence[P]:
        """Open partners that could be an open conversation's."""

    @abstractmethod
    def calls(self, ours: P) -> Sequence[int]:
        """Open conversations that could be an open partner's."""

    @abstractmethod
    def weigh(self, ours: P, number: int) -> Evidence:
        """The evidence of one pair."""

    @abstractmethod
    def log_odds(self, number: int) -> float:
        """The logarithm of the odds a conversation's pairs start with once nobody waits any more."""


def walk(start: Node, source: Source[P], most_calls: int = MOST_CALLS, *, faint_too: bool = False) -> Walked[P]:
    """Everybody who has to do with ``start``, nearest first. ``faint_too``: edges of little weight are followed too."""
    found: Walked[P] = Walked()
    met: set[Node] = {start}
    queue = deque([start])
    expanded: set[Node] = set()
    faint: set[Node] = set()
    calls = 0
    while queue and calls < most_calls:
        node = queue.popleft()
        calls += node[0] == "call"
        expanded.add(node)
        edges, least = _edges(node, source, found)
        for other, log_weight in edges:
            if log_weight < least and not faint_too:
                faint.add(other)
            elif other not in met:
                met.add(other)
                queue.append(other)
    found.outside = _keys(met - expanded) if queue else frozenset()
    found.faint = _keys(faint - met)
    found.judged = _keys(node for node in expanded if node[0] == "call")
    if queue:
        found.judged &= _nearest(start, found)
    return found


def _keys(nodes: Iterable[Node]) -> frozenset[Any]:
    return frozenset(key for _, key in nodes)


def _nearest(start: Node, found: Walked[P]) -> frozenset[int]:
    """The woken conversation, or those that want the woken partner most."""
    if start[0] == "call":
        return frozenset((cast("int", start[1]),))
    shares = {number: evidence.log_share for (ours, number), evidence in found.pairs.items() if ours == start[1]}
    return frozenset(sorted(shares, key=lambda number: (-shares[number], number))[:JUDGED])


def _edges(node: Node, source: Source[P], found: Walked[P]) -> tuple[list[tuple[Node, float]], float]:
    """Where a node's edges lead with their weights, and the least of those that are to be followed; every pair that is
    looked at is kept. Weights are logarithms."""
    kind, key = node
    theirs: Sequence[Any] = source.partners(cast("int", key)) if kind == "call" else source.calls(cast("P", key))
    known, weigh, log_odds = found.pairs, source.weigh, source.log_odds
    edges: list[tuple[Node, float]] = []
    most = IMPOSSIBLE
    for other in theirs:
        pair: Any = (other, key) if kind == "call" else (key, other)
        evidence = known.get(pair)
        if evidence is None:
            evidence = known[pair] = weigh(*pair)
        log_share = evidence.log_share
        if log_share == IMPOSSIBLE:
            continue
        log_weight = log_share + log_odds(pair[1])
        if log_weight > LEAST_LOG_WEIGHT:
            edges.append((("partner" if kind == "call" else "call", other), log_weight))
            if log_weight > most:
                most = log_weight
    return edges, most + LOG_FAINT

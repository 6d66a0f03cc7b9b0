"""The arithmetic of matchings against adding them all up by hand."""

from __future__ import annotations

from itertools import product
from math import isclose

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handlers.match.posterior import NOTHING, Belief, Graph, TooWide, beliefs, bounded, exact

EXACT = 100 * NOTHING
"""States that weigh next to nothing are dropped, so this is as exact as sums are."""

Weights = dict[tuple[str, int], float]


def by_hand(weights: Weights, rights: int) -> dict[tuple[str | None, int], float]:
    """Every pair's probability (None: alone) by going through all matchings."""
    lefts = sorted({left for left, _ in weights})
    shares: dict[tuple[str | None, int], float] = {}
    whole = 0.0
    for choice in product([None, *lefts], repeat=rights):
        taken = [left for left in choice if left is not None]
        if len(taken) != len(set(taken)):
            continue
        weight = 1.0
        for right, left in enumerate(choice):
            weight *= 1.0 if left is None else weights.get((left, right), 0.0)
        whole += weight
        for right, left in enumerate(choice):
            shares[left, right] = shares.get((left, right), 0.0) + weight
    return {pair: share / whole for pair, share in shares.items()}


graphs = st.dictionaries(
    st.tuples(st.sampled_from("abcde"), st.integers(0, 3)),
    st.floats(1e-6, 1e9),
    max_size=14,
)


@given(graphs)
def test_exact_answers_are_those_of_adding_up_all_matchings(weights: Weights) -> None:
    told = by_hand(weights, 4)
    found = beliefs(weights, range(4))
    for right in range(4):
        assert isclose(found[right].alone, told[None, right], abs_tol=EXACT)
        for left, share in found[right].pairs.items():
            assert isclose(share, told[left, right], abs_tol=EXACT)
            assert isclose(share + found[right].doubt[left], 1.0, rel_tol=1e-9)
            assert isclose(found[right].alone + found[right].alone_doubt, 1.0, rel_tol=1e-9)


@given(graphs, st.integers(1, 4), st.sets(st.sampled_from("abcde"), max_size=2))
@example(
    # States dropped as next to nothing are half of what leaves b free for 0.
    {("a", 1): 0.001, ("a", 2): 1.0, ("b", 0): 177.0, ("b", 1): 999999999.0, ("c", 2): 1.0},
    1,
    set(),
)
@settings(max_examples=300)
def test_bounds_hold_whatever_lies_outside_the_ball(weights: Weights, states: int, unknown: set[str]) -> None:
    told = by_hand(weights, 4)
    graph = Graph(weights, range(4))
    for right in range(4):
        found = bounded(graph, right, unknown, most_states=states)
        assert found.alone <= told[None, right] + EXACT
        for left, share in found.pairs.items():
            assert share <= told[left, right] + EXACT


def test_a_ball_that_holds_everything_gives_the_exact_answer() -> None:
    weights = {("a", 0): 3.0, ("a", 1): 5.0, ("b", 1): 2.0, ("b", 2): 9.0, ("c", 2): 1.0}
    graph = Graph(weights, range(3))
    told = exact(graph, [0, 1, 2])
    found = bounded(graph, 1)
    assert found.pairs["a"] == pytest.approx(told[1].pairs["a"])
    assert found.alone == pytest.approx(told[1].alone)


def test_a_crowd_too_wide_for_exact_answers_is_refused_and_bounded() -> None:
    """Twenty who all fit all: more states than may be added up, and no pair is believed."""
    weights = {(f"l{left}", right): 50.0 for left in range(20) for right in range(20)}
    graph = Graph(weights, range(20))
    with pytest.raises(TooWide):
        exact(graph, list(range(20)), 500)
    found: Belief[str] = beliefs(weights, range(20), most_states=500)[7]
    assert not found.exact
    assert max(found.pairs.values()) < 0.5


def test_small_doubts_are_not_lost_to_rounding() -> None:
    found = beliefs({("a", 0): 1e30, ("a", 1): 1.0}, [0, 1])
    assert found[0].doubt["a"] == pytest.approx(2e-30)

"""States and their moves: equal to what the ledger's tables allow, and no move beyond the tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import states
from daemon.catalogue import RootState
from daemon.errors import IllegalMove
from daemon.states import DestinationState, EffectState, FileState, JobState

SCHEMA = files("daemon.ledger.migrations").joinpath("0001_initial.sql").read_text("utf-8")

FAMILIES: list[tuple[type[StrEnum], Mapping[Any, Mapping[str, Any]], Callable[[Any, str], Any]]] = [
    (FileState, states.FILE_MOVES, states.move_file),
    (JobState, states.JOB_MOVES, states.move_job),
    (EffectState, states.EFFECT_MOVES, states.move_effect),
]


def checked(table: str) -> set[str]:
    """The states that a table's CHECK allows."""
    body = re.search(rf"CREATE TABLE {table} \((.*?)\n\) STRICT", SCHEMA, re.DOTALL)
    assert body is not None
    check = re.search(r"CHECK \(state IN \(([^)]*)\)\)", body[1])
    assert check is not None
    return set(re.findall(r"'(\w+)'", check[1]))


@pytest.mark.parametrize(
    ("tables", "enum"),
    [
        (("job",), JobState),
        (("effect",), EffectState),
        (("destination",), DestinationState),
        (("file", "former_file"), FileState),
        (("root",), RootState),
    ],
)
def test_enums_and_checks_are_equal(tables: tuple[str, ...], enum: type[StrEnum]) -> None:
    allowed = [checked(table) for table in tables]
    assert set().union(*allowed) == {str(state) for state in enum}
    assert sum(map(len, allowed)) == len(enum), "no state stands in two tables"


@pytest.mark.parametrize(("enum", "moves", "move"), FAMILIES)
def test_every_state_has_its_row(
    enum: type[StrEnum], moves: Mapping[Any, Mapping[str, Any]], move: Callable[[Any, str], Any]
) -> None:
    assert set(moves) == set(enum)
    assert {target for row in moves.values() for target in row.values()} <= set(enum)


@pytest.mark.parametrize(("enum", "moves", "move"), FAMILIES)
@given(data=st.data())
def test_a_sequence_of_events_follows_the_table_or_raises_and_changes_nothing(
    enum: type[StrEnum],
    moves: Mapping[Any, Mapping[str, Any]],
    move: Callable[[Any, str], Any],
    data: st.DataObject,
) -> None:
    known = sorted({event for row in moves.values() for event in row})
    state = data.draw(st.sampled_from(list(enum)))
    for event in data.draw(st.lists(st.sampled_from([*known, "no such event"]), max_size=12)):
        if event in moves[state]:
            state = move(state, event)
            assert isinstance(state, enum)
        else:
            with pytest.raises(IllegalMove) as caught:
                move(state, event)
            assert (caught.value.state, caught.value.event) == (state, event)


def test_what_is_done_is_done() -> None:
    assert states.EFFECT_MOVES[EffectState.DONE] == {}
    assert states.FILE_MOVES[FileState.REPLACED] == {}


def test_a_doubt_never_becomes_pending_unless_the_destination_was_asked() -> None:
    to_pending = [e for e, target in states.EFFECT_MOVES[EffectState.IN_DOUBT].items() if target is EffectState.PENDING]
    assert to_pending == ["absent"]


def test_every_job_and_effect_can_come_to_an_end() -> None:
    for moves, ends in (
        (states.JOB_MOVES, {JobState.DONE}),
        (states.EFFECT_MOVES, {EffectState.DONE}),
    ):
        for start in moves:
            reached, todo = set(), [start]
            while todo:
                state = todo.pop()
                if state not in reached:
                    reached.add(state)
                    todo.extend(moves[state].values())  # type: ignore[index]
            assert reached & ends, start

"""The contract's values: an effect's key is its identity and its content, and nothing else."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from daemon.contract import Effect, Receipt

TEXT = st.text(max_size=20)
PAYLOAD = st.dictionaries(TEXT, st.recursive(st.none() | st.booleans() | st.integers() | TEXT, st.lists, max_leaves=5))


@given(identity=TEXT, payload=PAYLOAD)
def test_equal_content_has_an_equal_key_in_whatever_order_it_is_told(identity: str, payload: dict[str, object]) -> None:
    backwards = dict(reversed(list(payload.items())))
    one = Effect.of("put", identity, "here", payload)  # type: ignore[arg-type]
    other = Effect.of("put", identity, "there", backwards)  # type: ignore[arg-type]
    assert one.key == other.key
    assert one.key.startswith(f"put:{identity}:")


@given(payload=PAYLOAD, other=PAYLOAD)
def test_other_content_has_another_key(payload: dict[str, object], other: dict[str, object]) -> None:
    def key(content: dict[str, object]) -> str:
        return Effect.of("put", "a", "here", content).key  # type: ignore[arg-type]

    same = json.dumps(payload, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (key(payload) == key(other)) is same


def test_other_identity_or_type_has_another_key() -> None:
    assert len({Effect.of(t, i, "here", {}).key for t in ("put", "call") for i in ("a", "b")}) == 4


def test_what_was_given_and_how_often_it_was_sent_do_not_change_the_key() -> None:
    effect = Effect.of("put", "a", "here", {"n": 1})
    again = Effect(
        effect.type, effect.identity, effect.dest, effect.payload, effect.key, given={"b": Receipt({})}, sends=3
    )
    assert again.key == effect.key

"""callspool's own matcher in the form the bench asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from handlers.model import Conversation, Recording
from tests.bench.rules import Answer


def ours(
    recordings: Sequence[Recording], conversations: Sequence[Conversation], *, turns: bool
) -> Mapping[int, Answer]:
    """What the product answers; without ``turns`` it looks at no speech and at no line's time."""
    raise SystemExit("the probabilistic matcher is not there yet: measure the rules with --matchers naive,nearest")

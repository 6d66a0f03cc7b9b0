"""The rules that others pair by, as matchers: what is to be beaten.

A matcher gets recordings and conversations and answers for each conversation. A rule knows no doubt: what it answers
it answers with probability 1, and it never holds anything back.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from handlers.model import Conversation, Recording

WINDOW_S = 300.0
"""Five minutes, which is what the systems before paired within."""

USUAL_S = 2.5
"""A recording begins 2 s before its session, and its name's whole second up to a second before that."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a conversation: its recording (the id), that it has none, or that nothing is decided.

    ``probability`` is how likely the matcher thinks its own answer to be true.
    """

    state: Literal["matched", "alone", "held"]
    recording: int | None = None
    probability: float = 1.0


Matcher: TypeAlias = Callable[[Sequence[Recording], Sequence[Conversation]], Mapping[int, Answer]]


def naive(recordings: Sequence[Recording], conversations: Sequence[Conversation]) -> dict[int, Answer]:
    """As they come: the first recording that began within five minutes of the transcript's stamp and is not taken.

    Recordings are looked through in the order of their names, which is that of their starts.
    """
    free = sorted((at, r.id) for r in recordings if (at := _seconds(r.start_at)) is not None)
    answers = {}
    for conversation in sorted(conversations, key=lambda c: (_seconds(c.registered_at) or 0.0, c.id)):
        at = _seconds(conversation.saved_at or conversation.start_at)
        place = len(free) if at is None else bisect_left(free, (at - WINDOW_S, 0))
        fits = at is not None and place < len(free) and free[place][0] <= at + WINDOW_S
        answers[conversation.id] = _answer(free.pop(place)[1] if fits else None)
    return answers


def nearest(recordings: Sequence[Recording], conversations: Sequence[Conversation]) -> dict[int, Answer]:
    """The closest starts first, one to one, up to five minutes apart."""
    return _closest(recordings, conversations, 0.0)


def nearest_corrected(recordings: Sequence[Recording], conversations: Sequence[Conversation]) -> dict[int, Answer]:
    """``nearest`` for somebody who has measured how long before its session a recording usually begins."""
    return _closest(recordings, conversations, USUAL_S)


RULES: Mapping[str, Matcher] = {"naive": naive, "nearest": nearest, "corrected": nearest_corrected}


def _closest(
    recordings: Iterable[Recording], conversations: Sequence[Conversation], usual_s: float
) -> dict[int, Answer]:
    """Greedy by closeness, comparing nothing but neighbours in time.

    The closest two of all are always neighbours, and once they are gone so are the closest of the rest.
    """
    row = _Row(sorted(_moments(recordings, conversations, usual_s)))
    partner: dict[int, int] = {}
    while (pair := row.closest()) is not None:
        partner[pair["conversation"]] = pair["recording"]
    return {conversation.id: _answer(partner.get(conversation.id)) for conversation in conversations}


Moment: TypeAlias = tuple[float, str, int]
"""When something began (s), whether it is a recording or a conversation, and its id."""


class _Row:
    """Moments in order, out of which the closest unlike neighbours are taken, two by two."""

    def __init__(self, moments: Sequence[Moment]) -> None:
        self._moments = moments
        self._before = list(range(-1, len(moments) - 1))
        self._after = list(range(1, len(moments) + 1))
        self._gone: set[int] = set()
        self._queue: list[tuple[float, int, int]] = []
        for place in range(len(moments) - 1):
            self._meet(place, place + 1)

    def closest(self) -> dict[str, int] | None:
        """The ids of the closest recording and conversation, by kind; None where none are left within the window."""
        while self._queue:
            _, left, right = heapq.heappop(self._queue)
            if left not in self._gone and right not in self._gone:
                self._take(left, right)
                return {self._moments[place][1]: self._moments[place][2] for place in (left, right)}
        return None

    def _take(self, left: int, right: int) -> None:
        self._gone |= {left, right}
        before, after = self._before[left], self._after[right]
        if before >= 0:
            self._after[before] = after
        if after < len(self._moments):
            self._before[after] = before
        if before >= 0 and after < len(self._moments):
            self._meet(before, after)

    def _meet(self, left: int, right: int) -> None:
        one, other = self._moments[left], self._moments[right]
        if one[1] != other[1] and other[0] - one[0] <= WINDOW_S:
            heapq.heappush(self._queue, (other[0] - one[0], left, right))


def _moments(
    recordings: Iterable[Recording], conversations: Iterable[Conversation], usual_s: float
) -> Iterator[Moment]:
    for recording in recordings:
        if recording.start_at is not None:
            yield recording.start_at.timestamp() + usual_s, "recording", recording.id
    for conversation in conversations:
        if conversation.start_at is not None:
            yield conversation.start_at.timestamp(), "conversation", conversation.id


def _answer(recording: int | None) -> Answer:
    return Answer("alone") if recording is None else Answer("matched", recording)


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()

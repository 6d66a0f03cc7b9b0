"""The traffic of a call centre whose truth is known: what happens, before anybody writes it down.

``Traffic`` holds the parameters, with defaults out of the field (formats.md, section 1: a recording from 2 s before the
session's second, a first line 2 s after it, a transcript saved 8 s after the end). ``calls`` makes calls of them, the
same for the same seed. What the producers then write of a call is in ``producers``, and what a matcher gets to see of
that in ``observed``; nothing of this module ever reaches a matcher.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.bench.talk import Law, Line, Manner, script, talk

AREAS = tuple(
    area for area in range(201, 990) if area // 10 % 10 != 9 and area % 100 != 11 and area not in (555, 700, 900)
)
"""Area codes; in each the numbers 555-0100 to 555-0199 are kept for fiction."""

SCRIPT_LINES = 40

TALK = Law(90.0, 0.8, 8.0)
HANG_UP = Law(1.5, 0.55)
"""A caller hangs up soon after the last word, give or take a second."""

SAVING = Law(6.0, 0.5, 0.3)
MANNER = Manner()


@dataclass(frozen=True)
class Traffic:
    """The parameters. Times and lengths are seconds, shares are of one; a ``Law`` is lognormal.

    Clocks: the conversations' is ``clock_shift_s`` ahead of the first recorder's, the second recorder's is
    ``second_clock_s`` ahead of the first one's.
    """

    rate: float = 2.0  # calls a minute, arriving as a Poisson process
    conversations: int = 2000  # calls made; a few of them lose a file
    begins_at: datetime = datetime(2025, 10, 29, 6, 0, tzinfo=UTC)
    talk_s: Law = TALK
    manner: Manner = MANNER
    greeting_s: float = 2.0  # from the session's start to the agent's first sound
    greeting_sd_s: float = 0.3
    scripted: bool = False  # the agent's lines are as long in every call, and the greeting comes at the same time

    recorder_start_s: float = -2.0  # from the session's start to the recording's
    recorder_start_sd_s: float = 0.7
    hangup_s: Law = HANG_UP  # from the conversation's end to the recording's
    saved_s: Law = SAVING  # from the conversation's end to the stamp in the transcript's name
    second_recorder: float = 0.0  # share of recordings by another recorder
    second_clock_s: float = 0.0
    first_name: str = "number-{number}-{epoch}.ogg"
    second_name: str = "call_{stamp}.ogg"
    clock_shift_s: float = 0.0

    lost_recordings: float = 0.03
    lost_transcripts: float = 0.02
    truncated: float = 0.02  # the recorder died at some moment of the call
    repeat_callers: float = 0.05
    number_in_metadata: float = 0.0
    number_in_name: float = 0.0

    agent_stamp_sd_s: float = 0.15  # around the line's first sound
    caller_stamp_lag_s: float = 1.2  # uniformly up to this long after the line's last sound
    unstamped_items: float = 0.0
    missing_start: float = 0.02
    missing_end: float = 0.02
    contradictory: float = 0.01  # fields and items of the transcript in another zone than its session id

    unheard: float = 0.02  # recordings in which no speech can be told
    edge_sd_s: float = 0.06  # jitter of a detected stretch's edges
    missed_speech: float = 0.02  # share of stretches not detected
    spurious_speech: float = 0.02  # false stretches, as a share of the true ones
    merged_below_s: float = 0.3  # pauses that a detector does not see

    recorder_first: float = 0.2  # share of recordings that are finished at hang-up, before the transcript is saved
    recorder_last_s: tuple[float, float] = (1.0, 120.0)  # the others: so long after it
    late: float = 0.01  # share of files that come up to ``late_s`` later than that
    late_s: float = 900.0

    leads: float = 0.25
    leads_by_stamp: float = 0.6  # share of leads named after their transcript; the others by a second near the end
    lead_taken_s: tuple[float, float] = (2.0, 15.0)  # so long before the end
    lead_session: float = 0.2
    lead_number: float = 0.3
    lead_unsaid: float = 0.2  # share of transcripts that do not say whether there is a lead

    def changed(self, words: Iterable[str]) -> Traffic:
        """With parameters changed as the command line says: ``name=value``, a law as ``median:sigma:least:most``.

        Raises ValueError for what is no parameter.
        """
        return replace(self, **dict(_parameter(self, word) for word in words))


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording, in seconds since the session began; ``recorder`` is 0 or, for the second one, 1."""

    recorder: int
    begins: float
    ends: float


@dataclass(frozen=True, slots=True)
class LeadTaken:
    """A lead: ``taken`` seconds since the session began, and whether it is named after its transcript's stamp."""

    taken: float
    by_stamp: bool


@dataclass(frozen=True, slots=True)
class SimCall:
    """One call as it was. ``started_at`` is when its session began, on a clock that is right; lengths are seconds."""

    nth: int
    started_at: datetime
    talk_s: float
    saved: float
    number: str
    lines: tuple[Line, ...]
    recorded: Recorded | None
    transcribed: bool
    lead: LeadTaken | None

    def at(self, seconds: float) -> datetime:
        """The moment ``seconds`` after the session began."""
        return self.started_at + timedelta(seconds=seconds)


def calls(traffic: Traffic, rng: random.Random) -> list[SimCall]:
    """The calls, in the order in which they began."""
    said = script(traffic.manner, SCRIPT_LINES, rng) if traffic.scripted else []
    start, numbers = traffic.begins_at, _Numbers(traffic.repeat_callers, rng)
    made = []
    for nth in range(traffic.conversations):
        start += timedelta(seconds=rng.expovariate(traffic.rate / 60.0))
        talk_s = traffic.talk_s.draw(rng)
        greeting = traffic.greeting_s if said else max(0.2, rng.gauss(traffic.greeting_s, traffic.greeting_sd_s))
        lines = talk(greeting, max(talk_s - rng.uniform(0.3, 2.0), greeting + 0.5), traffic.manner, said, rng)
        made.append(
            SimCall(
                nth=nth,
                started_at=start,
                talk_s=talk_s,
                saved=talk_s + traffic.saved_s.draw(rng),
                number=numbers.draw(),
                lines=lines,
                recorded=_recorded(traffic, talk_s, rng),
                transcribed=rng.random() >= traffic.lost_transcripts,
                lead=_lead(traffic, talk_s, rng),
            )
        )
    return made


def _recorded(traffic: Traffic, talk_s: float, rng: random.Random) -> Recorded | None:
    recorder = int(rng.random() < traffic.second_recorder)
    begins = rng.gauss(traffic.recorder_start_s, traffic.recorder_start_sd_s)
    ends = talk_s + traffic.hangup_s.draw(rng)
    if rng.random() < traffic.truncated:
        ends = rng.uniform(begins, ends)
    lost = rng.random() < traffic.lost_recordings
    return None if lost else Recorded(recorder, begins, max(ends, begins + 0.5))


def _lead(traffic: Traffic, talk_s: float, rng: random.Random) -> LeadTaken | None:
    taken = max(0.0, talk_s - rng.uniform(*traffic.lead_taken_s))
    by_stamp = rng.random() < traffic.leads_by_stamp
    return LeadTaken(taken, by_stamp) if rng.random() < traffic.leads else None


class _Numbers:
    """Callers' numbers out of the range kept for fiction, a share of them heard before."""

    def __init__(self, repeated: float, rng: random.Random) -> None:
        self._repeated = repeated
        self._rng = rng
        self._fresh = iter(rng.sample(range(len(AREAS) * 100), len(AREAS) * 100))
        self._known: list[str] = []

    def draw(self) -> str:
        """The next caller's number, in E.164."""
        if self._known and self._rng.random() < self._repeated:
            return self._rng.choice(self._known)
        area, line = divmod(next(self._fresh), 100)
        self._known.append(f"+1{AREAS[area]}555{100 + line:04d}")
        return self._known[-1]


def _parameter(traffic: Traffic, word: str) -> tuple[str, Any]:
    name, _, text = word.partition("=")
    if name not in {entry.name for entry in fields(traffic)}:
        raise ValueError(f"{name} is no parameter of the traffic")
    value = getattr(traffic, name)
    if isinstance(value, Law):
        return name, Law(*map(float, text.split(":")))
    if isinstance(value, tuple):
        return name, tuple(map(float, text.split(":")))
    if isinstance(value, bool):
        return name, text in ("yes", "true", "1")
    if isinstance(value, datetime):
        return name, datetime.fromisoformat(text)
    if isinstance(value, str | int | float):
        return name, type(value)(text)
    raise ValueError(f"{name} cannot be changed in words")

"""A conversation's lines against what is heard in a recording."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.match.offsets import Offsets, Table
from handlers.match.turns import MOST_LINES, UNHEARD, Fit, Heard, Line, fit, role_of
from tests.bench.talk import AGENT, Manner, talk

START = 1_700_000_000_000
SKEWS = Offsets().table("", "skew", "field")

Speech = list[tuple[int, int]]


def call(seed: int, seconds: float = 60.0) -> tuple[Speech, Speech, list[Line]]:
    """A talk: what is heard of the agent and of the caller, in milliseconds from the start, and its stamped lines."""
    rng = random.Random(seed)
    agent: Speech = []
    caller: Speech = []
    lines: list[Line] = []
    for line in talk(2.0, seconds, Manner(), (), rng):
        spoken = [(round(a * 1000), round(b * 1000)) for a, b in line.phrases]
        if line.role == AGENT:
            agent += spoken
            lines.append(("agent", START + spoken[0][0] + round(rng.gauss(0, 100))))
        else:
            caller += spoken
            lines.append(("caller", START + spoken[-1][1] + round(rng.uniform(0, 1200))))
    return agent, caller, lines


def heard(agent: Speech, caller: Speech, seconds: float = 62.0) -> Heard:
    """What a mixed recording lets hear: either party could be the one that speaks."""
    together = sorted(agent + caller)
    found = Heard.of(together, together, round(seconds * 1000))
    assert found is not None
    return found


def fitted(one: Heard, lines: list[Line], *, off_ms: int = 0, skews: Table = SKEWS) -> Fit:
    """How lines fit, where the recording's clock is behind the lines' by so much."""
    found = fit(one, lines, START - off_ms, skews)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(12))
def test_lines_fit_their_own_recording_and_not_a_strangers(seed: int) -> None:
    agent, caller, lines = call(seed)
    own = fitted(heard(agent, caller), lines)
    strangers = [fitted(heard(agent, caller), call(seed + other)[2]).log_share for other in range(100, 110)]
    assert own.log_share > math.log(100)
    assert max(strangers) < own.log_share - math.log(20)
    assert sorted(strangers)[5] < 0


def test_a_line_rather_begins_after_a_turns_silence_than_after_a_breath() -> None:
    breath, turn = 10_000, 20_000
    speech = [(2_000, breath - 300), (breath, turn - 1_500), (turn, 24_000)]
    both = heard(speech, [], 30.0)
    onsets = {ms: max(both.agent[(ms - 500) // 125 : (ms + 500) // 125]) for ms in (breath, turn)}
    assert onsets[turn] - onsets[breath] > math.log(3)
    endings = {ms: max(both.caller[ms // 125 : (ms + 1_200) // 125]) for ms in (breath - 300, turn - 1_500)}
    assert endings[turn - 1_500] - endings[breath - 300] > math.log(3)


@pytest.mark.parametrize("off_ms", [-2000, -1000, 0, 500, 1500, 3000])
def test_a_clock_that_is_off_is_found_as_skew(off_ms: int) -> None:
    agent, caller, lines = call(5)
    found = fitted(heard(agent, caller), lines, off_ms=off_ms)
    assert found.skew_ms == pytest.approx(off_ms, abs=300)
    assert found.sharp
    assert found.lines == len(lines[:MOST_LINES])


def test_a_clock_further_off_than_calls_are_apart_is_not_looked_for() -> None:
    agent, caller, lines = call(5)
    assert fitted(heard(agent, caller), lines, off_ms=30_000).log_share < 0


def test_a_skew_that_is_not_usual_costs_something() -> None:
    agent, caller, lines = call(5)
    usual, odd = (fitted(heard(agent, caller), lines, off_ms=off).log_share for off in (500, 4500))
    assert odd < usual - math.log(5)
    assert odd > 0


def one_voice(role: str, delay_ms: int) -> float:
    """What lines of one party are worth that are stamped so long after its speech begins (agent) or ends (caller)."""
    rng = random.Random(9)
    spans: Speech = []
    at = 2000
    for _ in range(10):
        spans.append((at, at + rng.randint(800, 3000)))
        at = spans[-1][1] + rng.randint(3000, 8000)
    one = Heard.of(spans, spans, at + 3000)
    assert one is not None
    steady = Table(-500, (1.0,) * 8, 0.0, 0.1)  # clocks that agree to half a second
    lines: list[Line] = []
    for first, last in spans:
        lines.append(("agent", START + first + delay_ms) if role == "agent" else ("caller", START + last + delay_ms))
    return fitted(one, lines, skews=steady).log_share


def test_a_callers_line_is_stamped_up_to_a_second_and_a_fifth_after_its_end() -> None:
    assert min(one_voice("caller", delay) for delay in (0, 400, 800, 1200)) > math.log(1000)
    assert one_voice("caller", 2500) < one_voice("caller", 1200) - math.log(1000)
    assert one_voice("caller", -2500) < one_voice("caller", 0) - math.log(1000)


def test_an_agents_line_is_stamped_when_its_speech_begins() -> None:
    assert one_voice("agent", 0) > math.log(1000)
    assert one_voice("agent", 2500) < one_voice("agent", 0) - math.log(1000)


def test_of_a_side_only_its_own_partys_lines_say_something() -> None:
    agent, _, lines = call(7)
    side = Heard.of(agent, [], 62_000)
    assert side is not None
    theirs: list[Line] = [line for line in lines if line[0] == "caller"]
    ours: list[Line] = [line for line in lines if line[0] == "agent"]
    assert fitted(side, theirs).log_share == pytest.approx(0.0, abs=1e-9)
    assert fitted(side, lines).log_share == pytest.approx(fitted(side, ours).log_share)
    assert fitted(side, ours).log_share > math.log(10)


def test_where_there_is_too_little_speech_or_no_line_nothing_is_said() -> None:
    assert Heard.of([(0, 60_000)], [], 60_000) is None
    assert Heard.of([], [], 60_000) is None
    assert Heard.of([(0, 1), (2, 3), (4, 5)], [], 0) is None
    agent, caller, _ = call(3)
    assert fit(heard(agent, caller), [], START, SKEWS) is None


def test_lines_from_before_the_recording_began_or_after_anybody_listened_say_nothing() -> None:
    agent, caller, _ = call(3)
    outside: list[Line] = [("agent", START - 60_000), ("caller", START + 120_000)]
    found = fitted(heard(agent, caller), outside)
    assert found.log_share == pytest.approx(0.0, abs=1e-9)
    assert not found.sharp


def test_a_recording_of_noise_never_rules_out_its_conversation() -> None:
    """However badly lines fit, what is heard may be music: no pair is worth less than that for it."""
    agent, caller, _ = call(3)
    long = [("agent", START + ms) for ms in range(1000, 61_000, 370)]
    lines: list[Line] = [(role if role == "agent" else "caller", ms) for role, ms in long]  # type: ignore[misc]
    assert fitted(heard(agent, caller), lines).log_share >= math.log(UNHEARD) - 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(-(10**12), 10**12))
def test_moving_both_clocks_together_changes_nothing(seed: int, by_ms: int) -> None:
    agent, caller, lines = call(seed, 30.0)
    moved: list[Line] = [(role, ms + by_ms) for role, ms in lines]
    assert fit(heard(agent, caller), moved, START + by_ms, SKEWS) == fit(heard(agent, caller), lines, START, SKEWS)


def test_roles_are_known_by_the_words_in_use_and_others_are_nobodys() -> None:
    assert [role_of(word) for word in ("Assistant", "bot", "USER", "customer")] == [
        "agent",
        "agent",
        "caller",
        "caller",
    ]
    assert role_of("tool") is None

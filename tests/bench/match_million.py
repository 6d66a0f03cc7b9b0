"""How long does deciding a million calls of one year take, by their times alone?

A million calls arrive over a year as a Poisson process: of each a recording and a conversation, but for the few that
are lost. Nothing is known of them but when they began and ended, and of a recording's start only the whole second.
Every neighbourhood is found and every conversation decided by the product's own arithmetic, a week at a time: a week is
looked at with two hours to either side, which is further than any walk goes. What the first ones teach is learned as
the product learns it. Only finding and deciding are timed; making the calls is not.

    python -m tests.bench.match_million [--files 1000000] [--days 365] [--seed 1] [--json]

Wanted: 60 s of one core and 1 GB at most.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from daemon.collector import look_seldom
from handlers.match.assign import in_time, recording_weights
from handlers.match.evidence import Experience
from handlers.match.learning import TAUGHT_IN, experienced, taught
from handlers.match.neighbours import walk
from handlers.match.posterior import Belief, beliefs
from handlers.match.values import Group, Reading, Told
from handlers.records.lessons import KEPT, Lesson
from tests.bench.figures import Report
from tests.bench.rules import Answer
from tests.bench.scoring import CONFIDENCE, DECIDED, Outcome, outcome
from tests.bench.traffic import HANG_UP, TALK
from tests.support.plain import WINDOW_MS, Plain

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
MARGIN_MS = 2 * 3_600_000
BEGINS_MS = 1_760_000_000_000

LOST = 0.03
"""Share of calls without a recording, and of others without a conversation."""

TRUNCATED = 0.02
"""Share of recordings whose recorder died at some moment of the call."""

RECORDER = "number-#-#.ogg"

MOST_S, MOST_MB = 60.0, 1000.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call in milliseconds: its session, and its recording from ``begun`` to ``over``. Either may be lost."""

    nth: int
    start: int
    end: int
    begun: int
    over: int
    recorded: bool
    told: bool


def year(count: int, days: float, seed: int) -> Iterator[Call]:
    """The calls of a year, or of so many days, in order."""
    rng = random.Random(seed)
    start = float(BEGINS_MS)
    for nth in range(count):
        start += rng.expovariate(count / (days * DAY_MS))
        end = start + 1000 * TALK.draw(rng)
        begun = start + 1000 * rng.gauss(-2.0, 0.7)
        over = end + 1000 * HANG_UP.draw(rng)
        if rng.random() < TRUNCATED:
            over = rng.uniform(begun + 500, over)
        recorded, told = rng.random() >= LOST, rng.random() >= LOST
        second = int(begun) // 1000 * 1000
        yield Call(nth, int(start), int(end), second, second + round(over - begun), recorded, told)


def weeks(calls: Iterator[Call]) -> Iterator[tuple[list[Call], int, int]]:
    """Each week from one moment to another, with the calls of the hours around it."""
    near: deque[Call] = deque()
    first, ended = BEGINS_MS, False
    while not ended:
        last = first + WEEK_MS
        while not near or near[-1].start < last + MARGIN_MS:
            call = next(calls, None)
            if call is None:
                ended = True
                break
            near.append(call)
        while near and near[0].start < first - MARGIN_MS:
            near.popleft()
        yield list(near), first, last if not ended else 2 * last
        first = last


def group_of(call: Call) -> Group:
    """What is known of a call's recording."""
    return Group(f"r{call.nth}", (), call.begun, call.over - call.begun, recorder=RECORDER)


def told_of(call: Call) -> Told:
    """What is known of a call's conversation."""
    return Told(call.nth, (Reading(call.start, "field", call.end, "field"),))


@dataclass
class Year:
    """What became of every conversation, and the processor's seconds for finding and deciding."""

    experience: Experience = field(default_factory=Experience)
    met: Counter[Outcome] = field(default_factory=Counter)
    expected_wrong: float = 0.0
    files: int = 0
    cpu_s: float = 0.0
    _lessons: deque[Lesson] = field(default_factory=lambda: deque(maxlen=KEPT))

    def week(self, near: Sequence[Call], first: int, last: int) -> None:
        """Decide the conversations of one week."""
        groups = [group_of(call) for call in near if call.recorded]
        tolds = [told_of(call) for call in near if call.told]
        asked = [call.nth for call in near if call.told and first <= call.start < last]
        self.files += len(asked) + sum(call.recorded and first <= call.start < last for call in near)
        began = time.process_time()
        plain = Plain(groups, tolds, self.experience, listen=False)
        beliefs = {number: belief for part in self._parts(plain, asked) for number, belief in part.items()}
        answers = {number: answer_of(beliefs[number]) for number in asked}
        self.cpu_s += time.process_time() - began
        own = {call.nth: call.nth if call.recorded else None for call in near}
        for number, answer in answers.items():
            what = outcome(answer, own[number])
            self.met[what] += 1
            self.expected_wrong += 1.0 - answer.probability if what in DECIDED else 0.0

    def _parts(self, plain: Plain, numbers: Sequence[int]) -> Iterator[dict[int, Belief[str]]]:
        """The beliefs of all these conversations, those of each neighbourhood at once."""
        seen: set[int] = set()
        for number in numbers:
            if number not in seen:
                found = believed(plain, number, seen)
                seen.update(found)
                yield found
                if len(self._lessons) < KEPT:
                    self._learn(plain, found)

    def _learn(self, plain: Plain, found: Mapping[int, Belief[str]]) -> None:
        """What leaves no doubt teaches, until as much is known as is ever kept."""
        before = len(self._lessons)
        for number, belief in found.items():
            for key, doubt in belief.doubt.items():
                lesson = taught(number, plain.weigh(key, number), doubt)
                self._lessons += () if lesson is None else (lesson.lesson,)
        if len(self._lessons) // TAUGHT_IN > before // TAUGHT_IN:
            self.experience = experienced(WINDOW_MS, {RECORDER: tuple(self._lessons)})
            plain.learn(self.experience)


def believed(plain: Plain, number: int, seen: Collection[int]) -> dict[int, Belief[str]]:
    """The beliefs of a conversation and of those in its neighbourhood that can be decided with it."""
    walked = walk(("call", number), plain)
    weights = recording_weights(walked.pairs, plain.tolds, plain.groups, plain.experience, wait_ms=0, now_ms=None)
    asked = [other for other in walked.judged if other not in seen]
    order = in_time(plain.tolds[other] for other in {*asked, *(other for _, other in weights)})
    return beliefs(weights, order, outside=walked.outside, faint=walked.faint, wanted=asked)


def answer_of(belief: Belief[str]) -> Answer:
    """What is decided by a belief."""
    for key, probability in belief.pairs.items():
        if probability >= CONFIDENCE:
            return Answer("matched", int(key[1:]), 1 - belief.doubt[key])
    if belief.alone >= CONFIDENCE:
        return Answer("alone", None, belief.alone)
    return Answer("held", None, 0.0)


def arguments() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000, help="recordings, and as many conversations")
    parser.add_argument("--days", type=float, default=365.0, help="the stretch of time they are spread over")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = arguments()
    look_seldom()  # as the daemon has it
    calls = round(given.files / (1 - LOST))
    whole = Year()
    for near, first, last in weeks(year(calls, given.days, given.seed)):
        whole.week(near, first, last)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    told = whole.met.total()
    report = Report(f"{whole.files:,} files of {calls:,} calls in {given.days:g} days", ("conversations", "count", "%"))
    for what in ("right", "right_alone", "wrong", "wrong_alone", "missed", "held"):
        report.row(what, whole.met[what], 100 * whole.met[what] / told)
    report.row("wrong, foretold", round(whole.expected_wrong), 100 * whole.expected_wrong / told)
    report.result("processor_s", whole.cpu_s, f"at most {MOST_S:g}")
    report.result("peak_mb", peak_mb, f"at most {MOST_MB:g}")
    report.show(as_json=given.json)


if __name__ == "__main__":
    main()

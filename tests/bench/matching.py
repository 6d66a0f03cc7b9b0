"""How many calls get their own recording, how many another's, and how many a person must decide, by the traffic?

Simulated calls (see ``traffic``) without any number or id in common, at several rates, each over several seeds. Beside
callspool's matcher, with and without looking at who spoke when, stand the rules that others pair by: the first
recording within five minutes, and the nearest start. A rule decides everything; so look at what it gets wrong.

    python -m tests.bench.matching [--rates 0.1,2,10,60,300] [--conversations 2000] [--seeds 1,2,3]
        [--matchers naive,nearest,corrected,times,turns] [--speechless] [--calibration]
        [--with PARAMETER=VALUE …] [--json]

Wanted: no more false decisions than the probabilities themselves foretell, at any rate.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from tests.bench.figures import Report
from tests.bench.observed import Observed, Truth, simulate
from tests.bench.ours import ours
from tests.bench.rules import RULES, Matcher
from tests.bench.scoring import CONFIDENCE, Score, calibration, decisions, score, worst
from tests.bench.traffic import Traffic

OURS = {"times": partial(ours, turns=False), "turns": partial(ours, turns=True)}
MATCHERS: Mapping[str, Matcher] = {**RULES, **OURS}

COLUMNS = ("a minute", "matcher", "right %", "wrong %", "alone %", "held %", "decided %", "false", "worst", "foretold")
"""``wrong``: every decision that is not true, also that there were no recording. ``alone``: rightly decided to have
none. ``false``: the wrong ones of all seeds, ``worst``: those of the worst seed, ``foretold``: what 95 % of all runs
stay within, if the probabilities are true."""


@dataclass
class Measured:
    """What one matcher did at one rate: a score a seed, and every decision."""

    scores: list[Score] = field(default_factory=list)
    decided: list[tuple[float, bool]] = field(default_factory=list)

    @property
    def total(self) -> Score:
        """All seeds together."""
        return sum(self.scores, Score())


def speechless(traffic: Traffic) -> Traffic:
    """The traffic where neither speech nor lines can be told in time."""
    return replace(traffic, unheard=1.0, unstamped_items=1.0)


def judge(matcher: Matcher, observed: Observed, truth: Truth, confidence: float, into: Measured) -> None:
    """Let a matcher answer, and keep what its answers are worth."""
    answers = matcher(observed.recordings, observed.conversations)
    into.scores.append(score(answers, truth.recording, confidence))
    into.decided += decisions(answers, truth.recording, confidence)


def measure(
    traffic: Traffic, names: Sequence[str], seeds: Sequence[int], confidence: float = CONFIDENCE
) -> dict[str, Measured]:
    """Every matcher over the same calls."""
    measured = {name: Measured() for name in names}
    for seed in seeds:
        observed, truth = simulate(traffic, seed)
        for name in names:
            matcher = partial(OURS[name], confidence=confidence) if name in OURS else MATCHERS[name]
            judge(matcher, observed, truth, confidence, measured[name])
    return measured


def row(report: Report, rate: float, name: str, measured: Measured) -> None:
    """A line of the table."""
    total = measured.total
    shares = (total.right, total.false, total.right_alone, total.held + total.missed, total.decided)
    counts = (total.false, worst(measured.scores).false, total.foretold_at_most)
    report.row(f"{rate:g}", name, *(total.share(count) for count in shares), *counts)


def calibrated(title: str, measured: Sequence[tuple[str, Measured]]) -> Report:
    """What became of decisions by their probability, over all rates."""
    report = Report(title, ("p from", "matcher", "to", "decisions", "false", "claimed", "low", "high", "honest"))
    for name in dict.fromkeys(name for name, _ in measured):
        for inside in calibration([entry for other, one in measured if other == name for entry in one.decided]):
            shares = (f"{share:.2g}" for share in (inside.claimed, *inside.limits))
            bounds = f"{inside.low:g}", name, f"{inside.high:g}"
            report.row(*bounds, inside.count, inside.false, *shares, "yes" if inside.honest else "NO")
    return report


def arguments() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="0.1,2,10,60,300", help="calls a minute")
    parser.add_argument("--conversations", type=int, default=2000)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--matchers", default=",".join(MATCHERS))
    parser.add_argument("--confidence", type=float, default=CONFIDENCE)
    parser.add_argument("--speechless", action="store_true", help="no speech in recordings, no times of lines")
    parser.add_argument("--calibration", action="store_true", help="also show what probabilities were worth")
    parser.add_argument("--with", dest="changes", nargs="+", default=[], metavar="PARAMETER=VALUE")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = arguments()
    names = [name for name in given.matchers.split(",") if name]
    seeds = [int(seed) for seed in given.seeds.split(",")]
    traffic = Traffic(conversations=given.conversations).changed(given.changes)
    traffic = speechless(traffic) if given.speechless else traffic
    report = Report(f"{traffic.conversations} conversations, seeds {given.seeds}", COLUMNS)
    every: list[tuple[str, Measured]] = []
    for rate in map(float, given.rates.split(",")):
        measured = measure(replace(traffic, rate=rate), names, seeds, given.confidence)
        for name, one in measured.items():
            row(report, rate, name, one)
        every += measured.items()
    report.show(as_json=given.json)
    if given.calibration:
        calibrated("What probabilities were worth", every).show(as_json=given.json)


if __name__ == "__main__":
    main()

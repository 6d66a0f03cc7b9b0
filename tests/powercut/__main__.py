"""Cut the power at random points: ``python -m tests.powercut --points 100 --seed 1`` (as root, on Linux).

The daemon takes, delivers, stores and compresses on a disk that remembers every write. Then the disk is shown as a cut
at that point would have left it, once with the writes in order and once as the disk's own cache may lose them, and held
against everything that was promised by then: no commit that was told is lost, no file is replaced by less than its
whole verified copy. At some points the daemon is started again and must end the work, with nothing under two ids.
Prints the figures, and exits with 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from handlers.demo.crm import LoopbackCrm
from tests.powercut.disk import LoggedDisk, why_not
from tests.powercut.judge import SAID, broken, goes_on
from tests.powercut.story import live, site_on


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.powercut", description=__doc__)
    parser.add_argument("--points", type=int, default=100, help="cuts, in order and again reordered")
    parser.add_argument("--calls", type=int, default=4, help="calls, and as many recordings to compress")
    parser.add_argument("--restarts", type=int, default=5, help="of the points: at how many the daemon goes on")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 2
    figures = cut(given.calls, given.points, given.restarts, given.seed)
    print(json.dumps(figures, indent=2))
    return 1 if figures["broken"] else 0


def cut(calls: int, points: int, restarts: int, seed: int) -> dict[str, Any]:
    """The whole story and its cuts; returns the figures, ``broken`` being what must be empty."""
    chance = random.Random(seed)
    found: list[str] = []
    tried = {"in order": 0, "reordered": 0, "gone on": 0}
    with tempfile.TemporaryDirectory(prefix="callspool-powercut-") as scratch, LoopbackCrm() as crm:
        disk = LoggedDisk(Path(scratch))
        try:
            site = site_on(disk, crm)
            told = live(disk, site, Path(scratch) / "made", calls)
        finally:
            disk.end()
        events, _dropped = told.by(len(told.promises))
        found += [f"{event} was never told: the story tries nothing" for event in SAID if not events[event]]
        for order in ("in order", "reordered"):
            again = set(chance.sample(range(points), min(points, restarts)))
            for nth, (point, promised) in enumerate(disk.cuts(points, chance, reordered=order == "reordered")):
                tried[order] += 1
                wrong = broken(site, told, promised)
                if nth in again and not wrong:
                    tried["gone on"] += 1
                    wrong = goes_on(site, told, promised, crm)
                found += [f"{order}, write {point}, {promised} promises: {one}" for one in wrong]
        writes = sum(1 for _ in disk.writes())
    return {"seed": seed, "writes": writes, "promises": len(told.promises), "cuts": tried, "broken": found}


if __name__ == "__main__":
    sys.exit(main())

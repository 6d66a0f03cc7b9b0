"""Destroy for a while, then see what is left: ``python -m tests.destruction --minutes 60 --seed 1``.

As root on Linux the ledger's disk is made full too (in a mount namespace of its own), and with libfaketime installed
the wall clock jumps. ``--seed`` fixes the calls and the order of the faults; when each falls is the machine's affair.
Prints a line a fault and the figures at the end; exits with 1 where anything was lost, doubled, or said that should
not be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handlers.demo.crm import LoopbackCrm
from tests.destruction.bucket import PROGRAM, Bucket
from tests.destruction.faults import available
from tests.destruction.verdict import PATIENCE_S, Verdict, judge, judge_storage, open_calls, open_copies
from tests.destruction.world import SETTINGS, World, in_own_mounts
from tests.support.process import Site

QUIET_S = 900.0
"""How long the daemon is given to make good what is open at the end."""

CALM, MOST_CALM_S, WARM_S, SAMPLE_S = 0.1, 300.0, 60.0, 2.0
"""At the end calls go on for this share of the time with nothing done to the daemon, to see that it does not grow; what
it takes in its first minute is not counted."""

DISK = "256m"


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.destruction", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two calls, on average")
    parser.add_argument("--pause", type=float, default=4.0, help="seconds between two faults, on average")
    parser.add_argument("--keep", action="store_true", help="leave the folder behind")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    _into_own_mounts()
    verdict, figures = destroy(given.minutes * 60, given.seed, given.every, given.pause, keep=given.keep)
    report = {"holds": verdict.holds, "seed": given.seed, **figures, **vars(verdict)}
    print(json.dumps(report) if given.json else _text(report))
    return 0 if verdict.holds else 1


def destroy(
    seconds: float, seed: int, every_s: float, pause_s: float, *, keep: bool = False
) -> tuple[Verdict, dict[str, Any]]:
    """Run the whole story; returns what holds, and the figures."""
    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="callspool-destruction-"))
    done: Counter[str] = Counter()
    with contextlib.ExitStack() as stack, LoopbackCrm() as crm:
        if not keep:
            stack.callback(_remove, folder)
        if in_own_mounts():
            stack.enter_context(_small_disk(folder / "state"))
        bucket = Bucket(folder) if PROGRAM.exists() else None
        if bucket is not None:
            stack.callback(bucket.kill)
        faults = available(s3=bucket is not None)
        names, weights = list(faults), [weight for weight, _fault in faults.values()]
        addresses = {"CRM_UPLOAD_URL": crm.upload_url, "CRM_CALL_DATA_URL": crm.calls_url}
        site = Site(folder, **addresses, **SETTINGS, **({} if bucket is None else bucket.settings))
        world = World(site, crm, chance, every_s, bucket)
        world.start()
        producer = world.produce()
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            time.sleep(chance.expovariate(1 / pause_s))
            world.measure()
            world.revive()
            name = chance.choices(names, weights)[0]
            said = faults[name][1](world, chance)
            done[name] += 1
            world.say(f"{name:<14} {said}   dropped {len(world.dropped)}, in the CRM {len(crm.calls)}")
        _calm(world, min(seconds * CALM, MOST_CALM_S))
        world.end()
        producer.join()
        took_s = time.monotonic() - began
        _settle(world)
        world.measure()
        world.say("judging")
        verdict = judge(world)
        judge_storage(world, verdict)
        world.stop()
        return verdict, _figures(world, done, took_s)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _small_disk(place: Path) -> Iterator[None]:
    place.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=False)


def _calm(world: World, seconds: float) -> None:
    world.crm.behave()
    world.crm.release()
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        time.sleep(min(SAMPLE_S, seconds))
        world.revive()
        world.measure()
        if time.monotonic() - began > WARM_S:
            world.calm.append(world.sizes[-1])


def _settle(world: World) -> None:
    """No more faults: what is open is made good, the operator retrying what was parked; at last what other ledgers
    wrote over in storage, as hold mode tells him to."""
    world.crm.behave()
    world.crm.release()
    deadline = time.monotonic() + QUIET_S
    while time.monotonic() < deadline and (open_calls(world) or open_copies(world)):
        time.sleep(2)
        world.revive()
        world.site.command("retry", "--all")
        if world.bucket is not None:
            world.site.command("storage", "drain")
    if world.bucket is not None:
        world.site.patience_s = PATIENCE_S
        world.site.command("verify", "--deep", "100%", "--repair")


def _figures(world: World, done: Counter[str], took_s: float) -> dict[str, Any]:
    sizes = world.sizes or [(0.0, 0, 0)]
    return {
        "minutes": round(took_s / 60, 1),
        "kills": done["kill -9"] + 2 * done["kill -9 twice"] + done["damaged page"],
        "faults": dict(done),
        "calls": len(world.dropped),
        "files": sum(len(dropped.files) for dropped in world.dropped),
        "in_the_crm": len(world.crm.calls),
        "requests": len(world.crm.requests),
        "exits": dict(world.exits),
        "most_memory_kb": max(kilobytes for _at, kilobytes, _fds in sizes),
        "most_descriptors": max(fds for _at, _kilobytes, fds in sizes),
        "events": dict(world.events.most_common()),
    }


def _text(report: dict[str, Any]) -> str:
    return "\n".join(f"{key:<24}{value}" for key, value in report.items())


def _into_own_mounts() -> None:
    """As root: mounts that end with us. Starts this command once more, inside."""
    if os.geteuid() == 0 and shutil.which("unshare") and "CALLSPOOL_DESTRUCTION" not in os.environ:
        words = ["unshare", "-m", "--propagation", "private", sys.executable, "-m", "tests.destruction", *sys.argv[1:]]
        os.execvpe(words[0], words, {**os.environ, "CALLSPOOL_DESTRUCTION": "1"})


if __name__ == "__main__":
    sys.exit(main())

"""Fuzz the parsers: ``python -m tests.fuzz --seconds 60``, guided by coverage where atheris is installed.

    pip install atheris          # Linux and macOS, CPython 3.11 to 3.13; without it, mutations by a seeded chance
    python -m tests.fuzz [--target document] [--seconds 60] [--seed 1]
    python -m tests.fuzz --target audio --count 3000

``audio`` mutates a file of every container and has the worker processes measure it, as the daemon does. Prints one
line a target; exits with 1 at the first error that is none of a parser's own, with the input beside it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", help="one of them, or audio")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--count", type=int, default=3000, help="audio files to mutate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--guided", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.guided:
        return _guide(given.guided, given.seconds, given.seed)
    if given.target == "audio":
        return audio(given.count, given.seed)
    from tests.fuzz.targets import TARGETS

    names = [given.target] if given.target else list(TARGETS)
    guided = importlib.util.find_spec("atheris") is not None
    return max((_guided if guided else _mutate)(name, given.seconds, given.seed) for name in names)


def _mutate(name: str, seconds: float, seed: int) -> int:
    from tests.fuzz.targets import TARGETS, mutated

    chance, target = random.Random(seed), TARGETS[name]
    counts: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        data = mutated(chance.choice(target.seeds), chance.random)
        try:
            counts["read" if target.try_with(data) else "refused"] += 1
        except Exception:
            print(f"{name}: {data!r}", file=sys.stderr)
            raise
    print(f"{name:<12}{sum(counts.values()):>9} inputs, {dict(counts)}, by chance")
    return 0


def _guided(name: str, seconds: float, seed: int) -> int:
    """One process a target: libFuzzer ends the one it runs in."""
    from tests.fuzz.targets import environment

    words = [sys.executable, "-m", "tests.fuzz", "--guided", name, "--seconds", str(seconds), "--seed", str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    said = [line for line in done.stderr.splitlines() if line.startswith(("Done", "stat::", "#")) and "Done" in line]
    found = [line for line in done.stderr.splitlines() if " cov: " in line]
    print(f"{name:<12}{said[-1] if said else f'exit {done.returncode}'}; {found[-1].strip() if found else ''}")
    if done.returncode:
        print(done.stderr[-4000:], file=sys.stderr)
    return 1 if done.returncode else 0


def _guide(name: str, seconds: float, seed: int) -> int:
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["daemon", "handlers"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(target.seeds):
            Path(corpus, f"seed-{number}").write_bytes(data)
        flags = [
            f"-max_total_time={int(seconds)}",
            f"-seed={seed}",
            "-max_len=4096",
            "-timeout=10",
            "-rss_limit_mb=2048",
        ]
        atheris.Setup(
            [sys.argv[0], *flags, f"-artifact_prefix={corpus}/", corpus], lambda data: (target.try_with(data), None)[1]
        )
        atheris.Fuzz()
    return 0


def audio(count: int, seed: int) -> int:
    """Mutate a file of every container, have each measured, and say what became of them."""
    from handlers.audio.pool import Prober
    from handlers.model import AudioUnreadable
    from tests.fuzz.sounds import make_all
    from tests.fuzz.targets import mutated

    chance, counts = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, Prober(workers=2, base_deadline_s=10) as prober:
        whole = make_all(Path(folder))
        early, longest_s = 0, 0.0
        for number in range(count):
            early = _resident_kb(prober) if number == count // 10 else early
            name, data = whole[number % len(whole)]
            path = Path(folder, f"m{number}{Path(name).suffix}")
            path.write_bytes(mutated(data, chance.random))
            began_s = time.monotonic()
            try:
                prober.probe(str(path).encode())
                counts["measured"] += 1
            except AudioUnreadable as error:
                counts["its worker ended" if "ended" in str(error) else "refused"] += 1
            longest_s = max(longest_s, time.monotonic() - began_s)
            path.unlink()
        last = Path(folder, "last.wav")
        last.write_bytes(next(data for name, data in whole if name.endswith(".wav")))
        prober.probe(str(last).encode())  # after all of it, an honest file is measured
        late = _resident_kb(prober)
    print(f"audio       {count} files of {len(whole)} containers, {dict(counts)}")
    print(f"            the slowest took {longest_s:.2f} s")
    print(f"            resident after a tenth of them {early:,} kB, at the end {late:,} kB")
    return 0


def _resident_kb(prober: Any) -> int:
    """Memory of the workers, where /proc tells; 0 elsewhere."""
    found = 0
    for worker in prober._workers.values():
        status = Path(f"/proc/{worker.process.pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        found += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return found


if __name__ == "__main__":
    sys.exit(main())

"""How long does a scan of a million known files take, and how long does find need to print them?

The scan is the daemon's own, against its own ledger, in a process of its own that does nothing else; find asks the
kernel for the very same of every file and prints it to /dev/null. Both run in turns with a warm cache, and both are
timed from within: the scan without the start of Python, find as a whole. Memory is the process's peak.

    python -m tests.bench.scan_million [--files 1000000] [--rounds 3] [--kept FOLDER] [--json]

Wanted: at most 2.5 times find's time.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from daemon.clock import SystemClock
from daemon.ledger.files import LedgerFiles
from daemon.ledger.reading import Readers
from daemon.watch.names import Names
from daemon.watch.scan import Scan, Walk
from tests.bench.figures import Report, median
from tests.bench.million import Known, known, million_options

FIND_FORMAT = "%s %T@ %C@ %i %p\\n"


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of wall clock and of processor, and the peak of resident memory in MB."""

    wall_s: float
    user_s: float
    system_s: float
    peak_mb: float
    files: int = 0


def scan(tree: Path, ledger: Path, root_id: int) -> Run:
    """One scan in this process; every file must be known and unchanged."""
    readers = Readers(ledger, SystemClock())
    files = LedgerFiles(None, readers, {})  # type: ignore[arg-type]  # a scan that finds nothing new writes nothing
    walk = Walk()
    one = Scan(os.fsencode(tree), root_id, files, Names(), lambda: None)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    differences = [*one.differences(b"", walk), *one.vanished_folders(walk)]
    wall_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    readers.close()
    assert not differences, "the ledger does not know the tree"
    assert walk.matched == walk.files
    return Run(
        wall_s,
        after.ru_utime - before.ru_utime,
        after.ru_stime - before.ru_stime,
        after.ru_maxrss * 1024 / 1e6,
        walk.files,
    )


def scan_apart(given: Known) -> Run:
    """``scan`` in a process of its own."""
    words = [str(given.tree), str(given.state / "ledger.db"), str(given.root_id)]
    argv = [sys.executable, "-m", "tests.bench.scan_million", "--scan", *words]
    return Run(**json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout))


def find(tree: Path) -> Run:
    """find, printing what the scan compares."""
    began = time.monotonic()
    process = subprocess.Popen(["find", str(tree), "-printf", FIND_FORMAT], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return Run(wall_s, used.ru_utime, used.ru_stime, used.ru_maxrss * 1024 / 1e6)


def main() -> None:
    """Measure and print."""
    parser = million_options(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scan", nargs=3, metavar=("TREE", "LEDGER", "ROOT"), help="only scan, and print one run")
    given = parser.parse_args()
    if given.scan:
        tree, ledger, root_id = given.scan
        print(json.dumps(asdict(scan(Path(tree), Path(ledger), int(root_id)))))
        return
    with known(given.folder, given.files, given.kept) as made:
        find(made.tree), scan_apart(made)  # both warm the cache
        pairs = [(find(made.tree), scan_apart(made)) for _ in range(given.rounds)]
    files = pairs[0][1].files
    report = Report(f"a scan of {files:,} known files", ("seconds", "wall", "user", "system", "peak MB"))
    for name, runs in (("find -printf", [p[0] for p in pairs]), ("callspool's scan", [p[1] for p in pairs])):
        report.row(
            name,
            median([run.wall_s for run in runs]),
            median([run.user_s for run in runs]),
            median([run.system_s for run in runs]),
            max(run.peak_mb for run in runs),
        )
    report.result("times_find", median([ours.wall_s / theirs.wall_s for theirs, ours in pairs]), "at most 2.5")
    report.show(as_json=given.json)


if __name__ == "__main__":
    main()

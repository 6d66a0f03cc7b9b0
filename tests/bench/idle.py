"""What does a daemon cost that has nothing to do, beside a ledger that knows a million files?

The whole daemon watches the tree with an operator's defaults. Its first scan is let pass; then processor time and
memory are read from /proc from the end of one scan to the end of the next, which is what idling costs in the long run:
scans that take long are made rarer. A scan is seen as what it is, a burst of work. The copy of the ledger that is made
once a day is waited for first.

    python -m tests.bench.idle [--files 1000000] [--kept FOLDER] [--json]

Wanted: under 120 MB resident, under 2 % of a core.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tests.bench.figures import Report, cpu_s, family, plain_site, resident_mb
from tests.bench.million import Known, known, million_options
from tests.support.process import DaemonProcess

STEP_S = 0.5
BUSY = 0.25
"""Share of a core from which a step belongs to a scan."""

LEAST_S = 60.0
PATIENCE_S = 1800.0


def used_s(daemon: DaemonProcess) -> float:
    """Processor seconds of the daemon and all it started."""
    return sum(cpu_s(pid) for pid in family(daemon.pid))


def scan_over(daemon: DaemonProcess) -> float:
    """Wait for a burst of work and its end; returns the seconds of processor it took."""
    deadline, before, burst = time.monotonic() + PATIENCE_S, used_s(daemon), 0.0
    quiet = 0
    while time.monotonic() < deadline:
        time.sleep(STEP_S)
        now = used_s(daemon)
        work, before = now - before, now
        if work > BUSY * STEP_S:
            burst, quiet = burst + work, 0
        elif burst:
            quiet += 1
            if quiet * STEP_S >= 2.0:
                return burst
    raise TimeoutError("no scan was seen")


def measure(made: Known, folder: Path) -> dict[str, float]:
    """The daemon's figures over whole rounds of scan and pause, at least a minute of them."""
    shutil.rmtree(made.state / "copies", ignore_errors=True)
    site = plain_site(folder, RECORDINGS_DIR=str(made.tree), CALLSPOOL_STATE__DIR=str(made.state))
    with site.daemon() as daemon:
        daemon.wait_for("root.watched", 60.0, role="recordings")
        daemon.wait_for("ledger.copied", PATIENCE_S)  # once a day, and no part of idling
        scan_over(daemon)
        began, used, scans, burst = time.monotonic(), used_s(daemon), 0, 0.0
        while time.monotonic() - began < LEAST_S:
            burst = scan_over(daemon)
            scans += 1
        took = time.monotonic() - began
        return {
            "seconds": took,
            "scans": scans,
            "scan_cpu_s": burst,
            "cpu_percent": (used_s(daemon) - used) / took * 100,
            "resident_mb": resident_mb(daemon.pid),
            "peak_mb": resident_mb(daemon.pid, "VmHWM"),
        }


def main() -> None:
    """Measure and print."""
    given = million_options(__doc__ or "").parse_args()
    with known(given.folder, given.files, given.kept) as made:
        site = made.state.parent / "site"
        try:
            figures = measure(made, site)
        finally:
            shutil.rmtree(site, ignore_errors=True)
    report = Report(f"idle beside {given.files:,} known files", ("seconds watched", "scans", "processor s a scan"))
    report.row(figures["seconds"], int(figures["scans"]), figures["scan_cpu_s"])
    report.result("resident_mb", figures["resident_mb"], "under 120")
    report.result("peak_mb", figures["peak_mb"], "under 120")
    report.result("percent_of_a_core", figures["cpu_percent"], "under 2")
    report.show(as_json=given.json)


if __name__ == "__main__":
    main()

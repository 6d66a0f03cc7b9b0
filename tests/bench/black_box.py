"""Calls at a rate, dropped as real files into the running daemon out of order: what does the CRM receive?

The files are written by a process of its own that knows nothing of callspool (``drop_traffic``), half a minute of sound
a call; the daemon runs with an operator's defaults but for a shorter wait, and the CRM listens on this machine. What
the CRM holds in the end is judged against the truth that the writer kept apart.

    python -m tests.bench.black_box [--calls 600] [--rate 60] [--seed 1] [--wait 60] [--with PARAMETER=VALUE …] [--json]

Wanted: no wrong recording, no wrong lead, no two calls under one callId, nothing missing.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench.delivered import CrmScore, score_crm
from tests.bench.figures import Report, cpu_s, family, options, plain_site, workshop
from tests.bench.sets_per_second import accepted, crm_process, delivered


def write(site_folder: Path, truth: Path, words: list[str]) -> dict[str, Any]:
    """Have another process write the files; returns the truth it kept."""
    argv = [sys.executable, "-m", "tests.bench.drop_traffic", "--folder", str(site_folder), "--truth", str(truth)]
    subprocess.run([*argv, *words], check=True)
    told: dict[str, Any] = json.loads(truth.read_text())
    return told


def judged(truth: dict[str, Any], state: dict[str, Any]) -> CrmScore:
    """What the CRM holds against the truth."""
    uploads = {upload["url"]: upload["original_name"] for upload in state["uploads"]}
    bodies = [body for call in state["calls"].values() for body in call["bodies"]]
    return score_crm(truth, bodies, uploads)


def run(folder: Path, words: list[str], wait_s: int) -> tuple[CrmScore, dict[str, float]]:
    """Drop everything into a running daemon and wait until the CRM has accepted every call."""
    with crm_process() as (_, addresses):
        settings = {
            "CRM_UPLOAD_URL": addresses["upload_url"],
            "CRM_CALL_DATA_URL": addresses["calls_url"],
            "CALLSPOOL_MATCH__WAIT": f"{wait_s}s",
            "CALLSPOOL_MATCH__LEAD_WAIT": f"{wait_s}s",
            "CALLSPOOL_CRM__UPDATES": "repost",
        }
        site = plain_site(folder / "site", **settings)
        with site.daemon() as daemon:
            for role in ("recordings", "conversations", "leads"):
                daemon.wait_for("root.watched", role=role)
            began = time.monotonic()
            truth = write(site.folder, folder / "truth.json", words)
            written = time.monotonic() - began
            delivered(daemon, len(truth["calls"]))
            took = time.monotonic() - began
            daemon.wait_until(lambda _: site.idle(), "everything at rest", 60.0 + 2 * wait_s)
            used = sum(map(cpu_s, family(daemon.pid)))
            daemon.stop()
        figures = {"written_s": written, "delivered_s": took, "cpu_ms": used / len(truth["calls"]) * 1000}
        return judged(truth, accepted(addresses["url"])), figures


def main() -> None:
    """Measure and print."""
    parser = options(__doc__ or "")
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wait", type=int, default=60, help="match.wait in seconds")
    parser.add_argument("--with", dest="changes", nargs="+", default=[], metavar="PARAMETER=VALUE")
    given = parser.parse_args()
    words = ["--calls", str(given.calls), "--rate", str(given.rate), "--seed", str(given.seed)]
    words += ["--with", *given.changes] if given.changes else []
    with workshop(given.folder) as folder:
        score, figures = run(folder, words, given.wait)
    report = Report(f"{given.calls} calls at {given.rate:g} a minute, dropped out of order", ("at the CRM", "calls"))
    for name, count in dataclasses.asdict(score).items():
        report.row(name.replace("_", " "), count)
    report.result("wrong", score.wrong_recordings + score.wrong_leads + score.shared_ids, "0")
    report.result("missing_or_doubled", score.missing + score.doubled + score.unknown, "0")
    for name, figure in figures.items():
        report.result(name, figure, "–")
    report.show(as_json=given.json)


if __name__ == "__main__":
    main()

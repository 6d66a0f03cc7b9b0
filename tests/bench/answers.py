"""How soon does callspool answer on a ledger that knows a million calls, beside a daemon that is at work?

A verb is timed as a whole process, the page as a request of who signed in, from the request to its last byte. The
daemon takes in and delivers a call every half second meanwhile. A new recording's decision is timed in the log: from
what was understood of it, to its match, both committed.

    python -m tests.bench.answers [--calls 1000000] [--rounds 5] [--kept FOLDER] [--json]

A ledger of a million calls takes 32 GB and ten minutes to make; ``--kept`` makes it once.

Wanted: each verb under 0.4 s, the page under 300 ms, a decision under 20 ms.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Self

import httpx

from handlers.demo.crm import LoopbackCrm
from tests.bench.figures import Report, median, options
from tests.bench.many_calls import Calls, many_calls, subject_in_the_middle
from tests.support.browser import TOKEN
from tests.support.calls import FieldCall
from tests.support.process import DaemonProcess, Site

MOST_VERB_S, MOST_PAGE_MS, MOST_DECISION_MS = 0.4, 300.0, 20.0

EVERY_S = 0.5
"""Between two calls that are dropped."""

PATIENCE_S = 300.0


def verb_s(site: Site, words: tuple[str, ...]) -> float:
    """Seconds of wall clock that a verb takes, from its start to its end."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "daemon", *words, "--json"],
        cwd=site.folder,
        env=site.environ,
        capture_output=True,
        check=False,
    )
    took = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    return took


class Traffic:
    """Drops calls until it is told to end."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._drop, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _drop(self) -> None:
        for nth in itertools.count(1):
            if self._ended.wait(EVERY_S):
                return
            call = FieldCall(-3 * nth)  # among those that are known: half an hour apart, before the newest
            call.drop_recording(self._site)
            call.drop_transcript(self._site)


def decisions_ms(daemon: DaemonProcess) -> list[float]:
    """Milliseconds from each recording's understanding to its call's match."""
    understood: dict[str, datetime] = {}
    found = []
    for line in list(daemon.lines):
        at = datetime.fromisoformat(str(line["ts"]).replace("Z", "+00:00"))
        if line["event"] == "recording.understood":
            understood[line["item"]] = at
        elif line["event"] == "call.matched" and line["subject"] in understood:
            found.append((at - understood[line["subject"]]).total_seconds() * 1000)
    return found


def page_ms(http: httpx.Client) -> float:
    """Milliseconds that the page takes, whole."""
    began = time.perf_counter()
    answer = http.get("/")
    assert answer.status_code == 200
    return (time.perf_counter() - began) * 1000


def measure(calls: Calls, rounds: int) -> Report:
    """All of it beside a daemon at work."""
    report = Report(
        f"answers on a ledger of {calls.count:,} calls, beside a daemon at work", ("", "median", "worst", "wanted")
    )
    verbs = (("status",), ("hours",), ("explain", subject_in_the_middle(calls)))
    with LoopbackCrm() as crm:
        site = Site(
            calls.folder,
            CRM_UPLOAD_URL=crm.upload_url,
            CRM_CALL_DATA_URL=crm.calls_url,
            CALLSPOOL_HTTP__LISTEN="127.0.0.1:0",
            CALLSPOOL_LOG__LEVEL="info",
            HTTP_TOKEN=TOKEN,
        )
        with site.daemon() as daemon:
            daemon.wait_for("daemon.started", PATIENCE_S)
            base = f"http://{daemon.wait_for('http.opened')['reason']}"
            with Traffic(site), httpx.Client(base_url=base, timeout=60, headers={"Origin": base}) as http:
                daemon.wait_for("crm.accepted", PATIENCE_S)
                http.post("/login", data={"token": TOKEN})
                for words in verbs:
                    taken = [verb_s(site, words) for _ in range(rounds)]
                    report.row(f"{words[0]}, s", median(taken), max(taken), f"under {MOST_VERB_S}")
                pages = [page_ms(http) for _ in range(rounds)]
                report.row("page, ms", median(pages), max(pages), f"under {MOST_PAGE_MS:.0f}")
            decided = decisions_ms(daemon)
            report.row("decision, ms", median(decided), max(decided), f"under {MOST_DECISION_MS:.0f}")
            assert daemon.stop() == 0
    return report


def main() -> int:
    """Make, measure, show."""
    parser = options(__doc__ or "")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kept", type=Path, help="a folder in which the ledger stays, and is looked for")
    given = parser.parse_args()
    with many_calls(given.folder, given.calls, given.kept) as calls:
        measure(calls, given.rounds).show(as_json=given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

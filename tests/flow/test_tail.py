"""``callspool tail`` and ``status --watch``: what a second terminal sees beside a working daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.process import Site


def beside(site: Site, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "daemon", *words],
        cwd=site.folder,
        env=site.environ,
        stdout=subprocess.PIPE,
        text=True,
    )


def next_line(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def ended(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.communicate(timeout=20)


def test_tail_and_the_live_screen_see_what_a_working_daemon_commits(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.daemon() as daemon:
        daemon.wait_for("daemon.started")
        tail = beside(site, "tail", "--event", "file.*", "--json")
        screen = beside(site, "status", "--watch", "--json")
        try:
            assert next_line(screen)["files"]["known"] == 0
            (site.leads / "lead_20251013_135233.json").write_text(json.dumps({"name": "x"}))
            line = next_line(tail)
            assert line["event"] == "file.settled"
            assert line["path"] == "lead_20251013_135233.json"
            (site.leads / "lead_20251013_135234.json").write_text(json.dumps({"name": "y"}))
            assert next_line(tail)["path"] == "lead_20251013_135234.json", "it follows"
            while next_line(screen)["files"]["known"] < 2:
                pass
        finally:
            ended(tail)
            ended(screen)
    about = site.command("tail", "--no-follow", "--call", "lead_20251013_135233.json", "--json")
    events = [json.loads(line)["event"] for line in about.stdout.splitlines()]
    assert "file.settled" in events
    assert "daemon.started" not in events
    unknown = site.command("tail", "--no-follow", "--call", "c99")
    assert unknown.returncode != 0
    assert "nothing here is called" in unknown.stderr

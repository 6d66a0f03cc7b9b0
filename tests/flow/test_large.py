"""A recording of six gigabytes goes through upload, verify and fetch in flat memory."""

from __future__ import annotations

import json
import os
import re
import struct
import sys
from pathlib import Path

import pytest

from tests.support.process import Site, eventually
from tests.support.rclone import rclone
from tests.support.s3 import ACCESS_KEY, BUCKET, SECRET_KEY

SIZE = 6 * 2**30
MOST_MB = 180
"""Resident memory of the daemon, and of each command, whatever the size of the file."""


def sparse(path: Path, size: int) -> None:
    """An RF64 WAV of silence, 8 kHz mono, whose samples take no room on disk, and a word at its very end."""
    samples = size - 80
    form = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    wide = struct.pack("<QQQI", size - 8, samples, samples // 2, 0)
    head = b"RF64" + b"\xff" * 4 + b"WAVEds64" + struct.pack("<I", len(wide)) + wide
    head += b"fmt " + struct.pack("<I", len(form)) + form + b"data" + b"\xff" * 4
    assert len(head) == 80
    with path.with_suffix(".part").open("wb") as file:
        file.write(head)
        file.truncate(size)
        file.seek(size - 1000)
        file.write(os.urandom(1000))
    path.with_suffix(".part").rename(path)


def most_mb(status: str) -> float:
    """The most memory that a process held so far, by its status in /proc: what getrusage tells outlives an exec, and is
    that of the tests."""
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def command(site: Site, *words: str) -> tuple[str, float]:
    """Run a verb; what it printed, and the most memory it held."""
    own = "import runpy, sys; sys.argv = ['callspool', *sys.argv[1:]]\n"
    own += "try: runpy.run_module('daemon', run_name='__main__')\n"
    own += "finally: print(open('/proc/self/status').read(), file=sys.stderr)"
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", own, *words],
        cwd=site.folder,
        env={**site.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, most_mb(done.stderr)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_six_gigabytes_go_up_are_verified_and_fetched_in_flat_memory(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with rclone(tmp_path / "served") as url:
        site = Site(
            tmp_path / "site",
            S3_BUCKET_NAME=BUCKET,
            S3_ENDPOINT_URL=url,
            AWS_ACCESS_KEY_ID=ACCESS_KEY,
            AWS_SECRET_ACCESS_KEY=SECRET_KEY,
            CALLSPOOL_LOG__LEVEL="info",
        )
        with site.daemon() as daemon:
            daemon.wait_for("daemon.started")
            sparse(site.recordings / "call-1761720504.wav", SIZE)
            stored = "SELECT proof FROM copy WHERE role = 'audio' AND place = 's3' AND state = 'verified'"
            eventually(lambda: site.rows(stored), "it is stored", 1800)
            memory = {
                "daemon": most_mb(Path(f"/proc/{daemon.pid}/status").read_text()),
                "proof": site.rows(stored)[0][0],
            }
            assert daemon.stop() == 0
        _, memory["verify"] = command(site, "verify", "--deep", "100%")
        (recording,) = site.rows("SELECT id FROM recording")
        _, memory["fetch"] = command(site, "storage", "fetch", f"r{recording['id']}", "--to", "fetched")
        fetched = [path for path in (site.folder / "fetched").iterdir() if path.suffix == ".wav"]
        assert [path.stat().st_size for path in fetched] == [SIZE]
        print(json.dumps(memory))
        assert max(memory["daemon"], memory["verify"], memory["fetch"]) < MOST_MB

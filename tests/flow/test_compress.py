"""Old audio is compressed by a working daemon: one valid copy at every instant, and one that is known in the end."""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import audio
from tests.support.process import DaemonProcess, Site, eventually
from tests.support.small_disk import REFUSED, may_mount, small_disk

SECONDS = 4
SAMPLES = SECONDS * audio.RATE
DOCUMENT = '{"zeta": 1, "chunks": [{"file": "rec/call.wav", "n": 0}, {"file": "other.ogg"}], "alpha": null}'
SETTINGS = {
    "CALLSPOOL_MATCH__WAIT": "100ms",
    "CALLSPOOL_COMPRESS__TIERS": "[{after: 0s, bitrate: 32k}]",
    "CALLSPOOL_COMPRESS__KEEP_ORIGINAL": "0s",
    "CALLSPOOL_COMPRESS__WORKERS": "1",
}

FEW = (
    "compress.encode.performed:1",
    "compress.name.performed:1",
    "compress.remove.performing:1",
    "compress.remove.performed:1",
)
"""Where a change of a file is made and not yet known; the slow test tries every point that is passed."""


@pytest.fixture
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:
        yield Site(Path(folder), **SETTINGS)


def original(site: Site) -> Path:
    return site.recordings / "call.wav"


def copy(site: Site) -> Path:
    return site.recordings / "call.opus"


def drop(site: Site, daemon: DaemonProcess) -> bytes:
    """A recording with its document, taken in and waited for in vain by any call."""
    daemon.wait_for("daemon.started")
    spoken = audio.talk([(0.4, 1.9), (2.4, 3.6)], SECONDS, rate=audio.RATE, noise_db=-60)
    audio.encode(original(site), spoken, container="wav", codec="pcm_s16le")
    (site.recordings / "call.json").write_text(DOCUMENT)
    daemon.wait_for("sidecar.kept")
    daemon.wait_for("recording.unmatched")
    return original(site).read_bytes()


def hold_to_one_copy(site: Site, before: bytes) -> None:
    """At this instant the original lies there as it was, or a whole copy does."""
    if original(site).exists():
        assert original(site).read_bytes() == before
    else:
        assert audio.decoded_samples(copy(site)) == SAMPLES


def done(site: Site) -> bool:
    rows = site.rows("SELECT state, copy_id FROM compression")
    return bool(rows) and rows[0]["state"] == "replaced" and rows[0]["copy_id"] is not None and site.idle()


def hold_to_the_end(site: Site) -> None:
    """Exactly one copy, whole, named in document and ledger, and known as the recording that it is."""
    names = sorted(path.name for path in site.recordings.iterdir())
    assert names == ["call.json", "call.opus"]
    assert audio.decoded_samples(copy(site)) == SAMPLES
    document = json.loads((site.recordings / "call.json").read_text())
    assert list(document)[:3] == ["zeta", "chunks", "alpha"]
    assert document["chunks"] == [{"file": "rec/call.opus", "n": 0}, {"file": "other.ogg"}]
    assert (document["compressed"], document["compressed_size"]) == (True, copy(site).stat().st_size)
    assert len(site.rows("SELECT id FROM recording")) == 1
    [row] = site.rows("SELECT size, original_size, document FROM compression")
    assert (row["size"], row["document"]) == (copy(site).stat().st_size, DOCUMENT)


def story(site: Site, kill: str) -> list[str]:
    """Compress with a kill at that point, and once more without; returns the points that were passed."""
    trace = site.folder / "trace"
    armed = {"CALLSPOOL_TRACE": str(trace), **({"CALLSPOOL_TRACE_KILL": kill} if kill else {})}
    with site.daemon(**armed) as daemon:
        before = drop(site, daemon)
        site.command("compress")
        eventually(lambda: daemon.has_ended or done(site), f"an end: {daemon.lines[-20:]}")
        if kill:
            assert daemon.ended() == -signal.SIGKILL, f"{kill} was never passed"
            hold_to_one_copy(site, before)
        else:
            assert daemon.stop() == 0
    if kill:
        with site.daemon() as daemon:
            daemon.wait_for("daemon.started")
            eventually(lambda: daemon.has_ended or done(site), f"the end: {daemon.lines[-20:]}")
            assert daemon.stop() == 0
    hold_to_the_end(site)
    return [":".join(line.split()) for line in trace.read_text().splitlines()]


@pytest.mark.parametrize("kill", FEW)
def test_killed_around_any_change_of_a_file_one_copy_stands_and_the_end_is_the_same(kill: str, site: Site) -> None:
    story(site, kill)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_every_point_that_compression_passes_the_end_is_the_same() -> None:
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:
        points = story(Site(Path(folder), **SETTINGS), "")
    ours = [point for point in points if point.startswith("compress")]
    assert len(ours) >= 5 * 3
    for point in ours:
        with tempfile.TemporaryDirectory(prefix="cs-") as folder:
            story(Site(Path(folder), **SETTINGS), point)


def test_a_dry_run_tells_and_changes_nothing_and_the_totals_are_served(site: Site) -> None:
    with site.daemon(CALLSPOOL_HTTP__LISTEN="127.0.0.1:0") as daemon:
        before = drop(site, daemon)
        told: dict[str, Any] = site.ask("compress", "--dry-run")
        address = daemon.wait_for("http.opened")["reason"]
        stats = httpx.get(f"http://{address}/api/storage-stats").json()
        assert daemon.stop() == 0
    assert stats == {
        "total_size": len(before),
        "compressed_size": 0,
        "original_size": len(before),
        "savings": 0,
        "compression_ratio": 0,
    }
    assert (told["totals"]["encode"], told["totals"]["size"]) == (1, len(before))
    assert told["totals"]["savings"] > 0.8 * len(before)
    assert not site.rows("SELECT 1 FROM compression")
    assert original(site).read_bytes() == before


def test_originals_stay_where_they_are_to_stay_and_the_copy_is_no_recording_of_its_own(site: Site) -> None:
    with site.daemon(CALLSPOOL_COMPRESS__DELETE_ORIGINALS="false") as daemon:
        before = drop(site, daemon)
        site.command("compress")
        eventually(lambda: site.rows("SELECT 1 FROM compression WHERE copy_id IS NOT NULL") and site.idle(), "the copy")
        assert daemon.stop() == 0
    assert original(site).read_bytes() == before
    assert audio.decoded_samples(copy(site)) == SAMPLES
    assert len(site.rows("SELECT id FROM recording")) == 1
    with site.daemon() as daemon:  # nothing of it is compressed again, and it goes once it is to go
        daemon.wait_for("daemon.started")
        told = site.ask("compress", "--dry-run")
        site.command("compress")
        daemon.wait_for("original.removed")
        assert daemon.stop() == 0
    assert told["files"] == []
    assert not original(site).exists()


def test_without_a_daemon_the_verb_does_it_itself(site: Site) -> None:
    with site.daemon() as daemon:
        drop(site, daemon)
        assert daemon.stop() == 0
    answer = site.ask("compress", "--workers", "1")
    assert answer["finished"]
    assert answer["savings"] > 0
    assert answer["compressed_size"] == copy(site).stat().st_size
    assert not original(site).exists()


def test_what_cannot_shrink_and_what_is_on_hold_is_left(site: Site) -> None:
    with site.daemon() as daemon:
        drop(site, daemon)
        small = site.recordings / "small.ogg"
        audio.make_ogg_opus(small, 3.0, bit_rate=24_000)
        daemon.wait_until(lambda lines: sum(e["event"] == "recording.unmatched" for e in lines) == 2, "both")
        [row] = site.rows("SELECT id FROM recording WHERE name = 'call.wav'")
        site.command("hold", "add", f"r{row['id']}")
        site.command("compress")
        eventually(lambda: site.rows("SELECT 1 FROM compression") and site.idle(), "the small one is left")
        assert daemon.stop() == 0
    [row] = site.rows("SELECT state, reason FROM compression")
    assert tuple(row) == ("left", "it is small already")
    assert original(site).exists()
    assert not copy(site).exists()


SMALL_DISK = small_disk("recordings", "1m")
"""Runs the daemon with a disk of 1 MiB of its own under the recordings."""


@pytest.mark.skipif(not may_mount(), reason=REFUSED)
def test_a_full_disk_leaves_the_original_and_no_rest_and_it_is_done_once_there_is_room(site: Site) -> None:
    with site.daemon(under=SMALL_DISK) as daemon:
        daemon.wait_for("daemon.started")
        site.recordings = Path(f"/proc/{daemon.pid}/root{site.recordings}")  # as the daemon sees it
        before = drop(site, daemon)
        ballast = site.recordings / ".ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        site.command("compress")
        deferred = daemon.wait_for("job.deferred")
        assert "No space left" in deferred["reason"]
        assert original(site).read_bytes() == before
        assert {path.name for path in site.recordings.iterdir()} == {"call.wav", "call.json", ".ballast"}
        ballast.unlink()
        [row] = site.rows("SELECT id FROM recording")
        site.command("retry", f"r{row['id']}")
        eventually(lambda: done(site), f"the end: {daemon.lines[-20:]}")
        hold_to_the_end(site)
        assert daemon.stop() == 0

"""Compression a second time: refused copies tried again, later tiers, packets, index, log, erasing, stopping."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import audio
from tests.support.process import DaemonProcess, Site, eventually

SECONDS = 4
SETTINGS = {
    "CALLSPOOL_MATCH__WAIT": "100ms",
    "CALLSPOOL_COMPRESS__TIERS": "[{after: 0s, bitrate: 64k}]",
    "CALLSPOOL_COMPRESS__KEEP_ORIGINAL": "0s",
    "CALLSPOOL_COMPRESS__WORKERS": "1",
}
LOWER = {"CALLSPOOL_COMPRESS__TIERS": "[{after: 0s, bitrate: 16k}]"}


@pytest.fixture
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:
        yield Site(Path(folder), **SETTINGS)


def spoken() -> Any:
    return audio.talk([(0.4, 1.9), (2.4, 3.6)], SECONDS, rate=audio.RATE, noise_db=-60)


def take_in(site: Site, daemon: DaemonProcess, *paths: Path) -> None:
    daemon.wait_for("daemon.started")
    for path in paths:
        container, codec = {".wav": ("wav", "pcm_s16le"), ".webm": ("webm", "libopus")}[path.suffix]
        audio.encode(path, spoken(), container=container, codec=codec, bit_rate=40_000 if codec == "libopus" else None)
    daemon.wait_until(
        lambda lines: sum(line["event"] == "recording.unmatched" for line in lines) == len(paths), "all of them"
    )
    site.rest()


def states(site: Site) -> list[str]:
    return [row["state"] for row in site.rows("SELECT state FROM compression ORDER BY recording_id")]


def names(site: Site) -> list[str]:
    return sorted(path.name for path in site.recordings.iterdir())


def test_a_refused_copy_is_tried_again_as_often_as_a_person_asks(site: Site) -> None:
    with site.daemon(CALLSPOOL_COMPRESS__VERIFY__WORST_SECOND_DB="0.001") as daemon:
        take_in(site, daemon, site.recordings / "call.wav")
        site.command("compress")
        refused = daemon.wait_for("compression.refused")
        [row] = site.rows("SELECT id FROM recording")
        subject = f"r{row['id']}"
        assert refused["fix"].endswith(f"callspool retry {subject}")
        site.rest()
        assert names(site) == ["call.wav"]
        assert f"callspool retry {subject}" in json.dumps(site.ask("failures"))
        [told] = site.ask("explain", subject)["compress"]["compressed"]
        assert (told["state"], told["figures"]["samples_more"]) == ("refused", 0)
        assert "a second differs" in told["reason"]
        site.ask("retry", subject)
        tried = "SELECT 1 FROM compression WHERE state = 'refused' AND tries = 1"
        eventually(lambda: site.rows(tried) and site.idle(), "refused again")
        assert daemon.stop() == 0
    assert states(site) == ["refused"]
    site.ask("compress")
    assert states(site) == ["refused"], "by itself it is not tried again"
    site.ask("compress", "--retry")
    assert states(site) == ["replaced"]
    assert names(site) == ["call.opus"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_later_tier_takes_the_copys_place_and_packets_are_copied_where_encoding_saves_nothing(site: Site) -> None:
    index, log = site.folder / "index.json", site.folder / "compress.log"
    index.write_text('{"recordings": [{"file": "call.wav", "kept": 1}]}')
    written = {"CALLSPOOL_COMPRESS__INDEX": "index.json", "CALLSPOOL_COMPRESS__LOG_FILE": "compress.log"}
    with site.daemon() as daemon:
        take_in(site, daemon, site.recordings / "call.wav", site.recordings / "web.webm")
        assert daemon.stop() == 0
    before = {path.name: path.stat().st_size for path in site.recordings.iterdir()}
    told = site.ask("compress", "--dry-run")
    assert {row["name"]: row["act"] for row in told["files"]} == {"call.wav": "encode", "web.webm": "copy packets"}
    answer = site.ask("compress", **written)
    assert names(site) == ["call.opus", "web.opus"]
    after = {path.name: path.stat().st_size for path in site.recordings.iterdir()}
    assert audio.decoded_samples(site.recordings / "web.opus") == SECONDS * audio.RATE
    assert answer["savings"] == sum(before.values()) - sum(after.values())
    assert answer["compressed_size"] == answer["total_size"] == sum(after.values())
    first, second = json.loads(index.read_text())["recordings"]
    assert (first["file"], first["kept"], first["compressed_size"]) == ("call.opus", 1, after["call.opus"])
    assert second["file"] == "web.opus"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(line["event"] for line in lines) == ["compressed"] * 2 + ["removed original"] * 2

    with site.daemon() as daemon:  # what was made is taken in, as the same recordings
        daemon.wait_for("daemon.started")
        eventually(lambda: len(site.rows("SELECT 1 FROM compression WHERE copy_id IS NOT NULL")) == 2, "both copies")
        assert daemon.stop() == 0
    assert site.ask("compress", "--dry-run")["files"] == []
    lower = {**LOWER, **written}
    answer = site.ask("compress", **lower)
    assert len(names(site)) == 2
    [later] = [path for path in site.recordings.iterdir() if path.name.startswith("call")]
    assert later.stat().st_size < 0.5 * after["call.opus"]
    assert audio.decoded_samples(later) == SECONDS * audio.RATE
    assert answer["savings"] == sum(before.values()) - sum(path.stat().st_size for path in site.recordings.iterdir())
    assert json.loads(index.read_text())["recordings"][0]["file"] == later.name
    with site.daemon(**LOWER) as daemon:
        daemon.wait_for("daemon.started")
        eventually(lambda: not site.rows("SELECT 1 FROM compression WHERE copy_id IS NULL") and site.idle(), "taken in")
        assert daemon.stop() == 0
    assert len(site.rows("SELECT id FROM recording")) == 2
    assert site.ask("compress", "--dry-run", **LOWER)["files"] == []


def test_whoever_is_erased_leaves_no_copy_that_the_watch_had_not_seen_and_no_entry(site: Site) -> None:
    settings = {"CALLSPOOL_COMPRESS__INDEX": "index.json", "CALLSPOOL_COMPRESS__DELETE_ORIGINALS": "false"}
    with site.daemon() as daemon:
        take_in(site, daemon, site.recordings / "number-_12025550123-1761635651.wav")
        assert daemon.stop() == 0
    site.ask("compress", **settings, CALLSPOOL_WATCH__SCAN_EVERY="1h")
    assert not site.rows("SELECT 1 FROM compression WHERE copy_id IS NOT NULL"), "it was not seen yet"
    assert len(names(site)) == 2
    told = site.ask("erase", "--number", "+12025550123", "--yes", **settings)
    assert any("index.json" in line for line in told["files"])
    assert names(site) == []
    assert "12025550123" not in (site.folder / "index.json").read_text()


def test_a_dry_run_by_setting_says_what_would_be_and_does_nothing(site: Site) -> None:
    with site.daemon(CALLSPOOL_COMPRESS__DRY_RUN="true") as daemon:
        take_in(site, daemon, site.recordings / "call.wav")
        site.command("compress", CALLSPOOL_COMPRESS__DRY_RUN="false")
        begun = daemon.wait_for("compression.begun")
        assert (begun["items"], "dry_run" in begun["reason"]) == (1, True)
        told = site.ask("compress", "--workers", "3", CALLSPOOL_COMPRESS__DRY_RUN="false")
        assert "no effect" in told["note"]
        site.rest()
        assert daemon.stop() == 0
    assert states(site) == []
    assert names(site) == ["call.wav"]


def test_encoding_under_way_ends_within_seconds_of_a_stop_and_costs_no_attempt(site: Site) -> None:
    long = site.recordings / "long.wav"
    with site.daemon() as daemon:
        daemon.wait_for("daemon.started")
        audio.encode(site.folder / "long.wav", spoken(), container="wav", codec="pcm_s16le", times=600)
        (site.folder / "long.wav").rename(long)
        daemon.wait_for("recording.unmatched")
        site.rest()
        site.command("compress")
        eventually(lambda: list(site.recordings.glob(".callspool-*.part")), "an encoder at work")
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 8
    assert names(site) == ["long.wav"]
    [row] = site.rows("SELECT state, attempt FROM job WHERE kind = 'compress.file'")
    assert tuple(row) == ("ready", 0)

"""Where a compressed copy takes an original's place on disk, storage follows, and holds one or the other at every
instant."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.flow.steps import at_work, delivered
from tests.flow.stored import empty, objects, stored, uploads
from tests.support import audio
from tests.support.calls import FieldCall
from tests.support.process import Site, eventually
from tests.support.s3 import Awkward, Request

CALL = FieldCall(2, seconds=4)
OLD = {
    "CALLSPOOL_COMPRESS__TIERS": "[{after: 0s, bitrate: 32k}]",
    "CALLSPOOL_COMPRESS__KEEP_ORIGINAL": "0s",
    "CALLSPOOL_COMPRESS__WORKERS": "1",
}
CLOUD = (
    "CRM_UPLOAD_URL",
    "CRM_CALL_DATA_URL",
    "S3_BUCKET_NAME",
    "S3_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "CALLSPOOL_STORAGE__RETRY",
    "CALLSPOOL_STORAGE__S3__TIMEOUT",
)
"""The variables of a site whose storage is S3."""

SUPERSEDED = "SELECT key FROM copy WHERE state = 'removed' AND reason LIKE '%compressed copy%'"


def original(site: Site) -> Path:
    return (site.recordings / CALL.recording_name).with_suffix(".wav")


def drop(site: Site) -> Path:
    """A call whose recording is a WAV file, which compression makes smaller."""
    path = original(site)
    part = path.with_name(f".{path.name}.part")
    spoken = audio.talk([(0.4, 1.9), (2.4, 3.6)], int(CALL.seconds), rate=audio.RATE, noise_db=-60)
    audio.encode(part, spoken, container="wav", codec="pcm_s16le")
    part.rename(path)
    CALL.drop_transcript(site)
    return path


def taken_in(site: Site) -> bytes:
    """A call that is stored and delivered; returns its recording."""
    with at_work(site) as daemon:
        before = drop(site).read_bytes()
        stored(daemon, site, 1)
        delivered(daemon, site)
    return before


def followed(site: Site, count: int = 2) -> bool:
    """Whether so many objects, a recording and its metadata or the recording alone, were let go for a copy."""
    return len(site.rows(SUPERSEDED)) >= count and site.idle()


def sidecar(held: dict[str, bytes]) -> dict[str, Any]:
    [found] = [json.loads(data) for key, data in held.items() if key.endswith("_call.json")]
    return dict(found)


def hold_to_the_end(site: Site, held: dict[str, bytes], before: bytes) -> None:
    """One recording lies there, the copy, which the call's papers name; ledger and storage say the same."""
    sounds = {key: data for key, data in held.items() if key.endswith((".wav", ".opus"))}
    [(key, data)] = sounds.items()
    [copy] = site.recordings.glob("*.opus")
    assert key.endswith(".opus")
    assert data == copy.read_bytes()
    [told] = sidecar(held)["audio"]
    assert (told["key"], told["bytes"], told["codec"], told["container"]) == (key, len(data), "opus", "ogg")
    assert told["original"]["bytes"] == len(before)
    papers = [json.loads(data) for key, data in held.items() if key.endswith("_metadata.json")]
    assert [(paper["size"], paper["content_type"]) for paper in papers] == [(len(data), "audio/ogg")]
    assert papers[0]["original_name"].endswith(".wav")
    checked = site.command("verify", "--deep", "100%")
    assert checked.returncode == 0, checked.stdout


def test_in_the_local_store_the_copy_takes_the_originals_place(site: Site) -> None:
    before = taken_in(site)
    with at_work(site, **OLD) as daemon:
        site.command("compress", **OLD)
        told = daemon.wait_for("storage.superseded")
        eventually(lambda: followed(site, 1), "storage to follow")
    assert told["size_bytes"] == len(before)
    assert not original(site).exists()
    held = uploads(site)
    hold_to_the_end(site, held, before)
    fetched = site.folder / "fetched"
    assert site.command("storage", "fetch", CALL.session_id, "--to", str(fetched)).returncode == 0
    assert [path.read_bytes() for path in fetched.glob("*.opus")] == [held[sidecar(held)["audio"][0]["key"]]]


def test_in_s3_a_recording_goes_only_after_the_papers_name_its_copy(cloudy: Site, proxy: Awkward, service: str) -> None:
    gone: list[dict[str, bytes]] = []

    def look(request: Request) -> None:
        if request.method == "DELETE":
            gone.append(objects(service))

    before = taken_in(cloudy)
    was = objects(service)
    assert before in was.values()
    proxy.answer = look
    with at_work(cloudy, **OLD):
        cloudy.command("compress", **OLD)
        eventually(lambda: followed(cloudy), "storage to follow")
    assert len(gone) == 2, "the recording, and its metadata under the name of its hash"
    for held in gone:
        assert sidecar(held)["audio"][0]["key"].endswith(".opus")
        assert sidecar(held)["audio"][0]["key"] in held
    hold_to_the_end(cloudy, objects(service), before)


def test_with_s3_away_the_original_stays_there_until_the_copy_has_moved(
    cloudy: Site, proxy: Awkward, service: str
) -> None:
    before = taken_in(cloudy)
    proxy.answer = lambda request: (503, {}, b"")
    with at_work(cloudy, **OLD) as daemon:
        cloudy.command("compress", **OLD)
        daemon.wait_for("storage.fell_back")
        copied = "SELECT 1 FROM copy WHERE role = 'audio' AND place = 'local' AND bound_for IS NOT NULL"
        eventually(lambda: cloudy.rows(copied), "the copy to wait in the local store")
        assert before in objects(service).values()
        assert not cloudy.rows(SUPERSEDED)
        proxy.answer = lambda request: None
        eventually(lambda: not cloudy.rows("SELECT 1 FROM copy WHERE bound_for IS NOT NULL"), "all to move")
    assert cloudy.command("storage", "drain", **OLD).returncode == 0
    with at_work(cloudy, **OLD):
        eventually(lambda: followed(cloudy), "storage to follow")
    hold_to_the_end(cloudy, objects(service), before)


def test_originals_stay_in_storage_where_they_are_to_stay(site: Site) -> None:
    keep = {**OLD, "CALLSPOOL_STORAGE__FOLLOW_COMPRESSION": "false"}
    before = taken_in(site)
    held = uploads(site)
    with at_work(site, **keep) as daemon:
        site.command("compress", **keep)
        daemon.wait_for("original.removed")
        site.rest()
    assert not original(site).exists()
    assert uploads(site) == held
    assert before in held.values()
    assert site.command("verify", "--deep", "100%").returncode == 0


FEW = ("storage.put.performed:2", "storage.supersede.performing:1", "storage.supersede.performed:1")
"""Where something is changed and not yet known; the slow test tries every point that is passed, in S3."""


def killed(site: Site, kill: str) -> list[str]:
    """Compress with a kill at that point (none: to the end); returns the points that were passed."""
    trace = site.folder / "trace"
    armed = {**OLD, "CALLSPOOL_TRACE": str(trace), **({"CALLSPOOL_TRACE_KILL": kill} if kill else {})}
    with site.daemon(**armed) as daemon:
        daemon.wait_for("daemon.started")
        site.command("compress", **OLD)
        if kill:
            assert daemon.ended() == -signal.SIGKILL, f"{kill} was never passed"
        else:
            eventually(lambda: followed(site, 1), "storage to follow")
            assert daemon.stop() == 0
    return [":".join(line.split()) for line in trace.read_text().splitlines()]


def hold_to_one(site: Site, held: dict[str, bytes], before: bytes) -> None:
    """At this instant the original is stored, or the copy that lies in the folder is."""
    sounds = [data for key, data in held.items() if key.endswith((".wav", ".opus"))]
    assert before in sounds or [copy.read_bytes() for copy in site.recordings.glob("*.opus")] == sounds


@pytest.mark.parametrize("kill", FEW)
def test_killed_on_the_way_the_end_is_the_same(kill: str, site: Site) -> None:
    before = taken_in(site)
    killed(site, kill)
    hold_to_one(site, uploads(site), before)
    with at_work(site, **OLD):
        eventually(lambda: followed(site, 1), "storage to follow")
    hold_to_the_end(site, uploads(site), before)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_every_step_of_following_s3_holds_one_recording_in_the_end(
    tmp_path: Path, cloudy: Site, service: str
) -> None:
    before = taken_in(cloudy)
    points = [point for point in killed(cloudy, "") if point.startswith("storage.")]
    hold_to_the_end(cloudy, objects(service), before)
    assert {point.split(":")[0] for point in points} >= {"storage.put.performing", "storage.supersede.performed"}
    for nth, point in enumerate(points):
        empty(service)
        folder = tmp_path / f"killed-{nth}"
        folder.mkdir()
        site = Site(folder, **{name: cloudy.environ[name] for name in CLOUD})
        before = taken_in(site)
        killed(site, point)
        hold_to_one(site, objects(service), before)
        with at_work(site, **OLD):
            eventually(partial(followed, site), "storage to follow")
        hold_to_the_end(site, objects(service), before)

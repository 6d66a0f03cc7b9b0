"""The whole daemon and its storage: local by default, S3 when it is there, and a copy safe whatever fails."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from handlers.demo.crm import LoopbackCrm
from tests.flow.steps import at_work, delivered
from tests.flow.stored import objects, stored, uploads
from tests.support.calls import FieldCall
from tests.support.process import Site, eventually
from tests.support.s3 import BUCKET, Awkward, client

CALLS = [FieldCall(nth, lead=nth == 0) for nth in range(3)]


def test_without_a_word_of_configuration_every_call_lies_whole_in_uploads(site: Site) -> None:
    call = CALLS[0]
    with at_work(site) as daemon:
        call.drop(site)
        stored(daemon, site, 1)
        delivered(daemon, site)
    folder = f"{call.session_id}/2025/10/29"
    found = uploads(site)
    stem = call.recording_name.removesuffix(".ogg")
    names = ["_transcript.txt", "_transcript.json", "_lead.json", "_call.json"]
    assert sorted(found) == sorted(
        [f"{folder}/{stem}.ogg", f"{folder}/{stem}_metadata.json", *(f"{folder}/{call.session_id}{n}" for n in names)]
    )
    assert found[f"{folder}/{stem}.ogg"] == (site.recordings / call.recording_name).read_bytes()
    assert found[f"{folder}/{call.session_id}_transcript.txt"].decode().splitlines() == [
        "Agent: How may I help?",
        "Customer: A quote, please.",
    ]
    metadata = json.loads(found[f"{folder}/{stem}_metadata.json"])
    assert metadata["sha256"] == hashlib.sha256(found[f"{folder}/{stem}.ogg"]).hexdigest()
    assert (metadata["conversation_id"], metadata["speaker_count"]) == (call.session_id, 2)
    assert metadata["duration"] == pytest.approx(3.0, abs=0.001)
    sidecar = json.loads(found[f"{folder}/{call.session_id}_call.json"])
    assert sidecar["schema"] == "callspool.call/1"
    assert [one["key"] for one in sidecar["audio"]] == [f"{folder}/{stem}.ogg"]
    assert site.command("verify", "--deep", "100%").returncode == 0


def test_verify_tells_what_is_missing_what_differs_and_what_nobody_knows(site: Site) -> None:
    with at_work(site) as daemon:
        CALLS[0].drop(site)
        stored(daemon, site, 1)
    found = sorted((site.folder / "uploads").rglob("*.*"))
    lead = next(path for path in found if path.name.endswith("_lead.json"))
    audio = next(path for path in found if path.suffix == ".ogg")
    lead.unlink()
    data = audio.read_bytes()
    audio.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (site.folder / "uploads" / "stray").write_text("?")
    done = site.command("verify", "--deep", "100%", "--json")
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 5
    assert [one["role"] for one in told["missing"]] == ["lead"]
    assert [one["role"] for one in told["differing"]] == ["audio"]
    assert [one["key"] for one in told["unknown"]] == ["stray"]


def spoil(site: Site) -> dict[str, bytes]:
    """Lose the lead, flip a byte of the audio, cut the transcript short; returns what the local store held before."""
    before = uploads(site)
    for key, data in before.items():
        path = site.folder / "uploads" / key
        if key.endswith("_lead.json"):
            path.unlink()
        elif key.endswith(".ogg"):
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        elif key.endswith("_transcript.txt"):
            path.write_bytes(data[:5])
    return before


def test_verify_repair_puts_again_what_is_missing_damaged_or_cut_short(site: Site) -> None:
    with at_work(site) as daemon:
        CALLS[0].drop(site)
        stored(daemon, site, 1)
    before = spoil(site)
    would = json.loads(site.command("verify", "--deep", "100%", "--repair", "--dry-run", "--json").stdout)
    assert would["repair"] == {"repairing": 3, "hopeless": []}
    assert uploads(site) != before
    done = site.command("verify", "--deep", "100%", "--repair")
    assert (done.returncode, uploads(site)) == (0, before), done.stdout
    assert site.command("verify", "--deep", "100%").returncode == 0
    (name,) = [row["fields"] for row in site.rows("SELECT fields FROM journal WHERE event = 'storage.lost'")]
    assert json.loads(name)["objects"] == 3


def test_retry_beside_the_daemon_puts_a_stored_call_again_where_it_is_damaged(site: Site) -> None:
    with at_work(site) as daemon:
        CALLS[0].drop(site)
        stored(daemon, site, 1)
        before = uploads(site)
        for _ in range(2):  # a second loss of the same objects is mended as well
            spoil(site)
            (call,) = site.rows("SELECT id FROM conversation")
            assert f"store:{call['id']}" in site.ask("retry", f"c{call['id']}")["retried"]
            eventually(lambda: uploads(site) == before, "everything as it was")
            site.rest()
    assert site.command("verify", "--deep", "100%").returncode == 0


def test_a_copy_whose_source_is_gone_is_told_and_mended_once_it_is_dropped_again(site: Site) -> None:
    with at_work(site) as daemon:
        CALLS[0].drop(site)
        stored(daemon, site, 1)
        source = site.recordings / CALLS[0].recording_name
        audio = source.read_bytes()
        source.unlink()
        on_disk = "SELECT 1 FROM file JOIN recording ON item_id = recording.id WHERE state = 'known'"
        eventually(lambda: not site.rows(on_disk), "it is known to be gone")
        copy = next((site.folder / "uploads").rglob("*.ogg"))
        copy.unlink()
        done = site.command("verify", "--repair")
        assert done.returncode == 5
        assert "drop it again, then callspool verify --repair" in done.stdout
        source.write_bytes(audio)
        eventually(lambda: site.rows(on_disk), "it is back")
        assert site.command("verify", "--repair").returncode == 0
        assert copy.read_bytes() == audio


def test_objects_in_s3_that_are_missing_cut_short_or_overwritten_are_put_again(cloudy: Site, service: str) -> None:
    with at_work(cloudy) as daemon:
        CALLS[0].drop(cloudy)
        stored(daemon, cloudy, 1)
    before, held = objects(service), client(service)
    lead, audio, text = (
        next(key for key in before if key.endswith(end)) for end in ("_lead.json", ".ogg", "_transcript.txt")
    )
    held.delete_object(Bucket=BUCKET, Key=lead)
    metadata = held.head_object(Bucket=BUCKET, Key=audio)["Metadata"]
    held.put_object(Bucket=BUCKET, Key=audio, Body=before[audio][:-7], Metadata=metadata)
    held.put_object(Bucket=BUCKET, Key=text, Body=b"somebody else's")
    assert cloudy.command("verify").returncode == 5
    done = cloudy.command("verify", "--repair")
    assert (done.returncode, objects(service)) == (0, before), done.stdout
    assert cloudy.command("verify", "--deep", "100%").returncode == 0


def test_with_bucket_and_credentials_s3_is_chosen_and_no_key_holds_a_number(cloudy: Site, service: str) -> None:
    with at_work(cloudy) as daemon:
        CALLS[0].drop(cloudy)
        stored(daemon, cloudy, 1)
        daemon.wait_for("storage.probed")
    found = objects(service)
    assert len(found) == 6
    assert not [key for key in found if CALLS[0].phone.lstrip("+") in key]
    audio = (cloudy.recordings / CALLS[0].recording_name).read_bytes()
    assert [key for key, data in found.items() if data == audio] == [
        f"audio/{CALLS[0].session_id}/2025/10/29/{hashlib.sha256(audio).hexdigest()[:16]}.ogg"
    ]
    assert f"transcripts/{CALLS[0].session_id}/2025/10/29/{CALLS[0].session_id}_transcript.txt" in found
    assert uploads(cloudy) == {}
    info = cloudy.ask("storage", "info")
    assert (info["storage_type"], info["s3_bucket"], info["s3_enabled"]) == ("s3", BUCKET, True)
    assert info["price_per_gb"] == 0.0047, "behind an endpoint of its own"
    assert cloudy.ask("storage", "info", CALLSPOOL_STORAGE__PRICE_PER_GB="1024")["monthly_cost"] == pytest.approx(
        info["s3"]["bytes"] / 2**20, abs=0.0001
    )


def test_an_upload_in_parts_that_others_began_is_told_and_left_alone(cloudy: Site, service: str) -> None:
    with at_work(cloudy) as daemon:
        CALLS[0].drop(cloudy)
        stored(daemon, cloudy, 1)
    held = client(service)
    upload = held.create_multipart_upload(Bucket=BUCKET, Key="audio/another/2025/10/29/a.wav")["UploadId"]
    try:
        told = json.loads(cloudy.command("verify", "--json").stdout)
        assert [one["key"] for one in told["begun"]] == ["audio/another/2025/10/29/a.wav"]
        assert cloudy.command("verify").returncode == 0, "it is no difference between ledger and storage"
        assert cloudy.ask("storage", "info")["begun_by_others"] == 1
        left = held.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
        assert [one["UploadId"] for one in left] == [upload]
    finally:
        held.abort_multipart_upload(Bucket=BUCKET, Key="audio/another/2025/10/29/a.wav", UploadId=upload)


def test_what_doctor_finds_of_the_service_is_kept_with_its_date_and_used(cloudy: Site) -> None:
    with at_work(cloudy) as daemon:
        CALLS[0].drop(cloudy)
        stored(daemon, cloudy, 1)
        daemon.wait_for("storage.probed")
        before = cloudy.rows("SELECT probed_us FROM storage_probe")[0][0]
        cloudy.command("doctor")
        (row,) = cloudy.rows("SELECT probed_us, found FROM storage_probe")
        assert row["probed_us"] > before, "kept by the running daemon"
    cloudy.command("doctor")
    (later,) = cloudy.rows("SELECT probed_us, found FROM storage_probe")
    assert later["probed_us"] > row["probed_us"], "and without one"
    assert json.loads(later["found"])["multipart"] == "yes"


def test_s3_away_across_a_restart_loses_nothing_and_moves_it_when_it_is_back(
    cloudy: Site, proxy: Awkward, service: str
) -> None:
    proxy.answer = lambda request: (503, {"Retry-After": "1"}, b"<Error><Code>SlowDown</Code></Error>")
    with at_work(cloudy) as daemon:
        for call in CALLS:
            call.drop(cloudy)
        daemon.wait_for("storage.fell_back")
        query = "SELECT count(*) FROM copy WHERE role = 'sidecar' AND place = 'local' AND state = 'verified'"
        eventually(lambda: cloudy.rows(query)[0][0] == len(CALLS), "all calls in the local store")
        assert objects(service) == {}
    local = uploads(cloudy)
    next((cloudy.folder / "uploads").rglob("*.ogg")).unlink()
    proxy.answer = lambda request: None
    with at_work(cloudy) as daemon:
        daemon.wait_for("storage.lost")
        stored(daemon, cloudy, len(CALLS))
        assert cloudy.ask("failures")["failures"] == [], "what was to move and is not there is put from its source"
    assert uploads(cloudy) == {}
    assert sorted(objects(service).values()) == sorted(local.values())
    assert cloudy.command("verify", "--deep", "100%").returncode == 0


def test_another_object_under_the_key_is_left_alone_and_told_to_a_person(cloudy: Site, service: str) -> None:
    call = CALLS[1]
    key = f"transcripts/{call.session_id}/2025/10/29/{call.session_id}_transcript.txt"
    client(service).put_object(Bucket=BUCKET, Key=key, Body=b"somebody else's")
    with at_work(cloudy) as daemon:
        call.drop(cloudy)
        eventually(lambda: cloudy.rows("SELECT 1 FROM copy WHERE reason LIKE 'another%'"), "the conflict")
        eventually(lambda: cloudy.rows("SELECT 1 FROM copy WHERE role = 'sidecar' AND state = 'verified'"), "the rest")
        assert daemon.lines
    assert objects(service)[key] == b"somebody else's"
    assert [name for name in uploads(cloudy) if name.endswith("_transcript.txt")]
    told = cloudy.ask("failures")["failures"]
    assert ["another object lies in S3" in one["reason"] for one in told] == [True]
    assert "callspool storage drain" in cloudy.command("verify", "--repair").stdout
    assert objects(service)[key] == b"somebody else's", "it was never ours"
    client(service).delete_object(Bucket=BUCKET, Key=key)
    assert cloudy.ask("storage", "drain")["waiting"] == 1
    assert cloudy.command("once").returncode == 0
    assert cloudy.command("verify", "--deep", "100%").returncode == 0


def test_a_source_goes_only_after_its_call_is_verified_and_delivered(
    tmp_path: Path, crm: LoopbackCrm, cloudy: Site, service: str
) -> None:
    settings = {"CALLSPOOL_STORAGE__AFTER": "remove", "CALLSPOOL_STORAGE__GRACE": "500ms"}
    audio = b""
    with at_work(cloudy, **settings) as daemon:
        CALLS[2].drop(cloudy)
        path = cloudy.recordings / CALLS[2].recording_name
        audio = path.read_bytes()
        daemon.wait_for("source.removed")
        eventually(lambda: not path.exists(), "the source to be gone")
    assert audio in objects(service).values()
    assert len(crm.calls) == 1
    assert cloudy.rows("SELECT fields FROM journal WHERE event = 'source.removed'")


def test_old_recordings_are_given_the_class_of_the_archive_and_young_ones_and_papers_are_not(
    cloudy: Site, service: str
) -> None:
    with at_work(cloudy) as daemon:
        for call in CALLS:
            call.drop(cloudy)
        stored(daemon, cloudy, len(CALLS))
        refused = cloudy.command("storage", "archive")
        assert "no archive is configured" in refused.stderr
    years = {"CALLSPOOL_STORAGE__S3__ARCHIVE_AFTER": "36500d"}
    assert json.loads(cloudy.command("storage", "archive", "--json", **years).stdout)["objects"] == 0
    now = {"CALLSPOOL_STORAGE__S3__ARCHIVE_AFTER": "0s", "CALLSPOOL_STORAGE__S3__CLASS_FROM_SIZE": "1KB"}
    asked = json.loads(cloudy.command("storage", "archive", "--dry-run", "--json", **now).stdout)
    assert (asked["objects"], asked["class"]) == (len(CALLS), "GLACIER_IR")
    assert classes(service) == {"audio": {"STANDARD"}, "papers": {"STANDARD"}}
    for wanted in ("GLACIER_IR", "STANDARD_IA", "GLACIER_IR", "STANDARD_IA", "GLACIER_IR"):
        now["CALLSPOOL_STORAGE__S3__ARCHIVE_CLASS"] = wanted
        assert cloudy.command("storage", "archive", **now).returncode == 0
        assert classes(service) == {"audio": {wanted}, "papers": {"STANDARD"}}
    assert json.loads(cloudy.command("storage", "archive", "--json", **now).stdout)["objects"] == 0
    assert cloudy.command("verify", "--deep", "100%").returncode == 0
    told = [
        json.loads(row["fields"]) for row in cloudy.rows("SELECT fields FROM journal WHERE event = 'storage.archived'")
    ]
    assert len(told) == 5 * len(CALLS)


def classes(url: str) -> dict[str, set[str]]:
    """The storage classes of recordings, and of all the rest."""
    found: dict[str, set[str]] = {"audio": set(), "papers": set()}
    for one in client(url).list_objects_v2(Bucket=BUCKET)["Contents"]:
        if ".callspool-probe" not in one["Key"]:
            found["audio" if one["Key"].endswith((".ogg", ".wav", ".webm")) else "papers"].add(one["StorageClass"])
    return found


def test_a_class_that_the_service_refuses_is_told_once_and_everything_stays(cloudy: Site, proxy: Awkward) -> None:
    refusal = b"<Error><Code>InvalidStorageClass</Code></Error>"
    with at_work(cloudy) as daemon:
        CALLS[0].drop(cloudy)
        stored(daemon, cloudy, 1)
    now = {"CALLSPOOL_STORAGE__S3__ARCHIVE_AFTER": "0s", "CALLSPOOL_STORAGE__S3__CLASS_FROM_SIZE": "1KB"}
    proxy.answer = lambda one: (400, {}, refusal) if "x-amz-storage-class" in one.headers else None
    for due in (1, 0):
        assert json.loads(cloudy.command("storage", "archive", "--json", **now).stdout)["objects"] == due
    assert len(cloudy.rows("SELECT 1 FROM journal WHERE event = 'storage.unarchived'")) == 1
    proxy.answer = lambda _one: None
    other = {**now, "CALLSPOOL_STORAGE__S3__ARCHIVE_CLASS": "STANDARD_IA"}
    assert json.loads(cloudy.command("storage", "archive", "--json", **other).stdout)["objects"] == 1
    assert cloudy.command("verify").returncode == 0

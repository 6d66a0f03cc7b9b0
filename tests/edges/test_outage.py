"""S3 away for an hour, with calls coming all the while: the room on a real ledger and runner, the clock set by hand."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from daemon.contract import JobSpec
from daemon.ledger.paths import StatePaths
from handlers.records import MultipartBegun
from handlers.settings import Pace
from handlers.storage.content import OfText
from handlers.storage.handler import LONE, SWEEP
from handlers.storage.kept import Kept
from handlers.storage.pace import Hours
from handlers.storage.planning import NOWHERE
from handlers.storage.service import Credentials, s3_of
from handlers.storage.store import Described
from tests.support.ledger import ToyClock
from tests.support.process import eventually
from tests.support.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, Awkward, Request, awkward, client, moto, storage_settings
from tests.support.storing import BOUND, Answer, Site, broken, stored
from tests.support.watching import RealClock

OBJECTS = 3
"""Of each recording that no call claims: audio, metadata, sidecar."""


@pytest.fixture
def proxy() -> Iterator[Awkward]:
    with moto() as url, awkward(url) as told:
        yield told


@pytest.mark.parametrize("calls", [8, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_an_hour_without_s3_loses_nothing_and_drains_oldest_first_by_itself(
    tmp_path: Path, proxy: Awkward, calls: int
) -> None:
    site = Site(tmp_path, proxy.url)
    slow: Answer = (503, {}, b"<Error><Code>SlowDown</Code></Error>")
    proxy.answer = broken([(500, {}, b""), slow, (502, {}, b"no gateway")])
    steps = 12 if calls > 100 else 4
    for part in (range(steps // 2), range(steps // 2, steps)):  # the daemon is restarted in the middle
        with site.at_work():
            for step in part:
                for number in range(step * calls // steps, (step + 1) * calls // steps):
                    site.drop(number)
                site.pass_time(timedelta(hours=1) / steps)
                assert site.safe() == len(site.dropped)
            site.every_copy_lies_there()
    assert stored(proxy) == {}

    proxy.answer = lambda _request: None
    with site.at_work():
        site.pass_until(lambda: not site.rows(BOUND), "all has moved")
        site.every_copy_lies_there()
        assert site.rows("SELECT 1 FROM job WHERE state = 'parked'") == []
        both = "SELECT s3.item_id FROM copy AS s3 JOIN copy AS here ON here.item_id = s3.item_id WHERE s3.place = 's3' "
        both += "AND here.place = 'local' ORDER BY "
        moved, meant = (site.rows(f"{both} {by}") for by in ("s3.verified_us", "here.intended_us"))
    audio = {key: hashlib.sha256(data).hexdigest() for key, data in stored(proxy).items() if key.endswith(".ogg")}
    assert sorted(audio.values()) == sorted(site.dropped)
    assert [tuple(row) for row in moved] == [tuple(row) for row in meant], "oldest first"
    assert len(moved) == calls
    assert [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()] == []
    assert len(stored(proxy)) == OBJECTS * calls


@pytest.mark.parametrize(("kept", "metadata"), [(True, True), (True, False), (False, False)])
def test_a_ledger_begun_anew_takes_its_own_papers_for_its_own(
    tmp_path: Path, proxy: Awkward, kept: bool, metadata: bool
) -> None:
    """Also where the service forgot what each object said of itself; another host's sidecar stays what it is."""

    def forget(_request: Request, headers: dict[str, str]) -> None:
        for name in [name for name in headers if name.lower().startswith("x-amz-meta-")]:
            del headers[name]

    if not metadata:
        proxy.change = forget
    site = Site(tmp_path, proxy.url)
    with site.at_work():
        site.drop(1)
        site.pass_time(timedelta(minutes=1))
    before = stored(proxy)
    paths = StatePaths(tmp_path / "state")
    for path in tmp_path.joinpath("state").iterdir():
        if path.is_file() and not (kept and path == paths.host):
            path.unlink()
    site.clock.advance(timedelta(hours=1))  # so that the papers say something else
    with site.at_work():
        site.drop(1)
        site.pass_time(timedelta(minutes=1))
        stranded = site.rows("SELECT role FROM copy WHERE reason != ''")
        site.every_copy_lies_there()
    assert [row["role"] for row in stranded] == ([] if kept else ["sidecar"])
    after = stored(proxy)
    changed = {key.rpartition("_")[2] for key in before if after[key] != before[key]}
    assert changed == {"metadata.json"}


@pytest.mark.parametrize("moved", [True, False])
def test_what_is_gone_from_the_local_store_before_it_moved_is_found_in_s3_or_written_again(
    tmp_path: Path, proxy: Awkward, moved: bool
) -> None:
    """An older ledger takes for waiting what had moved. What S3 does not have either is put again, and said."""
    site = Site(tmp_path, proxy.url)
    proxy.answer = broken([(500, {}, b"")])
    with site.at_work():
        site.drop(1)
        site.pass_time(timedelta(minutes=1))
    older, state = tmp_path / "older", tmp_path / "state"
    shutil.copytree(state, older)
    if moved:
        proxy.answer = lambda _request: None
        with site.at_work():
            site.pass_until(lambda: not site.rows(BOUND), "all has moved")
        shutil.rmtree(state)
        older.rename(state)
        assert not any(path.is_file() for path in (tmp_path / "uploads").rglob("*"))
    else:
        shutil.rmtree(tmp_path / "uploads")
    before = stored(proxy)
    proxy.answer = lambda _request: None
    with site.at_work():
        site.pass_until(lambda: not site.rows(BOUND), "all has moved")
        site.pass_until(site.nothing_due, "all is done")
        site.every_copy_lies_there()
        said = [row["fields"] for row in site.rows("SELECT fields FROM journal WHERE event = 'storage.lost'")]
        assert sum(json.loads(fields)["objects"] for fields in said) == (0 if moved else OBJECTS)
    assert len(stored(proxy)) == OBJECTS
    if moved:
        assert stored(proxy) == before


def test_what_nothing_holds_any_more_waits_for_a_person(tmp_path: Path, proxy: Awkward) -> None:
    site = Site(tmp_path, proxy.url)
    proxy.answer = broken([(500, {}, b"")])
    with site.at_work():
        site.drop(1)
        site.pass_time(timedelta(minutes=1))
        (recording,) = site.rows("SELECT key FROM copy WHERE role = 'audio' AND place = 'local'")
        (tmp_path / "uploads" / recording["key"]).unlink()
        site.take_away("call-0001.ogg")
        proxy.answer = lambda _request: None
        site.pass_until(lambda: len(site.rows(BOUND)) == 1, "all but one has moved")
        site.pass_until(site.nothing_due, "all is done")
        assert [row["reason"] for row in site.rows("SELECT reason FROM copy WHERE bound_for NOTNULL")] == [NOWHERE]
    assert len(stored(proxy)) == OBJECTS - 1


@pytest.mark.parametrize("role", ["metadata", "audio"])
def test_other_bytes_under_a_copys_name_keep_no_other_from_moving(tmp_path: Path, proxy: Awkward, role: str) -> None:
    """As an older ledger may: it is put from its source, and what lies there stays."""
    site = Site(tmp_path, proxy.url)
    proxy.answer = broken([(500, {}, b"")])
    with site.at_work():
        site.drop(1)
        site.drop(2)
        site.pass_time(timedelta(minutes=1))
        (changed, *_) = site.rows(f"SELECT * FROM copy WHERE role = '{role}' AND place = 'local' ORDER BY verified_us")
        path = tmp_path / "uploads" / changed["key"]
        path.write_bytes(b"x" * changed["size"])
        proxy.answer = lambda _request: None
        site.pass_until(lambda: not site.rows(BOUND), "all has moved")
        site.pass_until(site.nothing_due, "all is done")
    assert len(stored(proxy)) == 2 * OBJECTS
    assert path.read_bytes() == b"x" * changed["size"]


def test_with_other_bytes_under_its_name_and_s3_away_once_more_it_waits_for_s3(tmp_path: Path, proxy: Awkward) -> None:
    site = Site(tmp_path, proxy.url)
    proxy.answer = broken([(500, {}, b"")])
    with site.at_work():
        site.drop(1)
        site.pass_time(timedelta(minutes=1))
        (changed,) = site.rows("SELECT * FROM copy WHERE role = 'audio' AND place = 'local'")
        (tmp_path / "uploads" / changed["key"]).write_bytes(b"x" * changed["size"])
        lost = "SELECT 1 FROM copy WHERE lost_us NOTNULL"
        proxy.answer = lambda one: (500, {}, b"") if one.method == "PUT" and site.rows(lost) else None
        site.pass_until(lambda: bool(site.rows(lost)), "it was seen to be something else")
        site.pass_time(timedelta(minutes=5))
        assert not site.rows("SELECT 1 FROM job WHERE state = 'parked'")
        proxy.answer = lambda _request: None
        site.pass_until(lambda: site.safe() == 1, "it is in S3")
    assert len(stored(proxy)) == OBJECTS


@pytest.mark.parametrize("follow", [True, False])
def test_what_was_put_again_is_one_object_when_a_copy_takes_its_sources_place(
    tmp_path: Path, proxy: Awkward, follow: bool
) -> None:
    site = Site(tmp_path, proxy.url, follow_compression=follow)
    proxy.answer = broken([(500, {}, b"")])
    with site.at_work():
        site.drop(1)
        site.pass_time(timedelta(minutes=1))
        (recording,) = site.rows("SELECT key, item_id FROM copy WHERE role = 'audio' AND place = 'local'")
        (tmp_path / "uploads" / recording["key"]).unlink()
        proxy.answer = lambda _request: None
        site.pass_until(lambda: not site.rows(BOUND), "all has moved")
        site.pass_until(site.nothing_due, "all is done")
        before = stored(proxy)
        copy = site.settle("call-0001.opus", b"opus" * 100)
        replaced = "INSERT INTO compression (recording_id, state, name, sha256, size, original_size, copy_id, made_us) "
        replaced += "SELECT ?, 'replaced', name, sha256, size, 3200, id, 1 FROM item WHERE id = ?"
        values = (recording["item_id"], copy)
        site.ledger.write("test.replaced", lambda tx: tx.execute(replaced, values))
        site.take_away("call-0001.ogg")
        site.clock.advance(timedelta(hours=1))
        site.ledger.add_jobs([JobSpec(LONE, str(recording["item_id"]))])
        site.pass_time(timedelta(minutes=1))
        site.pass_time(timedelta(minutes=1))  # the original goes after that
        after = stored(proxy)
        assert len(before) == len(after) == OBJECTS
        assert (after == before) is not follow
        assert (b"opus" * 100 in after.values()) is follow
        site.every_copy_lies_there()


def test_what_could_not_move_moves_when_a_person_has_it_tried_again(tmp_path: Path, proxy: Awkward) -> None:
    site = Site(tmp_path, proxy.url)
    proxy.answer = broken([(500, {}, b"")])
    with site.at_work():
        site.drop(1)
        site.pass_time(timedelta(minutes=1))
        (here,) = site.rows("SELECT * FROM copy WHERE role = 'audio' AND place = 'local'")
        key = json.loads(here["bound_for"])["keys"]["s3"]
        another = client(proxy.upstream)
        another.put_object(Bucket=BUCKET, Key=key, Body=b"another's")
        proxy.answer = lambda _request: None
        site.pass_until(lambda: len(site.rows(BOUND)) == 1, "all but one has moved")
        for tried in range(2):
            site.ledger.act("storage.drain", site.acts["storage.drain"], {})
            site.pass_time(timedelta(minutes=1))
            assert len(site.rows(BOUND)) == 1, tried
            assert site.rows("SELECT 1 FROM copy WHERE bound_for NOTNULL AND reason LIKE 'another object%'"), tried
        another.delete_object(Bucket=BUCKET, Key=key)
        site.ledger.act("storage.drain", site.acts["storage.drain"], {})
        site.pass_time(timedelta(minutes=1))
        assert not site.rows(BOUND)
        site.every_copy_lies_there()
    assert len(stored(proxy)) == OBJECTS


@pytest.mark.parametrize("status", [400, 403])
def test_a_clock_that_is_off_strands_nothing_and_is_said(tmp_path: Path, proxy: Awkward, status: int) -> None:
    """A signature with another time than the service's is refused; the objects are not to blame."""
    site = Site(tmp_path, proxy.url, retry=["1m", "5m"])
    skewed: Answer = (status, {"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}, b"")
    proxy.answer = broken([(500, {}, b"")])
    with site.at_work():
        site.drop(1)
        site.pass_time(timedelta(minutes=1))
        proxy.answer = lambda _request: skewed
        site.drop(2)
        for _ in range(5):
            site.pass_time(timedelta(minutes=1))
        assert not site.rows("SELECT 1 FROM copy WHERE reason != ''")
        assert any("clock" in row["reason"] for row in site.rows("SELECT reason FROM destination"))
        proxy.answer = lambda _request: None
        site.pass_until(lambda: not site.rows(BOUND), "all has moved")
        site.every_copy_lies_there()
    assert len(stored(proxy)) == 2 * OBJECTS


@pytest.mark.parametrize("cut", [0, 1000])
def test_what_a_killed_service_left_of_an_object_is_made_whole(tmp_path: Path, proxy: Awkward, cut: int) -> None:
    site = Site(tmp_path, proxy.url)
    with site.at_work():
        site.drop(1)
        site.pass_time(timedelta(minutes=1))
    whole = stored(proxy)
    held = client(proxy.upstream)
    (key,) = [key for key in whole if key.endswith(".ogg")]
    for path in tmp_path.joinpath("state").iterdir():
        if path.is_file():
            path.unlink()
    held.put_object(Bucket=BUCKET, Key=key, Body=whole[key][:cut])
    with site.at_work():
        site.drop(1)
        site.pass_time(timedelta(minutes=1))
        assert not site.rows("SELECT 1 FROM copy WHERE role = 'audio' AND reason != ''")
        site.every_copy_lies_there()
    assert stored(proxy)[key] == whole[key]


def test_another_recording_under_its_key_stays_and_waits_for_a_person(tmp_path: Path, proxy: Awkward) -> None:
    site = Site(tmp_path, proxy.url)
    with site.at_work():
        site.drop(1)
        site.pass_time(timedelta(minutes=1))
    (key,) = [key for key in stored(proxy) if key.endswith(".ogg")]
    for path in tmp_path.joinpath("state").iterdir():
        if path.is_file():
            path.unlink()
    client(proxy.upstream).put_object(Bucket=BUCKET, Key=key, Body=b"somebody's")
    with site.at_work():
        site.drop(1)
        site.pass_time(timedelta(minutes=1))
        assert site.rows("SELECT 1 FROM copy WHERE role = 'audio' AND place = 'local' AND reason != ''")
        assert site.safe() == 1
    assert stored(proxy)[key] == b"somebody's"


def test_with_s3_away_and_the_disk_full_sources_wait_and_are_stored_when_either_is_back(
    tmp_path: Path, proxy: Awkward
) -> None:
    site = Site(tmp_path, proxy.url, min_free=2**60)
    proxy.answer = broken([(500, {}, b"")])
    with site.at_work():
        for number in range(3):
            site.drop(number)
        for _ in range(6):
            site.pass_time(timedelta(minutes=5))
        assert site.safe() == 0
        assert site.rows("SELECT 1 FROM job WHERE state = 'parked'") == []
        assert not (tmp_path / "uploads").exists()
    proxy.answer = lambda _request: None
    with site.at_work():
        for _ in range(20):
            site.pass_time(timedelta(minutes=1))
        eventually(lambda: site.safe() == 3, "all are stored")
        eventually(site.nothing_due, "the rest of them is")
        site.every_copy_lies_there()
    assert len(stored(proxy)) == OBJECTS * 3


def test_in_closed_hours_nothing_goes_out_and_everything_does_when_they_end(tmp_path: Path, proxy: Awkward) -> None:
    now = ToyClock().now()
    closes, opens = (now + timedelta(minutes=minutes) for minutes in (-10, 90))
    pace = {"between": f"{closes:%H:%M}-{opens:%H:%M}", "limit": 0}
    site = Site(tmp_path, proxy.url, pace=[pace])
    with site.at_work():
        for number in range(3):
            site.drop(number)
        for _ in range(3):
            site.pass_time(timedelta(minutes=20))
        assert site.safe() == 3
        assert not [one for one in proxy.requests if one.method in ("PUT", "POST")]
        for _ in range(10):
            site.pass_time(timedelta(minutes=10))
        site.every_copy_lies_there()
    assert len(stored(proxy)) == OBJECTS * 3


def test_bytes_go_out_no_faster_than_the_limit_says(proxy: Awkward) -> None:
    settings = storage_settings(proxy.url)
    paces = [Pace(between=between, limit=200 * 2**10) for between in ("00:00-12:00", "12:00-00:00")]
    store = s3_of(settings, Credentials(ACCESS_KEY, SECRET_KEY), Kept(), Hours(paces, UTC), RealClock())
    assert store is not None
    began_s, text = time.monotonic(), "x" * 40 * 2**10
    described = Described(hashlib.sha256(text.encode()).hexdigest(), len(text))
    for number in range(6):
        store.put(f"paced/{number}", OfText(text), described)
    assert time.monotonic() - began_s >= 5 * 40 / 200


def test_an_upload_in_parts_that_nobody_goes_on_with_is_given_up_and_anothers_is_not(
    tmp_path: Path, proxy: Awkward
) -> None:
    held, site = client(proxy.upstream), Site(tmp_path, proxy.url)
    ids = {key: held.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"] for key in ("ours", "anothers")}
    with site.at_work():
        site.ledger.write("begun", lambda tx: MultipartBegun(BUCKET, "ours", ids["ours"]).write(tx))
        for minutes in (30, 40):
            site.pass_time(timedelta(minutes=minutes))
            site.ledger.add_jobs([JobSpec(SWEEP, "all")])
            site.pass_time(timedelta(seconds=1))
            left = {one["Key"] for one in held.list_multipart_uploads(Bucket=BUCKET)["Uploads"]}
            assert left == ({"ours", "anothers"} if minutes == 30 else {"anothers"})
        assert site.rows("SELECT 1 FROM multipart") == []

"""Storage follows compression whatever comes between: no recording is lost, none stays twice, and no job turns in
circles."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.contract import Event, Job, JobSpec, Outcome, Reader
from handlers.model import AudioInfo, Recording, Side, TimeSource
from handlers.records import (
    AllUnstranded,
    CopyArrived,
    CopyJudged,
    CopyMade,
    CopyRemoved,
    CopySuperseded,
    OriginalGone,
    RecordingKnown,
)
from handlers.storage import follow, handler
from handlers.storage.follow import FOLLOW_ALL
from handlers.storage.handler import DRAIN, FOLLOW, LONE
from tests.support.s3 import BUCKET, Awkward, Request, awkward, client, moto
from tests.support.storing import BOUND, Site, broken, stored

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
ORIGINAL, COPY = "x1.wav", "x1.opus"


@pytest.fixture
def proxy() -> Iterator[Awkward]:
    with moto() as url, awkward(url) as told:
        yield told


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often it was decided about storing, and about following."""
    return counted(monkeypatch, (follow.FollowHandler, "follow"), (handler.StoreHandler, "store"))


def counted(monkeypatch: pytest.MonkeyPatch, *made: tuple[Any, str]) -> Counter[str]:
    """How often each of these handlers decides, by the names given."""
    counted: Counter[str] = Counter()
    for kind, name in made:

        def plan(self: Any, job: Job, read: Reader, name: str = name, before: Any = kind.plan) -> Outcome:
            counted[name] += 1
            outcome: Outcome = before(self, job, read)
            return outcome

        monkeypatch.setattr(kind, "plan", plan)
    return counted


class Aged(Site):
    """A site whose recordings grow old."""

    def record(self, name: str = ORIGINAL, side: Side = Side.MIXED, group: str = "r-x1") -> int:
        """A finished recording that no call claims, to be stored by itself."""
        data = bytes_of(name)
        item = self.settle(name, data)
        audio = AudioInfo("wav", "pcm_s16le", 8000, 1, 3.0, 3.0)
        known = Recording(
            item, name, group, side, len(data), audio, None, None, None, None, None, None, self.clock.now()
        )
        known = dataclasses.replace(known, start_at=BEGAN, start_source=TimeSource.NAME)
        self.ledger.write("recording.known", RecordingKnown(known).write)
        self.ledger.add_jobs([JobSpec(LONE, str(item))])
        return item

    def compress(self, item: int, original: str = ORIGINAL, copy: str = COPY) -> None:
        """A copy takes the original's place on disk."""
        data = bytes_of(copy)
        copied, sha256 = self.settle(copy, data), hashlib.sha256(data).hexdigest()
        made = CopyMade(item, copy, sha256, len(data), 3200, 32_000)
        for fact in (made, CopyJudged(item, {}, ""), CopyArrived(copied, sha256)):
            self.ledger.write("compressed", fact.write)
        self.take_away(original)
        self.clock.advance(timedelta(seconds=1))
        self.ledger.write("gone", OriginalGone(item).write)
        self.ledger.add_jobs([JobSpec(FOLLOW, str(item))])

    def quiet(self) -> None:
        """Let the seconds pass after which storing is looked at, until nothing is due any more."""
        for _ in range(3):
            self.pass_time(timedelta(seconds=6))

    def a_night_passes(self) -> None:
        """The nightly look for what storage has still to follow."""
        self.clock.advance(timedelta(days=1))
        self.ledger.add_jobs([JobSpec(FOLLOW_ALL, "all")])
        self.quiet()

    def held(self, role: str = "audio") -> dict[str, str]:
        """The objects of a role by their names, with their states."""
        rows = self.rows(f"SELECT key, state FROM copy WHERE place = 's3' AND role = '{role}' ORDER BY key")
        return {row["key"].rpartition("/")[2]: row["state"] for row in rows}


def bytes_of(name: str) -> bytes:
    """What a file holds: an original is larger than a copy."""
    return hashlib.sha256(name.encode()).digest() * (20 if name.endswith(".opus") else 100)


@contextmanager
def followed(tmp_path: Path, proxy: Awkward) -> Iterator[tuple[Aged, int]]:
    """A recording whose copy took its place, on disk and in S3."""
    site = Aged(tmp_path, proxy.url)
    with site.at_work():
        item = site.record()
        site.quiet()
        site.compress(item)
        site.quiet()
        assert site.held() == {COPY: "verified", ORIGINAL: "removed"}
        yield site, item


def whole(proxy: Awkward, *names: str) -> None:
    """S3 holds these recordings and no other, each named by a sidecar, with one metadata each."""
    there = stored(proxy)
    sidecars = [json.loads(data) for key, data in there.items() if key.endswith("_call.json")]
    told = [one["key"] for sidecar in sidecars for one in sidecar["audio"]]
    assert sorted(key.rpartition("/")[2] for key in told) == sorted(names)
    assert sorted(key for key in there if not key.endswith(".json")) == sorted(told)
    assert len([key for key in there if key.endswith("_metadata.json")]) == len(names)


def test_an_original_that_is_dropped_again_and_again_does_not_come_back(
    tmp_path: Path, proxy: Awkward, planned: Counter[str]
) -> None:
    with followed(tmp_path, proxy) as (site, item):
        for _ in range(3):
            assert site.settle(ORIGINAL, bytes_of(ORIGINAL)) == item
            site.ledger.add_jobs([JobSpec(LONE, str(item))])
            site.quiet()
            site.take_away(ORIGINAL)
            planned.clear()
            site.a_night_passes()
            assert planned.total() <= 2
        site.every_copy_lies_there()
    whole(proxy, COPY)


def test_a_paper_that_is_wanted_in_an_earlier_form_is_put_again(tmp_path: Path, proxy: Awkward) -> None:
    with followed(tmp_path, proxy) as (site, item):
        for _ in range(3):  # the copy is lost, and the original put back; then another copy takes its place
            (copy,) = site.rows(f"SELECT key FROM copy WHERE item_id != {item} AND role = 'audio'")
            site.ledger.write("test.lost", CopySuperseded("s3", BUCKET, copy["key"], "test").write)
            assert site.settle(ORIGINAL, bytes_of(ORIGINAL)) == item
            site.ledger.add_jobs([JobSpec(LONE, str(item))])
            site.quiet()
            assert site.held()[ORIGINAL] == "verified"
            site.take_away(ORIGINAL)
            site.a_night_passes()
            assert site.held() == {COPY: "verified", ORIGINAL: "removed"}
        assert set(site.held("sidecar").values()) == {"verified"}
    whole(proxy, COPY)


@pytest.mark.parametrize("away", [True, False])
def test_two_sides_that_no_call_claims_are_followed_as_one(
    tmp_path: Path, proxy: Awkward, planned: Counter[str], away: bool
) -> None:
    site = Aged(tmp_path, proxy.url)
    with site.at_work():
        sides = [
            (site.record(f"u1_{side.value}.wav", side, "g:u1"), f"u1_{side.value}")
            for side in (Side.AGENT, Side.CUSTOMER)
        ]
        site.quiet()
        proxy.answer = broken([(503, {}, b"")]) if away else lambda _request: None
        planned.clear()
        for item, stem in sides:
            site.compress(item, f"{stem}.wav", f"{stem}.opus")
        site.quiet()
        assert planned.total() < 20
        proxy.answer = lambda _request: None
        site.pass_until(lambda: not site.rows(BOUND), "all has moved")
        site.quiet()
        site.a_night_passes()
        site.every_copy_lies_there()
    whole(proxy, "u1_agent.opus", "u1_customer.opus")


def test_an_older_paper_that_waits_to_move_never_takes_the_place_of_a_newer_one(tmp_path: Path, proxy: Awkward) -> None:
    site = Aged(tmp_path, proxy.url)
    proxy.answer = broken([(503, {}, b"")])
    with site.at_work():
        item = site.record()
        site.quiet()
        only_audio = "UPDATE copy SET reason = 'later' WHERE place = 'local' AND role = 'sidecar'"
        site.ledger.write("test.later", lambda tx: tx.execute(only_audio))
        proxy.answer = lambda _request: None
        site.pass_until(lambda: site.held() == {ORIGINAL: "verified"}, "the recording has moved")
        site.compress(item)
        site.quiet()
        site.a_night_passes()
        assert site.held()[ORIGINAL] == "verified", "nothing goes while a paper waits to move"
        site.ledger.act("storage.drain", site.acts["storage.drain"], {})
        site.pass_until(lambda: not site.rows(BOUND), "all has moved")
        site.quiet()
        site.a_night_passes()
        assert site.held() == {COPY: "verified", ORIGINAL: "removed"}
        site.every_copy_lies_there()
    whole(proxy, COPY)


@pytest.mark.parametrize("hours", [0, -3])
def test_newer_content_that_was_put_ends_an_older_move_whatever_the_clock_says(
    tmp_path: Path, proxy: Awkward, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained: Counter[str] = counted(monkeypatch, (handler.DrainHandler, "drain"))
    site = Aged(tmp_path, proxy.url)
    proxy.answer = broken([(503, {}, b"")])
    with site.at_work():
        site.record("u1_agent.wav", Side.AGENT, "g:u1")
        site.quiet()
        later = "UPDATE copy SET reason = 'later' WHERE role = 'sidecar'"
        site.ledger.write("test.later", lambda tx: tx.execute(later))
        proxy.answer = lambda _request: None
        site.pass_until(lambda: "u1_agent.wav" in site.held(), "the recording has moved")
        site.clock.jump(timedelta(hours=hours))
        site.record("u1_customer.wav", Side.CUSTOMER, "g:u1")
        site.quiet()
        assert site.held("sidecar") == {"u1_call.json": "verified"}
        drained.clear()
        site.ledger.write("test.drain", AllUnstranded().write)
        site.ledger.add_jobs([JobSpec(DRAIN, "s3")])
        site.quiet()
        assert drained["drain"] < 10
        [old] = site.rows("SELECT reason, state FROM copy WHERE place = 'local' AND role = 'sidecar'")
        assert (old["state"], old["reason"]) == ("removed", "newer content of its call is verified in S3")
        site.every_copy_lies_there()
    whole(proxy, "u1_agent.wav", "u1_customer.wav")
    assert not list(tmp_path.joinpath("uploads").rglob("*_call.json"))


def test_an_original_that_is_dropped_again_is_put_where_its_copy_is_gone_from_everywhere(
    tmp_path: Path, proxy: Awkward
) -> None:
    with followed(tmp_path, proxy) as (site, item):
        site.take_away(COPY)
        [gone] = site.rows("SELECT place, bucket, key FROM copy WHERE role = 'audio' AND state = 'verified'")
        client(proxy.upstream).delete_object(Bucket=BUCKET, Key=gone["key"])
        assert site.settle(ORIGINAL, bytes_of(ORIGINAL)) == item
        told: Any = site.ledger.act("storage.repair", site.acts["storage.repair"], {"found": [list(gone)]})
        assert told["repairing"] == 1
        site.quiet()
        assert site.held()[ORIGINAL] == "verified"
        site.every_copy_lies_there()
    whole(proxy, ORIGINAL)


def test_what_was_let_go_for_nobody_wanted_it_is_put_when_it_is_wanted_again(tmp_path: Path, proxy: Awkward) -> None:
    site = Aged(tmp_path, proxy.url)
    with site.at_work():
        item = site.record()
        site.quiet()
        [first] = site.rows("SELECT place, bucket, key FROM copy WHERE role = 'audio'")
        site.ledger.write("test.removed", CopyRemoved("s3", first["bucket"], first["key"], "unwanted").write)
        client(proxy.upstream).delete_object(Bucket=BUCKET, Key=first["key"])
        site.ledger.add_jobs([JobSpec(LONE, str(item))])
        site.quiet()
        assert site.held() == {ORIGINAL: "verified"}
        site.every_copy_lies_there()
    whole(proxy, ORIGINAL)


def test_what_once_waited_for_s3_keeps_nothing_back_where_the_local_store_is_home(
    tmp_path: Path, proxy: Awkward
) -> None:
    site = Aged(tmp_path, proxy.url, backend="local")
    with site.at_work():
        item = site.record()
        site.quiet()
        bound = "UPDATE copy SET bound_for = '{}' WHERE role = 'metadata'"
        site.ledger.write("test.bound", lambda tx: tx.execute(bound))
        site.compress(item)
        site.quiet()
    assert [path.name for path in tmp_path.joinpath("uploads").rglob("x1.*")] == [COPY]


def test_a_retry_of_any_side_puts_all_of_them_again(tmp_path: Path, proxy: Awkward) -> None:
    site = Aged(tmp_path, proxy.url)
    with site.at_work():
        names = {side: f"u1_{side.value}.wav" for side in (Side.AGENT, Side.CUSTOMER)}
        items = [site.record(name, side, "g:u1") for side, name in names.items()]
        site.quiet()
        for row in site.rows("SELECT key FROM copy WHERE role = 'audio'"):
            client(proxy.upstream).delete_object(Bucket=BUCKET, Key=row["key"])
        with site.ledger.view() as view:
            acted = site.redo[LONE](view, str(items[1]))
        for fact in acted.facts:
            site.ledger.write("test.redo", fact.write)
        site.ledger.add_jobs(acted.then)
        site.quiet()
        site.every_copy_lies_there()
    whole(proxy, *names.values())


def test_a_retry_forgets_no_original_that_lies_there_still(tmp_path: Path, proxy: Awkward) -> None:
    def denied(request: Request) -> tuple[int, dict[str, str], bytes] | None:
        return (403, {}, b"<Error><Code>AccessDenied</Code></Error>") if request.method == "DELETE" else None

    site = Aged(tmp_path, proxy.url)
    with site.at_work():
        item = site.record()
        site.quiet()
        proxy.answer = denied
        site.compress(item)
        site.pass_until(lambda: site.held() == {COPY: "verified", ORIGINAL: "verified"}, "the copy is stored")
        with site.ledger.view() as view:
            acted = site.redo[LONE](view, str(item))
        for fact in acted.facts:
            site.ledger.write("test.redo", fact.write)
        site.ledger.add_jobs(acted.then)
        site.quiet()
        assert site.held() == {COPY: "verified", ORIGINAL: "verified"}
        proxy.answer = lambda _request: None
        site.clock.advance(timedelta(days=1))
        site.a_night_passes()
        site.pass_until(lambda: site.held()[ORIGINAL] == "removed", "the original is let go")
    whole(proxy, COPY)


def test_while_storing_waits_following_does_not_ask_again_and_again(
    tmp_path: Path, proxy: Awkward, planned: Counter[str]
) -> None:
    site = Aged(tmp_path, proxy.url)
    with site.at_work():
        item = site.record()
        site.quiet()
    site.settings = site.settings.model_copy(update={"min_free": 10**15})
    proxy.answer = broken([(503, {}, b"")])
    with site.at_work():
        site.compress(item)
        site.quiet()
        planned.clear()
        site.a_night_passes()
        for _ in range(30):
            site.clock.advance(timedelta(seconds=10))
            site.quiet()
        assert planned["follow"] <= 2
        assert site.held()[ORIGINAL] == "verified"


def test_a_service_that_keeps_no_metadata_gives_the_copy_to_be_read(tmp_path: Path, proxy: Awkward) -> None:
    def forget(_request: Request, headers: dict[str, str]) -> None:
        for name in [name for name in headers if name.lower().startswith("x-amz-meta-")]:
            del headers[name]

    proxy.change = forget
    with followed(tmp_path, proxy) as (site, _item):
        assert [event for event in site.events if event.name == "destination.denied"] == []
    whole(proxy, COPY)


def test_a_copy_that_is_gone_from_s3_keeps_its_original_there(tmp_path: Path, proxy: Awkward) -> None:
    def gone(request: Request) -> tuple[int, dict[str, str], bytes] | None:
        return (404, {}, b"") if request.method == "HEAD" and request.path.endswith(".opus") and put else None

    put: list[Event] = []
    site = Aged(tmp_path, proxy.url)
    with site.at_work():
        item = site.record()
        site.quiet()
        put += site.events
        proxy.answer = gone
        site.compress(item)
        site.quiet()
        assert site.held() == {COPY: "verified", ORIGINAL: "verified"}
        assert site.rows(f"SELECT 1 FROM job WHERE kind = '{FOLLOW}' AND state = 'parked'")
        proxy.answer = lambda _request: None
    assert len([key for key in stored(proxy) if key.endswith((".wav", ".opus"))]) == 2

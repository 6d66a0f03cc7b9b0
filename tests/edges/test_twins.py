"""Two recordings with the very same bytes are two calls' own: what is written about them lies under keys of their own,
however close together they are stored."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from daemon.contract import Job, JobSpec, Outcome, Reader
from daemon.errors import TakenMeanwhile
from handlers.records import CopyIntended
from handlers.storage import handler
from handlers.storage.content import OfText
from handlers.storage.handler import LONE
from handlers.storage.layout import Layout
from handlers.storage.local import LocalStore
from handlers.storage.members import members_of_recording
from handlers.storage.planning import Places, Planner, Wanted
from handlers.storage.store import Content, Described, Stored
from tests.edges.test_stores import described
from tests.support.s3 import BUCKET, awkward, client, moto
from tests.support.storing import BOUND, Site


def papers(site: Site, place: str) -> list[tuple[int, str]]:
    """The verified sidecars: whose they are, and under which key."""
    found = site.rows(
        f"SELECT subject_id, key FROM copy WHERE role = 'sidecar' AND state = 'verified' AND place = '{place}'"
    )
    return sorted((row["subject_id"], row["key"]) for row in found)


@pytest.mark.parametrize("backend", ["local", "s3"])
def test_twins_that_are_stored_at_once_keep_each_its_own_papers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """With S3 that is away both lie in the local store, until it is back."""
    both = threading.Barrier(2, timeout=10)
    decide, decided = handler.StoreHandler.plan, []

    def plan(self: Any, job: Job, read: Reader) -> Outcome:
        outcome = decide(self, job, read)
        decided.append(job.key)
        if len(decided) <= 2:
            both.wait()
        return outcome

    monkeypatch.setattr(handler.StoreHandler, "plan", plan)
    with moto() as url, awkward(url) as proxy:
        proxy.answer = lambda _request: (500, {}, b"")
        site = Site(tmp_path, proxy.url, backend=backend)
        with site.at_work():
            twins = [site.known(1, "a.ogg"), site.known(1, "b.ogg")]
            site.ledger.add_jobs([JobSpec(LONE, str(item)) for item in twins])
            site.pass_until(lambda: len(papers(site, "local")) == 2, "both are stored")
            assert len(decided) >= 3  # whoever came later looked again
            for item, key in papers(site, "local"):
                assert json.loads((tmp_path / "uploads" / key).read_text())["call_id"] == f"r{item}"
            site.every_copy_lies_there()
            if backend == "s3":
                proxy.answer = lambda _request: None
                site.pass_until(lambda: not site.rows(BOUND), "all moved")
                for item, key in papers(site, "s3"):
                    body = client(url).get_object(Bucket=BUCKET, Key=key)["Body"].read()
                    assert json.loads(body)["call_id"] == f"r{item}"
            assert [item for item, _ in papers(site, backend)] == twins
            site.every_copy_lies_there()
            assert site.safe() == 2
    assert [event.name for event in site.events if event.name == "defect.caught"] == []


def test_a_recording_that_is_told_apart_keeps_its_keys_however_often_it_is_planned(tmp_path: Path) -> None:
    """Other content of its name lies in S3: it is told apart there, and in the local store before anything lies there
    too, so that a second decision wants what the first one wanted."""
    site = Site(tmp_path, "http://127.0.0.1:9")
    layout = Layout("", "{conversation}/{name}", "{conversation}")
    places = Places("s3", {"local": "", "s3": BUCKET}, {"local": layout, "s3": layout})

    def planned(item: int) -> Wanted:
        with site.ledger.view() as view:
            [audio] = Planner(places, members_of_recording(view, item), view).audio()
            return audio

    def claim(item: int, subject: int, sha256: str, keys: Mapping[str, str]) -> None:
        site.ledger.write(
            "claimed", CopyIntended("s3", BUCKET, keys["s3"], subject, "audio", item, sha256, 3200, ()).write
        )

    with site.at_work():
        site.runner.stop(10)
        item, other = site.known(1), site.known(2)
        plain = planned(item).keys
        assert len(set(plain.values())) == 1
        claim(other, other, "0" * 64, plain)
        first = planned(item)
        assert set(first.keys.values()).isdisjoint(plain.values())
        claim(item, item, first.sha256, first.keys)
        assert planned(item).keys == first.keys
        with pytest.raises(TakenMeanwhile):
            claim(item, item, first.sha256, plain)


def test_what_is_let_go_never_takes_the_folder_from_what_is_put(tmp_path: Path) -> None:
    store, done = LocalStore(str(tmp_path / "store"), 0), threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            store.put("call/other.json", OfText("two"), described("two"))
            store.delete("call/other.json")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for number in range(300):
            store.put(f"call/{number % 2}.json", OfText("one"), described("one"))
            store.delete(f"call/{number % 2}.json")
    finally:
        done.set()
        thread.join(10)


def test_one_key_is_written_by_one_at_a_time(tmp_path: Path) -> None:
    store, began, go_on = LocalStore(str(tmp_path), 0), threading.Event(), threading.Event()

    class Slow:
        def open(self) -> AbstractContextManager[BinaryIO]:
            began.set()
            assert go_on.wait(10)
            return OfText("one").open()

    put: list[Stored] = []

    def keep(content: Content, about: Described) -> threading.Thread:
        thread = threading.Thread(target=lambda: put.append(store.put("call.json", content, about, over=True)))
        thread.start()
        return thread

    first = keep(Slow(), described("one"))
    assert began.wait(10)
    second = keep(OfText("two"), described("two"))
    second.join(0.2)
    assert second.is_alive()
    go_on.set()
    first.join(10)
    second.join(10)
    assert [stored.fresh for stored in put] == [True, True]
    assert (tmp_path / "call.json").read_text() == "two"

"""Two recordings with the very same bytes are two calls' own: what is written about them lies under keys of their own,
however close together they are stored."""

from __future__ import annotations

import json
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from daemon.contract import Job, JobSpec, Outcome, Reader
from handlers.storage import handler
from handlers.storage.content import OfText
from handlers.storage.handler import LONE
from handlers.storage.local import LocalStore
from handlers.storage.store import Content, Described, Stored
from tests.edges.test_stores import described
from tests.support.process import eventually
from tests.support.storing import Site

NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize("backend", ["local", "s3"])
def test_twins_that_are_stored_at_once_keep_each_its_own_papers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """With S3 that is away both lie in the local store, for now."""
    site, both = Site(tmp_path, NOBODY, backend=backend), threading.Barrier(2, timeout=10)
    decide, decided = handler.StoreHandler.plan, []

    def plan(self: Any, job: Job, read: Reader) -> Outcome:
        outcome = decide(self, job, read)
        decided.append(job.key)
        if len(decided) <= 2:
            both.wait()
        return outcome

    monkeypatch.setattr(handler.StoreHandler, "plan", plan)
    with site.at_work():
        twins = [site.known(1, "a.ogg"), site.known(1, "b.ogg")]
        site.ledger.add_jobs([JobSpec(LONE, str(item)) for item in twins])
        site.pass_until(lambda: site.safe() == 2, "both are stored")
        eventually(lambda: len(site.rows("SELECT 1 FROM copy WHERE role = 'sidecar' AND state = 'verified'")) == 2, "")
        papers = site.rows("SELECT key, subject_id FROM copy WHERE role = 'sidecar' AND place = 'local'")
        assert sorted(row["subject_id"] for row in papers) == twins
        for row in papers:
            told = json.loads((tmp_path / "uploads" / row["key"]).read_text())
            assert told["call_id"] == f"r{row['subject_id']}"
        site.every_copy_lies_there()
    assert len(decided) >= 3  # whoever came later looked again
    assert [event.name for event in site.events if event.name == "defect.caught"] == []


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

"""The storage room at work on a real ledger and runner, the clock set by hand: for stories of S3 coming and going."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from daemon.catalogue import Settled, Stat
from daemon.contract import Event, JobSpec, Machine
from daemon.house import SOURCES
from daemon.ledger.ledger import Ledger
from daemon.ledger.paths import StatePaths
from daemon.ledger.reading import LedgerContents, Readers
from daemon.run.runner import Runner
from handlers.model import AudioInfo, Recording, Side
from handlers.records import RecordingKnown
from handlers.settings import StorageSettings
from handlers.storage.handler import LONE
from handlers.storage.room import room
from handlers.storage.service import Credentials
from tests.support.ledger import ToyClock
from tests.support.process import eventually
from tests.support.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, Awkward, Request, client

BOUND = "SELECT 1 FROM copy WHERE bound_for IS NOT NULL"

Answer = tuple[int, dict[str, str], bytes]


class Site:
    """Recordings on disk, a ledger that knows them, and the storage room at work on both."""

    def __init__(self, folder: Path, url: str, *, pace: Sequence[Any] = (), **settings: Any) -> None:
        self.folder, self.clock, self.url = folder, ToyClock(), url
        s3 = {"bucket": BUCKET, "endpoint_url": url, "timeout": "2s", "part_size": "5MB", "pace": pace}
        self.settings = StorageSettings.model_validate({"backend": "s3", "s3": s3, **settings})
        self.recordings = folder / "recordings"
        self.recordings.mkdir(exist_ok=True)
        self.events: list[Event] = []
        self.fatal: list[Exception] = []
        self.dropped: dict[str, str] = {}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """As a daemon would from its start to its stop."""
        readers = Readers(StatePaths(self.folder / "state").ledger, self.clock)
        machine = Machine(LedgerContents(readers), self.clock, readers.view)
        storage = room(
            self.settings, str(self.folder / "uploads"), Credentials(ACCESS_KEY, SECRET_KEY), machine, timezone="UTC"
        )
        self.acts, self.redo = storage.acts, storage.redo
        lanes = {kind: lane.name for lane in storage.lanes for kind in lane.kinds} | {"recording": "none"}
        self.ledger = Ledger(
            StatePaths(self.folder / "state"),
            self.clock,
            readers=readers,
            sources=list(SOURCES),
            lanes=lanes,
            on_event=self.events.append,
        )
        self.ledger.recover()
        self.runner = Runner(
            self.ledger, [storage], self.clock, on_event=self.events.append, on_fatal=self.fatal.append
        )
        self.lanes = frozenset(lanes.values())
        self.runner.start()
        try:
            yield
        finally:
            assert (self.runner.stop(10), self.fatal) == (True, [])
            self.ledger.close()

    def drop(self, number: int) -> None:
        """A recording of 3 kB that no call claims, known and due to be stored."""
        self.ledger.add_jobs([JobSpec(LONE, str(self.known(number)))])

    def known(self, number: int, name: str = "") -> int:
        """A recording of 3 kB that no call claims, understood just now; returns its item."""
        data = hashlib.sha256(str(number).encode()).digest() * 100
        path = self.recordings / (name or f"call-{number:04d}.ogg")
        item = self.settle(path.name, data)
        self.dropped[hashlib.sha256(data).hexdigest()] = path.name
        audio = AudioInfo("ogg", "opus", 48_000, 1, 3.0, 3.0)
        known = Recording(
            item, path.name, f"r{item}", Side.MIXED, len(data), audio, None, None, None, None, None, None,
            self.clock.now(),
        )  # fmt: skip
        self.ledger.write("recording.known", RecordingKnown(known).write)
        return item

    def settle(self, name: str, data: bytes) -> int:
        """A file in the folder, known to the ledger; returns its item."""
        path = self.recordings / name
        path.write_bytes(data)
        sha256, found = hashlib.sha256(data).hexdigest(), path.stat()
        root = self.ledger.files.register_root("recordings", os.fsencode(self.recordings), 0)
        stat = Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        settled = Settled(root.id, b"", os.fsencode(name), stat, sha256, "recordings", "recording", name, name)
        self.ledger.files.settle(settled).result()
        with self.ledger.view() as view:
            return int(view.rows("SELECT id FROM item WHERE sha256 = ? AND name = ?", (sha256, name))[0]["id"])

    def take_away(self, name: str) -> None:
        """A recording is gone from its folder, and the ledger knows."""
        (self.recordings / name).unlink()
        root = self.ledger.files.register_root("recordings", os.fsencode(self.recordings), 0)
        self.ledger.files.vanish(root.id, b"", [os.fsencode(name)]).result()

    def pass_time(self, by: timedelta) -> None:
        """Let time pass, and what is due then be done."""
        self.clock.advance(by)
        self.runner.wake(self.lanes)
        eventually(self.nothing_due, "what is due to be done", 900)

    def pass_until(self, so: Callable[[], bool], what: str) -> None:
        """Let minutes pass until it is so. A destination that rests is asked again in its own time, which is real."""
        for _ in range(60):
            self.pass_time(timedelta(minutes=1))
            if so():
                return
        eventually(so, what)

    def nothing_due(self) -> bool:
        now_us = int(self.clock.now().timestamp() * 1e6)
        due = "SELECT 1 FROM job WHERE kind != 'recording' AND (state IN ('ready', 'running') OR (state = 'waiting' "
        due += f"AND due_us <= {now_us} AND waits_for IS NULL))"
        with self.ledger.view() as view:
            return not view.rows(due)

    def rows(self, sql: str) -> list[Any]:
        with self.ledger.view() as view:
            return view.rows(sql)

    def every_copy_lies_there(self) -> None:
        """Whatever the ledger calls verified is there, and is what it says."""
        held = client(self.url)
        for row in self.rows("SELECT place, key, size, sha256 FROM copy WHERE state = 'verified'"):
            if row["place"] == "local":
                data = (self.folder / "uploads" / row["key"]).read_bytes()
                assert hashlib.sha256(data).hexdigest() == row["sha256"]
            else:
                assert held.head_object(Bucket=BUCKET, Key=row["key"])["ContentLength"] == row["size"]

    def safe(self) -> int:
        """Recordings of which a verified copy lies somewhere."""
        found = self.rows("SELECT count(DISTINCT item_id) AS n FROM copy WHERE state = 'verified' AND role = 'audio'")
        return int(found[0]["n"])


def stored(proxy: Awkward) -> dict[str, bytes]:
    """What S3 holds of recordings, straight from it."""
    held = client(proxy.upstream)
    found = held.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="audio/")
    keys = [one["Key"] for page in found for one in page.get("Contents", ())]
    return {key: held.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def broken(kinds: list[Answer | None]) -> Callable[[Request], Answer | None]:
    """Each request fails in another way, over and over."""
    turn = iter(range(1 << 30))
    return lambda _request: kinds[next(turn) % len(kinds)]

"""Storing against named peers: 1,000 files of 360 kB and 4 of 256 MB to one S3 service, ours with ledger and proof.

    python -m tests.bench.store [--url URL --key KEY --secret SECRET] [--small 1000] [--large 4] [--json]

Without ``--url`` rclone's own ``serve s3`` on loopback takes the objects. Ours is a process of its own with a real
ledger and the real runner: every put is verified and committed. The peers are ``s5cmd cp`` and ``rclone copy``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon.catalogue import Settled, Stat
from daemon.collector import look_seldom
from daemon.contract import Effect, Event, Job, JobSpec, Json, Lane, Outcome, Planned, Reader, Room, Subject
from daemon.house import SOURCES
from daemon.ledger.ledger import Ledger
from daemon.ledger.paths import StatePaths
from daemon.ledger.reading import LedgerContents, Readers
from daemon.run.runner import Runner
from handlers.settings import StorageSettings
from handlers.storage.handler import BEGIN, PUT, STORAGE
from handlers.storage.kept import Kept
from handlers.storage.local import LocalStore
from handlers.storage.pace import Health, Hours
from handlers.storage.performers import BeginPerformer, PutPerformer, Stores
from handlers.storage.probing import Probe
from handlers.storage.service import Credentials, s3_of
from tests.support.watching import RealClock

SMALL, LARGE = 360_000, 256 * 2**20
BIN = Path(sys.executable).parent


class Handler:
    """One put for each item."""

    kinds = ("recording",)

    def __init__(self, part_size: int) -> None:
        self._part_size = part_size

    def plan(self, job: Job, read: Reader) -> Outcome:
        """As the room's own plan for a recording."""
        item = read.item(int(job.key))
        key = f"ours/{item.size}/{item.name}"
        one: dict[str, Json] = {
            "role": "audio",
            "item": item.id,
            "text": None,
            "sha256": item.sha256,
            "size": item.size,
            "type": "audio/ogg",
            "keys": {"local": key, "s3": key},
            "metadata": {"sha256": item.sha256},
            "started_at": "2025-10-29T00:00:00.000Z",
            "over": False,
        }
        begins = []
        if item.size > self._part_size:
            begins = [Effect.of(BEGIN, f"begin:{key}", STORAGE, {**one, "known": None})]
        payload: dict[str, Json] = {
            "subject": item.id,
            "named": f"r{item.id}",
            "objects": [one],
            "begun": begins[0].identity if begins else None,
        }
        return Planned(effects=(*begins, Effect.of(PUT, key, STORAGE, payload)))


def ours(folder: Path, url: str, key: str, secret: str) -> dict[str, float]:
    """Store every file below ``folder``; seconds, and the most memory it took."""
    settings = StorageSettings.model_validate({"backend": "s3", "s3": {"bucket": "bench", "endpoint_url": url}})
    look_seldom()  # as the daemon has it
    clock, kept = RealClock(), Kept()
    s3 = s3_of(settings, Credentials(key, secret), kept, Hours((), None), clock)
    assert s3 is not None
    Probe(s3, kept, settings).ask()
    with tempfile.TemporaryDirectory(dir=folder.parent) as state:
        paths = StatePaths(Path(state))
        readers = Readers(paths.ledger, clock)
        sources = list(SOURCES)
        lanes = {"recording": "storage"}
        told = _Told(len(list(folder.iterdir())))
        ledger = Ledger(paths, clock, readers=readers, sources=sources, lanes=lanes, on_event=told)
        contents = LedgerContents(readers)
        stores = Stores(
            LocalStore(f"{state}/up", 0),
            s3,
            Health(clock, settings.retry),
            Hours((), None),
            clock,
            contents,
            readers.view,
        )
        room = Room(
            name="bench",
            handlers=(Handler(settings.s3.part_size),),
            lanes=(Lane("storage", ("recording",), settings.workers),),
            performers={PUT: PutPerformer(stores), BEGIN: BeginPerformer(stores)},
            subjects={"recording": Subject("subject", "r")},
        )
        _settle(ledger, folder)
        runner = Runner(ledger, [room], clock, on_event=_fail, on_fatal=print)
        began_s = time.monotonic()
        runner.start()
        assert told.all_stored.wait(900)
        elapsed_s = time.monotonic() - began_s
        with ledger.view() as view:
            stored = view.rows("SELECT count(*) FROM copy WHERE place = 's3' AND state = 'verified'")[0][0]
        assert stored == told.wanted, stored
        runner.stop(5)
        ledger.close()
    return {"seconds": elapsed_s, "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


class _Told:
    """Hears the journal, so that nobody need look at the ledger to know when all is stored: looking costs a tenth."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self._stored, self.all_stored = wanted, 0, threading.Event()

    def __call__(self, event: Event) -> None:
        """After its commit, by the thread that writes."""
        _fail(event)
        self._stored += event.name == "storage.verified"
        if self._stored == self.wanted:
            self.all_stored.set()


def _fail(event: Event) -> None:
    if event.level in ("warning", "error"):
        print(event, file=sys.stderr)


def _settle(ledger: Ledger, folder: Path) -> None:
    """Known files, as the watch would have made them; their jobs wait for the runner."""
    root = ledger.files.register_root("recordings", os.fsencode(folder), 0)
    for path in sorted(folder.iterdir()):
        found = path.stat()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        stat = Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        settled = Settled(
            root.id, b"", os.fsencode(path.name), stat, sha256, "recordings", "recording", path.name, "test"
        )
        ledger.files.settle(settled).result()
    with ledger.view() as view:
        ids = [row["id"] for row in view.rows("SELECT id FROM item")]
    ledger.add_jobs([JobSpec("recording", str(number)) for number in ids])


def make(folder: Path, count: int, size: int) -> Path:
    """Files of random bytes, which nothing can shrink."""
    folder.mkdir()
    block = os.urandom(1 << 20)
    for number in range(count):
        with (folder / f"{number:04d}.ogg").open("wb") as file:
            file.write(number.to_bytes(8, "big"))
            left = size - 8
            while left:
                piece = block[: min(left, len(block))]
                file.write(piece)
                left -= len(piece)
    return folder


def timed(argv: list[str], environ: dict[str, str]) -> float:
    """Seconds that a program takes."""
    began_s = time.monotonic()
    subprocess.run(argv, env={**os.environ, **environ}, check=True, capture_output=True)
    return time.monotonic() - began_s


def peers(folder: Path, url: str, key: str, secret: str) -> dict[str, float]:
    """What the peers take for the same files."""
    aws = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "us-east-1"}
    remote = f":s3,provider=Other,endpoint='{url}',access_key_id={key},secret_access_key={secret}:bench/rclone"
    return {
        "s5cmd": timed([str(BIN / "s5cmd"), "--endpoint-url", url, "cp", f"{folder}/*", "s3://bench/s5cmd/"], aws),
        "rclone": timed([str(BIN / "rclone"), "copy", str(folder), remote, "--transfers", "8"], {}),
    }


@contextmanager
def service(folder: Path) -> Iterator[tuple[str, str, str]]:
    """rclone's own S3 on loopback."""
    key, secret, port = "AKTESTKEY", "SKTESTSECRET", 20000 + os.getpid() % 20000
    (folder / "served").mkdir()
    address = f"127.0.0.1:{port}"
    argv = [str(BIN / "rclone"), "serve", "s3", "--addr", address, "--auth-key", f"{key},{secret}"]
    process = subprocess.Popen(
        [*argv, "--vfs-cache-mode", "off", str(folder / "served")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://{address}", key, secret
    finally:
        process.terminate()
        process.wait(10)


def compare(folder: Path, url: str, key: str, secret: str) -> dict[str, Any]:
    """Ours and the peers over one folder of files; bytes a second, and our share of the better peer's."""
    size = sum(path.stat().st_size for path in folder.iterdir())
    theirs = peers(folder, url, key, secret)
    argv = [sys.executable, "-m", "tests.bench.store", "--ours", str(folder), "--url", url, "--key", key]
    done = subprocess.run([*argv, "--secret", secret], check=True, stdout=subprocess.PIPE, text=True)
    mine = json.loads(done.stdout.splitlines()[-1])
    best = min(theirs.values())
    rates = {name: round(size / seconds / 1e6, 1) for name, seconds in {**theirs, "ours": mine["seconds"]}.items()}
    return {"mb_a_second": rates, "of_the_better": round(best / mine["seconds"], 2), "rss_mb": round(mine["rss_mb"])}


def main() -> None:
    """Run it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--url")
    options.add_argument("--key", default="")
    options.add_argument("--secret", default="")
    options.add_argument("--small", type=int, default=1000)
    options.add_argument("--large", type=int, default=4)
    options.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    if given.ours is not None:
        print(json.dumps(ours(given.ours, given.url, given.key, given.secret)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with service(folder) as own:
            url, key, secret = (given.url, given.key, given.secret) if given.url else own
            _bucket(url, key, secret)
            small = compare(make(folder / "small", given.small, SMALL), url, key, secret)
            large = compare(make(folder / "large", given.large, LARGE), url, key, secret)
    found = {f"{given.small} x 360 kB": small, f"{given.large} x 256 MB": large}
    if given.json:
        print(json.dumps(found))
        return
    for name, one in found.items():
        rates = ", ".join(f"{who} {rate} MB/s" for who, rate in one["mb_a_second"].items())
        print(f"{name:<16}{rates}; ours {one['of_the_better']} of the better, {one['rss_mb']} MB resident")


def _bucket(url: str, key: str, secret: str) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    made = boto3.session.Session(key, secret, region_name="us-east-1").client("s3", endpoint_url=url)
    for _ in range(100):
        try:
            made.create_bucket(Bucket="bench")
        except ClientError:  # it is there already
            return
        except BotoCoreError:
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    main()

"""kill -9 around every storage step and every request to S3: nothing lost, nothing under two keys, nothing half begun.

Three calls: a small one, one that goes in parts, and one (in parts too) that S3 refuses until it lies whole in the
local store, so that it is moved and released later. Sources are removed in the end. One run without a kill counts the
trace's points and the requests; then each is tried: the daemon dies there, before or after the service has done what it
was asked, is started again, and must come to the same end.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.calls import FieldCall
from tests.support.process import DaemonProcess, Site, eventually
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, Awkward, Request, awkward, client, moto

SMALL, PARTS, REFUSED = FieldCall(0, lead=True), FieldCall(1, seconds=32), FieldCall(2, seconds=33)
CALLS = (SMALL, PARTS, REFUSED)
OBJECTS = 3 * 5 + 1
"""Audio, metadata, transcript as text and as it was, sidecar; and one lead."""

SETTINGS = {
    "CALLSPOOL_WATCH__SINCE": "all",
    "CALLSPOOL_MATCH__WAIT": "20s",
    "CALLSPOOL_MATCH__LEAD_WAIT": "200ms",
    "CALLSPOOL_STORAGE__RETRY": "[100ms, 200ms]",
    "CALLSPOOL_STORAGE__AFTER": "remove",
    "CALLSPOOL_STORAGE__GRACE": "0s",
    "CALLSPOOL_STORAGE__S3__PART_SIZE": "5MB",
    "CALLSPOOL_STORAGE__S3__TIMEOUT": "3s",
    "CALLSPOOL_LOG__LEVEL": "info",
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
}

Kill = str
"""``trace:name:visit``, or ``before:`` or ``after:`` a request by what it asks and how often that was asked."""

AT_WORK = 2


@dataclass
class Story:
    """The calls, told once, with a kill or none."""

    kill: Kill
    site: Site
    proxy: Awkward
    bucket: str
    hit: bool = False
    failed: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    victim: DaemonProcess | None = None
    _named: dict[int, str] = field(default_factory=dict)
    _counting: threading.Lock = field(default_factory=threading.Lock)
    open_to_all: bool = False

    def before(self, request: Request) -> tuple[int, dict[str, str], bytes] | None:
        """What the proxy does with a request before it is passed on."""
        refused = REFUSED.session_id in request.path and not self.open_to_all
        name = self._name(request) + (" in vain" if refused else "")
        with self._counting:
            self.asked[name] += 1
            named = self._named[id(request)] = f"{name}:{self.asked[name]}"
        if self.kill == f"before:{named}":
            self._strike()
        return (500, {}, b"") if refused else None

    def after(self, request: Request, _headers: dict[str, str]) -> None:
        """What it does before the answer goes back."""
        if self.kill == f"after:{self._named[id(request)]}":
            self._strike()

    def _name(self, request: Request) -> str:
        """What it asks, without what is another in each story: the bucket, hashes, and the id of an upload."""
        path, _, query = re.sub("[0-9a-f]{16}", "#", request.path.replace(f"/{self.bucket}", "", 1)).partition("?")
        kept = sorted(re.sub(r"^((?:uploadId|.*marker.*)=).*", r"\1", one, flags=re.I) for one in query.split("&"))
        return f"{request.method} {path}?{'&'.join(kept)}"

    def _strike(self) -> None:
        if self.victim is not None and not self.hit:
            self.hit = True
            self.victim.kill()

    def tell(self) -> None:
        """Play it to its end."""
        self.proxy.answer, self.proxy.change = self.before, self.after
        sources = drop(self.site)
        trace = self.site.folder / "trace"
        armed = {"CALLSPOOL_TRACE": str(trace)}
        if self.kill.startswith("trace:"):
            armed["CALLSPOOL_TRACE_KILL"] = self.kill.removeprefix("trace:")
        with self.site.daemon(**armed) as daemon:
            self.victim = daemon
            eventually(lambda: self._goes_on() or daemon.has_ended, f"an end: {daemon.lines[-10:]}", 60)
            self.victim = None
            if daemon.has_ended:
                assert daemon.ended() == -signal.SIGKILL
                self.hit = True
            elif daemon.stop() != 0:
                self.hit = True
        self.points = points_of(trace)
        if self.kill:
            with self.site.daemon() as daemon:
                daemon.wait_for("daemon.started")
                eventually(self._goes_on, f"an end: {self.kill} {daemon.lines[-10:]}", 60)
                assert daemon.stop() == 0
        self._hold_to_claims(sources)

    def _goes_on(self) -> bool:
        """Whether all is done; once the refused call lies whole in the local store, S3 takes it."""
        local = "SELECT 1 FROM copy JOIN conversation AS c ON c.id = subject_id WHERE role = 'sidecar' "
        local += f"AND place = 'local' AND copy.state = 'verified' AND session_id = '{REFUSED.session_id}'"
        self.open_to_all = self.open_to_all or bool(self.site.rows(local))
        whole = "SELECT count(*) FROM copy WHERE place = 's3' AND state = 'verified'"
        rows = self.site.rows(whole)
        open_jobs = "SELECT 1 FROM job WHERE state IN ('ready', 'running') OR (kind IN ('store', 'drain', 'let_go') "
        open_jobs += "AND state = 'waiting')"
        gone = not any(self.site.recordings.iterdir())
        return bool(rows) and rows[0][0] == OBJECTS and gone and not self.site.rows(open_jobs)

    def _hold_to_claims(self, sources: dict[str, bytes]) -> None:
        with closing(client(self.proxy.upstream)) as held:
            self._hold_storage_to_claims(held, sources)
        uploads = self.site.folder / "uploads"
        assert [path for path in uploads.rglob("*") if path.is_file()] == [], self.kill
        assert self.site.rows("SELECT 1 FROM multipart") == []
        assert self.site.rows("SELECT 1 FROM job WHERE state = 'parked'") == []
        checked = self.site.command("verify", "--deep", "100%", "--json")
        assert checked.returncode == 0, (self.kill, checked.stdout)

    def _hold_storage_to_claims(self, held: Any, sources: dict[str, bytes]) -> None:
        found = {one["Key"]: one["Size"] for one in held.list_objects_v2(Bucket=self.bucket).get("Contents", ())}
        kept = {key: held.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in found if "probe" not in key}
        hashes = [hashlib.sha256(data).hexdigest() for data in kept.values()]
        # Three calls say the same words, and nothing else is there twice.
        assert (len(kept), len(set(hashes))) == (OBJECTS, OBJECTS - 2), (self.kill, sorted(kept))
        assert {hashlib.sha256(data).hexdigest() for data in sources.values()} <= set(hashes), self.kill
        assert not held.list_multipart_uploads(Bucket=self.bucket).get("Uploads"), self.kill


def drop(site: Site) -> dict[str, bytes]:
    """Every file of the calls; returns them by name."""
    SMALL.drop(site)
    for number, call in enumerate((PARTS, REFUSED)):
        call.drop_transcript(site)
        name = call.recording_name.removesuffix("ogg") + "wav"
        (site.recordings / name).write_bytes(RECORDINGS[number])
    folders = (site.recordings, site.conversations, site.leads)
    return {path.name: path.read_bytes() for folder in folders for path in folder.iterdir()}


def noise(seconds: int, seed: int) -> bytes:
    """A WAV of 48 kHz stereo: 5.9 MB in 31 s, so two parts."""
    import random

    frames = random.Random(seed).randbytes(4 * 48_000) * seconds
    head = b"RIFF" + (36 + len(frames)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    form = b"\x01\x00\x02\x00" + (48_000).to_bytes(4, "little") + (192_000).to_bytes(4, "little") + b"\x04\x00\x10\x00"
    return head + form + b"data" + len(frames).to_bytes(4, "little") + frames


RECORDINGS = (noise(32, 1), noise(33, 2))


def points_of(trace: Path) -> Counter[str]:
    lines = trace.read_text().splitlines() if trace.exists() else []
    return Counter(line.partition(" ")[0] for line in lines)


@contextmanager
def service() -> Iterator[str]:
    with moto() as url:
        yield url


def play(url: str, kill: Kill, number: int) -> Story:
    """Tell the story in a folder and a bucket of its own."""
    bucket = f"story-{number}"
    with closing(client(url)) as held:
        held.create_bucket(Bucket=bucket)
    with tempfile.TemporaryDirectory(prefix="cs-") as folder, awkward(url) as proxy:
        place: dict[str, Any] = {"S3_BUCKET_NAME": bucket, "S3_ENDPOINT_URL": proxy.url}
        story = Story(kill, Site(Path(folder), **SETTINGS, **place), proxy, bucket)
        try:
            story.tell()
        except AssertionError as error:
            story.failed = str(error)[:2000]
        return story


def matrix(chosen: Sequence[Kill] | None) -> list[Story]:
    """Try these kills; with None every point once, every visit of one around an effect, and every request, before and
    after."""
    with service() as url:
        if chosen is None:
            reference = play(url, "", 0)
            assert not reference.failed, reference.failed
            names = [name for name in reference.points if name.startswith(("storage.", "job.", "act."))]
            visits = {
                name: reference.points[name] if name.endswith((".performing", ".performed")) else 1 for name in names
            }
            chosen = [f"trace:{name}:{n}" for name in names for n in range(1, visits[name] + 1)]
            for name, often in reference.asked.items():
                told = 1 if name.endswith(" in vain") else often  # how often it is asked in vain depends on the moment
                chosen += [f"{when}:{name}:{n}" for n in range(1, told + 1) for when in ("before", "after")]
        with ThreadPoolExecutor(AT_WORK) as pool:
            return list(pool.map(lambda one: play(url, one[1], one[0] + 1), enumerate(chosen)))


FEW = ("trace:storage.begin.performed:1", "trace:storage.move.confirmed.committing:1")


@pytest.mark.timeout(300)
def test_killed_in_the_middle_of_storing_every_call_lies_there_once() -> None:
    stories = matrix(FEW)
    assert [story.failed for story in stories if story.failed] == []
    assert any(story.hit for story in stories)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_killed_around_every_step_and_every_request_every_call_lies_there_once() -> None:
    stories = matrix(None)
    hits = [story.kill for story in stories if story.hit]
    failed = {story.kill: story.failed for story in stories if story.failed}
    print(json.dumps({"kills": len(hits), "tried": len(stories), "failed": failed}))
    assert failed == {}
    assert len(hits) > 0.8 * len(stories)

"""kill -9 at every named point of every transition: nothing lost, nothing twice.

One run without a kill, its trace written down, enumerates the points. Then each is tried: the daemon is killed there,
started again, and must finish the same calls. What it passes meanwhile is written down too, so that a point that only
the way back knows gets its own kill, by a second one in the same story. A point that no kill ever hit fails the test.
"""

from __future__ import annotations

import json
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from handlers.demo.crm import LoopbackCrm
from handlers.demo.faults import Fault
from tests.support.calls import FieldCall
from tests.support.process import PATIENCE_S, DaemonProcess, Site, eventually

WHOLE = FieldCall(0, seconds=3, lead=True)
LATE = FieldCall(1, seconds=4)
"""Its recording comes after the call was delivered without it."""
SILENT = FieldCall(2, seconds=5)
"""Its recording never comes."""
CALLS = (WHOLE, LATE, SILENT)

SETTINGS = {
    "CALLSPOOL_MATCH__WAIT": "600ms",
    "CALLSPOOL_MATCH__LEAD_WAIT": "200ms",
    "CALLSPOOL_CRM__UPDATES": "repost",
    "CALLSPOOL_CRM__RETRY": "[100ms, 200ms]",
    "CALLSPOOL_LOG__LEVEL": "info",
}

Kill = str
"""``name:visit``, as ``CALLSPOOL_TRACE_KILL`` takes it."""

AT_WORK = 2
"""Stories played at once: as many as the smallest machine that runs the tests has cores."""


A_STORY = 5
"""Kills told in one story where not each needs its own: starting again is most of what a kill costs."""


@dataclass
class Story:
    """The same three calls, told once: with which kills, and what was passed on the way."""

    kills: tuple[Kill, ...]
    hit: list[Kill] = field(default_factory=list)
    passed: list[Counter[str]] = field(default_factory=list)
    """For each process: the points it passed, and how often."""

    @property
    def uploads_cut_off(self) -> int:
        """Uploads that were under way when a process died: the only ones that may be sent again."""
        open_ones = 0
        for points in self.passed:
            ended = points["crm.upload.confirmed.committed"] + points["crm.upload.failed.committed"]
            open_ones += points["crm.upload.performing"] - ended
        return open_ones


@contextmanager
def scene(*, dropping: int) -> Iterator[tuple[Site, LoopbackCrm]]:
    """A site and its CRM, which takes in and then drops the first ``dropping`` of every other request of a step."""
    with tempfile.TemporaryDirectory(prefix="cs-") as folder, LoopbackCrm() as crm:
        for step in ("upload", "call"):
            crm.misbehave("drop", Fault(accept=True), on=step, times=dropping)
        urls = {"CRM_UPLOAD_URL": crm.upload_url, "CRM_CALL_DATA_URL": crm.calls_url}
        yield Site(Path(folder), **SETTINGS, **urls), crm


def play(kills: Sequence[Kill], *, dropping: int) -> Story:
    """Tell the story with these kills, process after process, and hold it to its claims."""
    story = Story(tuple(kills))
    with scene(dropping=dropping) as (site, crm):
        producer = Producer(site, crm)
        receipts: dict[str, int] = {}
        for number, kill in enumerate([*kills, ""]):
            trace = site.folder / f"trace-{number}"
            armed = {"CALLSPOOL_TRACE": str(trace), **({"CALLSPOOL_TRACE_KILL": kill} if kill else {})}
            with site.daemon(**armed) as daemon:
                producer.work_beside(daemon)
                if not kill:
                    settled(site, crm, producer, daemon)
                elif dies(site, crm, producer, daemon):
                    assert daemon.ended() == -signal.SIGKILL
                    story.hit.append(kill)
                if not daemon.has_ended:
                    assert daemon.stop() == 0
            story.passed.append(points_of(trace))
            for key, posts in receipts.items():
                assert posts_of(crm, key) == posts, "a recording whose receipt was committed was sent again"
            receipts = {key: posts_of(crm, key) for key in keys_with_receipt(site)}
        hold_to_claims(site, crm, producer, story)
    return story


class Producer:
    """Drops the files of the three calls, the late recording once its call was delivered or its taker died."""

    def __init__(self, site: Site, crm: LoopbackCrm) -> None:
        self.site, self.crm = site, crm
        self.early = self.late = False
        self.written: dict[Path, bytes] = {}

    def work_beside(self, daemon: DaemonProcess) -> None:
        """Drop what is still to be dropped; returns when all is, or the daemon is dead."""
        if not comes(daemon, lambda: any(line["event"] == "daemon.started" for line in daemon.lines)):
            return
        if not self.early:
            self.early = True
            WHOLE.drop(self.site)
            LATE.drop_transcript(self.site)
            SILENT.drop_transcript(self.site)
            self._note()
        if not self.late:
            comes(daemon, lambda: posted(self.crm, LATE))
            self.late = True
            LATE.drop_recording(self.site)
            self._note()

    def _note(self) -> None:
        folders = (self.site.recordings, self.site.conversations, self.site.leads)
        self.written = {path: path.read_bytes() for folder in folders for path in folder.iterdir()}


def comes(daemon: DaemonProcess, true: Callable[[], bool]) -> bool:
    """Wait until ``true`` or the daemon is dead; whether it came true."""
    eventually(lambda: true() or daemon.has_ended, f"progress; {daemon.lines[-20:]} {daemon.other_output[-20:]}")
    return true()


def settled(site: Site, crm: LoopbackCrm, producer: Producer, daemon: DaemonProcess) -> None:
    """Wait until everything is delivered and nothing is open; fails if the daemon dies before."""
    eventually(lambda: daemon.has_ended or done(site, crm, producer), f"the end: {daemon.lines[-30:]}", PATIENCE_S)
    assert not daemon.has_ended, (daemon.lines[-30:], daemon.other_output)


def dies(site: Site, crm: LoopbackCrm, producer: Producer, daemon: DaemonProcess) -> bool:
    """Whether the kill hit: a visit that the reference had need not come in another run, nor before the stop."""
    eventually(lambda: daemon.has_ended or done(site, crm, producer), f"an end: {daemon.lines[-30:]}")
    if not daemon.has_ended:
        code = daemon.stop()
        assert code in (0, -signal.SIGKILL)
        return code != 0
    return True


def done(site: Site, crm: LoopbackCrm, producer: Producer) -> bool:
    """All three calls are in the books, whole, and the ledger knows it."""
    if not producer.late or len(crm.calls) < len(CALLS):
        return False
    last = {body["transcription"]["session_id"]: body for call in crm.calls.values() for body in call.bodies[-1:]}
    return "recordingUrl" in last[LATE.session_id]["callDetails"] and site.idle()


def posted(crm: LoopbackCrm, call: FieldCall) -> bool:
    """Whether the CRM has the call, in whatever form."""
    return any(
        body["transcription"]["session_id"] == call.session_id
        for known in list(crm.calls.values())
        for body in list(known.bodies)
    )


def hold_to_claims(site: Site, crm: LoopbackCrm, producer: Producer, story: Story) -> None:
    """Every call delivered, under one id, once; every recording too; markers right; sources untouched."""
    ids: dict[str, set[str]] = {}
    for call_id, posted_call in crm.calls.items():
        for body in posted_call.bodies:
            ids.setdefault(body["transcription"]["session_id"], set()).add(call_id)
    assert {session: len(known) for session, known in ids.items()} == {call.session_id: 1 for call in CALLS}
    assert crm.records == len(CALLS)
    assert sorted(upload.original_name for upload in crm.uploads) == sorted(
        call.recording_name for call in (WHOLE, LATE)
    )
    drops = sum(1 for request in crm.requests if request.step == "upload" and request.accepted and not request.status)
    assert sum(upload.posts for upload in crm.uploads) <= 2 + drops + story.uploads_cut_off
    urls = {upload.original_name: upload.url for upload in crm.uploads}
    for call in CALLS:
        (call_id,) = ids[call.session_id]
        url = urls.get(call.recording_name)
        body = crm.calls[call_id].bodies[-1]
        assert body["callDetails"].get("recordingUrl") == url
        assert ("lead" in body) == call.lead
        marker = json.loads((site.folder / "processed_uploads" / f"{call.transcript_name}.uploaded").read_text())
        told = (marker["call_data_uploaded"], marker["recording_url"], marker["lead_uploaded"])
        assert told == (True, url, call.lead)
        assert marker["recording_uploaded"] is (url is not None)
    assert all(path.read_bytes() == content for path, content in producer.written.items())
    assert site.rows("SELECT * FROM job WHERE state = 'parked'") == []


def keys_with_receipt(site: Site) -> list[str]:
    """Idempotency keys of the uploads whose receipt is committed."""
    from handlers.crm.client import idempotency_key

    rows = site.rows("SELECT key FROM effect WHERE type = 'crm.upload' AND state = 'done'")
    return [idempotency_key(row["key"]) for row in rows]


def posts_of(crm: LoopbackCrm, key: str) -> int:
    return sum(1 for request in crm.requests if request.idempotency_key == key)


def points_of(trace: Path) -> Counter[str]:
    """How often each point was passed. A kill may cut the last line short: it is not counted."""
    lines = trace.read_text().splitlines() if trace.exists() else []
    return Counter(line.partition(" ")[0] for line in lines)


BY_THE_CLOCK = frozenset({"schedule.run.committing", "schedule.run.committed"})
"""Passed only where a story happens to see a minute at which something is due: ``test_schedule`` holds that commit."""


def names_of(stories: Iterable[Story]) -> set[str]:
    return {name for story in stories for points in story.passed for name in points} - BY_THE_CLOCK


def covered_by(stories: Iterable[Story]) -> set[str]:
    return {kill.rpartition(":")[0] for story in stories for kill in story.hit}


def play_all(plans: Iterable[Sequence[Kill]], *, dropping: int) -> list[Story]:
    """Tell the story for each of these rows of kills, a few at a time."""
    with ThreadPoolExecutor(AT_WORK) as pool:
        return list(pool.map(lambda plan: play(plan, dropping=dropping), plans))


def ways_back(stories: Sequence[Story], name: str) -> list[tuple[Kill, ...]]:
    """Kills that lead to a point which no kill hit yet: those of a story that passed it, then the point itself. The
    shortest come first: they are the surest."""
    ways = [
        (*story.kills[:number], f"{name}:1")
        for story in stories
        for number, points in enumerate(story.passed)
        if points[name]
    ]
    return sorted(ways, key=len)


def in_rows(kills: Sequence[Kill], length: int) -> list[tuple[Kill, ...]]:
    """The kills in stories of so many each, every story through the whole life of the calls."""
    rows = -(-len(kills) // length)
    return [tuple(kills[first::rows]) for first in range(rows)]


def matrix(chosen: Callable[[str, int], bool], *, dropping: int, a_story: int = 1) -> None:
    """Try every chosen visit, ``a_story`` of them in one story, then every name that was not hit or that only the way
    back passed, until no name is left uncovered."""
    reference = play((), dropping=dropping)
    (passed,) = reference.passed
    first = [f"{name}:{n}" for name, visits in passed.items() for n in range(1, visits + 1) if chosen(name, n)]
    stories = [reference, *play_all(in_rows(first, a_story), dropping=dropping)]
    # Threads do not always take the same way back: another story's is tried each time.
    for attempt in range(6):
        ways = [ways_back(stories, name) for name in sorted(names_of(stories) - covered_by(stories))]
        stories += play_all([way[attempt % len(way)] for way in ways], dropping=dropping)
    assert names_of(stories) - covered_by(stories) == set(), "points that no kill covered"


@pytest.mark.timeout(300)
def test_killed_at_one_point_in_four_all_calls_arrive_once() -> None:
    (passed,) = play((), dropping=1).passed
    chosen = [f"{name}:1" for name in [*passed][::4]]
    stories = play_all(in_rows(chosen, A_STORY), dropping=1)
    assert len(covered_by(stories)) > len(chosen) // 2, "kills that hit nothing prove nothing"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_every_point_all_calls_arrive_once() -> None:
    matrix(lambda _, visit: visit == 1, dropping=1, a_story=A_STORY)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dropping", [0, 20])
def test_killed_at_every_point_at_every_visit_all_calls_arrive_once(dropping: int) -> None:
    matrix(lambda name, visit: True, dropping=dropping)

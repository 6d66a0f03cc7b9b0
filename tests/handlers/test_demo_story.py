"""The demo's story: what it says of events, what it never says, and how it looks where nobody looks."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from daemon.clock import SystemClock
from daemon.contract import Event
from handlers.demo.calls import compose
from handlers.demo.chronicle import Cast, Chronicle
from handlers.demo.crm import LoopbackCrm
from handlers.demo.story import JsonStory, Story
from handlers.demo.verdict import judge

CALLS = compose(datetime(2025, 10, 29, 7, tzinfo=UTC))
FIRST = CALLS[0]

HAPPENED = (
    Event("demo.recording_saved", {"call": 1, "text": "recording renamed into place"}),
    Event(
        "file.settled",
        {"item": 7, "role": "recordings", "path": FIRST.recording_name, "size_bytes": 76_852, "sha256": "0" * 12},
    ),
    Event("file.settled", {"item": 8, "role": "conversations", "path": FIRST.transcript_name, "size_bytes": 2_000}),
    Event("recording.understood", {"item": "r7", "duration_s": 30.855}),
    Event("job.claimed", {"item": "r7"}, "debug"),
    Event("job.deferred", {"call_id": "c8", "http_status": 503, "reason": "maintenance"}, "warning"),
    Event("job.deferred", {"call_id": "c8", "reason": "connection reset"}, "warning"),
    Event("job.parked", {"path": FIRST.recording_name, "reason": f"cannot read {FIRST.recording_name}"}, "warning"),
    Event("crm.accepted", {"call_id": "c8"}),
)

Tell = Callable[[Cast], Callable[[float, Event], None]]


def told(tell: Tell) -> None:
    cast = Cast(CALLS)
    line = tell(cast)
    for number, event in enumerate(HAPPENED):
        cast.learn(event)
        line(number / 10, event)


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def test_every_line_says_when_who_which_call_and_what(out: io.StringIO) -> None:
    told(Story(out).teller)
    lines = out.getvalue().splitlines()
    assert lines[0] == " 0.00  world     call 1  recording renamed into place"
    assert lines[1] == " 0.10  callspool call 1  recording taken: finished and closed, 76,852 bytes"
    assert lines[2] == " 0.30  callspool call 1  recording measured by its samples: 30.855 s"
    assert "503" in lines[3]
    assert "no answer" in lines[4]
    assert lines[6] == " 0.80  callspool call 1  delivered: the CRM accepted the call"
    assert len(lines) == 7


def test_no_callers_number_is_told(out: io.StringIO) -> None:
    told(Story(out).teller)
    told(JsonStory(out).teller)
    assert "cannot read number-_1******0101" in out.getvalue()
    assert not re.search(r"1202555", out.getvalue())


def test_a_pipe_gets_no_colours(out: io.StringIO) -> None:
    story = Story(out)
    story.begin()
    told(story.teller)
    with LoopbackCrm() as crm:
        story.end(
            judge(CALLS, crm, Chronicle(SystemClock(), Cast(CALLS), lambda _at, _event: None)),
            1.0,
            "/x",
            keep=True,
            forgetful=True,
        )
    assert "\x1b" not in out.getvalue()
    assert "cd /x " in out.getvalue()
    assert "6 of 6 calls did not arrive as they should" in out.getvalue()


def test_a_program_gets_one_object_a_line(out: io.StringIO) -> None:
    story = JsonStory(out)
    story.begin()
    told(story.teller)
    with LoopbackCrm() as crm:
        verdict = judge(CALLS, crm, Chronicle(SystemClock(), Cast(CALLS), lambda _at, _event: None))
    story.end(verdict, 1.0, "/x", keep=False, forgetful=False)
    documents = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [document["event"] for document in documents] == [event.name for event in HAPPENED] + ["demo.finished"]
    assert documents[3] == {"at_s": 0.3, "event": "recording.understood", "call": 1, "item": "r7", "duration_s": 30.855}
    assert documents[-1]["exactly_once"] is False
    assert documents[-1]["calls"][0]["wrong"] == ["not in the CRM"]
    assert documents[-1]["folder"] is None


def test_waiting_tells_what_happens_and_ends_with_its_condition() -> None:
    cast = Cast(CALLS)
    seen: list[str] = []
    chronicle = Chronicle(SystemClock(), cast, lambda _at, event: seen.append(event.name))
    for event in HAPPENED:
        chronicle.add(event)
    assert not seen
    assert chronicle.wait(lambda so_far: so_far.when("crm.accepted", FIRST) is not None, 5)
    assert seen == [event.name for event in HAPPENED]
    assert not chronicle.wait(lambda so_far: so_far.when("crm.accepted", CALLS[1]) is not None, 0.01)

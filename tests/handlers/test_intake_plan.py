"""A finished file in, a recording, conversation or lead out: job and reader in, outcome out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import Row
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.contract import Item, Job, JobSpec, Machine, Outcome, Planned, Postponed, Reader, Receipt, Rejected
from daemon.errors import ConfigInvalid, ContentMoved, UnknownSubject
from handlers.audio.pool import Prober
from handlers.intake.conversation import Reading, conversation
from handlers.intake.documents import Document
from handlers.intake.handler import Intake
from handlers.intake.names import Evidence, Names
from handlers.intake.room import intake
from handlers.model import AudioInfo, AudioUnavailable, Conversation, Lead, Recording, Side, TimeSource
from handlers.records.arrivals import ChunkKnown, ConversationKnown, LeadKnown, RecordingKnown, SidecarKnown
from tests.support import audio

NOW = datetime(2025, 10, 29, 12, 30, tzinfo=UTC)
SEEN = datetime(2025, 10, 29, 12, 29, tzinfo=UTC)
KIND = {"recordings": "recording", "conversations": "conversation", "leads": "lead"}
UUID = "e587124c-02b6-49c5-b3bf-2610015da46a"


@dataclass
class Folder:
    """Items over real files: reader and contents in one."""

    root: Path
    items: dict[int, Item] = field(default_factory=dict)
    moved: bool = False

    @property
    def now(self) -> datetime:
        return NOW

    def rows(self, sql: str, args: Sequence[object] = ()) -> list[Row]:
        assert "FROM compression" in sql, "intake asks the ledger for nothing but copies"
        return []

    def receipt(self, key: str) -> Receipt | None:
        raise AssertionError("intake has no effects")

    def known_until(self, lane: str, since: datetime) -> datetime:
        raise AssertionError(f"intake does not ask how far {lane} is since {since}")

    def item(self, item_id: int) -> Item:
        if item_id not in self.items:
            raise UnknownSubject(f"no item {item_id}")
        return self.items[item_id]

    @contextmanager
    def open(self, item_id: int) -> Iterator[BinaryIO]:
        with (self.root / self.items[item_id].path).open("rb") as file:
            yield file

    def path(self, item_id: int) -> bytes:
        if self.moved:
            raise ContentMoved("size moved")
        return os.fsencode(self.root / self.items[item_id].path)

    def add(self, role: str, path: str, content: bytes | None = None, *, flags: tuple[str, ...] = ()) -> Item:
        """An item over the file at ``path``, which is written where ``content`` is given."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            file.write_bytes(content)
        item = Item(
            id=12 + len(self.items),
            role=role,
            kind=KIND[role],
            sha256="0" * 64,
            size=file.stat().st_size,
            evidence="",
            name=file.name,
            path=path,
            mtime_ns=file.stat().st_mtime_ns,
            first_seen_at=SEEN,
            flags=flags,
        )
        self.items[item.id] = item
        return item


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def prober() -> Iterator[Prober]:
    with Prober(1) as pool:
        yield pool


@pytest.fixture
def handler(folder: Folder, prober: Prober) -> Intake:
    return Intake(folder, prober, Names(), Reading(UTC, ""))


def _no_ledger() -> AbstractContextManager[Reader]:
    raise AssertionError("intake reads no ledger of its own")


def plan(handler: Intake, folder: Folder, item: Item) -> Outcome:
    return handler.plan(Job(1, item.kind, str(item.id), 1, SEEN), folder)


def planned(outcome: Outcome) -> Planned:
    assert isinstance(outcome, Planned)
    return outcome


def recording(outcome: Outcome) -> Recording:
    fact = planned(outcome).facts[0]
    assert isinstance(fact, RecordingKnown)
    return fact.recording


def conversation_of(outcome: Outcome) -> Conversation:
    fact = planned(outcome).facts[0]
    assert isinstance(fact, ConversationKnown)
    return fact.conversation


def lead_of(outcome: Outcome) -> Lead:
    fact = planned(outcome).facts[0]
    assert isinstance(fact, LeadKnown)
    return fact.lead


TRANSCRIPT: dict[str, Any] = {
    "session_id": "session_20251029_064824_2e0aa754",
    "start_time": "2025-10-29T06:48:24.123Z",
    "end_time": "2025-10-29T06:48:59.456Z",
    "duration_seconds": 35,
    "conversation_items": [
        {"role": "assistant", "content": "Hello!", "timestamp": "2025-10-29T06:48:26.123Z"},
        {"role": "user", "content": "Hi.", "timestamp": "2025-10-29T06:48:28Z"},
    ],
    "lead_generated": True,
    "metadata": {"auto_saved": True},
    "unknown": {"kept": [1]},
}
NAME = "transcript_session_2025-10-29T06-49-07.351452.json"


def transcript(**changes: object) -> bytes:
    body = {key: value for key, value in (TRANSCRIPT | changes).items() if value is not ...}
    return json.dumps(body).encode()


# ------------------------------------------------------------------------------------------------- recordings


def test_recording_of_the_field_is_understood(handler: Intake, folder: Folder, tmp_path: Path) -> None:
    name = "number-_918655048643-1761720502.ogg"
    audio.make_ogg_opus(tmp_path / name, 1.5)
    item = folder.add("recordings", name, flags=("weak_settle",))
    outcome = planned(plan(handler, folder, item))
    known = recording(outcome)
    assert known.number == "+918655048643"
    assert (known.start_at, known.start_source) == (datetime(2025, 10, 29, 6, 48, 22, tzinfo=UTC), TimeSource.NAME)
    assert known.end_at == datetime(2025, 10, 29, 6, 48, 23, 500_000, tzinfo=UTC)
    assert (known.audio.media_s, known.audio.codec, known.size) == (1.5, "opus", item.size)
    assert (known.group, known.side, known.registered_at) == ("r12", Side.MIXED, SEEN)
    assert known.flags == ("weak_settle",)
    assert outcome.then == (JobSpec("match", "group:r12"),)
    (event,) = outcome.events
    assert event.name == "recording.understood"
    assert (event.fields["item"], event.fields["duration_s"]) == ("r12", 1.5)
    assert "8655048643" not in repr(event)


def test_sides_of_one_conversation_share_their_group(handler: Intake, folder: Folder, tmp_path: Path) -> None:
    known = []
    for side in ("agent", "customer"):
        audio.make_wav(tmp_path / f"{UUID}_{side}.wav", 480)
        known.append(recording(plan(handler, folder, folder.add("recordings", f"{UUID}_{side}.wav"))))
    assert [one.side for one in known] == [Side.AGENT, Side.CUSTOMER]
    assert {one.group for one in known} == {f"g:{UUID}"}


def test_without_a_telling_name_the_file_began_its_length_before_it_was_written(
    handler: Intake, folder: Folder, tmp_path: Path
) -> None:
    audio.make_wav(tmp_path / "a.wav", audio.RATE)
    os.utime(tmp_path / "a.wav", ns=(0, 1_761_720_502_250_000_000))
    known = recording(plan(handler, folder, folder.add("recordings", "a.wav")))
    assert known.start_source is TimeSource.FILE
    assert known.start_at == datetime(2025, 10, 29, 6, 48, 21, 250_000, tzinfo=UTC)


def test_file_without_any_clock_has_no_start(handler: Intake, folder: Folder, tmp_path: Path) -> None:
    audio.make_wav(tmp_path / "a.wav", audio.RATE)
    os.utime(tmp_path / "a.wav", ns=(0, 0))
    known = recording(plan(handler, folder, folder.add("recordings", "a.wav")))
    assert (known.start_at, known.start_source, known.end_at) == (None, None, None)


def test_container_clock_is_better_than_the_file_and_worse_than_the_name(
    handler: Intake, folder: Folder, tmp_path: Path
) -> None:
    for name in ("a.m4a", "2025-10-29T06-48-22.m4a"):
        when = {"creation_time": "2025-10-29T06:40:00Z"}
        audio.encode(tmp_path / name, 4800, container="mp4", codec="aac", metadata=when)
    plain = recording(plan(handler, folder, folder.add("recordings", "a.m4a")))
    named = recording(plan(handler, folder, folder.add("recordings", "2025-10-29T06-48-22.m4a")))
    assert (plain.start_source, plain.start_at) == (
        TimeSource.CONTAINER,
        datetime(2025, 10, 29, 6, 40, tzinfo=UTC),
    )
    assert (named.start_source, named.stamp) == (TimeSource.NAME, named.start_at)


def test_chunk_is_kept_unmeasured_and_matched_with_nothing(handler: Intake, folder: Folder) -> None:
    item = folder.add("recordings", "session-7/chunk_0007.webm", b"later chunks have no header")
    outcome = planned(plan(handler, folder, item))
    assert outcome.facts == (ChunkKnown(12, "session-7", 7),)
    assert outcome.then == ()


def test_document_beside_a_recording_is_kept(handler: Intake, folder: Folder) -> None:
    item = folder.add("recordings", "2025/a.json", b'{"chunks": [{"file": "a.webm"}]}')
    outcome = planned(plan(handler, folder, item))
    assert outcome.facts == (SidecarKnown(12, "2025/a", {"chunks": [{"file": "a.webm"}]}),)
    assert outcome.then == ()
    assert outcome.events[0].name == "sidecar.kept"


def test_broken_recording_is_refused_with_the_command_and_without_the_number(handler: Intake, folder: Folder) -> None:
    item = folder.add("recordings", "number-_918655048643-1761720502.ogg", b"no audio at all")
    outcome = plan(handler, folder, item)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "recording cannot be measured: no audio that callspool reads (unknown container)"
    assert outcome.fix == "callspool explain r12  (then mend the file and drop it again)"


def test_recording_that_moves_while_it_is_measured_is_not_believed(
    handler: Intake, folder: Folder, tmp_path: Path
) -> None:
    audio.make_wav(tmp_path / "a.wav", 480)
    item = folder.add("recordings", "a.wav")

    @dataclass
    class Disturbed:
        inner: Prober

        def probe(self, path: bytes) -> AudioInfo:
            info = self.inner.probe(path)
            folder.moved = True
            return info

        def close(self) -> None:
            raise AssertionError("closed by its owner")

    assert isinstance(handler.prober, Prober)
    with pytest.raises(ContentMoved):
        plan(replace(handler, prober=Disturbed(handler.prober)), folder, item)


def test_recording_waits_where_no_worker_can_look_at_it(folder: Folder, tmp_path: Path) -> None:
    audio.make_wav(tmp_path / "a.wav", 480)
    prober = Prober(1)
    prober.close()
    with pytest.raises(AudioUnavailable):
        prober.probe(os.fsencode(tmp_path / "a.wav"))
    outcome = plan(Intake(folder, prober, Names(), Reading()), folder, folder.add("recordings", "a.wav"))
    assert isinstance(outcome, Postponed)
    assert outcome.until == NOW + timedelta(minutes=1)


# ------------------------------------------------------------------------------------------------- conversations


def test_transcript_of_the_field_is_understood(handler: Intake, folder: Folder) -> None:
    item = folder.add("conversations", NAME, b"\xef\xbb\xbf" + transcript(), flags=("incomplete",))
    outcome = planned(plan(handler, folder, item))
    known = conversation_of(outcome)
    assert known.document == TRANSCRIPT
    assert known.session_id == "session_20251029_064824_2e0aa754"
    assert (known.start_at, known.start_source) == (known.field_start_at, TimeSource.FIELD)
    assert known.start_at == datetime(2025, 10, 29, 6, 48, 24, 123_000, tzinfo=UTC)
    assert (known.end_at, known.end_source) == (known.field_end_at, TimeSource.FIELD)
    assert known.session_at == datetime(2025, 10, 29, 6, 48, 24, tzinfo=UTC)
    assert known.saved_at == datetime(2025, 10, 29, 6, 49, 7, 351_452, tzinfo=UTC)
    assert [turn.role for turn in known.turns] == ["assistant", "user"]
    assert (known.lead_expected, known.number, known.call_ref, known.room) == (True, None, None, None)
    assert (known.registered_at, known.flags) == (SEEN, ("incomplete",))
    assert outcome.then == (JobSpec("match", "conversation:12"),)
    assert "Hello" not in repr(outcome.events)


def test_start_falls_back_from_field_to_session_to_item_to_stamp(handler: Intake, folder: Folder) -> None:
    steps: list[dict[str, object]] = [
        {},
        {"start_time": ...},
        {"start_time": None, "session_id": 7},
        {"start_time": "soon", "session_id": ..., "conversation_items": []},
    ]
    sources = []
    for changes in steps:
        known = conversation_of(plan(handler, folder, folder.add("conversations", NAME, transcript(**changes))))
        assert known.start_at is not None
        sources.append(known.start_source)
    assert sources == [TimeSource.FIELD, TimeSource.SESSION, TimeSource.ITEM, TimeSource.NAME]


def test_end_falls_back_to_the_last_item_and_then_to_none(handler: Intake, folder: Folder) -> None:
    item = folder.add("conversations", NAME, transcript(end_time=...))
    known = conversation_of(plan(handler, folder, item))
    assert (known.end_source, known.end_at) == (TimeSource.ITEM, datetime(2025, 10, 29, 6, 48, 28, tzinfo=UTC))
    item = folder.add("conversations", NAME, transcript(end_time=..., conversation_items=[]))
    assert conversation_of(plan(handler, folder, item)).end_at is None


def test_contradicting_times_are_kept_and_flagged(handler: Intake, folder: Folder) -> None:
    changes = {"start_time": "2025-10-29T12:15:30.123Z", "end_time": "2025-10-29T12:16:05.456Z"}
    known = conversation_of(plan(handler, folder, folder.add("conversations", NAME, transcript(**changes))))
    assert known.flags == ("times_disagree",)
    assert known.start_at == datetime(2025, 10, 29, 12, 15, 30, 123_000, tzinfo=UTC)
    assert known.session_at == datetime(2025, 10, 29, 6, 48, 24, tzinfo=UTC)
    item = folder.add("conversations", NAME, transcript(end_time="2025-10-29T06:48:00Z"))
    known = conversation_of(plan(handler, folder, item))
    assert known.flags == ("ends_before_start",)
    assert known.end_source is TimeSource.ITEM


def test_naive_times_are_the_producers_local_time(handler: Intake, folder: Folder) -> None:
    india = replace(handler, reading=Reading(ZoneInfo("Asia/Kolkata")))
    item = folder.add("conversations", NAME, transcript(start_time="2025-10-29T12:18:24.123"))
    known = conversation_of(plan(india, folder, item))
    assert known.start_at == datetime(2025, 10, 29, 6, 48, 24, 123_000, tzinfo=UTC)
    assert known.saved_at == datetime(2025, 10, 29, 1, 19, 7, 351_452, tzinfo=UTC)


@pytest.mark.parametrize(
    ("where", "number", "call", "room"),
    [
        ({"metadata": {"phone_number": "+918655066243"}}, "+918655066243", None, None),
        ({"metadata": {"callId": "abc", "room_name": "blue"}}, None, "abc", "blue"),
        ({"metadata": {"sip": {"from": "sip:+918655066243@trunk"}, "call_id": 77}}, "+918655066243", "77", None),
        (
            {"metadata": {"participant": {"attributes": {"sip.phoneNumber": "+918655066243"}}}},
            *("+918655066243", None, None),
        ),
        ({"caller": {"phone": "+918655066243"}, "room": "blue"}, "+918655066243", None, "blue"),
        ({"metadata": {"caller": "anonymous"}, "phone": "918655066243"}, "+918655066243", None, None),
        (
            {"metadata": {"direction": "outbound", "from": "+918655048643", "to": "+918655066243"}},
            "+918655066243",
            None,
            None,
        ),
        ({"metadata": ["phone"], "phone": {"x": 1}, "call_id": [], "room": "\x00"}, None, None, None),
        ({"metadata": {"call_id": "x" * 500, "room": "\ud800"}}, None, None, None),
    ],
)
def test_number_call_and_room_are_found_where_producers_put_them(
    where: dict[str, object], number: str | None, call: str | None, room: str | None, handler: Intake, folder: Folder
) -> None:
    known = conversation_of(plan(handler, folder, folder.add("conversations", NAME, transcript(**where))))
    assert (known.number, known.call_ref, known.room) == (number, call, room)


@pytest.mark.parametrize(("said", "expected"), [(True, True), (False, False), (..., None), ("yes", None), (1, None)])
def test_only_a_plain_yes_or_no_promises_a_lead(
    said: object, expected: bool | None, handler: Intake, folder: Folder
) -> None:
    known = conversation_of(plan(handler, folder, folder.add("conversations", NAME, transcript(lead_generated=said))))
    assert known.lead_expected is expected


@pytest.mark.parametrize(("role", "called"), [("conversations", "transcript"), ("leads", "lead")])
def test_broken_document_is_refused_with_its_byte_and_not_its_words(
    role: str, called: str, handler: Intake, folder: Folder
) -> None:
    outcome = plan(handler, folder, folder.add(role, "a.json", b'{"name": "Asha'))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == f"{called} is not JSON (byte 9)"
    assert outcome.fix.startswith(f"callspool explain {called[0] if role == 'leads' else 'c'}12")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from([*TRANSCRIPT, "phone", "caller", "call_id", "room", "direction", "sip", "role", "timestamp"])
INNER = st.dictionaries(KEYS, ANYTHING, max_size=4)


@settings(deadline=None)
@given(st.dictionaries(KEYS, ANYTHING | INNER | st.lists(INNER, max_size=2), max_size=6))
def test_no_transcript_breaks_intake(body: dict[str, Any]) -> None:
    item = Item(1, "conversations", "conversation", "", 1, "", "a.json", "a.json", 0, SEEN)
    known = conversation(item, Document(body), Evidence(), Reading(None, "IN"))
    assert known.document is body
    assert (known.start_at is None) == (known.start_source is None)
    if known.start_at is not None and known.end_at is not None:
        assert known.start_at <= known.end_at
    for text in (known.session_id, known.call_ref, known.room, *(turn.role for turn in known.turns)):
        assert text is None or text.encode().decode() == text


# ------------------------------------------------------------------------------------------------- leads and the room


def test_lead_carries_its_transcripts_stamp(handler: Intake, folder: Folder) -> None:
    body = {"name": "Asha", "interest": "demo", "phone": "+91 86550 66243", "session_id": "s1"}
    name = "leads_session_2025-10-29T06-49-07.351452.json"
    outcome = planned(plan(handler, folder, folder.add("leads", name, json.dumps(body).encode())))
    known = lead_of(outcome)
    assert known.stamp == datetime(2025, 10, 29, 6, 49, 7, 351_452, tzinfo=UTC)
    assert (known.document, known.number, known.session_id, known.taken_at) == (body, "+918655066243", "s1", None)
    assert outcome.then == (JobSpec("match", "lead:12"),)
    assert "Asha" not in repr(outcome.events)


def test_lead_carries_the_second_it_was_taken(handler: Intake, folder: Folder) -> None:
    known = lead_of(plan(handler, folder, folder.add("leads", "lead_20251013_135233.json", b'{"timestamp": "x"}')))
    assert (known.taken_at, known.stamp) == (datetime(2025, 10, 13, 13, 52, 33, tzinfo=UTC), None)
    item = folder.add("leads", "a.json", b'{"timestamp": "2025-10-13T13:52:33Z"}')
    assert lead_of(plan(handler, folder, item)).taken_at == known.taken_at


def test_room_reads_three_folders_and_closes_its_workers(folder: Folder) -> None:
    class Closable:
        closed = False

        def probe(self, path: bytes) -> AudioInfo:
            raise AssertionError("not asked")

        def close(self) -> None:
            self.closed = True

    class Still:
        def now(self) -> datetime:
            return NOW

        def monotonic(self) -> float:
            return 0.0

    prober = Closable()
    rest: dict[str, Any] = {
        "recordings": "/r",
        "conversations": "/c",
        "leads": "/l",
        "region": "",
        "conventions": (),
        "machine": Machine(folder, Still(), _no_ledger),
        "prober": prober,
    }
    room = intake(timezone="host", **rest)
    assert [(inlet.role, inlet.kind, inlet.folder) for inlet in room.inlets] == [
        ("recordings", "recording", "/r"),
        ("conversations", "conversation", "/c"),
        ("leads", "lead", "/l"),
    ]
    assert room.inlets[1].evidence(NAME) == "stamp:2025-10-29T06:49:07.351452"
    assert room.lanes[0].kinds == room.handlers[0].kinds
    room.close()
    assert prober.closed
    with pytest.raises(ConfigInvalid, match=r"watch\.timezone"):
        intake(timezone="Mars/Olympus", **rest)

"""The log: its form, and what never gets into it."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import log
from daemon.contract import Event
from daemon.errors import Defect, Refused
from daemon.masking import LONGEST, mask

ROOT = Path(__file__).parents[2]


class StillClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2025, 10, 29, 6, 48, 24, 123456, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


def written(*events: Event, level: str = "info", clock: StillClock | None = None, form: str = "json") -> list[str]:
    stream = io.StringIO()
    log.configure(level, form, host_id="h0st", run_id="r1", stream=stream, clock=clock or StillClock())
    for event in events:
        log.emit(event)
    return stream.getvalue().splitlines()


def test_a_line_is_json_with_time_level_event_host_and_run() -> None:
    (line,) = written(Event("file.settled", {"size_bytes": 3, "duration_s": 1.5}))
    assert json.loads(line) == {
        "ts": "2025-10-29T06:48:24.123Z",
        "level": "info",
        "event": "file.settled",
        "host_id": "h0st",
        "run_id": "r1",
        "size_bytes": 3,
        "duration_s": 1.5,
    }


@pytest.mark.parametrize(
    ("given_text", "wanted"),
    [
        ("number-_918655048643-1761635651.ogg", "number-_91******8643-1761635651.ogg"),
        ("+918655066243", "+91******6243"),
        ("call from 918655066243 today", "call from 91******6243 today"),
        ("CALL-20251029-121530-66243", "CALL-***"),
        ("write to a.b@crm.example", "write to ***@***"),
        ("https://u:p@crm.example/x?token=abc", "https://***@crm.example/x?***"),
        ("Bearer abc.def", "Bearer ***"),
        ("transcript_session_2025-10-29T06-49-07.351452.json", "transcript_session_2025-10-29T06-49-07.351452.json"),
        ("session_20251029_064824_2e0aa754", "session_20251029_064824_2e0aa754"),
        ("c12 r13 took 12.345678 s", "c12 r13 took 12.345678 s"),
        ("+1 202 555 0143", "+12*****0143"),
        ("(202) 555-0143", "20****0143"),
        ("call-918655066243.wav", "call-91******6243.wav"),
        ("tel:918655066243", "tel:91******6243"),
        ("%2B918655066243", "%2B91******6243"),
        ("a918655066243b", "a91******6243b"),
        ("a10000000000000a", "a10********0000a"),
        ("ab2025550143", "ab20****0143"),
        ("91-8655-066243", "91******6243"),
        ("91 8655 066243", "91******6243"),
        ("8655.066243", "86****6243"),
        ("+91 (86550) 66243", "+91******6243"),
        ("٩١٨٦٥٥٠٦٦٢٤٣", "٩١******٦٢٤٣"),
        ("9186550662431234", "91**********1234"),
        ("2025-10-29918655066243", "2025-10-29********6243"),
        ('{"token": "abc"}', '{"token": "***"}'),
        ("Authorization: Basic dTpw", "Authorization: ***"),
        ("sip:918655066243@crm.example", "sip:***@***"),
        ("GET /u?key=abc", "GET /u?***"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),
        ("the token was refused; a bearer token is needed", "the token was refused; a bearer token is needed"),
        ("what?.ogg", "what?.ogg"),
        ("1406083 bytes", "1406083 bytes"),
        ("127.0.0.1:8888, 192.168.100.200", "127.0.0.1:8888, 192.168.100.200"),
        ("lead_20251013_135233.json", "lead_20251013_135233.json"),
        ("e587124c-02b6-49c5-b3bf-2610015da46a_agent.wav", "e587124c-02b6-49c5-b3bf-2610015da46a_agent.wav"),
        ("3f2a9c81b7d0", "3f2a9c81b7d0"),
        ("2025-10-29T06:48:24.123Z", "2025-10-29T06:48:24.123Z"),
    ],
)
def test_numbers_addresses_and_tokens_are_masked_and_times_are_not(given_text: str, wanted: str) -> None:
    assert mask(given_text) == wanted
    assert mask(wanted) == wanted


@given(
    st.from_regex(r"[1-9][0-9]{8,13}", fullmatch=True),
    st.text(max_size=12).filter(lambda text: not any(c.isdigit() for c in text)),
    st.text(max_size=12).filter(lambda text: not any(c.isdigit() for c in text)),
    st.sampled_from(["", "+", "_", "00"]),
)
def test_no_phone_number_passes_whatever_stands_around_it(number: str, before: str, after: str, sign: str) -> None:
    said = f"{before}{sign}{number}{after}"
    (line,) = written(Event("job.deferred", {"reason": said, "path": said, "more": [{said: said}]}))
    assert number not in line
    assert number not in "\n".join(written(Event("job.deferred", {"reason": said}), form="text"))


@given(st.from_regex(r"[2-9][0-9]{9}", fullmatch=True), st.sampled_from([" ", "-", "."]), st.integers(2, 5))
def test_no_phone_number_passes_in_groups(number: str, separator: str, first: int) -> None:
    grouped = separator.join([number[:first], number[first : first + 3], number[first + 3 :]])
    assert grouped not in mask(f"call {grouped} now")


@given(st.text(max_size=80) | st.text(st.sampled_from("0123456789-_+. ()@?=:/aTZ"), max_size=40))
def test_masking_twice_is_masking_once(text: str) -> None:
    assert mask(mask(text)) == mask(text)


def test_equal_warnings_are_written_once_a_minute_with_their_count() -> None:
    clock = StillClock()
    stream = io.StringIO()
    log.configure("info", "json", host_id="h", run_id="r", stream=stream, clock=clock)
    for _ in range(5):
        log.emit(Event("destination.opened", {"dest": "crm", "reason": "refused"}, "warning"))
    log.emit(Event("destination.opened", {"dest": "crm", "reason": "other"}, "warning"))
    clock.seconds += 61
    log.emit(Event("destination.opened", {"dest": "crm", "reason": "refused"}, "warning"))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["reason"], line.get("suppressed")) for line in lines] == [
        ("refused", None),
        ("other", None),
        ("refused", 4),
    ]


def test_levels_below_the_configured_one_are_left_out() -> None:
    lines = written(Event("a.b", {}, "debug"), Event("a.c", {}, "info"), Event("a.d", {}, "error"), level="warning")
    assert [json.loads(line)["event"] for line in lines] == ["a.d"]


def test_the_readable_form_is_one_line_without_the_constant_fields() -> None:
    (line,) = written(Event("file.settled", {"path": "a.ogg"}), form="text")
    assert "file.settled" in line
    assert "path=a.ogg" in line
    assert "h0st" not in line


def test_the_readable_form_shows_no_control_characters() -> None:
    lines = written(Event("file.settled", {"path": "a\nb\x1b[31m\u202egpj.ogg"}), form="text")
    assert len(lines) == 1
    assert lines[0].isprintable()


def to_pipe(*events: Event, encoding: str = "utf-8") -> bytes:
    """What arrives in a real pipe."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding=encoding) as stream:
        log.configure("info", "json", host_id="h", run_id="r", stream=stream, clock=StillClock())
        for event in events:
            log.emit(event)
    with os.fdopen(reader, "rb") as stream_end:
        return stream_end.read()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_name_that_is_no_text_costs_neither_its_line_nor_the_next(encoding: str) -> None:
    name = os.fsdecode(b"r\xff\xe9 \xc3\xa9\xe2\x80\xa8.ogg")
    names = [name, "b\u2028\x85.ogg", "c"]
    lines = to_pipe(*(Event("file.settled", {"path": path}) for path in names), encoding=encoding)
    assert [json.loads(line)["path"] for line in lines.decode(encoding).splitlines()] == names


def test_a_reader_that_went_away_does_not_stop_the_work() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:  # closing flushes: it must not fail any more either
        log.configure("info", "json", host_id="h", run_id="r", stream=stream, clock=StillClock())
        for _ in range(3):
            log.emit(Event("file.settled", {"path": "x" * 3000}))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is always full")
def test_a_full_disk_costs_lines_and_counts_them() -> None:
    disk = os.open("/dev/full", os.O_WRONLY)
    stream = os.fdopen(disk, "w", buffering=1)
    log.configure("info", "json", host_id="h", run_id="r", stream=stream, clock=StillClock())
    log.emit(Event("file.settled", {"path": "a"}))
    log.emit(Event("file.settled", {"path": "b"}))
    reader, writer = os.pipe()
    os.dup2(writer, disk)  # space again
    os.close(writer)
    log.emit(Event("file.settled", {"path": "c"}))
    log.emit(Event("file.settled", {"path": "d"}))
    stream.close()
    with os.fdopen(reader, "rb") as stream_end:
        told = [json.loads(line) for line in stream_end.read().splitlines()[-2:]]
    assert [(line["path"], line.get("lost")) for line in told] == [("c", 2), ("d", None)]


def test_a_closed_stream_does_not_stop_the_work() -> None:
    stream = io.StringIO()
    log.configure("info", "json", host_id="h", run_id="r", stream=stream, clock=StillClock())
    stream.close()
    log.emit(Event("file.settled"))


def test_an_event_cannot_pass_for_another() -> None:
    (line,) = written(Event("file.settled", {"event": "crm.accepted", "host_id": "x", "ts": "never", "level": "debug"}))
    told = json.loads(line)
    assert (told["event"], told["host_id"], told["level"]) == ("file.settled", "h0st", "info")


def test_a_long_string_is_cut() -> None:
    (line,) = written(Event("job.parked", {"reason": "x" * 100_000}))
    assert len(line) < LONGEST + 300


class Piecemeal(io.StringIO):
    """A stream that takes a line in pieces, as a terminal or a pipe may."""

    def write(self, text: str) -> int:
        for piece in re.findall(r".{1,20}|\n", text):
            super().write(piece)
            time.sleep(0)
        return len(text)


def test_lines_of_many_threads_stay_whole() -> None:
    stream = Piecemeal()
    log.configure("info", "json", host_id="h", run_id="r", stream=stream, clock=StillClock())

    def work(number: int) -> None:
        for _ in range(200):
            log.emit(Event("file.settled", {"item": number}))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([json.loads(line) for line in stream.getvalue().splitlines()]) == 800


def test_libraries_are_heard_from_warning_up_in_the_same_form_and_masked() -> None:
    stream = io.StringIO()
    log.configure("info", "json", host_id="h", run_id="r", stream=stream, clock=StillClock())
    library = logging.getLogger("some.library")
    library.info("nothing")
    library.warning("lost %s", "+918655066243")
    (ours,) = [handler for handler in logging.getLogger().handlers if type(handler).__module__ == "daemon.log"]
    ours.handle(logging.LogRecord("some.library", logging.WARNING, __file__, 1, "wrong %d", ("arguments",), None))
    try:
        raise ValueError("call 918655066243 said hello")
    except ValueError:
        library.exception("it failed")
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in said] == ["warning", "warning", "error"]
    assert said[0]["reason"] == "lost +91******6243"
    assert said[0]["library"] == "some.library"
    assert "TypeError" in said[1]["reason"]
    assert said[2]["reason"].startswith("it failed (ValueError at test_log.py:")
    assert "hello" not in stream.getvalue()
    assert "trace" not in said[2]


def test_at_debug_level_a_library_s_error_says_where_it_came_about() -> None:
    stream = io.StringIO()
    log.configure("debug", "json", host_id="h", run_id="r", stream=stream, clock=StillClock())
    try:
        raise ValueError("hello")
    except ValueError:
        logging.getLogger("some.library").exception("it failed")
    (place,) = json.loads(stream.getvalue())["trace"]
    assert place.endswith("test_at_debug_level_a_library_s_error_says_where_it_came_about")
    assert "hello" not in stream.getvalue()


def test_configuring_again_leaves_one_handler_and_other_people_s_alone() -> None:
    theirs = logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(theirs)
    try:
        written(Event("a.b"))
        before = list(root.handlers)
        written(Event("a.b"))
        assert theirs in root.handlers
        assert len(root.handlers) == len(before)
    finally:
        root.removeHandler(theirs)


def test_an_exception_is_told_by_type_and_our_own_message_only() -> None:
    def fall(error: Exception, said: str) -> Exception:
        try:
            raise error
        except type(error) as caught:
            assert said
            return caught

    assert log.failure(fall(Refused("the CRM said no"), "hello")) == {"reason": "Refused: the CRM said no"}
    theirs = log.failure(fall(KeyError("hello"), "hello"), trace=True)
    assert str(theirs["reason"]).startswith("KeyError at test_log.py:")
    ours = log.failure(fall(Defect("no move"), "hello"), trace=True)
    assert ours["reason"] == "Defect: no move"
    assert "hello" not in repr((theirs, ours))
    assert "trace" in ours
    assert "trace" not in log.failure(fall(Refused("no"), "hello"), trace=True)


def test_every_event_of_the_code_is_in_the_register() -> None:
    made = re.compile(r'(?:Event|_event|_say|_shut)\(\s*"([a-z]+\.[a-z_]+)"')
    files = [path for folder in ("daemon", "handlers") for path in (ROOT / folder).rglob("*.py")]
    names = {name for path in files for name in made.findall(path.read_text())}
    assert "job.parked" in names
    assert not names - set(log.EVENTS)

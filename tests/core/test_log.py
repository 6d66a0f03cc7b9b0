"""The log: its form, and what never gets into it."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import log
from daemon.contract import Event


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
        ("3f2a9c81b7d0", "3f2a9c81b7d0"),
        ("2025-10-29T06:48:24.123Z", "2025-10-29T06:48:24.123Z"),
    ],
)
def test_numbers_addresses_and_tokens_are_masked_and_times_are_not(given_text: str, wanted: str) -> None:
    assert log.mask(given_text) == wanted


@given(
    st.from_regex(r"[1-9][0-9]{8,13}", fullmatch=True),
    st.sampled_from(["{}", "+{}", "from {} to", "a {}.wav", "x/_{}"]),
)
def test_no_phone_number_passes(number: str, form: str) -> None:
    (line,) = written(Event("job.deferred", {"reason": form.format(number), "path": form.format(number)}))
    assert number not in line


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


def test_a_reader_that_went_away_does_not_stop_the_work() -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    log.configure("info", "json", host_id="h", run_id="r", stream=Gone(), clock=StillClock())
    log.emit(Event("file.settled"))
    log.emit(Event("file.settled"))

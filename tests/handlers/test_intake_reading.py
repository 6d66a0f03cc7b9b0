"""Times, numbers and documents as producers write them."""

from __future__ import annotations

import contextlib
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handlers.intake import documents, phones, times
from handlers.intake.documents import DocumentRefused
from handlers.settings import zone_of

INDIA = ZoneInfo("Asia/Kolkata")
BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2025, 10, 29, 6, 48, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "2025-10-29T06:48:24Z",
        "2025-10-29t06:48:24z",
        "2025-10-29T06:48:24.000Z",
        "2025-10-29T06:48:24,000000000+00:00",
        "2025-10-29T12:18:24+05:30",
        "2025-10-29T12:18:24+0530",
        "2025-10-29 06:48:24 UTC",
        " 2025-10-29T12:18:24 ",
        "2025-10-29 12:18:24",
        "2025-10-29T12-18-24",
        "20251029T121824",
        "20251029_121824",
        "20251029121824",
        "1761720504",
        "1761720504.0",
        1761720504,
        1761720504.0,
        1761720504000,
        1761720504000000,
        1761720504000000000,
    ],
)
def test_time_is_read_in_every_usual_form(written: object) -> None:
    assert times.parse(written, INDIA) == START


@pytest.mark.parametrize(
    "written",
    [
        None,
        True,
        "",
        "soon",
        "2025-10-29",
        "20251029",
        "1970-01-01T00:00:00Z",
        0,
        -1,
        35,
        float("nan"),
        float("inf"),
        10**400,
        "9" * 400,
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        [],
        {},
        "2025-13-29T06:48:24Z",
    ],
)
def test_what_is_no_time_is_none(written: object) -> None:
    assert times.parse(written, INDIA) is None


def test_clock_changes_are_read_the_same_every_time() -> None:
    assert times.parse("2025-10-26T02:30:00", BERLIN) == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert times.parse("2025-03-30T02:30:00", BERLIN) == datetime(2025, 3, 30, 1, 30, tzinfo=UTC)


def test_host_zone_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = zone_of("host")
    assert zone is None
    local = datetime(2025, 10, 29, 6, 48, 24).astimezone()
    assert times.parse("2025-10-29T06:48:24", zone) == local


@pytest.mark.parametrize(
    "session", ["session_20251029_064824_2e0aa754", "20251029-064824", "s-2025-10-29T06-48-24.123", "x20251029064824y"]
)
def test_session_id_carries_its_second(session: str) -> None:
    at = times.session_second(session, UTC)
    assert at is not None
    assert at.replace(microsecond=0) == START


@settings(deadline=None)
@given(st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30), timezones=st.timezones()))
def test_iso_time_comes_back_as_the_same_moment(moment: datetime) -> None:
    assert times.parse(moment.isoformat(), BERLIN) == moment.astimezone(UTC)


@settings(deadline=None)
@given(st.one_of(st.text(), st.floats(), st.integers(), st.from_regex(r"[0-9TZ:.+ _-]{8,40}", fullmatch=True)))
def test_nothing_written_as_a_time_raises(written: object) -> None:
    at = times.parse(written, INDIA)
    assert at is None or (at.utcoffset() == timedelta(0) and times.EARLIEST <= at < times.LATEST)
    times.session_second(str(written), None)


@pytest.mark.parametrize(
    "written",
    [
        "+918655066243",
        "_918655066243",
        "918655066243",
        918655066243,
        "00918655066243",
        "+91 86550 66243",
        "tel:+91-86550-66243",
        "sip:+918655066243@trunk.example;user=phone",
        "whatsapp:+918655066243",
    ],
)
def test_number_is_read_in_every_usual_form(written: object) -> None:
    assert phones.e164(written) == "+918655066243"


def test_region_reads_numbers_without_a_country() -> None:
    assert phones.e164("8655066243") is None
    assert phones.e164("8655066243", "IN") == "+918655066243"
    assert phones.e164("08655066243", "IN") == "+918655066243"
    assert phones.e164("918655066243", "IN") == "+918655066243"


@pytest.mark.parametrize(
    "written", [None, True, "", "+", "_", "anonymous", "unknown", "1001", "sip:alice@example.com", "+91", 7, 10**30, {}]
)
def test_what_is_no_number_is_none(written: object) -> None:
    assert phones.e164(written) is None


@settings(deadline=None)
@given(st.one_of(st.text(), st.integers(), st.from_regex(r"[+_0-9() .x-]{3,30}", fullmatch=True)))
def test_no_text_breaks_the_reading_of_numbers(written: object) -> None:
    number = phones.e164(written, "IN")
    assert number is None or (number[0] == "+" and number[1:].isdigit())


def test_masked_number_keeps_country_and_four_digits() -> None:
    assert phones.masked("+918655066243") == "+91******6243"
    assert phones.masked("+15550100") == "+1***0100"


def test_document_keeps_everything_it_held() -> None:
    body = {"a": [1, 2.5, None, True, "é", "\ud800", "\0"], "": {"x" * 1000: {}}}
    raw = json.dumps(body).encode()
    assert documents.parse(raw).fields == body
    assert json.dumps(documents.parse(b"\xef\xbb\xbf" + raw).fields) == json.dumps(body)


def test_key_said_twice_counts_last_and_is_marked() -> None:
    document = documents.parse(b'{"a": 1, "b": {"c": 1, "c": 2}}')
    assert (document.fields, document.doubled) == ({"a": 1, "b": {"c": 2}}, True)
    assert not documents.parse(b'{"a": {"a": 1}}').doubled


DEEP = b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "is not JSON (byte 0)"),
        (b"[]", "is not a JSON object (byte 0)"),
        (b'"secret"', "is not a JSON object (byte 0)"),
        ('{"é": secret}'.encode(), "is not JSON (byte 7)"),
        (b'\xef\xbb\xbf{"a": secret}', "is not JSON (byte 9)"),
        (b'{"a": "secret', "is not JSON (byte 6)"),
        (b'{"a": 1} secret', "is not JSON (byte 9)"),
        (b'{"a": "\xff"}', "is not UTF-8 (byte 7)"),
        ('{"a": 1}'.encode("utf-16"), "is UTF-16 where UTF-8 is expected (byte 0)"),
        (b'{"NaN": NaN}', "holds a number that JSON does not know (byte 8)"),
        (b'{"a": -Infinity}', "holds a number that JSON does not know (byte 6)"),
        (b'{"a": 1e999}', "holds a number that JSON does not know (byte 6)"),
        (b'{"a": ' + b"9" * 5000 + b"}", "holds a number that JSON does not know (byte 6)"),
        (DEEP, "is nested deeper than the limit of 100 (byte 105)"),
        (b"[" * 1_000_000, "is nested deeper than the limit of 100 (byte 100)"),
        (b'{"a": [' + b"1," * 1_000_001 + b"1]}", "holds more than the limit of 1000000 values (byte 2000004)"),
    ],
)
def test_hostile_document_is_refused_with_its_byte_and_never_quoted(raw: bytes, reason: str) -> None:
    with pytest.raises(DocumentRefused) as refused:
        documents.parse(raw)
    assert refused.value.reason == reason


def test_brackets_and_commas_inside_what_was_said_count_for_nothing() -> None:
    said = "[" * 300 + "," * 2_000_000 + '"\\'
    assert documents.parse(json.dumps({"a": said}).encode()).fields == {"a": said}


def test_document_beyond_the_limit_is_not_read_into_memory() -> None:
    class Endless(io.RawIOBase):
        asked = 0

        def read(self, size: int = -1) -> bytes:
            self.asked = size
            return bytes(size)

    endless: Any = Endless()
    with pytest.raises(DocumentRefused, match="limit of 64 MiB"):
        documents.read(endless)
    assert endless.asked == documents.LARGEST_BYTES + 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_document_round_trip(body: dict[str, Any]) -> None:
    assert documents.parse(json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass")).fields == body


@settings(deadline=None)
@given(st.one_of(st.binary(), st.text(alphabet='{}[]",:\\0123456789eE+-.NaInfty \n\x00u').map(str.encode)))
@example(b'{"\\')
@example(b'{"a": 1.}')
def test_arbitrary_bytes_are_an_object_or_the_declared_refusal(raw: bytes) -> None:
    with contextlib.suppress(DocumentRefused):
        json.loads(json.dumps(documents.parse(raw).fields, allow_nan=False))

"""The call's id: formats, section 4."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import Defect
from handlers.crm.call_id import make_call_id, tail_of

START = datetime(2025, 10, 29, 12, 15, 30, 123_000, UTC)
SHA = hashlib.sha256(b"transcript").hexdigest()
SESSION = "session_20251029_064824_2e0aa754"


def free(_: str) -> bool:
    return False


def test_the_field_example_comes_out_to_the_letter() -> None:
    assert make_call_id(START, tail_of("+918655066243", SESSION, SHA), SHA, free) == "CALL-20251029-121530-66243"


def test_date_and_time_are_utc_whatever_zone_the_start_is_written_in() -> None:
    india = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert make_call_id(india, "66243", SHA, free) == make_call_id(START, "66243", SHA, free)


def test_the_second_is_cut_off_not_rounded() -> None:
    assert "121530" in make_call_id(START.replace(microsecond=999_999), "66243", SHA, free)


def test_an_unknown_number_gives_way_to_the_session_and_a_missing_session_to_the_content() -> None:
    by_session = int(hashlib.sha256(SESSION.encode()).hexdigest(), 16) % 100_000
    assert tail_of(None, SESSION, SHA) == f"{by_session:05d}"
    assert tail_of(None, None, SHA) == f"{int(SHA, 16) % 100_000:05d}"
    assert tail_of(None, "", SHA) == tail_of(None, None, SHA)


@given(st.one_of(st.none(), st.text()), st.one_of(st.none(), st.text()), st.binary())
def test_a_tail_is_always_five_digits_and_always_the_same(
    number: str | None, session: str | None, content: bytes
) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    tail = tail_of(number, session, sha256)
    assert re.fullmatch(r"[0-9]{5}", tail)
    assert tail_of(number, session, sha256) == tail


@given(st.integers(1, 5), st.binary())
def test_later_calls_of_the_same_second_and_tail_all_get_ids_of_their_own(others: int, content: bytes) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    taken: set[str] = set()
    for _ in range(others + 1):
        call_id = make_call_id(START, "66243", sha256, taken.__contains__)
        assert call_id not in taken
        taken.add(call_id)
    plain, *longer = sorted(taken, key=len)
    assert plain == "CALL-20251029-121530-66243"
    assert all(re.fullmatch(re.escape(plain) + r"-[0-9]{4}", call_id) for call_id in longer)


def test_the_suffix_comes_out_of_the_later_ones_own_content() -> None:
    plain = make_call_id(START, "66243", SHA, free)
    assert make_call_id(START, "66243", SHA, {plain}.__contains__) == f"{plain}-{int(SHA, 16) % 10_000:04d}"


def test_when_nothing_is_free_that_is_a_defect_and_not_an_endless_search() -> None:
    with pytest.raises(Defect):
        make_call_id(START, "66243", SHA, lambda _: True)

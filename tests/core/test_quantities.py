"""Durations, percentages, bitrates and sizes: what is written is read back, and nothing else is read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.quantities import (
    bitrate,
    bitrate_text,
    duration,
    duration_text,
    percent,
    percent_text,
    size,
    size_text,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("10s", 10),
        ("1h30m", 5400),
        ("7d", 604_800),
        ("500ms", 0.5),
        ("-15m", -900),
        ("1.5h", 5400),
        ("1 h 30 m", 5400),
        ("30", 30),
        (30, 30),
        (0.25, 0.25),
        ("2w", 1_209_600),
    ],
)
def test_durations_are_read_as_people_write_them(written: object, seconds: float) -> None:
    assert duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written", ["", "s", "10 parsecs", "1h-3m", "10s!", None, True, "٣s", "1e3", "9" * 30 + "d", []]
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="a duration"):
        duration(written)


@given(st.integers(-(10**12), 10**12))
def test_a_duration_is_read_back_to_the_millisecond(milliseconds: int) -> None:
    span = timedelta(milliseconds=milliseconds)
    assert duration(duration_text(span)) == span


@given(st.integers(0, 2**50))
def test_a_size_and_a_bitrate_are_read_back_exactly(count: int) -> None:
    assert size(size_text(count)) == count
    assert bitrate(bitrate_text(count)) == count


@given(st.integers(0, 10_000))
def test_a_percentage_is_read_back(hundredths: int) -> None:
    share = hundredths / 10_000
    assert percent(percent_text(share)) == pytest.approx(share)


def test_units_are_what_the_formats_say() -> None:
    assert (size("500MB"), size("2GiB"), size("1kb"), size("7")) == (500 * 2**20, 2 * 2**30, 1024, 7)
    assert (bitrate("96k"), bitrate("64000")) == (96_000, 64_000)
    assert (percent("20%"), percent("0.2"), percent(1)) == (0.2, 0.2, 1.0)


@pytest.mark.parametrize("read", [percent, bitrate, size])
@pytest.mark.parametrize("written", ["", "-5", "much", "nan%", None, True, "5%%", "1 2"])
def test_what_is_no_quantity_is_refused(read: Callable[[object], float], written: object) -> None:
    with pytest.raises(ValueError, match=r"a percentage|a bitrate|a size"):
        read(written)

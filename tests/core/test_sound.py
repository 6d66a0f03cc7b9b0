"""Which part of a recording a ``Range`` asks for."""

from __future__ import annotations

import pytest

from handlers.view.sound import begins, part


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, (0, 100)),
        ("bytes=0-", (0, 100)),
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 10)),
        ("bytes=90-200", (90, 10)),
        ("bytes=-10", (90, 10)),
        ("bytes=-1000", (0, 100)),
        ("bytes=100-", None),
        ("bytes=-0", None),
        ("bytes=9-5", (0, 100)),
        ("bytes=-", (0, 100)),
        ("bytes=0-1,5-6", (0, 100)),
        ("pages=1-2", (0, 100)),
    ],
)
def test_a_range_is_read_as_the_standard_says(header: str | None, expected: tuple[int, int] | None) -> None:
    assert part(header, 100) == expected


@pytest.mark.parametrize(
    ("header", "expected"), [("", True), ("bytes=0-", True), ("bytes=0-99", True), ("bytes=100-", False)]
)
def test_only_who_hears_the_beginning_plays(header: str, expected: bool) -> None:
    assert begins({"range": header} if header else {}) is expected

"""The short form of ``python -m tests.powercut``: what it cuts and holds is told there."""

from __future__ import annotations

import pytest

from tests.powercut.__main__ import cut
from tests.powercut.disk import why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.mark.timeout(600)
def test_no_promise_is_broken_by_a_power_cut() -> None:
    figures = cut(calls=2, points=15, restarts=1, seed=3)
    assert figures["broken"] == [], figures
    assert figures["cuts"] == {"in order": 15, "reordered": 15, "gone on": 2}

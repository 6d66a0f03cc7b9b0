"""Recordings that are not fit to be listened to are told by flags, and whole files are inspected without a ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from handlers.audio.pool import Prober
from handlers.audio.quality import Limits, doubts
from handlers.audio.speech import QUIETEST
from tests.support import audio

KEYS = [
    "path",
    "container",
    "codec",
    "channels",
    "sample_rate",
    "bitrate",
    "media_s",
    "span_s",
    "declared_s",
    "flags",
    "error",
]
RATE = 16_000


def spoken() -> array[int]:
    return audio.talk([(1, 4), (6, 9)], 10, rate=RATE, noise_db=-70)


def quiet() -> array[int]:
    return array("h", (value // 30 for value in spoken()))


def clipped() -> array[int]:
    return array("h", (max(-32768, min(32767, 20 * value)) for value in spoken()))


def one_side() -> array[int]:
    return audio.together(spoken(), array("h", bytes(2 * len(spoken()))))


def whole_range() -> array[int]:
    """A tone just below full scale is loud, and not cut off."""
    return array("h", (value * 30000 // 3000 for value in audio.tone(10 * RATE, RATE)))


CASES = {
    "good": (spoken, 1, ()),
    "silent": (lambda: array("h", bytes(2 * 10 * RATE)), 1, ("silent",)),
    "quiet": (quiet, 1, ("too_quiet",)),
    "clipped": (clipped, 1, ("clipped",)),
    "one side": (one_side, 2, ("dead_side",)),
    "whole range": (whole_range, 1, ()),
    "short": (lambda: spoken()[RATE : RATE * 3 // 2], 1, ("too_short",)),
}


@pytest.mark.parametrize("form", ["wav", "ogg"])
@pytest.mark.parametrize("case", CASES)
def test_every_doubt_is_told_in_plain_samples_and_in_opus(case: str, form: str, tmp_path: Path) -> None:
    make, channels, flags = CASES[case]
    path = tmp_path / "call"
    codec, bit_rate = ("pcm_s16le", None) if form == "wav" else ("libopus", 64_000)
    audio.encode(path, make(), container=form, codec=codec, rate=RATE, channels=channels, bit_rate=bit_rate)
    with Prober(1) as prober:
        inspected = prober.inspect(bytes(path), 72)
        probed = prober.probe(bytes(path))
    assert inspected.info.flags == probed.flags == flags
    assert inspected.info.media_s == pytest.approx(0.5 if case == "short" else 10.0, abs=1 / RATE)


def test_thresholds_are_the_callers() -> None:
    levels = [[-45.0] * 100]
    assert doubts(levels, 0, 2.0, Limits()) == {"too_quiet"}
    assert doubts(levels, 0, 2.0, Limits(quiet_db=-50)) == set()
    assert doubts(levels, 0, 2.0, Limits(silent_db=-44, short_s=3)) == {"silent", "too_short"}


def test_a_file_is_inspected_beyond_its_first_ten_minutes(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    silence = array("h", bytes(2 * 8000 * 605))
    audio.encode(path, silence + audio.tone(8000 * 10, 8000), container="wav", codec="pcm_s16le", rate=8000)
    with Prober(1) as prober:
        assert prober.probe(bytes(path)).flags == ("silent",)
        inspected = prober.inspect(bytes(path), 60)
    assert inspected.info.flags == ()
    assert inspected.course[0] == QUIETEST
    assert inspected.course[-1] > -30


def test_inspect_prints_one_object_a_line_and_the_unreadable_too(tmp_path: Path) -> None:
    audio.make_webm(tmp_path / "a.webm", 96_000)
    (tmp_path / "b.txt").write_text("no audio")
    command = [sys.executable, "-m", "daemon", "inspect", "a.webm", "b.txt", "c.ogg", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 3, done.stderr
    assert [list(one) for one in told] == [KEYS] * 3
    assert (told[0]["codec"], told[0]["media_s"], told[0]["declared_s"], told[0]["error"]) == ("opus", 2.0, None, None)
    assert 40_000 < told[0]["bitrate"] < 200_000
    assert told[1]["media_s"] is None
    assert "unknown container" in told[1]["error"]
    assert "not there" in told[2]["error"]
    assert not (tmp_path / "state").exists()

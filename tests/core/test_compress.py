"""What is decided about old audio, and why a copy is refused: figures in, decisions out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.compress.document import rewritten
from handlers.compress.policy import Encode, Leave, decide
from handlers.compress.verdict import refusal
from handlers.records import Compressible
from handlers.settings import CompressSettings, Tier, VerifySettings

NOW = datetime(2025, 11, 1, 12, tzinfo=UTC)
TIERS = (Tier(after=timedelta(days=7), bitrate=96_000), Tier(after=timedelta(days=30), bitrate=64_000))


def recording(size: int, *, seconds: float = 600, days: float = 8, channels: int = 1) -> Compressible:
    return Compressible(1, "a.wav", size, seconds, "pcm_s16le", channels, NOW - timedelta(days=days))


def test_the_last_tier_whose_time_has_come_says_the_rate() -> None:
    settings = CompressSettings(tiers=TIERS)
    wav = 600 * 96_000
    assert decide(recording(wav, days=6.9), settings, NOW) is None
    eight, thirty = (decide(recording(wav, days=days), settings, NOW) for days in (8, 30))
    assert isinstance(eight, Encode)
    assert isinstance(thirty, Encode)
    assert (eight.bitrate, thirty.bitrate) == (96_000, 64_000)


@pytest.mark.parametrize(("kbit", "encoded"), [(64, False), (96, False), (115, False), (128, True), (768, True)])
def test_a_browsers_64_kbits_are_left_whatever_the_tier_asks(kbit: int, encoded: bool) -> None:
    what = decide(recording(kbit * 125 * 600), CompressSettings(), NOW)
    assert isinstance(what, Encode if encoded else Leave)


def test_more_than_two_channels_are_never_mixed() -> None:
    assert isinstance(decide(recording(10**8, channels=6), CompressSettings(), NOW), Leave)


@given(st.integers(1, 10**9), st.floats(0, 10**5), st.integers(6_000, 510_000))
def test_whatever_is_encoded_is_expected_to_save_what_it_must(size: int, seconds: float, bitrate: int) -> None:
    settings = CompressSettings(tiers=(Tier(after=timedelta(0), bitrate=bitrate),))
    what = decide(recording(size, seconds=seconds), settings, NOW)
    assert isinstance(what, Leave) or (isinstance(what, Encode) and what.expected <= 0.8 * size)


# ------------------------------------------------------------------------------------------------- refusing copies

GOOD: dict[str, Any] = {
    "channels_differ": False,
    "samples_more": 0,
    "correlation": 0.998,
    "level_db": -0.1,
    "mean_db": 0.4,
    "worst_second_db": 5.0,
    "spectrum_db": 1.0,
    "dropout_s": 0.0,
    "silent": False,
}


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, ""),
        ({"samples_more": -961}, "-961 samples"),
        ({"correlation": 0.98}, "levels agree"),
        ({"correlation": None}, ""),
        ({"correlation": None, "mean_db": 2.1}, "levels differ"),
        ({"level_db": 3.01}, "+3.0 dB louder"),
        ({"worst_second_db": 12.1}, "a second"),
        ({"spectrum_db": 4.1}, "spectrum"),
        ({"spectrum_db": 4.1, "silent": True}, ""),
        ({"dropout_s": 0.08}, "0.08 s are gone"),
        ({"channels_differ": True}, "other channels"),
    ],
)
def test_each_figure_refuses_by_itself_and_says_so(changed: dict[str, Any], word: str) -> None:
    why = refusal({**GOOD, **changed}, VerifySettings())
    assert (word in why) if word else why == ""


# ------------------------------------------------------------------------------------------------- the document beside


def changed(raw: bytes, name: str = "a.webm") -> bytes | None:
    return rewritten(raw, original_name=name, copy_name="a.opus", original_size=1000, size=250, at=NOW)


def test_unknown_fields_and_their_order_stay_and_chunks_follow() -> None:
    raw = json.dumps({"z": [1, {"ü": None}], "chunks": [{"file": "s/a.webm", "i": 0}, {"i": 1}, 7], "b": 1.50})
    made = changed(raw.encode())
    assert made is not None
    document = json.loads(made)
    assert list(document)[:3] == ["z", "chunks", "b"]
    assert document["z"] == [1, {"ü": None}]
    assert document["chunks"] == [{"file": "s/a.opus", "i": 0}, {"i": 1}, 7]
    added = {"compressed": True, "original_size": 1000, "compressed_size": 250, "compression_ratio": 0.25}
    assert {name: document[name] for name in added} == added
    assert document["compression_date"] == "2025-11-01T12:00:00+00:00"
    assert changed(made) is None, "said once, it is not said again"


def test_a_document_keeps_its_layout() -> None:
    made = changed(b'{\n    "b": 1,\n    "a": 2\n}')
    assert made is not None
    assert made.startswith(b'{\n    "b": 1,\n    "a": 2,\n    "compressed": true')


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_document_is_left_alone(raw: bytes) -> None:
    assert changed(raw) is None

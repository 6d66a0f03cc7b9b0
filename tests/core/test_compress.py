"""What is decided about old audio, and why a copy is refused: figures in, decisions out."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.compress.conditions import Conditions, discharging, opening
from handlers.compress.document import Change, NoIndex, indexed, rewritten, without
from handlers.compress.policy import Encode, Leave, Repack, decide
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


def webm(kbit: int, **changes: Any) -> Compressible:
    known = Compressible(
        1, "a.webm", kbit * 125 * 600, 600, "opus", 1, NOW - timedelta(days=8), "webm", ("no_duration",)
    )
    return dataclasses.replace(known, **changes)


def test_opus_that_is_small_already_keeps_its_packets_and_changes_its_container() -> None:
    what = decide(webm(64), CompressSettings(), NOW)
    assert isinstance(what, Repack)
    assert (what.bitrate, what.expected) == (64_000, 64 * 125 * 600 - 1)
    assert isinstance(decide(webm(64), CompressSettings(copy_packets=False), NOW), Leave)
    assert isinstance(decide(webm(64, flags=("gaps",)), CompressSettings(), NOW), Leave)
    assert isinstance(decide(webm(64, container="ogg"), CompressSettings(), NOW), Leave)
    assert isinstance(decide(webm(64, codec="vorbis"), CompressSettings(), NOW), Leave)
    assert isinstance(decide(webm(128), CompressSettings(), NOW), Encode), "where encoding saves enough, it is encoded"


def test_a_later_tier_makes_less_of_a_copy_and_never_the_same_again() -> None:
    settings = CompressSettings(tiers=TIERS)
    copy = webm(96, container="ogg", made=96_000)
    assert decide(copy, settings, NOW) is None
    older = dataclasses.replace(copy, aged_at=NOW - timedelta(days=31))
    assert isinstance(decide(older, settings, NOW), Encode)
    assert decide(dataclasses.replace(older, made=64_000), settings, NOW) is None
    beside = dataclasses.replace(older, beside=True)
    assert decide(beside, settings, NOW) is None, "first the grace of what it was made of ends"
    assert isinstance(decide(beside, CompressSettings(tiers=TIERS, delete_originals=False), NOW), Encode)
    small = webm(70, container="ogg", codec="vorbis", small_for=96_000)
    assert decide(small, settings, NOW) is None
    older = dataclasses.replace(small, aged_at=NOW - timedelta(days=31))
    assert decide(older, settings, NOW) == Leave("it is small already", 64_000)


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
    return rewritten(raw, Change(name, "a.opus", 1000, 250, NOW))


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


def test_only_the_names_of_its_own_chunks_follow() -> None:
    files = ["a.webm", "a_chunk_1.webm", "a/chunk_0001.webm", "other.webm", "b/chunk_0001.webm", "a.wav"]
    made = changed(json.dumps({"chunks": [{"file": name} for name in files]}).encode())
    assert made is not None
    names = [chunk["file"] for chunk in json.loads(made)["chunks"]]
    assert names == ["a.opus", "a_chunk_1.opus", "a/chunk_0001.opus", "other.webm", "b/chunk_0001.webm", "a.wav"]


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_document_is_left_alone(raw: bytes) -> None:
    assert changed(raw) is None


# ------------------------------------------------------------------------------------------------- the master index

CHANGE = Change("a.webm", "a.opus", 1000, 250, NOW, "sub/a.webm")


def index(before: Any) -> Any:
    made = indexed(json.dumps(before).encode(), CHANGE)
    return None if made is None else json.loads(made)


def test_entries_of_an_index_follow_wherever_they_stand_and_all_else_stays() -> None:
    before = {"version": 2, "recordings": [{"id": 7, "file": "sub/a.webm", "by": "x"}, {"id": 8, "file": "b/a.webm"}]}
    after = index(before)
    assert list(after) == ["version", "recordings"]
    first, second = after["recordings"]
    assert second == {"id": 8, "file": "b/a.webm"}
    assert list(first)[:3] == ["id", "file", "by"]
    assert (first["file"], first["compressed"], first["compressed_size"]) == ("sub/a.opus", True, 250)
    assert index(after) is None, "said once, it is not said again"


def test_an_index_may_be_a_list_a_mapping_by_name_or_hold_bare_names() -> None:
    assert index([{"filename": "/srv/calls/sub/a.webm"}])[0]["filename"] == "/srv/calls/sub/a.opus"
    by_name = index({"files": {"z.webm": {"n": 1}, "a.webm": {"n": 2}}})["files"]
    assert list(by_name) == ["z.webm", "a.opus"]
    assert (by_name["a.opus"]["n"], by_name["a.opus"]["compressed"]) == (2, True)
    assert index({"names": ["z.webm", "a.webm"]})["names"] == ["z.webm", "a.opus"]


def test_what_no_entry_names_gets_one_and_a_missing_index_is_made() -> None:
    [entry] = index([])
    assert (entry["file"], entry["original_file"], entry["compressed"]) == ("sub/a.opus", "sub/a.webm", True)
    assert index([entry]) is None
    made = indexed(b"", CHANGE)
    assert made is not None
    assert json.loads(made) == {"recordings": [entry]}
    with pytest.raises(NoIndex):
        indexed(b"7", CHANGE)


def test_entries_of_who_is_erased_go_and_no_others() -> None:
    before = json.dumps({"recordings": [{"file": "s/a.opus", "original_file": "s/a.webm"}, {"file": "s/b.opus"}]})
    left = without(before.encode(), frozenset({"a.webm", "a.opus"}))
    assert left is not None
    assert json.loads(left) == {"recordings": [{"file": "s/b.opus"}]}
    assert without(left, frozenset({"a.webm", "a.opus"})) is None


# ------------------------------------------------------------------------------------------------- when


@pytest.mark.parametrize(
    ("between", "at", "opens"),
    [
        ("22:00-06:00", "23:10", "23:10"),
        ("22:00-06:00", "05:59", "05:59"),
        ("22:00-06:00", "06:00", "22:00"),
        ("08:00-18:00", "07:59", "08:00"),
        ("08:00-18:00", "18:00", "08:00"),
    ],
)
def test_hours_may_go_past_midnight(between: str, at: str, opens: str) -> None:
    hour, minute = map(int, at.split(":"))
    found = opening(between, "UTC", NOW.replace(hour=hour, minute=minute))
    assert f"{found:%H:%M}" == opens
    assert timedelta(0) <= found - NOW.replace(hour=hour, minute=minute) < timedelta(days=1)


def test_hours_are_those_of_the_zone() -> None:
    assert opening("22:00-06:00", "Asia/Kolkata", NOW.replace(hour=15)) == NOW.replace(hour=16, minute=30)


def test_load_and_battery_are_heeded_as_far_as_they_are_asked_about() -> None:
    def against(load: float, battery: bool, **settings: Any) -> str:
        conditions = Conditions(CompressSettings(**settings), "UTC", lambda: load, lambda: battery)
        found = conditions.against(NOW)
        return "" if found is None else found[1]

    assert against(9.0, battery=False) == ""
    assert "max_load" in against(0.9, battery=False, max_load=0.8)
    assert against(0.7, battery=False, max_load=0.8) == ""
    assert "battery" in against(0.0, battery=True)
    assert against(0.0, battery=True, on_battery=True) == ""
    assert "22:00" in against(0.0, battery=False, between="22:00-06:00")


def test_a_battery_feeds_the_machine_when_it_says_so_and_is_no_mouses(tmp_path: Path) -> None:
    def supply(name: str, **said: str) -> None:
        (tmp_path / name).mkdir()
        for what, text in said.items():
            (tmp_path / name / what).write_text(f"{text}\n")

    supply("AC", type="Mains", online="0")
    supply("mouse", type="Battery", scope="Device", status="Discharging")
    assert not discharging(tmp_path)
    supply("BAT0", type="Battery", status="Discharging")
    assert discharging(tmp_path)
    assert not discharging(tmp_path / "none")

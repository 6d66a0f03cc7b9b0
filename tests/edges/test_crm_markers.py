"""Markers of processed conversations: formats, section 5."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from daemon.contract import Effect, Receipt
from daemon.errors import NotSent
from handlers.crm.markers import MARKER, MarkerPerformer, read_markers
from handlers.records import OldMarker
from tests.support.crm import with_given

TRANSCRIPT = "transcript_session_2025-10-29T06-49-07.351452.json"
URL = "http://crm.example/apis/uploads/recordings/1.ogg"


def marker(
    folder: Path, name: str = TRANSCRIPT, url: str | None = URL, *, attempts: int = 1, lead: bool = True
) -> Effect:
    path = str(folder / f"{name}.uploaded")
    accepted = {"accepted_at": "2025-10-29T12:30:15.123Z", "url": url, "attempts": attempts}
    payload: dict[str, Any] = {
        "path": path,
        "original_path": f"conversations/{name}",
        "lead": lead,
        "call": "call",
        "accepted": None,
    }
    return with_given(Effect.of(MARKER, path, "disk", payload), {"call": Receipt(accepted)})


def test_the_marker_is_the_formats_to_the_letter(tmp_path: Path) -> None:
    MarkerPerformer().perform(marker(tmp_path / "processed_uploads"))
    [path] = (tmp_path / "processed_uploads").iterdir()
    assert path.name == f"{TRANSCRIPT}.uploaded"
    assert json.loads(path.read_bytes()) == {
        "uploaded_at": "2025-10-29T12:30:15.123Z",
        "original_path": f"conversations/{TRANSCRIPT}",
        "recording_uploaded": True,
        "recording_url": URL,
        "call_data_uploaded": True,
        "lead_uploaded": True,
        "upload_attempts": 1,
    }


def test_a_call_without_recording_and_lead_says_so(tmp_path: Path) -> None:
    MarkerPerformer().perform(marker(tmp_path, url=None, lead=False))
    said = json.loads((tmp_path / f"{TRANSCRIPT}.uploaded").read_bytes())
    assert (said["recording_uploaded"], said["recording_url"], said["lead_uploaded"]) == (False, None, False)


def test_attempts_are_the_calls(tmp_path: Path) -> None:
    MarkerPerformer().perform(marker(tmp_path, attempts=4))
    assert json.loads((tmp_path / f"{TRANSCRIPT}.uploaded").read_bytes())["upload_attempts"] == 4


def test_a_marker_follows_the_umask_and_leaves_nothing_beside(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        MarkerPerformer().perform(marker(tmp_path))
    finally:
        os.umask(before)
    [path] = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_marker_in_doubt_is_found_by_its_content_alone(tmp_path: Path) -> None:
    performer, effect = MarkerPerformer(), marker(tmp_path)
    assert performer.find(effect) is None
    performer.perform(effect)
    assert performer.find(effect) is not None
    assert performer.find(marker(tmp_path, attempts=2)) is None
    performer.perform(marker(tmp_path, attempts=2))
    assert performer.find(effect) is None


def test_a_folder_that_cannot_be_written_is_tried_again_later(tmp_path: Path) -> None:
    (tmp_path / "processed_uploads").write_text("a file stands in the way", "utf-8")
    with pytest.raises(NotSent, match="marker"):
        MarkerPerformer().perform(marker(tmp_path / "processed_uploads"))


def test_a_name_too_long_for_a_marker_does_not_hold_the_call(tmp_path: Path) -> None:
    receipt = MarkerPerformer().perform(marker(tmp_path, "x" * 250 + ".json"))
    assert receipt.event is not None
    assert receipt.event.name == "marker.skipped"
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------- from before us


def old(folder: Path) -> dict[str, OldMarker]:
    return {fact.transcript: fact for fact in read_markers(str(folder)).facts if isinstance(fact, OldMarker)}


@pytest.mark.parametrize(
    ("content", "delivered", "url"),
    [
        ({"call_data_uploaded": True, "recording_url": URL}, True, URL),
        ({}, True, None),
        ({"call_data_uploaded": None}, True, None),
        ({"call_data_uploaded": False, "recording_url": URL}, False, URL),
        ({"call_data_uploaded": False}, False, None),
        ({"call_data_uploaded": False, "recording_url": "/relative.ogg"}, False, None),
        ({"call_data_uploaded": False, "recording_url": 7}, False, None),
    ],
)
def test_a_marker_speaks_for_the_system_before(
    tmp_path: Path, content: dict[str, Any], delivered: bool, url: str | None
) -> None:
    (tmp_path / "a.json.uploaded").write_text("\ufeff" + json.dumps(content), "utf-8")
    assert old(tmp_path) == {"a.json": OldMarker("a.json", delivered, url, content)}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_broken_marker_counts_as_delivered_and_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json.uploaded").write_bytes(content)
    acted = read_markers(str(tmp_path))
    assert old(tmp_path)["a.json"].delivered
    assert [event.name for event in acted.events] == ["marker.unreadable", "markers.read"]


def test_a_transcript_that_was_moved_there_was_delivered(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}", "utf-8")
    (tmp_path / "b.json").write_text("{}", "utf-8")
    (tmp_path / "b.json.uploaded").write_text('{"call_data_uploaded": false}', "utf-8")
    assert {name: fact.delivered for name, fact in old(tmp_path).items()} == {"a.json": True, "b.json": True}


def test_links_folders_and_other_files_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.json.uploaded").mkdir()
    (tmp_path / "b.json.uploaded").symlink_to("/etc/hostname")
    (tmp_path / "c.txt").write_text("{}", "utf-8")
    os.mkfifo(tmp_path / "d.json.uploaded")
    assert old(tmp_path) == {}


def test_no_folder_is_no_marker(tmp_path: Path) -> None:
    assert read_markers(str(tmp_path / "none")).facts == ()


def test_a_name_that_is_no_utf8_is_kept_as_items_have_it(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.json.uploaded")).write_text("{}", "utf-8")
    assert list(old(tmp_path)) == ["caf\\xe9.json"]

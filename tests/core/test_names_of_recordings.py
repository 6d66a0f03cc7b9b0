"""What a file's name says, whatever the name: the field's conventions, configured ones, and names from hell."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import ConfigInvalid
from handlers.intake.names import Configured, Evidence, Names
from handlers.model import Side

UUID = "e587124c-02b6-49c5-b3bf-2610015da46a"

FIELD = {
    "number-_918655048643-1761635651.ogg": Evidence(number="+918655048643", epoch="1761635651"),
    "number-anonymous-1761635651.ogg": Evidence(number="anonymous", epoch="1761635651"),
    f"{UUID}_agent.wav": Evidence(group=UUID, side=Side.AGENT, call=UUID),
    f"{UUID.upper()}_customer.wav": Evidence(group=UUID, side=Side.CUSTOMER, call=UUID),
    f"{UUID}.ogg": Evidence(call=UUID),
    "session-7/chunk_0007.webm": Evidence(session="session-7", index=7),
    "transcript_session_2025-10-29T06-49-07.351452.json": Evidence(stamp="2025-10-29T06:49:07.351452"),
    "leads_session_2025-10-29T06-49-07.351452.json": Evidence(stamp="2025-10-29T06:49:07.351452"),
    "lead_20251013_135233.json": Evidence(taken="2025-10-13T13:52:33"),
    "transcript_session_20251029_064824_2e0aa754.json": Evidence(session="session_20251029_064824_2e0aa754"),
    "call-2025-10-29_06-49-07Z.flac": Evidence(stamp="2025-10-29T06:49:07+00:00"),
    "20251029_064907.mp3": Evidence(stamp="2025-10-29T06:49:07"),
    "20251399_064907.mp3": Evidence(),
    "a.webm": Evidence(),
    "": Evidence(),
}


@pytest.mark.parametrize("name", FIELD)
def test_names_of_the_field_are_read(name: str) -> None:
    assert Names().read(name) == FIELD[name]


@pytest.mark.parametrize("name", [name for name in FIELD if "/" not in name])
def test_folder_counts_for_nothing(name: str) -> None:
    names = Names()
    for folder in ("2025/10/29/", "number-x/", ""):
        assert names.evidence_of("conversations", folder + name) == names.evidence_of("conversations", name)


def test_equal_evidence_is_one_line_however_it_is_spelled() -> None:
    names = Names()
    lines = {
        names.evidence_of("conversations", name)
        for name in (
            "transcript_session_2025-10-29T06-49-07.351452.json",
            "x/copy of transcript 2025-10-29 06:49:07.351452.json",
            "2025-10-29T06.49.07,351452 (2).json",
        )
    }
    assert lines == {"stamp:2025-10-29T06:49:07.351452"}


def test_name_that_says_nothing_gives_no_evidence() -> None:
    assert Names().evidence_of("recordings", "folder/audio (3).ogg") == ""


def test_two_sides_and_two_chunks_never_share_their_evidence() -> None:
    names = Names()
    lines = [
        names.evidence_of("recordings", path)
        for path in (
            f"{UUID}_agent.wav",
            f"{UUID}_customer.wav",
            "s1/chunk_0001.webm",
            "s1/chunk_0002.webm",
            "s2/chunk_0002.webm",
            "a.json",
            "b.json",
            "s1/a.json",
        )
    ]
    assert len(set(lines)) == len(lines)


def test_evidence_shows_no_phone_number() -> None:
    line = Names().evidence_of("recordings", "number-_918655048643-1761635651.ogg")
    assert line.startswith("epoch:1761635651 number:")
    assert "8655048643" not in line
    assert line != Names().evidence_of("recordings", "number-_918655066243-1761635651.ogg")


def test_configured_conventions_come_first_and_their_format_reads_times() -> None:
    names = Names(
        [
            Configured(r"^(?P<call>CA[0-9a-f]{4})_(?P<stamp>\d{2}\.\d{2}\.\d{4} \d{4})", "%d.%m.%Y %H%M"),
            Configured(r"^(?P<side>bot|caller)-(?P<group>[^.]+)"),
            Configured(r"^(?P<room>[^/]+)/track\."),
            Configured(r"^number-(?P<call>7)-(?P<epoch>\d{9})"),
        ]
    )
    assert names.read("CA12ef_29.10.2025 0649.ogg") == Evidence(call="CA12ef", stamp="2025-10-29T06:49:00")
    assert names.read("bot-77.wav") == Evidence(side=Side.AGENT, group="77")
    assert names.read("caller-77.wav") == Evidence(side=Side.CUSTOMER, group="77")
    assert names.read("blue/track.ogg") == Evidence(room="blue")
    assert names.read("number-7-1761635651.ogg") == Evidence(call="7", number="7", epoch="176163565")
    assert names.read("number-_918655048643-1761635651.ogg").epoch == "1761635651"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("(", "regular expression"), ("no groups", "no named group"), (r"(?P<phone>\d+)", "unknown group 'phone'")],
)
def test_broken_convention_is_named_with_its_place(pattern: str, said: str) -> None:
    with pytest.raises(ConfigInvalid, match=rf"match\.names\[1\].*{said}"):
        Names([Configured(r"(?P<call>x)"), Configured(pattern)])


PIECES = [
    "number-",
    "_",
    "-",
    "session_",
    "20251029",
    "064824",
    "lead_",
    "chunk_",
    "/",
    ".webm",
    ".json",
    UUID,
    "_agent",
]


@settings(deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6), st.integers(0, 10**14).map(str))).map("".join))
def test_no_name_raises_and_reading_is_repeatable(name: str) -> None:
    names = Names()
    assert names.read(name) == names.read(name)
    for role in ("recordings", "conversations", "leads"):
        line = names.evidence_of(role, name)
        assert line == names.evidence_of(role, name)
        assert "\n" not in line or "\n" in name


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(10**9, 2 * 10**9), st.sampled_from([".ogg", ".wav", ""]))
def test_number_and_epoch_come_back_out_of_the_name(number: int, epoch: int, suffix: str) -> None:
    said = Names().read(f"number-_1{number:010d}-{epoch}{suffix}")
    assert (said.number, said.epoch) == (f"+1{number:010d}", str(epoch))

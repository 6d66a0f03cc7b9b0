"""The proofs on real files: is it open for writing, and is its container whole?"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import struct
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.watch import proof
from daemon.watch.opening import Hashed, hash_file, open_regular, stat_of
from daemon.watch.settle import Container, Writers
from tests.support.watching import ogg, ogg_page

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="read leases are Linux's")


def judge(path: Path, content: bytes) -> Container:
    """What the content says of itself."""
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    try:
        return proof.container(fd, len(content))
    finally:
        os.close(fd)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "any name"


@pytest.fixture
def reading(path: Path) -> Iterator[int]:
    path.write_bytes(b"x" * 4096)
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


# ------------------------------------------------------------------------------------------------- writers


@linux
def test_no_writer_is_known_for_an_own_file(reading: int) -> None:
    assert proof.writers(reading) is Writers.NONE


@linux
def test_a_writer_is_seen_until_it_closes(path: Path, reading: int) -> None:
    with path.open("ab"):
        assert proof.writers(reading) is Writers.SEEN
    assert proof.writers(reading) is Writers.NONE


@linux
def test_a_writable_mapping_is_seen_after_its_descriptor_closed(path: Path, reading: int) -> None:
    fd = os.open(path, os.O_RDWR)
    mapping = mmap.mmap(fd, 4096)
    os.close(fd)
    assert proof.writers(reading) is Writers.SEEN
    mapping.close()
    assert proof.writers(reading) is Writers.NONE


@linux
def test_the_lease_is_given_back_at_once(path: Path, reading: int) -> None:
    proof.writers(reading)
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # would fail with EWOULDBLOCK under a lease


@linux
def test_readers_do_not_count(path: Path, reading: int) -> None:
    with path.open("rb"):
        assert proof.writers(reading) is Writers.NONE


STRANGER = """
import os, sys
from daemon.watch import proof
fd = os.open(sys.argv[1], os.O_RDONLY)
os.setgid(65534); os.setuid(65534)
print(proof.writers(fd))
"""


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_writers_of_a_strangers_file_cannot_be_known(path: Path) -> None:
    path.write_bytes(b"x")
    with path.open("ab"):
        told = subprocess.run([sys.executable, "-c", STRANGER, str(path)], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "unknown"


# ------------------------------------------------------------------------------------------------- Ogg


def test_ogg_is_complete_with_its_last_page(path: Path) -> None:
    assert judge(path, ogg()) is Container.COMPLETE
    assert judge(path, ogg(ended=False)) is Container.INCOMPLETE


def test_chained_ogg_is_complete_when_its_last_stream_is(path: Path) -> None:
    assert judge(path, ogg() + ogg()) is Container.COMPLETE
    assert judge(path, ogg() + ogg(ended=False)) is Container.INCOMPLETE


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_ogg_cut_within_its_last_page_is_incomplete(path: Path, cut: int) -> None:
    assert judge(path, ogg()[:-cut]) is Container.INCOMPLETE


def test_a_capture_pattern_inside_the_audio_is_no_page(path: Path) -> None:
    tricky = b"speech OggS\x00\x04 more speech"
    assert judge(path, ogg_page(2, b"OpusHead") + ogg_page(0, tricky)) is Container.INCOMPLETE
    assert judge(path, ogg_page(2, b"OpusHead") + ogg_page(4, tricky)) is Container.COMPLETE


def test_ogg_followed_by_unwritten_space_is_incomplete(path: Path) -> None:
    assert judge(path, ogg() + bytes(100)) is Container.INCOMPLETE


def test_the_longest_page_is_found(path: Path) -> None:
    assert judge(path, ogg_page(2, b"OpusHead") + ogg_page(4, bytes(254 * 255 + 100))) is Container.COMPLETE


# ------------------------------------------------------------------------------------------------- WAV


def wav(seconds: float = 0.01) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(2 * int(8000 * seconds)))
    return out.getvalue()


def patched(content: bytes, at: int, value: int) -> bytes:
    return content[:at] + struct.pack("<I", value) + content[at + 4 :]


def test_wav_is_complete_when_its_sizes_agree_with_the_file(path: Path) -> None:
    assert judge(path, wav()) is Container.COMPLETE
    assert judge(path, wav()[:-10]) is Container.INCOMPLETE
    assert judge(path, wav() + bytes(10)) is Container.INCOMPLETE


@pytest.mark.parametrize("placeholder", [0, 0xFFFFFFFF])
@pytest.mark.parametrize("at", [4, 40])
def test_wav_whose_sizes_are_yet_to_be_written_is_incomplete(path: Path, placeholder: int, at: int) -> None:
    assert judge(path, patched(wav(), at, placeholder)) is Container.INCOMPLETE


def test_a_wav_header_alone_is_incomplete(path: Path) -> None:
    assert judge(path, wav(0)) is Container.INCOMPLETE


def test_python_leaves_a_stale_header_while_it_records(path: Path) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframesraw(bytes(320))
        sound.writeframesraw(bytes(320))
        sound._file.flush()  # type: ignore[attr-defined]
        fd = os.open(path, os.O_RDONLY)
        assert proof.container(fd, os.fstat(fd).st_size) is Container.INCOMPLETE
        os.close(fd)


def rf64(data: int = 80) -> bytes:
    body = b"WAVE" + b"ds64" + struct.pack("<IQQQI", 28, 4 + 36 + 24 + 8 + data, data, data // 2, 0)
    body += b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    return b"RF64\xff\xff\xff\xff" + body + b"data\xff\xff\xff\xff" + bytes(data)


def test_rf64_is_judged_by_its_long_sizes(path: Path) -> None:
    assert judge(path, rf64()) is Container.COMPLETE
    assert judge(path, rf64()[: -1 - 1]) is Container.INCOMPLETE


# ------------------------------------------------------------------------------------------------- MP4, WebM, others


def box(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(body), name) + body


FTYP = box(b"ftyp", b"M4A \0\0\0\0")


def test_mp4_is_complete_with_moov_and_boxes_that_cover_the_file(path: Path) -> None:
    whole = FTYP + box(b"mdat", bytes(50)) + box(b"moov", bytes(20))
    assert judge(path, whole) is Container.COMPLETE
    assert judge(path, FTYP + box(b"moov") + box(b"mdat", bytes(50))) is Container.COMPLETE
    assert judge(path, whole[:-1]) is Container.INCOMPLETE
    assert judge(path, FTYP + box(b"mdat", bytes(50))) is Container.INCOMPLETE
    assert judge(path, whole + bytes(8)) is Container.INCOMPLETE


def test_mp4_with_long_box_sizes_is_read(path: Path) -> None:
    mdat = struct.pack(">I4sQ", 1, b"mdat", 16 + 50) + bytes(50)
    assert judge(path, FTYP + mdat + box(b"moov")) is Container.COMPLETE
    assert judge(path, FTYP + struct.pack(">I4sQ", 1, b"mdat", 3) + box(b"moov")) is Container.INCOMPLETE


def test_fragmented_mp4_may_go_on_until_its_closing_box(path: Path) -> None:
    going = FTYP + box(b"moov") + box(b"moof") + box(b"mdat", bytes(9))
    assert judge(path, going) is Container.UNKNOWN
    assert judge(path, going + box(b"mfra", bytes(4))) is Container.COMPLETE


def test_a_box_that_reaches_to_the_end_proves_nothing(path: Path) -> None:
    assert judge(path, FTYP + box(b"moov") + struct.pack(">I4s", 0, b"mdat") + bytes(9)) is Container.UNKNOWN


def webm(size: bytes, body: bytes) -> bytes:
    return b"\x1aE\xdf\xa3\x84webm" + b"\x18\x53\x80\x67" + size + body


def test_webm_with_a_known_length_is_judged_by_it(path: Path) -> None:
    assert judge(path, webm(b"\x8a", bytes(10))) is Container.COMPLETE
    assert judge(path, webm(b"\x8a", bytes(9))) is Container.INCOMPLETE


def test_webm_of_unknown_length_cannot_tell(path: Path) -> None:
    assert judge(path, webm(b"\x01" + b"\xff" * 7, bytes(10))) is Container.UNKNOWN


@pytest.mark.parametrize(
    "head", [b"ID3\x04", b"\xff\xfb\x90\x00", b"fLaC\x00\x00\x00\x22", b"#!AMR\n", b"\x00\x01\x02\x03"]
)
def test_formats_without_an_end_cannot_tell(path: Path, head: bytes) -> None:
    assert judge(path, head + bytes(100)) is Container.UNKNOWN


# ------------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize("content", [b"{}", b'\xef\xbb\xbf{"a": 1}', b' \n{"a": "\xe0\xa4\xb9"}\r\n'])
def test_json_is_complete_as_one_object(path: Path, content: bytes) -> None:
    assert judge(path, content) is Container.COMPLETE


@pytest.mark.parametrize("content", [b'{"a": 1', b'{"a": "\xe0\xa4', b"{}{}", b"[1]", b"  ", b"{} x", b'{"a"\x00}'])
def test_json_that_is_anything_else_is_incomplete(path: Path, content: bytes) -> None:
    assert judge(path, content) is Container.INCOMPLETE


@pytest.mark.parametrize(
    "content",
    [b'{"a":' + b"[" * 200_000, b'{"a":' + b"9" * 10_000 + b"}", b'{"a": "' + b"x" * proof.JSON_LIMIT + b'"}'],
    ids=["deep", "huge number", "long"],
)
def test_hostile_json_cannot_be_told(path: Path, content: bytes) -> None:
    assert judge(path, content) is Container.UNKNOWN


@given(
    st.sampled_from([b"OggS", b"RIFF....WAVE", b"RF64....WAVEds64", b"\0\0\0\x08ftyp", b"\x1aE\xdf\xa3", b"{", b""]),
    st.binary(max_size=400),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_no_bytes_make_the_judge_raise(path: Path, head: bytes, rest: bytes) -> None:
    assert judge(path, head + rest) in Container


def test_the_end_of_a_huge_file_is_judged_in_few_reads(path: Path) -> None:
    with path.open("wb") as out:
        out.write(FTYP + struct.pack(">I4sQ", 1, b"mdat", 16 + (8 << 30)))
        out.seek(8 << 30, os.SEEK_CUR)
        out.write(box(b"moov"))
    fd = os.open(path, os.O_RDONLY)
    try:
        assert proof.container(fd, os.fstat(fd).st_size) is Container.COMPLETE
    finally:
        os.close(fd)


def test_json_reads_back_what_a_producer_writes(path: Path) -> None:
    assert judge(path, json.dumps({"conversation_items": [{"content": "हेलो"}]}).encode()) is Container.COMPLETE


# ------------------------------------------------------------------------------------------------- opening


def test_no_link_is_followed_on_the_way_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a").write_bytes(b"not ours")
    root = tmp_path / "root"
    root.mkdir()
    (root / "folder").symlink_to(tmp_path / "secret")
    (root / "a").symlink_to(tmp_path / "secret" / "a")
    for folder, name in ((b"folder", b"a"), (b"", b"a")):
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            open_regular(os.fsencode(root), folder, name)


def test_a_pipe_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ogg")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(os.fsencode(tmp_path), b"", b"pipe.ogg")


# ------------------------------------------------------------------------------------------------- hashing


def hashed(folder: Path, meanwhile: Callable[[], object]) -> Hashed:
    """Hash ``a`` in the folder, while something happens to it."""
    root = os.fsencode(folder)

    def once() -> bool:
        meanwhile()
        return False

    return hash_file(root, b"", b"a", stat_of((folder / "a").lstat()), once)


def test_a_file_is_hashed_as_it_is(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(content)
    assert hashed(tmp_path, lambda: None).sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("how", ["grows", "shrinks", "is replaced", "is touched"])
def test_a_file_that_changes_while_it_is_hashed_is_settled_again(tmp_path: Path, how: str) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x" * (3 << 20))

    def change() -> None:
        if how == "grows":
            with file.open("ab") as out:
                out.write(b"more")
        elif how == "shrinks":
            os.truncate(file, 1 << 20)
        elif how == "is replaced":
            (tmp_path / "b").write_bytes(b"y" * (3 << 20))
            (tmp_path / "b").replace(file)
            (tmp_path / "b").write_bytes(b"y")
        else:
            os.utime(file, (1, 1))

    assert hashed(tmp_path, change).moved


def test_a_new_mode_while_it_is_hashed_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert not hashed(tmp_path, lambda: (tmp_path / "a").chmod(0o600)).moved


def test_hashing_ends_when_the_watch_does(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(InterruptedError):
        hash_file(os.fsencode(tmp_path), b"", b"a", stat_of((tmp_path / "a").lstat()), lambda: True)

"""A form is streamed to disk: whole and safe, or not there at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.storage.taking import Malformed, Taken, Taking, TooLarge, boundary_of

AUDIO = os.urandom(300_000)


def form(content: bytes, name: str = "call.ogg", conversation: str = "") -> bytes:
    extra = (
        f'--b\r\nContent-Disposition: form-data; name="conversation_id"\r\n\r\n{conversation}\r\n'
        if conversation
        else ""
    )
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: audio/ogg\r\n\r\n'
    return extra.encode() + head.encode() + content + b"\r\n--b--\r\n"


def take(folder: Path, body: bytes, *, limit: int = 10**7, piece: int = 4096) -> Taken:
    taking = Taking(str(folder), boundary_of("multipart/form-data; boundary=b"), limit)
    try:
        for at in range(0, len(body), piece):
            taking.feed(body[at : at + piece])
        return taking.finish()
    except BaseException:
        taking.give_up()
        raise


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_sent_lies_there_whole_under_its_own_name(tmp_path: Path) -> None:
    taken = take(tmp_path, form(AUDIO, "a call.ogg", "my-call"))
    assert files(tmp_path) == [tmp_path / "my-call" / "a_call.ogg"]
    assert (tmp_path / "my-call" / "a_call.ogg").read_bytes() == AUDIO
    assert (taken.sha256, taken.size, taken.conversation) == (hashlib.sha256(AUDIO).hexdigest(), len(AUDIO), "my-call")


def test_without_a_conversation_it_is_called_by_its_content_so_that_a_repeat_is_the_same(tmp_path: Path) -> None:
    first, second = take(tmp_path, form(AUDIO)), take(tmp_path, form(AUDIO))
    assert first == second
    assert first.conversation.startswith("conv_")
    assert len(files(tmp_path)) == 1


def test_other_content_under_the_same_name_lies_beside(tmp_path: Path) -> None:
    take(tmp_path, form(AUDIO, conversation="c"))
    take(tmp_path, form(AUDIO[1:], conversation="c"))
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("name", ["../../etc/passwd", "..\\x.ogg", "chunk_0001.webm", ".hidden", "", "/"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    take(tmp_path / "in", form(AUDIO, name, "../out"))
    (found,) = files(tmp_path)
    assert found.parent.parent == tmp_path / "in"
    assert not found.name.startswith((".", "chunk_"))


def test_too_large_cut_off_empty_or_no_form_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        take(tmp_path, form(AUDIO), limit=1000)
    for body in (
        form(AUDIO)[:-9],
        form(b""),
        b"--b--\r\n",
        b"nothing of the kind",
        form(AUDIO).replace(b'"file"', b'"x"'),
    ):
        with pytest.raises(Malformed):
            take(tmp_path, body)
    assert files(tmp_path) == []
    with pytest.raises(Malformed):
        boundary_of("application/json")


@settings(max_examples=40, deadline=None)
@given(content=st.binary(min_size=1, max_size=300), piece=st.integers(1, 50))
def test_however_it_comes_in_pieces_it_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, piece: int
) -> None:
    folder = tmp_path_factory.mktemp("t")
    taken = take(folder, form(content), piece=piece)
    assert Path(taken.path).read_bytes() == content

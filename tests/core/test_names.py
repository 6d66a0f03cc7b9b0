"""Which names are passed over, and how names are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.catalogue import printable
from daemon.watch.names import Names, join

JUNK = [
    b".hidden", b"call.ogg~", b".#lock", b"#edit#", b"a.swp", b"a.SWX", b"a.tmp", b"a.temp", b"a.part", b"a.partial",
    b"a.filepart", b"a.crdownload", b"a.download", b"a.!ut", b".fuse_hidden0001", b".nfs0001", b"._call.ogg", b"@eaDir",
    b".stfolder", b"~$call.json", b"Thumbs.db", b"desktop.ini", b".DS_Store", b".call.ogg.Ab12Cd", b"4913", b"a\n.tmp",
    b"call.json.uploaded",
]  # fmt: skip


@pytest.mark.parametrize("name", JUNK)
def test_temporary_and_junk_names_are_passed_over(name: bytes) -> None:
    assert Names().ignores(name)


@pytest.mark.parametrize(
    "name",
    [
        b"call.ogg",
        b"temp",
        b"part.json",
        b"a.tmp.ogg",
        b"-rf",
        b"a b ",
        b"\xff\xfe.ogg",
        b"a\nb.wav",
        b"49131.ogg",
        b"~a",
    ],
)
def test_names_of_files_are_not(name: bytes) -> None:
    assert not Names().ignores(name)


def test_patterns_of_the_user_add_to_the_list() -> None:
    names = Names(["*.bak", "draft-?.json"])
    assert names.ignores(b"a.BAK")
    assert names.ignores(b"draft-1.json")
    assert names.ignores(b"a.tmp")
    assert not names.ignores(b"draft-12.json")


def test_a_marker_announces_its_file_and_is_none_itself() -> None:
    names = Names(ready_suffix=".done")
    assert names.announces(b"call.ogg.done") == b"call.ogg"
    assert names.ignores(b"call.ogg.done")
    assert names.marker(b"call.ogg") == b"call.ogg.done"
    assert names.announces(b".done") is None
    assert Names().marker(b"call.ogg") is None


@given(st.binary(max_size=300))
def test_any_name_has_a_printable_form_on_one_line(name: bytes) -> None:
    shown = printable(name)
    assert shown.isprintable()
    shown.encode("utf-8")
    assert Names(["*.x"]).ignores(name) in (True, False)


def test_parts_join_without_stray_slashes() -> None:
    assert join(b"/r", b"", b"n") == b"/r/n"
    assert join(b"", b"n") == b"n"

"""The scan: what it finds on a real disk, compared with what the ledger has."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.catalogue import Entry
from daemon.states import FileState
from daemon.watch.names import Names
from daemon.watch.opening import stat_of
from daemon.watch.roots import (
    Look,
    Polled,
    Standing,
    armed,
    backoff_s,
    look_at,
    lost,
    step,
    survey,
    why_polled,
)
from daemon.watch.scan import Difference, Scan, Walk, compare, list_folder
from tests.support.watching import MemoryCatalogue

LONG_NAME = b"n" * 200


def row(path: Path, state: FileState = FileState.KNOWN) -> Entry:
    return Entry(os.fsencode(path.name), *stat_of(path.lstat()), state.value)


def differ(folder: Path, *entries: Entry) -> Difference:
    return compare(b"", list_folder(os.fsencode(folder)), list(entries), Names())


def test_known_files_that_did_not_move_are_no_difference(tmp_path: Path) -> None:
    (tmp_path / "a.ogg").write_bytes(b"a")
    assert differ(tmp_path, row(tmp_path / "a.ogg")) == Difference(b"", [], [], 1)


def test_new_changed_and_missing_names_are_told_apart(tmp_path: Path) -> None:
    for name in ("same", "grown", "lost", "new"):
        (tmp_path / name).write_bytes(b"a")
    entries = [row(tmp_path / name) for name in ("same", "grown", "lost")]
    (tmp_path / "grown").write_bytes(b"ab")
    (tmp_path / "lost").unlink()
    found = differ(tmp_path, *entries)
    assert set(found.changed) == {b"grown", b"new"}
    assert found.missing == [b"lost"]


@pytest.mark.parametrize("state", [FileState.OLD, FileState.EMPTY])
def test_old_and_empty_files_are_passed_over_while_their_content_stays(tmp_path: Path, state: FileState) -> None:
    (tmp_path / "a").write_bytes(b"a")
    entry = row(tmp_path / "a", state)
    (tmp_path / "a").chmod(0o600)
    assert differ(tmp_path, entry).changed == []
    (tmp_path / "a").write_bytes(b"ab")
    assert differ(tmp_path, entry).changed == [b"a"]


@pytest.mark.parametrize("state", [FileState.SETTLING, FileState.ATTENTION, FileState.UNREADABLE])
def test_what_is_not_settled_is_looked_at_in_every_scan(tmp_path: Path, state: FileState) -> None:
    (tmp_path / "a").write_bytes(b"a")
    found = differ(tmp_path, row(tmp_path / "a", state))
    assert (found.changed, found.missing) == ([b"a"], [])


def test_links_and_pipes_are_named_once_and_never_followed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ogg")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = differ(tmp_path)
    assert set(found.changed) == {b"pipe.ogg", b"loop"}
    entries = [row(tmp_path / name, FileState.IRREGULAR) for name in ("pipe.ogg", "loop")]
    assert differ(tmp_path, *entries).changed == []


def test_ignored_names_never_differ(tmp_path: Path) -> None:
    (tmp_path / "a.tmp").write_bytes(b"a")
    (tmp_path / ".hidden").symlink_to("a.tmp")
    assert differ(tmp_path).changed == []


def walk(root: Path, catalogue: MemoryCatalogue | None = None) -> tuple[dict[bytes, Difference], Walk]:
    seen = Walk()
    scan = Scan(os.fsencode(root), 1, catalogue or MemoryCatalogue(), Names(), lambda: None)
    return {one.folder: one for one in scan.differences(b"", seen)}, seen


@pytest.fixture
def deep_path(tmp_path: Path) -> Iterator[Path]:
    """A folder for trees deeper than Python can remove."""
    yield tmp_path
    subprocess.run(["rm", "-rf", str(tmp_path / "d"), str(tmp_path / LONG_NAME.decode())], check=True)


def test_deep_trees_are_walked_without_recursion(deep_path: Path) -> None:
    deep = b"/".join([b"d"] * 1500)
    path = os.fsencode(deep_path)
    for part in deep.split(b"/"):
        path += b"/" + part
        os.mkdir(path)
    with open(path + b"/a.ogg", "wb") as out:
        out.write(b"a")
    found, _ = walk(deep_path)
    assert found[deep].changed == [b"a.ogg"]


def test_a_path_longer_than_the_system_takes_is_shut_and_not_gone(deep_path: Path) -> None:
    inside, name = os.open(deep_path, os.O_RDONLY), LONG_NAME
    for _ in range(25):
        os.mkdir(name, dir_fd=inside)
        inside, above = os.open(name, os.O_RDONLY, dir_fd=inside), inside
        os.close(above)
    os.close(inside)
    _, seen = walk(deep_path)
    assert list(seen.shut.values()) == ["ENAMETOOLONG"]


def test_ignored_folders_are_not_entered(tmp_path: Path) -> None:
    (tmp_path / "@eaDir").mkdir()
    (tmp_path / "@eaDir" / "a.ogg").write_bytes(b"a")
    assert walk(tmp_path)[0] == {}


def test_a_folder_that_vanished_gives_up_its_files(tmp_path: Path) -> None:
    catalogue = MemoryCatalogue()
    catalogue.rows[1, b"away"] = {b"a.ogg": Entry(b"a.ogg", 1, 1, 1, 1, "known")}
    _, seen = walk(tmp_path, catalogue)
    scan = Scan(os.fsencode(tmp_path), 1, catalogue, Names(), lambda: None)
    assert [(one.folder, one.missing) for one in scan.vanished_folders(seen)] == [(b"away", [b"a.ogg"])]


def test_nothing_below_a_shut_folder_vanishes() -> None:
    catalogue = MemoryCatalogue()
    catalogue.rows[1, b"shut/below"] = {b"a.ogg": Entry(b"a.ogg", 1, 1, 1, 1, "known")}
    scan = Scan(b"/", 1, catalogue, Names(), lambda: None)
    assert list(scan.vanished_folders(Walk(shut={b"shut": "EACCES"}))) == []
    assert list(scan.vanished_folders(Walk(shut={b"": "EACCES"}))) == []
    assert [one.folder for one in scan.vanished_folders(Walk(shut={b"shu": "EACCES"}))] == [b"shut/below"]


# ------------------------------------------------------------------------------------------------- roots


def test_a_root_that_changes_its_identity_is_lost_and_armed_again_with_backoff(tmp_path: Path) -> None:
    standing = armed(Look((1, 2)), None)
    assert step(standing, Look((1, 2)), 0.0) == "stay"
    for look in (Look((1, 3)), Look((2, 2)), Look(None, "ENOENT")):
        assert step(standing, look, 0.0) == "lost"
    down = lost(standing, Look((1, 3)), 10.0)
    assert not down.healthy
    assert step(down, Look((1, 3)), 10.5) == "stay"
    assert step(down, Look((1, 3)), 11.0) == "arm"


def test_a_missing_root_waits_for_as_long_as_it_takes() -> None:
    assert step(Standing(), Look(None, "ENOENT"), 0.0) == "stay"
    assert step(Standing(), Look((1, 2)), 0.0) == "arm"


def test_backoff_doubles_to_a_minute() -> None:
    assert [backoff_s(n) for n in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_root_without_its_guard_is_not_there(tmp_path: Path) -> None:
    assert look_at(os.fsencode(tmp_path), ".mounted").reason == "guard file: ENOENT"
    (tmp_path / ".mounted").touch()
    assert look_at(os.fsencode(tmp_path), ".mounted").identity is not None
    assert look_at(os.fsencode(tmp_path / ".mounted")).reason == "not a folder"
    assert look_at(os.fsencode(tmp_path / "none")).reason == "ENOENT"


def test_polling_is_decided_for_each_root(tmp_path: Path) -> None:
    assert why_polled(os.fsencode(tmp_path), "always") == "configured"
    assert why_polled(os.fsencode(tmp_path), "never") is None
    assert why_polled(os.fsencode(tmp_path), "auto") is None
    assert armed(Look((1, 1)), Polled("configured")).state == "polling"


def test_a_survey_says_what_a_root_gives_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.ogg").write_bytes(b"a")
    before = tmp_path.stat().st_mtime_ns
    found = survey(os.fsencode(tmp_path))
    assert (found.exists, found.readable, found.network, found.folders) == (True, True, False, 2)
    if os.uname().sysname == "Linux":
        assert (found.lease, found.proof) == (True, "read lease")
    assert tmp_path.stat().st_mtime_ns == before
    assert survey(os.fsencode(tmp_path / "none")).exists is False

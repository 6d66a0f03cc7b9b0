"""The watch on real folders, with the kernel's own events and with real writers.

All that must hold holds with events and without them; the tests marked with ``either`` run both ways.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from daemon.catalogue import RootRow, RootState
from daemon.contract import Event
from daemon.errors import BadRequest
from daemon.states import FileState
from daemon.watch import scan
from daemon.watch.catching_up import GRACE_S
from daemon.watch.keeper import CPU_SHARE, STUCK_S, Keeper
from daemon.watch.options import WatchOptions
from daemon.watch.watch import Watch
from tests.support.process import eventually
from tests.support.watching import QUICK, MemoryCatalogue, MovableClock, RealClock, Watched, inlet, ogg, watching

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="leases, inotify and namespaces are Linux's")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
either = pytest.mark.parametrize("options", [QUICK, replace(QUICK, events=False)], ids=["events", "no-watch"])
SLOW_SCAN = WatchOptions(scan_every_s=3600.0)
"""Real windows and no second scan: what is found, events found."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    return folder


@pytest.fixture
def shared_root() -> Iterator[Path]:
    """A root that other users can reach, which below pytest's own folder they cannot."""
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        folder = Path(above) / "recordings"
        folder.mkdir()
        yield folder


@contextmanager
def watched(root: Path, options: WatchOptions = QUICK, catalogue: MemoryCatalogue | None = None) -> Iterator[Watched]:
    """A watch whose first scan is over."""
    with watching(root, options, catalogue) as running:
        running.watch.scan_now().result(10)
        yield running


WRITER = """
import sys
out = open(sys.argv[1], "wb", buffering=65536)
for line in sys.stdin:
    out.write(bytes.fromhex(line.strip()))
    if not line.strip():
        out.flush()
    print("written", flush=True)
out.close()
print("closed", flush=True)
sys.stdin.close()
"""


class Recorder:
    """Another process that writes a file through a 64 KiB buffer."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def write(self, content: bytes) -> None:
        self._say(content.hex())

    def flush(self) -> None:
        self._say("")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "written\n"

    def close(self) -> float:
        """Close the file; returns the monotonic second at which it surely was closed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.stdout.readline() == "closed\n"
        closed = time.monotonic()
        self._process.wait(5)
        self._process.stdout.close()
        return closed


class Child:
    """Another Python with a watch of its own, which speaks in lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def told(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().removesuffix("\n")

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def child(code: str, root: Path) -> Iterator[Child]:
    """Run code beside us; its errors show as the test's own output, and it does not outlive the block."""
    command = [sys.executable, "-c", code, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Child(process)
            assert process.wait(10) == 0
        finally:
            process.kill()


# ------------------------------------------------------------------------------------------------- finished files


@linux
def test_a_closed_file_with_both_proofs_is_taken_within_200_ms(root: Path) -> None:
    with watched(root, SLOW_SCAN) as running:
        waits = []
        for number in range(5):
            recorder = Recorder(root / f"{number}.ogg")
            recorder.write(ogg(b"%d" % number))
            closed = recorder.close()
            running.catalogue.until_taken(b"%d.ogg" % number)
            waits.append(time.monotonic() - closed)
        assert sorted(waits)[2] < 0.2
        assert {settled.proof for settled in running.catalogue.settled} == {"no writer, complete"}


@linux
@either
def test_a_live_recorder_that_pauses_is_never_taken_early(root: Path, options: WatchOptions) -> None:
    with watched(root, options) as running:
        recorder = Recorder(root / "live.ogg")
        recorder.write(ogg(b"a whole stream, and yet the call goes on"))
        recorder.flush()
        recorder.write(b"x" * 1000)  # held in the writer's buffer through the pause
        running.catalogue.until_seen(b"live.ogg", FileState.SETTLING)
        assert running.catalogue.sightings[-1].reason == "open for writing"
        assert running.watch.drain(5)  # nothing can be taken now
        time.sleep(3 * options.unproved_s)  # the pause itself: longer than every window
        assert running.catalogue.settled == []
        recorder.close()
        running.catalogue.until_taken(b"live.ogg")
        assert running.catalogue.settled[0].flags == ("incomplete",)


@linux
def test_a_file_that_grows_while_the_watch_starts_is_not_taken(root: Path) -> None:
    recorder = Recorder(root / "live.ogg")
    recorder.write(ogg())
    recorder.flush()
    with watched(root, replace(QUICK, since="all")) as running:
        assert running.watch.drain(5)
        assert running.catalogue.settled == []
        recorder.close()
        running.catalogue.until_taken(b"live.ogg")


@either
def test_all_that_lies_there_is_taken_before_it_is_said_to_be_seen(root: Path, options: WatchOptions) -> None:
    for number in range(30):
        (root / f"{number}.mp3").write_bytes(b"ID3%d" % number + bytes(100))
    with watched(root, replace(options, since="all")) as running:
        running.catalogue.until(lambda: running.catalogue.caught_up_with is not None, "all is seen")
        assert running.catalogue.caught_up_with == 30


def test_what_is_written_just_now_and_roots_that_are_not_there_keep_nobody_waiting(root: Path) -> None:
    missing = root.with_name("missing")
    with watched(missing) as away:
        away.catalogue.until(lambda: away.catalogue.caught_up_with is not None, "nothing is there to be seen")
    grown = root / "call.mp3"
    grown.write_bytes(b"ID3" + bytes(100))
    with watched(root, replace(SLOW_SCAN, quiet_audio_s=600, since="all")) as running:

        def writes_on() -> bool:
            with open(grown, "ab") as file:
                file.write(b"\0")
            return running.catalogue.caught_up_with is not None

        eventually(writes_on, "what comes is not waited for")
        assert running.catalogue.settled == []


def test_a_folder_that_takes_long_to_be_listed_is_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        (root / f"{number}.json").write_bytes(b"{}")
    clock, begun, listed, really = MovableClock(), threading.Event(), threading.Event(), scan.list_folder

    def slowly(*args: Any, **named: Any) -> Any:
        begun.set()
        assert listed.wait(20)
        return really(*args, **named)

    monkeypatch.setattr(scan, "list_folder", slowly)
    with watching(root, replace(QUICK, since="all"), clock=clock) as running:
        assert begun.wait(20)
        clock.ahead_s = STUCK_S + GRACE_S + 1
        told = running.catalogue
        told.until(lambda: any(state is RootState.DEGRADED for _, state, _ in told.root_states), "it seems to hang")
        assert told.caught_up_with is None
        listed.set()
        told.until(lambda: told.caught_up_with is not None, "all is seen")
        assert told.caught_up_with == 5


def test_a_root_that_was_there_is_given_time_to_come(root: Path) -> None:
    clock = MovableClock()
    (root / "call.json").write_bytes(b"{}")
    with watching(root, replace(QUICK, since="all"), catalogue=(known := MemoryCatalogue())):
        known.until_taken(b"call.json")
    root.rename(root.with_name("away"))
    known.caught_up_with = None
    with watching(root, catalogue=known, clock=clock):
        time.sleep(0.5)  # nothing comes of it meanwhile: that is the claim
        assert known.caught_up_with is None
        clock.ahead_s = GRACE_S
        known.until(lambda: known.caught_up_with is not None, "it is not waited for without end")


@either
def test_what_cannot_tell_waits_for_its_window(root: Path, options: WatchOptions) -> None:
    with watched(root, options) as running:
        (root / "call.mp3").write_bytes(b"ID3" + bytes(100))
        (root / "cut.json").write_bytes(b'{"a": 1')
        running.catalogue.until_taken(b"call.mp3", b"cut.json")
        taken = {settled.name: settled for settled in running.catalogue.settled}
        if sys.platform.startswith("linux"):
            assert taken[b"call.mp3"].waited_s >= options.quiet_audio_s
            assert taken[b"cut.json"].flags == ("incomplete",)


@linux
def test_the_producers_signal_is_waited_for_and_enough(root: Path) -> None:
    with watched(root, replace(SLOW_SCAN, ready_suffix=".done")) as running:
        (root / "call.mp3").write_bytes(b"ID3" + bytes(100))
        running.catalogue.until_seen(b"call.mp3", FileState.SETTLING)
        assert running.watch.drain(5)
        assert running.catalogue.settled == []
        (root / "call.mp3.done").touch()
        running.catalogue.until_taken(b"call.mp3")
        assert running.catalogue.settled[0].proof == "the producer's signal"
        assert running.catalogue.names() == {b"call.mp3"}


@linux
def test_what_never_settles_needs_attention_and_settles_yet(root: Path) -> None:
    clock = MovableClock()
    with watching(root, QUICK, clock=clock) as running:
        recorder = Recorder(root / "live.ogg")
        recorder.write(ogg())
        recorder.flush()
        running.catalogue.until_seen(b"live.ogg", FileState.SETTLING)
        clock.ahead_s += 7 * 3600
        running.catalogue.until_seen(b"live.ogg", FileState.ATTENTION)
        recorder.close()
        running.catalogue.until_taken(b"live.ogg")


STRANGER = """
import os, sys
from dataclasses import replace
from pathlib import Path
from tests.support.watching import *
os.setgid(65534); os.setuid(65534)
with watching(Path(sys.argv[1]), replace(QUICK, since="all")) as running:
    running.catalogue.until(lambda: len(running.catalogue.settled) == 2, "both taken")
    for settled in running.catalogue.settled:
        print(settled.name.decode(), settled.proof, *settled.flags, sep="|")
"""


@linux
@as_root
def test_a_stranger_to_the_files_settles_by_the_lower_rows(shared_root: Path) -> None:
    root = shared_root
    (root / "whole.ogg").write_bytes(ogg())
    (root / "call.mp3").write_bytes(b"ID3" + bytes(100))
    told = subprocess.run([sys.executable, "-c", STRANGER, str(root)], capture_output=True, text=True)
    assert set(told.stdout.split("\n")) - {""} == {
        "whole.ogg|complete, unchanged for 2 s",
        "call.mp3|unchanged for 0.5 s|weak_settle",
    }, told.stderr


# ------------------------------------------------------------------------------------------------- how files arrive


@linux
@pytest.mark.parametrize("how", ["rename in", "rename within", "rename over", "hard link", "copy in place"])
def test_every_way_a_file_arrives_is_seen_without_a_scan(tmp_path: Path, root: Path, how: str) -> None:
    outside = tmp_path / "made.ogg"
    outside.write_bytes(ogg(b"new content"))
    (root / "call.part").write_bytes(ogg(b"new content"))
    with watched(root, SLOW_SCAN) as running:
        if how == "rename in":
            outside.rename(root / "call.ogg")
        elif how == "rename within":
            (root / "call.part").rename(root / "call.ogg")
        elif how == "rename over":
            (root / "call.ogg").write_bytes(ogg(b"older content"))
            running.catalogue.until_taken(b"call.ogg")
            outside.rename(root / "call.ogg")
            running.catalogue.until(lambda: len(running.catalogue.settled) == 2, "the new version")
        elif how == "hard link":
            os.link(outside, root / "call.ogg")
        else:
            (root / "call.ogg").write_bytes(outside.read_bytes())
        running.catalogue.until_taken(b"call.ogg")


@linux
def test_a_file_renamed_out_does_not_hold_up_those_behind_it(tmp_path: Path, root: Path) -> None:
    with watched(root, SLOW_SCAN) as running:
        for number in range(5):
            (root / "a.ogg").write_bytes(ogg(b"a"))
            running.catalogue.until_taken(b"a.ogg")
            (root / "a.ogg").rename(tmp_path / "a.ogg")
            (root / f"{number}.ogg").write_bytes(ogg(b"%d" % number))
            began = time.monotonic()
            running.catalogue.until_taken(b"%d.ogg" % number)
            assert time.monotonic() - began < 0.4


@linux
def test_a_hint_of_a_folder_alone_finds_what_is_in_it(tmp_path: Path, root: Path) -> None:
    with watched(root, SLOW_SCAN) as running:
        keeper = running.watch._keepers[0]
        assert keeper._events is not None
        keeper._events._handler._hint = lambda _path, _is_folder: None  # watchdog loses everything
        (root / "tree" / "below").mkdir(parents=True)
        (root / "tree" / "below" / "a.ogg").write_bytes(ogg())
        keeper._hint(os.fsencode(root / "tree"), True)
        running.catalogue.until_taken(b"tree/below/a.ogg")


@linux
def test_a_name_dropped_again_with_other_content_is_taken_again(root: Path) -> None:
    with watched(root, SLOW_SCAN) as running:
        for content in (b"first", b"other"):
            (root / "call.ogg").write_bytes(ogg(content))
            assert running.watch.drain(5)
        digests = [settled.sha256 for settled in running.catalogue.settled]
        assert len(set(digests)) == 2


@either
def test_a_rewrite_with_the_same_size_and_restored_times_is_noticed(root: Path, options: WatchOptions) -> None:
    path = root / "call.ogg"
    with watched(root, options) as running:
        path.write_bytes(ogg(b"one"))
        running.catalogue.until_taken(b"call.ogg")
        before = path.stat()
        path.write_bytes(ogg(b"two"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        running.catalogue.until(lambda: len({s.sha256 for s in running.catalogue.settled}) == 2, "the other content")


@linux
def test_a_touch_is_hashed_again_and_told_with_the_same_digest(root: Path) -> None:
    with watched(root) as running:
        (root / "call.ogg").write_bytes(ogg())
        running.catalogue.until_taken(b"call.ogg")
        os.utime(root / "call.ogg", (1, 1))
        running.catalogue.until(lambda: len(running.catalogue.settled) == 2, "told again")
        assert len({settled.sha256 for settled in running.catalogue.settled}) == 1
        assert running.catalogue.states(b"call.ogg") == []  # never shown as settling: nothing was in doubt
        assert running.watch.drain(5)
        assert len(running.catalogue.settled) == 2


@either
def test_a_tree_that_is_moved_in_is_found_whole_and_watched_on(
    tmp_path: Path, root: Path, options: WatchOptions
) -> None:
    with watched(root, replace(options, scan_every_s=3600.0) if options.events else options) as running:
        for number in range(300):
            folder = tmp_path / "tree" / str(number) / "b" / "c"
            folder.mkdir(parents=True)
            (folder / "call.ogg").write_bytes(ogg(b"%d" % number))
        (tmp_path / "tree").rename(root / "tree")
        running.catalogue.until(lambda: len(running.catalogue.settled) == 300, "all 300", 20)
        (root / "tree" / "7" / "b" / "c" / "later.ogg").write_bytes(ogg(b"later"))
        running.catalogue.until_taken(b"tree/7/b/c/later.ogg")


@linux
def test_nested_folders_made_in_place_lose_nothing(root: Path) -> None:
    with watched(root, SLOW_SCAN) as running:
        for number in range(300):
            folder = root / str(number) / "b" / "c"
            folder.mkdir(parents=True)
            (folder / "call.ogg").write_bytes(ogg(b"%d" % number))
        running.catalogue.until(lambda: len(running.catalogue.settled) == 300, "all 300", 20)
        assert running.watch.drain(10)
        assert len(running.catalogue.settled) == 300  # and none twice


# ------------------------------------------------------------------------------------------------- names from hell

NAMES = [
    b"*?[", b"new\nline.ogg", b"\xff\xfe invalid.ogg", b"-rf.ogg", b" trailing. ", "नमस्ते.ogg".encode(),
    b"caf\xc3\xa9.ogg",
    b"cafe\xcc\x81.ogg", "\u202emirrored.ogg".encode(), b"n" * 251 + b".ogg", "😀.ogg".encode(), b"tab\there.ogg",
]  # fmt: skip


@either
def test_any_name_is_taken_under_exactly_its_bytes(root: Path, options: WatchOptions) -> None:
    with watched(root, options) as running:
        for number, name in enumerate(NAMES):
            with open(os.fsencode(root) + b"/" + name, "wb") as out:
                out.write(ogg(b"%d" % number))
        running.catalogue.until_taken(*NAMES)
        assert all(settled.evidence.isprintable() for settled in running.catalogue.settled)


@either
def test_junk_never_enters_and_its_final_name_does(root: Path, options: WatchOptions) -> None:
    with watched(root, options) as running:
        for junk in (".call.ogg.Ab12Cd", "a.tmp", "b.filepart", "~$c.json", "Thumbs.db"):
            (root / junk).write_bytes(ogg(junk.encode()))
        (root / "@eaDir").mkdir()
        (root / "@eaDir" / "call.ogg").write_bytes(ogg())
        (root / "b.filepart").rename(root / "b.ogg")
        running.catalogue.until_taken(b"b.ogg")
        running.watch.scan_now().result(10)
        assert running.watch.drain(5)
        assert running.catalogue.names() == {b"b.ogg"}
        assert running.catalogue.sightings == []


@either
def test_links_pipes_and_sockets_are_said_once_and_never_opened(
    tmp_path: Path, root: Path, options: WatchOptions
) -> None:
    secret = tmp_path / "secret.ogg"
    secret.write_bytes(ogg(b"secret"))
    (root / "link.ogg").symlink_to(secret)
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "pipe.ogg")
    here = Path.cwd()
    os.chdir(root)  # a socket's path must be short
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket")
    os.chdir(here)
    (root / "x.wav").mkdir()
    (root / "x.wav" / "inside.ogg").write_bytes(ogg(b"inside"))
    with watched(root, replace(options, since="all")) as running:
        running.catalogue.until_taken(b"x.wav/inside.ogg")
        for _ in range(2):
            running.watch.scan_now().result(10)
        said = sorted((one.name, one.reason) for one in running.catalogue.sightings)
        links = [(b"link.ogg", "symbolic link"), (b"loop", "symbolic link")]
        assert said == [*links, (b"pipe.ogg", "pipe"), (b"socket", "socket")]
        assert running.catalogue.names() == {b"x.wav/inside.ogg"}
    listening.close()


@either
def test_an_empty_file_is_never_taken_until_it_has_content(root: Path, options: WatchOptions) -> None:
    with watched(root, options) as running:
        (root / "call.ogg").touch()
        running.catalogue.until_seen(b"call.ogg", FileState.EMPTY)
        assert running.watch.drain(5)
        running.watch.scan_now().result(10)
        assert running.catalogue.states(b"call.ogg") == ["empty"]
        (root / "call.ogg").write_bytes(ogg())
        running.catalogue.until_taken(b"call.ogg")


SHUT_OUT = """
import os, sys
from dataclasses import replace
from pathlib import Path
from daemon.states import FileState
from tests.support.watching import *
os.setgid(65534); os.setuid(65534)
with watching(Path(sys.argv[1]), replace(QUICK, since="all")) as running:
    catalogue = running.catalogue
    catalogue.until_taken(b"mine.ogg", b"shut/in.ogg")
    catalogue.until_seen(b"denied.ogg", FileState.UNREADABLE)
    assert "EACCES" in [one.reason for one in catalogue.sightings if one.name == b"denied.ogg"]
    print("shut it", flush=True); sys.stdin.readline()
    for _ in range(3):
        running.watch.scan_now().result(10)
    assert catalogue.vanished == [], catalogue.vanished
    assert catalogue.states(b"denied.ogg").count("unreadable") == 1
    assert [event.fields["reason"] for event in running.events] == ["EACCES"], running.events
    assert running.watch.health()[0].unreadable_folders == 1
    print("open it", flush=True); sys.stdin.readline()
    catalogue.until_taken(b"denied.ogg")
    print("done", flush=True)
"""


@linux
@as_root
def test_unreadable_files_are_shown_with_their_errno_and_freeze_nothing_else(shared_root: Path) -> None:
    root = shared_root
    os.chown(root, 65534, 65534)
    (root / "mine.ogg").write_bytes(ogg(b"mine"))
    (root / "shut").mkdir()
    (root / "shut" / "in.ogg").write_bytes(ogg(b"in"))
    (root / "denied.ogg").write_bytes(ogg(b"denied"))
    (root / "denied.ogg").chmod(0)
    for path in root.rglob("*.ogg"):
        os.chown(path, 65534, 65534)
    with child(SHUT_OUT, root) as other:
        assert other.told() == "shut it"
        (root / "shut").chmod(0)
        other.tell()
        assert other.told() == "open it"
        (root / "denied.ogg").chmod(0o644)
        other.tell()
        assert other.told() == "done"


@either
def test_a_file_that_disappears_is_told_and_its_return_too(root: Path, options: WatchOptions) -> None:
    with watched(root, options) as running:
        (root / "a.ogg").write_bytes(ogg(b"a"))
        (root / "b").mkdir()
        (root / "b" / "b.ogg").write_bytes(ogg(b"b"))
        running.catalogue.until_taken(b"a.ogg", b"b/b.ogg")
        (root / "a.ogg").unlink()
        (root / "b" / "b.ogg").unlink()
        (root / "b").rmdir()
        running.catalogue.until(lambda: set(running.catalogue.vanished) == {b"a.ogg", b"b/b.ogg"}, "gone")
        (root / "a.ogg").write_bytes(ogg(b"a"))
        running.catalogue.until(lambda: len(running.catalogue.settled) == 3, "back")


# ------------------------------------------------------------------------------------------------- roots


@either
def test_a_root_deleted_and_made_again_recovers_by_itself(root: Path, options: WatchOptions) -> None:
    with watched(root, options) as running:
        (root / "a.ogg").write_bytes(ogg(b"a"))
        running.catalogue.until_taken(b"a.ogg")
        (root / "a.ogg").unlink()
        root.rmdir()
        running.catalogue.until_root(RootState.DEGRADED, 5)
        root.mkdir()
        running.catalogue.until_root(RootState.WATCHING if options.events else RootState.POLLING)
        (root / "b.ogg").write_bytes(ogg(b"b"))
        running.catalogue.until_taken(b"b.ogg")


@either
def test_a_root_renamed_away_takes_no_file_with_it(root: Path, options: WatchOptions) -> None:
    with watched(root, options) as running:
        (root / "a.ogg").write_bytes(ogg(b"a"))
        running.catalogue.until_taken(b"a.ogg")
        aside = root.rename(root.with_name("aside"))
        root.mkdir()
        running.catalogue.until(
            lambda: RootState.DEGRADED in [s for _, s, _ in running.catalogue.root_states], "degraded"
        )
        running.catalogue.until_root(RootState.WATCHING if options.events else RootState.POLLING)
        (aside / "elsewhere.ogg").write_bytes(ogg(b"elsewhere"))
        running.watch.scan_now().result(10)
        assert running.watch.drain(5)
        assert running.catalogue.vanished == []  # an empty folder in its place proves nothing
        (root / "b.ogg").write_bytes(ogg(b"b"))
        running.catalogue.until_taken(b"b.ogg")
        assert b"elsewhere.ogg" not in running.catalogue.names()


def test_a_root_missing_at_start_is_waited_for_while_others_are_served(tmp_path: Path) -> None:
    here, late = tmp_path / "here", tmp_path / "late"
    here.mkdir()
    catalogue, events = MemoryCatalogue(), list[Event]()
    watch = Watch([inlet(here), inlet(late, "leads")], QUICK, catalogue, RealClock(), on_event=events.append)
    watch.start()
    try:
        (here / "a.ogg").write_bytes(ogg(b"a"))
        catalogue.until_taken(b"a.ogg")
        catalogue.until(lambda: (2, RootState.WAITING, "ENOENT") in catalogue.root_states, "waiting")
        late.mkdir()
        (late / "b.ogg").write_bytes(ogg(b"b"))
        catalogue.until_taken(b"b.ogg")
        assert [health.role for health in watch.health()] == ["recordings", "leads"]
        assert all(health.alive for health in watch.health())
    finally:
        watch.stop(5)


def test_without_its_guard_a_root_is_degraded_and_nothing_is_gone(root: Path) -> None:
    (root / "mounted").touch()
    with watched(root, replace(QUICK, guard="mounted")) as running:
        (root / "a.ogg").write_bytes(ogg(b"a"))
        running.catalogue.until_taken(b"a.ogg")
        (root / "mounted").unlink()
        running.catalogue.until_root(RootState.DEGRADED, 5)
        (root / "a.ogg").unlink()
        running.watch.scan_now().result(10)
        assert running.catalogue.vanished == []
        (root / "mounted").touch()
        running.catalogue.until_root(RootState.WATCHING)
        assert b"mounted" not in running.catalogue.names()


MOUNT = """
import subprocess, sys
from pathlib import Path
from daemon.catalogue import RootState
from tests.support.watching import *
root = Path(sys.argv[1])
with watching(root) as running:
    catalogue = running.catalogue
    running.watch.scan_now().result(10)
    (root / "below.ogg").write_bytes(ogg(b"below"))
    catalogue.until_taken(b"below.ogg")
    subprocess.run(["mount", "-t", "tmpfs", "none", str(root)], check=True)
    (root / "above.ogg").write_bytes(ogg(b"above"))
    catalogue.until_taken(b"above.ogg")
    assert RootState.DEGRADED in [state for _, state, _ in catalogue.root_states]
    subprocess.run(["umount", "-l", str(root)], check=True)
    catalogue.until_root(RootState.WATCHING)
    (root / "again.ogg").write_bytes(ogg(b"again"))
    catalogue.until_taken(b"again.ogg")
print("done")
"""


def may_unshare() -> bool:
    """Whether this machine lets us have namespaces of our own."""
    try:
        return subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


unshared = pytest.mark.skipif(not may_unshare(), reason="unshare -Urm is not permitted here")


@linux
@unshared
def test_a_mount_over_the_root_and_its_end_are_noticed(root: Path) -> None:
    command = ["unshare", "-Urm", sys.executable, "-c", MOUNT, str(root)]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.stdout == "done\n", told.stderr


LIMITED = """
import sys
from pathlib import Path
from daemon.catalogue import RootState
from tests.support.watching import *
root = Path(sys.argv[1])
Path("/proc/sys/user/max_inotify_watches").write_text(sys.argv[2])
with watching(root) as running:
    running.watch.scan_now().result(10)
    running.catalogue.until_root(RootState.POLLING)
    print(running.catalogue.root_states[-1][2])
    print([event.name for event in running.events])
    (root / "55" / "a.ogg").write_bytes(ogg())
    running.catalogue.until_taken(b"55/a.ogg")
"""


@linux
@unshared
@pytest.mark.parametrize(
    ("allowed", "why"),
    [
        ("20", "41 of 61 folders are not watched: sysctl fs.inotify.max_user_watches"),
        ("0", "no watches left: sysctl fs.inotify.max_user_watches"),
    ],
)
def test_folders_that_could_not_be_watched_are_polled_with_the_sysctl_named(root: Path, allowed: str, why: str) -> None:
    for number in range(60):
        (root / str(number)).mkdir()
    command = ["unshare", "-Urm", sys.executable, "-c", LIMITED, str(root), allowed]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == [why, "['watch.limited']"]


# ------------------------------------------------------------------------------------------------- lost events

BURST = """
import sys, time
from pathlib import Path
from dataclasses import replace
from tests.support.watching import *
with watching(Path(sys.argv[1]), replace(QUICK, scan_every_s=3600.0)) as running:
    running.watch.scan_now().result(10)
    print("ready", flush=True)
    running.catalogue.until(lambda: len(running.catalogue.settled) >= 9000, "all 9000", 50)
    assert running.watch.drain(10)
    print(len(running.catalogue.settled), len(running.catalogue.names()), {e.name for e in running.events}, flush=True)
"""


@linux
def test_events_lost_in_a_stall_are_found_by_the_scan_that_follows(root: Path) -> None:
    content = ogg()
    with child(BURST, root) as stalled:
        assert stalled.told() == "ready"
        stalled.process.send_signal(signal.SIGSTOP)
        for number in range(9000):
            (root / f"{number}.ogg").write_bytes(content)
        stalled.process.send_signal(signal.SIGCONT)
        assert stalled.told() == "9000 9000 {'watch.overflowed'}"


@linux
def test_a_dead_emitter_is_replaced(root: Path) -> None:
    with watched(root, SLOW_SCAN) as running:
        events = running.watch._keepers[0]._events
        assert events is not None
        assert events._observer is not None
        for emitter in list(events._observer.emitters):
            emitter.stop()
        deadline = time.monotonic() + 5
        while not running.events and time.monotonic() < deadline:
            time.sleep(0.02)
        assert [event.name for event in running.events] == ["watch.rebuilt"]
        running.watch.scan_now().result(10)
        (root / "a.ogg").write_bytes(ogg())
        running.catalogue.until_taken(b"a.ogg")


# ------------------------------------------------------------------------------------------------- old files, restarts


def test_what_lay_there_before_installation_is_listed_and_not_taken(root: Path) -> None:
    (root / "old.ogg").write_bytes(ogg(b"old"))
    time.sleep(0.03)  # the tick by which stamps of files may lag
    with watched(root) as running:
        running.catalogue.until_seen(b"old.ogg", FileState.OLD)
        (root / "new.ogg").write_bytes(ogg(b"new"))
        os.utime(root / "new.ogg", (1, 1))
        running.catalogue.until_taken(b"new.ogg")
        (root / "old.ogg").chmod(0o600)
        running.watch.scan_now().result(10)
        assert running.watch.drain(5)
        assert running.catalogue.names() == {b"new.ogg"}


@either
def test_archiving_and_touching_old_files_takes_none_of_them(root: Path, options: WatchOptions) -> None:
    for name in ("moved.ogg", "touched.ogg", "away.ogg"):
        (root / name).write_bytes(ogg(name.encode()))
    time.sleep(0.03)  # the tick by which stamps of files may lag
    with watched(root, options) as running:
        for seen in (b"moved.ogg", b"touched.ogg", b"away.ogg"):
            running.catalogue.until_seen(seen, FileState.OLD)
        (root / "archive").mkdir()
        (root / "moved.ogg").rename(root / "archive" / "m.ogg")
        os.utime(root / "touched.ogg")
        (root / "away.ogg").rename(root.parent / "away.ogg")
        running.catalogue.until_seen(b"m.ogg", FileState.OLD)
        running.catalogue.until(lambda: b"away.ogg" in running.catalogue.vanished, "away")
        running.catalogue.until(lambda: running.catalogue.states(b"touched.ogg") == ["old", "old"], "touched")
        (root / "touched.ogg").rename(root / "archive" / "t.ogg")
        (root.parent / "away.ogg").rename(root / "back.ogg")
        (root / "new.ogg").write_bytes(ogg(b"new"))
        running.catalogue.until_seen(b"t.ogg", FileState.OLD)
        running.catalogue.until_seen(b"back.ogg", FileState.OLD)
        assert running.watch.drain(5)
        assert running.catalogue.names() == {b"new.ogg"}


def test_a_file_made_right_after_registration_is_never_old(root: Path) -> None:
    with watching(root) as running:
        (root / "new.ogg").write_bytes(ogg())
        running.catalogue.until_taken(b"new.ogg")
    assert running.catalogue.states(b"new.ogg") == []


def test_registration_allows_for_the_tick_by_which_stamps_lag(root: Path) -> None:
    class Noon(RealClock):
        def now(self) -> datetime:
            return datetime(2026, 1, 1, 12, tzinfo=UTC)

    with watching(root, clock=Noon()) as running:
        registered = running.catalogue.roots[0].registered_ns
    assert registered == int(Noon().now().timestamp()) * 10**9 - 10_000_000


def test_old_files_are_taken_when_told(root: Path) -> None:
    (root / "day").mkdir()
    for name in ("a.ogg", "day/b.ogg", "day/c.ogg"):
        (root / name).write_bytes(ogg(name.encode()))
    time.sleep(0.03)
    with watched(root) as running:
        running.catalogue.until(lambda: len(running.catalogue.sightings) == 3, "three old ones")
        assert running.watch.take(until=datetime(2020, 1, 1, tzinfo=UTC)) == 0
        assert running.watch.take([os.fsencode(root / "day" / "b.ogg")]) == 1
        running.catalogue.until_taken(b"day/b.ogg")
        with pytest.raises(BadRequest):
            running.watch.take([b"/elsewhere/a.ogg"])
        assert running.watch.take(since=datetime(2020, 1, 1, tzinfo=UTC)) == 2
        assert running.watch.drain(5)
        assert running.catalogue.names() == {b"a.ogg", b"day/b.ogg", b"day/c.ogg"}


def test_old_files_can_be_taken_before_any_scan_has_ended(root: Path) -> None:
    for number in range(20):
        (root / f"{number}.ogg").write_bytes(ogg(b"%d" % number))
    time.sleep(0.03)
    with watching(root) as running:
        assert running.watch.take() == 20
        assert running.watch.drain(5)
        assert len(running.catalogue.settled) == 20


@pytest.mark.parametrize("since", ["all", datetime(2020, 1, 1, tzinfo=UTC)])
def test_since_says_what_of_the_first_sight_is_taken(root: Path, since: object) -> None:
    (root / "old.ogg").write_bytes(ogg())
    time.sleep(0.03)
    with watched(root, replace(QUICK, since=since)) as running:  # type: ignore[arg-type]
        running.catalogue.until_taken(b"old.ogg")


@pytest.mark.parametrize("since", ["install", "all", datetime(2020, 1, 1, tzinfo=UTC)])
def test_what_was_adopted_is_old_whatever_since_says(root: Path, since: object) -> None:
    (root / "delivered.ogg").write_bytes(ogg())
    time.sleep(0.03)
    catalogue = MemoryCatalogue()
    adopted_ns = time.time_ns() - 10_000_000
    catalogue.roots.append(RootRow(1, "recordings", os.fsencode(root), adopted_ns, adopted_ns))
    with watched(root, replace(QUICK, since=since), catalogue) as running:  # type: ignore[arg-type]
        (root / "new.ogg").write_bytes(ogg(b"new"))
        running.catalogue.until_seen(b"delivered.ogg", FileState.OLD)
        running.catalogue.until_taken(b"new.ogg")
        assert running.watch.drain(5)
        assert running.catalogue.names() == {b"new.ogg"}


def test_a_restart_takes_nothing_twice_and_goes_on_with_what_was_settling(root: Path) -> None:
    with watched(root) as first:
        (root / "a.ogg").write_bytes(ogg(b"a"))
        (root / "b.mp3").write_bytes(b"ID3" + bytes(50))
        first.catalogue.until_taken(b"a.ogg")
        first.catalogue.until_seen(b"b.mp3", FileState.SETTLING)
    (root / "c.ogg").write_bytes(ogg(b"c"))
    with watched(root, catalogue=first.catalogue) as second:
        second.catalogue.until_taken(b"b.mp3", b"c.ogg")
        assert second.watch.drain(5)
        assert len(second.catalogue.settled) == 3


def test_what_the_ledger_refused_is_told_again(root: Path) -> None:
    catalogue = MemoryCatalogue()
    with watched(root, SLOW_SCAN, catalogue) as running:
        catalogue.refuse = True
        (root / "a.ogg").write_bytes(ogg())
        assert not running.watch.drain(0.5)
        assert catalogue.settled == []
        catalogue.refuse = False
        catalogue.until_taken(b"a.ogg")


def test_what_is_sent_and_not_committed_is_not_sent_again(root: Path) -> None:
    catalogue = MemoryCatalogue()
    with watched(root, SLOW_SCAN, catalogue) as running:
        catalogue.held = []
        (root / "a.ogg").write_bytes(ogg())
        deadline = time.monotonic() + 8
        while not catalogue.held and time.monotonic() < deadline:
            time.sleep(0.01)
        for _ in range(3):
            running.watch.scan_now().result(10)
        assert not running.watch.drain(0.3)
        catalogue.release()
        assert running.watch.drain(5)
        assert len(catalogue.settled) == 1


def test_drain_takes_everything_there_is_without_waiting_for_the_rest(root: Path) -> None:
    for number in range(50):
        (root / f"{number}.json").write_bytes(json.dumps({"n": number}).encode())
    (root / "empty.json").touch()
    with watching(root, replace(QUICK, since="all", scan_every_s=3600.0)) as running:
        assert running.watch.drain(10)
        assert len(running.catalogue.settled) == 50


def test_scans_are_stretched_while_events_are_healthy(root: Path) -> None:
    for events, pause in ((True, 1.0 / CPU_SHARE), (False, QUICK.scan_every_s)):
        catalogue = MemoryCatalogue()
        ticks = iter(range(1000))
        keeper = Keeper(
            inlet(root),
            catalogue.register_root("recordings", os.fsencode(root), 0),
            replace(QUICK, events=events),
            catalogue,
            RealClock(),
            list[Event]().append,
            thread_time=lambda ticks=ticks: float(next(ticks)),  # type: ignore[misc]
        )
        keeper.start()
        keeper.scan_now().result(10)
        assert keeper.health().scan_every_s == pause  # one second of a core at this share
        keeper.stop(5)

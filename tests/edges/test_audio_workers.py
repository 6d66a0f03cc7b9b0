"""A hostile file costs one refused file: never the daemon, never the next file."""

from __future__ import annotations

import os
import platform
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.errors import ContentGone
from handlers.audio.confine import MACHINES
from handlers.audio.pool import Prober
from handlers.model import AudioUnavailable, AudioUnreadable
from tests.support import audio


@pytest.fixture
def prober() -> Iterator[Prober]:
    with Prober(1) as pool:
        yield pool


@pytest.fixture
def call(tmp_path: Path) -> Path:
    path = tmp_path / "call.ogg"
    audio.make_ogg_opus(path, 1.5)
    return path


def pid(prober: Prober) -> int:
    return next(iter(prober._workers.values())).process.pid


def test_worker_lives_from_file_to_file(prober: Prober, call: Path) -> None:
    assert prober.probe(os.fsencode(call)).media_s == 1.5
    first = pid(prober)
    assert prober.probe(os.fsencode(call)).media_s == 1.5
    assert pid(prober) == first


def test_file_with_an_impossible_name_is_measured(prober: Prober, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\n'.wav"
    with open(path, "wb") as file:
        file.write(audio.wav_header(200) + bytes(200))
    assert prober.probe(path).media_s == 100 / audio.RATE


def test_refused_file_leaves_the_worker_alive(prober: Prober, call: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.m4a").write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    prober.probe(os.fsencode(call))
    first = pid(prober)
    with pytest.raises(AudioUnreadable, match="mp4"):
        prober.probe(os.fsencode(tmp_path / "broken.m4a"))
    assert prober.probe(os.fsencode(call)).media_s == 1.5
    assert pid(prober) == first


def test_killed_worker_is_replaced_and_the_file_measured(prober: Prober, call: Path) -> None:
    prober.probe(os.fsencode(call))
    first = pid(prober)
    os.kill(first, signal.SIGKILL)
    assert prober.probe(os.fsencode(call)).media_s == 1.5
    assert pid(prober) != first


def test_overrun_is_killed_and_refused_and_the_next_file_is_measured(call: Path) -> None:
    with Prober(1, base_deadline_s=0.3, bytes_a_second=1 << 40) as prober:
        prober.probe(os.fsencode(call))
        stuck = pid(prober)
        os.kill(stuck, signal.SIGSTOP)
        with pytest.raises(AudioUnreadable, match="took longer"):
            prober.probe(os.fsencode(call))
        with pytest.raises(ProcessLookupError):
            os.kill(stuck, 0)
    with Prober(1) as prober:
        assert prober.probe(os.fsencode(call)).media_s == 1.5


def test_terminate_to_the_whole_service_does_not_cost_the_file_under_way(prober: Prober, call: Path) -> None:
    prober.probe(os.fsencode(call))
    first = pid(prober)
    os.kill(first, signal.SIGTERM)
    os.kill(first, signal.SIGINT)
    prober.probe(os.fsencode(call))
    assert pid(prober) == first


def test_closing_interrupts_without_refusing_the_file(call: Path) -> None:
    prober = Prober(1)
    prober.probe(os.fsencode(call))
    os.kill(pid(prober), signal.SIGSTOP)
    errors: list[Exception] = []

    def wait_for_it() -> None:
        try:
            prober.probe(os.fsencode(call))
        except AudioUnavailable as error:
            errors.append(error)

    waiting = threading.Thread(target=wait_for_it)
    waiting.start()
    _until(prober._idle.empty)
    prober.close()
    waiting.join(10)
    assert len(errors) == 1
    with pytest.raises(AudioUnavailable):
        prober.probe(os.fsencode(call))


@pytest.mark.parametrize("what", ["missing", "link", "fifo", "folder"])
def test_only_a_regular_file_is_opened(what: str, prober: Prober, call: Path, tmp_path: Path) -> None:
    path = tmp_path / what
    if what == "link":
        path.symlink_to(call)
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    with pytest.raises(ContentGone):
        prober.probe(os.fsencode(path))


def test_worker_holds_no_descriptor_and_no_secret_of_the_daemon(
    prober: Prober, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc here")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-for-codecs")
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        prober.probe(os.fsencode(call))
        held = {os.readlink(entry) for entry in Path(f"/proc/{pid(prober)}/fd").iterdir()}
    assert not any(name.startswith(str(tmp_path)) for name in held)
    assert b"not-for-codecs" not in Path(f"/proc/{pid(prober)}/environ").read_bytes()
    limits = Path(f"/proc/{pid(prober)}/limits").read_text()
    assert "Max address space         1073741824" in limits
    assert "Max core file size        0" in limits


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in MACHINES,
    reason="seccomp filters of Linux on x86_64 and aarch64",
)
def test_worker_is_refused_network_and_other_programs_and_works_on(prober: Prober, call: Path) -> None:
    attempts = (
        "import socket, os, subprocess, sys\n"
        "from handlers.audio.worker import restrict\n"
        "held, other = socket.socketpair()\n"
        "restrict()\n"
        "held.sendall(b'x'); assert other.recv(1) == b'x'\n"
        "def refused(what):\n"
        "    try: what()\n"
        "    except PermissionError: return True\n"
        "print(refused(socket.socket), refused(lambda: os.execv('/bin/true', ['true'])), refused(socket.socketpair))\n"
    )
    told = subprocess.run([sys.executable, "-c", attempts], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["True"] * 3
    assert prober.probe(os.fsencode(call)).media_s == 1.5
    status = Path(f"/proc/{pid(prober)}/status").read_text()
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status


def test_worker_ends_by_itself_when_its_daemon_is_gone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = subprocess.Popen([sys.executable, "-m", "handlers.audio.worker"], stdin=theirs.fileno())
        theirs.close()
        assert ours.recv(10) == b"{}\n"
        ours.close()
        assert worker.wait(10) == 0


def test_several_threads_share_the_workers(call: Path) -> None:
    lengths: list[float] = []
    with Prober(2) as prober:
        threads = [
            threading.Thread(target=lambda: lengths.append(prober.probe(os.fsencode(call)).media_s)) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(prober._workers) <= 2
    assert lengths == [1.5] * 12


@pytest.mark.parametrize("kind", ["ogg", "webm", "mp3", "m4a", "fragmented", "flac", "wav"])
def test_mutilated_files_are_measured_or_refused_and_never_break_the_worker(
    kind: str, prober: Prober, tmp_path: Path
) -> None:
    whole, path = tmp_path / "whole", tmp_path / "mutilated"
    samples = audio.RATE // 2
    {
        "ogg": lambda: audio.make_ogg_opus(whole, 0.5),
        "webm": lambda: audio.make_webm(whole, samples),
        "mp3": lambda: audio.make_mp3(whole, samples),
        "m4a": lambda: audio.make_m4a(whole, samples),
        "fragmented": lambda: audio.make_m4a(whole, samples, fragmented=True),
        "flac": lambda: audio.make_flac(whole, samples),
        "wav": lambda: audio.make_wav(whole, samples),
    }[kind]()
    raw, chance = whole.read_bytes(), random.Random(20251029)
    prober.probe(os.fsencode(whole))
    first = pid(prober)
    for _ in range(40):
        broken = bytearray(raw[: chance.randrange(1, len(raw) + 1)])
        for _ in range(chance.randrange(1, 12)):
            where = min(len(broken) - 1, int(chance.expovariate(1 / 200))) if chance.random() < 0.7 else 0
            broken[where or chance.randrange(len(broken))] = chance.randrange(256)
        path.write_bytes(broken)
        try:
            info = prober.probe(os.fsencode(path))
        except AudioUnreadable:
            continue
        assert 0 <= info.media_s < 1e7
        assert 0 <= info.span_s < 1e7
    assert pid(prober) == first


def _until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """Wait for a condition; the pool gives no signal of its own for it."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)

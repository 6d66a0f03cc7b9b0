"""Long-lived worker processes that measure audio files and listen to them, and what happens when one dies of a file.

``Prober.probe`` opens the file, lends it to an idle worker and waits for its measurement, then for what was heard. A
worker that overruns its deadline is killed (SIGKILL ends it in 4 ms) and the file refused; one that dies is replaced
and the file tried once more, since something else may have killed it. What was measured before that is kept. Workers
start with the first file: a process costs 60 ms, an exchange with a warm one 0.2 ms.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from daemon.errors import ContentGone
from handlers.audio.failure import Unreadable, Unsupported, unheard
from handlers.model import AudioInfo, AudioUnavailable

BASE_DEADLINE_S = 30.0
"""Patience with any file."""

BYTES_A_SECOND = 500_000
"""Added patience: a tenth of the slowest measure there is, decoding Vorbis (ten minutes, 5 MB, in 0.8 s)."""

LISTEN_DEADLINE_S = 60.0
"""Added patience with listening, which ends after the same few minutes of any recording: 1.5 s of a free core."""

SLOWEST_TIMES = 2.0
"""Slower than twice as fast as it is spoken nothing is encoded: a busy core does it 50 times as fast."""

WHOLE = 10
"""Listening to all of a file costs its decoding, ten times what counting its packets does."""

START_DEADLINE_S = 30.0
REPLY_BYTES = 1 << 18
"""Ten minutes hold at most some thousand stretches of speech, 20 bytes each."""


_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR})

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "TZ")


class _Died(Exception):
    """The worker ended without an answer."""


class _Overran(Exception):
    """The worker did not answer in time."""


@dataclass(slots=True)
class _Worker:
    """One worker process and our end of its socket."""

    process: subprocess.Popen[bytes]
    link: socket.socket
    _received: bytearray = field(default_factory=bytearray)

    @classmethod
    def start(cls) -> _Worker:
        """Start a process that inherits one socket and nothing else: no ledger lock, no secret of the environment."""
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = _PACKAGE_ROOT
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-B", "-m", "handlers.audio.worker"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        worker = cls(process, ours)
        try:
            worker.answer(START_DEADLINE_S)
        except (_Died, _Overran) as error:
            worker.end()
            raise AudioUnavailable(f"the audio worker does not start (code {process.returncode})") from error
        return worker

    def ask(self, request: dict[str, Any], files: list[int], deadline_s: float) -> dict[str, Any]:
        """Send a request with its files and wait for the first answer, at most ``deadline_s`` seconds."""
        try:
            socket.send_fds(self.link, [json.dumps(request).encode() + b"\n"], files)
        except OSError as error:
            raise _Died from error
        return self.answer(deadline_s)

    def answer(self, deadline_s: float) -> dict[str, Any]:
        """The next answer; two of them may arrive at once."""
        self.link.settimeout(deadline_s)
        try:
            while (end := self._received.find(b"\n")) < 0:
                part = self.link.recv(REPLY_BYTES)
                if not part or len(self._received) > REPLY_BYTES:
                    raise _Died
                self._received += part
        except TimeoutError as error:
            raise _Overran from error
        except OSError as error:
            raise _Died from error
        answer: dict[str, Any] = json.loads(self._received[:end])
        del self._received[: end + 1]
        return answer

    def end(self) -> None:
        """Kill and reap it. Only for who holds its slot: nobody else may be waiting on the socket."""
        self.process.kill()
        self.process.wait()
        self.link.close()


@contextlib.contextmanager
def _opened(path: bytes) -> Iterator[tuple[int, int]]:
    """The regular file's descriptor and size; the descriptor is closed afterwards."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _GONE:
            raise ContentGone("the file is not there any more") from error
        raise Unreadable(f"its file cannot be opened ({errno.errorcode.get(error.errno or 0, 'unknown')})") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise ContentGone("the file is no regular file any more")
        yield file, status.st_size
    finally:
        os.close(file)


def _size(path: bytes) -> int:
    """Bytes of the file; 0 where it is not there, which opening it will tell better."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _info(answer: dict[str, Any]) -> AudioInfo:
    """The worker's answer as a value; raises what the worker refused the file with."""
    if "info" not in answer:
        refusal = Unsupported if answer.get("unsupported") else Unreadable
        raise refusal(str(answer["unreadable"]))
    fields = answer["info"]
    start_at = None if fields["start_at"] is None else datetime.fromisoformat(fields["start_at"])
    speech = None if fields["speech"] is None else tuple((first, last) for first, last in fields["speech"])
    return AudioInfo(**fields | {"start_at": start_at, "flags": tuple(fields["flags"]), "speech": speech})


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the whole of a file says. ``bitrate`` is that of its samples in bits a second, ``course`` the loudest level
    in each of equal pieces of it, in decibels of full scale."""

    info: AudioInfo
    bitrate: int | None
    course: tuple[float, ...]


class Prober:
    """A pool of ``workers`` processes. Safe to use from any thread; each probe occupies one worker.

    ``limits`` are those of ``quality.Limits``, by their names.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        limits: Mapping[str, float] | None = None,
        base_deadline_s: float = BASE_DEADLINE_S,
        bytes_a_second: int = BYTES_A_SECOND,
        listen_deadline_s: float = LISTEN_DEADLINE_S,
    ) -> None:
        self._limits = dict(limits or {})
        self._base_deadline_s = base_deadline_s
        self._bytes_a_second = bytes_a_second
        self._listen_deadline_s = listen_deadline_s
        self._lock = threading.Lock()
        self._slots = workers
        self._closed = False
        self._workers: dict[int, _Worker] = {}
        # Last in, first out: with little to do one worker stays warm and the others are never started.
        self._idle: queue.LifoQueue[int] = queue.LifoQueue()
        for slot in reversed(range(workers)):
            self._idle.put(slot)

    def probe(self, path: bytes) -> AudioInfo:
        """Measure and hear the file at an absolute path, without following a link at its end.

        Raises AudioUnreadable where it cannot be measured, ContentGone where it is not there (or no regular file)
        any more, AudioUnavailable where it could not be looked at.
        """
        info, _ = self._lent(path, {}, self._listen_deadline_s)
        return info

    def measure(self, path: bytes) -> AudioInfo:
        """Measure the file and do not listen to it: lengths alone, ten times as fast. Raises what ``probe`` raises."""
        info, _ = self._lent(path, {"deaf": True}, 0)
        return info

    def inspect(self, path: bytes, columns: int) -> Inspection:
        """Measure and hear all of the file, its course in at most ``columns`` pieces; raises what ``probe`` raises."""
        patience_s = self._listen_deadline_s + _size(path) / self._bytes_a_second * WHOLE
        info, answer = self._lent(path, {"columns": columns}, patience_s)
        coded = answer.get("coded_bytes", 0)
        bitrate = round(8 * coded / info.media_s) if coded and info.media_s else None
        return Inspection(info, bitrate, tuple(answer.get("course", ())))

    def _lent(self, path: bytes, wishes: dict[str, Any], listen_s: float) -> tuple[AudioInfo, dict[str, Any]]:
        """The measurement of the file, and the worker's whole last answer."""
        slot = self._idle.get()
        try:
            with _opened(path) as (file, size):
                return self._measured(slot, file, size, wishes, listen_s)
        finally:
            self._idle.put(slot)

    def _measured(
        self, slot: int, file: int, size: int, wishes: dict[str, Any], listen_s: float
    ) -> tuple[AudioInfo, dict[str, Any]]:
        deadline_s = self._base_deadline_s + size / self._bytes_a_second
        request = {"cpu_s": int(deadline_s) + 1, "listen_cpu_s": int(listen_s) + 1, "limits": self._limits, **wishes}
        measured: AudioInfo | None = None
        for attempt in (1, 2):
            worker = self._worker(slot)
            try:
                measured = _info(worker.ask(request, [file], deadline_s))
                if wishes.get("deaf"):
                    return measured, {}
                answer = worker.answer(listen_s)
                return _info(answer), answer
            except _Overran as error:
                self._discard(slot)
                if measured is not None:
                    return unheard(measured), {}
                raise Unreadable(f"measuring it took longer than {deadline_s:.0f} s") from error
            except _Died as error:
                self._discard(slot)
                if attempt == 2 and measured is not None:
                    return unheard(measured), {}
                if attempt == 2:
                    ending = worker.process.returncode
                    raise Unreadable(f"the process that measured it ended twice (code {ending})") from error
        raise AssertionError("unreachable")

    def do(self, request: dict[str, Any], source: int, other: int, media_s: float) -> dict[str, Any]:
        """Have two open files (descriptors) encoded or compared: ``request`` as the worker takes it, with its answer.

        Raises AudioUnreadable where the source fails, AudioUnavailable where the workers are closed.
        """
        return self._done(request, [source, other], media_s)

    def join(
        self, agent: int, customer: int, out: int, media_s: float, *, customer_later_s: float, bitrate: int
    ) -> int | None:
        """Have two sides made one stereo Opus file (descriptors; see ``stereo``); returns the samples of each channel,
        None where the disk took no more. ``media_s`` is how long it will be. Raises what ``do`` raises."""
        request = {"do": "join", "customer_later_s": customer_later_s, "bitrate": bitrate}
        largest = int(bitrate * media_s / 8 * 2) + (1 << 20)
        answer = self._done({**request, "largest": largest}, [agent, customer, out], 2 * media_s)
        return answer.get("samples")

    def _done(self, request: dict[str, Any], files: list[int], media_s: float) -> dict[str, Any]:
        deadline_s = self._base_deadline_s + media_s / SLOWEST_TIMES
        asked = {**request, "cpu_s": int(deadline_s) + 1}
        slot = self._idle.get()
        try:
            for _ in (1, 2):
                try:
                    answer = self._worker(slot).ask(asked, files, deadline_s)
                except _Overran as error:
                    self._discard(slot)
                    raise Unreadable(f"it took longer than {deadline_s:.0f} s") from error
                except _Died:
                    self._discard(slot)
                    continue
                if "unreadable" in answer:
                    raise Unreadable(str(answer["unreadable"]))
                return answer
            raise Unreadable("the process that worked on it ended twice")
        finally:
            self._idle.put(slot)

    def _worker(self, slot: int) -> _Worker:
        with self._lock:
            if self._closed:
                raise AudioUnavailable("the audio workers are closed")
            if slot not in self._workers:
                self._workers[slot] = _Worker.start()
            return self._workers[slot]

    def _discard(self, slot: int) -> None:
        """End the slot's worker, which is no longer to be trusted."""
        with self._lock:
            worker = self._workers.pop(slot, None)
        if worker is not None:
            worker.end()
        if self._closed:
            raise AudioUnavailable("the audio workers were closed meanwhile")

    def close(self) -> None:
        """End all workers at once; probes under way raise AudioUnavailable, and so do later ones."""
        with self._lock:
            self._closed = True
            for worker in self._workers.values():
                worker.process.kill()
        slots = [self._idle.get() for _ in range(self._slots)]
        for worker in self._workers.values():
            worker.end()
        self._workers.clear()
        for slot in slots:
            self._idle.put(slot)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

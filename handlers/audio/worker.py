"""The process that alone touches codecs: ``python -m handlers.audio.worker``.

Its standard input is one end of a socket pair. A request is a JSON object on one line, sent together with the open
file it is about (SCM_RIGHTS), so the worker needs no right to any path. It is answered twice, each time by a JSON
object on one line: with the measurement as soon as it is taken, and again once the recording was listened to. So a
decoder that fails costs what it would have told, and no length. A refusal is the only answer, and so is the measurement
where it is asked for alone (``deaf``). A request that says what
to ``do`` comes with two open files and is answered once: ``encode`` writes the second, ``compare`` reads both;
``join`` comes with three and writes the third. The
process ends by itself when the other end closes, whatever became of the daemon.

A hostile file can make a decoder loop, allocate or crash; that costs this process and one refused file. Limits are
set here rather than between fork and exec, where a threaded parent must not run Python.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import resource
import signal
import socket
import sys
from typing import Any, BinaryIO

from handlers.audio.confine import confine
from handlers.audio.failure import Unsupported, unheard
from handlers.audio.listen import course, ear_of, listen, told
from handlers.audio.probe import probe, sniff
from handlers.audio.quality import Limits
from handlers.model import AudioInfo, AudioUnreadable

ADDRESS_SPACE = 1 << 30
"""Bytes. A transcode succeeded under 150 MB; 61 of 12,033 mutated files asked for more than any honest one."""

OPEN_FILES = 64
NICE = 10
"""Encoding yields to everything else on the machine."""
REQUEST_BYTES = 1 << 16


def limit(what: int, value: int) -> None:
    """Lower one resource limit, as far as the hard limit allows."""
    _, hard = resource.getrlimit(what)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (bound, hard))


def restrict() -> None:
    """Take from this process what measuring does not need: memory, core files, output, open files, signals, network,
    other programs."""
    limit(resource.RLIMIT_AS, ADDRESS_SPACE)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, 0)
    limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    confine()


def allow_cpu(seconds: int) -> None:
    """Let the next request use so much processor time from now on; SIGXCPU ends the process then."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + seconds)


def measured(request: dict[str, Any], file: BinaryIO) -> AudioInfo | dict[str, Any]:
    """Measure one file, or say why not: ``{"unreadable": reason, …}``."""
    allow_cpu(int(request["cpu_s"]))
    try:
        return probe(file)
    except AudioUnreadable as refusal:
        return {"unreadable": refusal.reason, "unsupported": isinstance(refusal, Unsupported)}
    except Exception as error:  # noqa: BLE001 the file is hostile input and libav's errors are many; the kind is named
        return {"unreadable": f"measuring it failed ({type(error).__name__})"}


def heard(request: dict[str, Any], file: BinaryIO, info: AudioInfo) -> AudioInfo:
    """Listen to a file that was measured."""
    allow_cpu(int(request["listen_cpu_s"]))
    try:
        return listen(file, info, Limits.of(request.get("limits", {})))
    except Exception:  # noqa: BLE001 as above; the length stands
        return unheard(info)


def inspected(request: dict[str, Any], file: BinaryIO, info: AudioInfo) -> dict[str, Any]:
    """What the whole file says: measurement, coded bytes, and the course of its loudness in ``columns`` pieces."""
    allow_cpu(int(request["listen_cpu_s"]))
    try:
        ear = ear_of(file, info, float("1e9"))
    except Exception:  # noqa: BLE001 as above; the length stands
        ear = None
    loudness = [] if ear is None else course(ear.levels, int(request["columns"]))
    known = told(info, ear, Limits.of(request.get("limits", {})))
    brief = dataclasses.replace(known, speech=None)  # of a day of audio an answer could not carry it
    return {"info": pack(brief), "coded_bytes": 0 if ear is None else ear.coded_bytes, "course": loudness}


class _Whole(io.FileIO):
    """Unbuffered, so that nothing is left to be written when output is forbidden again, and never half a write. libav
    passes on that writing failed and not why, so that is kept here."""

    errno: int | None = None

    def write(self, data: Any, /) -> int:
        """Write all of it; raises OSError."""
        left = memoryview(data)
        try:
            while left:
                left = left[super().write(left) :]
        except OSError as error:
            self.errno = error.errno
            raise
        return len(memoryview(data))


def joined(request: dict[str, Any], agent: BinaryIO, customer: BinaryIO, out: Any) -> dict[str, Any]:
    """Make one stereo file of two sides; a side that fails is refused, a disk that fails is told as ``errno``."""
    from handlers.audio.stereo import stereo

    allow_cpu(int(request["cpu_s"]))
    limit(resource.RLIMIT_FSIZE, int(request["largest"]))
    how = {name: request[name] for name in ("customer_later_s", "bitrate")}
    try:
        return {"samples": stereo(agent, customer, out, **how)}
    except AudioUnreadable as refusal:
        return {"unreadable": refusal.reason}
    except Exception as error:  # noqa: BLE001 as above
        return {"unreadable": f"join failed ({type(error).__name__})"} if out.errno is None else {"errno": out.errno}
    finally:
        limit(resource.RLIMIT_FSIZE, 0)


def _other(request: dict[str, Any], file: int) -> Any:
    """The second file of a request: to be written, or to be read."""
    return open(file, "rb") if request["do"] == "compare" else _Whole(file, "r+b")


def done(request: dict[str, Any], source: BinaryIO, other: BinaryIO) -> dict[str, Any]:
    """Encode, repack or compare; a file that fails is refused, a disk that fails is told as ``errno``."""
    from handlers.audio.closeness import compare
    from handlers.audio.encode import encode, heard
    from handlers.audio.repack import repack

    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(request.get("nice", NICE), os.getpriority(os.PRIO_PROCESS, 0)))
    allow_cpu(int(request["cpu_s"]))
    try:
        demuxer = sniff(source).demuxer
        source.seek(0)
        if request["do"] == "compare":
            other.seek(0)  # the lender may have read or written it
            sides = heard(source, demuxer), heard(other, "ogg")
            return {"closeness": dataclasses.asdict(compare(*sides))}
        limit(resource.RLIMIT_FSIZE, int(request["largest"]))
        if request["do"] == "repack":
            return {"samples": repack(source, demuxer, other, about=request["about"])}
        how = {name: request[name] for name in ("bitrate", "application", "complexity")}
        return {"samples": encode(source, demuxer, other, about=request.get("about", ""), **how)}
    except AudioUnreadable as refusal:
        return {"unreadable": refusal.reason}
    except Exception as error:  # noqa: BLE001 as above
        if isinstance(other, _Whole) and other.errno is not None:
            return {"errno": other.errno}
        return {"unreadable": f"{request['do']} failed ({type(error).__name__})"}
    finally:
        limit(resource.RLIMIT_FSIZE, 0)


def pack(info: AudioInfo) -> dict[str, Any]:
    """The measurement as JSON can carry it."""
    start_at = None if info.start_at is None else info.start_at.isoformat()
    return dataclasses.asdict(info) | {"start_at": start_at}


def serve(link: socket.socket) -> None:
    """Say that the process is up, then answer requests until the other end closes."""
    link.sendall(b"{}\n")
    while True:
        line, files, _, _ = socket.recv_fds(link, REQUEST_BYTES, 3)
        if not line:
            return
        request = json.loads(line)
        if request.get("do") == "join":
            with open(files[0], "rb") as agent, open(files[1], "rb") as customer, _Whole(files[2], "r+b") as out:
                reply_of_three = joined(request, agent, customer, out)
            send(link, reply_of_three)
            continue
        if "do" in request:
            with open(files[0], "rb") as source, _other(request, files[1]) as other:
                reply_of_two = done(request, source, other)
            send(link, reply_of_two)
            continue
        with open(files[0], "rb") as file:
            reply = measured(request, file)
            if isinstance(reply, AudioInfo) and request.get("deaf"):
                reply = {"info": pack(reply)}
            elif isinstance(reply, AudioInfo):
                send(link, {"info": pack(reply)})
                whole = "columns" in request
                reply = inspected(request, file, reply) if whole else {"info": pack(heard(request, file, reply))}
        send(link, reply)


def send(link: socket.socket, reply: dict[str, Any]) -> None:
    """Send one answer."""
    link.sendall(json.dumps(reply).encode() + b"\n")


def main() -> None:
    """Serve on standard input."""
    restrict()
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as link, contextlib.suppress(ConnectionError):
        serve(link)


if __name__ == "__main__":
    main()

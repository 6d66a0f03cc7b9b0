"""Named points on the way of a file, for tests that end the process there.

A point is passed before and after every commit and every outside effect. Nothing listens in production and a point
costs one comparison. With ``CALLSPOOL_TRACE=FILE`` each passage is appended to FILE as ``name visit``; with
``CALLSPOOL_TRACE_KILL=name:visit`` the process sends itself SIGKILL at that passage, which is the same as kill -9
from outside at that very instruction.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping

_listener: Callable[[str], None] | None = None


def point(name: str) -> None:
    """Pass the point ``name``."""
    if _listener is not None:
        _listener(name)


def listen(environ: Mapping[str, str]) -> None:
    """Arm the points as the environment says; does nothing where it says nothing."""
    path, kill = environ.get("CALLSPOOL_TRACE"), environ.get("CALLSPOOL_TRACE_KILL")
    if not path and not kill:
        return
    target, _, visit = (kill or "").rpartition(":")
    visits: Counter[str] = Counter()
    lock = threading.Lock()
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600) if path else None

    def passed(name: str) -> None:
        with lock:
            visits[name] += 1
            if out is not None:
                os.write(out, f"{name} {visits[name]}\n".encode())
            if name == target and str(visits[name]) == visit:
                os.kill(os.getpid(), signal.SIGKILL)

    global _listener  # noqa: PLW0603 - one process, one trace
    _listener = passed

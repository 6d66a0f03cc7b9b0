"""What a supervisor is told: a datagram to the socket that systemd names, and nothing where it names none.

The protocol is sd_notify(3): assignments on lines. ``Pulse`` feeds the watchdog from the daemon's health alone, so
that a process that lives but does nothing is ended and started anew.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping

from daemon.health import Health

BEAT_S = 20.0
"""Pause between two looks where no watchdog asks for shorter ones."""


def notify(environ: Mapping[str, str], *lines: str) -> bool:
    """Send the assignments; False where no supervisor listens. Raises nothing: nobody's work depends on it."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    name = "\0" + address[1:] if address[0] == "@" else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.connect(name)
            out.sendall("\n".join(lines).encode())
    except OSError:
        return False
    return True


def reloading(environ: Mapping[str, str]) -> bool:
    """A reload begins; it ends with READY=1."""
    return notify(environ, "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def beat_s(environ: Mapping[str, str]) -> float:
    """Seconds between two beats: a third of the watchdog's patience, where there is one for this process."""
    mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    text = environ.get("WATCHDOG_USEC", "")
    usec = int(text) if mine and text.isdecimal() else 0
    return min(BEAT_S, usec / 3e6) if usec else BEAT_S


class Pulse:
    """Looks at the daemon's health again and again, tells it in one line, and feeds the watchdog while it is alive."""

    def __init__(self, environ: Mapping[str, str], health: Callable[[], Health]) -> None:
        self._environ = environ
        self._health = health
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Say that all is up, and beat. Looking is worth it where nobody listens too: it tells later whether the
        ledger is still the one that worked here."""
        notify(self._environ, "READY=1", f"STATUS={self._health().line()}")
        self._thread.start()

    def stop(self) -> None:
        """Say that the end has begun."""
        self._ended.set()
        notify(self._environ, "STOPPING=1", "STATUS=stopping")

    def _run(self) -> None:
        pause_s = beat_s(self._environ)
        while not self._ended.wait(pause_s):
            health = self._health()
            notify(self._environ, f"STATUS={health.line()}", *(("WATCHDOG=1",) if health.alive else ()))

"""Signals, taken one by one on a thread of their own.

They are blocked everywhere else, from before the first thread: a handler would run between two bytecodes of the main
thread, where it may meet the very lock that the main thread holds, or come a moment before a wait that then nobody
ends, or wait for a call of SQLite's to return.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

LEAVE_S = 19.5
"""Seconds from the first SIGTERM after which the process is gone, whatever hangs: what is under way is found again by
the next start, as after a crash."""

TAKEN = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def _nothing() -> None:
    return None


class Signals:
    """From construction on, signals wait; ``follow`` takes them."""

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)
        self.received: list[int] = []

    def follow(self, stopping: threading.Event, on_hangup: Callable[[], None] = _nothing) -> None:
        """The first SIGTERM or SIGINT sets ``stopping``, the second leaves at once; SIGHUP calls ``on_hangup``."""

        def take() -> None:
            while True:
                number = signal.sigwait(TAKEN)
                if number == signal.SIGHUP:
                    on_hangup()
                elif stopping.is_set():
                    os._exit(128 + number)
                else:
                    self.received.append(number)
                    stopping.set()

        threading.Thread(target=take, name="signals", daemon=True).start()


def leave_in_time(stopping: threading.Event, exit_code: Callable[[], int]) -> None:
    """See to it that a stop that hangs, on a dead network disk for one, ends in time."""

    def watch() -> None:
        stopping.wait()
        threading.Event().wait(LEAVE_S)
        os._exit(exit_code())

    threading.Thread(target=watch, name="leave", daemon=True).start()

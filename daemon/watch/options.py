"""How the watch behaves: its options, and what it says of its roots' health."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from daemon.catalogue import RootState
from daemon.watch.settle import Windows

Poll: TypeAlias = Literal["auto", "always", "never"]
Since: TypeAlias = Literal["install", "all"] | datetime


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """Options of the watch; times in seconds.

    ``since`` says which files found at the first sight of a root are taken: those whose inode changed after the root's
    registration, all, or those after a moment (aware). ``ready_suffix``: a file ``X`` is finished when ``X<suffix>``
    lies beside it. ``ignore`` adds shell patterns to the built-in list. ``poll`` decides for each role whether events
    are used; where it says nothing, the file system decides. ``guard`` names a marker file that must lie in
    every root, so that an unmounted folder is recognised. ``events`` off is ``--no-watch``: the scan alone.
    """

    scan_every_s: float = 60.0
    quiet_audio_s: float = 10.0
    quiet_json_s: float = 2.0
    unproved_s: float = 180.0
    max_settle_s: float = 6 * 3600.0
    since: Since = "install"
    ready_suffix: str = ""
    ignore: tuple[str, ...] = ()
    poll: Mapping[str, Poll] = field(default_factory=dict)
    guard: str = ""
    events: bool = True

    @property
    def windows(self) -> Windows:
        """The settling windows."""
        return Windows(self.quiet_audio_s, self.quiet_json_s, self.unproved_s, self.max_settle_s)


@dataclass(frozen=True, slots=True)
class RootHealth:
    """How a root stands.

    ``last_scan_ended`` is monotonic seconds and ``last_scan_ended_at`` the wall clock, of the last full scan that
    ended; ``scan_every_s`` the pause now kept between scans, ``settling`` the number of files on their way,
    ``overflows`` how often events were lost, ``alive`` whether its threads are.
    """

    role: str
    path: bytes
    state: RootState
    reason: str
    polling: bool
    last_scan_ended: float | None
    last_scan_ended_at: datetime | None
    scan_every_s: float
    settling: int
    overflows: int
    unreadable_folders: int
    alive: bool

"""The world around the daemon: a call centre that drops files without rest, a CRM, and an operator who restarts."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from handlers.demo.crm import LoopbackCrm
from tests.destruction.bucket import Bucket
from tests.support.calls import FieldCall
from tests.support.process import DaemonProcess, Site

SETTINGS = {
    "CALLSPOOL_MATCH__WAIT": "60s",
    "CALLSPOOL_MATCH__LEAD_WAIT": "5s",
    "CALLSPOOL_CRM__UPDATES": "repost",
    "CALLSPOOL_CRM__RETRY": "[500ms, 1s, 2s]",
    "CALLSPOOL_CRM__TIMEOUT": "3s",
    "CALLSPOOL_CRM__ATTEMPTS": "5",
    "CALLSPOOL_LOG__LEVEL": "info",
}

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
"""The library that moves the daemon's wall clock; its monotonic clock and files' times stay true."""

PATIENCE_S = 240.0
"""Far above what a start takes, also on a machine that has a dozen other things to do."""

UNWANTED = ("defect.caught", "watch.failed")
"""Lines that no fault excuses. ``daemon.failed`` is what a damaged ledger rightly ends in."""


@dataclass(frozen=True)
class Dropped:
    """A call as it was dropped, and the digests of its files."""

    call: FieldCall
    files: dict[Path, str]

    @property
    def word(self) -> str:
        """What stands in its transcript and in no other."""
        return word_of(self.call)

    @property
    def recording(self) -> str:
        """The digest of its recording."""
        return next(iter(self.files.values()))


def word_of(call: FieldCall) -> str:
    """The unique word of a call."""
    return f"marker-{call.nth:06d}-end"


def make_call(nth: int, chance: random.Random) -> FieldCall:
    """The n-th call of a run."""
    call = FieldCall(nth, seconds=round(chance.uniform(1.0, 4.0), 2), lead=chance.random() < 0.3)
    document = call.transcript()
    document["conversation_items"][-1]["content"] = f"A quote, {word_of(call)}, please."
    return FieldCall(nth, seconds=call.seconds, lead=call.lead, document=document)


@dataclass
class World:
    """Everything a fault may touch. ``exits`` counts the daemon's exit codes, ``events`` its log lines by event."""

    site: Site
    crm: LoopbackCrm
    chance: random.Random
    every_s: float
    bucket: Bucket | None = None
    """S3, where its program is there."""
    daemon: DaemonProcess | None = None
    dropped: list[Dropped] = field(default_factory=list)
    exits: Counter[int] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    sizes: list[tuple[float, int, int]] = field(default_factory=list)
    """Of each sample: seconds the process lived, kB of memory, open descriptors."""
    calm: list[tuple[float, int, int]] = field(default_factory=list)
    """The samples of the end, in which calls go on and nothing is done to the daemon."""
    said: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _folders: threading.RLock = field(default_factory=threading.RLock)
    _born: float = 0.0

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.site.folder / "state"

    def digests_stored(self) -> set[str]:
        """The SHA-256 of everything that lies where copies belong."""
        if self.bucket is not None:
            return self.bucket.digests()
        found = (path for path in (self.site.folder / "uploads").rglob("*") if path.is_file())
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    # --------------------------------------------------------------------------------------------- the call centre

    def produce(self) -> threading.Thread:
        """Drop calls until told to end."""
        producer = threading.Thread(target=self._produce, name="producer", daemon=True)
        producer.start()
        return producer

    def end(self) -> None:
        """No more calls."""
        self._ended.set()

    @property
    def folders(self) -> threading.RLock:
        """Held, nobody drops anything: for whoever takes folders away."""
        return self._folders

    def _produce(self) -> None:
        chance, nth = random.Random(self.chance.random()), 0
        while not self._ended.wait(chance.expovariate(1 / self.every_s)):
            call = make_call(nth, chance)
            steps = [call.drop_recording, call.drop_transcript, *([call.drop_lead] if call.lead else [])]
            paths = []
            for number, step in enumerate(steps):
                with self._folders:
                    paths.append(step(self.site))
                if number == 0 and chance.random() < 0.2:
                    time.sleep(chance.uniform(0, 2))
            files = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.exists()}
            if len(files) == len(paths):
                self.dropped.append(Dropped(call, files))
            nth += 1

    # --------------------------------------------------------------------------------------------- the operator

    def start(self) -> None:
        """Start the daemon and wait until it works or holds; one that cannot is started again, as a service is."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self._born = time.monotonic()
            self.daemon = self.site.daemon(**self._clockwork())
            try:
                self.daemon.wait_for("daemon.started", PATIENCE_S)
            except AssertionError as error:
                self.ended(self.daemon.stop())
                self.say(f"start failed: {str(error).splitlines()[0]}")
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            else:
                break
        if any(line["event"] == "daemon.held" for line in self.daemon.lines):
            self.say("on hold: the operator says redeliver")
            done = self.site.command("ledger", "redeliver", "--why", "destruction")
            if done.returncode:
                raise AssertionError(f"redeliver: {done.stderr}")

    def ended(self, code: int) -> None:
        """Keep what the process that ended leaves behind."""
        assert self.daemon is not None
        self.exits[code] += 1
        self.events.update(line["event"] for line in self.daemon.lines)
        lost = [
            line for line in self.daemon.lines if line["event"] in ("defect.caught", "daemon.failed", "watch.failed")
        ]
        self.said += [str({k: line.get(k) for k in ("event", "reason", "trace")}) for line in lost]
        self.said += [line for line in self.daemon.other_output if line.strip()][-20:]
        self.daemon.__exit__(None, None, None)

    def kill(self) -> None:
        """kill -9."""
        assert self.daemon is not None
        self.daemon.kill()
        self.ended(-signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.daemon is not None
        code = self.daemon.stop(PATIENCE_S)
        self.ended(code)
        return code

    def revive(self) -> None:
        """Start it again where it has ended by itself."""
        if self.daemon is not None and self.daemon.has_ended:
            self.ended(self.daemon.ended())
            self.start()

    def measure(self) -> None:
        """One sample of the process's size."""
        if self.daemon is None or self.daemon.has_ended:
            return
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{self.daemon.pid}/status").read_text()
            kilobytes = int(status.split("VmRSS:")[1].split()[0])
            descriptors = len(os.listdir(f"/proc/{self.daemon.pid}/fd"))
            self.sizes.append((time.monotonic() - self._born, kilobytes, descriptors))

    def say(self, what: str) -> None:
        """Remember and print."""
        print(f"{time.strftime('%H:%M:%S')}  {what}", flush=True)

    def _clockwork(self) -> dict[str, str]:
        if FAKETIME is None:
            return {}
        self.set_clock("+0")
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self.site.folder / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set_clock(self, offset: str) -> None:
        """Move the daemon's wall clock by an offset such as ``+3h``."""
        part = self.site.folder / "clock.part"
        part.write_text(f"{offset}\n")
        part.replace(self.site.folder / "clock")


def second_daemon(world: World) -> int:
    """Start another daemon beside the first; returns its exit code."""
    return world.site.command("run").returncode


def pause(world: World, seconds: float) -> None:
    """Stop the process for a while, as a debugger or a full machine does."""
    assert world.daemon is not None
    world.daemon.signal(signal.SIGSTOP)
    time.sleep(seconds)
    world.daemon.signal(signal.SIGCONT)


def in_own_mounts() -> bool:
    """Whether mounts of this process are its own: then a disk may be made full."""
    if os.geteuid() != 0:
        return False
    done = subprocess.run(["findmnt", "-no", "PROPAGATION", "/"], capture_output=True, text=True, check=False)
    return done.stdout.strip() == "private"

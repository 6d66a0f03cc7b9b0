"""What is done to the daemon, by name. Each leaves the world as an operator would: running, on its right clock."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Mapping

from tests.destruction.world import FAKETIME, World, in_own_mounts, pause, second_daemon
from tests.support.full_disk import fill

PAGE = 4096
CRM_FAULTS = ("503", "429", "500", "502", "504", "reset", "drop", "hang", "html", "empty", "says_no", "401", "408")

Fault = Callable[[World, random.Random], str]


def kill(world: World, _chance: random.Random) -> str:
    """kill -9, and start again."""
    world.kill()
    world.start()
    return ""


def double_kill(world: World, chance: random.Random) -> str:
    """kill -9 again while the next process is still coming up."""
    world.kill()
    world.daemon = world.site.daemon()
    time.sleep(chance.uniform(0.05, 0.8))
    world.kill()
    world.start()
    return ""


def terminate(world: World, _chance: random.Random) -> str:
    """An orderly stop and start."""
    began = time.monotonic()
    code = world.stop()
    took = time.monotonic() - began
    if code != 0 or took > 20:
        world.said.append(f"SIGTERM: exit {code} after {took:.1f} s")
    world.start()
    return f"{took:.1f} s"


def frozen(world: World, chance: random.Random) -> str:
    """SIGSTOP for some seconds."""
    seconds = chance.uniform(1, 6)
    pause(world, seconds)
    return f"{seconds:.1f} s"


def root_gone(world: World, chance: random.Random) -> str:
    """A watched folder is not there for a while, as with a share that was unmounted."""
    folder = chance.choice((world.site.recordings, world.site.conversations, world.site.leads))
    aside = folder.with_name(folder.name + ".away")
    with world.folders:
        folder.rename(aside)
        if chance.random() < 0.5:
            time.sleep(0.5)
            folder.mkdir()  # an empty mount point
            time.sleep(chance.uniform(0.5, 3))
            folder.rmdir()
        else:
            time.sleep(chance.uniform(0.5, 3))
        aside.rename(folder)
    return folder.name


def clock_jump(world: World, chance: random.Random) -> str:
    """The wall clock is wrong for some seconds, by hours, either way."""
    offset = f"{chance.choice('+-')}{chance.randint(10, 5000)}m"
    world.set_clock(offset)
    time.sleep(chance.uniform(1, 5))
    world.set_clock("+0")
    return offset


def crm_fault(world: World, chance: random.Random) -> str:
    """The CRM misbehaves for its next few answers."""
    name, times = chance.choice(CRM_FAULTS), chance.randint(1, 6)
    world.crm.misbehave(name, on=chance.choice(("upload", "call", "any")), times=times)
    return f"{name} x{times}"


def crm_down(world: World, chance: random.Random) -> str:
    """Nobody listens at the CRM's address."""
    seconds = chance.uniform(1, 8)
    world.crm.refuse()
    time.sleep(seconds)
    world.crm.listen()
    return f"{seconds:.1f} s"


def s3_down(world: World, chance: random.Random) -> str:
    """The S3 service is killed in whatever it does, and is away for some seconds."""
    assert world.bucket is not None
    seconds = chance.uniform(1, 8)
    world.bucket.kill()
    time.sleep(seconds)
    world.bucket.start()
    return f"{seconds:.1f} s"


def s3_hangs(world: World, chance: random.Random) -> str:
    """The S3 service takes requests and does not answer, also for longer than anybody waits."""
    assert world.bucket is not None
    seconds = chance.uniform(1, 6)
    world.bucket.freeze(seconds)
    return f"{seconds:.1f} s"


def disk_full(world: World, chance: random.Random) -> str:
    """The ledger's disk takes no more writes for some seconds."""
    ballast = world.state / "ballast"
    fill(ballast)
    time.sleep(chance.uniform(1, 4))
    ballast.unlink()
    return ""


def two_daemons(world: World, _chance: random.Random) -> str:
    """A second daemon on the same ledger must say so and go."""
    code = second_daemon(world)
    if code != 11:
        world.said.append(f"a second daemon ended with {code}")
    return f"exit {code}"


def damaged_page(world: World, chance: random.Random) -> str:
    """Some pages of the ledger are overwritten while it is down; what is restored may be as old as the last copy."""
    if chance.random() < 0.7:
        world.site.command("ledger", "backup", str(world.state / "copies" / time.strftime("ledger-%Y-%m-%d.db")))
    world.kill()
    ledger = world.state / "ledger.db"
    pages = os.path.getsize(ledger) // PAGE
    hit = [chance.randrange(0, pages) for _ in range(chance.randint(1, 12))]
    with open(ledger, "r+b") as file:
        for page in hit:
            file.seek(page * PAGE + chance.randrange(0, PAGE // 2))
            file.write(chance.randbytes(chance.randint(8, PAGE // 2)))
    _tidy(world)
    world.start()
    return f"{len(hit)} of {pages} pages"


def old_ledger(world: World, _chance: random.Random) -> str:
    """An operator puts an older copy in the ledger's place: what was delivered since is unknown to it."""
    copies = sorted((world.state / "copies").glob("*.db"))
    if not copies:
        return "no copy yet"
    world.stop()
    for suffix in ("-wal", "-shm"):
        (world.state / f"ledger.db{suffix}").unlink(missing_ok=True)
    age = time.time() - copies[0].stat().st_mtime
    shutil.copyfile(copies[0], world.state / "ledger.db")
    world.start()
    return f"{age:.0f} s old"


def _tidy(world: World) -> None:
    """Ledgers set aside fill the small disk: an operator keeps the newest."""
    for old in sorted(world.state.glob("ledger.db.damaged-*"))[:-3]:
        old.unlink()


def available(*, s3: bool) -> Mapping[str, tuple[int, Fault]]:
    """Every fault that can be had here, and how often among the others."""
    found: dict[str, tuple[int, Fault]] = {
        "kill -9": (10, kill),
        "kill -9 twice": (3, double_kill),
        "SIGTERM": (3, terminate),
        "SIGSTOP": (3, frozen),
        "root gone": (4, root_gone),
        "CRM fault": (8, crm_fault),
        "CRM down": (3, crm_down),
        "two daemons": (1, two_daemons),
        "damaged page": (1, damaged_page),
        "old ledger": (1, old_ledger),
    }
    if s3:
        found["S3 down"] = (3, s3_down)
        found["S3 hangs"] = (2, s3_hangs)
    if FAKETIME is not None:
        found["clock jump"] = (3, clock_jump)
    if in_own_mounts():
        found["disk full"] = (2, disk_full)
    return found

"""A real systemd, booted in a container over this machine's own root: nothing is written back."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PROGRAMS = ("systemd-nspawn", "nsenter", "mount", "systemctl")
PATIENCE_S = 60.0
HERE = Path(__file__).resolve().parents[2]
MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "systemd-resolved.service", "console-getty.service")


def why_not() -> str:
    """Why no systemd can be booted here; empty where it can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.geteuid() != 0:
        return "only root can boot a container"
    if missing:
        return f"not installed: {', '.join(missing)}"
    return "" if os.path.exists("/sbin/init") else "systemd-sysv is not installed"


class Booted:
    """The container: ``root`` is its file system as seen from here, ``calls`` what it sees as ``/srv/calls``."""

    def __init__(self, root: Path, calls: Path, leader: int) -> None:
        self.root, self.calls = root, calls
        self._leader = leader

    def run(self, *words: str, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """Run a command in the container to its end."""
        enter = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C"]
        enter += [f"--root=/proc/{self._leader}/root", "--", "sh", "-c"]
        enter += ['cd / && exec "$@"', "sh"]
        return subprocess.run([*enter, *words], capture_output=True, text=True, timeout=timeout_s)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", unit, f"--property={name}", "--value").stdout.strip()

    def wait(self, unit: str, name: str, wanted: str) -> None:
        """Wait until a unit's property is as wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := self.show(unit, name)) != wanted:
            if time.monotonic() > deadline:
                told = self.run("journalctl", "-u", unit, "-o", "cat", "-n", "40").stdout
                raise AssertionError(f"{unit}: {name} is {found!r}, not {wanted!r}\n{told}")
            time.sleep(0.1)


@contextlib.contextmanager
def booted() -> Iterator[Booted]:
    """Boot it, and power it off at the end."""
    with tempfile.TemporaryDirectory(prefix="callspool-boot-") as folder, contextlib.ExitStack() as stack:
        over, root = Path(folder, "over"), Path(folder, "root")
        over.mkdir()
        root.mkdir()
        _mount(stack, ["-t", "tmpfs", "-o", "size=2g", "tmpfs", str(over)], over)
        (over / "u").mkdir()
        (over / "w").mkdir()
        (over / "calls").mkdir()
        layers = f"lowerdir=/,upperdir={over}/u,workdir={over}/w"
        _mount(stack, ["-t", "overlay", "overlay", "-o", layers, str(root)], root)
        (root / "etc/machine-id").write_text("")
        for unit in MASKED:
            place = root / "etc/systemd/system" / unit
            place.unlink(missing_ok=True)
            place.symlink_to("/dev/null")
        words = ["systemd-nspawn", "-q", "-D", str(root), "--boot", "--register=no", "--keep-unit"]
        words += [f"--machine=callspool-{os.getpid()}", "--link-journal=no", "--console=pipe"]
        words += [f"--bind={over / 'calls'}:/srv/calls"]  # an overlay knows no leases
        words += [f"--bind-ro={HERE}"]  # it may lie below /tmp, which is the container's own
        with open(over / "console", "wb") as console:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            machine = Booted(root, over / "calls", _leader(process))
            _await_boot(machine)
            yield machine
            machine.run("systemctl", "poweroff")
            process.wait(PATIENCE_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _mount(stack: contextlib.ExitStack, words: Sequence[str], place: Path) -> None:
    subprocess.run(["mount", *words], check=True)
    stack.callback(subprocess.run, ["umount", "-l", str(place)], check=True)


def _leader(process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + PATIENCE_S
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while time.monotonic() < deadline and process.poll() is None:
        for child in children.read_text().split():
            if Path(f"/proc/{child}/root/run/systemd/private").exists():
                return int(child)
        time.sleep(0.05)
    raise AssertionError("the container did not boot")


def _await_boot(machine: Booted) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while machine.run("systemctl", "is-system-running").stdout.strip() not in ("running", "degraded"):
        assert time.monotonic() < deadline, "the container's systemd did not come up"
        time.sleep(0.1)

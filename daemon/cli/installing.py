"""The steps that install a service or remove it: said as a person would type them, or taken one after the other."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon import service
from daemon.errors import BadRequest, OperatorError
from daemon.service import Manager, Plan


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that installing or removing does: a command, a folder to make, or a file to write."""

    command: tuple[str, ...] = ()
    folder: str = ""
    mode: int = 0o755
    owner: str = ""
    path: str = ""
    text: str = ""

    def said(self) -> str:
        """As a person would do it."""
        if self.command:
            return shlex.join(self.command)
        if self.folder:
            owner = f" -o {shlex.quote(self.owner)}" if self.owner else ""
            return f"install -d -m {self.mode:o}{owner} {shlex.quote(self.folder)}"
        return f"# {self.path}\n{self.text}"

    def take(self) -> None:
        """Do it; raises OperatorError."""
        if self.command:
            run(self.command)
            return
        place = Path(self.folder or self.path)
        try:
            if self.folder:
                place.mkdir(mode=self.mode, parents=True, exist_ok=True)
                if self.owner:
                    shutil.chown(place, self.owner)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                part = place.with_name(place.name + ".part")
                part.write_text(self.text, "utf-8")
                part.chmod(0o644)
                part.replace(place)
        except (OSError, LookupError) as error:
            raise OperatorError(f"{place} cannot be written ({error})", fix=f"sudo {' '.join(sys.argv[:3])}") from error


def installing(plan: Plan, which: Manager, *, start: bool) -> Iterator[Step]:
    """The steps of an installation, in order."""
    system = plan.scope == "system"
    if system and not _known(plan.user):
        if which == "launchd":
            raise BadRequest(f"there is no user {plan.user}", fix="callspool service install --as USER")
        yield Step(("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", plan.user))
    owner = plan.user if system else ""
    for folder in plan.writes:
        if not os.path.isdir(folder):
            yield Step(folder=folder, owner=owner)
    if which == "launchd" or "StateDirectory=" not in service.unit(plan):
        yield Step(folder=plan.state, mode=0o700, owner=owner)
    if system and os.path.isdir(plan.state) and not _owns(plan.user, plan.state):
        yield Step(("chown", "-R", f"{plan.user}:", plan.state))
    place = str(place_of(plan, which))
    if which == "systemd":
        yield Step(path=place, text=service.unit(plan))
        yield Step(systemctl(plan, "daemon-reload"))
        yield Step(systemctl(plan, "enable", plan.unit))
        if start:
            yield Step(systemctl(plan, "restart", plan.unit))
        return
    yield Step(folder=str(Path(plan.log).parent), owner=owner if system else "")
    yield Step(path=place, text=service.plist(plan))
    if start:
        yield Step(("launchctl", "bootstrap", domain(plan), place))


def removing(plan: Plan, which: Manager) -> Iterator[Step]:
    """The steps of a removal, in order."""
    place = str(place_of(plan, which))
    if which == "systemd":
        yield Step(systemctl(plan, "disable", "--now", plan.unit))
        yield Step(("rm", "-f", place))
        yield Step(systemctl(plan, "daemon-reload"))
    else:
        yield Step(("launchctl", "bootout", f"{domain(plan)}/{plan.label}"))
        yield Step(("rm", "-f", place))


def place_of(plan: Plan, which: Manager) -> Path:
    """Where the unit or job lies."""
    home = str(Path.home())
    return Path(service.unit_path(plan, home) if which == "systemd" else service.job_path(plan, home))


def run(words: Sequence[str]) -> None:
    """Run a command of the system; raises OperatorError with what it said."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise OperatorError(
            f"{words[0]} cannot be run ({error.strerror})", fix="callspool service install --dry-run"
        ) from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise OperatorError(
            f"{shlex.join(words)} failed: {said[-1] if said else done.returncode}", fix="journalctl -xe"
        )


def systemctl(plan: Plan, *words: str) -> tuple[str, ...]:
    """The command for this scope's manager."""
    return ("systemctl", *(() if plan.scope == "system" else ("--user",)), *words)


def domain(plan: Plan) -> str:
    """launchd's domain of this scope."""
    return "system" if plan.scope == "system" else f"gui/{os.getuid()}"


def _known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _owns(user: str, folder: str) -> bool:
    return _known(user) and os.stat(folder).st_uid == pwd.getpwnam(user).pw_uid

"""``callspool service``: install, look at and remove the service that runs callspool."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon import service
from daemon.cli.desk import CommandDesk
from daemon.cli.installing import Step, domain, installing, place_of, removing, systemctl
from daemon.contract import OwnFolder, SecretFile
from daemon.errors import BadRequest, ConfigInvalid
from daemon.service import Manager, Plan, Scope
from daemon.sources import leaves, marked

if TYPE_CHECKING:
    from daemon.house import House

FILES_TO_WRITE = ("compress.index", "compress.log_file", "collect.metadata")
"""Settings that name a file which is kept up to date; its folder must be writable."""

EVERYWHERE = frozenset({"0.0.0.0", "[::]"})  # noqa: S104 - compared with, never listened at
"""Addresses that stand for all of a machine's own."""

ROOT_UID = 0


Name = Annotated[str, typer.Option("--name", help="Tells instances apart: callspool@NAME.")]
OfSystem = Annotated[
    bool | None, typer.Option("--system/--user", help="For the whole system (default as root), or for this user.")
]
For = Annotated[str, typer.Option("--for", help="systemd or launchd; default: what this system has.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be written and run.")]


def verbs(desk: CommandDesk) -> typer.Typer:
    """The group."""
    group = typer.Typer(help="The service that runs callspool: systemd or launchd.", no_args_is_help=True)

    @group.command("install")
    def install(
        name: Name = "",
        system: OfSystem = None,
        manager: For = "",
        user: Annotated[str, typer.Option("--as", help="Whom it runs as; default: the recordings' owner.")] = "",
        start: Annotated[bool, typer.Option("--start/--no-start", help="Start it now.")] = True,
        dry_run: DryRun = False,
    ) -> int:
        """Write the unit or job out of the configuration, and start it."""
        which = manager_of(manager)
        plan, warnings = plan_of(desk, name, scope_of(system), user)
        warnings += clashes(desk, plan) if which == "systemd" else []
        steps = list(installing(plan, which, start=start))
        if not dry_run:
            _allowed(plan)
            for step in steps:
                step.take()
        _report(desk, plan, which, steps, warnings, dry_run=dry_run, done="installed")
        return 0

    @group.command("uninstall")
    def uninstall(name: Name = "", system: OfSystem = None, manager: For = "", dry_run: DryRun = False) -> int:
        """Stop the service and remove its unit or job. Ledger, settings and files stay."""
        which, plan = manager_of(manager), bare(name, scope_of(system))
        steps = list(removing(plan, which))
        if not dry_run:
            _allowed(plan)
            if not place_of(plan, which).exists():
                raise BadRequest(f"there is no {place_of(plan, which)}", fix="callspool service status")
            for step in steps:
                step.take()
        _report(desk, plan, which, steps, [], dry_run=dry_run, done="removed")
        return 0

    _looking(group, desk)
    return group


def _looking(group: typer.Typer, desk: CommandDesk) -> None:
    @group.command("status")
    def status(name: Name = "", system: OfSystem = None, manager: For = "") -> int:
        """Is it installed, does it run, since when, and what does it say of itself?"""
        which, plan = manager_of(manager), bare(name, scope_of(system))
        found = state_of(plan, which)
        text = "\n".join(f"{key:<12}{value}" for key, value in found.items() if value not in ("", None))
        fix = "" if found["running"] else f"\n-> callspool service logs{_flags(plan)}" * bool(found["installed"])
        desk.show(found, text + (fix or ("" if found["running"] else "\n-> callspool service install")))
        return 0 if found["running"] else 1

    @group.command("logs")
    def logs(
        name: Name = "",
        system: OfSystem = None,
        manager: For = "",
        lines: Annotated[int, typer.Option("--lines", "-n", min=1)] = 100,
        follow: Annotated[bool, typer.Option("--follow", "-f")] = False,
    ) -> int:
        """The service's log, newest lines last."""
        which, plan = manager_of(manager), bare(name, scope_of(system))
        if which == "systemd":
            scope = [] if plan.scope == "system" else ["--user"]
            words = ["journalctl", *scope, "-u", plan.unit, "-o", "cat", "-n", str(lines), "--no-pager"]
        else:
            words = ["tail", "-n", str(lines), plan.log]
        return subprocess.call([*words, *(["-f"] if follow else [])])


def manager_of(given: str) -> Manager:
    """Which supervisor is meant; raises BadRequest."""
    if given not in ("", "systemd", "launchd"):
        raise BadRequest(f"--for {given!r} is neither systemd nor launchd", fix="callspool service --help")
    if given == "launchd" or (not given and sys.platform == "darwin"):
        return "launchd"
    return "systemd"


def scope_of(system: bool | None) -> Scope:
    """Root's services are the system's, others' are their own."""
    if system is None:
        system = os.geteuid() == ROOT_UID
    return "system" if system else "user"


def bare(name: str, scope: Scope) -> Plan:
    """Enough of a plan to find what is installed."""
    _named(name)
    folder = Path("/var/log/callspool") if scope == "system" else Path.home() / "Library/Logs"
    log = folder / (f"callspool-{name}.log" if name else "callspool.log")
    return Plan(program=(), config="", state="", scope=scope, name=name, log=str(log))


def plan_of(desk: CommandDesk, name: str, scope: Scope, user: str) -> tuple[Plan, list[str]]:
    """The service that the configuration asks for, and what its operator should know. Raises OperatorError."""
    file = desk.config_file or Path("config.yaml")
    if not file.is_file():
        raise BadRequest(
            f"a service needs a configuration file, and there is no {file}",
            fix="callspool --config /etc/callspool/config.yaml service install",
        )
    house = desk.house
    schema = dict(leaves(type(house.config)))
    folders = [_at(house.config, key) for key, _mark in marked(schema, OwnFolder) if key != "state.dir"]
    files = [found for key in FILES_TO_WRITE if key in schema and (found := _at(house.config, key))]
    writes = [*(str(house.path(one)) for one in folders), *(str(house.path(one).parent) for one in files)]
    secrets = {
        key: str(house.path(given))
        for key, _mark in marked(schema, SecretFile)
        if (given := _at(house.config, key)) is not None
    }
    plan = Plan(
        program=program(),
        config=str(file.absolute()),
        state=str(house.paths.folder),
        writes=tuple(dict.fromkeys(writes)),
        reads=(os.path.realpath(sys.executable), str(Path(__file__).resolve().parents[2])),
        secrets=secrets,
        scope=scope,
        name=name,
        user=user or owner_of(house.path(house.config.watch.recordings)),
        log=bare(name, scope).log,
    )
    return plan, [*_unseen(desk), *_out_of_reach(plan)]


def program() -> tuple[str, ...]:
    """The command that starts this very installation."""
    script = Path(sys.executable).with_name("callspool")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "daemon")


def owner_of(recordings: Path) -> str:
    """Whom the service runs as: the owner of the recordings, who may do all that callspool does; never root."""
    try:
        owner = pwd.getpwuid(recordings.stat().st_uid)
    except (OSError, KeyError):
        return service.DEFAULT.user
    return service.DEFAULT.user if owner.pw_uid == ROOT_UID else owner.pw_name


def clashes(desk: CommandDesk, plan: Plan) -> list[str]:
    """Folders that another installed instance watches too, as warnings; raises BadRequest where one has the same state
    folder or port."""
    from daemon.house import House

    here = Path(service.unit_path(plan, str(Path.home())))
    said: list[str] = []
    for other in sorted(here.parent.glob("callspool*.service")):
        config = _config_of(other)
        if other.name == here.name or config is None:
            continue
        with contextlib.suppress(ConfigInvalid):  # of the other: its own start says so
            house = House.open(config, {}, config.parent, {}, desk.clock)
            if str(house.paths.folder) == plan.state:
                raise BadRequest(f"{other.name} has the same state.dir", fix="give each instance its own state.dir")
            if _collide(house.config.http.listen, desk.config.http.listen):
                raise BadRequest(f"{other.name} has the same http.listen", fix="give each instance its own http.listen")
            both = _watched(house) & _watched(desk.house)
            said += [f"{other.name} watches {folder} too: both deliver what lies there" for folder in sorted(both)]
    return said


def _collide(one: str, other: str) -> bool:
    """Whether two addresses cannot both be listened at: a wildcard takes every address's port."""
    hosts, ports = zip(*(address.rpartition(":")[::2] for address in (one, other)), strict=True)
    return "off" not in (one, other) and ports[0] == ports[1] and (hosts[0] == hosts[1] or bool({*hosts} & EVERYWHERE))


def _watched(house: House) -> set[str]:
    watch = house.config.watch
    return {os.path.realpath(house.path(folder)) for folder in (watch.recordings, watch.conversations, watch.leads)}


def _config_of(unit: Path) -> Path | None:
    for line in unit.read_text("utf-8", "replace").splitlines():
        if line.startswith("ExecStart="):
            with contextlib.suppress(ValueError, IndexError):
                words = shlex.split(line.partition("=")[2])
                return Path(words[words.index("--config") + 1])
    return None


def _out_of_reach(plan: Plan) -> Iterator[str]:
    """What the service's user could not get at, whatever its sandbox allows."""
    if plan.scope == "user":
        return
    for path in dict.fromkeys((plan.program[0], *plan.reads, plan.config, *plan.writes)):
        shut = next((above for above in Path(path).resolve().parents if _shut(above, plan.user)), None)
        if shut is not None:
            yield f"{plan.user} cannot get at {path}: {shut} lets nobody pass; move it, or chmod o+x {shut}"


def _shut(folder: Path, user: str) -> bool:
    """Whether a folder lets the user not pass; a user that is yet to be made is nobody in particular."""
    if not folder.exists():
        return False
    found = folder.stat()
    try:
        who = pwd.getpwnam(user)
    except KeyError:
        return not found.st_mode & 0o001
    groups = os.getgrouplist(user, who.pw_gid)
    bit = 0o100 if found.st_uid == who.pw_uid else 0o010 if found.st_gid in groups else 0o001
    return who.pw_uid != ROOT_UID and not found.st_mode & bit


def _unseen(desk: CommandDesk) -> Iterator[str]:
    """What this shell's environment sets, the service will not see."""
    loaded = desk.house.loaded
    names = sorted({source.where for source in loaded.sources.values() if source.kind == "environment"})
    names += [where for where in loaded.secrets.values() if where in os.environ]
    if names:
        yield f"set in this shell alone, which the service does not see: {', '.join(names)}; put them into the file"
    if desk.settings:
        yield f"given by --set alone, which the service does not see: {', '.join(desk.settings)}"


SHOWN = {
    "ActiveState": "state",
    "SubState": "detail",
    "StatusText": "says",
    "MainPID": "pid",
    "NRestarts": "restarts",
    "Result": "result",
    "ExecMainStatus": "exit",
    "ActiveEnterTimestamp": "since",
}
"""systemd's properties, and what they are called here."""


def state_of(plan: Plan, which: Manager) -> dict[str, Any]:
    """How the service stands. Asks the supervisor; where there is none, says what lies on disk."""
    place = place_of(plan, which)
    found: dict[str, Any] = {"service": plan.unit if which == "systemd" else plan.label, "file": str(place)}
    found |= {"installed": place.exists(), "running": False}
    if which == "launchd":
        told = _told(("launchctl", "print", f"{domain(plan)}/{plan.label}"))
        found["running"] = told is not None and "state = running" in told
        return found
    told = _told(systemctl(plan, "show", plan.unit, f"--property={','.join(SHOWN)}"))
    if told is None:
        return found | {"state": "unknown: systemd does not run here"}
    values = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    found |= {word: values.get(key, "") for key, word in SHOWN.items()}
    found["running"] = values.get("ActiveState") == "active"
    return found


def in_service(desk: CommandDesk, name: str, scope: Scope, which: Manager) -> int:
    """Run ``doctor`` as the service would run: same user, same folders, same secrets. Returns its exit code."""
    plan = bare(name, scope)
    place = place_of(plan, which)
    if not place.exists():
        raise BadRequest(f"there is no {place}", fix="callspool service install")
    if which == "launchd":
        raise BadRequest("launchd runs no command in a job's place", fix=f"callspool doctor  as the user of {place}")
    text = place.read_text("utf-8")
    start = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    words = shlex.split(start.partition("=")[2])[:-1]
    given = [word for key, value in service.properties(text) for word in ("-p", f"{key}={value}")]
    manager = [] if scope == "system" else ["--user"]
    asked = ["systemd-run", *manager, "--wait", "--pipe", "--collect", "--quiet", *given, *words, "doctor"]
    return subprocess.call([*asked, *(["--json"] if desk.as_json else [])])


def _told(words: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def _flags(plan: Plan) -> str:
    return f" --name {plan.name}" if plan.name else ""


def _named(name: str) -> None:
    if name and not (name.isascii() and name.replace("-", "").replace("_", "").isalnum()):
        raise BadRequest("--name takes letters, digits, - and _", fix="callspool service install --name east")


def _allowed(plan: Plan) -> None:
    if plan.scope == "system" and os.geteuid() != ROOT_UID:
        raise BadRequest("a service of the system is root's to change", fix=f"sudo {shlex.join(sys.argv)}  (or --user)")


def _at(config: Any, key: str) -> Any:
    from daemon.config import value_at

    return value_at(config, key)


def _report(
    desk: CommandDesk,
    plan: Plan,
    which: Manager,
    steps: Sequence[Step],
    warnings: list[str],
    *,
    dry_run: bool,
    done: str,
) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    name = plan.unit if which == "systemd" else plan.label
    said = [step.said() for step in steps]
    text = "\n".join(said) if dry_run else f"{done} {name}; callspool service status{_flags(plan)} shows how it stands"
    desk.show({"service": name, "dry_run": dry_run, "steps": said, "warnings": warnings}, text)

"""The systemd unit and the launchd job: rendered from a ``Plan``, which is read off the configuration.

Pure: nothing here writes, runs or asks the system anything. What a service may write is what the configuration names;
what it need not have is taken from it. Three traps of hardening are known here: folders below a home, folders below
/tmp, and codecs' priority calls, which the common ``~@resources`` filter would kill.
"""

from __future__ import annotations

import plistlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

Manager = Literal["systemd", "launchd"]
Scope = Literal["system", "user"]

UNMENDABLE = (2, 12, 78)
"""Exit codes that starting again cannot mend: wrong words, a ledger of a newer program, an invalid configuration."""

STATE_ROOT = PurePosixPath("/var/lib")
HOMES = (PurePosixPath("/home"), PurePosixPath("/root"), PurePosixPath("/run/user"))
TEMPORARY = (PurePosixPath("/tmp"), PurePosixPath("/var/tmp"))  # noqa: S108 - compared with, never written to
LAUNCHD_LABEL = "org.callspool"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a service is to be.

    ``name`` tells instances apart, empty for the only one. ``program`` is the command that starts callspool, ``config``
    its configuration file; ``user`` whom a service of the system runs as. ``state`` is the state folder, ``writes`` the
    other folders it changes, ``reads`` files and folders it must see beside those. ``secrets`` are files of secrets by
    the configuration's key. All paths are absolute. ``log`` is the file of launchd's log.
    """

    program: tuple[str, ...]
    config: str
    state: str
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    secrets: Mapping[str, str] | None = None
    scope: Scope = "system"
    name: str = ""
    user: str = "callspool"
    log: str = ""

    @property
    def unit(self) -> str:
        """The systemd unit's name."""
        return f"callspool@{self.name}.service" if self.name else "callspool.service"

    @property
    def label(self) -> str:
        """The launchd job's label."""
        return f"{LAUNCHD_LABEL}.{self.name}" if self.name else LAUNCHD_LABEL


DEFAULT = Plan(
    program=("/opt/callspool/.venv/bin/callspool",),
    config="/etc/callspool/config.yaml",
    state="/var/lib/callspool",
    writes=(
        "/srv/calls/recordings",
        "/srv/calls/conversations",
        "/srv/calls/leads",
        "/srv/calls/processed_uploads",
        "/srv/calls/uploads",
    ),
    secrets={"crm.token_file": "/etc/callspool/crm_token"},
    log="/var/log/callspool/callspool.log",
)
"""The service that README's example installs; its renderings lie in ``systemd/`` and ``launchd/``."""


def unit_path(plan: Plan, home: str) -> str:
    """Where the unit's file belongs."""
    folder = "/etc/systemd/system" if plan.scope == "system" else f"{home}/.config/systemd/user"
    return f"{folder}/{plan.unit}"


def job_path(plan: Plan, home: str) -> str:
    """Where the launchd job's file belongs."""
    folder = "/Library/LaunchDaemons" if plan.scope == "system" else f"{home}/Library/LaunchAgents"
    return f"{folder}/{plan.label}.plist"


# ------------------------------------------------------------------------------------------------ systemd

_HARDENED = """\
AmbientCapabilities=CAP_LEASE
CapabilityBoundingSet=CAP_LEASE
NoNewPrivileges=yes
ProtectSystem=strict
PrivateDevices=yes
PrivateMounts=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
"""

_USERS_OWN = """\
NoNewPrivileges=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""
"""What a user's manager can enforce without privileges of its own."""


def unit(plan: Plan) -> str:
    """The unit's text."""
    system = plan.scope == "system"
    title = f"callspool ({plan.name})" if plan.name else "callspool"
    lines = [
        "# Written by callspool service install; change the configuration and install again rather than this file.",
        "[Unit]",
        f"Description={title}: takes finished call recordings and delivers each call exactly once",
        *(["After=network-online.target local-fs.target remote-fs.target", "Wants=network-online.target"] * system),
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        *([f"User={plan.user}"] * system),
        f"ExecStart={command(plan)}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "WatchdogSec=60s",
        "WatchdogSignal=SIGKILL",
        "TimeoutStartSec=15min",
        "TimeoutStopSec=30s",
        "Restart=always",
        "RestartSec=5s",
        f"RestartPreventExitStatus={' '.join(map(str, UNMENDABLE))}",
        "Environment=PYTHONUNBUFFERED=1 CALLSPOOL_LOG__FORMAT=json",
        *([f"LoadCredential={_credential(key)}:{path}" for key, path in _secrets(plan)] * system),
        *_folders(plan),
        *(_HARDENED if system else _USERS_OWN).splitlines(),
        "UMask=0027",
        "",
        "[Install]",
        f"WantedBy={'multi-user' if system else 'default'}.target",
        "",
    ]
    return "\n".join(lines)


def command(plan: Plan) -> str:
    """ExecStart: secrets are handed over as credentials, so that only the service manager reads their files."""
    words = [_quoted(word) for word in plan.program] + ["--config", _quoted(plan.config)]
    if plan.scope == "system":
        for key, _path in _secrets(plan):
            words += ["--set", f"{key}=${{CREDENTIALS_DIRECTORY}}/{_credential(key)}"]
    return " ".join([*words, "run"])


def _secrets(plan: Plan) -> Sequence[tuple[str, str]]:
    return sorted((plan.secrets or {}).items())


def _credential(key: str) -> str:
    return key.removesuffix("_file").replace(".", "_")


def _folders(plan: Plan) -> list[str]:
    """Which folders are seen and written: what the configuration names, and no more."""
    if plan.scope == "user":
        return []
    paths = [PurePosixPath(path) for path in (plan.state, plan.config, *plan.program[:1], *plan.writes, *plan.reads)]
    state = PurePosixPath(plan.state)
    own = STATE_ROOT in state.parents
    lines = [f"StateDirectory={state.relative_to(STATE_ROOT)}", "StateDirectoryMode=0700"] if own else []
    writes = [*([] if own else [plan.state]), *plan.writes]
    lines += [f"ReadWritePaths=-{_quoted(path)}" for path in dict.fromkeys(writes)]
    lines.append(f"ProtectHome={'read-only' if _below(paths, HOMES) else 'yes'}")
    lines.append(f"PrivateTmp={'no' if _below(paths, TEMPORARY) else 'yes'}")
    return lines


def _below(paths: Sequence[PurePosixPath], roots: Sequence[PurePosixPath]) -> bool:
    return any(root == path or root in path.parents for root in roots for path in paths)


def _quoted(word: str) -> str:
    """A word of a unit file: specifiers and variables escaped, quoted where systemd would part it."""
    plain = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")
    return plain if not set(plain) & set(" \"';\t") else '"' + plain.replace('"', '\\"') + '"'


def properties(text: str) -> list[tuple[str, str]]:
    """The environment that a unit's [Service] section makes, as properties for a transient unit: what it may see, and
    as whom, but not what is started."""
    kept: list[tuple[str, str]] = []
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line
        key, equals, value = line.partition("=")
        if section == "[Service]" and equals and not key.startswith(_STARTING):
            kept.append((key, value))
    return kept


_STARTING = ("Exec", "Type", "Notify", "Watchdog", "Restart", "Timeout", "#")


# ------------------------------------------------------------------------------------------------ launchd


def job(plan: Plan) -> dict[str, Any]:
    """The launchd job as a dictionary.

    launchd has no codes that restarting cannot mend: under it callspool says so in the log and ends with 0, which
    ``SuccessfulExit: false`` leaves alone. It does not rotate logs either: callspool rotates its own.
    """
    found: dict[str, Any] = {
        "Label": plan.label,
        "ProgramArguments": [*plan.program, "--config", plan.config, "run", "--launchd", "--log-file", plan.log],
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 30,
        "ProcessType": "Background",
        "StandardErrorPath": plan.log + ".err",
        "Umask": 0o027,
        "SoftResourceLimits": {"NumberOfFiles": 4096},
        "EnvironmentVariables": {"PYTHONUNBUFFERED": "1", "CALLSPOOL_LOG__FORMAT": "json"},
    }
    return found | ({"UserName": plan.user} if plan.scope == "system" else {})


def plist(plan: Plan) -> str:
    """The launchd job's file."""
    return plistlib.dumps(job(plan), sort_keys=False).decode()


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "Label": str,
    "UserName": str,
    "ProgramArguments": list,
    "RunAtLoad": bool,
    "KeepAlive": (bool, dict),
    "ThrottleInterval": int,
    "ExitTimeOut": int,
    "ProcessType": str,
    "StandardOutPath": str,
    "StandardErrorPath": str,
    "Umask": int,
    "SoftResourceLimits": dict,
    "EnvironmentVariables": dict,
}
"""Keys of launchd.plist(5) that are used, and their types."""


def faults(text: bytes) -> list[str]:
    """What is wrong with a launchd job's file: there is no launchd elsewhere to ask."""
    try:
        found = plistlib.loads(text)
    except (plistlib.InvalidFileException, ValueError, OverflowError) as error:
        return [f"not a property list ({type(error).__name__})"]
    except Exception as error:  # noqa: BLE001 - expat's own errors have no common base with plistlib's
        return [f"not a property list ({type(error).__name__})"]
    if not isinstance(found, dict):
        return ["not a dictionary"]
    said = [f"{key}: launchd knows no such key" for key in found if key not in _TYPES]
    said += [f"{key}: of the wrong type" for key, kind in _TYPES.items() if key in found and not _is(found[key], kind)]
    said += [f"{key}: missing" for key in ("Label", "ProgramArguments") if not found.get(key)]
    arguments = found.get("ProgramArguments") or []
    if not all(isinstance(word, str) for word in arguments):
        said.append("ProgramArguments: not all words")
    elif arguments and not arguments[0].startswith("/"):
        said.append("ProgramArguments: launchd looks for programs in no path; name it whole")
    return said


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and (kind is not int or not isinstance(value, bool))


def files_of(plan: Plan) -> Mapping[Path, str]:
    """The renderings by their place in the repository."""
    return {Path("systemd") / plan.unit: unit(plan), Path("launchd") / f"{plan.label}.plist": plist(plan)}

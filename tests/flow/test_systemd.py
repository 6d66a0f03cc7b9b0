"""The installed service under a real systemd: ready, at work under its hardening, reloaded, ended when it hangs."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from handlers.demo.crm import LoopbackCrm
from tests.support.booted import Booted, booted, why_not
from tests.support.calls import FieldCall
from tests.support.process import Site, eventually

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]

CALLS = "srv/calls"
UNIT = "callspool.service"
TOKEN = "first-word"


@pytest.fixture(scope="module")
def machine() -> Iterator[Booted]:
    with booted() as machine:
        machine.run("useradd", "--system", "bot")
        for folder in Path(sys.executable).resolve().parents:
            machine.run("chmod", "o+x", str(folder))  # the interpreter may be root's own
        yield machine


def callspool(machine: Booted, *words: str, config: str = "/etc/callspool/config.yaml") -> str:
    done = machine.run(sys.executable, "-m", "daemon", "--config", config, *words)
    assert done.returncode == 0, "\n".join((*words, done.stdout, done.stderr, _log(machine)))
    return done.stdout


def settings(calls: str, state: str, crm: LoopbackCrm) -> dict[str, dict[str, Any]]:
    """What an instance is told of its own folders and its CRM."""
    folders = {role: f"/{calls}/{role}" for role in ("recordings", "conversations", "leads")}
    return {
        "watch": folders | {"timezone": "UTC"},
        "state": {"dir": f"/var/lib/{state}"},
        "crm": {"upload_url": crm.upload_url, "call_data_url": crm.calls_url},
        "storage": {"local": {"dir": f"/{calls}/uploads"}},
        "collect": {"markers": f"/{calls}/processed_uploads"},
    }


@pytest.mark.timeout(300)
def test_the_service_is_ready_delivers_reloads_is_ended_when_it_hangs_and_stays_down(machine: Booted) -> None:
    with LoopbackCrm(token=TOKEN) as crm:
        site = Site(machine.calls)
        machine.run("chown", "-R", "bot:", f"/{CALLS}")
        etc = machine.root / "etc/callspool"
        etc.mkdir()
        (etc / "token").write_text(TOKEN)
        (etc / "token").chmod(0o600)  # root's alone: the service has it as a credential
        config = settings(CALLS, "callspool", crm)
        config["crm"]["token_file"] = "token"
        (etc / "config.yaml").write_text(yaml.safe_dump(config))
        quick = machine.root / "etc/systemd/system" / f"{UNIT}.d"
        quick.mkdir()
        (quick / "quick.conf").write_text("[Service]\nWatchdogSec=6s\nRestartSec=100ms\n")
        callspool(machine, "service", "install")
        machine.wait(UNIT, "ActiveState", "active")
        machine.wait(UNIT, "StatusText", "working")
        assert '"running": true' in callspool(machine, "service", "status", "--json").replace(":true", ": true")

        _drops_and_delivers(machine, site, crm, FieldCall(), 1)
        _hardened(machine)
        seen = machine.run(
            sys.executable, "-m", "daemon", "--config", "/etc/callspool/config.yaml", "doctor", "--in-service"
        )
        assert "writers are seen (kernel lease)" in seen.stdout, (seen.stdout, seen.stderr)

        (etc / "config.yaml").write_text(yaml.safe_dump(config | {"log": {"level": "debug"}}))
        machine.run("systemctl", "reload", UNIT)
        eventually(lambda: "config.reloaded" in _log(machine), "the reload")
        assert machine.show(UNIT, "ActiveState") == "active"

        before = machine.show(UNIT, "MainPID")
        machine.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", UNIT)
        machine.wait(UNIT, "NRestarts", "1")
        machine.wait(UNIT, "ActiveState", "active")
        assert machine.show(UNIT, "MainPID") != before
        _drops_and_delivers(machine, site, crm, FieldCall(1), 2)

        machine.run("systemctl", "stop", UNIT)
        assert (machine.show(UNIT, "Result"), machine.show(UNIT, "ExecMainStatus")) == ("success", "0")
        (etc / "config.yaml").write_text("crm: {batsh: 1}")
        machine.run("systemctl", "start", UNIT)
        machine.wait(UNIT, "ActiveState", "failed")
        assert (machine.show(UNIT, "ExecMainStatus"), machine.show(UNIT, "NRestarts")) == ("78", "0")
        done = machine.run(sys.executable, "-m", "daemon", "service", "uninstall")
        assert done.returncode == 0, done.stderr
        assert not (machine.root / "etc/systemd/system" / UNIT).exists()
        assert (machine.root / "var/lib/callspool/ledger.db").exists()
        assert TOKEN not in _log(machine)


def _drops_and_delivers(machine: Booted, site: Site, crm: LoopbackCrm, call: FieldCall, count: int) -> None:
    call.drop(site)
    machine.run("chown", "-R", "bot:", f"/{CALLS}")
    try:
        eventually(lambda: crm.records == count, f"{count} calls in the CRM")
    except AssertionError as error:
        told = [callspool(machine, *words) for words in (("status",), ("failures",), ("explain", call.recording_name))]
        raise AssertionError("\n".join([str(error), *told, _log(machine)])) from None


def _hardened(machine: Booted) -> None:
    pid = machine.show(UNIT, "MainPID")
    status = machine.run("cat", f"/proc/{pid}/status").stdout
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert int(found["CapEff"], 16) == 1 << 28  # CAP_LEASE, and nothing else
    assert found["Uid"].split()[0] != "0"


def _log(machine: Booted, unit: str = UNIT) -> str:
    return machine.run("journalctl", "-u", unit, "-o", "cat", "-n", "500").stdout


@dataclass(frozen=True)
class Instance:
    """One of several services: its own folders, state, port and CRM."""

    machine: Booted
    name: str
    crm: LoopbackCrm

    @property
    def unit(self) -> str:
        return f"callspool@{self.name}.service"

    @property
    def config(self) -> str:
        return f"/etc/callspool/{self.name}.yaml"

    def install(self, port: int, **given: Any) -> None:
        """Write its configuration and install it, then wait until it is ready."""
        folder = self.machine.root / "etc/callspool"
        folder.mkdir(exist_ok=True)
        Site(self.machine.calls / self.name)
        self.machine.run("chown", "-R", "bot:", f"/{CALLS}/{self.name}")
        config = settings(f"{CALLS}/{self.name}", f"callspool-{self.name}", self.crm)
        config["http"] = {"listen": f"127.0.0.1:{port}"}
        (self.machine.root / self.config[1:]).write_text(yaml.safe_dump(config | given))
        self.said("service", "install", "--name", self.name)
        self.machine.wait(self.unit, "ActiveState", "active")
        self.machine.wait(self.unit, "StatusText", "working")

    def said(self, *words: str) -> str:
        return callspool(self.machine, *words, config=self.config)

    def drop(self, call: FieldCall) -> None:
        call.drop(Site(self.machine.calls / self.name))
        self.machine.run("chown", "-R", "bot:", f"/{CALLS}/{self.name}")


@pytest.mark.timeout(300)
def test_two_instances_work_side_by_side_and_neither_touches_the_other(machine: Booted) -> None:
    with LoopbackCrm() as of_east, LoopbackCrm() as of_west:
        east, west = Instance(machine, "east", of_east), Instance(machine, "west", of_west)
        ports = free_ports(2)
        east.install(ports[0])
        west.install(ports[1])
        for one, port in zip((east, west), ports, strict=True):
            state = machine.root / f"var/lib/callspool-{one.name}"
            assert (state / "ledger.db").exists()
            assert state.stat().st_mode & 0o777 == 0o700
            assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
            assert "callspool-" + one.name in one.said("config", "show")

        east.drop(FieldCall(2))
        eventually(lambda: of_east.records == 1, "the call of east", 60)
        assert (of_west.records, _known(west)) == (0, 0)
        assert _known(east) == 2

        machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", east.unit)
        machine.wait(east.unit, "NRestarts", "1")
        machine.wait(east.unit, "ActiveState", "active")
        assert machine.show(west.unit, "NRestarts") == "0"

        pid = machine.show(west.unit, "MainPID")
        east.said("service", "uninstall", "--name", "east")
        assert machine.show(east.unit, "ActiveState") == "inactive"
        assert not (machine.root / "etc/systemd/system" / east.unit).exists()
        assert (machine.root / "var/lib/callspool-east/ledger.db").exists()
        east.drop(FieldCall(3))
        west.drop(FieldCall(4))
        eventually(lambda: of_west.records == 1, "the call of west", 60)
        assert (machine.show(west.unit, "MainPID"), of_east.records) == (pid, 1)
        west.said("service", "uninstall", "--name", "west")


def _known(one: Instance) -> int:
    """How many files an instance says it knows."""
    found: int = json.loads(one.said("status", "--json"))["files"].get("known", 0)
    return found


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has, the container's included: it shares ours."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in taken]


def test_root_is_left_as_it_was() -> None:
    assert not Path("/etc/systemd/system", UNIT).exists()
